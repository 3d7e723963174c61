//! The charts of a report, with its requests in groups: one for each pass, or for cold and for warm rotations.

use crate::report::charts::{Charts, Requests, Series};
use crate::stats::pass::Pass;
use crate::stats::record::Record;
use crate::stats::time::Time;

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

fn gaps(name: String, pass: &Pass) -> Series {
    let figures = &pass.figures;
    let without = figures.not_streamed + figures.bursts;
    let requests = figures.successful.saturating_sub(without);
    Series::new(name, pass.records.gaps.values_ms()).of_requests(requests)
}
