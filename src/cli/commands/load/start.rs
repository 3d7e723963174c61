//! From the options of `load` to all that its points need: prompts, server, lengths, files.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::options::{Options, Prompts};
use super::points::Point;
use super::run::Load;
use crate::cli::connect::{Connection, Opened};
use crate::cli::discover::{announce, model_of_api, report_setup, setup_json, setup_line};
use crate::cli::{checks, output, print};
use crate::client::Target;
use crate::client::api::Api;
use crate::client::body::{BodyShape, Optional};
use crate::client::setup::{self, Setup};
use crate::error::{Error, Result};
use crate::load::stop::Stop;
use crate::plan::arrival::Burstiness;
use crate::plan::dataset;
use crate::plan::groups::Shared;
use crate::plan::lengths::Length;
use crate::plan::prompt::Writer;
use crate::plan::repeat::Repeats;
use crate::plan::requests::{Batch, Plan, Records, Source};
use crate::plan::trace::Trace;
use crate::report;
use crate::sample::Labels;
use crate::units::format_utc;

/// Of a prompt of the warm-up, and of the answer to it, where the run makes none of its own.
const WARMUP_TOKENS: u64 = 100;

/// Checks all that can be checked, in the order of what it costs, and says what will be sent.
pub fn open(mut connection: Connection, mut options: Options) -> Result<Load> {
    let (flag, most) = options.most_in_flight();
    checks::in_flight(flag, most, connection.is_mock())?;
    let source = source(&options)?;
    if let Some(most) = source.requests() {
        options.requests = extent(&options, most);
    }
    let names: Vec<String> = options.points.iter().map(Point::name).collect();
    options.outputs.check(&names)?;
    let opened = connection.open()?;
    announce(&opened)?;
    let api = opened.endpoint.api.unwrap_or(Api::Completions);
    check_records(&options, &source, api)?;
    let model = model_of_api(&connection, &opened, api)?;
    let has_own_ends = matches!(source, Source::Records { .. });
    let body = BodyShape {
        optional: Optional {
            // The answers to a dataset end where the model ends them.
            ignore_eos: !has_own_ends,
            min_tokens: !has_own_ends,
            ..Optional::ALL
        },
        extra: connection.extra_body,
        ..BodyShape::new(api, model)
    };
    let mut target = Target::new(opened.link.clone(), &opened.endpoint, body)?;
    let writer = Writer::new(options.seed, &options.nonce);
    let setup = setup::run(&mut target, &opened.endpoint, &opened.small, &writer);
    report_setup(&setup, &target)?;
    check_slo(&options, &setup)?;
    let plan = |source| Plan {
        source,
        seed: options.seed,
        nonce: options.nonce.clone(),
        lengths: setup.lengths.clone(),
        as_text: api != Api::Chat,
    };
    let (plan, warmup_plan) = (plan(source), plan(warmup(&options)));
    print(&specification(&options, &plan, &opened, &setup))?;
    let about = about(&options, &target, &opened, &setup);
    let samples_file = output::samples(options.outputs.samples.as_deref(), &about, true)?;
    let stop = Stop::new();
    stop.on_signals()?;
    Ok(Load {
        target: Arc::new(target),
        opened,
        options,
        plan,
        warmup_plan,
        about,
        stop,
        succeeded: Arc::new(AtomicBool::new(false)),
        samples_file,
        cached_reported: false,
        response_cached_reported: false,
        next_id: 0,
        summaries: Vec::new(),
        samples: Vec::new(),
        shown: String::new(),
        lost: Vec::new(),
    })
}

/// Reads the file of prompts, if there is one.
fn source(options: &Options) -> Result<Source> {
    Ok(match &options.prompts {
        Prompts::Made {
            input,
            output,
            shared,
            repeat_ratio,
        } => Source::Made {
            input: *input,
            output: *output,
            shared: *shared,
            repeat_ratio: *repeat_ratio,
        },
        Prompts::Dataset {
            path,
            output,
            repeat_ratio,
        } => Source::Records {
            records: records(options, path, *repeat_ratio)?,
            output: *output,
            repeat_ratio: *repeat_ratio,
        },
        Prompts::Trace(path) => {
            let what = format!("--trace {}", path.display());
            Source::Trace(Trace::load(&what, path)?)
        }
    })
}

/// As many as there are first uses, drawn by the seed.
fn records(options: &Options, path: &Path, repeat_ratio: f64) -> Result<Records> {
    let first_uses = options.requests.map(|requests| {
        let repeats = Repeats::new(Some(requests), repeat_ratio, 1, 0);
        requests - repeats.left().unwrap_or(0)
    });
    let dataset = dataset::load(path, first_uses, options.seed)?;
    let wrong = |(line, why)| Error::input(in_line(path, line), why);
    let records = Records::new(&dataset).map_err(wrong)?;
    if let Some(wanted) = first_uses.filter(|&wanted| wanted > dataset.total()) {
        eprintln!(
            "note: --dataset {}: {} records for {wanted} first uses; they are gone through again, as repeats",
            path.display(),
            dataset.total()
        );
    }
    Ok(records)
}

fn in_line(path: &Path, line: u64) -> String {
    format!("--dataset {}, line {line}", path.display())
}

/// Whether every record can go out to this API.
fn check_records(options: &Options, source: &Source, api: Api) -> Result<()> {
    let (Prompts::Dataset { path, .. }, Source::Records { records, .. }) =
        (&options.prompts, source)
    else {
        return Ok(());
    };
    match records.first_chat().filter(|_| api != Api::Chat) {
        Some(line) => {
            let why = "a system message, which goes to the chat API only";
            Err(Error::input(in_line(path, line), why).next("Try: --api chat"))
        }
        None => Ok(()),
    }
}

/// How many requests go out of a source that has so many.
fn extent(options: &Options, has: u64) -> Option<u64> {
    match (&options.prompts, options.requests, options.duration) {
        (Prompts::Trace(_), Some(wanted), _) => Some(wanted.min(has)),
        (_, None, None) => Some(has),
        (_, wanted, _) => wanted,
    }
}

/// Prompts for the warm-up: as the run's own, where it makes any; without repeats.
fn warmup(options: &Options) -> Source {
    let tokens = Length::Fixed(WARMUP_TOKENS);
    let (input, output) = match &options.prompts {
        Prompts::Made { input, output, .. } => (*input, *output),
        Prompts::Dataset { output, .. } => (tokens, *output),
        Prompts::Trace(_) => (tokens, tokens),
    };
    Source::Made {
        input,
        output,
        shared: None,
        repeat_ratio: 0.0,
    }
}

/// A limit on TTFT where no request will have one.
fn check_slo(options: &Options, setup: &Setup) -> Result<()> {
    let limits_ttft = options.slo.is_some_and(|slo| slo.ttft_ms.is_some());
    if limits_ttft && setup.streams == Some(false) {
        let why = "a limit on ttft_ms, but the server does not stream: no request has a TTFT";
        return Err(
            Error::input("--slo-file", why).next("Take ttft_ms out of it and limit latency_ms.")
        );
    }
    Ok(())
}

/// What will be sent.
fn specification(options: &Options, plan: &Plan, opened: &Opened, setup: &Setup) -> String {
    let mut text = "\n".to_string();
    let points: Vec<String> = options.points.iter().map(title).collect();
    text.push_str(&format!("Load: {}\n", points.join(", ")));
    text.push_str(&format!("Requests: {}\n", requests(options, plan)));
    if options.warmup > 0 {
        let n = options.warmup;
        let plural = if n == 1 { "" } else { "s" };
        let before = if options.points.len() > 1 {
            "before each point"
        } else {
            "before it"
        };
        text.push_str(&format!(
            "Warm-up: {n} request{plural} {before}, in no figure\n"
        ));
    }
    text.push_str(&format!("Prompts: {}\n", prompts(options)));
    text.push_str(&setup_line(setup));
    text.push_str(&format!(
        "Seed: {}, nonce: {}\n",
        options.seed, options.nonce
    ));
    if opened.mock.is_some() {
        text.push_str(report::MOCK);
        text.push('\n');
    }
    text.push('\n');
    text
}

fn title(point: &Point) -> String {
    match point {
        Point::Concurrency(n) => format!("concurrency {n}"),
        Point::Rate(rate) => format!("rate {rate}/s"),
        Point::Trace => "as the trace says".to_string(),
    }
}

/// How many, and of them the repeats.
fn requests(options: &Options, plan: &Plan) -> String {
    let each = if options.points.len() > 1 {
        " each"
    } else {
        ""
    };
    let Some(requests) = options.requests else {
        let seconds = options
            .duration
            .map_or(0.0, |duration| duration.as_secs_f64());
        let ratio = match &options.prompts {
            Prompts::Made { repeat_ratio, .. } | Prompts::Dataset { repeat_ratio, .. } => {
                *repeat_ratio
            }
            Prompts::Trace(_) => 0.0,
        };
        return format!(
            "as many as go out in {seconds} s{each}, {} % of them repeats in the long run",
            ratio * 100.0
        );
    };
    let gap = options.points.iter().map(|point| options.gap(*point)).max();
    let batch = Batch {
        name: String::new(),
        requests: Some(requests),
        gap: gap.unwrap_or(1),
        first_id: 0,
        labels: Labels::default(),
    };
    match plan.repeats(&batch) {
        Some(repeats) => {
            let first_uses = requests - repeats;
            format!("{requests}{each} = {first_uses} first uses + {repeats} repeats")
        }
        None => format!("{requests}{each}"),
    }
}

fn prompts(options: &Options) -> String {
    match &options.prompts {
        Prompts::Made {
            input,
            output,
            shared,
            ..
        } => {
            let shared = shared.map_or(String::new(), |Shared { tokens, groups }| {
                let plural = if groups == 1 { "" } else { "s" };
                format!(", the first {tokens} shared ({groups} group{plural})")
            });
            format!("{input} tokens in{shared}, {output} out")
        }
        Prompts::Dataset { path, output, .. } => {
            format!("{}, at most {output} tokens out", path.display())
        }
        Prompts::Trace(path) => {
            let speed = options.speed;
            format!("{}, at {speed} times its speed", path.display())
        }
    }
}

/// What stands in front of samples and figures in files; no key, no prompt text.
fn about(options: &Options, target: &Target, opened: &Opened, setup: &Setup) -> Value {
    let points = || options.points.iter();
    let is_open = points().any(Point::is_open);
    let concurrency: Vec<u64> = points().filter_map(Point::concurrency).collect();
    let rates: Vec<f64> = points().filter_map(Point::rate_per_s).collect();
    json!({
        "command": "load",
        "endpoint": target.uri.to_string(),
        "model": target.body.model,
        "mock": opened.mock.is_some(),
        "seed": options.seed,
        "nonce": options.nonce,
        "run_id": target.run_id,
        "slo": options.slo,
        "started_at": format_utc(SystemTime::now()),
        "options": {
            "api": target.body.api.name(),
            "concurrency": concurrency,
            "rate_per_s": rates,
            "burstiness": (!rates.is_empty()).then(|| burstiness(options.burstiness)),
            "max_inflight": is_open.then_some(options.max_inflight),
            "requests": options.requests,
            "duration_s": options.duration.map(|duration| duration.as_secs_f64()),
            "warmup": options.warmup,
            "prompts": prompts_json(options),
        },
        "setup": setup_json(setup),
    })
}

/// A number, or `inf` as a text.
fn burstiness(burstiness: Burstiness) -> Value {
    match burstiness {
        Burstiness::Shape(shape) => json!(shape),
        Burstiness::Even => json!("inf"),
    }
}

fn prompts_json(options: &Options) -> Value {
    match &options.prompts {
        Prompts::Made {
            input,
            output,
            shared,
            repeat_ratio,
        } => json!({
            "input_tokens": input.to_string(),
            "output_tokens": output.to_string(),
            "shared_prefix_tokens": shared.map(|shared| shared.tokens),
            "groups": shared.map(|shared| shared.groups),
            "repeat_ratio": repeat_ratio,
        }),
        Prompts::Dataset {
            path,
            output,
            repeat_ratio,
        } => json!({
            "dataset": path,
            "output_tokens": output.to_string(),
            "repeat_ratio": repeat_ratio,
        }),
        Prompts::Trace(path) => json!({"trace": path, "speed": options.speed}),
    }
}
