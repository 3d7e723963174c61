//! Output tokens that came within the window of a pass from requests that cross its edges: warm-up requests that went
//! on in the window, and requests that its end cut.

use crate::sample::{Phase, Sample};

/// The requests that cross an edge of the window, at most twice as many as can be in flight.
#[derive(Debug, Default)]
pub struct Edges {
    requests: Vec<Crossing>,
    /// The last send of a request of the warm-up; the window begins after it.
    warmup_sent_ns: u64,
}

#[derive(Debug)]
struct Crossing {
    is_warmup: bool,
    first_ns: u64,
    last_ns: u64,
    events: u64,
    /// The gaps between its token events; if not every gap is known, the events count as evenly spread.
    gaps_us: Vec<u32>,
    /// The output tokens of the whole reply; `None` if the request was cut or has no count.
    tokens: Option<u64>,
}

impl Edges {
    /// Keeps a request that crosses an edge, as far as can be known by now.
    pub fn add(&mut self, sample: &Sample) {
        let is_warmup = sample.phase == Phase::Warmup;
        if sample.phase == Phase::Measured || is_warmup && sample.failure.is_some() {
            return;
        }
        if is_warmup {
            self.warmup_sent_ns = self.warmup_sent_ns.max(sample.t_send_ns);
            let from_ns = self.warmup_sent_ns;
            self.requests
                .retain(|one| !one.is_warmup || one.last_ns >= from_ns);
        }
        let Some((first_ns, last_ns)) = sample.t_first_ns.zip(sample.t_last_ns) else {
            return;
        };
        self.requests.push(Crossing {
            is_warmup,
            first_ns,
            last_ns,
            events: sample.token_events,
            gaps_us: sample.gaps_us.clone(),
            tokens: sample.completion_tokens.filter(|_| is_warmup),
        });
    }

    /// Returns the output tokens whose events came between the two stamps. Each event of a request without a count is
    /// worth `tokens_an_event`.
    pub fn tokens(&self, (from_ns, to_ns): (u64, u64), tokens_an_event: f64) -> f64 {
        let tokens = self.requests.iter().map(|one| {
            let all = one.events as f64;
            let weight = match one.tokens {
                Some(tokens) if one.events > 0 => tokens as f64 / all,
                _ => tokens_an_event,
            };
            one.events_in(from_ns, to_ns) * weight
        });
        tokens.sum()
    }
}

impl Crossing {
    fn events_in(&self, from_ns: u64, to_ns: u64) -> f64 {
        let gaps = self.events.saturating_sub(1);
        if self.gaps_us.len() as u64 == gaps {
            let mut stamp_ns = self.first_ns;
            let later = self.gaps_us.iter().map(|&us| {
                stamp_ns += u64::from(us) * 1000;
                stamp_ns
            });
            let stamps = std::iter::once(self.first_ns).chain(later);
            return stamps.filter(|ns| (from_ns..=to_ns).contains(ns)).count() as f64;
        }
        evenly_spread(self.events, (self.first_ns, self.last_ns), (from_ns, to_ns))
    }
}

/// Returns how many events came in the window if they are evenly spread from the first to the last stamp; events that
/// have one stamp in common came together.
pub fn evenly_spread(events: u64, (first_ns, last_ns): (u64, u64), window_ns: (u64, u64)) -> f64 {
    let (from_ns, to_ns) = (window_ns.0.max(first_ns), window_ns.1.min(last_ns));
    if to_ns < from_ns || events == 0 {
        return 0.0;
    }
    match last_ns.saturating_sub(first_ns) {
        0 => events as f64,
        all_ns => 1.0 + (events - 1) as f64 * (to_ns - from_ns) as f64 / all_ns as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a reply of five token events from 100 to 140 ms, with two tokens each.
    fn sample(phase: Phase, gaps_us: &[u32]) -> Sample {
        Sample {
            phase,
            t_send_ns: 50_000_000,
            t_first_ns: Some(100_000_000),
            t_last_ns: Some(140_000_000),
            t_end_ns: 140_000_000,
            token_events: 5,
            gaps_us: gaps_us.to_vec(),
            completion_tokens: Some(10),
            ..Sample::default()
        }
    }

    fn tokens(samples: &[Sample], from_ms: u64, to_ms: u64) -> f64 {
        let mut edges = Edges::default();
        samples.iter().for_each(|sample| edges.add(sample));
        edges.tokens((from_ms * 1_000_000, to_ms * 1_000_000), 3.0)
    }

    #[test]
    fn events_count_by_their_stamps_and_by_the_tokens_that_each_holds() {
        let uneven = [5_000, 5_000, 5_000, 25_000];
        // The events come at 100, 105, 110, 115 and 140 ms.
        let warmup = sample(Phase::Warmup, &uneven);
        assert_eq!(tokens(std::slice::from_ref(&warmup), 106, 500), 6.0);
        let cut = Sample {
            completion_tokens: None,
            ..sample(Phase::Cut, &uneven)
        };
        assert_eq!(tokens(std::slice::from_ref(&cut), 0, 120), 12.0);
        assert_eq!(tokens(&[warmup, cut], 106, 120), 4.0 + 6.0);
        // Without gaps the four events after the first are evenly spread over 40 ms: half of them count, and one more.
        assert_eq!(tokens(&[sample(Phase::Warmup, &[])], 120, 500), 6.0);
        assert_eq!(tokens(&[sample(Phase::Warmup, &[])], 141, 500), 0.0);
        // A request of the window itself is counted elsewhere.
        assert_eq!(tokens(&[sample(Phase::Measured, &uneven)], 0, 500), 0.0);
    }

    #[test]
    fn only_warm_up_requests_that_can_still_reach_the_window_are_kept() {
        let mut edges = Edges::default();
        for k in 0..1000_u64 {
            let shifted = |ns: u64| ns + k * 10_000_000;
            edges.add(&Sample {
                t_send_ns: shifted(0),
                t_first_ns: Some(shifted(5_000_000)),
                t_last_ns: Some(shifted(25_000_000)),
                ..sample(Phase::Warmup, &[])
            });
        }
        // Each request is sent 10 ms after the one before and ends after 25 ms, so only the last three can reach the
        // window.
        assert_eq!(edges.requests.len(), 3);
    }
}
