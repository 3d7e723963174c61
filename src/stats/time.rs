//! The times that a request has, of all successes or of a part of them.

use super::record::Record;
use crate::sample::named;

named! {
    /// The key of a reply that tells a hit from a miss.
    pub enum HitBy {
        /// Whole replies: `cached` of the reply.
        Response = "response_cached",
        /// At least one prompt token: `cached_tokens` of `usage`.
        Prefix = "cached_tokens",
    }
}

impl HitBy {
    fn is_hit(self, record: &Record) -> bool {
        match self {
            HitBy::Response => record.response_cached == Some(true),
            HitBy::Prefix => record.cached_tokens.get().is_some_and(|tokens| tokens > 0),
        }
    }
}

/// What the replies of a run have said of caches so far: once one has, the absence of it is 0, or a miss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reported {
    /// How many tokens were cached.
    pub prefix: bool,
    /// Whether the reply was cached as a whole.
    pub response: bool,
}

impl Reported {
    pub fn or(self, other: Reported) -> Reported {
        Reported {
            prefix: self.prefix || other.prefix,
            response: self.response || other.response,
        }
    }

    /// `None`: no cache reports.
    pub fn hit_by(self) -> Option<HitBy> {
        match self.response {
            true => Some(HitBy::Response),
            false => self.prefix.then_some(HitBy::Prefix),
        }
    }
}

/// A time that requests have, of all successes or of a part of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    Ttft,
    Itl,
    Latency,
    /// `t_send − t_due` of successes and failures.
    Lateness,
    TtftFromSent,
    LatencyFromSent,
    /// TTFT in the first rotation, and in later ones.
    TtftCold,
    TtftWarm,
    TtftFirstUse,
    TtftRepeat,
    TtftHit,
    TtftMiss,
    LatencyFirstUse,
    LatencyRepeat,
    LatencyHit,
    LatencyMiss,
}

impl Time {
    pub const ALL: [Time; 16] = [
        Time::Ttft,
        Time::Itl,
        Time::Latency,
        Time::Lateness,
        Time::TtftFromSent,
        Time::LatencyFromSent,
        Time::TtftCold,
        Time::TtftWarm,
        Time::TtftFirstUse,
        Time::TtftRepeat,
        Time::TtftHit,
        Time::TtftMiss,
        Time::LatencyFirstUse,
        Time::LatencyRepeat,
        Time::LatencyHit,
        Time::LatencyMiss,
    ];

    /// In nanoseconds; `None` where the request does not have it.
    pub fn of(self, record: &Record, hit_by: Option<HitBy>) -> Option<f64> {
        let ttft = || record.ttft_ns().map(|ns| ns as f64);
        let latency = || Some(record.latency_ns() as f64);
        let is_repeat = |wanted| record.repeat == Some(wanted);
        let is_hit = |wanted| hit_by.is_some_and(|by| by.is_hit(record) == wanted);
        if self == Time::Lateness {
            let late = record.lateness_ns().filter(|_| record.is_measured());
            return late.map(|ns| ns as f64);
        }
        if !record.is_good() {
            return None;
        }
        match self {
            Time::Ttft => ttft(),
            Time::Itl => record.itl_ns(),
            Time::Latency => latency(),
            Time::Lateness => None,
            Time::TtftFromSent => record.ttft_from_sent_ns().map(|ns| ns as f64),
            Time::LatencyFromSent => Some(record.latency_from_sent_ns() as f64),
            Time::TtftCold => ttft().filter(|_| record.is_cold()),
            Time::TtftWarm => ttft().filter(|_| !record.is_cold()),
            Time::TtftFirstUse => ttft().filter(|_| is_repeat(false)),
            Time::TtftRepeat => ttft().filter(|_| is_repeat(true)),
            Time::TtftHit => ttft().filter(|_| is_hit(true)),
            Time::TtftMiss => ttft().filter(|_| is_hit(false)),
            Time::LatencyFirstUse => latency().filter(|_| is_repeat(false)),
            Time::LatencyRepeat => latency().filter(|_| is_repeat(true)),
            Time::LatencyHit => latency().filter(|_| is_hit(true)),
            Time::LatencyMiss => latency().filter(|_| is_hit(false)),
        }
    }
}
