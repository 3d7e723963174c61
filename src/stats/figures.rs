//! The derived figures of one request: DESIGN's definitions as functions of a sample.

use crate::sample::Sample;
use crate::units::seconds;

/// Time to first token in nanoseconds: `t_first − t_send`; `None` on a reply that was not streamed.
pub fn ttft_ns(sample: &Sample) -> Option<u64> {
    Some(sample.t_first_ns?.saturating_sub(sample.t_send_ns))
}

/// Time that the tokens after the first took, in nanoseconds, and how many they were; `None` with
/// fewer than two tokens, or when the whole text came in one read.
pub fn decode_ns(sample: &Sample) -> Option<(u64, u64)> {
    let tokens = sample
        .completion_tokens?
        .checked_sub(1)
        .filter(|&n| n > 0)?;
    let ns = sample.t_last_ns?.saturating_sub(sample.t_first_ns?);
    (ns > 0).then_some((ns, tokens))
}

/// Inter-token latency in nanoseconds: `(t_last − t_first) / (n_out − 1)`.
pub fn itl_ns(sample: &Sample) -> Option<f64> {
    decode_ns(sample).map(|(ns, tokens)| ns as f64 / tokens as f64)
}

/// Latency in nanoseconds: `t_last − t_send`, or `t_end − t_send` on a reply that was not streamed.
pub fn latency_ns(sample: &Sample) -> u64 {
    let streamed_end = sample.t_first_ns.and(sample.t_last_ns);
    streamed_end
        .unwrap_or(sample.t_end_ns)
        .saturating_sub(sample.t_send_ns)
}

/// How late it was sent, in nanoseconds: `t_send − t_due`; `None` in a closed loop.
pub fn lateness_ns(sample: &Sample) -> Option<u64> {
    Some(sample.t_send_ns.saturating_sub(sample.t_due_ns?))
}

/// TTFT as whoever waits has it: from the due time, where there is one, else from the send.
pub fn ttft_from_due_ns(sample: &Sample) -> Option<u64> {
    Some(ttft_ns(sample)? + lateness_ns(sample).unwrap_or(0))
}

/// The same of latency.
pub fn latency_from_due_ns(sample: &Sample) -> u64 {
    latency_ns(sample) + lateness_ns(sample).unwrap_or(0)
}

/// `prompt_tokens / TTFT` in tokens per second; queueing is inside TTFT.
pub fn prefill_tokens_per_s(sample: &Sample) -> Option<f64> {
    let ttft_ns = ttft_ns(sample).filter(|&ns| ns > 0)?;
    Some(sample.prompt_tokens? as f64 / seconds(ttft_ns))
}

/// `(n_out − 1) / (t_last − t_first)` in tokens per second.
pub fn decode_tokens_per_s(sample: &Sample) -> Option<f64> {
    decode_ns(sample).map(|(ns, tokens)| tokens as f64 / seconds(ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(first_ms: u64, last_ms: u64, tokens: Option<u64>) -> Sample {
        Sample {
            t_send_ns: 1_000_000_000,
            t_first_ns: Some(1_000_000_000 + first_ms * 1_000_000),
            t_last_ns: Some(1_000_000_000 + last_ms * 1_000_000),
            t_end_ns: 1_000_000_000 + (last_ms + 7) * 1_000_000,
            prompt_tokens: Some(3000),
            completion_tokens: tokens,
            ..Sample::default()
        }
    }

    #[test]
    fn figures_follow_their_definitions() {
        // First token 500 ms after the send, the 11th 700 ms after it: 200 ms over 10 gaps.
        let sample = sample(500, 700, Some(11));
        assert_eq!(ttft_ns(&sample), Some(500_000_000));
        assert_eq!(itl_ns(&sample), Some(20_000_000.0));
        // To the last token, not to the end of the body 7 ms later.
        assert_eq!(latency_ns(&sample), 700_000_000);
        assert_eq!(prefill_tokens_per_s(&sample), Some(6000.0));
        assert_eq!(decode_tokens_per_s(&sample), Some(50.0));
    }

    #[test]
    fn what_was_sent_late_is_slower_for_whoever_waits() {
        // Due at 0.75 s, sent at 1 s; first token 500 ms, last 700 ms after the send.
        let closed = sample(500, 700, Some(11));
        let late = Sample {
            t_due_ns: Some(750_000_000),
            ..closed.clone()
        };
        assert_eq!(lateness_ns(&late), Some(250_000_000));
        assert_eq!(ttft_from_due_ns(&late), Some(750_000_000));
        assert_eq!(latency_from_due_ns(&late), 950_000_000);
        assert_eq!(
            (ttft_ns(&late), latency_ns(&late)),
            (Some(500_000_000), 700_000_000)
        );
        assert_eq!(lateness_ns(&closed), None);
        assert_eq!(ttft_from_due_ns(&closed), Some(500_000_000));
        assert_eq!(latency_from_due_ns(&closed), 700_000_000);
    }

    #[test]
    fn a_figure_that_nothing_reports_is_absent() {
        assert_eq!(itl_ns(&sample(500, 500, Some(1))), None);
        assert_eq!(itl_ns(&sample(500, 500, Some(9))), None, "one read");
        assert_eq!(itl_ns(&sample(500, 700, None)), None);
        let plain = Sample {
            t_first_ns: None,
            t_last_ns: None,
            ..sample(1, 2, Some(3))
        };
        assert_eq!(latency_ns(&plain), 9_000_000, "to the end of the body");
        assert_eq!(
            (ttft_ns(&plain), prefill_tokens_per_s(&plain)),
            (None, None)
        );
    }
}
