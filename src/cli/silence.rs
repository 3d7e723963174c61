//! The requests at the end of a run that got no whole answer, which tell a server that is gone from one that failed now
//! and then.

use crate::load::pool::is_down;
use crate::sample::{FailKind, Failure, Phase, Sample};

/// So many requests in a row without an answer, over so long, are no accident.
const MANY: u64 = 10;
const LONG_NS: u64 = 1_000_000_000;

/// The requests that ended since the last answer, and the request that was sent last.
#[derive(Default)]
pub struct Silence {
    requests: u64,
    /// When the first and the last of them ended.
    since_ns: u64,
    until_ns: u64,
    last: Option<Failure>,
    /// When the request that was sent last went out, and how it failed. A server can die while it still answers requests
    /// that were sent before.
    sent_ns: u64,
    sent_last: Option<Failure>,
}

impl Silence {
    /// Notes a request that has ended; one that was cut says nothing.
    pub fn note(&mut self, sample: &Sample) {
        if sample.phase == Phase::Cut {
            return;
        }
        let is_truncated = |failure: &&Failure| failure.kind == FailKind::Truncated;
        let truncated = sample.failure.as_ref().filter(is_truncated);
        let failure = is_down(sample).or(truncated);
        if sample.t_send_ns >= self.sent_ns {
            self.sent_ns = sample.t_send_ns;
            self.sent_last = failure.cloned();
        }
        let Some(failure) = failure else {
            self.requests = 0;
            self.last = None;
            return;
        };
        if self.requests == 0 {
            self.since_ns = sample.t_end_ns;
        }
        self.requests += 1;
        self.until_ns = self.until_ns.max(sample.t_end_ns);
        self.last = Some(failure.clone());
    }

    /// Says that the server is gone: the request that ended last or was sent last got no answer, and the server accepts no
    /// connection now, or many requests over a long time got no answer.
    pub fn verdict(&self, accepts: impl FnOnce() -> bool) -> Option<String> {
        let last = self.last.as_ref().or(self.sent_last.as_ref())?;
        let is_long = self.until_ns.saturating_sub(self.since_ns) >= LONG_NS;
        let is_gone = self.requests >= MANY && is_long || !accepts();
        let requests = match self.requests {
            0 | 1 => "the last request".to_string(),
            n => format!("the last {n} requests"),
        };
        is_gone.then(|| format!("gone at the end of the run: {requests} got no answer: {last}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(kind: Option<FailKind>, status: Option<u16>, t_end_ns: u64) -> Sample {
        Sample {
            failure: kind.map(|kind| Failure::new(kind, "x")),
            status,
            t_end_ns,
            ..Sample::default()
        }
    }

    #[test]
    fn a_server_is_gone_after_ten_requests_over_a_second_or_when_nothing_listens() {
        let connect = Some(FailKind::Connect);
        for (requests, apart_ns, accepts, is_gone) in [
            // Nine gaps of 112 ms are more than a second, of 111 ms are less.
            (10, 112_000_000, true, true),
            (10, 111_000_000, true, false),
            (9, 200_000_000, true, false),
            (1, 0, true, false),
            (1, 0, false, true),
            (0, 0, false, false),
        ] {
            let mut silence = Silence::default();
            silence.note(&ended(None, Some(200), 0));
            for n in 0..requests {
                silence.note(&ended(connect, None, n * apart_ns));
            }
            let gone = silence.verdict(|| accepts);
            assert_eq!(gone.is_some(), is_gone, "{requests} {apart_ns} {accepts}");
        }
    }

    #[test]
    fn an_answer_ends_the_silence_and_a_cut_request_does_not() {
        let (truncated, http) = (Some(FailKind::Truncated), Some(FailKind::Http));
        for (kind, phase, is_gone) in [
            (None, Phase::Measured, false),
            (http, Phase::Measured, false),
            (truncated, Phase::Measured, true),
            (None, Phase::Cut, true),
        ] {
            let mut silence = Silence::default();
            silence.note(&ended(truncated, Some(200), 1));
            silence.note(&Sample {
                phase,
                ..ended(kind, Some(500), 2)
            });
            assert_eq!(silence.verdict(|| false).is_some(), is_gone, "{kind:?}");
        }
    }

    #[test]
    fn an_answer_to_an_earlier_request_does_not_hide_that_the_server_is_gone() {
        for (answered_sent_ns, is_gone) in [(1, true), (3, false)] {
            let mut silence = Silence::default();
            for (kind, t_send_ns) in [(Some(FailKind::Connect), 2), (None, answered_sent_ns)] {
                silence.note(&Sample {
                    t_send_ns,
                    ..ended(kind, None, 4)
                });
            }
            assert_eq!(silence.verdict(|| false).is_some(), is_gone);
            assert_eq!(silence.verdict(|| true), None);
        }
    }
}
