//! What a round leaves: its files first, then its table.

use std::fmt::Write;

use serde::ser::{Serialize, SerializeSeq, Serializer};
use serde_json::{Value, json};

use super::metrics::Metrics;
use super::round::{Ended, Replay, Sessions, file_name};
use crate::cli::{print, terminal_width};
use crate::error::Result;
use crate::load::stop::Reason;
use crate::report;
use crate::report::round_json::{RequestLine, RoundFile};
use crate::report::{csv, table};
use crate::sample::Sample;
use crate::stats::bootstrap::compare;

impl Replay {
    /// Writes and shows a round; `first` is what the level's first round measured.
    pub fn take(
        &mut self,
        sessions: &Sessions,
        number: u64,
        ended: &Ended,
        first: &[Sample],
    ) -> Result<()> {
        if matches!(self.stop.reason(), Some(Reason::Refused(..))) {
            return Ok(());
        }
        let summary = self.summary(sessions, number, ended);
        let is_whole = summary.total_requests + summary.not_sent == sessions.requests;
        let requests = Requests {
            sessions,
            samples: &ended.samples,
            metrics: self.metrics.as_ref(),
        };
        let configuration = self.configuration(sessions, number, is_whole);
        let file = RoundFile::new(&configuration, &summary, requests);
        match serde_json::to_string_pretty(&file) {
            Ok(text) => self.write(
                &format!("{}.json", file_name(sessions.level.concurrency, number)),
                &text,
            ),
            Err(error) => self.lost.push(error.to_string()),
        }
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = table::round(&mut text, &summary, terminal_width(std::io::stdout()));
        if let Some(comparison) = compare(first, &ended.samples, self.options.seed) {
            let _ = table::comparison(&mut text, &comparison);
        }
        if let Some(line) = dropped(sessions) {
            let _ = writeln!(text, "{line}");
        }
        if !is_whole {
            let _ = writeln!(text, "{}", table::CUT_SHORT);
        }
        self.rounds.push(summary);
        let mut rows = String::new();
        let _ = csv::metrics_summary(&mut rows, &self.rounds);
        self.write("metrics_summary.csv", &rows);
        print(&format!("{text}\n"))
    }

    /// The end of the report.
    pub fn close(&mut self) -> Result<()> {
        let mut text = String::new();
        if self.metrics.is_some() && !self.rounds.is_empty() {
            // Writing to a String cannot fail.
            let _ = table::prometheus(&mut text, &self.rounds);
            text.push('\n');
        }
        if !self.rounds.is_empty() {
            let _ = writeln!(text, "Results in {}", self.files.folder.dir().display());
        }
        if self.opened.mock.is_some() {
            let _ = writeln!(text, "{}", report::MOCK);
        }
        print(&text)
    }

    fn write(&mut self, name: &str, text: &str) {
        self.files.folder.write(name, text, &mut self.lost);
    }

    /// What a round was asked to do: the guide's keys, then ours.
    fn configuration(&self, sessions: &Sessions, number: u64, is_whole: bool) -> Value {
        let options = &self.options;
        json!({
            "endpoint": self.target.uri.to_string(),
            "concurrency": sessions.level.concurrency,
            "num_samples": sessions.dialogues.len(),
            "round": number,
            "model": self.target.body.model,
            "dataset": options.dataset,
            "requests": sessions.requests,
            "mock": self.opened.mock.is_some(),
            "seed": options.seed,
            "nonce": options.nonce,
            "run_id": self.target.run_id,
            "max_input_tokens": options.max_input_tokens,
            "max_context_tokens": options.max_context_tokens,
            "max_output_tokens": options.max_output_tokens,
            "temperature": options.temperature,
            "prometheus_metrics": options.metric_names(),
            "complete": is_whole,
        })
    }
}

/// The requests of a round in the dataset's order, made into JSON one after the other: prompts may be long.
struct Requests<'a> {
    sessions: &'a Sessions,
    samples: &'a [Sample],
    metrics: Option<&'a Metrics>,
}

impl Serialize for Requests<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut samples: Vec<&Sample> = self.samples.iter().collect();
        samples.sort_by_key(|sample| sample.id);
        let mut list = serializer.serialize_seq(None)?;
        for sample in samples {
            let session = sample.labels.session.unwrap_or(0) as usize;
            let turn = sample.labels.turn.unwrap_or(0);
            let Some(dialogue) = self.sessions.dialogues.get(session) else {
                continue;
            };
            let question = dialogue.question(turn);
            let index = dialogue.first_request + turn;
            if let Some(mut line) = RequestLine::of(sample, index, &question, &dialogue.name) {
                line.metrics = self.metrics.map(|metrics| metrics.of(sample));
                list.serialize_element(&line)?;
            }
        }
        list.end()
    }
}

/// How much history was left out for `--max-context-tokens`.
fn dropped(sessions: &Sessions) -> Option<String> {
    let sent = sessions.dialogues.iter().flat_map(|dialogue| {
        let turns = 0..dialogue.turns();
        turns.filter_map(|turn| dialogue.sent(turn))
    });
    let short: Vec<u64> = sent
        .map(|sent| sent.dropped_pairs)
        .filter(|&pairs| pairs > 0)
        .collect();
    let most = short.iter().max()?;
    Some(format!(
        "Context limit: {} requests went out without their earliest pairs of question and answer, {most} at most",
        short.len()
    ))
}
