//! The findings of a search: each probe, and what all of them tell together.

use super::belief::Belief;
use super::told::Told;
use crate::stats::find_rate::{Cliff, Findings, Kind, Outcome, Probe};
use crate::stats::spread::exact_quantile;

/// A cliff: the attainment falls by more than this between rates that differ by at most this factor.
const CLIFF: f64 = 0.2;
const NEIGHBOURS: f64 = 1.1;

/// Brings the findings to what is known after a probe in open loop.
pub fn conclude(found: &mut Findings, belief: Option<&Belief>) {
    if let Some(belief) = belief {
        found.rate_per_s = Some(belief.quantile(0.5));
        found.low_per_s = Some(belief.quantile(0.025));
        found.high_per_s = Some(belief.quantile(0.975));
    }
    let open = || {
        found
            .probes
            .iter()
            .filter(|probe| probe.kind != Kind::Closed)
    };
    let rates = |is: fn(Outcome) -> bool| {
        let some = open().filter(move |probe| is(probe.outcome));
        some.filter_map(|probe| probe.rate_per_s)
    };
    let failed = rates(|of| matches!(of, Outcome::Fail | Outcome::Overload));
    let first_fail = failed.reduce(f64::min);
    let passed = rates(|of| of == Outcome::Pass);
    let last_pass = passed.reduce(f64::max);
    let cliff = cliff(open());
    found.last_pass_per_s = last_pass;
    found.first_fail_per_s = first_fail;
    found.cliff = cliff;
}

/// Returns the part of a probe's findings that all kinds have.
pub fn probe<'a>(
    kind: Kind,
    sent: u64,
    outcome: Outcome,
    told: impl Iterator<Item = &'a Told> + Clone,
) -> Probe {
    let good = told.filter(|one| !one.is_failed);
    let mut ttft: Vec<f64> = good
        .clone()
        .filter_map(|one| Some(one.ttft_ns? as f64 / 1e6))
        .collect();
    ttft.sort_unstable_by(f64::total_cmp);
    let latencies: Vec<f64> = good.clone().map(Told::latency_s).collect();
    let n = latencies.len() as f64;
    let from_ns = good.clone().map(|one| one.send_ns).min().unwrap_or(0);
    let to_ns = good.map(|one| one.end_ns).max().unwrap_or(0);
    let time_s = to_ns.saturating_sub(from_ns) as f64 / 1e9;
    Probe {
        kind,
        concurrency: None,
        rate_per_s: None,
        requests: 0,
        sent,
        attainment: None,
        low: None,
        high: None,
        outcome,
        throughput_per_s: (time_s > 0.0).then_some(n / time_s),
        ttft_p50_ms: exact_quantile(&ttft, 0.5),
        ttft_p99_ms: exact_quantile(&ttft, 0.99),
        latency_mean_ms: (n > 0.0).then(|| latencies.iter().sum::<f64>() * 1e3 / n),
    }
}

/// The steepest fall of the attainment between neighbouring rates.
fn cliff<'a>(probes: impl Iterator<Item = &'a Probe>) -> Option<Cliff> {
    let points = probes.filter_map(|probe| Some((probe.rate_per_s?, probe.attainment?)));
    let mut points: Vec<(f64, f64)> = points.collect();
    // No rate is negative, so their bits have their order.
    points.sort_by_cached_key(|(rate_per_s, _)| rate_per_s.to_bits());
    let pairs = points.windows(2).map(|pair| Cliff {
        from_per_s: pair[0].0,
        to_per_s: pair[1].0,
        attainment_from: pair[0].1,
        attainment_to: pair[1].1,
    });
    let fall = |of: &Cliff| of.attainment_from - of.attainment_to;
    let steep = pairs.filter(|of| fall(of) > CLIFF && of.to_per_s <= NEIGHBOURS * of.from_per_s);
    steep.max_by(|a, b| fall(a).total_cmp(&fall(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cliff_is_the_steepest_fall_between_rates_that_are_near() {
        let at = |rate, attainment| Probe {
            rate_per_s: Some(rate),
            attainment: Some(attainment),
            ..probe(Kind::Open, 0, Outcome::Unclear, [].iter())
        };
        let [a, b, c] =
            [(10.5, 0.6), (10.0, 0.99), (12.0, 0.1)].map(|(rate, share)| at(rate, share));
        // From 10 to 10.5 it falls by 39 points; from 10.5 to 12, which is more than 10 % apart, by 50.
        let wanted = Cliff {
            from_per_s: 10.0,
            to_per_s: 10.5,
            attainment_from: 0.99,
            attainment_to: 0.6,
        };
        assert_eq!(cliff([a.clone(), b, c.clone()].iter()), Some(wanted));
        assert_eq!(cliff([a, c].iter()), None);
    }
}
