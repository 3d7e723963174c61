//! The times of a request that figures are made from, over all successes or a part of them.

use super::record::Record;
use crate::sample::named;

named! {
    /// The field of a reply that tells a hit from a miss.
    pub enum HitBy {
        /// Hits are whole replies, by `cached` of the reply.
        Response = "response_cached",
        /// Hits are prompt tokens, by `cached_tokens` of `usage`.
        Prefix = "cached_tokens",
    }
}

/// The rule that tells a hit from a miss in a pass.
#[derive(Debug, Clone, Copy)]
pub struct HitRule {
    pub by: HitBy,
    /// The number of tokens that all prompts begin with before their own text: a hit of no more than these is a miss.
    pub common_tokens: u64,
}

impl HitRule {
    fn is_hit(self, record: &Record) -> bool {
        match self.by {
            HitBy::Response => record.response_cached() == Some(true),
            HitBy::Prefix => record.cached_beyond(self.common_tokens) > 0,
        }
    }
}

/// Whether the replies of a run have reported cache hits so far. Once one has, an absent count means 0, or a miss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reported {
    /// Whether a reply has reported its number of cached tokens.
    pub prefix: bool,
    /// Whether a reply has reported if it was cached as a whole.
    pub response: bool,
}

impl Reported {
    pub fn or(self, other: Reported) -> Reported {
        Reported {
            prefix: self.prefix || other.prefix,
            response: self.response || other.response,
        }
    }

    /// Returns the field that tells hits from misses; `None` if no reply has reported any.
    pub fn hit_by(self) -> Option<HitBy> {
        match self.response {
            true => Some(HitBy::Response),
            false => self.prefix.then_some(HitBy::Prefix),
        }
    }
}

named! {
    /// A time that requests have, of all successes or of a part of them.
    pub enum Time {
        Ttft = "ttft",
        Itl = "itl",
        Latency = "latency",
        /// `t_send − t_due` of successes and failures.
        Lateness = "lateness",
        TtftFromSent = "ttft_from_sent",
        LatencyFromSent = "latency_from_sent",
        /// TTFT in the first rotation, and in later ones.
        TtftCold = "ttft_cold",
        TtftWarm = "ttft_warm",
        TtftFirstUse = "ttft_first_use",
        TtftRepeat = "ttft_repeat",
        TtftHit = "ttft_hit",
        TtftMiss = "ttft_miss",
        LatencyFirstUse = "latency_first_use",
        LatencyRepeat = "latency_repeat",
        LatencyHit = "latency_hit",
        LatencyMiss = "latency_miss",
    }
}

impl Time {
    /// Returns this time of a request in nanoseconds; `None` if the request does not have it.
    pub fn of(self, record: &Record, rule: Option<HitRule>) -> Option<f64> {
        let good = Some(record).filter(|record| record.is_good());
        // The first send of a request that was sent again may have brought its prompt into the cache.
        let is_once = !record.is_resent();
        let is_hit = rule.map(|rule| rule.is_hit(record));
        let ttft = |is_in: bool| good.filter(|_| is_in)?.ttft_ns();
        let latency = |is_in: bool| good.filter(|_| is_in).map(Record::latency_ns);
        let ns = match self {
            Time::Itl => return good?.itl_ns(),
            Time::Ttft => ttft(true),
            Time::Latency => latency(true),
            Time::Lateness => record.lateness_ns().filter(|_| record.is_measured()),
            Time::TtftFromSent => good?.ttft_from_sent_ns(),
            Time::LatencyFromSent => Some(good?.latency_from_sent_ns()),
            Time::TtftCold => ttft(is_once && record.is_cold()),
            Time::TtftWarm => ttft(is_once && !record.is_cold()),
            Time::TtftFirstUse => ttft(is_once && record.repeat() == Some(false)),
            Time::TtftRepeat => ttft(is_once && record.repeat() == Some(true)),
            Time::TtftHit => ttft(is_hit == Some(true)),
            Time::TtftMiss => ttft(is_hit == Some(false)),
            Time::LatencyFirstUse => latency(is_once && record.repeat() == Some(false)),
            Time::LatencyRepeat => latency(is_once && record.repeat() == Some(true)),
            Time::LatencyHit => latency(is_hit == Some(true)),
            Time::LatencyMiss => latency(is_hit == Some(false)),
        };
        ns.map(|ns| ns as f64)
    }
}
