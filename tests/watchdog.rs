//! The client's watchdog: a client whose core is busy, or whose quota is used up, says so; on an idle core it does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::alone;
use crate::util::{Cmd, Dir, Output, Running, Samples, Server, json_file, not_run};

/// A light load that lasts for its whole `--duration`.
const LIGHT: [&str; 8] = [
    "--contexts",
    "4",
    "--max-inflight",
    "1",
    "--input-length",
    "100",
    "--output-length",
    "5",
];

/// Returns that load on a mock in the same process that answers in a few milliseconds.
fn on_quick_mock(dir: &Dir) -> Cmd {
    Cmd::new(dir)
        .args(["benchmark", "--backend", "mock"])
        .args(["--mock", "itl=1ms,base=1ms"])
        .args(LIGHT)
}

/// Returns the line about this client in the final report.
fn client_line(output: &Output) -> &str {
    let mut lines = output.stdout.lines().rev();
    let line = lines.find(|line| line.starts_with("client"));
    line.unwrap_or_else(|| panic!("no client line in\n{output}"))
}

fn summary(dir: &Dir) -> Value {
    json_file(dir, "r.json")["summary"]["client"].clone()
}

fn ns(value: &Value, key: &str) -> u64 {
    value[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key}: {value}"))
}

#[test]
fn the_watched_seconds_are_contiguous_and_the_warm_up_is_not_judged() {
    let _machine = alone();
    let dir = Dir::new();
    let output = on_quick_mock(&dir)
        .args(["--duration", "1500ms", "--warmup-seconds", "1"])
        .args(["--samples", "s.jsonl", "--output", "r.json"])
        .ok();
    assert!(
        client_line(&output).contains("; mock in process"),
        "{output}"
    );
    let samples = Samples::read(&dir, "s.jsonl");
    let seconds: Vec<&Value> = samples.series("client").collect();
    assert!(
        seconds.len() >= 2,
        "1.5 s are a second and a part\n{output}"
    );
    let mut probe_ns = ns(seconds[0], "t_first_probe_ns");
    for (k, second) in seconds.iter().enumerate() {
        assert_eq!(ns(second, "t_first_probe_ns"), probe_ns, "{second}");
        probe_ns += second["lags_us"].as_array().expect("lags").len() as u64 * 50_000_000;
        if k > 0 {
            assert_eq!(second["t_start_ns"], seconds[k - 1]["t_end_ns"]);
        }
        assert!(ns(second, "open_files") >= 4, "{second}");
        assert!(second["cores_allowed"].as_f64().is_some_and(|n| n > 0.0));
    }
    // The end of the run is watched too: no due probe is missing.
    let end_ns = ns(seconds[seconds.len() - 1], "t_end_ns");
    assert!(probe_ns > end_ns, "the next probe is due after the end");
    // 500 ms of 1.5 s are measured, and the delay of the end on a busy machine.
    let client = summary(&dir);
    let probes = ns(&client["lag"], "n");
    assert!((9..=20).contains(&probes), "{client}");
    assert_eq!(client["mock_in_process"], true);
}

#[test]
fn a_run_without_a_probe_says_that_it_was_not_watched() {
    let _machine = alone();
    let output = on_quick_mock(&Dir::new())
        .args(["--duration", "1s", "--warmup-seconds", "0.999"])
        .args(["--requests", "1"])
        .fails(1);
    let wanted = "client: not watched (the run was too short)";
    assert_eq!(client_line(&output), wanted, "{output}");
}

/// Runs the client at a lower priority than the busy loops, so that it waits for its turn on every kernel; at equal
/// priority a sleeper may go first.
///
/// If it hardly runs, it may measure nothing and end with 1; the line is there nevertheless.
fn pinned(server: &Server, dir: &Dir, core: usize) -> Output {
    Cmd::program("nice", dir)
        .args(["-n", "19", "taskset", "-c", &core.to_string()])
        .args([env!("CARGO_BIN_EXE_tmesh-cli"), "benchmark"])
        .args(["--endpoint", &server.url(), "--duration", "4s"])
        .args(["--samples", "s.jsonl", "--output", "r.json"])
        .args(LIGHT)
        .deadline(Duration::from_secs(90))
        .run()
}

/// Starts four busy loops on one core, at a priority above the client and below everything else.
fn busy_loops(dir: &Dir, core: usize) -> Vec<Running> {
    let start = || {
        Cmd::program("nice", dir)
            .args(["-n", "10", "taskset", "-c", &core.to_string()])
            .args(["sh", "-c", "while :; do :; done"])
            .deadline(Duration::from_secs(120))
            .start()
    };
    (0..4).map(|_| start()).collect()
}

#[test]
fn a_client_whose_core_is_taken_is_limited_and_on_an_idle_core_it_is_not() {
    let _machine = alone();
    let dir = Dir::new();
    let cores = allowed_cores();
    let taskset = ["taskset", "-c", &cores[0].to_string(), "true"];
    if !Cmd::program("env", &dir)
        .args(taskset)
        .run()
        .status
        .success()
    {
        not_run("client watched under a busy core", "taskset is missing");
        return;
    }
    let server = Server::start(&["--base", "5ms", "--itl", "10ms"]);
    let core = cores[cores.len() - 1];
    let loops = busy_loops(&dir, core);
    let output = pinned(&server, &dir, core);
    drop(loops);
    let line = client_line(&output);
    assert!(
        line.starts_with("client-limited: wake-up lag p99 "),
        "{output}"
    );
    assert!(
        line.contains(" ms, over 5 ms") && line.contains(" of 1 core"),
        "{line}"
    );
    let client = summary(&dir);
    assert_eq!(
        (&client["limited"], &client["reasons"][0]),
        (&true.into(), &"lag".into())
    );
    assert_eq!(client["mock_in_process"], false);

    idle_half(&server, &dir, &cores);
}

/// Repeats the run with an idle core. Other processes may use the machine, so it tries every core in turn until the run
/// is `ok` once. A try on a busy core proves nothing; if there was no other, this says so.
fn idle_half(server: &Server, dir: &Dir, cores: &[usize]) {
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut limited_on_idle = Vec::new();
    for &core in cores.iter().cycle() {
        let before = core_ticks(core);
        let output = pinned(server, dir, core);
        let after = core_ticks(core);
        let line = client_line(&output);
        if line.starts_with("client: ok (wake-up lag p99 ") {
            assert_eq!(summary(dir)["limited"], false, "{output}");
            return;
        }
        let [idle, all] = [after[0] - before[0], after[1] - before[1]];
        if idle * 10 >= all * 9 {
            limited_on_idle.push(line.to_string());
        }
        if Instant::now() > deadline {
            break;
        }
    }
    assert!(
        limited_on_idle.is_empty(),
        "on an idle core: {limited_on_idle:#?}"
    );
    not_run(
        "client watched under an idle core",
        "no core was idle for 6 s within two minutes",
    );
}

/// Returns the idle ticks and all ticks of a core so far.
fn core_ticks(core: usize) -> [u64; 2] {
    let stat = fs::read_to_string("/proc/stat").expect("/proc/stat");
    let label = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&label));
    let ticks: Vec<u64> = line
        .unwrap_or_else(|| panic!("no {label}in\n{stat}"))
        .split_whitespace()
        .take(8)
        .map(|word| word.parse().expect("ticks"))
        .collect();
    // The fields are user nice system idle iowait irq softirq steal.
    [ticks[3] + ticks[4], ticks.iter().sum()]
}

/// Returns the cores that this process may use.
fn allowed_cores() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let ends = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.parse::<usize>().expect("the number of a core");
        number(first)..=number(last)
    };
    let online = |core: &usize| Path::new(&format!("/sys/devices/system/cpu/cpu{core}")).exists();
    let list = list.expect("a list of CPUs").trim();
    list.split(',').flat_map(ends).filter(online).collect()
}

/// A cgroup with a CPU quota; removed when dropped.
struct Quota {
    dir: PathBuf,
}

impl Quota {
    /// Makes a quota of 5 ms in every 100 ms; `None` if this process may not.
    fn new() -> Option<Quota> {
        let name = format!("tmesh-cli-test-{}", std::process::id());
        // Version 2 allows a quota only if the parent delegates the controller.
        let handed_down = fs::read_to_string("/sys/fs/cgroup/cgroup.subtree_control");
        let is_v2 = handed_down.is_ok_and(|list| list.split_whitespace().any(|c| c == "cpu"));
        let (root, file, value) = if is_v2 {
            ("/sys/fs/cgroup", "cpu.max", "5000 100000")
        } else {
            ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "5000")
        };
        let quota = Quota {
            dir: Path::new(root).join(name),
        };
        fs::create_dir(&quota.dir).ok()?;
        fs::write(quota.dir.join(file), value).ok()?;
        Some(quota)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // A killed process may stay in it for a moment; an empty cgroup does no harm.
        let _ = fs::remove_dir(&self.dir);
    }
}

#[test]
fn a_client_that_uses_up_its_cpu_quota_is_limited_by_throttled_periods() {
    let _machine = alone();
    let Some(quota) = Quota::new() else {
        not_run(
            "client watched under a CPU quota",
            "no cgroup with one can be made here",
        );
        return;
    };
    let server = Server::start(&["--base", "1ms", "--itl", "1ms"]);
    let dir = Dir::new();
    let line = format!(
        "echo $$ > {}/cgroup.procs; exec {} benchmark --endpoint {} --contexts 4 --input-length 100 \
         --output-length 5 --max-inflight 4 --duration 3s --samples s.jsonl --output r.json",
        quota.dir.display(),
        env!("CARGO_BIN_EXE_tmesh-cli"),
        server.url()
    );
    let start = Instant::now();
    let output = Cmd::program("sh", &dir).args(["-c", &line]).ok();
    let most_periods = start.elapsed().as_secs() * 10 + 10;
    let line = client_line(&output);
    assert!(line.starts_with("client-limited: "), "{output}");
    assert!(line.contains(" periods throttled, first at "), "{output}");
    let client = summary(&dir);
    let reasons = client["reasons"].as_array().expect("reasons");
    assert!(reasons.contains(&"throttled".into()), "{client}");
    // 5 ms of 100 ms.
    assert_eq!(client["cores_allowed"], 0.05);
    // Ten periods a second, counted from the start of the run.
    assert!(
        (10..=most_periods).contains(&ns(&client, "periods")),
        "{client}"
    );
}
