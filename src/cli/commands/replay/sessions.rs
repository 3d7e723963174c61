//! The sessions of a level: what is sent of the dataset, in which order, and what was not.

use std::sync::Arc;

use super::options::{Level, Options};
use crate::cli::discover::Ready;
use crate::client::api::Api;
use crate::plan::dataset::Dataset;
use crate::plan::dialogue::{Dialogue, Rules};
use crate::plan::{Session, escape};
use crate::stats::record::Record;

/// The line of a level in front of the text of every first message; `None`: texts go out as they are.
pub fn first_line(options: &Options, concurrency: u64) -> Option<String> {
    let nonce = options.common.nonce.as_ref()?;
    Some(format!("[{nonce}/{concurrency}]\n"))
}

pub struct Sessions {
    pub level: Level,
    pub dialogues: Vec<Arc<Dialogue>>,
    /// Turns of all of them.
    pub requests: u64,
}

impl Sessions {
    /// Numbered in the dataset's order, with a line of its own in front of each.
    pub fn new(level: Level, dataset: &Dataset, options: &Options, ready: &Ready) -> Sessions {
        let concurrency = level.concurrency;
        let nonce = first_line(options, concurrency);
        let rules = Arc::new(Rules {
            concurrency,
            nonce: nonce.map(|line| escape(&line)),
            as_text: ready.target.body.api == Api::Completions,
            live_history: options.live_history,
            max_context_tokens: options.max_context_tokens,
            tokens_per_byte: ready.setup.lengths.tokens_per_byte(),
            max_tokens: options.max_output_tokens,
        });
        let mut requests = 0;
        let records = dataset.sample(level.samples).into_iter();
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

    /// The plan of a round: the first goes in the dataset's order, later ones in one that the seed decides, if they
    /// are to be shuffled.
    pub fn plan(
        &self,
        round: u64,
        first_id: u64,
        seed: Option<u64>,
    ) -> impl Iterator<Item = Session> + use<> {
        let mut order = self.dialogues.clone();
        if let Some(seed) = seed.filter(|_| round > 1) {
            let seed = seed.wrapping_mul(1_000_003).wrapping_add(round);
            fastrand::Rng::with_seed(seed).shuffle(&mut order);
        }
        order.into_iter().map(move |dialogue| {
            let first_id = first_id + dialogue.first_request;
            Session::Dialogue(dialogue.walk(round, first_id))
        })
    }

    /// Turns whose session ended before them. Of a round that was stopped, those behind a failure only.
    pub fn turns_not_sent(&self, records: &[Record], is_stopped: bool) -> u64 {
        let mut sent = vec![(0, false); self.dialogues.len()];
        for record in records.iter().filter(|record| record.is_measured()) {
            let session = record.session.get().unwrap_or(0) as usize;
            if let Some((turns, failed)) = sent.get_mut(session) {
                *turns += 1;
                *failed |= record.failure.is_some();
            }
        }
        let all = self.dialogues.iter().zip(sent);
        all.filter(|(_, (_, failed))| *failed || !is_stopped)
            .map(|(dialogue, (turns, _))| dialogue.turns().saturating_sub(turns))
            .sum()
    }

    /// Requests that went out without their earliest pairs for `--max-context-tokens`, and the most pairs of one.
    pub fn shortened(&self) -> Option<(u64, u64)> {
        let sent = self.dialogues.iter().flat_map(|dialogue| {
            let turns = 0..dialogue.turns();
            turns.filter_map(|turn| dialogue.sent(turn))
        });
        let dropped = sent.map(|sent| sent.dropped_pairs);
        let short: Vec<u64> = dropped.filter(|&pairs| pairs > 0).collect();
        let most = short.iter().max()?;
        Some((short.len() as u64, *most))
    }
}
