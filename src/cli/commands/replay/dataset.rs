//! What `replay` sends: whether the dataset fits the API, and what is said of it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::options::Options;
use crate::cli::discover::Ready;
use crate::client::api::Api;
use crate::error::{Error, Result};
use crate::plan::dataset::{Content, Dataset, Record};

/// Whether every record can go out to this API.
pub fn check_api(options: &Options, dataset: &Dataset, api: Api) -> Result<()> {
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
        let (path, line) = (options.dataset.display(), record.line);
        let what = format!("--dataset {path}, line {line}");
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
pub fn specification(options: &Options, dataset: &Dataset, ready: &Ready) -> String {
    let total = dataset.total();
    let levels = options.levels.iter();
    let levels: Vec<String> = levels.map(|level| level.concurrency.to_string()).collect();
    let order = match (options.rounds > 1, options.shuffles) {
        (false, _) => "",
        (true, true) => ", later ones shuffled by the seed",
        (true, false) => ", all in the same order",
    };
    let text = format!(
        "\nDataset: {}, {total} records\nConcurrency: {}\nRounds: {}{order}\n",
        options.dataset.display(),
        levels.join(", "),
        options.rounds,
    );
    let mut own = match &options.common.nonce {
        Some(nonce) => {
            format!("First messages begin with a line of their own: [{nonce}/CONCURRENCY]\n")
        }
        None => String::new(),
    };
    let is_body = |record: &Arc<Record>| matches!(record.content, Content::Body { .. });
    let bodies = dataset.sample(None).into_iter().filter(is_body).count();
    if bodies > 0 {
        own += &format!(
            "Whole bodies: {bodies}, sent exactly as they are, without nonce, lengths or sampling from here\n"
        );
    }
    let wanted = options.levels.iter().filter_map(|level| level.samples);
    for wanted in wanted.filter(|&wanted| wanted > total) {
        eprintln!("note: --num-samples {wanted}: the dataset has {total}; all of them are sent");
    }
    if options.max_output_tokens.is_none() {
        eprintln!("note: --max-output-tokens is not set: the server decides how long answers are");
    }
    text + &ready.lines(&own)
}

/// The options of the run, for the header.
pub fn header(options: &Options, dataset: &Dataset) -> Value {
    let levels = options.levels.iter();
    json!({
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
    })
}
