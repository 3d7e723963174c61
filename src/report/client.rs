//! The line of a report that says whether this client kept up.

use super::document::{Cell, Pair};
use crate::stats::client::{CPU_LIMIT_SHARE, ClientSummary, LAG_LIMIT_MS, LAG_MAX_LIMIT_MS, Limit};
use crate::units::fixed;

/// CPU steal is mentioned above the first share, and open files above the second share of their limit.
const NOTABLE_STEAL: f64 = 0.01;
const NOTABLE_FILES: f64 = 0.9;

/// Returns the pair `client: ok (…)` or `client-limited: …`, in which the reasons come first.
pub fn pair(client: &ClientSummary) -> Pair {
    let Some(limited) = client.limited else {
        return Pair::new("client", "not watched (the run was too short)");
    };
    let mut figures = [
        (Limit::Lag, lag(client)),
        (Limit::LagMax, lag_max(client)),
        (Limit::Cpu, cpu(client)),
        (Limit::Throttled, throttled(client)),
    ];
    figures.sort_by_cached_key(|(limit, _)| u64::from(!client.reasons.contains(limit)));
    let figures = figures.into_iter().filter_map(|(_, figure)| figure);
    let steal = client.steal_share_mean.filter(|&of| of > NOTABLE_STEAL);
    let steal = steal.map(|share| format!("steal {}", Cell::percent(share)));
    let files = client.open_files_max.zip(client.open_files_limit);
    let files = files.filter(|&(files, limit)| files as f64 > NOTABLE_FILES * limit as f64);
    let files = files.map(|(files, limit)| format!("{files} of {limit} open files"));
    let mock = client.mock_in_process.then(|| "mock in process".into());
    let seen = figures.chain(steal).chain(files).chain(mock);
    let seen = seen.collect::<Vec<String>>().join("; ");
    match limited {
        true => Pair::new("client-limited", seen),
        false => Pair::new("client", format!("ok ({seen})")),
    }
}

fn lag(client: &ClientSummary) -> Option<String> {
    let lag = client.lag?;
    let p99 = fixed(lag.p99, 2);
    let has = |limit| client.reasons.contains(&limit);
    if !has(Limit::Lag) {
        return Some(format!("wake-up lag p99 {p99} ms"));
    }
    let over = format!("wake-up lag p99 {p99} ms, over {LAG_LIMIT_MS} ms");
    if has(Limit::LagMax) {
        return Some(over);
    }
    let (worst, at) = (fixed(lag.max, 2), at("", client.lag_max_at_s));
    Some(format!("{over}, worst {worst} ms{at}"))
}

/// Returns the worst lag if it is over its limit.
fn lag_max(client: &ClientSummary) -> Option<String> {
    let lag = client.lag?;
    let is_over = client.reasons.contains(&Limit::LagMax);
    let (worst, at) = (fixed(lag.max, 0), at("", client.lag_max_at_s));
    is_over
        .then(|| format!("this client stood still for {worst} ms{at}, over {LAG_MAX_LIMIT_MS} ms"))
}

fn cpu(client: &ClientSummary) -> Option<String> {
    let of = match client.cores_allowed? {
        1.0 => "1 core".to_string(),
        whole if whole.fract() == 0.0 => format!("{whole} cores"),
        part => format!("{} cores", fixed(part, 2)),
    };
    if client.reasons.contains(&Limit::Cpu) {
        let limit = CPU_LIMIT_SHARE * 1e2;
        let (over, all) = (client.seconds_over_cpu_limit, client.seconds_watched);
        let first = at(", first", client.first_over_cpu_limit_at_s);
        let seconds = format!("{over} of {all} s{first}");
        return Some(format!("CPU over {limit} % of {of} in {seconds}"));
    }
    let share = Cell::percent(client.cpu_share_max?);
    Some(format!("CPU at most {share} of {of}"))
}

fn throttled(client: &ClientSummary) -> Option<String> {
    let (throttled, periods) = client.throttled_periods.zip(client.periods)?;
    let first = at(", first", client.first_throttled_at_s);
    (throttled > 0).then(|| format!("{throttled} of {periods} periods throttled{first}"))
}

/// Returns `what` with its time, or an empty text if the time is not known.
fn at(what: &str, time_s: Option<f64>) -> String {
    time_s.map_or_else(String::new, |s| format!("{what} at {} s", fixed(s, 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::client::ClientStats;
    use crate::stats::spread::Spread;

    /// Returns a client with 400 probes, a lag p99 of 0.14 ms, 12 % of two cores used, and no quota.
    fn quiet() -> ClientSummary {
        ClientSummary {
            limited: Some(false),
            lag: Spread::of(vec![0.14]).map(|lag| Spread { max: 31.0, ..lag }),
            lag_max_at_s: Some(12.4),
            cores_allowed: Some(2.0),
            cpu_share_max: Some(0.12),
            seconds_watched: 20,
            periods: Some(0),
            throttled_periods: Some(0),
            steal_share_mean: Some(0.01),
            open_files_max: Some(900),
            open_files_limit: Some(1000),
            ..ClientStats::default().summary(0, false)
        }
    }

    fn limited(reasons: &[Limit]) -> ClientSummary {
        ClientSummary {
            limited: Some(true),
            reasons: reasons.to_vec(),
            ..quiet()
        }
    }

    fn text(client: &ClientSummary) -> String {
        pair(client).to_string()
    }

    #[test]
    fn a_client_that_kept_up_is_ok_and_mentions_notable_readings() {
        let ok = "client: ok (wake-up lag p99 0.140 ms; CPU at most 12.0 % of 2 cores";
        assert_eq!(text(&quiet()), format!("{ok})"));
        let crowded = ClientSummary {
            periods: Some(400),
            throttled_periods: Some(2),
            first_throttled_at_s: Some(7.0),
            steal_share_mean: Some(0.12),
            open_files_max: Some(901),
            mock_in_process: true,
            ..quiet()
        };
        let more = "; 2 of 400 periods throttled, first at 7.00 s; steal 12.0 %; 901 of 1000 open files; mock in process)";
        assert_eq!(text(&crowded), format!("{ok}{more}"));
        let blind = ClientSummary {
            cores_allowed: None,
            cpu_share_max: None,
            ..quiet()
        };
        assert_eq!(text(&blind), "client: ok (wake-up lag p99 0.140 ms)");
    }

    #[test]
    fn a_limited_client_says_first_what_was_over_and_when() {
        let late = ClientSummary {
            lag: quiet().lag.map(|lag| Spread { p99: 7.3, ..lag }),
            ..limited(&[Limit::Lag])
        };
        let seen = "wake-up lag p99 7.30 ms, over 5 ms, worst 31.00 ms at 12.4 s; CPU at most 12.0 % of 2 cores";
        assert_eq!(text(&late), format!("client-limited: {seen}"));
        let stopped = ClientSummary {
            lag: quiet().lag.map(|lag| Spread { max: 2004.2, ..lag }),
            ..limited(&[Limit::LagMax])
        };
        let seen = "this client stood still for 2004 ms at 12.4 s, over 250 ms; wake-up lag p99 0.140 ms; \
                    CPU at most 12.0 % of 2 cores";
        assert_eq!(text(&stopped), format!("client-limited: {seen}"));
        let busy = ClientSummary {
            cores_allowed: Some(0.5),
            seconds_over_cpu_limit: 4,
            first_over_cpu_limit_at_s: Some(3.0),
            periods: Some(200),
            throttled_periods: Some(12),
            first_throttled_at_s: Some(2.0),
            ..limited(&[Limit::Cpu, Limit::Throttled])
        };
        let seen = "CPU over 90 % of 0.500 cores in 4 of 20 s, first at 3.00 s; \
                    12 of 200 periods throttled, first at 2.00 s; wake-up lag p99 0.140 ms";
        assert_eq!(text(&busy), format!("client-limited: {seen}"));
    }
}
