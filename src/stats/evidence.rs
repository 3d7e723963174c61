//! The evidence on the KV cache: what the passes of a run tell, whatever its command repeats.

mod counters;

use serde_json::Value;

use self::counters::{controls_beside, counters};
use super::ceiling::{at_once, at_once_counted, in_blocks, share_of_successes};
use super::client::{ClientSummary, Limit};
use super::comparison::compare;
use super::facts::Facts;
use super::figures::Figures;
use super::kv_cache::{Evidence, HARDLY, Verdict, hit_share};
use super::pass::{Pass, reported, sum};
use super::record::Record;
use super::reuse::Reuse;
use super::speed_up::{SpeedUp, speed_up};
use super::spread::exact_quantile;
use crate::sample::Phase;
use crate::units::share;

const NOT_IN_THIS_COMMAND: &str = "the fixed workloads send no prompt twice";
const ONE_ROTATION: &str = "the first rotation is not over, so no context was sent twice";
const ONE_ROUND: &str = "the dataset was sent only once";
const RESET: &str = "the cache was emptied between the rounds";
const NO_REPEATS: &str = "no prompt was sent twice";
const OF_OTHER_SHARDS: &str =
    "other shards send the first uses of the prompts that this one repeats; merge them all";
const SHARDS_APART: &str =
    "the shards did not run at the same time, so some prompts were repeated before their first use";
const TOO_SHORT: &str = "the prompts that were repeated have hardly a block of their own to hit";
const NEVER_CACHED: &str = "the first uses of the prompts that were repeated have failed";
const ALL_FAILED: &str = "no measured request that repeats a prompt has succeeded";
/// Requests of each kind and level that are looked at.
const KEPT: usize = 1 << 14;
const NO_TTFT: &str = "the times of repeats and of first uses cannot be compared";

/// The verdict on the KV cache of a run.
pub fn verdict(about: &Value, passes: &[Pass]) -> Verdict {
    Evidence::of(about, passes).decide().verdict
}

impl Evidence {
    /// Collects the evidence of a run from its header and its passes.
    pub fn of(about: &Value, passes: &[Pass]) -> Evidence {
        let evidence = match about["command"].as_str() {
            Some("benchmark") => of_rotations(about, passes),
            Some("replay") => of_rounds(about, passes),
            Some("load") => of_points(about, passes),
            Some("run") => without_repeats(NOT_IN_THIS_COMMAND),
            _ => without_repeats(NO_REPEATS),
        };
        let new_ns = evidence.speed_up.map(|of| of.cold_median);
        let ratio = new_ns.zip(short_ttft_ns(passes));
        let warm_ns = evidence.speed_up.map(|of| of.warm_median);
        let is_limited = |pass: &Pass| distorts(&pass.facts.client, warm_ns);
        Evidence {
            usage_rate: comparable_rate(passes),
            reports_hits: usage_rate(passes).is_some_and(|rate| rate >= HARDLY),
            prefill_ratio: ratio.map(|(new, short)| new / short),
            counters: counters(passes, &evidence),
            at_once: at_once(passes),
            at_once_counted: at_once_counted(passes),
            is_client_limited: passes.iter().any(is_limited),
            ..evidence
        }
    }
}

/// Whether the client was so slow that its times cannot be compared. A lag that is short beside the TTFT of repeats
/// moves no median by much.
fn distorts(client: &ClientSummary, warm_ns: Option<f64>) -> bool {
    let is_lag = |limit: &Limit| matches!(limit, Limit::Lag | Limit::LagMax);
    let lag_ns = client.lag.map(|lag| lag.p99 * 1e6);
    let is_short = lag_ns
        .zip(warm_ns)
        .is_some_and(|(lag, warm)| lag * 20.0 < warm);
    let is_harmless = client.reasons.iter().all(is_lag) && is_short;
    client.limited == Some(true) && !is_harmless
}

/// The median TTFT of the short texts beside pairs of new ones; `None` without such a text.
fn short_ttft_ns(passes: &[Pass]) -> Option<f64> {
    let controls = passes.iter().flat_map(|pass| &pass.records.controls);
    let short = controls.filter(|one| one.turn.get() == Some(2) && one.failure.is_none());
    let ttft = short.filter_map(|one| one.ttft_from_sent_ns());
    let mut ttft: Vec<f64> = ttft.map(|ns| ns as f64).collect();
    ttft.sort_unstable_by(f64::total_cmp);
    exact_quantile(&ttft, 0.5).filter(|ns| *ns > 0.0)
}

fn without_repeats(no_repeats: &'static str) -> Evidence {
    Evidence {
        no_repeats,
        ..Evidence::default()
    }
}

/// The evidence of `benchmark`: later rotations repeat the contexts of the first one, but not its questions.
fn of_rotations(about: &Value, passes: &[Pass]) -> Evidence {
    let Some(pass) = passes.first() else {
        return without_repeats(ONE_ROTATION);
    };
    let (figures, facts) = (&pass.figures, &pass.facts);
    let of_prompt = context_share(about, figures, facts);
    let is_reported = figures.reported.prefix;
    let has_fresh_nonce = about["is_nonce_fresh"] == true;
    let (speed_up, no_speed_up) = match figures.reuse {
        Reuse::Measured(of) => (Some(of), ""),
        Reuse::Absent(why) => (None, why),
    };
    let [cold, warm] = figures.rotations_sent;
    let beside = controls_beside(pass);
    let repeats = beside.iter().filter(|one| one.repeat() == Some(true));
    let repeated = warm + repeats.count() as u64;
    let all = cold + warm + beside.len() as u64;
    Evidence {
        repeats: figures.warm.requests,
        no_repeats: if warm > 0 { ALL_FAILED } else { ONE_ROTATION },
        repeated_share: share(repeated, all).map(|of| of * of_prompt),
        usage: figures
            .warm_hits
            .filter(|_| is_reported)
            .map(|of| of.scaled(1.0 / of_prompt)),
        of_fresh: figures.cold.text_hit_rate.filter(|_| has_fresh_nonce),
        times: figures.hits_by_times,
        speed_up,
        no_speed_up,
        // Only fresh pairs are sessions.
        were_alone: beside.iter().all(|one| one.session.get().is_some()),
        ..Evidence::default()
    }
}

/// The share of a prompt that its context is, beyond what all prompts have in common; at most 1.
fn context_share(about: &Value, figures: &Figures, facts: &Facts) -> f64 {
    let context = about["options"]["input_length_tokens"].as_f64();
    let common = facts.common_tokens.unwrap_or(0) as f64;
    let prompt = figures.prompt_tokens.mean().map(|mean| mean - common);
    let of = context
        .zip(prompt)
        .map(|(context, prompt)| context / prompt);
    of.filter(|of| *of > 0.0).unwrap_or(1.0).min(1.0)
}

/// The evidence of `replay`: later rounds repeat the first round of their level. Later turns hit the history of their
/// own session in each round, so only first turns count.
fn of_rounds(about: &Value, passes: &[Pass]) -> Evidence {
    if about["options"]["resets_between_rounds"] == true {
        return without_repeats(RESET);
    }
    let mut levels: Vec<Option<u64>> = Vec::new();
    for pass in passes {
        if !levels.contains(&pass.facts.concurrency) {
            levels.push(pass.facts.concurrency);
        }
    }
    let sides = levels.into_iter().map(|level| {
        let of = |is_one: fn(&Pass) -> bool| {
            let of_level = passes.iter().filter(|pass| pass.facts.concurrency == level);
            first_of(of_level.filter(|pass| is_one(pass)).flat_map(first_turns))
        };
        Sides {
            fresh: of(|pass| pass.facts.round == Some(1)),
            repeats: of(is_later_round),
            ramp: 0,
            is_spread: is_spread(passes, level),
        }
    });
    let is_repeat = |pass: &Pass, record: &Record| is_later_round(pass) && is_first_turn(record);
    let of_first_turns = of_sides(passes, &sides.collect::<Vec<_>>(), is_repeat, ONE_ROUND);
    // Rounds after the first repeat every prompt, and counters do not tell later turns apart.
    let mut records = passes.iter().flat_map(|pass| pass.records.list.iter());
    let has_later_turns = records.any(|record| !is_first_turn(record));
    Evidence {
        repeated_share: (!has_later_turns).then_some(1.0),
        has_later_turns,
        ..of_first_turns
    }
}

/// Whether a later round of a level has enough independent units for an interval against the first one: the rule of the
/// line that compares the two rounds.
fn is_spread(passes: &[Pass], level: Option<u64>) -> bool {
    let mut rounds = passes.iter().filter(|pass| pass.facts.concurrency == level);
    let Some(first) = rounds.next() else {
        return false;
    };
    rounds.any(|later| {
        let (first, later) = (&first.records.list, &later.records.list);
        compare(first, later, 0).is_some_and(|of| of.interval.is_some())
    })
}

fn is_later_round(pass: &Pass) -> bool {
    pass.facts.round.is_some_and(|round| round > 1)
}

fn first_turns(pass: &Pass) -> impl Iterator<Item = &Record> {
    let records = pass.records.list.iter();
    records.filter(|record| is_first_turn(record))
}

fn is_first_turn(record: &Record) -> bool {
    matches!(record.turn.get(), None | Some(0))
}

/// Whether shards are missing of which this run is a part.
fn is_part(about: &Value) -> bool {
    let shard = &about["shard"];
    let held = shard["held"].as_array().map(|held| held.len() as u64);
    held.zip(shard["of"].as_u64())
        .is_some_and(|(held, of)| held < of)
}

/// The evidence of `load`: prompts that are repeated among others that are new, whichever shard sends these.
fn of_points(about: &Value, passes: &[Pass]) -> Evidence {
    if is_part(about) {
        return without_repeats(OF_OTHER_SHARDS);
    }
    if passes.iter().any(|pass| pass.facts.overlap_ns.is_some()) {
        return without_repeats(SHARDS_APART);
    }
    let sides = passes.iter().map(|pass| {
        let of = |is_repeat| {
            let records = pass.records.list.iter();
            let sent = records.filter(|record| record.phase() != Phase::Warmup);
            sent.filter(move |record| record.repeat() == Some(is_repeat))
        };
        Sides {
            fresh: first_of(of(false)),
            repeats: first_of(of(true)),
            ramp: pass.facts.concurrency_peak as usize,
            is_spread: true,
        }
    });
    let is_repeat = |_: &Pass, record: &Record| record.repeat() == Some(true);
    of_sides(passes, &sides.collect::<Vec<_>>(), is_repeat, NO_REPEATS)
}

/// The first requests of one level or point, in the order of their sends.
struct Sides<'a> {
    fresh: Vec<&'a Record>,
    repeats: Vec<&'a Record>,
    /// So many requests that were sent first met a server without load.
    ramp: usize,
    /// Whether they are spread over enough independent units for an interval.
    is_spread: bool,
}

/// Returns the first of these requests in the order of their sends: enough for an interval, in constant memory.
fn first_of<'a>(records: impl Iterator<Item = &'a Record>) -> Vec<&'a Record> {
    let mut first: Vec<&Record> = records.take(KEPT).collect();
    first.sort_by_cached_key(|record| record.t_send_ns);
    first
}

impl Sides<'_> {
    /// Compares TTFT from the send.
    fn speed_up(&self) -> Option<SpeedUp> {
        let ttft = |of: &[&Record], ramp: usize| -> Vec<f64> {
            let timed = of.iter().skip(ramp).filter(|record| record.is_clean());
            let ttft = timed.filter_map(|record| record.ttft_from_sent_ns());
            ttft.filter(|&ns| ns > 0).map(|ns| ns as f64).collect()
        };
        let of = speed_up(&ttft(&self.fresh, self.ramp), &ttft(&self.repeats, 0))?;
        Some(SpeedUp {
            interval: of.interval.filter(|_| self.is_spread),
            ..of
        })
    }
}

/// The evidence of requests that repeat whole prompts. Times are those of the level or point with the most of them.
fn of_sides(
    passes: &[Pass],
    sides: &[Sides],
    is_repeat: fn(&Pass, &Record) -> bool,
    no_repeats: &'static str,
) -> Evidence {
    let common_tokens = passes.first().and_then(|pass| pass.facts.common_tokens);
    let common_tokens = common_tokens.unwrap_or(0);
    let is_reported = reported(passes).prefix;
    let again = sides.iter().flat_map(|of| &of.repeats);
    let again: Vec<&Record> = again.copied().filter(|record| record.is_clean()).collect();
    let hits = again.iter().filter_map(|one| one.hits(common_tokens));
    let hits: Vec<(u64, u64)> = hits.collect();
    let in_blocks = in_blocks(&again, common_tokens);
    let first_uses = share_of_successes(sides.iter().flat_map(|of| &of.fresh));
    if in_blocks.is_some_and(|of| of < HARDLY) {
        return without_repeats(TOO_SHORT);
    }
    if first_uses.is_some_and(|of| of < HARDLY) {
        return without_repeats(NEVER_CACHED);
    }
    let (mut repeats, mut repeated_tokens, mut tokens) = (0, 0, 0);
    for pass in passes {
        let records = pass.records.list.iter();
        for record in records.filter(|record| record.phase() != Phase::Warmup) {
            let prompt = record.prompt_tokens.get().unwrap_or(0);
            tokens += prompt;
            if is_repeat(pass, record) {
                repeats += u64::from(record.is_clean());
                repeated_tokens += prompt;
            }
        }
    }
    let were_sent = sides.iter().any(|of| !of.repeats.is_empty());
    let compared = sides.iter().filter_map(Sides::speed_up);
    Evidence {
        in_blocks,
        first_uses,
        repeats,
        no_repeats: if were_sent { ALL_FAILED } else { no_repeats },
        repeated_share: share(repeated_tokens, tokens),
        usage: hit_share(&hits).filter(|_| is_reported),
        speed_up: compared.max_by_key(|of| of.cold.min(of.warm)),
        no_speed_up: NO_TTFT,
        were_alone: true,
        ..Evidence::default()
    }
}

/// Cached tokens over prompt tokens of all passes, by `usage`, to be compared with the counters; `None` where these count
/// many requests that are in no figure.
fn comparable_rate(passes: &[Pass]) -> Option<f64> {
    let beside = sum(passes, |of| of.warmup + of.cut + of.failed);
    if beside * 20 > sum(passes, |of| of.successful) {
        return None;
    }
    usage_rate(passes)
}

/// Cached tokens over prompt tokens of all passes, by `usage`.
fn usage_rate(passes: &[Pass]) -> Option<f64> {
    let of_pass = |pass: &Pass| {
        let rate = pass.figures.all.prefix_cache_hit_rate?;
        Some((rate, pass.figures.prompt_tokens.total? as f64))
    };
    let rates: Vec<(f64, f64)> = passes.iter().filter_map(of_pass).collect();
    let all: f64 = rates.iter().map(|(_, tokens)| tokens).sum();
    let cached: f64 = rates.iter().map(|(rate, tokens)| rate * tokens).sum();
    (all > 0.0).then(|| cached / all)
}

#[cfg(test)]
mod tests;
