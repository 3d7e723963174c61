//! Every command line of the two guides, with only the host changed: a test each.

use crate::command_lines::{run, runnable};
use crate::util::{Dir, Output, Server};

/// Runs the line against a mock of gpt-oss-20b.
fn guide(line: &str) -> Output {
    let server = Server::start(&[]);
    let dir = Dir::new();
    run(&runnable(line, server.addr()), &dir)
}

macro_rules! guide_lines {
    ($($name:ident: $line:literal,)*) => {$(
        #[test]
        fn $name() {
            let output = guide($line);
            assert_sequence(&output);
        }
    )*};
}

guide_lines! {
    quick_start: r#"tmesh-cli benchmark --endpoint "http://localhost:8000" --api-key "your-api-key""#,
    url_bare: r#"tmesh-cli benchmark --endpoint "http://localhost:8000" --api-key "sk-123""#,
    url_with_slash: r#"tmesh-cli benchmark --endpoint "http://localhost:8000/" --api-key "sk-123""#,
    url_with_v1: r#"tmesh-cli benchmark --endpoint "http://localhost:8000/v1" --api-key "sk-123""#,
    url_with_v1_and_slash: r#"tmesh-cli benchmark --endpoint "http://localhost:8000/v1/" --api-key "sk-123""#,
    url_without_scheme: r#"tmesh-cli benchmark --endpoint "localhost:8000" --api-key "sk-123""#,
    long_key: r#"tmesh-cli benchmark --endpoint "http://89.169.111.29:30080/" --api-key "vllm_sk_555a1b7ff3e0f617b1240375ea411c2a5f08d2666fcdc718075f66c9""#,
    local_deployment: r#"tmesh-cli benchmark --endpoint "http://localhost:8000" --api-key "test""#,
    remote_deployment: r#"tmesh-cli benchmark --endpoint "http://production.example.com" --api-key "prod-key""#,
    in_the_background: r#"nohup tmesh-cli benchmark --endpoint "http://localhost:8000" --api-key "sk-123" > benchmark.log 2>&1 &"#,
    placeholders: r#"tmesh-cli benchmark --endpoint "<YOUR_OPEN_AI_API_ENDPOINT>" --api-key "<OPTIONAL_API_KEY>""#,
    second_guide: r#"tmesh-cli benchmark --endpoint "http://192.168.111.29:30080/" --api-key "vllm_sk_555a1b7ff3e0f617b1240300000000018075f66c9""#,
}

#[test]
fn help() {
    let output = guide("tmesh-cli --help");
    assert!(output.stdout.contains("benchmark"), "{output}");
}

/// Checks the guides' lines in their order: start-up, NOTE, workload, and a block's twelve labels.
fn assert_sequence(output: &Output) {
    let mut rest = output.stdout.lines();
    for wanted in [
        "endpoint: ",
        "api_key: ****",
        "normalized endpoint: http://127.0.0.1:",
        "found model: openai/gpt-oss-20b",
        "offload_size: 100",
        "NOTE: tmesh-cli benchmark will run forever until you interrupt the process.",
        "Workload Specifications:",
        "Model: openai/gpt-oss-20b",
        "Number of Contexts: 61",
        "Number of Questions per Context: 61",
        "Max Inflight Requests (Load-Balancing): 20",
        "Input Length: 32000",
        "Output Length: 100",
        "Elapsed Time: ",
        "Total Number of Requests Processed: ",
        "QPS: ",
        "Global Average TTFT: ",
        "Global Average ITL: ",
        "Global Average Prefill Throughput: ",
        "Global Average Decode Throughput: ",
        "Requests Processed in Last 1 second Interval: ",
        "Interval Average TTFT: ",
        "Interval Average ITL: ",
        "Interval Average Prefill Throughput: ",
        "Interval Average Decode Throughput: ",
        "Final Report (stopped by a signal)",
    ] {
        assert!(
            rest.any(|line| line.starts_with(wanted)),
            "no {wanted:?} in its place\n{output}"
        );
    }
    for key in ["your-api-key", "sk-123", "sk_555a", "prod-key"] {
        assert!(
            !output
                .to_string()
                .split("--- stdout")
                .nth(1)
                .is_some_and(|text| text.contains(key)),
            "{output}"
        );
    }
}
