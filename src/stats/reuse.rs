//! The TTFT of cold requests against that of warm ones at like load: equally many in flight, and all of one kind.
//!
//! Memory is constant: the first requests of each kind are kept as they end, and judged when the figure is asked for. The
//! tokens that were hit are added up over all of them.

use super::kv_cache::{Share, hit_share};
use super::record::{Record, Rotation};
use super::speed_up::{SpeedUp, speed_up};
use crate::sample::Phase;

/// The number of requests of each kind that are kept.
const KEPT: usize = 1 << 14;

/// The speed-up, or the reason why there is none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reuse {
    Absent(&'static str),
    /// The medians are in nanoseconds. There is no interval either where a side has fewer than two requests for each
    /// that was in flight.
    Measured(SpeedUp),
}

impl Reuse {
    pub fn ratio(self) -> Option<f64> {
        match self {
            Reuse::Absent(_) => None,
            Reuse::Measured(of) => Some(of.ratio),
        }
    }
}

impl Default for Reuse {
    fn default() -> Reuse {
        Reuse::Absent(NO_ROTATION)
    }
}

const NO_ROTATION: &str = "no whole warm rotation has ended";
const NO_TTFT: &str = "no request succeeded with a streamed reply";
const ALL_WARMED_UP: &str = "the first rotation lies in the warm-up; want a shorter one";
const NO_COLD: &str = "no cold request is left once the first burst is left out; want more contexts than twice the requests in flight";
const NO_WARM: &str =
    "no warm request was sent after the cold ones; run longer, or with more contexts";

/// A request that has ended, whether or not it succeeded.
#[derive(Debug, Clone, Copy)]
struct Seen {
    sent_ns: u64,
    /// The stamp of its first token, or of its end if it had none.
    answered_ns: u64,
    /// TTFT above 0 of a success that was streamed and not sent again.
    ttft_ns: Option<u64>,
}

/// Cached and prompt tokens of requests, added up for neighbours once there are many.
#[derive(Debug, Clone, Default)]
struct Hits {
    /// The first send of each group of requests, and the tokens of the group.
    groups: Vec<(u64, (u64, u64))>,
    /// Each group has 2 to the power of this many requests; the last one may have fewer.
    doublings: u32,
    in_last: u64,
}

impl Hits {
    fn add(&mut self, sent_ns: u64, (cached, prompt): (u64, u64)) {
        let is_open = self.in_last > 0 && self.in_last < 1 << self.doublings;
        match self.groups.last_mut().filter(|_| is_open) {
            Some((first_ns, tokens)) => {
                *first_ns = sent_ns.min(*first_ns);
                *tokens = (tokens.0 + cached, tokens.1 + prompt);
                self.in_last += 1;
            }
            None => {
                self.make_room();
                self.groups.push((sent_ns, (cached, prompt)));
                self.in_last = 1;
            }
        }
    }

    fn make_room(&mut self) {
        if self.groups.len() < KEPT {
            return;
        }
        self.groups.sort_by_cached_key(|(sent_ns, _)| *sent_ns);
        let pairs = self.groups.chunks(2).map(|pair| {
            let cached = pair.iter().map(|(_, (cached, _))| cached).sum();
            let prompt = pair.iter().map(|(_, (_, prompt))| prompt).sum();
            (pair[0].0, (cached, prompt))
        });
        self.groups = pairs.collect();
        self.doublings += 1;
    }

    fn share(&self) -> Option<Share> {
        let mut groups = self.groups.clone();
        groups.sort_by_cached_key(|(sent_ns, _)| *sent_ns);
        let tokens: Vec<(u64, u64)> = groups.into_iter().map(|(_, tokens)| tokens).collect();
        hit_share(&tokens)
    }
}

/// The requests of a run that have ended so far.
#[derive(Debug, Clone, Default)]
pub struct Rotations {
    /// Tokens that all prompts have in common before their texts; they are in no hit.
    common_tokens: u64,
    cold: Vec<Seen>,
    warm: Vec<Seen>,
    /// The tokens of warm successes that were not sent again.
    warm_hits: Hits,
    /// Cold and warm requests that were sent after the warm-up.
    sent: [u64; 2],
    /// The number of cold requests, the number of requests of the first warm rotation that were not cut, and the last
    /// end of a cold request.
    cold_requests: u64,
    second_rotation: u64,
    cold_end_ns: u64,
}

impl Rotations {
    pub fn new(common_tokens: u64) -> Rotations {
        Rotations {
            common_tokens,
            ..Rotations::default()
        }
    }

    pub fn add(&mut self, record: &Record) {
        let is_clean = record.is_clean();
        let seen = Seen {
            sent_ns: record.t_send_ns,
            answered_ns: record.t_first_ns().unwrap_or(record.t_end_ns()),
            ttft_ns: record
                .ttft_from_sent_ns()
                .filter(|&ttft_ns| is_clean && ttft_ns > 0),
        };
        let is_counted = u64::from(record.phase() != Phase::Warmup);
        let side = match record.rotation {
            Rotation::NONE => return,
            Rotation::FIRST => {
                self.cold_requests += 1;
                self.sent[0] += is_counted;
                self.cold_end_ns = self.cold_end_ns.max(record.t_end_ns());
                &mut self.cold
            }
            _ => {
                self.sent[1] += is_counted;
                if let Some(hits) = record.hits(self.common_tokens).filter(|_| is_clean) {
                    self.warm_hits.add(record.t_send_ns, hits);
                }
                let has_ended = record.phase() != Phase::Cut;
                let is_second = record.rotation == Rotation::SECOND;
                self.second_rotation += u64::from(has_ended && is_second);
                &mut self.warm
            }
        };
        if side.len() < KEPT {
            side.push(seen);
        }
    }

    /// Returns the speed-up of the requests so far, at most `in_flight` of which were in flight at once. Cost: a sort.
    pub fn reuse(&self, in_flight: u64) -> Reuse {
        if self.cold_requests == 0 || self.second_rotation < self.cold_requests {
            return Reuse::Absent(NO_ROTATION);
        }
        let mut all = self.cold.iter().chain(&self.warm);
        if all.all(|seen| seen.ttft_ns.is_none()) {
            return Reuse::Absent(NO_TTFT);
        }
        if self.sent[0] == 0 {
            return Reuse::Absent(ALL_WARMED_UP);
        }
        let in_flight = usize::try_from(in_flight).unwrap_or(usize::MAX).max(1);
        let cold = self.beyond_the_burst(in_flight);
        let warm = self.after_the_cold(in_flight);
        let warm: Vec<f64> = warm.filter_map(|seen| Some(seen.ttft_ns? as f64)).collect();
        let Some(of) = speed_up(&cold, &warm) else {
            return Reuse::Absent(if cold.is_empty() { NO_COLD } else { NO_WARM });
        };
        let has_interval = cold.len().min(warm.len()) >= in_flight.saturating_mul(2);
        Reuse::Measured(SpeedUp {
            interval: of.interval.filter(|_| has_interval),
            ..of
        })
    }

    /// Requests of the first rotation and of later ones without those of the warm-up, whatever became of them.
    pub fn sent(&self) -> [u64; 2] {
        self.sent
    }

    /// The share of their prompt tokens that warm requests hit.
    pub fn warm_hits(&self) -> Option<Share> {
        self.warm_hits.share()
    }

    /// The TTFT of warm requests at the load of warm requests alone, in nanoseconds, in the order of their sends. Those
    /// that were sent while one of `prefills` was under way, from its first stamp to its second, may have waited for it
    /// and are left out: whether a request is one of them does not depend on its own time.
    pub fn warm_ttft_ns(&self, in_flight: u64, mut prefills: Vec<(u64, u64)>) -> Vec<f64> {
        prefills.sort_unstable();
        let mut latest_ns = 0;
        for (_, end_ns) in &mut prefills {
            latest_ns = latest_ns.max(*end_ns);
            *end_ns = latest_ns;
        }
        let is_beside = |seen: &Seen| {
            let begun = prefills.partition_point(|(begin_ns, _)| *begin_ns <= seen.sent_ns);
            let latest = prefills[..begun].last();
            latest.is_some_and(|(_, end_ns)| seen.sent_ns < *end_ns)
        };
        let in_flight = usize::try_from(in_flight).unwrap_or(usize::MAX).max(1);
        let warm = self.after_the_cold(in_flight);
        let warm = warm.filter(|seen| !is_beside(seen));
        warm.filter_map(|seen| Some(seen.ttft_ns? as f64)).collect()
    }

    /// Returns the TTFT of cold requests without the burst at the start of the run: its first `in_flight` requests, and
    /// those that were sent before all of these had their first token.
    fn beyond_the_burst(&self, in_flight: usize) -> Vec<f64> {
        let mut cold = self.cold.clone();
        cold.sort_by_cached_key(|seen| seen.sent_ns);
        let burst = &cold[..in_flight.min(cold.len())];
        let over_ns = burst.iter().map(|seen| seen.answered_ns).max();
        let over_ns = over_ns.unwrap_or(0);
        let rest = cold.iter().skip(in_flight);
        let rest = rest.filter(|seen| seen.sent_ns >= over_ns);
        rest.filter_map(|seen| Some(seen.ttft_ns? as f64)).collect()
    }

    /// Returns warm requests in the order of their sends, without those that were sent while a cold one was in flight,
    /// and without the next `in_flight` requests.
    fn after_the_cold(&self, in_flight: usize) -> impl Iterator<Item = Seen> {
        let mut warm = self.warm.clone();
        warm.retain(|seen| seen.sent_ns >= self.cold_end_ns);
        warm.sort_by_cached_key(|seen| seen.sent_ns);
        warm.into_iter().skip(in_flight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{FailKind, Sample};

    fn of(rotation: Rotation, sample: &Sample) -> Record {
        let mut record = Record::from(sample);
        record.rotation = rotation;
        record
    }

    /// Returns a success that was sent at this millisecond, with its TTFT and its time in flight in milliseconds.
    fn sample(sent_ms: u64, ttft_ms: u64, latency_ms: u64) -> Sample {
        let ns = |ms: u64| ms * 1_000_000;
        Sample {
            t_send_ns: ns(sent_ms),
            t_first_ns: Some(ns(sent_ms + ttft_ms)),
            t_end_ns: ns(sent_ms + latency_ms),
            ..Sample::default()
        }
    }

    fn request(rotation: Rotation, sent_ms: u64, ttft_ms: u64, latency_ms: u64) -> Record {
        of(rotation, &sample(sent_ms, ttft_ms, latency_ms))
    }

    fn reuse(records: &[Record], in_flight: u64) -> Reuse {
        let mut rotations = Rotations::default();
        records.iter().for_each(|record| rotations.add(record));
        rotations.reuse(in_flight)
    }

    #[test]
    fn the_burst_and_warm_requests_sent_beside_cold_ones_are_left_out() {
        let records = [
            // Two are in flight, so the first two are the burst; the third was sent before the second had its first
            // token.
            request(Rotation::FIRST, 0, 10, 20),
            request(Rotation::FIRST, 0, 30, 40),
            request(Rotation::FIRST, 20, 90, 100),
            request(Rotation::FIRST, 40, 12, 24),
            request(Rotation::FIRST, 64, 14, 24),
            // The last cold request ends at 120 ms. One warm request was sent before that, and the next two are left
            // out as well.
            request(Rotation::SECOND, 88, 50, 60),
            request(Rotation::SECOND, 120, 40, 41),
            request(Rotation::SECOND, 121, 40, 41),
            request(Rotation::SECOND, 162, 4, 10),
            request(Rotation::SECOND, 163, 6, 10),
            request(Some(2).into(), 173, 2, 10),
        ];
        // The cold median of 12 and 14 is 13, the warm one of 4, 6 and 2 is 4: the ratio is 13 / 4.
        let wanted = SpeedUp {
            ratio: 3.25,
            cold_median: 13e6,
            warm_median: 4e6,
            interval: None,
            cold: 2,
            warm: 3,
        };
        assert_eq!(reuse(&records, 2), Reuse::Measured(wanted));
        let mut turned = records;
        turned.reverse();
        assert_eq!(reuse(&turned, 2), Reuse::Measured(wanted));
        // A request that failed or was sent again is in no figure, but belongs to the load.
        let mut odd = records;
        odd[4].failure = Some(FailKind::Http);
        let resent = Sample {
            resent: true,
            ..sample(162, 4, 10)
        };
        odd[8] = of(Rotation::SECOND, &resent);
        let wanted = SpeedUp {
            ratio: 3.0,
            cold_median: 12e6,
            warm_median: 4e6,
            interval: None,
            cold: 1,
            warm: 2,
        };
        assert_eq!(reuse(&odd, 2), Reuse::Measured(wanted));
    }

    #[test]
    fn before_a_whole_warm_rotation_has_ended_there_is_no_ratio() {
        let cold = (0..3).map(|k| request(Rotation::FIRST, k * 10, 5, 10));
        let warm = (3..6).map(|k| request(Rotation::SECOND, k * 10, 1, 10));
        let mut records: Vec<Record> = cold.chain(warm).collect();
        assert!(matches!(reuse(&records, 1), Reuse::Measured(_)));
        let whole = records[5];
        let cut = Sample {
            phase: Phase::Cut,
            ..sample(50, 1, 10)
        };
        records[5] = of(Rotation::SECOND, &cut);
        assert_eq!(reuse(&records, 1), Reuse::Absent(NO_ROTATION));
        assert_eq!(reuse(&records[..5], 1), Reuse::Absent(NO_ROTATION));
        assert_eq!(reuse(&[], 1), Reuse::Absent(NO_ROTATION));
        records[5] = whole;
        assert_eq!(reuse(&records, 3), Reuse::Absent(NO_COLD));
        let gone = records[1..]
            .iter_mut()
            .filter(|one| one.rotation == Rotation::SECOND);
        gone.for_each(|one| one.failure = Some(FailKind::Http));
        assert_eq!(reuse(&records, 1), Reuse::Absent(NO_WARM));
    }

    #[test]
    fn hits_count_for_as_long_as_a_run_lasts() {
        let kept = KEPT as u64;
        let mut rotations = Rotations::new(100);
        // A third of the requests hit all that is theirs, and then the cache is lost.
        for k in 0..3 * kept {
            let mut one = request(Rotation::SECOND, k, 1, 1);
            one.prompt_tokens = Some(1100).into();
            one.cached_tokens = Some(if k < kept { 1100 } else { 50 }).into();
            rotations.add(&one);
        }
        let share = rotations.warm_hits().expect("counted prompts").share;
        assert!((share - 1.0 / 3.0).abs() < 1e-12, "{share}");
        assert!(rotations.warm_hits.groups.len() <= KEPT);
        assert_eq!(rotations.sent(), [0, 3 * kept]);
    }

    #[test]
    fn hits_are_in_the_order_of_their_sends_whatever_ended_first() {
        let hit = |k: u64| {
            let mut one = request(Rotation::SECOND, k, 1, 1);
            one.prompt_tokens = Some(100).into();
            one.cached_tokens = Some(k).into();
            one
        };
        let of = |order: &[u64]| {
            let mut rotations = Rotations::default();
            order.iter().for_each(|k| rotations.add(&hit(*k)));
            rotations.warm_hits()
        };
        let sent: Vec<u64> = (0..60).collect();
        let mut ended = sent.clone();
        ended.chunks_mut(4).for_each(<[u64]>::reverse);
        let wanted: Vec<(u64, u64)> = sent.iter().map(|k| (*k, 100)).collect();
        assert_eq!(of(&ended), hit_share(&wanted));
    }

    /// Returns the requests of a server without a useful cache: one prefill at a time, each of about 10 ms for cold and
    /// for warm requests, with `in_flight` requests at once.
    fn useless_cache(contexts: u64, in_flight: u64, rotations: u64, seed: u64) -> Vec<Record> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut free_us = 0;
        let mut idle_us: Vec<u64> = vec![0; usize::try_from(in_flight).expect("few")];
        let requests = (0..contexts * rotations).map(|k| {
            let worker = (0..idle_us.len())
                .min_by_key(|&at| idle_us[at])
                .expect("one");
            let sent_us = idle_us[worker];
            free_us = sent_us.max(free_us) + rng.u64(5_000..15_000);
            idle_us[worker] = free_us + rng.u64(40_000..60_000);
            let rotation = match k / contexts {
                0 => Rotation::FIRST,
                1 => Rotation::SECOND,
                _ => Some(2).into(),
            };
            let sample = Sample {
                t_send_ns: sent_us * 1000,
                t_first_ns: Some(free_us * 1000),
                t_end_ns: idle_us[worker] * 1000,
                ..Sample::default()
            };
            of(rotation, &sample)
        });
        requests.collect()
    }

    #[test]
    fn a_useless_cache_has_an_interval_that_contains_1() {
        const SEEDS: u64 = 200;
        for (contexts, in_flight, rotations) in [(61, 1, 2), (64, 4, 3), (64, 8, 2), (200, 20, 3)] {
            let holds = |seed: &u64| {
                let records = useless_cache(contexts, in_flight, rotations, *seed);
                let Reuse::Measured(SpeedUp {
                    interval: Some((low, high)),
                    ..
                }) = reuse(&records, in_flight)
                else {
                    panic!("{contexts} contexts, {in_flight} in flight: no interval");
                };
                (low..=high).contains(&1.0)
            };
            let share = (0..SEEDS).filter(holds).count() as f64 / SEEDS as f64;
            assert!(
                share >= 0.9,
                "{share}: {contexts} contexts, {in_flight} in flight"
            );
        }
        // The 17 to 20 requests beyond the burst are too few for 20 in flight.
        let few = reuse(&useless_cache(61, 20, 2, 1), 20);
        assert!(matches!(
            few,
            Reuse::Measured(SpeedUp { interval: None, .. })
        ));
    }

    #[test]
    fn warm_requests_that_may_have_waited_for_a_new_text_are_in_no_share_by_times() {
        let mut rotations = Rotations::default();
        rotations.add(&of(Rotation::FIRST, &sample(0, 10, 20)));
        for (sent_ms, ttft_ms) in [
            (50, 1),
            (100, 2),
            (189, 3),
            (190, 4),
            (214, 5),
            (215, 6),
            (300, 7),
        ] {
            rotations.add(&of(Rotation::SECOND, &sample(sent_ms, ttft_ms, 8)));
        }
        let ms = |ns: f64| ns / 1e6;
        let without = |prefills: &[(u64, u64)]| -> Vec<f64> {
            let prefills = prefills
                .iter()
                .map(|(from, to)| (from * 1_000_000, to * 1_000_000));
            let kept = rotations.warm_ttft_ns(1, prefills.collect());
            kept.into_iter().map(ms).collect()
        };
        // The first one after the cold requests is never among them.
        assert_eq!(without(&[]), [2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        // One prefill within another.
        assert_eq!(without(&[(200, 205), (190, 215)]), [2.0, 3.0, 6.0, 7.0]);
    }
}
