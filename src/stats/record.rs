//! A request as the figures need it: 80 bytes, so that a finite run can keep a record of every request.

use crate::sample::{FailKind, Phase, Sample, TokenSource};
use crate::units::seconds;

/// A count in 4 bytes that may be absent. Counts from `u32::MAX` on are kept as `u32::MAX - 1`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count(u32);

impl Count {
    pub fn get(self) -> Option<u64> {
        self.0.checked_sub(1).map(u64::from)
    }
}

impl From<Option<u64>> for Count {
    fn from(count: Option<u64>) -> Count {
        Count(count.map_or(0, |n| n.min(u64::from(u32::MAX) - 1) as u32 + 1))
    }
}

/// A time in nanoseconds from the send of its request, or a duration, in 6 bytes; it may be absent. Times of more than
/// 39 hours (2^47 ns) before or after the send are kept as 39 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offset([u8; 6]);

impl Offset {
    const MOST: i64 = (1 << 47) - 1;
    const ABSENT: Offset = Offset::of(-Offset::MOST - 1);

    const fn of(ns: i64) -> Offset {
        let [a, b, c, d, e, f, ..] = ns.to_le_bytes();
        Offset([a, b, c, d, e, f])
    }

    fn new(ns: u64, from_ns: u64) -> Offset {
        let offset_ns = i128::from(ns) - i128::from(from_ns);
        let most = i128::from(Offset::MOST);
        Offset::of(offset_ns.clamp(-most, most) as i64)
    }

    fn maybe(ns: Option<u64>, from_ns: u64) -> Offset {
        ns.map_or(Offset::ABSENT, |ns| Offset::new(ns, from_ns))
    }

    /// Returns the stamp, or the duration with `from_ns` = 0.
    fn get(self, from_ns: u64) -> Option<u64> {
        let [a, b, c, d, e, f] = self.0;
        // The shifts fill the two upper bytes with the sign.
        let offset_ns = i64::from_le_bytes([a, b, c, d, e, f, 0, 0]) << 16 >> 16;
        (self != Offset::ABSENT).then(|| from_ns.saturating_add_signed(offset_ns))
    }
}

/// The phase and the yes-or-no facts of a request in one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marks(u8);

impl Marks {
    const RESENT: u8 = 1 << 6;
    const BURST: u8 = 1 << 7;

    fn new(phase: Phase, cached: Option<bool>, repeat: Option<bool>) -> Marks {
        let maybe = |claim: Option<bool>| claim.map_or(0, |claim| 1 + u8::from(claim));
        Marks(phase as u8 | maybe(cached) << 2 | maybe(repeat) << 4)
    }

    fn with(self, mark: u8, is_set: bool) -> Marks {
        Marks(if is_set { self.0 | mark } else { self.0 })
    }

    fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }

    /// Returns the claim in the two bits from `bit` on.
    fn claim(self, bit: u32) -> Option<bool> {
        let claim = (self.0 >> bit & 3).checked_sub(1)?;
        Some(claim == 1)
    }

    fn phase(self) -> Phase {
        Phase::NAMES[usize::from(self.0 & 3)].0
    }
}

/// The rotation through the contexts of `benchmark` that a request belongs to, if any, in one byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rotation(u8);

impl Rotation {
    pub const NONE: Rotation = Rotation(0);
    /// The first rotation, whose requests are cold.
    pub const FIRST: Rotation = Rotation(1);
    pub const SECOND: Rotation = Rotation(2);

    /// Returns the number of the rotation, from 1; `None` without one, and from the 255th rotation on.
    pub fn number(self) -> Option<u8> {
        Some(self.0).filter(|n| (1..u8::MAX).contains(n))
    }
}

/// Makes the rotation from its label, which counts from 0.
impl From<Option<u64>> for Rotation {
    fn from(label: Option<u64>) -> Rotation {
        let most = u64::from(u8::MAX) - 1;
        Rotation(label.map_or(0, |n| n.min(most) as u8 + 1))
    }
}

/// One request of a pass. Stamps are nanoseconds from the run's epoch; `Sample` says what each of them means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Record {
    pub t_send_ns: u64,
    pub prompt_tokens: Count,
    pub cached_tokens: Count,
    pub completion_tokens: Count,
    pub streamed_tokens: Count,
    pub wanted_output_tokens: Count,
    pub token_events: u32,
    pub session: Count,
    pub turn: Count,
    end: Offset,
    due: Offset,
    first_send: Offset,
    first: Offset,
    last: Offset,
    connect: Offset,
    pub failure: Option<FailKind>,
    pub token_source: Option<TokenSource>,
    pub rotation: Rotation,
    marks: Marks,
}

impl From<&Sample> for Record {
    fn from(sample: &Sample) -> Record {
        let labels = &sample.labels;
        let from_ns = sample.t_send_ns;
        let after = |ns| Offset::maybe(ns, from_ns);
        Record {
            t_send_ns: from_ns,
            prompt_tokens: sample.prompt_tokens.into(),
            cached_tokens: sample.cached_tokens.into(),
            completion_tokens: sample.completion_tokens.into(),
            streamed_tokens: sample.streamed_tokens.into(),
            wanted_output_tokens: labels.wanted_output_tokens.into(),
            token_events: u32::try_from(sample.token_events).unwrap_or(u32::MAX),
            session: labels.session.into(),
            turn: labels.turn.into(),
            end: Offset::new(sample.t_end_ns, from_ns),
            due: after(sample.t_due_ns),
            first_send: after(sample.t_first_send_ns),
            first: after(sample.t_first_ns),
            last: after(sample.t_last_ns),
            connect: Offset::maybe(sample.connect_ns, 0),
            failure: sample.failure.as_ref().map(|failure| failure.kind),
            token_source: sample.token_source,
            rotation: labels.rotation.into(),
            marks: Marks::new(sample.phase, sample.response_cached, labels.repeat)
                .with(Marks::RESENT, sample.resent)
                .with(Marks::BURST, sample.is_burst()),
        }
    }
}

impl Record {
    pub fn t_end_ns(&self) -> u64 {
        let end_ns = self.end.get(self.t_send_ns);
        end_ns.expect("every request has an end")
    }

    pub fn t_due_ns(&self) -> Option<u64> {
        self.due.get(self.t_send_ns)
    }

    pub fn t_first_ns(&self) -> Option<u64> {
        self.first.get(self.t_send_ns)
    }

    pub fn t_last_ns(&self) -> Option<u64> {
        self.last.get(self.t_send_ns)
    }

    pub fn connect_ns(&self) -> Option<u64> {
        self.connect.get(0)
    }

    pub fn phase(&self) -> Phase {
        self.marks.phase()
    }

    /// Whether the reply says that it came from a cache; `None`: it does not say.
    pub fn response_cached(&self) -> Option<bool> {
        self.marks.claim(2)
    }

    /// Whether the same prompt was sent before in the pass.
    pub fn repeat(&self) -> Option<bool> {
        self.marks.claim(4)
    }

    pub fn is_resent(&self) -> bool {
        self.marks.has(Marks::RESENT)
    }

    /// Whether the tokens came in a burst, a few reads close together: such a reply has no time between tokens.
    pub fn is_burst(&self) -> bool {
        self.marks.has(Marks::BURST)
    }

    /// Whether the request belongs to the first rotation.
    pub fn is_cold(&self) -> bool {
        self.rotation == Rotation::FIRST
    }

    pub fn is_measured(&self) -> bool {
        self.phase() == Phase::Measured
    }

    /// Whether the request was measured and succeeded.
    pub fn is_good(&self) -> bool {
        self.is_measured() && self.failure.is_none()
    }

    /// Whether the request was measured, succeeded, and was sent only once, so that nothing else brought its prompt into
    /// the cache.
    pub fn is_clean(&self) -> bool {
        self.is_good() && !self.is_resent()
    }

    /// Whether the request succeeded without a count of its output tokens.
    pub fn is_uncounted(&self) -> bool {
        self.is_good() && self.completion_tokens.get().is_none()
    }

    /// Cached prompt tokens beyond the first `common_tokens`; 0 where none are reported.
    pub fn cached_beyond(&self, common_tokens: u64) -> u64 {
        let cached = self.cached_tokens.get().unwrap_or(0);
        cached.saturating_sub(common_tokens)
    }

    /// Cached and prompt tokens, both without the first `common_tokens`; `None` where the prompt is not counted.
    pub fn hits(&self, common_tokens: u64) -> Option<(u64, u64)> {
        let prompt = self.prompt_tokens.get()?;
        let cached = self.cached_beyond(common_tokens);
        Some((cached, prompt.saturating_sub(common_tokens)))
    }

    pub fn is_streamed(&self) -> bool {
        self.t_first_ns().is_some()
    }

    /// Time to first token in nanoseconds: `t_first − t_send`; `None` on a reply that was not streamed.
    pub fn ttft_from_sent_ns(&self) -> Option<u64> {
        Some(self.t_first_ns()?.saturating_sub(self.t_send_ns))
    }

    /// Time to first token in nanoseconds from the scheduled time in an open loop, else from the send.
    pub fn ttft_ns(&self) -> Option<u64> {
        Some(self.ttft_from_sent_ns()? + self.before_send_ns())
    }

    /// Time that the streamed tokens after the first took, in nanoseconds, and their number; `None` with fewer than two
    /// tokens, when the whole text came in one read, and for a burst.
    pub fn decode_ns(&self) -> Option<(u64, u64)> {
        if self.is_burst() {
            return None;
        }
        let streamed = self.streamed_tokens.get().or(self.completion_tokens.get());
        let tokens = streamed?.checked_sub(1)?;
        let ns = self.t_last_ns()?.saturating_sub(self.t_first_ns()?);
        (ns > 0 && tokens > 0).then_some((ns, tokens))
    }

    /// Inter-token latency in nanoseconds: `(t_last − t_first) / (n − 1)`, where n is the number of output tokens that
    /// were streamed.
    pub fn itl_ns(&self) -> Option<f64> {
        self.decode_ns()
            .map(|(ns, tokens)| ns as f64 / tokens as f64)
    }

    /// The stamp of the last token, or of the end of a reply that was not streamed.
    pub fn t_done_ns(&self) -> u64 {
        let last_ns = self.t_last_ns().filter(|_| self.is_streamed());
        last_ns.unwrap_or(self.t_end_ns())
    }

    /// Latency in nanoseconds: `t_last − t_send`, or `t_end − t_send` on a reply that was not streamed.
    pub fn latency_from_sent_ns(&self) -> u64 {
        self.t_done_ns().saturating_sub(self.t_send_ns)
    }

    /// Latency in nanoseconds from the scheduled time in an open loop, else from the send.
    pub fn latency_ns(&self) -> u64 {
        self.latency_from_sent_ns() + self.before_send_ns()
    }

    /// Returns the time to a stamp after the send, from the scheduled time in an open loop, else from the send, in
    /// nanoseconds.
    pub fn since_start_ns(&self, ns: u64) -> u64 {
        ns.saturating_sub(self.t_send_ns) + self.before_send_ns()
    }

    /// Returns the time from the scheduled time to the send that was answered, in nanoseconds; 0 in a closed loop.
    fn before_send_ns(&self) -> u64 {
        let due_ns = self.t_due_ns().unwrap_or(self.t_send_ns);
        self.t_send_ns.saturating_sub(due_ns)
    }

    /// Lateness in nanoseconds, `t_send − t_due`, where `t_send` is the first send of a request that was sent again: a
    /// connection that turned out to be closed is no delay of this client. `None` in a closed loop.
    pub fn lateness_ns(&self) -> Option<u64> {
        let sent_ns = self
            .first_send
            .get(self.t_send_ns)
            .unwrap_or(self.t_send_ns);
        Some(sent_ns.saturating_sub(self.t_due_ns()?))
    }

    /// Prefill rate in tokens per second: `prompt_tokens / TTFT`, with TTFT from the send, which includes queueing.
    pub fn prefill_tokens_per_s(&self) -> Option<f64> {
        let ttft_ns = self.ttft_from_sent_ns().filter(|&ns| ns > 0)?;
        Some(self.prompt_tokens.get()? as f64 / seconds(ttft_ns))
    }

    /// Decode rate in tokens per second: `(n − 1) / (t_last − t_first)`, where n is the number of output tokens that
    /// were streamed.
    pub fn decode_tokens_per_s(&self) -> Option<f64> {
        self.decode_ns()
            .map(|(ns, tokens)| tokens as f64 / seconds(ns))
    }

    /// Output tokens and latency in nanoseconds from the send; `None` unless both are above 0.
    pub fn tokens_in_latency(&self) -> Option<(u64, u64)> {
        let tokens = self.completion_tokens.get().filter(|&tokens| tokens > 0)?;
        Some((tokens, self.latency_from_sent_ns())).filter(|&(_, ns)| ns > 0)
    }

    /// Returns how long the request was in flight between the two stamps, in nanoseconds.
    pub fn overlap_ns(&self, from_ns: u64, to_ns: u64) -> u64 {
        let end_ns = self.t_end_ns().min(to_ns);
        end_ns.saturating_sub(self.t_send_ns.max(from_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Labels;

    #[test]
    fn a_record_has_80_bytes() {
        assert_eq!(size_of::<Record>(), 80);
    }

    #[test]
    fn absent_counts_stay_absent_and_0_stays_0() {
        for count in [None, Some(0), Some(7), Some(u64::from(u32::MAX) - 2)] {
            assert_eq!(Count::from(count).get(), count);
        }
        assert_eq!(
            Count::from(Some(u64::MAX)).get(),
            Some(u64::from(u32::MAX) - 1)
        );
    }

    #[test]
    fn stamps_are_exact_for_39_hours_before_and_after_the_send() {
        const SENT_NS: u64 = 1 << 50;
        const MOST: u64 = (1 << 47) - 1;
        for (ns, kept) in [
            (None, None),
            (Some(SENT_NS), Some(SENT_NS)),
            (Some(SENT_NS - 1), Some(SENT_NS - 1)),
            (Some(SENT_NS + 1_234_567_891), Some(SENT_NS + 1_234_567_891)),
            (Some(SENT_NS + MOST), Some(SENT_NS + MOST)),
            (Some(SENT_NS + MOST + 1), Some(SENT_NS + MOST)),
            (Some(SENT_NS - MOST), Some(SENT_NS - MOST)),
            (Some(0), Some(SENT_NS - MOST)),
            (Some(u64::MAX), Some(SENT_NS + MOST)),
        ] {
            assert_eq!(Offset::maybe(ns, SENT_NS).get(SENT_NS), kept, "{ns:?}");
        }
    }

    #[test]
    fn marks_are_those_of_the_sample() {
        let claims = [None, Some(false), Some(true)];
        for (phase, _) in Phase::NAMES {
            for response_cached in claims {
                for repeat in claims {
                    for resent in [false, true] {
                        let one = Record::from(&Sample {
                            labels: Labels {
                                repeat,
                                ..Labels::default()
                            },
                            phase,
                            response_cached,
                            resent,
                            ..Sample::default()
                        });
                        let claims = (one.response_cached(), one.repeat(), one.is_resent());
                        assert_eq!(
                            (one.phase(), claims),
                            (phase, (response_cached, repeat, resent))
                        );
                        assert!(!one.is_burst());
                    }
                }
            }
        }
    }

    #[test]
    fn a_rotation_has_its_number_up_to_254() {
        for (label, number) in [
            (None, None),
            (Some(0), Some(1)),
            (Some(253), Some(254)),
            (Some(254), None),
            (Some(u64::MAX), None),
        ] {
            assert_eq!(Rotation::from(label).number(), number);
        }
        assert_eq!(Rotation::from(Some(0)), Rotation::FIRST);
        assert_eq!(Rotation::from(Some(1)), Rotation::SECOND);
        assert_eq!(Rotation::from(None), Rotation::NONE);
    }

    /// Returns a request due at 1 s, sent at 1.5 s, with its first token at 2 s, the last of 11 at 3 s, its end at 3.5
    /// s, and 100 prompt tokens.
    fn sample() -> Sample {
        Sample {
            t_due_ns: Some(1_000_000_000),
            t_send_ns: 1_500_000_000,
            t_first_ns: Some(2_000_000_000),
            t_last_ns: Some(3_000_000_000),
            t_end_ns: 3_500_000_000,
            prompt_tokens: Some(100),
            completion_tokens: Some(11),
            ..Sample::default()
        }
    }

    fn record() -> Record {
        Record::from(&sample())
    }

    #[test]
    fn times_count_from_the_due_time_and_from_the_send() {
        let one = record();
        assert_eq!(one.lateness_ns(), Some(500_000_000));
        assert_eq!(one.ttft_from_sent_ns(), Some(500_000_000));
        assert_eq!(one.ttft_ns(), Some(1_000_000_000));
        assert_eq!(one.latency_from_sent_ns(), 1_500_000_000);
        assert_eq!(one.latency_ns(), 2_000_000_000);
        // Ten tokens take 1 s; 100 prompt tokens take 0.5 s.
        assert_eq!(one.itl_ns(), Some(1e8));
        assert_eq!(one.decode_tokens_per_s(), Some(10.0));
        assert_eq!(one.prefill_tokens_per_s(), Some(200.0));
        // The request is in flight from 1.5 to 3.5 s, of which 2 to 3 s lie in the span.
        assert_eq!(one.overlap_ns(2_000_000_000, 3_000_000_000), 1_000_000_000);
    }

    #[test]
    fn a_request_that_was_sent_again_was_late_by_its_first_send_only() {
        // The first send is at 1.2 s. From the due time at 1 s, the request waits for its first token until 2 s and for
        // its last until 3 s.
        let again = Record::from(&Sample {
            t_first_send_ns: Some(1_200_000_000),
            resent: true,
            ..sample()
        });
        assert_eq!(again.lateness_ns(), Some(200_000_000));
        assert_eq!(again.ttft_from_sent_ns(), Some(500_000_000));
        assert_eq!(again.ttft_ns(), Some(1_000_000_000));
        assert_eq!(again.latency_ns(), 2_000_000_000);
    }

    #[test]
    fn a_reply_that_was_not_streamed_has_a_latency_up_to_its_end_only() {
        let one = Record::from(&Sample {
            t_first_ns: None,
            ..sample()
        });
        assert_eq!((one.ttft_ns(), one.itl_ns()), (None, None));
        assert_eq!(one.prefill_tokens_per_s(), None);
        assert_eq!(one.latency_from_sent_ns(), 2_000_000_000);
    }

    #[test]
    fn one_token_or_one_read_has_no_itl() {
        let one = Record {
            completion_tokens: Some(1).into(),
            ..record()
        };
        let burst = Record::from(&Sample {
            t_last_ns: Some(2_000_000_000),
            ..sample()
        });
        let uncounted = Record {
            completion_tokens: None.into(),
            ..record()
        };
        assert_eq!((one.itl_ns(), burst.itl_ns()), (None, None));
        assert_eq!(uncounted.itl_ns(), None);
    }

    #[test]
    fn hidden_tokens_and_bursts_do_not_count_in_the_time_between_tokens() {
        // Besides these tokens 500 more were never streamed: the time between tokens is still 1 s over ten tokens.
        let hidden = Record {
            completion_tokens: Some(511).into(),
            streamed_tokens: Some(11).into(),
            ..record()
        };
        assert_eq!(hidden.itl_ns(), Some(1e8));
        assert_eq!(hidden.decode_tokens_per_s(), Some(10.0));
        assert_eq!(hidden.tokens_in_latency(), Some((511, 1_500_000_000)));
        // All eleven tokens came in one read, within 1 % of the latency of 500 ms.
        let burst = Record::from(&Sample {
            t_last_ns: Some(2_005_000_000),
            token_events: 11,
            token_reads: 1,
            ..sample()
        });
        assert_eq!((burst.itl_ns(), burst.decode_tokens_per_s()), (None, None));
        assert_eq!(burst.ttft_from_sent_ns(), Some(500_000_000));
    }
}
