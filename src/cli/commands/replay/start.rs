//! From the options of `replay` to all that its rounds need: dataset, server, lengths, metrics, files.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::cut::{self, Counter, Cuts};
use super::files::Files;
use super::metrics::Metrics;
use super::options::Options;
use super::round::Replay;
use crate::cli::connect::{Connection, Opened};
use crate::cli::discover::{announce, model, report_setup, setup_line};
use crate::cli::{checks, print};
use crate::client::Target;
use crate::client::api::Api;
use crate::client::body::{BodyShape, Optional, Sampling};
use crate::client::setup::{self, Setup};
use crate::error::{Error, Result};
use crate::load::stop::Stop;
use crate::plan::dataset::{Content, Dataset, Record, load};
use crate::plan::prompt::Writer;
use crate::report;
use crate::units::format_utc;

/// Checks all that can be checked, in the order of what it costs, and says what will be sent.
pub fn open(mut connection: Connection, options: Options) -> Result<Replay> {
    let has_mock = connection.is_mock();
    checks::in_flight("--concurrency", options.most_concurrency(), has_mock)?;
    let mut dataset = load(&options.dataset, options.most_samples(), options.seed)?;
    let files = Files::open(&options)?;
    let opened = connection.open()?;
    announce(&opened)?;
    let api = opened.endpoint.api.unwrap_or(Api::Chat);
    check_api(&options, &dataset, api)?;
    let model = model(&connection, &opened)?;
    let endpoint = &opened.endpoint;
    let body = BodyShape {
        optional: Optional {
            ignore_eos: false,
            min_tokens: options.min_output_tokens.is_some(),
            stream_options: true,
        },
        sampling: Sampling {
            temperature: options.temperature,
            top_p: options.top_p,
            min_tokens: options.min_output_tokens,
        },
        sends_metadata: has_mock || options.sends_metadata,
        extra: connection.extra_body,
        ..BodyShape::new(api, model.id)
    };
    let mut target = Target::new(opened.link.clone(), endpoint, body)?;
    let nonce = format!("{:08x}", fastrand::u32(..));
    let writer = Writer::new(options.seed, options.nonce.as_ref().unwrap_or(&nonce));
    let setup = setup::run(&mut target, endpoint, &opened.small, &writer);
    report_setup(&setup, &target)?;
    let metrics = match &options.prometheus {
        Some(prometheus) => Some(Metrics::open(prometheus, &opened)?),
        None => None,
    };
    print(&specification(&options, &dataset, &setup, has_mock))?;
    cut_to_length(&options, &mut dataset, &target, &opened, &setup)?;
    let stop = Stop::new();
    stop.on_signals()?;
    let about = about(&options, &target, &opened, &dataset);
    let samples_file = files.folder.samples(&about, options.keep_gaps)?;
    Ok(Replay {
        target: Arc::new(target),
        tokens_per_byte: setup.lengths.tokens_per_byte(),
        opened,
        options,
        dataset,
        files,
        metrics,
        stop,
        succeeded: Arc::new(AtomicBool::new(false)),
        samples_file: Some(samples_file),
        cached_reported: false,
        next_id: 0,
        rounds: Vec::new(),
        lost: Vec::new(),
    })
}

/// Whether every record can go out to this API.
fn check_api(options: &Options, dataset: &Dataset, api: Api) -> Result<()> {
    for record in dataset.sample(None) {
        let why = match (&record.content, api) {
            (Content::Conversation { system, questions }, Api::Completions | Api::Generate)
                if !system.is_empty() || questions.len() > 1 =>
            {
                "a conversation, which goes to the chat API only".to_string()
            }
            (Content::Body { url: Some(url), .. }, _) if api_of(url) != Some(api) => {
                format!("a request to {url}, not to /v1/{}", api.path())
            }
            _ => continue,
        };
        let what = format!(
            "--dataset {}, line {}",
            options.dataset.display(),
            record.line
        );
        let other = match api {
            Api::Chat => "completions",
            Api::Completions | Api::Generate => "chat",
        };
        return Err(Error::input(what, why).next(format!("Try: --api {other}")));
    }
    Ok(())
}

/// The API that a batch line's `url` is of. `/chat/completions` ends like `/completions` too.
fn api_of(url: &str) -> Option<Api> {
    let mut apis = [Api::Chat, Api::Completions].into_iter();
    apis.find(|api| url.ends_with(&format!("/{}", api.path())))
}

/// What will be sent, and the notes that go with it.
fn specification(options: &Options, dataset: &Dataset, setup: &Setup, is_mock: bool) -> String {
    let total = dataset.total();
    let levels = options.levels.iter();
    let shown: Vec<String> = levels.map(|level| level.concurrency.to_string()).collect();
    let order = match (options.rounds > 1, options.shuffles) {
        (false, _) => "",
        (true, true) => ", later ones shuffled by the seed",
        (true, false) => ", all in the same order",
    };
    let mut text = format!(
        "\nDataset: {}, {total} records\nConcurrency: {}\nRounds: {}{order}\n",
        options.dataset.display(),
        shown.join(", "),
        options.rounds,
    );
    text.push_str(&setup_line(setup));
    text.push_str(&match &options.nonce {
        Some(nonce) => format!(
            "Seed: {}, nonce: {nonce}\nFirst messages begin with a line of their own: [{nonce}/CONCURRENCY]\n",
            options.seed
        ),
        None => format!("Seed: {}, no nonce: texts go out exactly as they are\n", options.seed),
    });
    let records = dataset.sample(None);
    let is_body = |record: &&Arc<Record>| matches!(record.content, Content::Body { .. });
    let bodies = records.iter().filter(is_body).count();
    if bodies > 0 {
        text.push_str(&format!(
            "Whole bodies: {bodies}, sent exactly as they are, without nonce, lengths or sampling from here\n"
        ));
    }
    if is_mock {
        text.push_str(report::MOCK);
        text.push('\n');
    }
    for level in &options.levels {
        if let Some(wanted) = level.samples.filter(|&wanted| wanted > total) {
            eprintln!(
                "note: --num-samples {wanted}: the dataset has {total}; all of them are sent"
            );
        }
    }
    if options.max_output_tokens.is_none() {
        eprintln!("note: --max-output-tokens is not set: the server decides how long answers are");
    }
    text.push('\n');
    text
}

/// Cuts long questions and says how long they have become.
fn cut_to_length(
    options: &Options,
    dataset: &mut Dataset,
    target: &Target,
    opened: &Opened,
    setup: &Setup,
) -> Result<()> {
    let Some(limit) = options.max_input_tokens else {
        return Ok(());
    };
    let tokenizer = opened.tokenizer(target);
    let count = |text: &str| tokenizer.prompt_tokens(text);
    // One question to a server that does not count is enough.
    let counts = count("one two three").is_some();
    let counter = Counter {
        count: &|text| if counts { count(text) } else { None },
        tokens_per_byte: setup.lengths.tokens_per_byte(),
    };
    let Cuts {
        questions,
        cut,
        tokens,
        longest,
        estimated,
        bodies,
    } = cut::to_length(dataset, limit, &counter);
    let mut text = format!("Input limit: {limit} tokens; {cut} of {questions} questions were cut");
    if cut > 0 {
        let by = match estimated {
            0 => "by /tokenize".to_string(),
            n if n >= cut => "by an estimate".to_string(),
            n => format!("by /tokenize, {n} by an estimate"),
        };
        let mean = tokens as f64 / cut as f64;
        text.push_str(&format!(
            ", to {mean:.1} tokens on average, {longest} at most ({by})"
        ));
    }
    if estimated > 0 && cut == 0 {
        text.push_str(" (by an estimate)");
    }
    if bodies > 0 {
        text.push_str(&format!("; {bodies} whole bodies are left as they are"));
    }
    print(&format!("{text}\n\n"))
}

/// What stands in front of samples and figures in files; no key, no prompt text.
fn about(options: &Options, target: &Target, opened: &Opened, dataset: &Dataset) -> Value {
    let levels = options.levels.iter();
    json!({
        "command": "replay",
        "endpoint": opened.endpoint.base(),
        "model": target.body.model,
        "mock": opened.mock.is_some(),
        "seed": options.seed,
        "nonce": options.nonce,
        "run_id": target.run_id,
        "slo": options.slo,
        "started_at": format_utc(SystemTime::now()),
        "options": {
            "api": target.body.api.path(),
            "dataset": options.dataset,
            "records": dataset.total(),
            "concurrency": levels.clone().map(|level| level.concurrency).collect::<Vec<_>>(),
            "num_samples": levels.map(|level| level.samples).collect::<Vec<_>>(),
            "rounds": options.rounds,
            "shuffle_later_rounds": options.shuffles,
            "live_history": options.live_history,
            "max_context_tokens": options.max_context_tokens,
            "max_input_tokens": options.max_input_tokens,
            "max_output_tokens": options.max_output_tokens,
            "min_output_tokens": options.min_output_tokens,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "prometheus_metrics": options.metric_names(),
        },
    })
}
