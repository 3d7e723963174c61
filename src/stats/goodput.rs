//! Goodput: the requests and tokens that were served within the limits that the user set.

use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::units::{per_second, share};

/// The limits of a request in milliseconds; `None` for no limit. The names of the fields are the keys in headers of
/// files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    pub ttft_ms: Option<f64>,
    pub itl_ms: Option<f64>,
    pub latency_ms: Option<f64>,
}

impl Slo {
    /// Whether a success is below every limit. In an open loop TTFT and latency are measured from the scheduled time.
    /// An absent ITL (one token) passes its limit; an absent TTFT (not streamed) fails its limit.
    pub fn is_met(&self, record: &Record) -> bool {
        let below = |ns: f64, limit_ms: f64| ns / 1e6 < limit_ms;
        let ttft = self
            .ttft_ms
            .is_none_or(|limit| record.ttft_ns().is_some_and(|ns| below(ns as f64, limit)));
        let itl = self
            .itl_ms
            .is_none_or(|limit| record.itl_ns().is_none_or(|ns| below(ns, limit)));
        let latency = self
            .latency_ms
            .is_none_or(|limit| below(record.latency_ns() as f64, limit));
        ttft && itl && latency
    }
}

/// The requests that met the SLO and their tokens, out of successes, failures and turns not sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Goodput {
    pub requests: u64,
    pub of_requests: u64,
    /// Output tokens and their rate; these three are `None` if no reply has a count.
    pub tokens: Option<u64>,
    pub of_tokens: Option<u64>,
    pub tokens_per_s: Option<f64>,
    /// The rate of requests that met the SLO; `None` without a duration.
    pub requests_per_s: Option<f64>,
}

impl Goodput {
    /// Works out the goodput of the measured records; `duration_s` is the duration that throughputs are taken over.
    pub fn of(slo: &Slo, records: &[Record], not_sent: u64, duration_s: f64) -> Goodput {
        let per_second = |n| per_second(n, duration_s);
        let measured = records.iter().filter(|record| record.is_measured());
        let met = measured
            .clone()
            .filter(|record| record.is_good() && slo.is_met(record));
        let counted = measured
            .clone()
            .filter_map(|record| record.completion_tokens.get());
        let any_counted = counted.clone().next().is_some();
        let requests = met.clone().count() as u64;
        let met_tokens = met.filter_map(|record| record.completion_tokens.get());
        let tokens = any_counted.then(|| met_tokens.sum());
        Goodput {
            requests,
            of_requests: measured.count() as u64 + not_sent,
            tokens,
            of_tokens: any_counted.then(|| counted.sum()),
            tokens_per_s: tokens.and_then(per_second),
            requests_per_s: per_second(requests),
        }
    }

    /// Returns the share of requests that met the SLO, 0..=1; `None` without requests.
    pub fn requests_share(&self) -> Option<f64> {
        share(self.requests, self.of_requests)
    }

    /// Returns the share of tokens that met the SLO, 0..=1; `None` without tokens.
    pub fn tokens_share(&self) -> Option<f64> {
        share(self.tokens?, self.of_tokens?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{FailKind, Failure, Sample};

    const MS: u64 = 1_000_000;

    /// Returns a success with its first token after `first` ms and the last of `tokens` tokens after `last` ms.
    fn success(first: u64, last: u64, tokens: u64) -> Sample {
        Sample {
            t_send_ns: 5 * MS,
            t_first_ns: Some((5 + first) * MS),
            t_last_ns: Some((5 + last) * MS),
            t_end_ns: (9 + last) * MS,
            completion_tokens: Some(tokens),
            ..Sample::default()
        }
    }

    fn plain() -> Sample {
        Sample {
            t_first_ns: None,
            t_last_ns: None,
            ..success(0, 100, 11)
        }
    }

    #[test]
    fn a_limit_is_met_strictly_below_it() {
        // TTFT is 100 ms, ITL 200 ms / 10 = 20 ms and latency 300 ms.
        let streamed = success(100, 300, 11);
        let slo = |ttft_ms, itl_ms, latency_ms| Slo {
            ttft_ms,
            itl_ms,
            latency_ms,
        };
        for (slo, sample, wanted) in [
            (slo(Some(100.1), Some(20.1), Some(300.1)), &streamed, true),
            (slo(Some(100.0), None, None), &streamed, false),
            (slo(None, Some(20.0), None), &streamed, false),
            (slo(None, None, Some(300.0)), &streamed, false),
            (slo(None, Some(1.0), None), &success(100, 100, 1), true),
            (slo(Some(1e9), None, None), &plain(), false),
            // The latency of a plain reply goes to the end of its body: 104 ms.
            (slo(None, Some(1.0), Some(104.1)), &plain(), true),
            (slo(None, None, Some(104.0)), &plain(), false),
        ] {
            assert_eq!(slo.is_met(&sample.into()), wanted, "{slo:?} {sample:?}");
        }
    }

    #[test]
    fn in_an_open_loop_a_limit_counts_from_the_due_time() {
        // TTFT is 100 ms and latency 300 ms from the send, which was 4 ms late.
        let late = Sample {
            t_due_ns: Some(MS),
            ..success(100, 300, 11)
        };
        for (ttft_ms, latency_ms, wanted) in [
            (Some(104.1), Some(304.1), true),
            (Some(104.0), None, false),
            (None, Some(304.0), false),
        ] {
            let slo = Slo {
                ttft_ms,
                itl_ms: None,
                latency_ms,
            };
            assert_eq!(slo.is_met(&(&late).into()), wanted, "{slo:?}");
        }
    }

    #[test]
    fn goodput_is_over_successes_failures_and_turns_not_sent() {
        let slo = Slo {
            ttft_ms: Some(150.0),
            ..Slo::default()
        };
        let failed = Sample {
            failure: Some(Failure::new(FailKind::Truncated, "cut off")),
            ..success(100, 200, 4)
        };
        let (good, slow) = (success(100, 300, 11), success(200, 300, 5));
        let got = Goodput::of(&slo, &[&good, &slow, &failed].map(Record::from), 2, 2.0);
        assert_eq!((got.requests, got.of_requests), (1, 5));
        // The 11 tokens that met the SLO are of 11 + 5 and the 4 that came before the failure, in 2 s.
        assert_eq!((got.tokens, got.of_tokens), (Some(11), Some(20)));
        assert_eq!(
            (got.tokens_per_s, got.requests_per_s),
            (Some(5.5), Some(0.5))
        );
        assert_eq!(
            (got.requests_share(), got.tokens_share()),
            (Some(0.2), Some(0.55))
        );
    }

    #[test]
    fn goodput_without_requests_is_absent() {
        let none = Goodput::of(&Slo::default(), &[], 0, 0.0);
        assert_eq!((none.requests, none.of_requests, none.tokens), (0, 0, None));
        assert_eq!((none.requests_share(), none.tokens_share()), (None, None));
        assert_eq!((none.tokens_per_s, none.requests_per_s), (None, None));
    }
}
