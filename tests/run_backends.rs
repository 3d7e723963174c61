//! `run` with engines that it starts and stops, played by shell scripts.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::util::{
    Cmd, Dir, Output, Server, engine, left, left_soon, pid_in, serving, until, with_engines,
};

/// A short, quick run; the name of the engine follows.
const QUICK: [&str; 5] = ["run", "--workload", "short", "--requests", "2"];
/// Writes the engine's pid, which is also its group's, to the file `pid`.
const SAY_PID: &str = "echo $$ >pid";

fn quick(dir: &Dir, options: &[&str]) -> Cmd {
    with_engines(dir).args(QUICK).args(options)
}

fn vllm(dir: &Dir, options: &[&str]) -> Cmd {
    let own = ["--backend", "vllm", "--model", "m"];
    quick(dir, &own).args(options)
}

/// Makes a folder with a `vllm` that is this script, which may call `serve`.
fn with_vllm(script: &str) -> Dir {
    let dir = Dir::new();
    let serving = serving("--base 1ms --itl 100us");
    engine(&dir, "vllm", &format!("{SAY_PID}\n{serving}\n{script}"));
    dir
}

fn metrics(dir: &Dir) -> Value {
    let text = dir.read("benchmark_results/short_input_metrics.json");
    serde_json::from_str(&text).expect("JSON")
}

fn has(dir: &Dir, name: &str) -> bool {
    dir.path().join("benchmark_results").join(name).exists()
}

/// Asserts that no process is left of the engine that wrote `pid`.
fn check_gone(dir: &Dir, output: &Output) {
    let left = left(pid_in(dir, "pid"));
    assert!(left.is_empty(), "{left:?} are left\n{output}");
    assert!(!has(dir, "server.pid"), "{output}");
}

/// Waits until the pid file is complete; returns its content.
fn told_pid(dir: &Dir) -> String {
    let path = dir.path().join("benchmark_results/server.pid");
    let in_file = || fs::read_to_string(&path).unwrap_or_default();
    until("pid file", || in_file().ends_with('\n'));
    in_file()
}

#[test]
fn an_engine_is_started_measured_and_stopped() {
    let dir = with_vllm("printf 'word <%s>\\n' \"$@\"\necho from-stderr >&2\nserve");
    let args = "--flag 'two words' \"a\\\"b\" c\\ d '' {port}";
    let running = vllm(&dir, &["--backend-args", args, "-v"]).start();
    let told = told_pid(&dir);
    let output = running.wait();
    assert_eq!(output.status.code(), Some(0), "{output}");
    assert_eq!(told, dir.read("pid"));
    check_gone(&dir, &output);
    assert!(output.stderr.contains("starting vllm on port "), "{output}");
    assert!(!output.stderr.contains("two words"), "{output}");
    assert!(
        output.stderr.contains("short_input request 1: TTFT "),
        "{output}"
    );
    let file = metrics(&dir);
    assert_eq!(file["successful_requests"], 2);
    assert_eq!(file["environment"]["backend"], "vllm");
    let source = file["metric_sources"]["avg_prefix_hit_rate"].as_str();
    assert!(source.is_some_and(|text| text.contains("vllm:")), "{file}");
    let log = dir.read("benchmark_results/server.log");
    assert!(log.contains("from-stderr\n"), "{log}");
    let words = log.lines().filter_map(|line| line.strip_prefix("word "));
    let words: Vec<&str> = words.collect();
    let port = words[5].trim_matches(['<', '>']);
    assert!(port.parse::<u16>().is_ok_and(|port| port > 0), "{words:?}");
    let wanted = [
        "<serve>",
        "<m>",
        "<--host>",
        "<127.0.0.1>",
        "<--port>",
        words[5],
        "<--enable-prompt-tokens-details>",
        "<--flag>",
        "<two words>",
        "<a\"b>",
        "<c d>",
        "<>",
        // These words belong to the engine and stay as they are.
        "<{port}>",
    ];
    assert_eq!(words, wanted);
}

#[test]
fn each_engine_gets_its_command_line() {
    for (backend, program, model, wanted) in [
        (
            "cpu",
            "transformers",
            "gpt2",
            "serve gpt2 --device cpu --host 127.0.0.1 --port 8123x",
        ),
        (
            "lmdeploy",
            "lmdeploy",
            "a/b",
            "serve api_server a/b --server-name 127.0.0.1 --server-port 8123x",
        ),
        (
            "sglang",
            "python3",
            "a/b",
            "-m sglang.launch_server --model-path a/b --host 127.0.0.1 --port 8123x --enable-metrics \
             --enable-cache-report",
        ),
        (
            "llamacpp",
            "llama-server",
            "m.gguf",
            "-m m.gguf --host 127.0.0.1 --port 8123x --metrics",
        ),
    ] {
        let dir = Dir::new();
        let serving = serving("--base 1ms --itl 100us");
        let script = format!("{SAY_PID}\necho \"words: $*\"\n{serving}\nserve");
        engine(&dir, program, &script);
        let output = quick(&dir, &["--backend", backend, "--model", model]).ok();
        check_gone(&dir, &output);
        let log = dir.read("benchmark_results/server.log");
        let words = log.lines().find_map(|line| line.strip_prefix("words: "));
        let words = words.unwrap_or_else(|| panic!("{backend}: {log}"));
        let (before, behind) = wanted.split_once("8123x").expect("a port");
        assert!(words.starts_with(before), "{words}");
        assert!(words.ends_with(behind), "{words}");
        let file = metrics(&dir);
        assert_eq!(file["successful_requests"], 2, "{backend}");
        assert_eq!(file["environment"]["backend"], backend);
        assert_eq!(file["environment"]["model"], model);
    }
}

#[test]
fn a_command_of_the_users_own_is_started_with_model_and_port() {
    let dir = Dir::new();
    let bin = env!("CARGO_BIN_EXE_tmesh-cli");
    let command = format!(
        "sh -c 'echo $$ >pid; exec {bin} mock --base 1ms --itl 100us --model \"$0\" --port $1' {{model}} {{port}}"
    );
    // The model is named or not, and the port is given or found.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
        .to_string();
    for options in [&["--backend", "command"][..], &["--port", &port]] {
        let own = ["--backend-command", &command, "--model", "the model"];
        let output = quick(&dir, &own).args(options).ok();
        check_gone(&dir, &output);
        let file = metrics(&dir);
        assert_eq!(file["successful_requests"], 2);
        let environment = &file["environment"];
        assert_eq!(environment["backend"], "command");
        assert_eq!(environment["model"], "the model");
        if options[0] == "--port" {
            let url = format!("http://127.0.0.1:{port}/v1/");
            assert_eq!(environment["endpoint"], url);
        }
    }
    // The command has no place for the given port.
    let command = command.replace("{port}", &port);
    let own = ["--backend-command", &command, "--model", "m"];
    quick(&dir, &own).args(["--port", &port]).ok();
}

#[test]
fn the_memory_of_an_engine_is_that_of_its_group() {
    // `tail` holds 64 MiB: an engine's workers count too.
    let hold = "head -c 67108864 /dev/zero | tail -c 67108864 | sleep 300 &";
    let dir = with_vllm(&format!("{hold}\nsleep 0.5\nserve"));
    let own = [
        "run",
        "--backend",
        "vllm",
        "--model",
        "m",
        "--workload",
        "short",
    ];
    let output = with_engines(&dir).args(own).args(["--requests", "40"]).ok();
    check_gone(&dir, &output);
    let file = metrics(&dir);
    for key in ["peak_mem_mb", "avg_mem_mb"] {
        let mib = file[key].as_f64().expect(key);
        assert!((64.0..400.0).contains(&mib), "{key}: {mib}");
        let source = file["metric_sources"][key].as_str().expect(key);
        let wanted = "resident set from /proc every 100 ms, of the backend's process group; shared pages count \
                      twice, GPU memory not at all";
        assert_eq!(source, wanted);
    }
}

#[test]
fn an_engine_that_is_not_installed_is_named_with_the_command_that_installs_it() {
    let dir = Dir::new();
    for (backend, wanted) in [
        (
            "cpu",
            "transformers is not installed (not found on PATH)\n\
             Install it: pip install 'transformers[serving]' torch\n",
        ),
        (
            "vllm",
            "vllm is not installed (not found on PATH)\nInstall it: pip install vllm\n",
        ),
        (
            "lmdeploy",
            "lmdeploy is not installed (not found on PATH)\nInstall it: pip install lmdeploy\n",
        ),
        (
            "sglang",
            "python3 is not installed (not found on PATH)\n\
             Install Python 3, and then: pip install sglang\n",
        ),
        (
            "llamacpp",
            "llama-server is not installed (not found on PATH)\n\
             Install it: conda install -c conda-forge llama-cpp\n",
        ),
    ] {
        let options = ["run", "--backend", backend, "--model", "m"];
        let output = Cmd::new(&dir).env("PATH", "").args(options).fails(2);
        assert_eq!(
            output.stderr,
            format!("[ERROR] --backend {backend}: {wanted}")
        );
        assert_eq!(output.stdout, "");
    }
    engine(
        &dir,
        "python3",
        "echo \"$0: No module named sglang\" >&2; exit 1",
    );
    let output = quick(&dir, &["--backend", "sglang", "--model", "m"]).fails(2);
    let wanted = "[ERROR] --backend sglang: sglang is not installed (no such Python module)\n\
                  Install it: pip install sglang\n";
    assert_eq!(output.stderr, wanted);
    let output = quick(&dir, &["--backend-command", "no-such-engine {port}"]).fails(2);
    let wanted = "[ERROR] --backend command: no-such-engine is not installed (not found on PATH)\n";
    assert_eq!(output.stderr, wanted);
}

#[test]
fn an_engine_that_dies_at_start_shows_its_last_20_lines_and_its_status() {
    let lines = "i=1; while [ $i -le 30 ]; do echo \"line $i\"; i=$((i+1)); done";
    let dir = with_vllm(&format!("{lines}\nexit 3"));
    let output = vllm(&dir, &[]).fails(2);
    let end: String = (11..=30).map(|line| format!("  line {line}\n")).collect();
    let wanted = format!(
        "[ERROR] --backend vllm: the server ended with exit status 3 before it was healthy\n\
         Its log, ./benchmark_results/server.log, ends with:\n{end}"
    );
    assert_eq!(
        (output.stderr.as_str(), output.stdout.as_str()),
        (wanted.as_str(), "")
    );
    check_gone(&dir, &output);
    assert_eq!(dir.read("benchmark_results/server.log").lines().count(), 30);
    assert!(!has(&dir, "samples.jsonl") && !has(&dir, "REPORT.md"));
}

#[test]
fn an_engine_that_never_gets_healthy_is_given_up_and_stopped() {
    let dir = with_vllm("echo loading\nsleep 300 & sleep 300");
    let start = Instant::now();
    let output = vllm(&dir, &["--start-timeout", "1s"]).fails(2);
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_secs(1), "{elapsed:?}");
    let port = "[ERROR] --start-timeout 1s: the server was not healthy on port ";
    assert!(output.stderr.starts_with(port), "{output}");
    let end = " by then\nIts log, ./benchmark_results/server.log, ends with:\n  loading\n";
    assert!(output.stderr.ends_with(end), "{output}");
    check_gone(&dir, &output);
}

#[test]
fn an_engine_that_ignores_sigterm_is_killed_after_its_ten_seconds() {
    // The shell ignores SIGTERM, its child does not.
    let dir = with_vllm("trap '' TERM\n(serve) &\nwhile sleep 0.1; do :; done");
    let start = Instant::now();
    let output = vllm(&dir, &[]).ok();
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_secs(10), "{elapsed:?}");
    check_gone(&dir, &output);
    assert_eq!(metrics(&dir)["successful_requests"], 2);
}

#[test]
fn a_grandchild_is_stopped_with_its_engine() {
    let dir = with_vllm("sh -c 'echo $$ >grandchild; sleep 300; :' &\nserve");
    let output = vllm(&dir, &[]).ok();
    assert_ne!(pid_in(&dir, "grandchild"), pid_in(&dir, "pid"));
    check_gone(&dir, &output);
}

#[test]
fn an_engine_that_dies_in_mid_run_ends_with_1_and_what_was_measured() {
    let dir = Dir::new();
    // The answer to the second request of short_input stops until the engine dies.
    let serving = serving("--base 1ms --itl 0s --faults stall:1@3");
    let script = "(serve) &\nwhile [ ! -e die ]; do sleep 0.02; done\nkill -9 $!\nexit 5";
    engine(&dir, "vllm", &format!("{SAY_PID}\n{serving}\n{script}"));
    let running = vllm(&dir, &[]).start();
    let samples = dir.path().join("benchmark_results/samples.jsonl");
    until("sample", || {
        let text = fs::read_to_string(&samples).unwrap_or_default();
        text.contains("\"ok\":true")
    });
    dir.write("die", "");
    let output = running.wait();
    assert_eq!(output.status.code(), Some(1), "{output}");
    let wanted = "[ERROR] backend: the server ended with exit status 5 during the run\n\
                  Its log: ./benchmark_results/server.log\n";
    assert!(output.stderr.ends_with(wanted), "{output}");
    assert!(output.stdout.contains("\nWorkload  "), "{output}");
    check_gone(&dir, &output);
    let file = metrics(&dir);
    assert_eq!(file["successful_requests"], 1);
    assert_eq!(file["failed_requests"], 1);
    for name in ["benchmark_summary.json", "REPORT.md", "report.html"] {
        assert!(has(&dir, name), "{name}");
    }
}

#[test]
fn an_engine_that_a_killed_run_left_behind_is_named_by_the_next() {
    let dir = with_vllm("serve");
    let running = vllm(&dir, &[]).start();
    let pid = told_pid(&dir).trim().to_string();
    running.signal("KILL");
    running.wait();
    until("pid of its own", || dir.path().join("pid").exists());
    assert_eq!(pid_in(&dir, "pid").to_string(), pid);
    let next = Cmd::new(&dir).args(QUICK).args(["--mock", "itl=0s"]).run();
    let wanted = format!("warning: a server of an earlier run is still running: pid {pid} (");
    let how = format!("stop it with: kill -- -{pid}\n");
    // The message's own command works.
    Cmd::program("sh", &dir)
        .args(["-c", &format!("kill -- -{pid}")])
        .ok();
    let left = left_soon(pid_in(&dir, "pid"));
    assert!(left.is_empty(), "{left:?}");
    assert!(
        next.stderr.contains(&wanted) && next.stderr.contains(&how),
        "{next}"
    );
    assert_eq!(next.status.code(), Some(0), "{next}");
    let next = Cmd::new(&dir).args(QUICK).args(["--mock", "itl=0s"]).ok();
    assert!(!next.stderr.contains("warning: a server"), "{next}");
}

#[test]
fn a_port_that_another_server_has_is_refused() {
    let other = Server::start(&["--model", "m"]);
    let (_, port) = other.addr().rsplit_once(':').expect("a port");
    let dir = with_vllm("sleep 300");
    let output = vllm(&dir, &["--port", port]).fails(2);
    let wanted =
        format!("[ERROR] --port {port}: another server already listens on it\nStop that server");
    assert!(output.stderr.starts_with(&wanted), "{output}");
    assert!(!dir.path().join("pid").exists(), "not even started");
    let truth = other.truth();
    assert!(truth.is_empty(), "{truth:?}");
}
