//! The hits of repeats by the engine's counters, as evidence on the KV cache.

use super::super::kv_cache::{Counters, Evidence};
use super::super::pass::Pass;
use super::super::record::Record;

/// The figures of all passes by the engine's counters; `None` where a pass has none.
pub fn counters(passes: &[Pass], evidence: &Evidence) -> Option<Counters> {
    let (hits, prompts) = counted(passes, |_| true)?;
    if prompts <= 0.0 {
        return None;
    }
    let sent: Option<f64> = passes.iter().map(tokens_sent).sum();
    Some(Counters {
        rate: hits / prompts,
        of_repeated: evidence
            .repeated_share
            .and_then(|share| counted_of_repeated(passes, evidence, share)),
        load: sent.filter(|sent| *sent > 0.0).map(|sent| prompts / sent),
    })
}

/// The cached and all prompt tokens by the counters of some of the passes; `None` where one of these has none.
fn counted(passes: &[Pass], is_one: fn(&Pass) -> bool) -> Option<(f64, f64)> {
    let told = |key: &str| -> Option<f64> {
        let passes = passes.iter().filter(|pass| is_one(pass));
        passes.map(|pass| pass.facts.told.get(key)?.value).sum()
    };
    told("counter_hit_tokens").zip(told("counter_prompt_tokens"))
}

/// Cached tokens over repeated prompt tokens by the counters, of which this share was sent before. The first round of a
/// level repeats nothing. Controls that hit by `usage` say nothing about the repeats beside them.
fn counted_of_repeated(passes: &[Pass], evidence: &Evidence, repeated_share: f64) -> Option<f64> {
    let (hits, prompts) = counted(passes, |pass| pass.facts.round != Some(1))?;
    let of_controls = if evidence.claims_fresh() {
        0
    } else {
        let controls = passes.iter().flat_map(controls_beside);
        controls.filter_map(|one| one.cached_tokens.get()).sum()
    };
    let of_controls = of_controls as f64;
    let repeated = prompts * repeated_share - of_controls;
    (repeated > 0.0).then(|| ((hits - of_controls) / repeated).clamp(0.0, 1.0))
}

/// Prompt tokens of all requests that the counters of a pass have, whatever became of them, at the mean of those that
/// were counted. Some of the warm-up of a window lies between the scrapes around it; another warm-up is a pass before.
fn tokens_sent(pass: &Pass) -> Option<f64> {
    let figures = &pass.figures;
    let warmup = pass.facts.window_ns.map_or(0, |_| figures.warmup);
    let controls = controls_beside(pass).len() as u64;
    let requests = figures.requests + figures.cut + warmup + controls;
    Some(figures.prompt_tokens.mean()? * requests as f64)
}

/// The controls that were sent within the window of a pass: its counters have them, while controls after it are alone on
/// the server.
pub fn controls_beside(pass: &Pass) -> Vec<&Record> {
    let window = pass.facts.window_ns.map(|(from_ns, to_ns)| from_ns..to_ns);
    let controls = pass.records.controls.iter();
    let is_beside = |one: &&Record| {
        let window = window.as_ref();
        window.is_some_and(|window| window.contains(&one.t_send_ns))
    };
    controls.filter(is_beside).collect()
}
