//! `check prometheus`: the mock's page and recorded ones, and the errors about other pages.

use std::io::Write;

use crate::util::{Cmd, Dir, Output, RawServer, Server};

/// Starts a server that gives every request this status and body.
fn serving(status: u16, body: String) -> RawServer {
    RawServer::start(move |_, stream| {
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Both);
    })
}

fn recorded(name: &str) -> String {
    let path = format!("{}/tests/data/captures/{name}", env!("CARGO_MANIFEST_DIR"));
    let raw = std::fs::read_to_string(&path).expect(&path);
    raw.split_once("\r\n\r\n").expect("a head").1.to_string()
}

fn check(dir: &Dir, url: &str) -> Cmd {
    Cmd::new(dir).args(["check", "prometheus", url])
}

/// Returns type, value and series of a line of the table.
fn row(output: &Output, name: &str) -> Vec<String> {
    let mut lines = output.stdout.lines();
    let line = lines
        .find_map(|line| line.strip_prefix(name)?.strip_prefix("  "))
        .unwrap_or_else(|| panic!("a line {name}\n{output}"));
    line.split_whitespace().map(str::to_string).collect()
}

#[test]
fn the_counters_of_a_mock_are_those_of_its_truth_log() {
    let server = Server::start(&["--model", "m", "--itl", "1ms"]);
    let dir = Dir::new();
    let load =
        "--model m --contexts 1 --requests 3 --input-length 400 --output-length 5 --max-inflight 1";
    Cmd::new(&dir)
        .args(["benchmark", "--endpoint", server.addr()])
        .args(load.split(' '))
        .ok();
    let output = check(&dir, server.addr())
        .args(["--metrics", "lmcache_hit_rate", "vllm:prompt_tokens"])
        .args([
            "vllm:prompt_tokens_by_source{source=\"local_cache_hit\"},vllm:num_requests_running",
        ])
        .ok();
    let all = check(&dir, &format!("{}/", server.url())).ok();
    let truth = server.truth();
    let sum = |key: &str| -> u64 {
        let values = truth.iter().map(|request| request[key].as_u64());
        values.map(|value| value.expect(key)).sum()
    };
    let (prompt, hits) = (
        sum("prompt_tokens"),
        sum("hit_tier1_tokens") + sum("hit_tier2_tokens"),
    );
    assert!(hits > 0, "the context is asked again");
    let counter =
        |value: u64, series: &str| ["counter", &value.to_string(), series].map(str::to_string);
    assert_eq!(
        row(&output, "vllm:prompt_tokens"),
        counter(prompt, "1"),
        "{output}"
    );
    let source = "vllm:prompt_tokens_by_source{source=\"local_cache_hit\"}";
    assert_eq!(
        row(&output, source),
        counter(sum("hit_tier1_tokens"), "1"),
        "{output}"
    );
    assert_eq!(
        row(&output, "vllm:num_requests_running"),
        ["gauge", "0", "1"],
        "{output}"
    );
    let rate = format!("{:.3}", hits as f64 / prompt as f64);
    assert_eq!(
        row(&output, "lmcache_hit_rate"),
        ["ratio", &rate, "2"],
        "{output}"
    );
    let note = "lmcache_hit_rate: of vLLM, since its start: \
                vllm:prompt_tokens_cached_total over vllm:prompt_tokens_total\n";
    assert!(output.stdout.contains(note), "{output}");
    // Three series, one a source, add up to the whole.
    assert_eq!(
        row(&all, "vllm:prompt_tokens_by_source_total"),
        counter(prompt, "3"),
        "{all}"
    );
    assert_eq!(
        row(&all, "vllm:time_to_first_token_seconds_count")[0],
        "histogram",
        "{all}"
    );
    assert!(!all.stdout.contains("_bucket  "), "{all}");
}

#[test]
fn a_name_that_is_not_there_is_exit_code_1_with_the_nearest_five_and_the_rest_is_shown() {
    let server = serving(200, recorded("vllm/metrics.raw"));
    let dir = Dir::new();
    let output = check(&dir, &server.addr().to_string())
        .args([
            "--metrics",
            "vllm:prefix_cache_hit",
            "vllm:kv_cache_usage_perc",
            "moon",
        ])
        .fails(1);
    assert_eq!(server.requests()[0].path, "/metrics");
    assert_eq!(
        row(&output, "vllm:kv_cache_usage_perc"),
        ["gauge", "0", "1"],
        "{output}"
    );
    let lines: Vec<&str> = output.stderr.lines().collect();
    assert_eq!(
        lines[0],
        "[ERROR] --metrics vllm:prefix_cache_hit: not on the page"
    );
    assert!(
        lines[1].starts_with("Nearest: vllm:prefix_cache_hits_total, "),
        "{output}"
    );
    assert_eq!(lines[1].split(", ").count(), 5, "{output}");
    assert!(
        lines[2].starts_with("moon is not on the page either; nearest: "),
        "{output}"
    );
}

#[test]
fn a_page_is_listed_whole_with_the_path_that_was_given() {
    let server = serving(200, recorded("llama-server/metrics.raw"));
    let dir = Dir::new();
    let url = format!("http://{}/prometheus/metrics?x=1", server.addr());
    let output = check(&dir, &url).ok();
    assert_eq!(server.requests()[0].path, "/prometheus/metrics?x=1");
    let (head, _) = output.stdout.split_once('\n').expect("a line");
    assert!(head.starts_with(&format!("{url}: read in ")), "{output}");
    assert!(
        head.ends_with(" ms, 2595 bytes, 15 names, 15 series"),
        "{output}"
    );
    assert_eq!(
        row(&output, "llamacpp:prompt_tokens_total"),
        ["counter", "427", "1"]
    );
    assert_eq!(
        row(&output, "llamacpp:n_busy_slots_per_decode"),
        ["gauge", "1.012", "1"]
    );
}

#[test]
fn a_page_without_metrics_says_why() {
    let dir = Dir::new();
    for (status, body, code, why) in [
        (404, "", 2, "HTTP status 404"),
        (200, "<html>", 1, "line 1: HTML or XML, not metrics"),
        (
            200,
            "# EOF\nup one\n",
            1,
            "line 2: \"up\": \"one\" is not a number",
        ),
    ] {
        let server = serving(status, body.to_string());
        let url = format!("http://{}/metrics", server.addr());
        let output = check(&dir, &url).fails(code);
        assert!(
            output
                .stderr
                .starts_with(&format!("[ERROR] {url}: {why}\n")),
            "{output}"
        );
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = closed.local_addr().expect("it is bound").to_string();
    drop(closed);
    let output = check(&dir, &addr).fails(2);
    assert!(
        output
            .stderr
            .starts_with(&format!("[ERROR] http://{addr}/metrics: connect: ")),
        "{output}"
    );
    for (words, why) in [
        (
            &["u:p@h"][..],
            "[ERROR] ****@h: a user name or password in the URL is not accepted\n",
        ),
        (
            &[],
            "[ERROR] check prometheus: not given; want tmesh-cli check prometheus URL\n",
        ),
        (
            &["h", "--metrics", "a-b"],
            "[ERROR] --metrics a-b: '-' is not part of a metric name; want",
        ),
    ] {
        let output = Cmd::new(&dir)
            .args(["check", "prometheus"])
            .args(words)
            .fails(2);
        assert!(output.stderr.starts_with(why), "{output}");
        assert_eq!(output.stdout, "", "{output}");
    }
    let help = Cmd::new(&dir).args(["check", "prometheus", "-h"]).ok();
    assert!(
        help.stdout
            .contains("\n  tmesh-cli check prometheus localhost:8000\n"),
        "{help}"
    );
}

#[test]
fn a_line_that_is_not_understood_costs_that_line_and_the_first_is_shown() {
    let dir = Dir::new();
    for (odd, series, said) in [
        (
            "# TYPE \"http.server.duration\" gauge\n{\"http.server.duration\",route=\"/v1\"} 3\n\
             app_info{\"service.name\"=\"x\"} 1\n",
            4,
            "",
        ),
        (
            "cpu.load 3\n",
            2,
            "1 line was not understood: line 3: not a metric name: \"cpu.load 3\"\n",
        ),
        (
            "a{b=\"c\"} <nil>\na{b=\"c\"} \nnh {count:24,sum:100}\n",
            2,
            "3 lines were not understood, the first: line 3: \"a\": \"<nil>\" is not a number\n",
        ),
    ] {
        let page = "ray_vllm:prefix_cache_hits_total 5\nray_vllm:prefix_cache_queries_total 10\n";
        let server = serving(200, format!("{page}{odd}"));
        let output = check(&dir, &server.addr().to_string())
            .args(["--metrics", "lmcache_hit_rate", "vllm:prefix_cache_hits"])
            .ok();
        let head = format!(" {series} names, {series} series\n{said}\n");
        assert!(output.stdout.contains(&head), "{output}");
        assert_eq!(row(&output, "lmcache_hit_rate"), ["ratio", "0.500", "2"]);
        assert_eq!(
            row(&output, "vllm:prefix_cache_hits"),
            ["counter", "5", "1"]
        );
    }
    let server = serving(200, "{\"http.server.duration\"} 3\n".to_string());
    let output = check(&dir, &server.addr().to_string())
        .args(["--metrics", "{\"http.server.duration\"}"])
        .ok();
    let shown = row(&output, "{\"http.server.duration\"}");
    assert_eq!(shown, ["gauge", "3", "1"], "{output}");
}
