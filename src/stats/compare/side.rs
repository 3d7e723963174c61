//! The two sides of a comparison: their requests, and whether their prompts and outputs are alike.

use super::interval::welch;
use super::verdict::{Bar, Measure};
use super::{Name, Side};
use crate::stats::record::{Count, Record};
use crate::stats::spread::{Mean, exact_quantile};

/// Mean tokens that differ by more than this share make times incomparable.
const TOKENS_DIFFER: f64 = 0.01;
/// The level at which a difference of tokens counts as more than chance.
const TOKENS_ALPHA: f64 = 0.005;

impl Side {
    /// Makes the side of its measured requests, without a name and a model.
    pub fn of(records: &[&Record], runs: u64) -> Side {
        let measured = records.iter().filter(|one| one.is_measured());
        let good = || records.iter().filter(|one| one.is_good());
        let quantiles = |time_ns: fn(&Record) -> Option<f64>| {
            let mut ms: Vec<f64> = good().filter_map(|one| Some(time_ns(one)? / 1e6)).collect();
            ms.sort_unstable_by(f64::total_cmp);
            let at = (0..=100).map(|percent| exact_quantile(&ms, f64::from(percent) / 100.0));
            at.flatten().collect()
        };
        let mean = |count: fn(&Record) -> Count| {
            let mut mean = Mean::default();
            let counts = good().filter_map(|one| count(one).get());
            counts.for_each(|tokens| mean.add(tokens as f64));
            mean.get()
        };
        let requests = measured.count() as u64;
        Side {
            requests,
            failed: requests - good().count() as u64,
            runs,
            prompt_tokens: mean(|one| one.prompt_tokens),
            output_tokens: mean(|one| one.completion_tokens),
            ttft_ms: quantiles(|one| Some(one.ttft_ns()? as f64)),
            itl_ms: quantiles(Record::itl_ns),
            latency_ms: quantiles(|one| Some(one.latency_ns() as f64)),
            ..Side::default()
        }
    }
}

/// A count of tokens of a request.
type Counted = fn(&Record) -> Count;

/// Bars the figures that differ because prompts or outputs have other lengths on the new side, and says so in notes.
/// Lengths differ where their means do by more than 1 %, and by more than chance.
///
/// TTFT, latency and throughput hang on the length of the prompt; latency and throughput also on that of the output.
pub fn bar_unlike(base: &[&Record], new: &[&Record], measures: &mut [Measure]) -> Vec<String> {
    let mut notes = Vec::new();
    let lengths: [(&str, Counted, &str); 2] = [
        (
            "prompts",
            |one| one.prompt_tokens,
            "TTFT, latency and output throughput decide nothing",
        ),
        (
            "outputs",
            |one| one.completion_tokens,
            "latency and output throughput decide nothing",
        ),
    ];
    for (what, count, decide_nothing) in lengths {
        let Some((of_base, of_new)) = differ(base, new, count) else {
            continue;
        };
        notes.push(format!(
            "{what} have {of_base:.1} tokens on average on the base side and {of_new:.1} on the new side: \
             {decide_nothing}"
        ));
        for measure in measures.iter_mut() {
            let is_hit = match measure.name {
                Name::TtftMean | Name::TtftP95 => what == "prompts",
                Name::LatencyMean | Name::LatencyP95 | Name::OutputThroughput => true,
                Name::ItlMean | Name::ErrorRate | Name::HitRate => false,
            };
            if is_hit {
                let why = format!("{what} differ in tokens between the sides");
                measure.bar = Some(Bar::Inapplicable(why));
            }
        }
    }
    notes
}

/// Returns the means of the sides where they differ.
fn differ(base: &[&Record], new: &[&Record], count: Counted) -> Option<(f64, f64)> {
    let tokens = |side: &[&Record]| {
        let good = side.iter().filter(|one| one.is_good());
        let counts = good.filter_map(|one| count(one).get());
        counts.map(|tokens| tokens as f64).collect::<Vec<f64>>()
    };
    let (base, new) = (tokens(base), tokens(new));
    let mean = |tokens: &[f64]| tokens.iter().sum::<f64>() / tokens.len() as f64;
    let (of_base, of_new) = (mean(&base), mean(&new));
    let is_far = (of_new - of_base).abs() > TOKENS_DIFFER * of_base;
    let is_no_chance = welch(&base, &new).is_some_and(|gap| gap.p() < TOKENS_ALPHA);
    (is_far && is_no_chance).then_some((of_base, of_new))
}
