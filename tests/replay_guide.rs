//! Every command line of the guide of `replay`, with its first words and hosts changed: a test each.

use serde_json::{Value, json};

use crate::command_lines::{run, runnable};
use crate::util::{Cmd, Dir, Output, Server, json_file};

const MODEL: &str = "meta-llama/Llama-3-8B";

/// Makes a folder with the datasets that the guide's lines name, with `words` words a prompt.
fn guide_dir(words: usize) -> Dir {
    let dir = Dir::new();
    let prompt = |k: usize| {
        let words: Vec<String> = (0..words).map(|word| format!("p{k}w{word}")).collect();
        words.join(" ")
    };
    let lines = |n: usize| -> String {
        let records = (0..n).map(|k| json!({"text": prompt(k)}).to_string() + "\n");
        records.collect()
    };
    for name in ["narrativeqa", "mixed", "production_queries", "test"] {
        dir.write(&format!("data/{name}.jsonl"), lines(60));
    }
    let chat = [
        json!({"session_id": "s1", "user_messages": ["Question1", "Question2"]}),
        json!({"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"},
            {"from": "human", "value": "how are you"}]}),
        json!({"messages": [{"role": "user", "content": "Q1"}, {"role": "assistant", "content": "A1"},
            {"role": "user", "content": "Q2"}]}),
    ];
    let chat: String = chat.iter().map(|record| format!("{record}\n")).collect();
    dir.write("data/chat.jsonl", chat);
    let array: Vec<Value> = (0..12).map(|k| json!({"prompt": prompt(k)})).collect();
    dir.write(
        "examples/example_dataset.json",
        Value::from(array).to_string(),
    );
    let slo = "slo:\n  ttft_ms: 1000        # TTFT must be < 1000ms\n  itl_ms: 50           # ITL must be < 50ms\n  \
               latency_ms: 10000    # Total latency must be < 10000ms\n";
    dir.write("slo.yaml", slo);
    dir.write("slo_production.yaml", slo);
    dir
}

/// Runs the line against a fast mock.
fn guide(line: &str, dir: &Dir) -> Output {
    let options = [
        "--model",
        MODEL,
        "--base",
        "2ms",
        "--itl",
        "200us",
        "--prefill-rate",
        "10M",
    ];
    let server = Server::start(&options);
    let line = line.replace("localhost:3001", server.addr());
    run(&runnable(&line, server.addr()), dir)
}

/// Returns the summary of each level and round, after checking that all requests succeeded.
fn summaries(dir: &Dir, folder: &str, levels: &[u64], requests: u64) -> Vec<Value> {
    let mut found = Vec::new();
    for level in levels {
        for round in [1, 2] {
            let file = json_file(
                dir,
                &format!("{folder}/concurrency_{level}_round_{round}.json"),
            );
            assert_eq!(file["configuration"]["concurrency"], *level);
            assert_eq!(file["configuration"]["round"], round);
            let summary = file["summary"].clone();
            assert_eq!(summary["total_requests"], requests, "{level} {round}");
            assert_eq!(summary["successful_requests"], requests, "{level} {round}");
            assert_eq!(
                file["requests"].as_array().map(Vec::len),
                Some(requests as usize)
            );
            found.push(summary);
        }
    }
    let csv = dir.read(&format!("{folder}/metrics_summary.csv"));
    let columns: Vec<String> = levels
        .iter()
        .flat_map(|level| [1, 2].map(|round| format!("Concurrency{level}-Round{round}")))
        .collect();
    let header = format!("Metric/Round,{}", columns.join(","));
    assert_eq!(csv.lines().next(), Some(header.as_str()));
    found
}

#[test]
fn the_complete_example() {
    let dir = guide_dir(200);
    let output = guide(
        "tmesh-cli replay --dataset data/narrativeqa.jsonl --endpoint http://localhost:8000/v1/chat/completions \
         --model meta-llama/Llama-3-8B --num-samples 100 --concurrency 5 10 20 --max-input-length 8192 \
         --max-output-tokens 512 --temperature 0.7 --timeout 600 --prometheus-url http://localhost:3001/metrics \
         --prometheus-metrics lmcache_hit_rate memory_usage_bytes --slo-file slo.yaml --output-dir results/test_run",
        &dir,
    );
    let summaries = summaries(&dir, "results/test_run", &[5, 10, 20], 60);
    for summary in &summaries {
        assert_eq!(summary["avg_output_tokens"], 512.0);
        assert_eq!(summary["goodput_requests"], 60);
    }
    for text in [
        "Concurrency: 10 | Round 2 Performance Metrics",
        "Total Requests: 60 | Success: 60 | Failed: 0 | Test Duration: ",
        "│ TTFT (ms)  ",
        "│ lmcache_hit_rate*  ",
        "Requests Meeting SLO: 60 / 60 (100.00%)",
        "Tokens Meeting SLO: 30720 / 30720 (100.00%)",
        "Prometheus Metrics",
    ] {
        assert!(output.stdout.contains(text), "no {text}\n{output}");
    }
    assert!(
        output
            .stderr
            .contains("--num-samples 100: the dataset has 60"),
        "{output}"
    );
    assert!(output.stderr.contains("memory_usage_bytes"), "{output}");
}

#[test]
fn the_debug_example() {
    let dir = guide_dir(5);
    guide(
        "tmesh-cli replay --dataset data/chat.jsonl --endpoint http://localhost:8001/v1/chat/completions \
         --num-samples 4 --concurrency 2 --debug --debug-log-dir debug_logs",
        &dir,
    );
    summaries(&dir, "benchmark_results", &[2], 6);
    let log = dir.read("debug_logs/concurrency_2_round_1.jsonl");
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 6);
    let second = lines
        .iter()
        .find(|line| line["session_id"] == "s1" && line["turn_index"] == 1)
        .expect("the second turn");
    let messages = second["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 3);
    assert!(
        messages[0]["content"]
            .as_str()
            .is_some_and(|text| text.ends_with("Question1"))
    );
    assert_eq!(messages[1]["role"], "assistant");
    assert_eq!(messages[2]["content"], "Question2");
    assert!(
        second["context_tokens"]
            .as_u64()
            .is_some_and(|tokens| tokens > 0)
    );
    assert_eq!(second["truncated_pairs"], 0);
}

#[test]
fn the_mock_service_example() {
    let dir = guide_dir(5);
    // Only the port differs from the guide, since two test runs may share this machine.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
        .to_string();
    let line = "tmesh-cli replay --dataset examples/example_dataset.json --mock-server --mock-host 127.0.0.1 \
                --mock-port 8765 --num-samples 4 --concurrency 2 --debug";
    let output = run(&line.replace("8765", &port), &dir);
    summaries(&dir, "benchmark_results", &[2], 4);
    assert!(
        output
            .stdout
            .contains(&format!("endpoint: http://127.0.0.1:{port}")),
        "{output}"
    );
    assert!(
        output
            .stdout
            .contains("Mock server: not a measurement of an engine"),
        "{output}"
    );
}

#[test]
fn example_1_a_basic_test() {
    let dir = guide_dir(5);
    guide(
        "tmesh-cli replay --dataset examples/example_dataset.json --endpoint http://localhost:8000/v1/chat/completions \
         --num-samples 10 --concurrency 5",
        &dir,
    );
    summaries(&dir, "benchmark_results", &[5], 10);
}

#[test]
fn example_2_shows_what_the_cache_does() {
    let dir = guide_dir(200);
    guide(
        "tmesh-cli replay --dataset data/narrativeqa.jsonl --endpoint http://localhost:8000/v1/chat/completions \
         --num-samples 50 --concurrency 10 --prometheus-url http://localhost:3001/metrics \
         --prometheus-metrics lmcache_hit_rate --output-dir results/cache_test",
        &dir,
    );
    let summaries = summaries(&dir, "results/cache_test", &[10], 50);
    let rate = |summary: &Value| {
        let rate = &summary["prometheus_metrics"]["lmcache_hit_rate"]["over_round"];
        rate.as_f64().expect("a rate")
    };
    assert_eq!(rate(&summaries[0]), 0.0);
    // 192 of 201 words are in whole blocks of 16.
    assert!(
        (rate(&summaries[1]) - 192.0 / 201.0).abs() < 1e-9,
        "{}",
        summaries[1]
    );
}

#[test]
fn example_3_many_levels() {
    let dir = guide_dir(5);
    guide(
        "tmesh-cli replay --dataset data/mixed.jsonl --endpoint http://localhost:8000/v1/chat/completions \
         --num-samples 200 --concurrency 1 5 10 20 50 100 --output-dir results/scaling_test",
        &dir,
    );
    summaries(&dir, "results/scaling_test", &[1, 5, 10, 20, 50, 100], 60);
}

#[test]
fn example_4_an_slo() {
    let dir = guide_dir(5);
    let output = guide(
        "tmesh-cli replay --dataset data/production_queries.jsonl --endpoint http://production:8000/v1/chat/completions \
         --num-samples 1000 --concurrency 50 --slo-file slo_production.yaml --output-dir results/slo_check",
        &dir,
    );
    let summaries = summaries(&dir, "results/slo_check", &[50], 60);
    assert_eq!(summaries[0]["goodput_requests"], 60);
    assert!(output.stdout.contains("Goodput (SLO):"), "{output}");
}

#[test]
fn a_custom_dataset_longbench_and_a_longer_input() {
    let dir = guide_dir(5);
    let record = |k: usize| {
        json!({"input": format!("Who is person {k}?"), "context": format!("Person {k} is a baker. ").repeat(40),
            "answers": ["a baker"], "length": 200, "dataset": "narrativeqa", "language": "en",
            "all_classes": null, "_id": format!("id-{k}")})
    };
    let lines: String = (0..60).map(|k| format!("{}\n", record(k))).collect();
    dir.write("longbench/narrativeqa.jsonl", lines);
    run(
        "tmesh-cli convert longbench --input-dir longbench --dataset narrativeqa --num-samples 50 \
         --output data/long_context.jsonl",
        &dir,
    );
    assert_eq!(dir.read("data/long_context.jsonl").lines().count(), 50);
    guide(
        "tmesh-cli replay --dataset data/long_context.jsonl --max-input-length 16384 \
         --endpoint http://localhost:8000/v1/chat/completions",
        &dir,
    );
    summaries(&dir, "benchmark_results", &[1], 50);
}

#[test]
fn the_batch_script() {
    let dir = guide_dir(5);
    let server = Server::start(&["--base", "1ms", "--itl", "100us"]);
    let script = r#"#!/bin/bash
CONCURRENCIES="1 5 10 20 50 100"

for conc in $CONCURRENCIES; do
    echo "Testing concurrency: $conc"
    tmesh-cli replay \
      --dataset data/test.jsonl \
      --endpoint http://localhost:8000/v1/chat/completions \
      --num-samples 100 \
      --concurrency $conc \
      --output-dir results/conc_$conc
done
"#;
    dir.write("batch.sh", script.replace("localhost:8000", server.addr()));
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_tmesh-cli"));
    let folder = bin.parent().expect("it is in a folder").display();
    let path = std::env::var("PATH").unwrap_or_default();
    Cmd::program("bash", &dir)
        .arg("batch.sh")
        .env("PATH", format!("{folder}:{path}"))
        .deadline(std::time::Duration::from_secs(60))
        .ok();
    for level in [1, 5, 10, 20, 50, 100] {
        summaries(&dir, &format!("results/conc_{level}"), &[level], 60);
    }
}
