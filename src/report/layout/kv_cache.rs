//! The verdict on the KV cache that ends every report: one sentence, the next command, and an object in JSON.

mod next;

use self::next::next;
use super::next::unanswered;
use super::report::Report;
use crate::report::document::{Answer, Next, Node};
use crate::stats::kv_cache::{Decision, Evidence, Reason, Share, Source, Verdict, WORKING};
use crate::stats::speed_up::SpeedUp;
use crate::units::{fixed, whole_percent};

/// Returns the answer of a run, and a remark where `usage` and the engine's counters differ. There is no answer without
/// a pass, and for a `load` that was told to repeat nothing.
pub fn told(report: &Report) -> (Option<Answer>, Option<String>) {
    let about = &report.about;
    let evidence = Evidence::of(about, &report.passes);
    let decision = evidence.decide();
    let repeats_nothing = about["options"]["prompts"]["repeat_ratio"] == 0.0;
    let is_unasked = report.passes.is_empty() || evidence.repeats == 0 && repeats_nothing;
    let answer = (!is_unasked).then(|| {
        let contexts = about["options"]["contexts"].as_u64();
        let sentence = sentence(&evidence, &decision, contexts);
        let next = unanswered(report).unwrap_or_else(|| next(&decision, about));
        Answer {
            data: data(&evidence, &decision, &sentence, &next),
            sentence: format!("KV cache: {sentence}"),
            next,
        }
    });
    (answer, decision.conflict)
}

/// Adds the answer to the data of a report.
pub fn with(answer: Option<&Answer>, data: Node) -> Node {
    match (data, answer) {
        (Node::Object(mut entries), Some(answer)) => {
            entries.push(("kv_cache".into(), answer.data.clone()));
            Node::Object(entries)
        }
        (data, _) => data,
    }
}

fn sentence(evidence: &Evidence, decision: &Decision, contexts: Option<u64>) -> String {
    let speed = evidence.speed_up.map(speed);
    let behind = |speed: Option<String>| speed.map_or(String::new(), |speed| format!("; {speed}"));
    match (&decision.reason, decision.verdict) {
        (Reason::Hits, Verdict::Working) => format!("WORKING. {}", hits(evidence, decision, speed)),
        (Reason::Hits, Verdict::Partly) => {
            format!("PARTLY WORKING. {}", hits(evidence, decision, speed))
        }
        (Reason::Hits | Reason::OffOrTooSmall, verdict) => {
            let percent = whole_percent(decision.hits.map_or(0.0, |(of, _)| of.share));
            let why = not_helping(evidence, decision, verdict, contexts);
            let compared = evidence.speed_up.filter(|_| !evidence.is_client_limited);
            let faster = match compared.filter(is_faster).zip(speed) {
                Some((_, speed)) => format!("; yet repeats are faster: {speed}"),
                None => String::new(),
            };
            format!("NOT HELPING: {percent} hits{why}{faster}")
        }
        (Reason::FasterWithoutHits, _) => {
            let speed = speed.unwrap_or_default();
            let reported = match evidence.usage {
                Some(_) => format!(
                    "The hits that the server reports do not fit these times: {}",
                    claimed(evidence)
                ),
                None => "Nothing reports how much was hit".to_string(),
            };
            format!("WORKING, by its times: {speed}. {reported}")
        }
        (Reason::HitsOfFresh, Verdict::Off) => {
            format!("NOT HELPING: {}{}", claimed(evidence), behind(speed))
        }
        (Reason::HitsOfFresh, _) => format!("NOT KNOWN: {}{}", claimed(evidence), behind(speed)),
        (Reason::NothingRepeated(why), _) => format!("NOT KNOWN: {why}"),
        (Reason::AsSlowAsNew(times), _) => {
            let speed = speed.unwrap_or_default();
            let times = ratio(*times);
            format!(
                "NOT HELPING: nothing reports hits, and repeats take as long as new prompts, which take {times}x as long as a short one; {speed}"
            )
        }
        (Reason::ClientLimited, _) => {
            let told = match evidence.usage {
                Some(_) => claimed(evidence),
                None => "no reply tells of cached tokens".to_string(),
            };
            format!("NOT KNOWN: {told}, and this client was too slow for its times to tell")
        }
        (Reason::NotReported(why) | Reason::TooFewControls(why), _) => {
            format!("NOT KNOWN: {why}{}", behind(speed))
        }
    }
}

/// Says how much was hit, and how TTFT compares.
fn hits(evidence: &Evidence, decision: &Decision, speed: Option<String>) -> String {
    let hits = decision.hits.map_or(String::new(), |(of, source)| {
        let most = Some(evidence).filter(|_| of.share < WORKING).map(most);
        share_hit((of, source)) + &most.unwrap_or_default()
    });
    let speed = match speed {
        _ if evidence.is_client_limited => {
            "TTFT is not compared, since this client was too slow".to_string()
        }
        Some(speed) => speed,
        None => format!("TTFT is not compared: {}", evidence.no_speed_up),
    };
    format!("{hits}; {speed}")
}

/// Says why no cache could have hit all of it: ` (whole blocks are 76 % of them)`.
fn most(evidence: &Evidence) -> String {
    const NEARLY: f64 = 0.95;
    let below = |of: Option<f64>| of.filter(|&of| of < NEARLY);
    let blocks = below(evidence.in_blocks)
        .map(|of| format!("whole blocks are {} of them", whole_percent(of)));
    let failed = below(evidence.first_uses)
        .map(|of| format!("{} of the first uses failed", whole_percent(1.0 - of)));
    let why: Vec<String> = blocks.into_iter().chain(failed).collect();
    match why.is_empty() {
        true => String::new(),
        false => format!(" ({})", why.join("; ")),
    }
}

/// Says what the server reports where that is not believed.
fn claimed(evidence: &Evidence) -> String {
    let of_repeats = whole_percent(evidence.usage.map_or(0.0, |of| of.share));
    match evidence.of_fresh.filter(|_| evidence.claims_fresh()) {
        Some(_) => format!(
            "usage reports {of_repeats} cached, also for prompts that were never sent before"
        ),
        None => format!("usage reports {of_repeats} cached"),
    }
}

/// Says why nothing was hit: `; it is off`, or that it is too small.
fn not_helping(
    evidence: &Evidence,
    decision: &Decision,
    verdict: Verdict,
    contexts: Option<u64>,
) -> String {
    let size = match contexts {
        Some(contexts) => format!("{contexts} contexts"),
        None => "what was sent between a prompt and its repeat".to_string(),
    };
    match (verdict, &decision.reason) {
        (Verdict::TooSmall, _) => {
            format!(" in the cycle, but a repeat at once hits: it is smaller than {size}")
        }
        (_, Reason::OffOrTooSmall) => format!("; it is off, or smaller than {size}"),
        _ if evidence.were_alone => "; it is off".to_string(),
        _ => "; it is off, or smaller than the requests in flight".to_string(),
    }
}

fn share_hit((of, source): (Share, Source)) -> String {
    let share = whole_percent(of.share);
    let interval = of.interval.map(|(low, high)| {
        let (low, high) = (low * 100.0, high * 100.0);
        format!(", {low:.0} to {high:.0} %")
    });
    match source {
        Source::Usage => format!("{share} of repeated prompt tokens cached"),
        Source::Counters => {
            format!("{share} of repeated prompt tokens cached (engine's counters)")
        }
        Source::Times => {
            let interval = interval.unwrap_or_default();
            format!("{share} of repeats hit (estimated from times{interval})")
        }
    }
}

/// Whether repeats are faster by more than nothing: a ratio of 1.0x is no news, however sure it is.
fn is_faster(of: &SpeedUp) -> bool {
    of.ratio >= 1.05 && of.interval.is_some_and(|(low, _)| low > 1.0)
}

/// Says how TTFT of repeats compares, such as `TTFT 1.51 s -> 0.310 s, 4.9x faster (4.6 to 5.2), n 459`.
fn speed(of: SpeedUp) -> String {
    let (before, after) = times(of.cold_median, of.warm_median);
    let n = of.warm;
    let ratio = ratio(of.ratio);
    let Some((low, high)) = of.interval else {
        return format!("TTFT {before} -> {after}, {ratio}x (too few for an interval), n {n}");
    };
    let range = format!("({} to {}), n {n}", self::ratio(low), self::ratio(high));
    if is_faster(&of) {
        format!("TTFT {before} -> {after}, {ratio}x faster {range}")
    } else {
        format!("TTFT is no faster: {before} -> {after}, {ratio}x {range}")
    }
}

/// Two times of the same unit, from nanoseconds.
pub fn times(before_ns: f64, after_ns: f64) -> (String, String) {
    let (per_unit, unit, decimals) = match before_ns.max(after_ns) >= 1e9 {
        true => (1e9, "s", 2),
        false => (1e6, "ms", 1),
    };
    let one = |ns: f64| format!("{} {unit}", fixed(ns / per_unit, decimals));
    (one(before_ns), one(after_ns))
}

/// A ratio with one decimal, or with none from 10 on.
pub fn ratio(of: f64) -> String {
    match of >= 9.95 {
        true => format!("{of:.0}"),
        false => format!("{of:.1}"),
    }
}

fn data(evidence: &Evidence, decision: &Decision, sentence: &str, next: &Next) -> Node {
    let (share, source) = decision.hits.unzip();
    let (low, high) = share.and_then(|of| of.interval).unzip();
    let speed = evidence.speed_up;
    let (slow, fast) = speed.and_then(|of| of.interval).unzip();
    Node::object([
        ("verdict", decision.verdict.name().into()),
        ("hit_share", share.map(|of| of.share).into()),
        ("hit_share_low", low.into()),
        ("hit_share_high", high.into()),
        ("source", source.map(Source::name).into()),
        ("speed_up", speed.map(|of| of.ratio).into()),
        ("speed_up_low", slow.into()),
        ("speed_up_high", fast.into()),
        ("reason", sentence.into()),
        ("next", next.command.as_deref().into()),
    ])
}

#[cfg(test)]
mod tests;
