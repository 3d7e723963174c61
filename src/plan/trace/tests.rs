use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use super::*;
use crate::plan::Prompt;
use crate::plan::calibration::Calibration;
use crate::plan::perfect::Perfect;
use crate::plan::perfect::testing::Twin;
use crate::plan::prompt::Writer;
use crate::plan::random::mixed;

fn read(text: &str) -> Result<Trace> {
    read_in(text, None)
}

fn read_in(text: &str, unit: Option<Unit>) -> Result<Trace> {
    Trace::of("--trace t.jsonl", text.as_bytes(), unit)
}

impl Trace {
    pub fn of(what: &str, bytes: &[u8], unit: Option<Unit>) -> Result<Trace> {
        Trace::read(what, Text::Held(bytes.to_vec()), unit)
    }

    pub fn unchanged(&self, k: usize) -> Arc<Request> {
        self.request(k).expect("the text is held")
    }

    pub fn input_tokens(&self, k: usize) -> u64 {
        self.unchanged(k).input_tokens
    }

    pub fn output_tokens(&self, k: usize) -> u64 {
        self.unchanged(k).output_tokens()
    }

    pub fn hash_ids(&self, k: usize) -> Vec<u64> {
        self.unchanged(k).hash_ids.clone()
    }

    pub fn parts(&self, k: usize) -> Vec<(u64, u64)> {
        self.unchanged(k).parts(self.block_tokens()).collect()
    }

    pub fn prompt(&self, k: usize, texts: &Texts) -> Prompt {
        let request = self.unchanged(k);
        texts.prompt(&request.hash_ids, request.input_tokens)
    }
}

fn one_token_a_word() -> Calibration {
    Calibration::fit((10, 10), (20, 20)).expect("a rising line")
}

fn texts(calibration: &Calibration) -> Texts {
    Texts::new(&Writer::new(1, "n"), calibration, 512)
}

fn pieces(prompt: &Prompt) -> &[Arc<str>] {
    match prompt {
        Prompt::Text(texts) => texts,
        other => panic!("{other:?} is no text"),
    }
}

fn words(prompt: &Prompt) -> Vec<String> {
    let text = pieces(prompt).concat();
    text.split(' ').map(str::to_string).collect()
}

fn common(one: &Prompt, other: &Prompt) -> usize {
    let (one, other) = (words(one), words(other));
    let pairs = one.iter().zip(&other);
    pairs.take_while(|(x, y)| x == y).count()
}

/// Makes conversations in turns, as in Mooncake's traces: each begins with one of three system prompts of one to three
/// blocks, and each turn repeats the whole blocks of the previous turn. Names are spread over all 64 bits.
fn conversations(seed: u64, lines: usize) -> String {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut open: Vec<(Vec<u64>, u64)> = Vec::new();
    let (mut text, mut named, mut ms) = (String::new(), 0, 0);
    for _ in 0..lines {
        let at = if open.len() < 20 || rng.u64(0..4) == 0 {
            let system = rng.u64(0..3);
            let ids = (0..=system).map(|block| mixed(u64::MAX - 3 * system - block));
            open.push((ids.collect(), 512 * (system + 1)));
            open.len() - 1
        } else {
            rng.usize(..open.len())
        };
        let (ids, tokens) = &mut open[at];
        // A name stands for everything before it, so a block that was cut gets another name when it is continued.
        ids.truncate((*tokens / 512) as usize);
        *tokens += rng.u64(1..1500);
        while (ids.len() as u64) < tokens.div_ceil(512) {
            ids.push(mixed(named));
            named += 1;
        }
        ms += rng.u64(0..40);
        let output = rng.u64(1..400);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            r#"{{"timestamp":{ms},"input_length":{tokens},"output_length":{output},"hash_ids":{ids:?}}}"#
        );
        if *tokens > 8_000 {
            open.swap_remove(at);
        }
    }
    text
}

#[test]
fn a_request_is_due_after_the_first_one_at_the_speed_asked_for() {
    let line = |ms: &str, tokens: u64| {
        format!(
            r#"{{"timestamp": {ms}, "input_length": {tokens}, "output_length": 0, "hash_ids": [7], "type": 1}}"#
        )
    };
    // Requests out of order are sorted; those of one time keep the file's order.
    let text = [
        line("1500", 3),
        line("1000", 1),
        line("1500.25", 5),
        line("1500", 4),
        line("1400", 2),
    ];
    let trace = read(&text.join("\n")).expect("a good trace");
    let due: Vec<_> = (0..trace.len())
        .map(|k| {
            (
                trace.input_tokens(k),
                trace.due_ns(k, 1.0),
                trace.due_ns(k, 100.0),
            )
        })
        .collect();
    let wanted = [
        (1, 0, 0),
        (2, 400_000_000, 4_000_000),
        (3, 500_000_000, 5_000_000),
        (4, 500_000_000, 5_000_000),
        (5, 500_250_000, 5_002_500),
    ];
    assert_eq!(due, wanted);
    assert_eq!(trace.output_tokens(0), 1);
}

#[test]
fn a_folder_is_no_trace() {
    let error = Trace::load("--trace .", Path::new("."), None).expect_err("no file");
    assert_eq!(
        error.to_string(),
        "[ERROR] --trace .: a folder; want a file"
    );
}

/// Makes a record of 100 tokens and one block.
fn at(timestamp: &str, more: &str) -> String {
    format!(
        "{{\"timestamp\":{timestamp},\"input_length\":100,\"output_length\":5,\"hash_ids\":[1]{more}}}\n"
    )
}

fn due_ns(trace: &Trace) -> Vec<u64> {
    (0..trace.len()).map(|k| trace.due_ns(k, 1.0)).collect()
}

#[test]
fn timestamps_in_seconds_are_refused_and_read_when_said_to_be() {
    for times in [
        ["0.0", "0.5", "1.0", "1.5"],
        ["0", "1", "3", "4"],
        ["1700000000", "1700000020", "1700000050", "1700000090"],
    ] {
        let text = times.map(|time| at(time, "")).concat();
        let error = read(&text).expect_err(&text).to_string();
        let start = "[ERROR] --trace t.jsonl: timestamps look like seconds, not milliseconds: ";
        assert!(error.starts_with(start), "{error}");
        assert!(error.contains("\nTry: --trace-unit s;"), "{error}");
        assert!(read_in(&text, Some(Unit::Milliseconds)).is_ok());
        let trace = read_in(&text, Some(Unit::Seconds)).expect(&text);
        let ms: Vec<f64> = times
            .iter()
            .map(|time| time.parse().expect("a number"))
            .collect();
        let wanted: Vec<u64> = ms
            .iter()
            .map(|time| ((time - ms[0]) * 1e9) as u64)
            .collect();
        assert_eq!(due_ns(&trace), wanted);
    }
}

fn after(trace: &Trace) -> Vec<Option<Option<u64>>> {
    (0..trace.len()).map(|k| trace.after(k)).collect()
}

#[test]
fn turns_of_a_session_follow_one_another_in_the_order_of_their_times() {
    let a = r#","session_id":"a""#;
    for (lines, wanted) in [
        // Two sessions, a request without one, and a number as id.
        (
            [
                at("0", a),
                at("20", ""),
                at("50", a),
                at("60", r#","session_id":7"#),
                at("200", a),
            ],
            [Some(None), None, Some(Some(0)), Some(None), Some(Some(2))],
        ),
        // The file is out of order: 0, 50, 90, 100, 300.
        (
            [
                at("90", a),
                at("0", a),
                at("100", ""),
                at("50", a),
                at("300", a),
            ],
            [
                Some(None),
                Some(Some(0)),
                Some(Some(1)),
                None,
                Some(Some(2)),
            ],
        ),
        // Requests of one time keep the file's order.
        (
            [
                at("0", a),
                at("0", a),
                at("0", ""),
                at("0", a),
                at("300", r#","session_id":null"#),
            ],
            [Some(None), Some(Some(0)), None, Some(Some(1)), None],
        ),
    ] {
        let text = lines.concat();
        assert_eq!(after(&read(&text).expect(&text)), wanted, "{text}");
    }
    let columns = "Timestamp,Session ID,Request tokens,Response tokens\n0,x,1,1\n1,,1,1\n2,x,1,1\n";
    let trace = read(columns).expect(columns);
    assert_eq!(after(&trace), [Some(None), None, Some(Some(0))]);
}

/// Makes a record of Bailian's: 40 tokens and three blocks of 16.
fn chat(timestamp: &str, chat: i64, parent: &str) -> String {
    format!(
        "{{\"chat_id\":{chat},\"parent_chat_id\":{parent},\"timestamp\":{timestamp},\"input_length\":40,\"output_length\":5,\"type\":\"text\",\"turn\":1,\"hash_ids\":[1,2,{}]}}\n",
        chat + 10
    )
}

#[test]
fn a_chat_follows_its_parent_and_has_blocks_of_16() {
    // 1 and 3 continue 0, 4 continues 3; the parent of 5 is not in the file.
    let text = [
        chat("0.0", 0, "-1"),
        chat("0.5", 1, "0"),
        chat("0.7", 2, "null"),
        chat("1.5", 3, "0"),
        chat("2.0", 4, "3"),
        chat("2.5", 5, "77"),
    ]
    .concat();
    let in_ms = read_in(&text, Some(Unit::Milliseconds)).expect(&text);
    assert_eq!(in_ms.due_ns(3, 1.0), 1_500_000);
    let trace = read(&text).expect(&text);
    let wanted = [None, Some(0), None, Some(0), Some(3), None];
    assert_eq!(after(&trace), wanted.map(Some));
    assert_eq!(trace.due_ns(3, 1.0), 1_500_000_000);
    assert_eq!(trace.parts(0), [(1, 16), (2, 16), (10, 8)]);
    let texts = Texts::new(
        &Writer::new(1, "n"),
        &one_token_a_word(),
        trace.block_tokens(),
    );
    let prompts = [trace.prompt(0, &texts), trace.prompt(1, &texts)];
    assert_eq!(words(&prompts[0]).len(), 40);
    // Two blocks of 16 are shared, and nothing of the third.
    assert_eq!(common(&prompts[0], &prompts[1]), 32);
    let late = [chat("0", 1, "0"), chat("100", 0, "-1")].concat();
    assert_eq!(
        read(&late).expect_err(&late).to_string(),
        "[ERROR] --trace t.jsonl, line 1: its parent_chat_id is that of a later request; want a parent's timestamp before its children's"
    );
}

#[test]
fn columns_are_found_by_their_names() {
    let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6800000,374,44\r\n2023-11-16 18:15:50.9300000,396,109\n\n";
    let burst = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,Conversation log\n45,GPT-4,0,0,0,API log\n46.5,\"GPT-4, new\",700,9,709,API log\n47,GPT-4,8,0,8,API log\n";
    let other = "\u{feff}output_length, input_length ,timestamp\n9,600,12\n3,5,10\n";
    for (text, skipped, wanted) in [
        // 50.93 − 46.68 = 4.25 s.
        (azure, 0, &[(374, 44, 0), (396, 109, 4_250_000_000)][..]),
        (burst, 2, &[(472, 18, 0), (700, 9, 41_500_000_000)]),
        (other, 0, &[(5, 3, 0), (600, 9, 2_000_000_000)]),
    ] {
        let trace = read(text).expect(text);
        let have: Vec<_> = (0..trace.len())
            .map(|k| {
                (
                    trace.input_tokens(k),
                    trace.output_tokens(k),
                    trace.due_ns(k, 1.0),
                )
            })
            .collect();
        // A date is about 10^12 ms, of which an f64 resolves a quarter of a microsecond.
        for (have, wanted) in have.iter().zip(wanted) {
            assert_eq!((have.0, have.1), (wanted.0, wanted.1));
            assert!(have.2.abs_diff(wanted.2) < 1000, "{have:?}");
        }
        assert_eq!((have.len(), trace.skipped()), (wanted.len(), skipped));
        let ids: HashSet<u64> = (0..trace.len()).flat_map(|k| trace.hash_ids(k)).collect();
        let blocks: u64 = wanted
            .iter()
            .map(|(input, _, _): &(u64, u64, u64)| input.div_ceil(512))
            .sum();
        assert_eq!(
            ids.len() as u64,
            blocks,
            "no two prompts have a block in common"
        );
    }
    let trace = read_in(other, Some(Unit::Milliseconds)).expect(other);
    assert_eq!(due_ns(&trace), [0, 2_000_000]);
}

#[test]
fn a_wrong_line_of_columns_is_named() {
    let head = "Timestamp,Request tokens,Response tokens\n1,2,3\n";
    for (text, why) in [
        (
            "time,in,out\n1,2,3\n".to_string(),
            ", line 1: no column of timestamp; have: time, in, out; want Timestamp, ContextTokens or Request tokens, and GeneratedTokens or Response tokens",
        ),
        (
            format!("{head}x,2,3\n"),
            ", line 3: timestamp: want a number from 0 on or a date such as 2023-11-16 18:15:46.68, have x",
        ),
        (
            format!("{head}1,2.5,3\n"),
            ", line 3: tokens of the prompt: want a whole number of tokens, have 2.5",
        ),
        (
            format!("{head}1,2\n"),
            ", line 3: no tokens of the answer in it; it has 2 columns",
        ),
        (
            "Timestamp,Request tokens,Response tokens\n1,0,0\n".to_string(),
            ": no record with tokens in it",
        ),
    ] {
        let error = read(&text).expect_err(&text).to_string();
        assert_eq!(error, format!("[ERROR] --trace t.jsonl{why}"));
    }
}

#[test]
fn a_wrong_line_is_named_with_its_key() {
    let good = r#"{"timestamp":0,"input_length":600,"output_length":9,"hash_ids":[1,18446744073709551615]}"#;
    assert!(read(good).is_ok());
    for (from, to, why) in [
        (
            r#""timestamp":0,"#,
            "",
            "no timestamp in it; want timestamp, input_length, output_length and hash_ids",
        ),
        (
            r#","hash_ids":[1,18446744073709551615]"#,
            "",
            "no hash_ids in it; want timestamp, input_length, output_length and hash_ids",
        ),
        (
            "9,",
            "null,",
            "no output_length in it; want timestamp, input_length, output_length and hash_ids",
        ),
        (":0,", ":-1,", "timestamp: want a number from 0 on, have -1"),
        (
            ":0,",
            r#":"0","#,
            r#"timestamp: want a number from 0 on, have "0""#,
        ),
        (
            "600",
            "-600",
            "input_length: want a whole number from 0 to 2^64 - 1, have -600",
        ),
        (
            "600",
            "600.5",
            "input_length: want a whole number from 0 to 2^64 - 1, have 600.5",
        ),
        ("600", "0", "input_length: 0; want at least one token"),
        (
            "600",
            "1025",
            "2 hash_ids for an input_length of 1025; want 3, one for every 512 tokens",
        ),
        (
            "600",
            "512",
            "2 hash_ids for an input_length of 512; want 1, one for every 512 tokens",
        ),
        (
            ":9,",
            ":[9],",
            "output_length: want a whole number from 0 to 2^64 - 1, have [9]",
        ),
        (
            "[1,",
            "[-1,",
            "hash_ids: want a whole number from 0 to 2^64 - 1, have -1",
        ),
        (
            "[1,18446744073709551615]",
            "7",
            "hash_ids: a number, not an array",
        ),
        (
            "9,",
            r#"9,"text_input":"hi","#,
            "text_input: not supported; prompts are made from hash_ids and sent at timestamp",
        ),
        (
            "9,",
            r#"9,"delay":5,"#,
            "delay: not supported; prompts are made from hash_ids and sent at timestamp",
        ),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        let error = read(&format!("{good}\n\n{bad}\n")).expect_err(&bad);
        assert_eq!(
            error.to_string(),
            format!("[ERROR] --trace t.jsonl, line 3: {why}")
        );
    }
    let error = read("\n").expect_err("no record").to_string();
    assert_eq!(error, "[ERROR] --trace t.jsonl: no record in it");
    let error = read("[1]").expect_err("no object").to_string();
    assert_eq!(
        error,
        "[ERROR] --trace t.jsonl, line 1: a number; want an object"
    );
}

#[test]
fn a_prompt_has_the_words_of_its_tokens_and_its_blocks_end_where_theirs_do() {
    let one = one_token_a_word();
    // 1.05 tokens a word and 40 more; 512 tokens are (512 - 40) / 1.05 = 449.5 words, 1024 are 937.1.
    let chat = Calibration::fit((100, 145), (200, 250)).expect("a rising line");
    // Fewer tokens than words, and a first word that counts for less than one.
    let few = Calibration::fit((100, 40), (200, 90)).expect("a rising line");
    for (calibration, tokens, counts) in [
        (&one, 1_u64, [1, 1]),
        (&one, 5, [5, 5]),
        (&one, 512, [512, 512]),
        (&one, 1024, [1024, 512]),
        (&one, 1300, [1300, 1024]),
        (&chat, 512, [450, 450]),
        (&chat, 1024, [937, 450]),
        // (1300 - 40) / 1.05
        (&chat, 1300, [1200, 937]),
        // (512 + 10) / 0.5 and (1300 + 10) / 0.5, (1024 + 10) / 0.5
        (&few, 512, [1044, 1044]),
        (&few, 1300, [2620, 2068]),
        // The text before the prompt is longer than the prompt.
        (&chat, 20, [1, 1]),
    ] {
        let texts = texts(calibration);
        let ids: Vec<u64> = (0..tokens.div_ceil(512)).map(|block| 70 + block).collect();
        let prompt = texts.prompt(&ids, tokens);
        assert_eq!(words(&prompt).len(), counts[0], "{tokens}");
        let mut other = ids.clone();
        // All blocks but the last are the same.
        *other.last_mut().expect("a block") = 9;
        let same = common(&prompt, &texts.prompt(&other, tokens));
        let before_last = if ids.len() == 1 { 0 } else { counts[1] };
        assert!(
            (before_last..before_last + 10).contains(&same),
            "{tokens}: {same}"
        );
    }
}

#[test]
fn a_shorter_block_is_the_beginning_of_the_longer_one_of_its_name() {
    let texts = texts(&one_token_a_word());
    let long = texts.prompt(&[1, 2, 3], 1536);
    for tokens in [1, 2, 12, 300, 511, 512, 513, 520, 530, 1023, 1024, 1030] {
        let ids = &[1, 2, 3][..(tokens as usize).div_ceil(512)];
        assert_eq!(common(&texts.prompt(ids, tokens), &long), tokens as usize);
    }
}

#[test]
fn no_two_names_and_no_two_runs_share_a_block_of_16() {
    let calibration = one_token_a_word();
    let mut seen = HashSet::new();
    for nonce in ["a", "b"] {
        let texts = Texts::new(&Writer::new(1, nonce), &calibration, 512);
        for id in (0..2_000).chain(u64::MAX - 2_000..=u64::MAX) {
            let words = words(&texts.prompt(&[5, id], 528));
            assert!(seen.insert(words[512..].join(" ")), "{nonce} {id}");
            let first = pieces(&texts.prompt(&[id], 1)).concat();
            assert!(seen.insert(first), "{nonce} {id}");
        }
    }
}

#[test]
fn long_texts_are_shared_between_prompts() {
    let texts = texts(&one_token_a_word());
    let ids: Vec<u64> = (0..200).collect();
    let prompt = texts.prompt(&ids, 200 * 512);
    let own = pieces(&prompt)
        .iter()
        .filter(|piece| Arc::strong_count(piece) == 1);
    let own_bytes: usize = own.map(|piece| piece.len()).sum();
    // Eleven words of at most nine letters and a space each; about 600 KB in all.
    assert!(own_bytes < 200 * 110, "{own_bytes}");
    assert!(prompt.bytes() > 500_000, "{}", prompt.bytes());
}

/// Hits of request `k`.
fn hits_of(perfect: &mut Perfect, trace: &Trace, k: usize) -> u64 {
    let held = perfect.hold(trace.parts(k));
    perfect.count(trace.input_tokens(k), held)
}

#[test]
fn prompts_share_the_blocks_that_their_names_share() {
    let trace = read(&conversations(7, 600)).expect("a good trace");
    let texts = texts(&one_token_a_word());
    let mut twin = Twin::new(16);
    let mut perfect = Perfect::new(16);
    let mut seen: HashSet<u64> = HashSet::new();
    let (mut hits, mut tokens) = (0, 0);
    for k in 0..trace.len() {
        let found = twin.see(&pieces(&trace.prompt(k, &texts)).concat());
        // Each name stands for everything before it, so a set of names is enough; the last token is never found.
        let ids = trace.hash_ids(k);
        let leading = ids.iter().take_while(|id| seen.contains(*id));
        let by_name = (512 * leading.count() as u64).min(trace.input_tokens(k) - 1) / 16 * 16;
        assert_eq!(found, by_name, "request {k}");
        assert_eq!(hits_of(&mut perfect, &trace, k), by_name, "request {k}");
        seen.extend(trace.hash_ids(k));
        hits += found;
        tokens += trace.input_tokens(k);
    }
    let share = hits as f64 / tokens as f64;
    assert!((0.4..0.95).contains(&share), "{share}");
    assert_eq!(perfect.hit_share(), Some(share));
}
