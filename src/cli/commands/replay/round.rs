//! The levels of a replay and their rounds, one whole run of the load each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crossbeam_channel::{bounded, select};

use super::files::{DebugLog, DebugWriter, Files};
use super::metrics::Metrics;
use super::options::{Level, Options, Reset};
use crate::cli::connect::Opened;
use crate::cli::folder::SAMPLES;
use crate::cli::pass::{Pass, Passed};
use crate::client::Target;
use crate::client::api::{Api, error_words};
use crate::collect::Log;
use crate::collect::round::Extent;
use crate::error::{Error, Result};
use crate::load::stop::Stop;
use crate::plan::dataset::Dataset;
use crate::plan::dialogue::{Dialogue, Rules};
use crate::plan::{Session, escape};
use crate::sample::{Phase, Sample};
use crate::samples_file;
use crate::stats::client::ClientSummary;
use crate::stats::round::{RoundFacts, RoundSummary};

/// A replay, ready to send.
pub struct Replay {
    pub target: Arc<Target>,
    pub opened: Opened,
    pub options: Options,
    pub dataset: Dataset,
    pub tokens_per_byte: f64,
    pub files: Files,
    pub metrics: Option<Metrics>,
    pub stop: Stop,
    pub succeeded: Arc<AtomicBool>,
    /// `None` once it could not be written.
    pub samples_file: Option<samples_file::Writer>,
    /// A reply of this run has reported cached tokens.
    pub cached_reported: bool,
    /// Of the next round's first request.
    pub next_id: u64,
    /// All that have ended.
    pub rounds: Vec<RoundSummary>,
    /// Outputs that could not be written, each with its reason.
    pub lost: Vec<String>,
}

/// The sessions of a level.
pub struct Sessions {
    pub level: Level,
    pub dialogues: Vec<Arc<Dialogue>>,
    /// Turns of all of them.
    pub requests: u64,
}

/// A round that has ended.
pub struct Ended {
    pub samples: Vec<Sample>,
    pub client: ClientSummary,
    pub peak: u64,
}

impl Replay {
    pub fn any_success(&self) -> bool {
        self.succeeded.load(Relaxed)
    }

    /// Runs every level, and shows and writes each round as it ends.
    pub fn levels(&mut self) -> Result<()> {
        for level in self.options.levels.clone() {
            if self
                .options
                .reset
                .as_ref()
                .is_some_and(|reset| reset.between_levels)
            {
                self.reset()?;
            }
            if self.stop.is_set() {
                break;
            }
            let sessions = self.sessions(level);
            let mut first = Vec::new();
            for number in 1..=self.options.rounds {
                let resets = self.options.reset.as_ref();
                if number > 1 && resets.is_some_and(|reset| reset.between_rounds) {
                    self.reset()?;
                }
                if self.stop.is_set() {
                    break;
                }
                let ended = self.round(&sessions, number)?;
                self.take(&sessions, number, &ended, &first)?;
                if self.stop.is_set() {
                    break;
                }
                if number == 1 {
                    first = ended.samples;
                }
            }
            if self.stop.is_set() {
                break;
            }
        }
        self.close()
    }

    /// The level's sessions, numbered in the dataset's order, with a line of its own in front of each.
    fn sessions(&self, level: Level) -> Sessions {
        let concurrency = level.concurrency;
        let nonce = self.options.nonce.as_ref();
        let rules = Arc::new(Rules {
            concurrency,
            nonce: nonce.map(|nonce| escape(&format!("[{nonce}/{concurrency}]\n"))),
            as_text: self.target.body.api == Api::Completions,
            live_history: self.options.live_history,
            max_context_tokens: self.options.max_context_tokens,
            tokens_per_byte: self.tokens_per_byte,
            max_tokens: self.options.max_output_tokens,
        });
        let mut requests = 0;
        let records = self.dataset.sample(level.samples).into_iter();
        let dialogues = (0..)
            .zip(records)
            .map(|(number, record)| {
                let dialogue = Dialogue::new(number, requests, record, Arc::clone(&rules));
                requests += dialogue.turns();
                Arc::new(dialogue)
            })
            .collect();
        Sessions {
            level,
            dialogues,
            requests,
        }
    }

    /// Sends every session of the level once.
    fn round(&mut self, sessions: &Sessions, number: u64) -> Result<Ended> {
        let concurrency = sessions.level.concurrency;
        let beside = match &mut self.metrics {
            Some(metrics) => metrics.begin(concurrency)?,
            None => None,
        };
        let first_id = self.next_id;
        self.next_id += sessions.requests;
        let plan = self
            .order(sessions, number)
            .into_iter()
            .map(move |dialogue| {
                let first_id = first_id + dialogue.first_request;
                Session::Dialogue(dialogue.walk(number, first_id))
            });
        let (log, mut debug) = self.logs(sessions, number);
        let pass = Pass {
            target: &self.target,
            stop: &self.stop,
            succeeded: &self.succeeded,
            extent: Extent::Requests(sessions.requests),
            in_flight: concurrency.min(sessions.dialogues.len() as u64),
            beside,
            log,
            label: Some(format!("Concurrency {concurrency}, round {number}")),
            on_sample: Box::new(move |sample| {
                debug.as_mut().map_or(Ok(()), |debug| debug.write(sample))
            }),
            series: match &self.metrics {
                Some(metrics) => Box::new(metrics.lines()),
                None => Box::new(Vec::new),
            },
            keeps_gaps: false,
            is_warmup: false,
            mock_in_process: self.opened.mock.is_some(),
        };
        let Passed {
            samples,
            client,
            peak,
            mut log,
            mut series,
            exhausted: _,
        } = pass.run(plan)?;
        if let Some(metrics) = &mut self.metrics {
            metrics.end(self.stop.is_set());
        }
        for (name, line) in series() {
            log.write(|file| file.write_series(name, &line));
        }
        self.samples_file = log.file;
        self.lost.extend(log.lost);
        Ok(Ended {
            samples,
            client,
            peak,
        })
    }

    /// The samples file, and the round's debug log if there is one.
    fn logs(&mut self, sessions: &Sessions, number: u64) -> (Log, Option<DebugWriter>) {
        let mut log = Log {
            name: SAMPLES,
            file: self.samples_file.take(),
            lost: Vec::new(),
        };
        let debug = self.files.debug(DebugLog {
            name: file_name(sessions.level.concurrency, number),
            run_id: self.target.run_id.clone(),
            secrets: self.target.link.secrets.clone(),
            dialogues: sessions.dialogues.clone(),
        });
        let debug = debug.unwrap_or_else(|why| {
            log.lose(why);
            None
        });
        (log, debug)
    }

    /// The first round goes in the dataset's order, later ones in one that the seed decides.
    fn order(&self, sessions: &Sessions, number: u64) -> Vec<Arc<Dialogue>> {
        let mut order = sessions.dialogues.clone();
        if number > 1 && self.options.shuffles {
            let seed = self
                .options
                .seed
                .wrapping_mul(1_000_003)
                .wrapping_add(number);
            fastrand::Rng::with_seed(seed).shuffle(&mut order);
        }
        order
    }

    /// The figures of a round.
    pub fn summary(&mut self, sessions: &Sessions, number: u64, ended: &Ended) -> RoundSummary {
        let concurrency = sessions.level.concurrency;
        let samples = &ended.samples;
        let metrics = self.metrics.as_ref();
        let facts = RoundFacts {
            concurrency,
            round: number,
            not_sent: not_sent(sessions, samples, self.stop.is_set()),
            peak: ended.peak,
            cached_reported: self.cached_reported,
            slo: self.options.slo,
            metrics: metrics
                .map(|metrics| metrics.summaries(samples, concurrency))
                .unwrap_or_default(),
            client: ended.client.clone(),
        };
        self.cached_reported |= samples.iter().any(|sample| sample.cached_tokens.is_some());
        RoundSummary::of(samples, facts)
    }

    /// Empties the server's cache; when the run is stopped meanwhile, it is no longer waited for.
    ///
    /// # Errors
    /// When the server does not say that it did.
    fn reset(&self) -> Result<()> {
        let Some(Reset { url, .. }) = &self.options.reset else {
            return Ok(());
        };
        let what = format!("--reset-cache-url {}", url.text);
        let failed = |why: String| match self.rounds.is_empty() {
            true => Error::input(&what, why),
            false => Error::missed(&what, why),
        };
        let small = url.open_beside(&self.opened);
        let (tell, told) = bounded(1);
        let text = url.text.clone();
        std::thread::spawn(move || tell.send(small.and_then(|small| small.post(&text, ""))));
        let page = select! {
            recv(told) -> page => page.map_err(|_| failed("it panicked; this is a bug".to_string()))?,
            recv(self.stop.woken()) -> _ => return Ok(()),
        };
        let page = page.map_err(|failure| failed(failure.to_string()))?;
        let reply: serde_json::Value = serde_json::from_str(&page.text).unwrap_or_default();
        let words = self.opened.link.redact(error_words(&page.text));
        if !(200..300).contains(&page.status) {
            return Err(failed(format!(
                "the reset failed: HTTP {}: {words}",
                page.status
            )));
        }
        if reply["success"] == false {
            return Err(failed(format!(
                "the server says that the reset failed: {words}"
            )));
        }
        Ok(())
    }
}

/// What files of a round are called.
pub fn file_name(concurrency: u64, round: u64) -> String {
    format!("concurrency_{concurrency}_round_{round}")
}

/// Turns whose session ended before them. Of a round that was stopped, those behind a failure only.
fn not_sent(sessions: &Sessions, samples: &[Sample], is_stopped: bool) -> u64 {
    let mut sent = vec![(0, false); sessions.dialogues.len()];
    for sample in samples
        .iter()
        .filter(|sample| sample.phase == Phase::Measured)
    {
        let session = sample.labels.session.unwrap_or(0) as usize;
        if let Some((turns, failed)) = sent.get_mut(session) {
            *turns += 1;
            *failed |= sample.failure.is_some();
        }
    }
    let all = sessions.dialogues.iter().zip(sent);
    all.filter(|(_, (_, failed))| *failed || !is_stopped)
        .map(|(dialogue, (turns, _))| dialogue.turns().saturating_sub(turns))
        .sum()
}
