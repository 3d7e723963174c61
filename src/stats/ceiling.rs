//! The most that a cache can hit of the prompts that come again.

use super::kv_cache::hit_share;
use super::pass::{Pass, reported};
use super::record::Record;
use crate::units::share;

/// The share of the tokens of these requests that a cache can hit, which finds whole blocks and computes the last token of
/// each prompt again; `None` where no prompt is counted. A block has the most tokens, a power of two, that all hits have
/// whole blocks of. Prompts that have no token beyond those that all begin with can be hit in none of their own.
pub fn in_blocks(again: &[&Record], common_tokens: u64) -> Option<f64> {
    const USUAL: u64 = 16;
    const MOST: u64 = 256;
    let cached = again.iter().filter_map(|one| one.cached_tokens.get());
    let bits = cached.fold(0, |bits, tokens| bits | tokens);
    let block = match bits {
        0 => USUAL,
        _ => (1 << bits.trailing_zeros()).min(MOST),
    };
    let (mut whole, mut all, mut counted) = (0, 0, 0);
    for tokens in again.iter().filter_map(|one| one.prompt_tokens.get()) {
        let in_blocks = tokens.saturating_sub(1) / block * block;
        whole += in_blocks.saturating_sub(common_tokens);
        all += tokens.saturating_sub(common_tokens);
        counted += 1;
    }
    match (all, counted) {
        (0, 1..) => Some(0.0),
        _ => share(whole, all),
    }
}

/// Returns the share of these requests that succeeded; `None` without any.
pub fn share_of_successes<'a>(records: impl Iterator<Item = &'a &'a Record>) -> Option<f64> {
    let (mut successes, mut all) = (0, 0);
    for record in records {
        successes += u64::from(record.failure.is_none());
        all += 1;
    }
    share(successes, all)
}

/// The share of prompt tokens that the controls hit which repeat a text at once, by `usage`; `None` without such a
/// control.
pub fn at_once(passes: &[Pass]) -> Option<f64> {
    let is_reported = reported(passes).prefix;
    let of_pass = |pass: &Pass| -> Vec<(u64, u64)> {
        let common_tokens = pass.facts.common_tokens.unwrap_or(0);
        let controls = pass.records.controls.iter();
        let second = controls.filter(|one| one.turn.get() == Some(1) && one.failure.is_none());
        second.filter_map(|one| one.hits(common_tokens)).collect()
    };
    let seconds: Vec<(u64, u64)> = passes.iter().flat_map(of_pass).collect();
    let of = hit_share(&seconds).filter(|_| is_reported)?;
    Some(of.share)
}

/// The share that controls hit which repeat a text at once, by the engine's counters. The other half of the controls are
/// first requests, which a cache that is too small misses.
pub fn at_once_counted(passes: &[Pass]) -> Option<f64> {
    let last = passes.iter().rev();
    let mut rates = last.filter_map(|pass| pass.facts.controls_hit_rate);
    rates.next().map(|rate| (2.0 * rate).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{FailKind, Failure, Sample};

    fn prompt(tokens: u64, cached: Option<u64>) -> Record {
        Record::from(&Sample {
            prompt_tokens: Some(tokens),
            cached_tokens: cached,
            ..Sample::default()
        })
    }

    fn of(prompts: &[(u64, Option<u64>)], common_tokens: u64) -> Option<f64> {
        let records: Vec<Record> = prompts
            .iter()
            .map(|&(n, cached)| prompt(n, cached))
            .collect();
        in_blocks(&records.iter().collect::<Vec<_>>(), common_tokens)
    }

    #[test]
    fn a_prompt_lacks_what_is_no_whole_block_and_its_last_token() {
        // Blocks of 16: 32 of 40 tokens; 48 of 64, whose last block has the last token.
        assert_eq!(of(&[(40, None)], 0), Some(0.8));
        assert_eq!(of(&[(40, Some(0)), (64, Some(48))], 0), Some(80.0 / 104.0));
        // Of the 4 that all prompts begin with, the cache says nothing: 28 of 36.
        assert_eq!(of(&[(40, Some(32))], 4), Some(28.0 / 36.0));
        // Hits of 128 and 384 are whole blocks of 128; of 5 such blocks, 512 tokens are held before the last one.
        assert_eq!(of(&[(640, Some(128)), (640, Some(384))], 0), Some(0.8));
        // 512 tokens at once are two blocks of 256, the longest.
        assert_eq!(of(&[(520, Some(512))], 0), Some(512.0 / 520.0));
        // Single tokens.
        assert_eq!(of(&[(40, Some(39)), (40, Some(20))], 0), Some(39.0 / 40.0));
        assert_eq!(of(&[(10, None)], 0), Some(0.0));
        assert_eq!(of(&[], 0), None);
        // None is longer than what all begin with.
        assert_eq!(of(&[(22, Some(16)), (29, None)], 29), Some(0.0));
        assert_eq!(of(&[], 29), None);
    }

    #[test]
    fn failures_are_no_successes() {
        let (good, mut bad) = (prompt(1, None), prompt(1, None));
        bad.failure = Some(Failure::new(FailKind::Http, "x").kind);
        let share = |of: &[&Record]| share_of_successes(of.iter());
        assert_eq!(share(&[&good, &bad, &bad, &bad]), Some(0.25));
        assert_eq!(share(&[]), None);
    }
}
