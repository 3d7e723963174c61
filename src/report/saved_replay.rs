//! A saved `replay`: from its samples, or from its result files.

use serde_json::Value;

use super::saved::{
    Figures, Group, NO_SAMPLES, Report, Round, Samples, client_between, no_gaps, peak, slo,
    start_ns,
};
use super::{metrics, round_json};
use crate::sample::{Phase, Sample};
use crate::stats::bootstrap::compare;
use crate::stats::client::ClientSummary;
use crate::stats::round::{RoundFacts, RoundSummary};
use crate::vitals::Vitals;

impl Report {
    /// Of samples of `replay`. `beside`: the result file of a level and round, where there is one.
    pub fn of_replay(saved: Samples, beside: impl Fn(u64, u64) -> Option<Value>) -> Report {
        let replayed = Replayed {
            groups: by_round(saved.samples),
            about: saved.about,
            vitals: saved.vitals,
            metrics: saved.metrics,
        };
        let mut rounds: Vec<Round> = Vec::new();
        let mut alone = Vec::new();
        let mut cached_reported = false;
        for (at, ((concurrency, number), samples)) in replayed.groups.iter().enumerate() {
            let file = beside(*concurrency, *number);
            if file.is_none() {
                alone.push(format!("concurrency_{concurrency}_round_{number}.json"));
            }
            rounds.push(replayed.round(at, file.as_ref(), cached_reported));
            cached_reported |= samples.iter().any(|sample| sample.cached_tokens.is_some());
        }
        let Replayed { groups, about, .. } = replayed;
        if alone.len() > 1 && alone.len() == rounds.len() {
            alone = vec!["the rounds' concurrency_C_round_R.json".to_string()];
        }
        let mut notes = replay_notes(&about, &alone);
        notes.extend(no_gaps(groups.iter().flat_map(|(_, samples)| samples)));
        let groups = groups
            .into_iter()
            .map(|((concurrency, round), samples)| Group {
                name: group_name(concurrency, round),
                samples,
            });
        let mut report = Report {
            notes,
            about,
            figures: Figures::Replay(rounds),
            groups: groups.collect(),
        };
        report.note_missing();
        report
    }

    /// Of result files of `replay`, in their order; `None`: one of them is none.
    pub fn of_replay_results(files: &[Value]) -> Option<Report> {
        let mut notes = vec![NO_SAMPLES.to_string()];
        if files.len() > 1 {
            notes.push("Without samples later rounds are not compared with the first".to_string());
        }
        let run_id = |file: &Value| file["configuration"]["run_id"].clone();
        if files.iter().any(|file| run_id(file) != run_id(&files[0])) {
            notes.push("The files are of several runs".to_string());
        }
        let rounds = files.iter().map(|file| {
            Some(Round {
                summary: round_json::read(file)?,
                comparison: None,
                is_cut_short: is_cut_short(file),
            })
        });
        let rounds: Option<Vec<Round>> = rounds.collect();
        Some(Report {
            figures: Figures::Replay(rounds?),
            about: files.first()?["configuration"].clone(),
            notes,
            groups: Vec::new(),
        })
    }

    /// Leaves out all rounds but this one.
    pub fn keep(&mut self, concurrency: u64, round: u64) {
        if let Figures::Replay(rounds) = &mut self.figures {
            rounds
                .retain(|one| (one.summary.concurrency, one.summary.round) == (concurrency, round));
        }
        let name = group_name(concurrency, round);
        self.groups.retain(|group| group.name == name);
    }
}

/// Samples of a replay, in rounds.
struct Replayed {
    about: Value,
    vitals: Vec<Vitals>,
    metrics: Vec<Value>,
    groups: Vec<((u64, u64), Vec<Sample>)>,
}

impl Replayed {
    /// The round at this place; what its samples do not tell comes from its file.
    fn round(&self, at: usize, file: Option<&Value>, cached_reported: bool) -> Round {
        let ((concurrency, number), samples) = &self.groups[at];
        let written = file.and_then(round_json::read);
        let not_sent = written.as_ref().map(|file| file.not_sent);
        let peak_written = written.as_ref().map(|file| file.concurrency_peak);
        // The file's is from the round's start, which is a little before its first send.
        let client_written = written.map(|file| file.client);
        let facts = RoundFacts {
            concurrency: *concurrency,
            round: *number,
            not_sent: not_sent.unwrap_or_else(|| self.not_sent(*concurrency, samples)),
            peak: peak_written.unwrap_or_else(|| peak(samples)),
            cached_reported,
            slo: slo(&self.about["slo"]),
            metrics: metrics::saved(&self.metrics, &self.metric_names(), samples, *concurrency),
            client: client_written.unwrap_or_else(|| self.client(at)),
        };
        let first = self
            .groups
            .iter()
            .find(|(key, _)| *key == (*concurrency, 1));
        let first = first.filter(|_| *number > 1);
        let first = first.map_or(&[][..], |(_, first)| first);
        Round {
            summary: RoundSummary::of(samples, facts),
            comparison: compare(first, samples, self.about["seed"].as_u64().unwrap_or(0)),
            is_cut_short: match file {
                Some(file) => is_cut_short(file),
                None => samples
                    .iter()
                    .any(|sample| sample.phase == Phase::Cut)
                    .then_some(true),
            },
        }
    }

    /// In the order that they were asked for.
    fn metric_names(&self) -> Vec<String> {
        let asked = self.about["options"]["prometheus_metrics"].as_array();
        let names = asked.into_iter().flatten().filter_map(Value::as_str);
        names.map(str::to_string).collect()
    }

    /// From the seconds that end behind the round's first send, and not behind the next round's.
    fn client(&self, at: usize) -> ClientSummary {
        let starts = |at: usize| self.groups.get(at).map(|(_, samples)| start_ns(samples));
        let start_ns = starts(at).unwrap_or(0);
        let until_ns = starts(at + 1).unwrap_or(u64::MAX);
        client_between(&self.vitals, start_ns, until_ns, self.about["mock"] == true)
    }

    /// Turns that another round of the level sent, and this one, behind a failure, did not.
    fn not_sent(&self, concurrency: u64, samples: &[Sample]) -> u64 {
        let turns = |samples: &[Sample], session: Option<u64>| {
            let of_session = samples.iter().filter(|s| s.labels.session == session);
            let numbers = of_session.map(|sample| sample.labels.turn.unwrap_or(0) + 1);
            numbers.max().unwrap_or(0)
        };
        let failed = samples
            .iter()
            .filter(|sample| sample.failure.is_some() && sample.phase == Phase::Measured);
        let missing = failed.map(|sample| {
            let session = sample.labels.session;
            let level = self.groups.iter().filter(|(key, _)| key.0 == concurrency);
            let most = level.map(|(_, samples)| turns(samples, session)).max();
            most.unwrap_or(0).saturating_sub(turns(samples, session))
        });
        missing.sum()
    }
}

fn is_cut_short(file: &Value) -> Option<bool> {
    let complete = file["configuration"]["complete"].as_bool();
    complete.map(|is_complete| !is_complete)
}

/// The names of the rounds that were asked for.
pub(super) fn planned(options: &Value) -> impl Iterator<Item = String> {
    let levels = options["concurrency"].as_array().into_iter().flatten();
    let rounds = options["rounds"].as_u64().unwrap_or(0);
    let of_level = move |level| (1..=rounds).map(move |round| group_name(level, round));
    levels.filter_map(Value::as_u64).flat_map(of_level)
}

fn group_name(concurrency: u64, round: u64) -> String {
    format!("concurrency {concurrency}, round {round}")
}

/// What the samples do not tell; `alone`: files that would, but are not there.
fn replay_notes(about: &Value, alone: &[String]) -> Vec<String> {
    let mut notes = Vec::new();
    if !alone.is_empty() {
        let names = alone.join(", ");
        notes.push(format!("Not beside the samples, or of another run: {names}. So the most requests in flight is that of the samples, turns not sent are at least those shown, and a round may lack its last requests"));
    }
    if about["options"]["max_context_tokens"].is_u64() {
        notes.push("Which requests went out without their earliest pairs (--max-context-tokens) is not in the samples".to_string());
    }
    notes
}

/// Requests under their level and round, in the order of first appearance.
fn by_round(samples: Vec<Sample>) -> Vec<((u64, u64), Vec<Sample>)> {
    let mut groups: Vec<((u64, u64), Vec<Sample>)> = Vec::new();
    for sample in samples {
        let labels = &sample.labels;
        let key = (labels.concurrency.unwrap_or(0), labels.round.unwrap_or(0));
        match groups.iter_mut().rfind(|(known, _)| *known == key) {
            Some((_, group)) => group.push(sample),
            None => groups.push((key, vec![sample])),
        }
    }
    groups
}
