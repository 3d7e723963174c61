//! Signals at random moments of a run that has started an engine: no process of the engine outlives it.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::util::{
    Cmd, Dir, Output, Running, engine, left, left_soon, serving, until, with_engines,
};

const RUNS: u64 = 50;
const LANES: u64 = 2;
/// The event after which a signal comes, at most so much later: start, run and stop.
const PHASES: [(&str, u64); 4] = [
    ("", 150),
    ("benchmark_results/server.pid", 350),
    ("benchmark_results/samples.jsonl", 150),
    ("benchmark_results/REPORT.md", 200),
];

/// Makes an engine that starts slowly, and whose grandchild stops slowly, or ignores SIGTERM.
fn quick_engine(is_deaf: bool) -> Dir {
    let dir = Dir::new();
    let serving = serving("--base 1ms --itl 200us");
    let trap = if is_deaf { "" } else { "sleep 0.1; exit" };
    let slow = format!("trap '{trap}' TERM; while sleep 0.05; do :; done");
    let script = format!("echo $$ >pid\n{serving}\nsh -c \"{slow}\" &\nsleep 0.05\nserve");
    engine(&dir, "vllm", &script);
    dir
}

fn start(dir: &Dir) -> Running {
    let options = ["run", "--backend", "vllm", "--model", "m"];
    let quick = ["--workload", "short", "--requests", "3"];
    with_engines(dir).args(options).args(quick).start()
}

/// Returns the group of the engine that this run has started; `None`: it had not started one.
fn group(dir: &Dir) -> Option<u32> {
    let told = |name: &str| {
        let text = fs::read_to_string(dir.path().join(name)).ok()?;
        text.trim().parse().ok()
    };
    told("pid").or_else(|| told("benchmark_results/server.pid"))
}

/// Runs once, with signals at a moment by the seed.
fn signalled(number: u64) {
    let mut random = fastrand::Rng::with_seed(number);
    // Only a second signal ends the wait for an engine that ignores SIGTERM.
    let is_twice = random.u8(0..3) == 0;
    let dir = quick_engine(is_twice);
    let (file, most_ms) = PHASES[number as usize % PHASES.len()];
    let running = start(&dir);
    if !file.is_empty() {
        until(file, || Path::new(&dir.path().join(file)).exists());
    }
    thread::sleep(Duration::from_millis(random.u64(0..most_ms)));
    let names = ["INT", "TERM"];
    let at = (number / 4) as usize;
    running.signal(names[at % 2]);
    if is_twice {
        thread::sleep(Duration::from_millis(20));
        running.signal(names[random.usize(0..2)]);
    }
    let output = running.wait();
    check(&dir, number, is_twice, &output);
}

fn check(dir: &Dir, number: u64, is_twice: bool, output: &Output) {
    let Some(group) = group(dir) else {
        // A signal before the handler is installed ends the run like any program.
        let is_over = output.status.code() == Some(130) || output.status.signal().is_some();
        assert!(is_over, "run {number}\n{output}");
        return;
    };
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 130)), "run {number}\n{output}");
    // After the second signal the engine is killed without waiting for it.
    let left = if is_twice { left_soon } else { left }(group);
    assert!(left.is_empty(), "run {number}: {left:?} are left\n{output}");
}

#[test]
fn no_process_of_an_engine_is_left_after_signals_at_50_random_moments() {
    thread::scope(|scope| {
        for lane in 0..LANES {
            scope.spawn(move || (lane..RUNS).step_by(LANES as usize).for_each(signalled));
        }
    });
}

#[test]
fn a_second_signal_does_not_wait_for_an_engine_that_is_deaf() {
    let dir = Dir::new();
    let serving = serving("--base 1ms --itl 0s");
    let script =
        format!("trap '' TERM\necho $$ >pid\n{serving}\n(serve) &\nwhile sleep 0.1; do :; done");
    engine(&dir, "vllm", &script);
    let mut running = start(&dir);
    running.wait_for_line(|line| line.starts_with("Results in "));
    running.signal("TERM");
    thread::sleep(Duration::from_millis(50));
    let begun = std::time::Instant::now();
    running.signal("INT");
    let output = running.wait();
    assert!(begun.elapsed() < Duration::from_secs(5), "{output}");
    assert_eq!(output.status.code(), Some(130), "{output}");
    let left = left_soon(group(&dir).expect("it was started"));
    assert!(left.is_empty(), "{left:?} are left\n{output}");
}

#[test]
fn a_reader_that_has_seen_enough_leaves_no_engine_behind() {
    let dir = quick_engine(false);
    let bin = env!("CARGO_BIN_EXE_tmesh-cli");
    let options = "run --backend vllm --model m --workload short --requests 3";
    let script = format!("{{ {bin} {options}; echo $? >code; }} 2>errors | head -1");
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", dir.path().join("bin").display());
    let shell = Cmd::program("sh", &dir).env("PATH", path);
    let output = shell.args(["-c", &script]).ok();
    assert_eq!(output.stdout.lines().count(), 1, "{output}");
    assert_eq!(
        (dir.read("code").as_str(), dir.read("errors").as_str()),
        ("0\n", "")
    );
    let left = left_soon(group(&dir).expect("it was started"));
    assert!(left.is_empty(), "{left:?} are left\n{output}");
}

/// A shell without job control starts its background jobs with SIGINT ignored.
#[test]
fn a_background_job_obeys_a_signal_before_its_run_begins() {
    // It takes the connection, and its list of models never comes.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    for name in ["INT", "TERM"] {
        let dir = Dir::new();
        let script = format!(
            "trap '' INT; exec {} load --endpoint {addr} --api completions --requests 1",
            env!("CARGO_BIN_EXE_tmesh-cli")
        );
        let running = Cmd::program("sh", &dir)
            .args(["-c", &script])
            .deadline(Duration::from_secs(10))
            .start();
        // The first connections come from the start of it, long before it listens to signals in its run.
        drop(listener.accept().expect("a connection"));
        running.signal(name);
        let output = running.wait();
        let number = if name == "INT" { 2 } else { 15 };
        assert_eq!(output.status.signal(), Some(number), "{output}");
    }
}
