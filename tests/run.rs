//! `run` as a process: its figures, its files, its report, and limits.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::util::{Cmd, Dir, Output, RawServer, Running, Server, engine, until, with_engines};

const FILES: [&str; 7] = [
    "REPORT.md",
    "benchmark_summary.json",
    "long_input_metrics.json",
    "report.html",
    "samples.jsonl",
    "short_input_metrics.json",
    "stress_test_metrics.json",
];
/// Options of a mock without delays.
const FAST: &str = "base=1ms,itl=0s";

fn run(dir: &Dir, options: &[&str]) -> Cmd {
    Cmd::new(dir).arg("run").args(options)
}

fn report(dir: &Dir, options: &[&str]) -> Cmd {
    Cmd::new(dir).arg("report").args(options)
}

fn json(dir: &Dir, name: &str) -> Value {
    let text = dir.read(&format!("benchmark_results/{name}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn metrics(dir: &Dir, workload: &str) -> Value {
    json(dir, &format!("{workload}_metrics.json"))
}

fn files(dir: &Dir) -> Vec<String> {
    let entries = std::fs::read_dir(dir.path().join("benchmark_results")).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names.map(|name| name.display().to_string()).collect();
    names.sort();
    names
}

/// Returns the table of a run and the lines below it, as `report` prints them.
fn table(output: &Output) -> String {
    // Where more than 1 % failed, this stands before it.
    let at = output.stdout.find("FAILED REQUESTS: ");
    let at = at.or_else(|| output.stdout.find("Workload  "));
    let table = &output.stdout[at.unwrap_or_else(|| panic!("no table\n{output}"))..];
    // The verdict follows the line that names the folder.
    let (table, rest) = table.split_once("\nResults in ").unwrap_or((table, ""));
    let answer = rest.split_once('\n').map_or("", |(_, answer)| answer);
    format!("{table}{answer}")
}

/// Returns the errors of a workload's avg TTFT and TBT against the mock's 10 and 5 ms.
fn errors_ms(dir: &Dir, workload: &str) -> (f64, f64) {
    let file = metrics(dir, workload);
    let off = |key: &str, wanted: f64| (file[key].as_f64().expect(key) - wanted).abs();
    (off("avg_ttft_ms", 10.0), off("avg_tbt_ms", 5.0))
}

fn is_near(errors_ms: (f64, f64)) -> bool {
    errors_ms.0 <= 1.0 && errors_ms.1 <= 0.2
}

#[test]
fn one_click_measures_the_mock_and_leaves_seven_files() {
    let dir = Dir::new();
    let start = Instant::now();
    let output = run(&dir, &[]).ok();
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_secs(15), "{elapsed:?}\n{output}");
    check_year1(&dir, &output);
    for (workload, option) in [
        ("short_input", "short"),
        ("long_input", "long"),
        ("stress_test", "stress"),
    ] {
        let mut seen = vec![errors_ms(&dir, workload)];
        // Other tests may slow the mock down, so this is repeated, but not forever.
        while !is_near(seen[seen.len() - 1]) {
            assert!(
                seen.len() < 5,
                "{workload}: TTFT and TBT are off by {seen:?} ms"
            );
            run(&dir, &["--workload", option]).ok();
            seen.push(errors_ms(&dir, workload));
        }
    }
}

/// Checks what does not depend on how busy the machine is.
fn check_year1(dir: &Dir, output: &Output) {
    assert_eq!(files(dir), FILES);
    let summary = json(dir, "benchmark_summary.json");
    let overall = json!({"total_workloads": 3, "total_requests": 18, "successful_requests": 18,
        "failed_requests": 0});
    assert_eq!(summary["overall"], overall);
    for (name, requests, at_once, tokens) in [
        ("short_input", 5, 1, 128.0),
        ("long_input", 3, 1, 200.0),
        ("stress_test", 10, 10, 256.0),
    ] {
        let file = metrics(dir, name);
        assert_eq!(summary["workloads"][name], file);
        assert_eq!(file["total_requests"], requests, "{name}");
        assert_eq!(file["successful_requests"], requests, "{name}");
        assert_eq!(file["error_rate"], 0.0, "{name}");
        assert_eq!(file["detail"]["concurrency_peak"], at_once, "{name}");
        for key in ["avg_input_tokens", "avg_output_tokens"] {
            assert_eq!(file["detail"][key], tokens, "{name}: {key}");
        }
        let peak = file["peak_mem_mb"].as_f64().expect("this process");
        assert!((1.0..500.0).contains(&peak), "{name}: {peak} MiB");
        let source = file["metric_sources"]["peak_mem_mb"].as_str();
        assert!(
            source.is_some_and(|text| text.ends_with("this process, which contains the mock")),
            "{source:?}"
        );
        // The page is read every quarter second: at least the prompt and one token of one request, at most all.
        let used = file["total_kv_used_tokens"].as_u64().expect("a reading");
        let whole = 2 * tokens as u64;
        let blocks = whole.div_ceil(16) * 16 * at_once;
        assert!((whole / 2..=blocks).contains(&used), "{name}: {used}");
    }
    for text in [output.stdout.as_str(), output.stderr.as_str()] {
        assert!(!text.contains('\x1b'), "no terminal, no codes\n{output}");
    }
    let note = "\nMock server: not a measurement of an engine\n";
    assert!(output.stdout.contains(note), "{output}");
}

#[test]
fn a_run_is_reported_as_it_was_printed() {
    let dir = Dir::new();
    // The first four requests of stress_test, after one of the set-up and eight of the other workloads.
    let mock = format!("{FAST},faults=http:503@10+11+12+13");
    let options = ["--mock", &mock];
    for locale in ["C", "C.UTF-8"] {
        let printed = run(&dir, &options).env("LC_ALL", locale).ok();
        let printed = table(&printed);
        for part in ["stress_test: Failed", "\nTTFT: ", "\nToken gap: "] {
            assert!(printed.contains(part), "no {part}\n{printed}");
        }
        assert_eq!(printed.contains('▇'), locale == "C.UTF-8", "{printed}");
        for input in [
            &[][..],
            &["-i", "benchmark_results"],
            &["-i", "benchmark_results/benchmark_summary.json"],
            &["-i", "benchmark_results/samples.jsonl"],
        ] {
            let shown = report(&dir, input).env("LC_ALL", locale).ok();
            assert_eq!(shown.stdout, printed, "{input:?}");
            assert_eq!(shown.stderr, "", "{input:?}");
        }
    }
    let stress = metrics(&dir, "stress_test");
    assert_eq!(stress["failed_requests"], 4);
    assert_eq!(stress["error_rate"], 0.4);
    assert_eq!(stress["failures"]["http"]["count"], 4, "{stress}");
    let markdown = report(&dir, &["--format", "markdown"]).ok();
    assert_eq!(markdown.stdout, dir.read("benchmark_results/REPORT.md"));
    let html = report(&dir, &["--format", "html"]).ok();
    assert_eq!(html.stdout, dir.read("benchmark_results/report.html"));
    let of_samples = ["-i", "benchmark_results/samples.jsonl", "--format", "json"];
    let of_samples = report(&dir, &of_samples).ok();
    let of_samples: Value = serde_json::from_str(&of_samples.stdout).expect("JSON");
    assert_eq!(of_samples, json(&dir, "benchmark_summary.json"));
}

#[test]
fn a_summary_alone_has_the_table_and_says_what_is_missing() {
    let dir = Dir::new();
    let printed = run(&dir, &["--mock", FAST]).ok();
    let printed = table(&printed);
    let (figures, _) = printed.split_once("\n\n").expect("a table");
    std::fs::remove_file(dir.path().join("benchmark_results/samples.jsonl")).expect("a file");
    let bare = report(&dir, &[]).ok();
    let note = "Note: The input has no samples: no charts, no reasons of failures and no sources";
    let rest = bare.stdout.strip_prefix(figures);
    let rest = rest.unwrap_or_else(|| panic!("{figures}\n{bare}"));
    assert!(rest.contains(note) && !rest.contains("\nTTFT: "), "{bare}");
}

#[test]
fn one_workload_is_reported_alone() {
    let dir = Dir::new();
    let printed = run(&dir, &["--mock", FAST]).ok();
    let path = "benchmark_results/long_input_metrics.json";
    let file: Value = serde_json::from_str(&dir.read(path)).expect("JSON");
    let names = |output: &Output| -> Vec<String> {
        let table = table(output);
        let line = table.lines().next().unwrap_or_default();
        line.split_whitespace().map(str::to_string).collect()
    };
    let cell = |output: &Output, row: &str, column: usize| -> String {
        let table = table(output);
        let line = table.lines().find(|line| line.starts_with(row));
        let line = line.unwrap_or_else(|| panic!("no {row}\n{output}"));
        let cells = line[row.len()..].split_whitespace().nth(column);
        cells.expect("a cell").to_string()
    };
    let check = |has_samples| {
        let alone = report(&dir, &["-i", path]).ok();
        assert_eq!(names(&alone), ["Workload", "long_input"]);
        for row in ["TTFT avg (ms)", "TBT avg (ms)", "Output tokens/s"] {
            assert_eq!(cell(&alone, row, 0), cell(&printed, row, 1), "{row}");
        }
        assert_eq!(alone.stdout.contains("\nTTFT: "), has_samples, "{alone}");
        assert!(!alone.stdout.contains("short_input"), "{alone}");
        let shown = report(&dir, &["-i", path, "--format", "json"]).ok();
        serde_json::from_str::<Value>(&shown.stdout).expect("JSON")
    };
    // From the samples, the report of the run is the same without the other workloads.
    let of_samples = check(true);
    assert_eq!(of_samples["workloads"], json!({"long_input": file}));
    std::fs::remove_file(dir.path().join("benchmark_results/samples.jsonl")).expect("a file");
    assert_eq!(check(false), file);
}

/// Starts a run that never ends: the mock stops in its answer to this request.
fn stalled(dir: &Dir, number: u64) -> Running {
    let mock = format!("{FAST},faults=stall:1@{number}");
    run(dir, &["--mock", &mock]).start()
}

/// Waits until this many requests of the workload have ended.
fn until_ended(dir: &Dir, workload: &str, wanted: usize) {
    let path = dir.path().join("benchmark_results/samples.jsonl");
    let label = format!("\"workload\":\"{workload}\",\"phase\"");
    until("sample", || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        text.matches(&label).count() >= wanted
    });
}

#[test]
fn a_run_that_was_killed_leaves_whole_files_and_can_be_reported() {
    let dir = Dir::new();
    // The 1st request is the set-up's, 8 are those of the other workloads, and the last of ten is the 19th.
    let running = stalled(&dir, 19);
    until_ended(&dir, "stress_test", 9);
    running.signal("KILL");
    running.wait();
    let wanted = [
        "benchmark_summary.json",
        "long_input_metrics.json",
        "samples.jsonl",
        "short_input_metrics.json",
    ];
    assert_eq!(files(&dir), wanted);
    let summary = json(&dir, "benchmark_summary.json");
    assert_eq!(summary["overall"]["total_requests"], 8);
    assert_eq!(metrics(&dir, "short_input")["successful_requests"], 5);
    assert_eq!(metrics(&dir, "long_input")["successful_requests"], 3);
    let shown = report(&dir, &["-i", "benchmark_results"]).ok();
    assert!(shown.stdout.starts_with("Workload  "), "{shown}");
    let row = shown
        .stdout
        .lines()
        .find(|line| line.starts_with("Succeeded"));
    let row: Vec<&str> = row.expect("a row").split_whitespace().collect();
    assert_eq!(row, ["Succeeded", "5", "3", "9"], "{shown}");
    let note = "Note: stress_test has no end in this file";
    assert!(shown.stdout.contains(note), "{shown}");

    // The file is cut in the middle of the last line.
    let text = dir.read("benchmark_results/samples.jsonl");
    dir.write("benchmark_results/samples.jsonl", &text[..text.len() - 9]);
    let torn = report(&dir, &["-i", "benchmark_results"]).ok();
    let note = "Note: The last line of the samples is incomplete";
    assert!(torn.stdout.contains(note), "{torn}");
    for format in ["json", "markdown", "html"] {
        report(&dir, &["-i", "benchmark_results", "--format", format]).ok();
    }
}

#[test]
fn ctrl_c_reports_what_was_measured_and_counts_what_was_cut() {
    let dir = Dir::new();
    // The 1st request is the set-up's, 5 are short_input's: this is the second of long_input.
    let running = stalled(&dir, 8);
    until_ended(&dir, "long_input", 1);
    let start = Instant::now();
    running.signal("INT");
    let output = running.wait();
    let elapsed = start.elapsed();
    assert_eq!(output.status.code(), Some(130), "{output}");
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}\n{output}");
    let cut = "long_input: Requests Cut at the End: 1";
    assert!(output.stdout.contains(cut), "{output}");
    let mut wanted = FILES.to_vec();
    wanted.retain(|name| !name.starts_with("stress"));
    assert_eq!(files(&dir), wanted);
    let file = metrics(&dir, "long_input");
    assert_eq!(file["successful_requests"], 1);
    assert_eq!(file["failed_requests"], 0);
    assert_eq!(
        json(&dir, "benchmark_summary.json")["workloads"]["long_input"],
        file
    );
    assert_eq!(report(&dir, &[]).ok().stdout, table(&output));
}

#[test]
fn limits_that_are_missed_are_named_and_end_with_1() {
    let dir = Dir::new();
    let with = |options: &[&str]| run(&dir, &["--mock", FAST]).args(options);
    let output = with(&[
        "--fail-if",
        "avg_spec_accept_rate<0.1",
        "--fail-if",
        "stress_test.total_requests >= 10",
        "--fail-if",
        "error_rate>0",
    ])
    .fails(1);
    let wanted = "\
[ERROR] --fail-if avg_spec_accept_rate<0.1: short_input.avg_spec_accept_rate is not reported
[ERROR] --fail-if avg_spec_accept_rate<0.1: long_input.avg_spec_accept_rate is not reported
[ERROR] --fail-if avg_spec_accept_rate<0.1: stress_test.avg_spec_accept_rate is not reported
[ERROR] --fail-if stress_test.total_requests>=10: stress_test.total_requests is 10.000
";
    assert_eq!(output.stderr, wanted);
    // All files are there, and shown, before the verdict.
    assert_eq!(files(&dir), FILES);
    assert_eq!(report(&dir, &[]).ok().stdout, table(&output));
    let met = [
        "--fail-if",
        "total_requests>10",
        "--fail-if",
        "avg_ttft_ms<0",
    ];
    with(&met).ok();
}

#[test]
fn a_limit_that_cannot_be_judged_is_refused_before_any_request() {
    let server = Server::start(&[]);
    let url = server.url();
    let dir = Dir::new();
    for (option, value, wanted) in [
        (
            "--fail-if",
            "ttft_ms>1",
            "--fail-if 'ttft_ms>1': no such figure",
        ),
        (
            "--fail-if",
            "avg_tft_ms>1",
            "--fail-if 'avg_tft_ms>1': no such figure; did you mean avg_ttft_ms?",
        ),
        (
            "--fail-if",
            "long_input.error_rate>0",
            "--fail-if 'long_input.error_rate>0': no such workload in this run; want one of short_input",
        ),
        (
            "--fail-if",
            "avg_ttft_ms",
            "--fail-if 'avg_ttft_ms': want FIGURE, one of > >= < <= == !=, and a number",
        ),
        (
            "--fail-if",
            "avg_ttft_ms>fast",
            "--fail-if 'avg_ttft_ms>fast': want FIGURE",
        ),
        (
            "--contract",
            "year4",
            "--contract year4: no such contract; want year1, year2 or year3",
        ),
    ] {
        let options = ["--workload", "short", "--endpoint", &url, option, value];
        let refused = run(&dir, &options).fails(2);
        assert!(refused.stderr.contains(wanted), "{wanted}\n{refused}");
        assert_eq!(refused.stdout, "", "{refused}");
    }
    assert!(!dir.path().join("benchmark_results").exists());
    let truth = server.truth();
    assert!(truth.is_empty(), "{truth:?}");
}

#[test]
fn the_mock_meets_the_contract_of_year_1_and_misses_those_of_later_years() {
    // The mock's pace: TTFT 10 ms, then 127 gaps of 5 ms. So TPOT is 645 / 128 = 5.04 ms, and 128 tokens in 0.645 s are
    // 198.4 a second. There are no hits, since each text is new; the mock does not speculate.
    let dir = Dir::new();
    let options = |year| {
        let options = ["--workload", "short", "--requests", "1"];
        run(&dir, &options).args(["--contract", year])
    };
    options("year1").ok();
    for (year, wanted) in [
        (
            "year2",
            &["avg_prefix_hit_rate<0.7: short_input.avg_prefix_hit_rate is 0.000"][..],
        ),
        (
            "year3",
            &[
                "avg_tpot_ms>5: short_input.avg_tpot_ms is 5.",
                "avg_throughput_tps<200: short_input.avg_throughput_tps is 19",
                "avg_prefix_hit_rate<0.85: short_input.avg_prefix_hit_rate is 0.000",
                "avg_spec_accept_rate<0.6: short_input.avg_spec_accept_rate is not reported",
            ],
        ),
    ] {
        let missed = options(year).fails(1);
        for line in wanted {
            let line = format!("[ERROR] --contract {year}: {line}");
            assert!(missed.stderr.contains(&line), "{line}\n{missed}");
        }
        for met in ["avg_ttft_ms", "error_rate", "peak_mem_mb"] {
            assert!(!missed.stderr.contains(met), "{met}\n{missed}");
        }
    }
}

#[test]
fn the_figures_of_the_cache_are_those_of_the_servers_page() {
    let server = Server::start(&["--model", "m", "--base", "1ms", "--itl", "5ms"]);
    let dir = Dir::new();
    let url = server.url();
    let options = ["--workload", "short", "--requests", "1", "--nonce", "n"];
    let same = |others: &[&str]| {
        let common = run(&dir, &options).args(["--endpoint", &url]);
        let output = common.args(others).ok();
        (metrics(&dir, "short_input"), output)
    };
    let (cold, output) = same(&["--bytes-per-token", "1000"]);
    let note = "\nMock server: not a measurement of an engine\n";
    assert!(output.stdout.contains(note), "{output}");
    assert_eq!(cold["avg_prefix_hit_rate"], 0.0);
    // The page is read within the 635 ms of a request: 128 tokens of the prompt, and the blocks of 16 that hold the
    // answer so far.
    let used = cold["total_kv_used_tokens"].as_u64().expect("used tokens");
    assert!((128..=256).contains(&used) && used % 16 == 0, "{used}");
    assert_eq!(cold["kv_used_bytes"], used * 1000);
    let sources = &cold["metric_sources"];
    let wanted = "used tokens × 1000 bytes a token (--bytes-per-token)";
    assert_eq!(sources["kv_used_bytes"], wanted);
    let wanted = "Δ vllm:prompt_tokens_cached_total / Δ vllm:prompt_tokens_total";
    assert_eq!(sources["avg_prefix_hit_rate"], wanted);
    for key in ["peak_mem_mb", "avg_mem_mb"] {
        assert_eq!(cold[key], Value::Null);
        let wanted = "not reported: no process_resident_memory_bytes on the page";
        assert_eq!(sources[key], wanted, "{key}");
    }
    assert!(
        output
            .stdout
            .contains("Memory peak (MiB)                           n/a"),
        "{output}"
    );

    // The same texts again: 7 of the 8 blocks of 16, since the last token of a prompt is always computed.
    let (warm, _) = same(&["--backend", "vllm"]);
    assert_eq!(warm["avg_prefix_hit_rate"], 0.875);
    assert_eq!(warm["usage_prefix_hit_rate"], 0.875);
    assert_eq!(warm["environment"]["backend"], "attached");
    // The page has vLLM's names, but the replies say whose they are.
    assert_eq!(warm["environment"]["engine"], "mock");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(warm["environment"]["engine_version"], version);
    let wanted = "not reported: model_configs.json has no such model: give --bytes-per-token";
    assert_eq!(warm["metric_sources"]["kv_used_bytes"], wanted);

    // These names are not on the page.
    let (other, _) = same(&["--backend", "sglang"]);
    assert_eq!(other["total_kv_used_tokens"], Value::Null);
    let wanted = "not reported: no sglang:kv_used_tokens on the page";
    assert_eq!(other["metric_sources"]["total_kv_used_tokens"], wanted);
}

/// Passes everything on to the mock except requests for its metrics.
fn without_metrics(server: &Server) -> RawServer {
    let addr = server.addr().to_string();
    RawServer::start(move |request, client| {
        if request.path == "/metrics" {
            let reply = "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone";
            client.write_all(reply.as_bytes()).expect("an open client");
            return;
        }
        let mut mock = TcpStream::connect(&addr).expect("the mock");
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
        for (name, value) in &request.headers {
            if name != "transfer-encoding" && name != "content-length" && name != "connection" {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        let length = request.body.len();
        head.push_str(&format!(
            "content-length: {length}\r\nconnection: close\r\n\r\n"
        ));
        let sent = [head.as_bytes(), &request.body].concat();
        mock.write_all(&sent).expect("the mock reads");
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = mock.read(&mut buffer) {
            if client.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        // This fails if the client has closed the connection already.
        let _ = client.shutdown(Shutdown::Both);
    })
}

#[test]
fn a_server_without_metrics_has_nulls_that_say_so() {
    let server = Server::start(&["--base", "1ms", "--itl", "1ms"]);
    let proxy = without_metrics(&server);
    let url = format!("http://{}", proxy.addr());
    let dir = Dir::new();
    let options = ["--workload", "short", "--requests", "2", "--endpoint", &url];
    let output = run(&dir, &options).ok();
    let why = format!("no page of metrics at {url}/metrics: HTTP status 404");
    let note = format!("note: {why}");
    assert!(output.stderr.contains(&note), "{output}");
    let file = metrics(&dir, "short_input");
    assert_eq!(file["successful_requests"], 2);
    for key in [
        "peak_mem_mb",
        "avg_mem_mb",
        "total_kv_used_tokens",
        "total_evict_count",
        "evict_ms",
        "avg_spec_accept_rate",
        "total_preemption_count",
    ] {
        assert_eq!(file[key], Value::Null, "{key}");
        let source = file["metric_sources"][key].as_str().expect(key);
        let wanted = format!("not reported: {why}");
        assert!(source.starts_with(&wanted), "{key}: {source}");
    }
    // Figures that the replies carry are there.
    assert_eq!(file["usage_prefix_hit_rate"], 0.0);
    let missing = format!(
        "Not reported:\n  Memory peak (MiB) · Memory avg (MiB) · KV cache used, peak (tokens) · Evictions · \
         Eviction time (ms) · Speculative accept rate · Preemptions · Cached prompt tokens by counters · Prompt \
         tokens by counters · Hit rate, device tier · Hit rate, host tier · Hit rate, remote tier · KV cache use, \
         peak · Running requests, mean · Running requests, peak · Waiting requests, mean · Waiting requests, peak: \
         {why}\n"
    );
    assert!(output.stdout.contains(&missing), "{output}");
}

#[test]
fn the_api_key_is_in_no_file() {
    const KEY: &str = "sk-secret-4711";
    let mock = format!("{FAST},api_key={KEY}");
    let server = Server::start(&["--api-key", KEY, "--base", "1ms", "--itl", "0s"]);
    let url = server.url();
    for options in [["--mock", &mock], ["--endpoint", &url]] {
        let dir = Dir::new();
        let with_key = [&options[..], &["--api-key", KEY, "-v"]].concat();
        let output = run(&dir, &with_key).ok();
        for text in [&output.stdout, &output.stderr] {
            assert!(!text.contains(KEY), "{output}");
        }
        for name in files(&dir) {
            let text = dir.read(&format!("benchmark_results/{name}"));
            assert!(!text.contains(KEY), "{name}");
        }
        let refused = run(&dir, &options).run();
        assert_ne!(refused.status.code(), Some(0), "{refused}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_run_quietly() {
    let dir = Dir::new();
    let bin = env!("CARGO_BIN_EXE_tmesh-cli");
    let script = format!("{{ {bin} run --mock {FAST}; echo $? >code; }} 2>errors | head -1");
    let output = Cmd::program("sh", &dir).args(["-c", &script]).ok();
    assert_eq!(output.stdout.lines().count(), 1, "{output}");
    assert_eq!(dir.read("code"), "0\n");
    assert_eq!(dir.read("errors"), "");
}

#[test]
fn options_that_do_not_fit_together_are_refused() {
    let dir = Dir::new();
    engine(&dir, "vllm", "exit 1");
    for (options, wanted) in [
        (
            &["--workload", "year2"][..],
            "--workload year2: no such workload; want year1, short, long or stress",
        ),
        (
            &["--backend", "tgi"],
            "--backend tgi: no such backend; want one of mock, cpu, vllm, lmdeploy, sglang, llamacpp, command",
        ),
        (
            &["--port", "8000"],
            "--port: only for a backend that is started",
        ),
        (
            &[
                "--backend",
                "vllm",
                "--model",
                "m",
                "--port",
                "8000",
                "--port",
                "8001",
            ],
            "--port: given twice",
        ),
        (
            &["--backend", "vllm", "--model", "m", "--port", "0"],
            "--port 0: not a port; want 1 to 65535",
        ),
        (
            &[
                "--endpoint",
                "localhost:1",
                "--backend",
                "vllm",
                "--port",
                "8000",
            ],
            "--port: only for a backend that is started",
        ),
        (
            &["--endpoint", "localhost:1", "--mock", "itl=1ms"],
            "--mock: only with --backend mock",
        ),
        (
            &[
                "--backend",
                "vllm",
                "--model",
                "m",
                "--backend-args",
                "a 'b",
            ],
            "--backend-args: a ' that is not closed",
        ),
        (
            &[
                "--backend",
                "vllm",
                "--model",
                "m",
                "--backend-command",
                "x {port}",
            ],
            "--backend-command: only with --backend command",
        ),
        (
            &["--backend-command", "sleep 9"],
            "--backend-command: has no {port}, so the server would not listen on the free port that is chosen\nPut {port} where",
        ),
        (
            &["--backend-command", "sleep {model} {port}"],
            "--model required for command backend",
        ),
        (
            &["--backend", "command"],
            "--backend-command: no command given",
        ),
        (&["--requests", "0"], "--requests 0: "),
    ] {
        let refused = with_engines(&dir).arg("run").args(options).fails(2);
        assert!(refused.stderr.contains(wanted), "{wanted}\n{refused}");
        assert_eq!(refused.stdout, "", "{refused}");
    }
    assert!(!dir.path().join("benchmark_results").exists());
}
