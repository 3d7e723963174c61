//! The dataset of `replay`: whether it fits the API, and the text about it before the run.

use serde_json::{Value, json};

use super::options::Options;
use crate::cli::discover::Ready;
use crate::client::api::Api;
use crate::client::body::BodyShape;
use crate::error::{Error, Result};
use crate::plan::dataset::{Content, Dataset};

/// Checks that every record can be sent to this API.
pub fn check_api(options: &Options, dataset: &Dataset, api: Api) -> Result<()> {
    for record in dataset.sample(None) {
        let why = match (&record.content, api) {
            (Content::Conversation { opening, questions }, Api::Completions | Api::Generate)
                if !opening.is_empty() || questions.len() > 1 =>
            {
                "a conversation, which goes to the chat API only".to_string()
            }
            (Content::Request { .. }, Api::Completions | Api::Generate) => {
                "messages that are sent unchanged, which go to the chat API only".to_string()
            }
            (Content::Body { url: Some(url), .. }, _) if api_of(url) != Some(api) => {
                format!("a request to {url}, not to /v1/{}", api.path())
            }
            _ => continue,
        };
        let what = in_line(options, record.line);
        let other = match api {
            Api::Chat => "completions",
            Api::Completions | Api::Generate => "chat",
        };
        return Err(Error::input(what, why).next(format!("Try: --api {other}")));
    }
    Ok(())
}

/// Checks that settings in the records are those of the run.
pub fn check_settings(options: &Options, dataset: &Dataset, body: &BodyShape) -> Result<()> {
    let rest = body.rest(options.max_output_tokens);
    for record in dataset.sample(None) {
        if let Some(why) = record.unlike(&rest) {
            let what = in_line(options, record.line);
            return Err(Error::input(what, why).next(
                "Take the key out of the record, give its value with an option or --extra-body, or put the record under body",
            ));
        }
    }
    Ok(())
}

fn in_line(options: &Options, line: u64) -> String {
    format!("--dataset {}, line {line}", options.dataset)
}

/// Returns the API of a batch line's `url`. `/chat/completions` is tested first, since it too ends like `/completions`.
fn api_of(url: &str) -> Option<Api> {
    let mut apis = [Api::Chat, Api::Completions].into_iter();
    apis.find(|api| url.ends_with(&format!("/{}", api.path())))
}

/// Describes the requests that will be sent, with notes.
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
        options.dataset,
        levels.join(", "),
        options.rounds,
    );
    let mut own = match &options.common.nonce {
        Some(nonce) => {
            format!("First messages begin with a line of their own: [{nonce}/CONCURRENCY]\n")
        }
        None => String::new(),
    };
    let (mut bodies, mut requests) = (0, 0);
    for record in dataset.sample(None) {
        match record.content {
            Content::Body { .. } => bodies += 1,
            Content::Request { .. } => requests += 1,
            Content::Conversation { .. } => {}
        }
    }
    if requests > 0 {
        own += &format!(
            "Requests as they stand: {requests}, with the messages and tools of the dataset, without nonce\n"
        );
    }
    if bodies > 0 {
        own += &format!(
            "Whole bodies: {bodies}, sent exactly as they are, without nonce, lengths or sampling from here\n"
        );
    }
    let wanted = options.levels.iter().filter_map(|level| level.samples);
    for wanted in wanted.filter(|&wanted| wanted > total) {
        note!("note: --num-samples {wanted}: the dataset has {total}; all of them are sent");
    }
    if options.max_output_tokens.is_none() {
        note!("note: --max-output-tokens is not set: the server decides how long answers are");
    }
    text + &ready.lines(&own)
}

/// Returns the run's options for the header.
pub fn header(options: &Options, dataset: &Dataset) -> Value {
    let levels = options.levels.iter();
    json!({
        "dataset": options.dataset.path(),
        "records": dataset.total(),
        "concurrency": levels.clone().map(|level| level.concurrency).collect::<Vec<_>>(),
        "num_samples": levels.map(|level| level.samples).collect::<Vec<_>>(),
        "rounds": options.rounds,
        "shuffle_later_rounds": options.shuffles,
        "resets_between_rounds": options.reset.as_ref().is_some_and(|reset| reset.between_rounds),
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
