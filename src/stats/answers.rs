//! Times to the first answer token, which differ from TTFT where replies reason before they answer.

use super::record::Record;
use super::spread::{Histogram, Spread};
use crate::sample::Sample;

/// The times to the first answer token of the successes of a pass. As long as the first token of every reply belongs to
/// its answer, these times are the TTFTs, and nothing is kept.
#[derive(Debug, Default)]
pub struct Answers {
    /// Whether a reply has had reasoning before its answer.
    has_reasoning: bool,
    own: Option<Own>,
}

#[derive(Debug, Default)]
struct Own {
    /// Every time in nanoseconds; empty in an endless pass.
    kept_ns: Vec<u64>,
    histogram: Histogram,
}

impl Own {
    fn add(&mut self, ns: u64, keeps: bool) {
        self.histogram.add_ns(ns as f64);
        if keeps {
            self.kept_ns.push(ns);
        }
    }
}

impl Answers {
    /// Adds a success. `before` are the records of earlier requests, and `ttft` the histogram of the TTFTs of earlier
    /// successes, if there is one; `None` for `before` in an endless pass, which keeps no records.
    pub fn add(
        &mut self,
        good: &Sample,
        record: &Record,
        before: Option<&[Record]>,
        ttft: Option<&Histogram>,
    ) {
        let (first_ns, answer_ns) = (good.t_first_ns, good.t_answer_ns);
        if self.own.is_none() && first_ns == answer_ns {
            return;
        }
        let own = self.own.get_or_insert_with(|| from_ttft(before, ttft));
        if let Some(ns) = answer_ns {
            own.add(record.since_start_ns(ns), before.is_some());
        }
        self.has_reasoning |= answer_ns > first_ns;
    }

    /// Returns the exact spread in milliseconds; `None` if no reply has had reasoning before its answer. Cost: a sort.
    pub fn exact(&self) -> Option<Spread> {
        let own = self.own.as_ref().filter(|_| self.has_reasoning)?;
        let ms = own.kept_ns.iter().map(|&ns| ns as f64 / 1e6);
        Spread::of(ms.collect())
    }

    /// Returns the spread from a histogram; `None` if no reply has had reasoning before its answer.
    pub fn live(&self) -> Option<Spread> {
        let own = self.own.as_ref().filter(|_| self.has_reasoning)?;
        own.histogram.spread()
    }
}

/// Returns the times of earlier successes, whose first tokens all belonged to their answers.
fn from_ttft(before: Option<&[Record]>, ttft: Option<&Histogram>) -> Own {
    let Some(records) = before else {
        return Own {
            kept_ns: Vec::new(),
            histogram: ttft.cloned().unwrap_or_default(),
        };
    };
    let mut own = Own::default();
    let good = records.iter().filter(|record| record.is_good());
    for ns in good.filter_map(Record::ttft_ns) {
        own.add(ns, true);
    }
    own
}

#[cfg(test)]
mod tests {
    use super::super::facts::Facts;
    use super::super::figures::Figures;
    use super::super::records::Records;
    use super::*;
    use crate::sample::Phase;

    const MS: u64 = 1_000_000;

    /// Returns a success that is due at 0, sent at 10 ms, and ends at 900 ms.
    fn sample(first_ms: u64, answer_ms: Option<u64>) -> Sample {
        Sample {
            t_due_ns: Some(0),
            t_send_ns: 10 * MS,
            t_first_ns: Some(first_ms * MS),
            t_answer_ns: answer_ms.map(|ms| ms * MS),
            t_last_ns: Some(890 * MS),
            t_end_ns: 900 * MS,
            ..Sample::default()
        }
    }

    fn of_times(samples: &[Sample]) -> Figures {
        let records = Records::kept().with(samples);
        records.figures(&Facts::default())
    }

    #[test]
    fn the_time_to_the_first_answer_token_counts_reasoning() {
        // The first reply does not reason, the second does for 300 ms, and the third never answers. A reply of the
        // warm-up does not count.
        let warmup = Sample {
            phase: Phase::Warmup,
            ..sample(50, Some(700))
        };
        let samples = [
            warmup,
            sample(100, Some(100)),
            sample(200, Some(500)),
            sample(300, None),
        ];
        let got = of_times(&samples).time_to_answer.expect("two answers");
        // Times count from the due time at 0: 100 and 500 ms.
        assert_eq!((got.n, got.min, got.avg, got.max), (2, 100.0, 300.0, 500.0));
        // In a closed loop they count from the send, at 10 ms.
        let closed = samples.map(|sample| Sample {
            t_due_ns: None,
            ..sample
        });
        let got = of_times(&closed).time_to_answer.expect("two answers");
        assert_eq!((got.n, got.min, got.max), (2, 90.0, 490.0));
    }

    #[test]
    fn without_reasoning_before_an_answer_there_is_no_such_time() {
        for samples in [
            vec![sample(100, Some(100)), sample(200, Some(200))],
            vec![sample(100, Some(100)), sample(200, None)],
            // A file of another tool may not tell the stamp at all.
            vec![sample(100, None)],
            vec![],
        ] {
            assert_eq!(of_times(&samples).time_to_answer, None, "{samples:?}");
        }
    }

    #[test]
    fn an_endless_pass_has_the_times_of_a_finite_one_within_a_thousandth() {
        let mut rng = fastrand::Rng::with_seed(5);
        let samples = (0..2000).map(|_| {
            let first_ms = rng.u64(20..400);
            let reasons = rng.bool();
            sample(first_ms, Some(first_ms + u64::from(reasons) * 300))
        });
        let samples: Vec<Sample> = samples.collect();
        let mut endless = Records::live(true, 0);
        samples.iter().for_each(|sample| endless.add(sample));
        let endless = endless.figures(&Facts::default());
        let (got, wanted) = (endless.time_to_answer, of_times(&samples).time_to_answer);
        let (got, wanted) = (got.expect("answers"), wanted.expect("answers"));
        assert_eq!(
            (got.n, got.min, got.max),
            (wanted.n, wanted.min, wanted.max)
        );
        assert!((got.avg - wanted.avg).abs() < 1e-6, "{got:?} {wanted:?}");
        // The histogram has the nearest rank, the exact one lies between two ranks at most 1 ms apart.
        for (value, exact) in [(got.p50, wanted.p50), (got.p99, wanted.p99)] {
            assert!((value - exact).abs() <= 1.0 + exact / 1000.0, "{got:?}");
        }
    }
}
