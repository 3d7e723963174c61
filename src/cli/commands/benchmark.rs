//! `tmesh-cli benchmark`: long contexts in a cycle, until something ends it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::{Value, json};

use crate::cli::args::{Args, above_zero, at_least_one};
use crate::cli::connect::{Connection, Opened};
use crate::cli::discover;
use crate::cli::output;
use crate::cli::print;
use crate::cli::startup::{Ready, Workload, prepare};
use crate::client::Client;
use crate::collect::live::{self, Collected, Collector, ResultFile};
use crate::collect::{Feed, Log};
use crate::error::{Error, Result};
use crate::load::pool::Shared;
use crate::load::stop::{Reason, Stop};
use crate::load::{self, Limit};
use crate::plan::prompt::Writer;
use crate::plan::tiling::{Shape, Tiling};
use crate::report::{self, finish};
use crate::sample::{Gauge, Sample};
use crate::samples_file;
use crate::units::{format_utc, nanoseconds, parse_count, parse_duration};
use crate::watchdog;

/// Samples that may wait for the collector; beyond that workers wait, which costs load, not data.
const WAITING_SAMPLES: usize = 4096;

/// When the run ends by itself, and what it leaves behind.
struct Options {
    duration: Option<Duration>,
    requests: Option<u64>,
    rotations: Option<u64>,
    warmup: Duration,
    interval: Duration,
    samples: Option<String>,
    output: Option<String>,
    keep_gaps: bool,
    seed: u64,
    nonce: String,
}

impl Options {
    fn parse(args: &mut Args) -> Result<Options> {
        let random = || format!("{:08x}", fastrand::u32(..));
        let options = Options {
            duration: args.value("--duration", above_zero)?,
            requests: args.value("--requests", at_least_one)?,
            rotations: args.value("--rotations", at_least_one)?,
            warmup: args
                .value("--warmup-seconds", parse_duration)?
                .unwrap_or_default(),
            interval: args
                .value("--interval", above_zero)?
                .unwrap_or(Duration::from_secs(5)),
            samples: args.text("--samples")?,
            output: args.text("--output")?,
            keep_gaps: !args.switch("--no-gaps"),
            seed: args.value("--seed", parse_count)?.unwrap_or(0),
            nonce: args.text("--nonce")?.unwrap_or_else(random),
        };
        let warmup = options.warmup;
        if options.duration.is_some_and(|duration| warmup >= duration) {
            let what = format!("--warmup-seconds {}", warmup.as_secs_f64());
            return Err(Error::input(
                what,
                "leaves nothing of --duration to measure",
            ));
        }
        Ok(options)
    }

    fn is_endless(&self) -> bool {
        self.duration.is_none() && self.requests.is_none() && self.rotations.is_none()
    }

    /// Finds out before the first request whether the files can be written.
    fn check_outputs(&self) -> Result<()> {
        output::check(&[
            ("--samples", self.samples.as_deref()),
            ("--output", self.output.as_deref()),
        ])
    }
}

/// Runs the command; the exit code.
pub fn run(mut args: Args) -> Result<u8> {
    let mut connection = Connection::parse(&mut args)?;
    let workload = Workload::parse(&mut args)?;
    let options = Options::parse(&mut args)?;
    options.check_outputs()?;
    let opened = connection.open()?;
    let writer = Writer::new(options.seed, &options.nonce);
    let ready = prepare(connection, &workload, &opened, &writer)?;
    print(&specification(&ready, &options))?;

    let sizing = &ready.sizing;
    let of_rotations = options.rotations.map(|n| n.saturating_mul(sizing.contexts));
    let shape = Shape {
        contexts: sizing.contexts,
        questions: sizing.questions,
        input_tokens: sizing.input_length,
        output_tokens: sizing.output_length,
        requests: [options.requests, of_rotations].into_iter().flatten().min(),
    };
    let plan = Tiling::new(shape, &writer, &ready.setup.lengths);
    let about = about(&ready, &opened, &options);
    let stop = Stop::new();
    let collected = measure(&ready, &options, plan, &about, &stop)?;
    end(&ready, &options, &stop, collected)
}

/// The NOTE, the workload and what was found out for it.
fn specification(ready: &Ready, options: &Options) -> String {
    let sizing = &ready.sizing;
    let note = if options.is_endless() {
        "NOTE: tmesh-cli benchmark will run forever until you interrupt the process.\n\n"
    } else {
        ""
    };
    let mut text = format!(
        "\n{note}Workload Specifications:\nModel: {}\nNumber of Contexts: {}\n\
         Number of Questions per Context: {}\nMax Inflight Requests (Load-Balancing): {}\n\
         Input Length: {}\nOutput Length: {}\n\n",
        ready.target.body.model,
        sizing.contexts,
        sizing.questions,
        sizing.max_inflight,
        sizing.input_length,
        sizing.output_length
    );
    text.push_str(&discover::setup_line(&ready.setup));
    text.push_str(&format!(
        "Seed: {}, nonce: {}\n",
        options.seed, options.nonce
    ));
    if ready.is_mock {
        text.push_str(report::MOCK);
        text.push('\n');
    }
    if !options.warmup.is_zero() {
        let seconds = options.warmup.as_secs_f64();
        text.push_str(&format!(
            "Warm-up: requests sent in the first {seconds} s are left out of every figure\n"
        ));
    }
    text.push('\n');
    text
}

/// What stands in front of samples and figures in files; no key, no prompt text.
fn about(ready: &Ready, opened: &Opened, options: &Options) -> Value {
    let sizing = &ready.sizing;
    json!({
        "command": "benchmark",
        "endpoint": opened.endpoint.base(),
        "model": ready.target.body.model,
        "mock": ready.is_mock,
        "seed": options.seed,
        "nonce": options.nonce,
        "run_id": ready.target.run_id,
        "slo": null,
        "started_at": format_utc(SystemTime::now()),
        "options": {
            "api": ready.target.body.api.path(),
            "offload_size_gb": sizing.offload_size_gb,
            "bytes_per_token": sizing.bytes_per_token,
            "contexts": sizing.contexts,
            "questions": sizing.questions,
            "max_inflight": sizing.max_inflight,
            "input_length_tokens": sizing.input_length,
            "output_length_tokens": sizing.output_length,
            "duration_s": options.duration.map(|d| d.as_secs_f64()),
            "requests": options.requests,
            "rotations": options.rotations,
            "warmup_s": options.warmup.as_secs_f64(),
            "interval_s": options.interval.as_secs_f64(),
        },
        "setup": discover::setup_json(&ready.setup),
    })
}

/// Runs the plan with the collector beside it.
fn measure(
    ready: &Ready,
    options: &Options,
    plan: Tiling,
    about: &Value,
    stop: &Stop,
) -> Result<Collected> {
    let samples_file = output::samples(options.samples.as_deref(), about, options.keep_gaps)?;
    let result = options.output.clone().map(|path| ResultFile {
        path,
        about: about.clone(),
    });
    let (sender, samples): (Sender<Sample>, Receiver<Sample>) = bounded(WAITING_SAMPLES);
    let gauge = Arc::new(Gauge::default());
    let closed = stop.clone();
    let watch = watchdog::start(ready.target.link.epoch)?;
    let collector = Collector {
        feed: Feed {
            samples,
            vitals: watch.vitals,
            end_watch: watch.end,
            stopped: stop.woken().clone(),
            gauge: gauge.clone(),
            epoch: ready.target.link.epoch,
        },
        log: Log {
            name: "--samples",
            file: samples_file,
            lost: Vec::new(),
        },
        interval: options.interval,
        warmup: options.warmup,
        mock_in_process: ready.is_mock,
        result,
        on_closed: Box::new(move || closed.request(Reason::Closed)),
    };
    let shared = Shared {
        warmup_ns: nanoseconds(options.warmup),
        ..Shared::new(sender, stop.clone(), gauge, &ready.target.body.model)
    };
    let target = Arc::new(ready.target.clone());
    let clients = (0..ready.sizing.max_inflight)
        .map(|_| Client::new(target.clone()))
        .collect();
    stop.on_signals()?;
    let collecting = std::thread::spawn(move || live::run(collector));
    let limit = options.duration.map_or(Limit::None, Limit::Cut);
    load::run(plan, clients, shared, limit)?;
    collecting
        .join()
        .map_err(|_| Error::missed("collector", "it panicked; this is a bug"))
}

/// The final report and the exit code.
fn end(ready: &Ready, options: &Options, stop: &Stop, collected: Collected) -> Result<u8> {
    let why = match stop.reason() {
        Some(Reason::Refused(status, failure)) => {
            return Err(discover::refused(&ready.target, *status, failure));
        }
        Some(Reason::Signal) => "stopped by a signal".to_string(),
        Some(Reason::Closed) => "stdout was closed".to_string(),
        Some(Reason::Gone(failure)) => format!("nothing answers: {}", failure.reason),
        Some(Reason::Duration) => "the duration is over".to_string(),
        None => "all requests were sent".to_string(),
    };
    let clock = collected.clock;
    let end = samples_file::End {
        t_start_ns: clock.started_ns,
        t_end_ns: clock.now_ns,
        concurrency_peak: clock.peak,
        in_flight: clock.in_flight,
        why: why.clone(),
    };
    let mut log = collected.log;
    log.write(|file| file.write_series("end", &end));
    let mut lost = log.lost;
    if let Some(result) = &collected.result
        && let Err(error) = result.write(&collected.summary, Some(&why))
    {
        lost.push(format!("--output {}: {error}", result.path));
    }
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = finish::report(&mut text, &collected.summary, &why);
    if ready.is_mock {
        text.push_str(report::MOCK);
        text.push('\n');
    }
    print(&text)?;
    if !lost.is_empty() {
        return Err(Error::missed("output", lost.join("; ")));
    }
    if !collected.any_success {
        let why = if collected.summary.failed > 0 {
            "see the failures above"
        } else {
            "none had ended; run longer"
        };
        return Err(Error::missed("no measured request succeeded", why));
    }
    Ok(
        if !options.is_endless() && stop.reason() == Some(&Reason::Signal) {
            130
        } else {
            0
        },
    )
}
