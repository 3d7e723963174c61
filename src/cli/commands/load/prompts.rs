//! The prompts of `load`, made, read or named by a trace, and the text about them before the run.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::options::{Options, Origin, Prompts};
use super::points::{Point, Way};
use crate::cli::connect::Opened;
use crate::cli::discover::{self, Ready};
use crate::client::api::Api;
use crate::client::body::{BodyShape, Optional};
use crate::client::discovery::Listed;
use crate::error::{Error, Result};
use crate::plan::arrival::Burstiness;
use crate::plan::dataset;
use crate::plan::groups::Shared;
use crate::plan::repeat::Repeats;
use crate::plan::requests::{Batch, Plan, Records, Source, first_line};
use crate::plan::trace::{Trace, Unit};
use crate::sample::Labels;
use crate::units::counted;

/// The next step if a record sets what the run sets.
const SETTINGS: &str =
    "Take the key out of the record, or give its value with --max-tokens or --extra-body";

/// The requests of a run and of its warm-up.
pub struct Plans {
    pub measured: Plan,
    pub warmup: Plan,
}

impl Plans {
    pub fn new(source: Source, options: &Options, ready: &Ready) -> Plans {
        let plan = |source| Plan {
            source: Arc::new(source),
            seed: options.common.seed,
            nonce: ready.common.nonce.clone().unwrap_or_default(),
            lengths: ready.setup.lengths.clone(),
            as_text: ready.target.body.api != Api::Chat,
        };
        Plans {
            measured: plan(source),
            warmup: plan(Source::Made {
                input: options.prompts.input,
                output: options.prompts.output,
                shared: None,
                repeat_ratio: 0.0,
            }),
        }
    }
}

/// Reads the file of prompts, if the origin is one.
pub fn source(options: &Options) -> Result<Source> {
    let prompts = &options.prompts;
    Ok(match &prompts.origin {
        Origin::Made => Source::Made {
            input: prompts.input,
            output: prompts.output,
            shared: prompts.shared,
            repeat_ratio: prompts.repeat_ratio,
        },
        Origin::Dataset(path) => Source::Records {
            records: records(options, path)?,
            output: prompts.output,
            repeat_ratio: prompts.repeat_ratio,
        },
        Origin::Trace(path, unit) => Source::Trace(trace(path, *unit)?),
    })
}

fn trace(path: &Path, unit: Option<Unit>) -> Result<Trace> {
    let what = format!("--trace {}", path.display());
    let trace = Trace::load(&what, path, unit)?;
    match trace.skipped() {
        0 => {}
        n => note!(
            "note: {what}: {} without tokens left out",
            counted(n, "record")
        ),
    }
    Ok(trace)
}

/// Draws as many records by the seed as there are first uses.
fn records(options: &Options, path: &Path) -> Result<Records> {
    let first_uses = options.requests.map(|requests| {
        let repeats = Repeats::new(Some(requests), options.prompts.repeat_ratio, 1, 0);
        requests - repeats.left().unwrap_or(0)
    });
    let dataset = dataset::load(path, first_uses, options.common.seed)?;
    let wrong = |(line, why)| Error::input(in_line(path, line), why);
    let records = Records::new(&dataset).map_err(wrong)?;
    let (path, has) = (path.display(), dataset.total());
    if let Some(wanted) = first_uses.filter(|&wanted| wanted > has) {
        note!(
            "note: --dataset {path}: {has} records, but {wanted} different prompts are needed; records are sent again and count as repeats"
        );
    }
    Ok(records)
}

fn in_line(path: &Path, line: u64) -> String {
    format!("--dataset {}, line {line}", path.display())
}

/// Returns the model to ask for; the API of `/generate` names none unless the user does.
///
/// # Errors
/// Fails when the server lists no model and none is given.
pub fn model(opened: &Opened) -> Result<Listed> {
    match opened.endpoint.api {
        Some(Api::Generate) => Ok(Listed {
            id: opened.connection.model.clone().unwrap_or_default(),
            max_model_len: None,
        }),
        Some(Api::Completions | Api::Chat) | None => discover::model(opened),
    }
}

/// Checks that the prompts fit the server and this model, and asks the set-up questions. `batch` is the longest name of a
/// batch of the run.
///
/// # Errors
/// Fails when a record does not fit, or the server refuses what the run will send.
pub fn ready(
    opened: Opened,
    model: &Listed,
    options: &Options,
    source: &Source,
    batch: &str,
) -> Result<Ready> {
    let body = body(&opened, model, options);
    check_records(options, source, &body)?;
    let mut ready = Ready::ask(opened, body, None, options.common.clone())?;
    note_line(&mut ready, options, batch);
    options.check_streams(&ready)?;
    Ok(ready)
}

/// Returns the bodies of the run's requests: for the endpoint's API, with this model.
fn body(opened: &Opened, model: &Listed, options: &Options) -> BodyShape {
    let api = opened.endpoint.api.unwrap_or(Api::Completions);
    let has_own_ends = options.prompts.has_own_ends();
    BodyShape {
        optional: Optional {
            ignore_eos: !has_own_ends,
            min_tokens: !has_own_ends,
            ..Optional::ALL
        },
        ..BodyShape::new(api, model.id.clone())
    }
}

/// Notes the line in front of a dataset's prompts, which is the longest in the batch of this name.
fn note_line(ready: &mut Ready, options: &Options, batch: &str) {
    let nonce = ready.common.nonce.as_ref();
    if let Some(nonce) = nonce.filter(|_| options.prompts.has_own_ends()) {
        let bytes = first_line(nonce, batch).len();
        ready.note_line(bytes);
    }
}

/// Checks that every record fits the API of the body.
fn check_records(options: &Options, source: &Source, body: &BodyShape) -> Result<()> {
    let Origin::Dataset(path) = &options.prompts.origin else {
        return Ok(());
    };
    let Source::Records { records, .. } = source else {
        return Ok(());
    };
    if let Some((line, what)) = records.first_chat().filter(|_| body.api != Api::Chat) {
        let why = format!("{what}, which goes to the chat API only");
        return Err(Error::input(in_line(path, line), why).next("Try: --api chat"));
    }
    let max_tokens = Some(options.prompts.output.least());
    if let Some((line, why)) = records.first_unlike(&body.rest(max_tokens)) {
        return Err(Error::input(in_line(path, line), why).next(SETTINGS));
    }
    match records.requests() {
        0 => {}
        n => note!(
            "note: --dataset {}: {n} records are sent unchanged, without a nonce",
            path.display()
        ),
    }
    Ok(())
}

/// Returns how many requests are sent from a source of `has` requests.
pub fn extent(options: &Options, has: u64) -> Option<u64> {
    match (&options.prompts.origin, options.requests, options.duration) {
        (Origin::Trace(..), Some(wanted), _) => Some(wanted.min(has)),
        (_, None, None) => Some(has),
        (_, wanted, _) => wanted,
    }
}

/// Returns the text that says what will be sent.
pub fn specification(options: &Options, plans: &Plans, ready: &Ready) -> String {
    let phrase = |point: &Point| match point.way {
        Way::Trace => "as the trace says".to_string(),
        _ => Point {
            run: None,
            ..*point
        }
        .title()
        .to_lowercase(),
    };
    let points: Vec<String> = options.first_run().map(phrase).collect();
    let runs = match options.runs() {
        1 => String::new(),
        runs => format!("Runs: {runs}, each with prompts of its own\n"),
    };
    let (each, before) = match options.points.len() {
        1 => ("", "before it"),
        _ => (" each", "before each point"),
    };
    let warmup = match options.warmup {
        0 => String::new(),
        n => {
            let requests = counted(n, "request");
            format!("Warm-up: {requests} {before}, in no figure\n")
        }
    };
    format!(
        "\nLoad: {}\n{runs}Requests: {}\n{warmup}Prompts: {}\n{}",
        points.join(", "),
        requests(options, &plans.measured, each),
        prompts(options),
        ready.lines("")
    )
}

/// Formats the number of requests, and how many of them are repeats.
fn requests(options: &Options, plan: &Plan, each: &str) -> String {
    let Some(requests) = options.requests else {
        let seconds = options.duration.unwrap_or_default().as_secs_f64();
        let percent = options.prompts.repeat_ratio * 100.0;
        return format!(
            "as many as go out in {seconds} s{each}, {percent} % of them repeats in the long run"
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
            let first_uses = counted(requests - repeats, "first use");
            let repeats = counted(repeats, "repeat");
            format!("{requests}{each} = {first_uses} + {repeats}")
        }
        None => format!("{requests}{each}"),
    }
}

/// Says in a few words what the prompts are.
pub fn prompts(options: &Options) -> String {
    let Prompts { input, output, .. } = &options.prompts;
    match &options.prompts.origin {
        Origin::Made => {
            let shared = options.prompts.shared.map(|Shared { tokens, groups }| {
                let groups = counted(groups, "group");
                format!(", the first {tokens} shared ({groups})")
            });
            let shared = shared.unwrap_or_default();
            format!("{input} tokens in{shared}, {output} out")
        }
        Origin::Dataset(path) => format!("{}, at most {output} tokens out", path.display()),
        Origin::Trace(path, _) => {
            let speed = options.speed;
            format!("{}, at {speed} times its speed", path.display())
        }
    }
}

/// Returns the run's options for the header.
pub fn header(options: &Options) -> Value {
    let points = || options.first_run();
    let concurrency: Vec<u64> = points().filter_map(Point::concurrency).collect();
    let rates: Vec<f64> = points().filter_map(Point::rate_per_s).collect();
    let is_open = points().any(Point::is_open);
    json!({
        "concurrency": concurrency,
        "rate_per_s": rates,
        "burstiness": (!rates.is_empty()).then(|| burstiness_header(options)),
        "max_inflight": is_open.then_some(options.max_inflight),
        "requests": options.requests,
        "duration_s": options.duration.map(|duration| duration.as_secs_f64()),
        "warmup": options.warmup,
        "slo_file": options.common.slo_file,
        "runs": options.runs(),
        "prompts": prompts_header(options),
    })
}

/// Returns the burstiness for the header: a number, or the text `inf`.
pub fn burstiness_header(options: &Options) -> Value {
    match options.burstiness {
        Burstiness::Shape(shape) => json!(shape),
        Burstiness::Even => json!("inf"),
    }
}

/// Returns the options of the prompts, for the header.
pub fn prompts_header(options: &Options) -> Value {
    let prompts = &options.prompts;
    let output = prompts.output.to_string();
    match &prompts.origin {
        Origin::Made => json!({
            "input_tokens": prompts.input.to_string(),
            "output_tokens": output,
            "shared_prefix_tokens": prompts.shared.map(|shared| shared.tokens),
            "groups": prompts.shared.map(|shared| shared.groups),
            "repeat_ratio": prompts.repeat_ratio,
        }),
        Origin::Dataset(path) => json!({
            "dataset": path,
            "output_tokens": output,
            "repeat_ratio": prompts.repeat_ratio,
        }),
        Origin::Trace(path, unit) => json!({
            "trace": path,
            "trace_unit": unit.map(Unit::name),
            "speed": options.speed,
        }),
    }
}
