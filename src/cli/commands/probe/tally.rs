//! The tokens of a probe, added up and compared with the server's own counters: whether others use the server, and whether
//! it counts what its replies say.

use crate::sample::Sample;
use crate::stats::facts::ToldFigures;
use crate::stats::probe::{Findings, UsageFound, UsageVerdict};
use crate::units::{fixed, rounded};

/// Requests between two looks at the server's counters.
const BETWEEN_LOOKS: usize = 20;
/// Others use the server if they send more than this share of our prompt tokens, and more than this many.
const OTHERS_SHARE: f64 = 0.02;
const OTHERS_TOKENS: f64 = 1000.0;
/// A counter that counts every prompt twice says this many times our tokens.
const TWICE: std::ops::Range<f64> = 1.95..2.05;
/// Counters and replies contradict each other beyond these ratios, if they are also so many tokens apart.
const TRUE_RATIOS: std::ops::Range<f64> = 0.67..1.5;
const APART_TOKENS: f64 = 1000.0;
/// Names in counters that do not have the hits of all tiers, or count whole chunks only.
const PARTIAL: [&str; 2] = ["prefix_cache_hits", "lmcache"];

/// Prompt tokens of our own requests.
#[derive(Debug, Default)]
pub struct Tally {
    /// The requests of the current pass: when each was sent, and its prompt tokens.
    sent: Vec<(u64, u64)>,
    /// Cached tokens by the replies of all passes; `None`: no reply has told any.
    cached_tokens: Option<u64>,
    /// Cached tokens by the server's counters, with the counters' names; `None`: a pass was not counted.
    counted: Option<(f64, String)>,
    is_uncounted: bool,
}

impl Tally {
    /// Takes in a request that has ended.
    pub fn add(&mut self, sample: &Sample) {
        let wanted = sample.labels.wanted_prompt_tokens;
        let tokens = sample.prompt_tokens.or(wanted).unwrap_or(0);
        self.sent.push((sample.t_send_ns, tokens));
        if let Some(cached) = sample.cached_tokens.filter(|_| sample.is_success()) {
            *self.cached_tokens.get_or_insert(0) += cached;
        }
    }

    /// Whether it is time to look at the server's counters.
    pub fn is_look_due(&self) -> bool {
        !self.sent.is_empty() && self.sent.len().is_multiple_of(BETWEEN_LOOKS)
    }

    /// Says that others use the server, if it has counted more prompt tokens in this pass up to a stamp than we have sent
    /// until then.
    pub fn others(&self, counted: f64, until_ns: u64) -> Option<String> {
        let sent = self.sent.iter().filter(|(sent_ns, _)| *sent_ns <= until_ns);
        let own_tokens: u64 = sent.map(|(_, tokens)| tokens).sum();
        let own = own_tokens as f64;
        let most = (own * OTHERS_SHARE).max(OTHERS_TOKENS);
        if counted - own <= most || TWICE.contains(&(counted / own)) {
            return None;
        }
        let (counted, own) = (rounded(counted as u64), rounded(own_tokens));
        Some(format!(
            "others use the server: it has counted {counted} prompt tokens, of which {own} were ours"
        ))
    }

    /// Ends a pass with the figures that the server's counters tell of it. Says that others use the server, if they do.
    pub fn end_pass(&mut self, told: &ToldFigures) -> Option<String> {
        let counted = told.get("counter_prompt_tokens");
        let counted = counted.and_then(|told| told.value);
        let others = counted.and_then(|counted| self.others(counted, u64::MAX));
        self.sent.clear();
        let hits = told.get("counter_hit_tokens");
        match hits.and_then(|told| Some((told.value?, told.source.clone()))) {
            Some((hits, source)) => {
                let before = self.counted.take().map_or(0.0, |(hits, _)| hits);
                self.counted = Some((before + hits, source));
            }
            None => self.is_uncounted = true,
        }
        others
    }

    /// Says that the server's counters contradict its replies.
    fn contradiction(&self) -> Option<String> {
        let replied = self.cached_tokens? as f64;
        let (counted, source) = self.counted.as_ref().filter(|_| !self.is_uncounted)?;
        let is_partial = PARTIAL.iter().any(|name| source.contains(name));
        let ratio = counted / replied;
        let is_far = (counted - replied).abs() > APART_TOKENS;
        let is_false = ratio >= TRUE_RATIOS.end || ratio <= TRUE_RATIOS.start && !is_partial;
        if !(is_far && is_false) {
            return None;
        }
        Some(match replied == 0.0 {
            true => format!(
                "the server's counters say {} cached tokens, its replies none",
                rounded(*counted as u64)
            ),
            false => format!(
                "the server's counters say {} x the cached tokens of its replies",
                fixed(ratio, 1)
            ),
        })
    }

    /// Adds to the findings that the server's counters contradict its replies, if they do.
    pub fn compare(&self, findings: &mut Findings) {
        let Some(why) = self.contradiction() else {
            return;
        };
        let earlier = findings.usage.take();
        let earlier = earlier.filter(|usage| usage.verdict == UsageVerdict::Wrong);
        let why_all = match earlier {
            Some(usage) => format!("{}; {why}", usage.why),
            None => why.clone(),
        };
        findings.usage = Some(UsageFound {
            verdict: UsageVerdict::Wrong,
            why: why_all,
        });
        if let Some(step) = findings.steps.iter_mut().find(|step| step.name == "usage") {
            step.answer = match step.is_lie {
                true => format!("{}; {why}", step.answer),
                false => format!("wrong: {why}; by its replies {}", step.answer),
            };
            step.is_lie = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::facts::Told;
    use crate::stats::probe::{Cost, StepDone};

    fn tally(replied: Option<u64>, counted: f64, source: &str) -> Tally {
        let mut tally = Tally::default();
        tally.add(&Sample {
            prompt_tokens: Some(100_000),
            cached_tokens: replied,
            ..Sample::default()
        });
        let told = Told::new(counted, source);
        tally.end_pass(&[("counter_hit_tokens".to_string(), told)].into());
        tally
    }

    #[test]
    fn prompt_tokens_beyond_ours_are_those_of_others() {
        let mut tally = Tally::default();
        tally.add(&Sample {
            prompt_tokens: Some(100_000),
            t_send_ns: 5,
            ..Sample::default()
        });
        for (counted, is_others) in [
            (90_000.0, false),
            // 2 % are 2,000.
            (101_900.0, false),
            (103_000.0, true),
            // Every prompt counted twice.
            (200_000.0, false),
            (300_000.0, true),
        ] {
            assert_eq!(tally.others(counted, 9).is_some(), is_others, "{counted}");
        }
        assert_eq!(
            tally.others(300_000.0, 9).as_deref(),
            Some(
                "others use the server: it has counted 300 k prompt tokens, of which 100 k were ours"
            )
        );
        // What was sent after the counters were read is not in them.
        assert!(tally.others(90_000.0, 4).is_some());
        let told = Told::new(103_000.0, "x");
        let told = [("counter_prompt_tokens".to_string(), told)].into();
        assert!(tally.end_pass(&told).is_some());
    }

    #[test]
    fn counters_that_contradict_the_replies_are_a_lie() {
        let all = "Δ vllm:prompt_tokens_cached";
        let gpu = "Δ vllm:prefix_cache_hits";
        for (replied, counted, source, wanted) in [
            (Some(50_000), 50_000.0, all, None),
            (Some(50_000), 70_000.0, all, None),
            (
                Some(50_000),
                100_000.0,
                all,
                Some("the server's counters say 2.00 x the cached tokens of its replies"),
            ),
            (
                Some(50_000),
                10_000.0,
                all,
                Some("the server's counters say 0.200 x the cached tokens of its replies"),
            ),
            // The hits of one of two tiers.
            (Some(50_000), 10_000.0, gpu, None),
            (
                Some(0),
                50_000.0,
                all,
                Some("the server's counters say 50 k cached tokens, its replies none"),
            ),
            (Some(0), 900.0, all, None),
            (None, 50_000.0, all, None),
        ] {
            let said = tally(replied, counted, source).contradiction();
            assert_eq!(said.as_deref(), wanted, "{replied:?} {counted}");
        }
    }

    #[test]
    fn the_step_that_trusted_the_replies_has_the_lie() {
        let mut findings = Findings {
            steps: vec![StepDone {
                name: "usage",
                answer: "honest".to_string(),
                is_clear: true,
                is_lie: false,
                cost: Cost::default(),
            }],
            ..Findings::default()
        };
        tally(Some(0), 50_000.0, "x").compare(&mut findings);
        let usage = findings.usage.expect("a verdict");
        assert_eq!(usage.verdict, UsageVerdict::Wrong);
        assert!(findings.steps[0].is_lie);
        assert_eq!(
            findings.steps[0].answer,
            "wrong: the server's counters say 50 k cached tokens, its replies none; by its replies honest"
        );
    }
}
