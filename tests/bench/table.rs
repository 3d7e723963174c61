//! The table: each row runs the floor and the client in turn, three times, and prints medians.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::accuracy::{Errors, lines_of_stamps, samples_of_client};
use crate::connection::CERTIFICATES;
use crate::measure::{Cost, Served, allowed_cpus, run as run_measured};

const RUNS: usize = 3;
/// Bytes of a word in the client's prompts; sets the words of a prompt by its bytes.
const BYTES_OF_WORD: usize = 6;

/// A load that client and floor both get.
#[derive(Clone, Copy)]
struct Case {
    streams: usize,
    /// Requests of each stream.
    rounds: usize,
    tokens: usize,
    prompt_words: usize,
    first: Duration,
    itl: Duration,
    /// Whether the client connects with TLS; the floor cannot.
    is_tls: bool,
    /// Whether the errors are those of the requests after each stream's first.
    is_behind_ramp: bool,
}

impl Case {
    fn requests(&self) -> usize {
        self.streams * self.rounds
    }
}

const fn paced(streams: usize, rounds: usize, itl_ms: u64) -> Case {
    Case {
        streams,
        rounds,
        tokens: 100,
        prompt_words: 64,
        first: Duration::from_millis(50),
        itl: Duration::from_millis(itl_ms),
        is_tls: false,
        is_behind_ramp: false,
    }
}

const PACED: Case = paced(256, 8, 10);
/// 64 and 1,000 streams at 10,000 events a second, so that only the number of streams differs.
const FEW: Case = Case {
    itl: Duration::from_micros(6400),
    ..paced(64, 16, 0)
};
const MANY: Case = paced(1000, 1, 100);
/// As many streams as one machine has ever to hold, at 20,000 events a second.
const MOST: Case = Case {
    tokens: 20,
    is_behind_ramp: true,
    ..paced(10_000, 2, 500)
};
const UNPACED: Case = Case {
    prompt_words: 1024 / BYTES_OF_WORD,
    first: Duration::ZERO,
    ..paced(10, 3000, 0)
};
const LONG_PROMPTS: Case = Case {
    prompt_words: 32_000,
    ..paced(20, 40, 2)
};

/// One side of a comparison.
#[derive(Clone, Copy)]
struct Outcome {
    cost: Cost,
    /// Token events of all requests, those of the client's controls included.
    events: f64,
    /// `None` for an unpaced load.
    errors: Option<Errors>,
}

struct Bench {
    client: PathBuf,
    folder: PathBuf,
    server_cpu: usize,
    client_cpu: usize,
}

/// Measures and prints one or more lines of the table.
type Row = fn(&Bench);

/// Prints the table; `only` selects the rows whose name contains it.
pub fn run(client: &str, only: Option<&str>) {
    let cpus = allowed_cpus();
    let folder = Path::new(client).with_file_name("bench-files");
    fs::create_dir_all(&folder).expect("a folder beside the binary");
    let bench = Bench {
        client: PathBuf::from(client),
        folder,
        server_cpu: cpus[0],
        client_cpu: cpus[1 % cpus.len()],
    };
    if cpus.len() < 2 {
        println!("One processor for server and client: the figures are of both.\n");
    }
    let rows: [(&str, Row); 10] = [
        ("paced", Bench::paced),
        ("tls", Bench::tls),
        ("unpaced", Bench::unpaced),
        ("long prompts", Bench::long_prompts),
        ("growth", Bench::growth),
        ("rate", Bench::rate),
        ("memory", Bench::memory),
        ("10,000", Bench::most_streams),
        ("binary", Bench::binary),
        ("mock", Bench::mock),
    ];
    println!("| what | must | client | floor |\n|---|---|---|---|");
    for (name, row) in rows {
        if only.is_none_or(|only| name.contains(only)) {
            row(&bench);
        }
    }
    println!("\n{}", machine(cpus.len()));
    let _ = fs::remove_dir_all(&bench.folder);
}

/// Returns where and when the table was made.
fn machine(cpus: usize) -> String {
    let of = |command: &str, args: &[&str]| -> String {
        let output = Command::new(command).args(args).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string());
        text.unwrap_or_default()
    };
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let (date, kernel) = (of("date", &["+%F"]), of("uname", &["-sr"]));
    format!("{date}, {cpus} cores of {model}, {kernel}")
}

/// Prints a row of the table, marked when it misses its limit.
fn row(what: &str, must: &str, reached: bool, client: &str, floor: &str) {
    let mark = if reached { "" } else { " **missed**" };
    println!("| {what} | {must} | {client}{mark} | {floor} |");
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

impl Bench {
    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Runs client and floor in turn, each against a server of its own.
    fn compare(&self, case: Case) -> (Vec<Outcome>, Vec<Outcome>) {
        (0..RUNS)
            .map(|_| (self.run_client(case), self.run_floor(case)))
            .unzip()
    }

    fn run_client(&self, case: Case) -> Outcome {
        let server = self.serve(case);
        let samples = self.path("samples.jsonl");
        let cost = run_measured(
            self.client_command(case, &server.first_line)
                .args(["--samples", &samples]),
            self.client_cpu,
        );
        server.end();
        self.outcome(case, cost, &samples_of_client(&samples))
    }

    fn run_floor(&self, case: Case) -> Outcome {
        let server = self.serve(case);
        let samples = self.path("floor.txt");
        let [streams, requests, tokens, bytes] = [
            case.streams,
            case.requests(),
            case.tokens,
            case.prompt_words * BYTES_OF_WORD,
        ]
        .map(|n| n.to_string());
        let mut command = myself();
        command
            .args([
                "floor",
                "--addr",
                &format!("127.0.0.1:{}", server.first_line),
            ])
            .args(["--streams", &streams, "--requests", &requests])
            .args(["--tokens", &tokens, "--prompt-bytes", &bytes])
            .args(["--samples", &samples]);
        let cost = run_measured(&mut command, self.client_cpu);
        server.end();
        self.outcome(case, cost, &lines_of_stamps(&samples))
    }

    fn serve(&self, case: Case) -> Served {
        let mut command = myself();
        command
            .args(["server", "--truth", &self.path("truth.txt")])
            .args(["--first-us", &case.first.as_micros().to_string()])
            .args(["--itl-us", &case.itl.as_micros().to_string()]);
        if case.is_tls {
            command.arg("--tls");
        }
        Served::start(&mut command, self.server_cpu)
    }

    fn client_command(&self, case: Case, port: &str) -> Command {
        let [streams, words, tokens, rounds] =
            [case.streams, case.prompt_words, case.tokens, case.rounds].map(|n| n.to_string());
        let mut command = Command::new(&self.client);
        let scheme = if case.is_tls { "https" } else { "http" };
        let endpoint = format!("{scheme}://127.0.0.1:{port}");
        command.args(["benchmark", "--endpoint", &endpoint]);
        if case.is_tls {
            command.args(["--cacert", &format!("{CERTIFICATES}/ca.pem")]);
        }
        command
            .args(["--contexts", &streams, "--max-inflight", &streams])
            .args(["--input-length", &words, "--output-length", &tokens])
            .args(["--rotations", &rounds]);
        command
    }

    fn outcome(&self, case: Case, cost: Cost, samples: &HashMap<String, [i64; 3]>) -> Outcome {
        assert!(samples.len() >= case.requests(), "every request is sent");
        let skipped = if case.is_behind_ramp { case.streams } else { 0 };
        let truth = self.path("truth.txt");
        let errors =
            (!case.first.is_zero()).then(|| Errors::of(samples, &truth, case.tokens, skipped));
        Outcome {
            cost,
            events: (samples.len() * case.tokens) as f64,
            errors,
        }
    }

    fn paced(&self) {
        let (client, floor) = self.compare(PACED);
        error_rows("256 paced streams", &client, &floor);
        ratio_row(
            "same, CPU an event",
            (1.15, "floor"),
            "µs",
            cpu_us(&client),
            cpu_us(&floor),
        );
        self.system_calls();
    }

    /// Compares TLS with the client's own plain connections, since the floor has no TLS.
    fn tls(&self) {
        let with_tls = |case: Case| Case {
            is_tls: true,
            ..case
        };
        let (tls, plain): (Vec<_>, Vec<_>) = (0..RUNS)
            .map(|_| (self.run_client(with_tls(PACED)), self.run_client(PACED)))
            .unzip();
        error_rows("256 TLS streams (beside: plain)", &tls, &plain);
        ratio_row(
            "same, CPU an event",
            (1.6, "plain"),
            "µs",
            cpu_us(&tls),
            cpu_us(&plain),
        );
        // Its peak is at its end, which the last reading may miss.
        let one = (0..RUNS).map(|_| self.run_client(with_tls(paced(1, 1, 10))));
        let of_one = one.map(|one| one.cost.rss_bytes).max().unwrap_or(0);
        let of_streams = peak_rss(&tls) - of_one as f64;
        let kib = of_streams / (PACED.streams - 1) as f64 / 1024.0;
        row(
            "same, RSS a stream beyond the first",
            "≤ 60 KiB",
            kib <= 60.0,
            &format!("{kib:.1} KiB"),
            "",
        );
    }

    /// Measures the requests that are sent after the ramp: each of these streams has sent one before.
    fn most_streams(&self) {
        // One run takes half a minute, and its figures are of 10,000 requests.
        let (client, floor) = (self.run_client(MOST), self.run_floor(MOST));
        for (at, (name, must, unit)) in [
            ("TTFT: p99 error behind the ramp", 5.0, "ms"),
            ("ITL: mean error", 1000.0, "µs"),
        ]
        .into_iter()
        .enumerate()
        {
            let of = |outcome: &Outcome| {
                outcome.errors.map_or(f64::NAN, |errors| {
                    [errors.ttft_p99_ms, errors.itl_mean_us][at]
                })
            };
            row(
                &format!("10,000 paced streams, {name}"),
                &format!("≤ {must} {unit}"),
                of(&client) <= must,
                &format!("{:.3} {unit}", of(&client)),
                &format!("{:.3} {unit}", of(&floor)),
            );
        }
        let of = |outcome: Outcome| mib(outcome.cost.rss_bytes as f64);
        row(
            "same, peak RSS",
            "≤ 300 MiB",
            of(client) <= 300.0,
            &format!("{:.0} MiB", of(client)),
            &format!("{:.0} MiB", of(floor)),
        );
    }

    /// Checks for one `recvfrom` an event, with all timeouts on; needs strace.
    fn system_calls(&self) {
        let case = paced(16, 4, 10);
        let server = self.serve(case);
        let (counts, samples) = (self.path("strace.txt"), self.path("samples.jsonl"));
        let client = self.client_command(case, &server.first_line);
        let traced = Command::new("strace")
            .args(["-c", "-f", "-o", &counts])
            .arg(client.get_program())
            .args(client.get_args())
            .args(["--samples", &samples])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        server.end();
        if !traced.is_ok_and(|status| status.success()) {
            println!("| same, system calls an event | ≤ 1.1 | not run: no strace | |");
            return;
        }
        let text = fs::read_to_string(counts).expect("strace wrote it");
        let calls = |name: &str| -> f64 {
            let line = text
                .lines()
                .find(|line| line.ends_with(&format!(" {name}")));
            let count = line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
            count.unwrap_or(0.0)
        };
        let events = (samples_of_client(&samples).len() * case.tokens) as f64;
        let reads = (calls("recvfrom") + calls("read")) / events;
        let options = calls("setsockopt") / events;
        row(
            "same, reads an event, setsockopt an event (strace)",
            "≤ 1.1, ≤ 0.05",
            reads <= 1.1 && options <= 0.05,
            &format!("{reads:.2}, {options:.3}"),
            "",
        );
    }

    fn unpaced(&self) {
        let (client, floor) = self.compare(UNPACED);
        // Microseconds an event are seconds a million events.
        row(
            "unpaced, 10 in flight, 1 KB prompts: CPU seconds a million tokens",
            "≤ 0.6 s",
            cpu_us(&client) <= 0.6,
            &format!("{:.2} s", cpu_us(&client)),
            &format!("{:.2} s", cpu_us(&floor)),
        );
    }

    fn long_prompts(&self) {
        let (client, floor) = self.compare(LONG_PROMPTS);
        let of = |side: &[Outcome]| cpu_us(side) * LONG_PROMPTS.tokens as f64 / 1e3;
        let what = "20 in flight, 32,000-token prompts: CPU a request";
        ratio_row(what, (1.3, "floor"), "ms", of(&client), of(&floor));
    }

    fn growth(&self) {
        let cpu = |case: Case| {
            let runs: Vec<_> = (0..RUNS).map(|_| self.run_client(case)).collect();
            cpu_us(&runs)
        };
        let (few, many) = (cpu(FEW), cpu(MANY));
        row(
            "CPU a paced event, 1,000 streams against 64",
            "≤ 1.3 ×",
            many / few <= 1.3,
            &format!("{:.2} × ({many:.1} µs, {few:.1} µs)", many / few),
            "",
        );
    }

    /// Measures how late requests are sent that are scheduled at a rate.
    fn rate(&self) {
        let result = self.path("load.json");
        let mut late_ms = Vec::new();
        for _ in 0..RUNS {
            let server = self.serve(paced(256, 1, 10));
            let mut command = Command::new(&self.client);
            command
                .args([
                    "load",
                    "--endpoint",
                    &format!("127.0.0.1:{}", server.first_line),
                ])
                .args(["--rate", "200", "--duration", "20s", "--max-tokens", "20"])
                .args(["--output", &result]);
            run_measured(&mut command, self.client_cpu);
            server.end();
            let text = fs::read_to_string(&result).expect("load wrote it");
            let figures: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let late = ["lateness_avg_ms", "lateness_p99_ms", "lateness_max_ms"];
            late_ms.push(late.map(|key| figures[key].as_f64().expect(key)));
        }
        let [mean, p99, max] = [0, 1, 2].map(|at| median(late_ms.iter().map(|late| late[at])));
        row(
            "`load` at 200/s for 20 s, lateness: p99 (mean, max)",
            "≤ 2 ms",
            p99 <= 2.0,
            &format!("{p99:.2} ms ({mean:.2}, {max:.2})"),
            "",
        );
    }

    fn memory(&self) {
        for (case, must) in [(paced(256, 2, 10), 16.0), (paced(1000, 1, 50), 64.0)] {
            let of = |outcomes: &[Outcome]| mib(peak_rss(outcomes));
            let (client, floor) = self.compare(case);
            row(
                &format!("peak RSS at {} streams", case.streams),
                &format!("≤ {must} MiB"),
                of(&client) <= must,
                &format!("{:.1} MiB", of(&client)),
                &format!("{:.1} MiB", of(&floor)),
            );
        }
    }

    fn binary(&self) {
        let bytes = fs::metadata(&self.client).expect("the binary").len() as f64;
        let size = format!("{:.2} MiB", mib(bytes));
        row("static binary", "≤ 5 MiB", mib(bytes) <= 5.0, &size, "");
        let help = median((0..21).map(|_| {
            let started = Instant::now();
            let status = Command::new(&self.client)
                .arg("--help")
                .stdout(Stdio::null())
                .status();
            assert!(status.expect("it starts").success());
            started.elapsed().as_secs_f64() * 1e3
        }));
        row(
            "`--help`",
            "≤ 5 ms",
            help <= 5.0,
            &format!("{help:.1} ms"),
            "",
        );
    }

    /// Measures the mock's own lateness by its truth log, and its cost per event.
    fn mock(&self) {
        let log = self.path("truth.jsonl");
        let mut cpu_us = Vec::new();
        let mut late_ms = Vec::new();
        for _ in 0..RUNS {
            let mut command = Command::new(&self.client);
            command
                .args(["mock", "--truth-log", &log, "--max-running", "300"])
                .args(["--base", "50ms", "--itl", "10ms", "--prefill-rate", "1000M"]);
            let server = Served::start(&mut command, self.server_cpu);
            let address = server
                .first_line
                .split("127.0.0.1:")
                .nth(1)
                .unwrap_or_default();
            let port = address.split('/').next().unwrap_or_default();
            run_measured(&mut self.client_command(PACED, port), self.client_cpu);
            let cpu = server.end();
            let late_ns = lateness_ns(&log);
            cpu_us.push(cpu.as_secs_f64() * 1e6 / late_ns.len() as f64);
            late_ms.push(late_ns[(late_ns.len() - 1) * 99 / 100] as f64 / 1e6);
        }
        let late_ms = median(late_ms);
        row(
            "mock, 256 streams: its own lateness p99, CPU an event",
            "≤ 1 ms, –",
            late_ms <= 1.0,
            &format!("{late_ms:.2} ms, {:.1} µs", median(cpu_us)),
            "",
        );
    }
}

/// Prints the errors of TTFT and ITL at 256 streams.
fn error_rows(what: &str, client: &[Outcome], beside: &[Outcome]) {
    let figures = [
        ("TTFT: mean error", 0.15, "ms"),
        ("TTFT: p99 error", 1.0, "ms"),
        ("ITL: mean error", 2.0, "µs"),
    ];
    for (at, (name, must, unit)) in figures.into_iter().enumerate() {
        let of = |side: &[Outcome]| {
            let errors = side.iter().filter_map(|outcome| outcome.errors);
            median(errors.map(|e| [e.ttft_mean_ms, e.ttft_p99_ms, e.itl_mean_us][at]))
        };
        row(
            &format!("{what}, {name}"),
            &format!("≤ {must} {unit}"),
            of(client) <= must,
            &format!("{:.3} {unit}", of(client)),
            &format!("{:.3} {unit}", of(beside)),
        );
    }
}

/// Returns the median CPU time an event, in microseconds.
fn cpu_us(side: &[Outcome]) -> f64 {
    median(
        side.iter()
            .map(|outcome| outcome.cost.cpu.as_secs_f64() * 1e6 / outcome.events),
    )
}

/// Returns the median of the peak memory, in bytes.
fn peak_rss(side: &[Outcome]) -> f64 {
    median(side.iter().map(|outcome| outcome.cost.rss_bytes as f64))
}

fn ratio_row(what: &str, (must, of): (f64, &str), unit: &str, client: f64, floor: f64) {
    row(
        what,
        &format!("≤ {must} × {of}"),
        client / floor <= must,
        &format!("{:.2} × ({client:.2} {unit})", client / floor),
        &format!("{floor:.2} {unit}"),
    );
}

/// Returns written − due of all tokens of all requests, in order of size.
fn lateness_ns(log: &str) -> Vec<u64> {
    let text = fs::read_to_string(log).unwrap_or_else(|error| panic!("{log}: {error}"));
    let mut late_ns: Vec<u64> = Vec::new();
    for line in text.lines() {
        let truth: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let stamps = |key: &str| -> Vec<u64> {
            let list = truth[key].as_array().expect("a list of stamps");
            list.iter().filter_map(serde_json::Value::as_u64).collect()
        };
        let pairs = stamps("t_written_ns").into_iter().zip(stamps("t_due_ns"));
        late_ns.extend(pairs.map(|(written, due)| written - due));
    }
    late_ns.sort_unstable();
    late_ns
}

/// Returns a command that runs this program in another role.
fn myself() -> Command {
    Command::new(std::env::current_exe().expect("a running program has a file"))
}
