//! `replay` against the mock's truth log: hit rates and the bytes of every request.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::util::{Cmd, Dir, Output, Samples, Server, json_file};

/// A replay that has ended: its folder and, by request, the sample and the truth of each round.
struct Replayed {
    dir: Dir,
    output: Output,
    rounds: HashMap<u64, Vec<(Value, Value)>>,
    header: Value,
}

fn replay(dir: Dir, server: Server, dataset: &Path, options: &[&str]) -> Replayed {
    let output = Cmd::new(&dir)
        .args(["replay", "--endpoint", &server.url(), "--dataset"])
        .arg(dataset)
        .args(["--output-dir", "out"])
        .args(options)
        .deadline(std::time::Duration::from_secs(120))
        .ok();
    let samples = Samples::read(&dir, "out/samples.jsonl");
    let mut rounds: HashMap<u64, Vec<(Value, Value)>> = HashMap::new();
    for pair in samples.with_truth(server.truth()) {
        let round = pair.0["round"].as_u64().expect("a round");
        rounds.entry(round).or_default().push(pair);
    }
    Replayed {
        dir,
        output,
        rounds,
        header: samples.header,
    }
}

impl Replayed {
    fn json(&self, name: &str) -> Value {
        json_file(&self.dir, &format!("out/{name}"))
    }

    fn truth(&self, round: u64) -> impl Iterator<Item = &Value> {
        self.rounds[&round].iter().map(|(_, truth)| truth)
    }

    /// Returns hit tokens over prompt tokens, as the mock counted them.
    fn true_hit_rate(&self, round: u64) -> f64 {
        let sum = |keys: &[&str]| -> f64 {
            self.truth(round)
                .flat_map(|truth| keys.iter().map(|key| truth[key].as_f64().expect("a count")))
                .sum()
        };
        sum(&["hit_tier1_tokens", "hit_tier2_tokens"]) / sum(&["prompt_tokens"])
    }
}

/// Writes `records` prompts of `words` words, all different from the first word on.
fn prompts(dir: &Dir, records: usize, words: usize) -> std::path::PathBuf {
    let mut text = String::new();
    for record in 0..records {
        let words: Vec<String> = (0..words).map(|word| format!("w{record}x{word}")).collect();
        writeln!(text, "{}", json!({"text": words.join(" ")})).expect("a String takes all");
    }
    dir.write("prompts.jsonl", text)
}

#[test]
fn hit_rates_of_both_rounds_agree_with_the_truth() {
    let dir = Dir::new();
    let dataset = prompts(&dir, 60, 400);
    let server = Server::start(&["--itl", "1ms"]);
    let metrics = format!("{}/metrics", server.url());
    let replayed = replay(
        dir,
        server,
        &dataset,
        &[
            "--concurrency",
            "20",
            "--max-output-tokens",
            "24",
            "--prometheus-url",
            &metrics,
            "--prometheus-metrics",
            "lmcache_hit_rate",
            "vllm:prompt_tokens",
        ],
    );
    for round in [1, 2] {
        let file = replayed.json(&format!("concurrency_20_round_{round}.json"));
        let summary = &file["summary"];
        assert_eq!(summary["successful_requests"], 60, "{}", replayed.output);
        let figure = |key: &str| summary[key].as_f64().unwrap_or_else(|| panic!("{key}"));
        let truth = replayed.true_hit_rate(round);
        let by_usage = figure("prefix_cache_hit_rate");
        let metrics = &summary["prometheus_metrics"];
        let by_metrics = metrics["lmcache_hit_rate"]["over_round"].as_f64();
        let by_metrics = by_metrics.unwrap_or_else(|| panic!("{metrics}"));
        assert!(
            (by_usage - truth).abs() < 0.01,
            "{round}: {by_usage} for {truth}"
        );
        assert!(
            (by_metrics - truth).abs() < 0.01,
            "{round}: {by_metrics} for {truth}"
        );
        if round == 1 {
            assert_eq!(truth, 0.0, "every prompt is new");
        } else {
            // 401 words with the nonce have 25 blocks of 16.
            assert!((truth - 400.0 / 401.0).abs() < 1e-9, "{truth}");
        }
        // 60 prompts of 401 words.
        assert_eq!(metrics["vllm:prompt_tokens"]["over_round"], 60.0 * 401.0);
    }
}

#[test]
fn at_one_in_flight_every_request_has_the_counters_of_its_own() {
    let dir = Dir::new();
    let lines = [3, 20, 100].map(|n| {
        let words: Vec<String> = (0..n).map(|word| format!("w{n}x{word}")).collect();
        format!("{}\n", json!({"text": words.join(" ")}))
    });
    let dataset = dir.write("prompts.jsonl", lines.concat());
    let server = Server::start(&["--itl", "1ms"]);
    let metrics = format!("{}/metrics", server.url());
    let options = [
        "--prometheus-url",
        &metrics,
        "--prometheus-metrics",
        "vllm:prompt_tokens_total",
        "vllm:num_requests_running",
        "--max-output-tokens",
        "3",
    ];
    let replayed = replay(dir, server, &dataset, &options);
    for round in [1, 2] {
        let file = replayed.json(&format!("concurrency_1_round_{round}.json"));
        let requests = file["requests"].as_array().expect("a list");
        let by_index: Vec<&Value> = requests.iter().map(|line| &line["metrics"]).collect();
        let tokens: Vec<Option<f64>> = by_index
            .iter()
            .map(|metrics| metrics["vllm:prompt_tokens_total"].as_f64())
            .collect();
        let truth = replayed.rounds[&round].iter();
        let mut truth: Vec<(u64, f64)> = truth
            .map(|(sample, truth)| {
                let id = sample["id"].as_u64().expect("an id");
                (id, truth["prompt_tokens"].as_f64().expect("a count"))
            })
            .collect();
        truth.sort_by_key(|(id, _)| *id);
        let wanted: Vec<Option<f64>> = truth.iter().map(|&(_, tokens)| Some(tokens)).collect();
        // 3, 20 and 100 words, each with the nonce.
        assert_eq!(wanted, [Some(4.0), Some(21.0), Some(101.0)]);
        assert_eq!(tokens, wanted, "round {round}");
        let over = &file["summary"]["prometheus_metrics"]["vllm:prompt_tokens_total"]["over_round"];
        assert_eq!(over.as_f64(), Some(126.0));
        assert_eq!(by_index[0]["vllm:num_requests_running"], 0.0);
    }
}

#[test]
fn a_cache_of_a_third_of_the_dataset_has_nothing_left_for_an_unshuffled_round() {
    let dir = Dir::new();
    let dataset = prompts(&dir, 30, 320);
    let third = (10 * 320).to_string();
    let server = Server::start(&[
        "--tier1-tokens",
        &third,
        "--tier2-tokens",
        "0",
        "--itl",
        "1ms",
    ]);
    let options = ["--concurrency", "4", "--no-shuffle-round2"];
    let replayed = replay(dir, server, &dataset, &options);
    let rate = replayed.true_hit_rate(2);
    assert!(rate < 0.02, "{rate}");
    let file = replayed.json("concurrency_4_round_2.json");
    let by_usage = file["summary"]["prefix_cache_hit_rate"].as_f64();
    assert!(by_usage.is_some_and(|by_usage| (by_usage - rate).abs() < 1e-9));
}

/// A conversation of the dataset for the test of hashes: every word has four letters, so that shares of bytes are
/// shares of tokens.
struct Talk {
    id: String,
    system: Option<String>,
    questions: Vec<String>,
}

fn talks() -> Vec<Talk> {
    let mut rng = fastrand(7);
    let mut words = |n: u64| {
        let mut text = String::new();
        for _ in 0..n {
            let word = rng();
            for shift in [0, 8, 16, 24] {
                text.push(char::from(b'a' + (word >> shift) as u8 % 26));
            }
            text.push(' ');
        }
        text
    };
    let mut talks = Vec::new();
    for k in 0..50_u64 {
        let turns = 2 + k % 7;
        talks.push(Talk {
            id: format!("talk {k} \"é\""),
            system: (k % 3 == 0).then(|| words(10)),
            questions: (0..turns).map(|turn| words(8 + (k + turn) % 20)).collect(),
        });
    }
    talks
}

/// Returns pseudo-random numbers (xorshift64).
fn fastrand(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

fn write_talks(dir: &Dir, talks: &[Talk]) -> std::path::PathBuf {
    let mut text = String::new();
    for talk in talks {
        let mut messages = Vec::new();
        for question in &talk.questions {
            messages.push(json!({"role": "user", "content": question}));
            // The dataset's own answers are not sent.
            messages.push(json!({"role": "assistant", "content": "an answer of the dataset"}));
        }
        if let Some(system) = &talk.system {
            // System messages are sent first, wherever they are.
            messages.insert(1, json!({"role": "system", "content": system}));
        }
        let record = json!({"session_id": talk.id, "messages": messages});
        writeln!(text, "{record}").expect("a String takes all");
    }
    dir.write("talks.jsonl", text)
}

/// Returns the FNV-1a 64 hash of role, NUL, content, NUL of every message.
fn hash(messages: &[Value]) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for message in messages {
        for part in ["role", "content"] {
            let text = message[part].as_str().expect("a text");
            for byte in text.bytes().chain([0]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
    }
    format!("{hash:016x}")
}

/// Returns the mock's answer to these messages, asked for without a stream.
fn ask(addr: &str, session: &str, messages: &[Value]) -> (String, u64, u64) {
    let body = json!({
        "model": "openai/gpt-oss-20b", "messages": messages, "max_tokens": 6, "user": session,
    })
    .to_string();
    let mut stream = TcpStream::connect(addr).expect("the mock listens");
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("it reads");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("it answers");
    let (_, json) = reply.split_once("\r\n\r\n").expect("headers");
    let reply: Value = serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {reply}"));
    let usage = |key: &str| reply["usage"][key].as_u64().expect("usage");
    (
        reply["choices"][0]["message"]["content"]
            .as_str()
            .expect("a text")
            .to_string(),
        usage("prompt_tokens"),
        usage("completion_tokens"),
    )
}

/// Computes the hash of each turn's messages independently: history of real replies, with the earliest pairs dropped
/// while the last turn's usage, its answer and the new question exceed `limit` tokens.
fn hashes_of(talk: &Talk, addr: &str, nonce: &str, limit: u64) -> Vec<String> {
    let mut pairs: Vec<(String, String, u64)> = Vec::new();
    let mut counted: Option<(u64, usize)> = None;
    let mut answer_tokens = 0;
    let mut hashes = Vec::new();
    for question in &talk.questions {
        if let Some((prompt_tokens, bytes)) = counted {
            let per_byte = prompt_tokens as f64 / bytes as f64;
            let of = |text: &str| text.len() as f64 * per_byte;
            let mut tokens = (prompt_tokens + answer_tokens) as f64 + of(question);
            while tokens > limit as f64 && !pairs.is_empty() {
                let (question, _, answer_tokens) = pairs.remove(0);
                tokens -= of(&question) + answer_tokens as f64;
            }
        }
        let mut messages = Vec::new();
        let mut push = |role: &str, content: &str| {
            let nonce = if messages.is_empty() { nonce } else { "" };
            messages.push(json!({"role": role, "content": format!("{nonce}{content}")}));
        };
        if let Some(system) = &talk.system {
            push("system", system);
        }
        for (question, answer, _) in &pairs {
            push("user", question);
            push("assistant", answer);
        }
        push("user", question);
        hashes.push(hash(&messages));
        let session = talk.id.split_whitespace().collect::<Vec<_>>().join("_");
        let (answer, prompt_tokens, tokens) = ask(addr, &session, &messages);
        // The client counts bytes of its JSON, where a line break and a quote have two.
        let escaped = |message: &Value| {
            let json = message["content"].to_string();
            json.len() - 2
        };
        counted = Some((prompt_tokens, messages.iter().map(escaped).sum()));
        answer_tokens = tokens;
        pairs.push((question.clone(), answer, tokens));
    }
    hashes
}

fn check_hashes(limit: Option<&str>) {
    let dir = Dir::new();
    let talks = talks();
    let dataset = write_talks(&dir, &talks);
    let fast = ["--base", "0s", "--itl", "0s", "--prefill-rate", "1000M"];
    let server = Server::start(&[&fast[..], &["--chat-tags", "on"]].concat());
    let addr = server.addr().to_string();
    let tokens: u64 = limit.map_or(u64::MAX, |limit| limit.parse().expect("a number"));
    let wanted: Vec<Vec<String>> = talks
        .iter()
        .map(|talk| hashes_of(talk, &addr, "[n/8]\n", tokens))
        .collect();
    let mut options = vec!["--nonce", "n", "--concurrency", "8", "--send-metadata"];
    options.extend(["--max-output-tokens", "6"]);
    options.extend(
        limit
            .iter()
            .flat_map(|limit| ["--max-context-tokens", limit]),
    );
    let replayed = replay(dir, server, &dataset, &options);
    assert_eq!(replayed.header["options"]["records"], 50);
    for round in [1, 2] {
        let mut got = vec![Vec::new(); talks.len()];
        let mut pairs = replayed.rounds[&round].clone();
        pairs.sort_by_key(|(sample, _)| sample["id"].as_u64());
        for (sample, truth) in &pairs {
            let session = sample["session"].as_u64().expect("a session") as usize;
            let hash = truth["messages_hash"].as_str().expect("a hash");
            got[session].push(hash.to_string());
        }
        assert_eq!(got, wanted, "round {round}");
    }
    let shortened = replayed.output.stdout.contains("Context limit: ");
    assert_eq!(shortened, limit.is_some(), "{}", replayed.output);
}

#[test]
fn every_request_of_both_rounds_has_the_bytes_worked_out_from_dataset_and_replies() {
    check_hashes(None);
}

#[test]
fn every_request_with_a_history_cut_to_the_context_has_its_expected_bytes() {
    check_hashes(Some("60"));
}
