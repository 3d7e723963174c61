//! The charts of a report, with its requests in groups: one for each pass, or for cold and for warm rotations.

use std::slice;

use super::common;
use crate::report::charts::{Charts, Requests, Series};
use crate::stats::pass::Pass;
use crate::stats::record::Record;
use crate::stats::time::Time;

/// The name of gaps that are between tokens in some passes and between chunks in others.
const MIXED_GAPS: &str = "Token gap or chunk gap";
/// The names of the two groups of a benchmark.
pub const COLD: &str = "first rotation (cold)";
pub const WARM: &str = "later rotations (warm)";

/// Returns charts with one group for each pass; `beside` is the title of the chart that has the passes side by side.
pub fn passes(passes: &[Pass], beside: &'static str) -> Charts {
    let ttft = |pass| Series::new(Pass::name(pass), pass.records.times_ms(Time::Ttft));
    let of_pass = |pass| requests(Pass::name(pass), pass, |_| true);
    Charts {
        beside,
        ttft: passes.iter().map(ttft).collect(),
        gaps: passes.iter().map(|pass| gaps(pass.name(), pass)).collect(),
        gap_name: gap_name(passes),
        gap_remarks: gap_remarks(passes),
        requests: passes.iter().map(of_pass).collect(),
        ..Charts::default()
    }
}

/// Returns the charts of a pass in two groups: the first rotation, which is cold, and later ones, which are warm.
pub fn rotations(pass: &Pass) -> Charts {
    let ttft = |name, time| Series::new(name, pass.records.times_ms(time));
    Charts {
        beside: "Cold against warm: TTFT",
        ttft: vec![ttft(COLD, Time::TtftCold), ttft(WARM, Time::TtftWarm)],
        gaps: vec![gaps("all rotations".to_string(), pass).of_all_groups()],
        gap_name: gap_name(slice::from_ref(pass)),
        gap_remarks: gap_remarks(slice::from_ref(pass)),
        requests: vec![
            requests(COLD.to_string(), pass, |record| record.is_cold()),
            requests(WARM.to_string(), pass, |record| !record.is_cold()),
        ],
        ..Charts::default()
    }
}

fn requests(name: String, pass: &Pass, has: fn(&Record) -> bool) -> Requests {
    let of_pass = pass.records.list.clone();
    Requests { name, of_pass, has }
}

/// Returns the name of the gaps of these passes.
fn gap_name(passes: &[Pass]) -> &'static str {
    let with_gaps = || passes.iter().filter(|pass| pass.figures.gap.is_some());
    let are_tokens = |pass: &Pass| pass.figures.gaps_are_tokens;
    match (with_gaps().any(are_tokens), with_gaps().all(are_tokens)) {
        (_, true) => "Token gap",
        (false, _) => "Chunk gap",
        (true, false) => MIXED_GAPS,
    }
}

/// Says of which of several passes the gaps are between tokens, if not of all or none, and which share of them is 0.
fn gap_remarks(passes: &[Pass]) -> Vec<String> {
    let is_mixed = gap_name(passes) == MIXED_GAPS;
    let remarks = passes
        .iter()
        .filter(|pass| pass.figures.gap.is_some())
        .map(|pass| {
            let figures = &pass.figures;
            let zeros = common::gaps_in_one_read(figures).map(|pair| pair.to_string());
            let name = is_mixed.then(|| figures.gap_name().to_string());
            let said: Vec<String> = name.into_iter().chain(zeros).collect();
            (pass.name(), said.join("; "))
        });
    let remarks = remarks.filter(|(_, said)| !said.is_empty());
    let remarks = remarks.map(|(name, said)| match passes.len() {
        1 => said,
        _ => format!("{name}: {said}"),
    });
    remarks.collect()
}

fn gaps(name: String, pass: &Pass) -> Series {
    let figures = &pass.figures;
    let without = figures.not_streamed + figures.bursts;
    let requests = figures.successful.saturating_sub(without);
    Series::new(name, pass.records.gaps.values_ms()).of_requests(requests)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::golden::{MS, five_tokens};
    use crate::sample::Sample;
    use crate::stats::facts::Facts;
    use crate::stats::records::Records;

    /// Returns a pass of a reply of five events, two of which share a read, with so many tokens.
    fn pass(round: u64, tokens: u64) -> Pass {
        let facts = Facts {
            concurrency: Some(2),
            round: Some(round),
            ..Facts::default()
        };
        let sample = Sample {
            t_last_ns: Some(160 * MS),
            gaps_us: vec![20_000, 0, 20_000, 20_000],
            token_reads: 4,
            completion_tokens: Some(tokens),
            ..five_tokens(0, 0, 100, 0)
        };
        Pass::new(facts, Records::kept().with(&[sample]))
    }

    #[test]
    fn gaps_are_named_for_what_they_are_between_and_the_share_of_one_read_is_told() {
        let zeros = "25.0 % of the gaps are 0: their events came in one read";
        // Five events of five tokens are tokens, of ten tokens they are chunks.
        for (passes, name, remarks) in [
            (vec![pass(1, 5)], "Token gap", vec![zeros.to_string()]),
            (vec![pass(1, 10)], "Chunk gap", vec![zeros.to_string()]),
            (
                vec![pass(1, 5), pass(2, 5)],
                "Token gap",
                vec![
                    format!("concurrency 2, round 1: {zeros}"),
                    format!("concurrency 2, round 2: {zeros}"),
                ],
            ),
            (
                vec![pass(1, 5), pass(2, 10)],
                "Token gap or chunk gap",
                vec![
                    format!("concurrency 2, round 1: token gap; {zeros}"),
                    format!("concurrency 2, round 2: chunk gap; {zeros}"),
                ],
            ),
        ] {
            assert_eq!(gap_name(&passes), name);
            assert_eq!(gap_remarks(&passes), remarks);
        }
    }
}
