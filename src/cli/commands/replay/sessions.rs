//! The sessions of a level: the part of the dataset that is sent, in which order, and the turns that were not sent.

use std::sync::Arc;

use super::options::{Level, Options};
use crate::cli::discover::Ready;
use crate::client::api::Api;
use crate::plan::dataset::Dataset;
use crate::plan::dialogue::{Dialogue, Rules};
use crate::plan::{Session, escape, requests};
use crate::stats::record::Record;

/// The line of a level in front of the text of every first message; `None`: texts go out as they are.
pub fn first_line(options: &Options, concurrency: u64) -> Option<String> {
    let nonce = options.common.nonce.as_ref()?;
    Some(requests::first_line(nonce, &concurrency.to_string()))
}

pub struct Sessions {
    pub level: Level,
    pub dialogues: Vec<Arc<Dialogue>>,
    /// Turns of all sessions.
    pub requests: u64,
}

impl Sessions {
    /// Takes the level's sessions, numbered in the dataset's order, each with a line of its own in front.
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

    /// Returns the plan of a round: the first keeps the dataset's order, later ones are shuffled by the seed if that is
    /// wanted.
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

    /// Returns the number of turns whose session ended before them, of the sessions whose number `is_own`. In a round
    /// that was stopped, only those after a failure count.
    pub fn turns_not_sent(
        &self,
        records: &[Record],
        is_stopped: bool,
        is_own: impl Fn(u64) -> bool,
    ) -> u64 {
        let mut sent = vec![(0, false); self.dialogues.len()];
        for record in records.iter().filter(|record| record.is_measured()) {
            let session = record.session.get().unwrap_or(0) as usize;
            if let Some((turns, failed)) = sent.get_mut(session) {
                *turns += 1;
                *failed |= record.failure.is_some();
            }
        }
        let all = self.dialogues.iter().zip(sent);
        let own = all.filter(|(dialogue, _)| is_own(dialogue.number));
        own.filter(|(_, (_, failed))| *failed || !is_stopped)
            .map(|(dialogue, (turns, _))| dialogue.turns().saturating_sub(turns))
            .sum()
    }

    /// Returns how many requests were sent without their earliest pairs, for `--max-context-tokens`, and the most pairs
    /// left out of one.
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
