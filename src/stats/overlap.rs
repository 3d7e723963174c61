//! The rates of a run of several shards, over the time in which all of them were at work.

use super::figures::Figures;
use super::goodput::{Goodput, Slo};
use super::record::Record;
use crate::units::{per_second, seconds};

impl Figures {
    /// Takes all rates over the requests that ended, or were sent, between two stamps, and the mean concurrency over the
    /// time between them. `records` are all of the pass; `None`: they were not kept, so there are no rates.
    pub fn over(
        self,
        overlap_ns: (u64, u64),
        records: Option<&[Record]>,
        slo: Option<&Slo>,
    ) -> Figures {
        let (from_ns, to_ns) = overlap_ns;
        let duration_s = seconds(to_ns.saturating_sub(from_ns));
        let without = Figures {
            duration_s,
            token_throughput: None,
            request_throughput: None,
            concurrency_mean: None,
            scheduled_per_s: None,
            achieved_per_s: None,
            goodput: self.goodput.clone().map(|goodput| Goodput {
                tokens_per_s: None,
                requests_per_s: None,
                ..goodput
            }),
            ..self
        };
        let Some(records) = records.filter(|_| duration_s > 0.0) else {
            return without;
        };
        let is_in = |ns: u64| (from_ns..to_ns).contains(&ns);
        let rate = |n: u64| per_second(n, duration_s);
        let sent = || records.iter().filter(|record| record.is_measured());
        // The overlap ends with the last request of a shard, which is one of those that ended in it.
        let ended = |record: &&Record| from_ns < record.t_end_ns() && record.t_end_ns() <= to_ns;
        let ended = || sent().filter(|record| record.is_good() && ended(record));
        let tokens = |record: &Record| record.completion_tokens.get().unwrap_or(0);
        let met = || ended().filter(|record| slo.is_some_and(|slo| slo.is_met(record)));
        let busy_ns: u64 = sent().map(|record| record.overlap_ns(from_ns, to_ns)).sum();
        let is_counted = self.output_tokens.total.is_some();
        let tokens_per_s = rate(ended().map(tokens).sum());
        let sends = sent().filter(|record| is_in(record.t_send_ns)).count() as u64;
        let due = sent().filter(|record| record.t_due_ns().is_some_and(is_in));
        let due = due.count() as u64;
        Figures {
            token_throughput: tokens_per_s.filter(|_| is_counted),
            request_throughput: rate(ended().count() as u64),
            concurrency_mean: Some(seconds(busy_ns) / duration_s),
            scheduled_per_s: rate(due).filter(|_| self.is_open),
            achieved_per_s: rate(sends),
            goodput: without.goodput.clone().map(|goodput| Goodput {
                tokens_per_s: rate(met().map(tokens).sum()).filter(|_| goodput.tokens.is_some()),
                requests_per_s: rate(met().count() as u64),
                ..goodput
            }),
            ..without
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;
    use crate::stats::facts::Facts;
    use crate::stats::records::Records;

    const S: u64 = 1_000_000_000;

    /// Two shards with a request of two seconds and ten tokens each second: one from 0 to 20 s, one from 10 to 30 s.
    fn records() -> Records {
        let sample = |from_s: u64| Sample {
            t_due_ns: Some(from_s * S),
            t_send_ns: from_s * S,
            t_first_ns: Some((from_s + 1) * S),
            t_last_ns: Some((from_s + 2) * S),
            t_end_ns: (from_s + 2) * S,
            completion_tokens: Some(10),
            ..Sample::default()
        };
        let sent = (0..=18).chain(10..=28).map(sample);
        Records::kept().with(&sent.collect::<Vec<_>>())
    }

    fn figures(records: &Records, overlap_ns: Option<(u64, u64)>) -> Figures {
        records.figures(&Facts {
            overlap_ns,
            slo: Some(Slo {
                ttft_ms: Some(1500.0),
                itl_ms: None,
                latency_ms: None,
            }),
            exhausted: Some(0),
            ..Facts::default()
        })
    }

    #[test]
    fn rates_over_the_overlap_are_those_of_both_shards() {
        let records = records();
        // 38 requests in 30 seconds.
        let whole = figures(&records, None);
        assert_eq!(whole.request_throughput, Some(38.0 / 30.0));
        // From 10 to 20 s: the first shard ends requests at 11 to 20, the second at 12 to 20.
        let over = figures(&records, Some((10 * S, 20 * S)));
        assert_eq!(over.duration_s, 10.0);
        assert_eq!(over.request_throughput, Some(1.9));
        assert_eq!(over.token_throughput, Some(19.0));
        // Sent at 10 to 18, and at 10 to 19.
        assert_eq!(over.achieved_per_s, Some(1.9));
        assert_eq!(over.scheduled_per_s, Some(1.9));
        // The first shard is busy with 1 s of the request of 9 s, and with 2 s of each of nine more; the second with 2 s
        // of each of nine, and 1 s of the last.
        assert_eq!(
            over.concurrency_mean,
            Some((1.0 + 18.0 + 18.0 + 1.0) / 10.0)
        );
        let goodput = over.goodput.expect("an SLO");
        assert_eq!(goodput.requests_per_s, Some(1.9));
        assert_eq!(goodput.tokens_per_s, Some(19.0));
        assert_eq!((goodput.requests, goodput.of_requests), (38, 38));
        // Latencies are those of all requests.
        assert_eq!(
            over.times.map(|time| time.map(|of| of.n)),
            whole.times.map(|time| time.map(|of| of.n))
        );
    }

    #[test]
    fn shards_without_a_time_in_common_have_no_rates() {
        let over = figures(&records(), Some((20 * S, 20 * S)));
        assert_eq!(over.request_throughput, None);
        assert_eq!(over.token_throughput, None);
        assert_eq!(over.concurrency_mean, None);
        assert_eq!(over.goodput.expect("an SLO").requests_per_s, None);
    }
}
