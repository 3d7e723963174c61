//! `tmesh-cli benchmark`: long contexts in a cycle, until a limit or a signal ends the run.

mod workload;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::{Value, json};

use self::workload::Workload;
use crate::cli::args::{Args, above_zero, at_least_one};
use crate::cli::checks;
use crate::cli::common::Common;
use crate::cli::condition::Limits;
use crate::cli::connect::{Connection, Server};
use crate::cli::counters::{Counters, EVERY, PageUrl};
use crate::cli::discover::{Ready, announce};
use crate::cli::output::{self, Samples};
use crate::cli::run::Run;
use crate::cli::shard::check_in_flight;
use crate::cli::step::{Sending, Sent, Step};
use crate::cli::terminal::{is_printed, print};
use crate::cli::verdict::{Ending, verdict};
use crate::client::api::Api;
use crate::client::body::BodyShape;
use crate::collect::{Blocks, Extent, Moment};
use crate::error::{Error, Result};
use crate::file::is_stdout;
use crate::load::stop::Reason;
use crate::plan::sizing::Sizing;
use crate::plan::tiling::{Shape, Tiling};
use crate::report::json;
use crate::report::layout::load::KEYS;
use crate::report::layout::{benchmark as layout, notes};
use crate::report::text::{self, Screen};
use crate::stats::client::ClientStats;
use crate::stats::facts::Facts;
use crate::stats::pass::Pass;
use crate::stats::records::Records;
use crate::units::parse_duration;

/// When the run ends by itself, and what it writes.
struct Options {
    duration: Option<Duration>,
    requests: Option<u64>,
    rotations: Option<u64>,
    warmup: Duration,
    interval: Duration,
    samples: Option<String>,
    output: Option<String>,
    keep_gaps: bool,
    /// The server's page of metrics.
    page: PageUrl,
    common: Common,
    limits: Limits,
}

/// The name of the only pass, in conditions.
const PLACE: &str = "benchmark";

impl Options {
    fn parse(args: &Args) -> Result<Options> {
        let interval = args.value("--interval", above_zero)?;
        let warmup = args.value("--warmup-seconds", parse_duration)?;
        let options = Options {
            duration: args.value("--duration", above_zero)?,
            requests: args.value("--requests", at_least_one)?,
            rotations: args.value("--rotations", at_least_one)?,
            warmup: warmup.unwrap_or_default(),
            interval: interval.unwrap_or(Duration::from_secs(5)),
            samples: args.text("--samples"),
            output: args.text("--output"),
            keep_gaps: !args.has("--no-gaps"),
            page: PageUrl::parse(args)?,
            common: Common::parse(args)?,
            limits: Limits::parse(args, &KEYS, "part", &[PLACE.to_string()])?,
        };
        match options.duration {
            Some(duration) if options.warmup >= duration => {
                let what = format!("--warmup-seconds {}", options.warmup.as_secs_f64());
                Err(Error::input(
                    what,
                    "leaves nothing of --duration to measure",
                ))
            }
            _ => Ok(options),
        }
    }

    fn is_endless(&self) -> bool {
        self.duration.is_none() && self.requests.is_none() && self.rotations.is_none()
    }

    /// Returns the shape of the tiling: its contexts and questions, and where it ends.
    fn shape(&self, sizing: &Sizing, has_pairs: bool) -> Shape {
        let of_rotations = self.rotations.map(|n| n.saturating_mul(sizing.contexts));
        Shape {
            contexts: sizing.contexts,
            questions: sizing.questions,
            input_tokens: sizing.input_length,
            output_tokens: sizing.output_length,
            requests: [self.requests, of_rotations].into_iter().flatten().min(),
            // The end of a duration ends all sending.
            has_repeats_at_once: self.is_endless() || self.duration.is_some(),
            has_pairs,
        }
    }
}

/// Runs the command and returns the exit code.
pub fn run(args: &Args) -> Result<u8> {
    let server = Server::parse(args, None)?;
    let connection = Connection::parse(args, server)?;
    let workload = Workload::parse(args)?;
    let options = Options::parse(args)?;
    output::check(&[
        ("--samples", options.samples.as_deref()),
        ("--output", options.output.as_deref()),
    ])?;
    let opened = connection.open()?;
    announce(&opened)?;
    let (model, sizing) = workload.size(&opened)?;
    checks::length(&model, &sizing)?;
    let most = sizing.max_inflight;
    let what = match args.has("--max-inflight") {
        true => format!("--max-inflight {most}"),
        false => format!("--max-inflight {most} (a third of --contexts)"),
    };
    checks::in_flight(&what, most, opened.mock.is_some())?;
    check_in_flight(options.common.shard(), &what, most)?;
    checks::memory(&sizing)?;
    let api = opened.endpoint.api.unwrap_or(Api::Completions);
    let body = BodyShape::new(api, model.id);
    let mut ready = Ready::ask(opened, body, None, options.common.clone())?;
    ready.max_model_len = model.max_model_len;
    let counters = Counters::open(&options.page, &[], None, &ready.opened)?;
    print(&specification(&ready, &sizing, &options))?;
    let samples = Samples::named(options.samples.as_ref(), options.keep_gaps);
    let mut run = Run::begin(&ready, header(&options, &sizing), &samples)?;
    let has_pairs = !ready.setup.reports_cached && !counters.counts_hits();
    let shape = options.shape(&sizing, has_pairs);
    let mut plan = Tiling::new(shape, &ready.writer, &ready.setup.lengths);
    let Sent {
        mut records, facts, ..
    } = send(&mut run, &options, &sizing, plan.by_ref(), &counters)?;
    run.count(&ready, &mut records);
    run.end_repeats(facts, records, &counters, || plan.repeats_at_once());
    end(run, &options)
}

/// Returns the text before the run: the NOTE, the workload, and the findings of the set-up.
fn specification(ready: &Ready, sizing: &Sizing, options: &Options) -> String {
    let note = match options.is_endless() {
        true => "NOTE: tmesh-cli benchmark will run forever until you interrupt the process.\n\n",
        false => "",
    };
    let text = format!(
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
    let seconds = options.warmup.as_secs_f64();
    let warmup = match seconds > 0.0 {
        true => format!(
            "Warm-up: requests sent in the first {seconds} s are left out of every figure\n"
        ),
        false => String::new(),
    };
    text + &ready.lines(&warmup)
}

/// Returns the run's options for the header.
fn header(options: &Options, sizing: &Sizing) -> Value {
    json!({
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
    })
}

/// Sends the plan and prints a block of figures at every interval.
fn send(
    run: &mut Run,
    options: &Options,
    sizing: &Sizing,
    plan: &mut Tiling,
    counters: &Counters,
) -> Result<Sent> {
    let (stop, is_unread) = (run.stop.clone(), Arc::clone(&run.log.is_unread));
    let (mock_in_process, header) = (run.mock_in_process, run.report.about.clone());
    let interval_s = options.interval.as_secs_f64();
    let print = move |records: &mut Records, moment: &Moment| {
        let figures = records.live_figures(&so_far(moment));
        let interval = records.end_interval();
        let (in_flight, server) = (moment.in_flight, counters.now());
        let block = layout::block(&figures, &interval, interval_s, in_flight, &server);
        let shown = text::section(&block, Screen::FILE);
        if is_unread.load(Relaxed) || !is_printed(&shown).unwrap_or(false) {
            stop.request(Reason::Closed);
        }
    };
    let path = options.output.clone();
    let path = path.filter(|path| !is_stdout(path.as_ref()));
    let save = move |records: &Records, client: &ClientStats, moment: &Moment| {
        if let Some(path) = &path {
            let facts = Facts {
                client: client.summary(moment.t_start_ns, mock_in_process),
                ..so_far(moment)
            };
            let pass = Pass {
                figures: records.live_figures(&facts),
                records: Records::default(),
                facts,
            };
            let data = layout::result(&header, &pass, moment.in_flight);
            let written = output::replace(path.as_ref(), json::pretty(&data).as_bytes());
            written.unwrap_or_else(|error| eprintln!("warning: --output: {error}"));
        }
    };
    let extent = match options.duration {
        Some(duration) => Extent::Duration(duration),
        None => Extent::Requests(u64::MAX),
    };
    let step = Step {
        records: Records::live(options.is_endless(), run.common_tokens.unwrap_or(0)),
        warmup: Some(options.warmup),
        is_window: true,
        is_patient: options.is_endless(),
        counters: Some((counters, Some(EVERY))),
        blocks: Some(Blocks {
            interval: options.interval,
            print: Box::new(print),
            save: Box::new(save),
        }),
        ..Step::new(String::new(), extent, sizing.max_inflight)
    };
    run.pass(step, Sending::Closed(Box::new(plan)))
}

/// Returns the facts of a pass that is still running.
fn so_far(moment: &Moment) -> Facts {
    Facts {
        t_start_ns: moment.t_start_ns,
        window_ns: Some((moment.measured_ns, moment.now_ns)),
        concurrency_peak: moment.peak,
        in_flight_ns: moment.in_flight_ns,
        ..Facts::default()
    }
}

/// Prints the final report and returns the exit code.
fn end(mut run: Run, options: &Options) -> Result<u8> {
    run.report.notes = notes::cut(&run.report.about, &run.report.passes);
    let document = layout::final_report(&run.report);
    output::result(&mut run.log, options.output.as_ref(), &document.data);
    print(&text::render(&document, Screen::FILE))?;
    let place = (PLACE.to_string(), run.report.passes.first());
    let ending = Ending {
        is_endless: options.is_endless(),
        missed: options.limits.missed(&[place], run.kv_cache()),
        ..Ending::default()
    };
    verdict(&run, ending)
}
