//! `concurrency_{C}_round_{R}.json`: a round's settings, its figures, and all of its requests.

use serde::ser::{Serialize, SerializeSeq, Serializer};
use serde_json::{Value, json};

use super::metrics;
use super::options::Options;
use super::sessions::Sessions;
use crate::cli::run::Run;
use crate::cli::scrapes::Scrapes;
use crate::client::endpoint::without_secrets;
use crate::report::json;
use crate::report::layout::replay::{RequestLine, RoundFile};
use crate::stats::pass::Pass;
use crate::stats::record::Record;
use crate::stats::records::Detail;

/// Returns the text of the last round's file.
pub fn text(run: &Run, options: &Options, sessions: &Sessions, own: Option<&Scrapes>) -> String {
    let pass = &run.report.passes[run.report.passes.len() - 1];
    let requests = Requests {
        sessions,
        pass,
        own,
    };
    let configuration = configuration(run, options, sessions, pass);
    json::pretty(&RoundFile::new(&configuration, pass, requests))
}

/// Returns the options of the round: the guide's keys, then ours.
fn configuration(run: &Run, options: &Options, sessions: &Sessions, pass: &Pass) -> Value {
    json!({
        "endpoint": without_secrets(&run.target.uri.to_string()),
        "concurrency": sessions.level.concurrency,
        "num_samples": sessions.dialogues.len(),
        "round": pass.facts.round,
        "model": run.target.body.model,
        "dataset": options.dataset.path(),
        "requests": sessions.requests,
        "mock": run.report.about["mock"],
        "seed": options.common.seed,
        "nonce": options.common.nonce,
        "run_id": run.target.run_id,
        "max_input_tokens": options.max_input_tokens,
        "max_context_tokens": options.max_context_tokens,
        "max_output_tokens": options.max_output_tokens,
        "temperature": options.temperature,
        "prometheus_metrics": options.metric_names(),
        "complete": pass.facts.is_complete,
    })
}

/// The requests of a round in the dataset's order, serialized one by one, since prompts may be long.
struct Requests<'a> {
    sessions: &'a Sessions,
    pass: &'a Pass,
    /// The scrapes of the metrics that the user named.
    own: Option<&'a Scrapes>,
}

impl Serialize for Requests<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let records = &self.pass.records;
        let details = records.details.iter().flatten();
        let mut requests: Vec<(&Record, &Detail)> = records.list.iter().zip(details).collect();
        requests.sort_by_cached_key(|(_, detail)| detail.id);
        let mut list = serializer.serialize_seq(None)?;
        for (record, detail) in requests {
            let session = record.session.get().unwrap_or(0) as usize;
            let turn = record.turn.get().unwrap_or(0);
            let Some(dialogue) = self.sessions.dialogues.get(session) else {
                continue;
            };
            let question = dialogue.question(turn);
            let index = dialogue.first_request + turn;
            if let Some(mut line) =
                RequestLine::of(record, detail, index, &question, &dialogue.name)
            {
                line.metrics = self.own.map(|own| metrics::of(own, record));
                list.serialize_element(&line)?;
            }
        }
        list.end()
    }
}
