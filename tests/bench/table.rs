//! The table: each row runs the floor and the client in turn, three times, and prints medians.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::accuracy::{Errors, lines_of_stamps, samples_of_client};
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
}

impl Case {
    fn requests(&self) -> usize {
        self.streams * self.rounds
    }

    /// Returns the number of token events of a whole run.
    fn events(&self) -> f64 {
        (self.requests() * self.tokens) as f64
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
    }
}

const PACED: Case = paced(256, 8, 10);
/// 64 and 1,000 streams at 10,000 events a second, so that only the number of streams differs.
const FEW: Case = Case {
    itl: Duration::from_micros(6400),
    ..paced(64, 16, 0)
};
const MANY: Case = paced(1000, 1, 100);
const UNPACED: Case = Case {
    streams: 10,
    rounds: 3000,
    tokens: 100,
    prompt_words: 1024 / BYTES_OF_WORD,
    first: Duration::ZERO,
    itl: Duration::ZERO,
};
const LONG_PROMPTS: Case = Case {
    streams: 20,
    rounds: 40,
    tokens: 100,
    prompt_words: 32_000,
    first: Duration::from_millis(50),
    itl: Duration::from_millis(2),
};

/// One side of a comparison.
#[derive(Clone, Copy)]
struct Outcome {
    cost: Cost,
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
    let rows: [(&str, Row); 8] = [
        ("paced", Bench::paced),
        ("unpaced", Bench::unpaced),
        ("long prompts", Bench::long_prompts),
        ("growth", Bench::growth),
        ("rate", Bench::rate),
        ("memory", Bench::memory),
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
        self.outcome(case, cost, || samples_of_client(&samples))
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
        self.outcome(case, cost, || lines_of_stamps(&samples))
    }

    fn serve(&self, case: Case) -> Served {
        let mut command = myself();
        command
            .args(["server", "--truth", &self.path("truth.txt")])
            .args(["--first-us", &case.first.as_micros().to_string()])
            .args(["--itl-us", &case.itl.as_micros().to_string()]);
        Served::start(&mut command, self.server_cpu)
    }

    fn client_command(&self, case: Case, port: &str) -> Command {
        let [streams, words, tokens, rounds] =
            [case.streams, case.prompt_words, case.tokens, case.rounds].map(|n| n.to_string());
        let mut command = Command::new(&self.client);
        command
            .args(["benchmark", "--endpoint", &format!("127.0.0.1:{port}")])
            .args(["--contexts", &streams, "--max-inflight", &streams])
            .args(["--input-length", &words, "--output-length", &tokens])
            .args(["--rotations", &rounds]);
        command
    }

    fn outcome(
        &self,
        case: Case,
        cost: Cost,
        samples: impl Fn() -> std::collections::HashMap<String, [i64; 3]>,
    ) -> Outcome {
        let errors = (!case.first.is_zero()).then(|| {
            let errors = Errors::of(&samples(), &self.path("truth.txt"), case.tokens);
            assert_eq!(
                errors.requests,
                case.requests(),
                "every request has its truth"
            );
            errors
        });
        Outcome { cost, errors }
    }

    fn paced(&self) {
        let (client, floor) = self.compare(PACED);
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
                &format!("256 paced streams, {name}"),
                &format!("≤ {must} {unit}"),
                of(&client) <= must,
                &format!("{:.3} {unit}", of(&client)),
                &format!("{:.3} {unit}", of(&floor)),
            );
        }
        let of = |side: &[Outcome]| {
            median(side.iter().map(|o| o.cost.cpu.as_secs_f64())) * 1e6 / PACED.events()
        };
        ratio_row("same, CPU an event", 1.25, "µs", of(&client), of(&floor));
        self.system_calls();
    }

    /// Checks for one `recvfrom` an event, with all timeouts on; needs strace.
    fn system_calls(&self) {
        let case = paced(16, 4, 10);
        let server = self.serve(case);
        let counts = self.path("strace.txt");
        let client = self.client_command(case, &server.first_line);
        let traced = Command::new("strace")
            .args(["-c", "-f", "-o", &counts])
            .arg(client.get_program())
            .args(client.get_args())
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
        let reads = (calls("recvfrom") + calls("read")) / case.events();
        let options = calls("setsockopt") / case.events();
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
        let of = |side: &[Outcome]| {
            median(side.iter().map(|o| o.cost.cpu.as_secs_f64())) * 1e6 / UNPACED.events()
        };
        row(
            "unpaced, 10 in flight, 1 KB prompts: CPU seconds a million tokens",
            "≤ 1.0 s",
            of(&client) <= 1.0,
            &format!("{:.2} s", of(&client)),
            &format!("{:.2} s", of(&floor)),
        );
    }

    fn long_prompts(&self) {
        let (client, floor) = self.compare(LONG_PROMPTS);
        let of = |side: &[Outcome]| {
            let requests = LONG_PROMPTS.requests() as f64;
            median(side.iter().map(|o| o.cost.cpu.as_secs_f64())) * 1e3 / requests
        };
        let what = "20 in flight, 32,000-token prompts: CPU a request";
        ratio_row(what, 1.3, "ms", of(&client), of(&floor));
    }

    fn growth(&self) {
        let cpu = |case: Case| {
            let runs = (0..RUNS).map(|_| self.run_client(case).cost.cpu.as_secs_f64());
            median(runs) * 1e6 / case.events()
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
        for (case, must) in [(paced(256, 2, 10), 25.0), (paced(1000, 1, 50), 64.0)] {
            let of = |outcomes: &[Outcome]| {
                mib(median(outcomes.iter().map(|o| o.cost.rss_bytes as f64)))
            };
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
        row("static binary", "≤ 4 MiB", mib(bytes) <= 4.0, &size, "");
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
            cpu_us.push(server.end().as_secs_f64() * 1e6 / PACED.events());
            late_ms.push(lateness_p99_ms(&log));
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

fn ratio_row(what: &str, must: f64, unit: &str, client: f64, floor: f64) {
    row(
        what,
        &format!("≤ {must} × floor"),
        client / floor <= must,
        &format!("{:.2} × ({client:.2} {unit})", client / floor),
        &format!("{floor:.2} {unit}"),
    );
}

/// Returns the 99th percentile of written − due over all tokens of all requests.
fn lateness_p99_ms(log: &str) -> f64 {
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
    late_ns[(late_ns.len() - 1) * 99 / 100] as f64 / 1e6
}

/// Returns a command that runs this program in another role.
fn myself() -> Command {
    Command::new(std::env::current_exe().expect("a running program has a file"))
}
