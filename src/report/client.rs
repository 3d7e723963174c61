//! The line of the final report that says whether this client kept up.

use std::fmt::{self, Write};

use super::percent;
use crate::stats::client::{CPU_LIMIT_SHARE, ClientSummary, LAG_LIMIT_S, Limit};
use crate::units::fixed;

/// Steal is mentioned above this share, open files above the other one of their limit.
const NOTABLE_STEAL: f64 = 0.01;
const NOTABLE_FILES: f64 = 0.9;

/// Writes `client: ok (…)` or `client-limited: …`, the reasons first.
pub fn line(out: &mut String, client: &ClientSummary) -> fmt::Result {
    let Some(limited) = client.limited else {
        return writeln!(out, "client: not watched (the run was too short)");
    };
    let figures = [
        (Limit::Lag, lag(client)),
        (Limit::Cpu, cpu(client)),
        (Limit::Throttled, throttled(client)),
    ];
    let is_reason = |limit: Limit| client.reasons.contains(&limit);
    let (reasons, others): (Vec<_>, Vec<_>) = figures
        .into_iter()
        .partition(|&(limit, _)| is_reason(limit));
    let figures = reasons.into_iter().chain(others);
    let seen: Vec<String> = figures
        .filter_map(|(_, figure)| figure)
        .chain(steal(client))
        .chain(open_files(client))
        .chain(
            client
                .mock_in_process
                .then(|| "mock in process".to_string()),
        )
        .collect();
    let seen = seen.join("; ");
    if limited {
        writeln!(out, "client-limited: {seen}")
    } else {
        writeln!(out, "client: ok ({seen})")
    }
}

fn lag(client: &ClientSummary) -> Option<String> {
    let lag = client.lag?;
    let mut text = format!("wake-up lag p99 {}", milliseconds(lag.p99_s));
    if client.reasons.contains(&Limit::Lag) {
        let worst = milliseconds(lag.max_s);
        text += &format!(", over {} ms, worst {worst}", LAG_LIMIT_S * 1e3);
        text += &at(client.lag_max_at_s);
    }
    Some(text)
}

fn cpu(client: &ClientSummary) -> Option<String> {
    let of = cores(client.cores_allowed?);
    if client.reasons.contains(&Limit::Cpu) {
        let limit = CPU_LIMIT_SHARE * 1e2;
        let (over, all) = (client.seconds_over_cpu_limit, client.seconds_watched);
        let first = first(client.first_over_cpu_limit_at_s);
        return Some(format!(
            "CPU over {limit} % of {of} in {over} of {all} s{first}"
        ));
    }
    let share = percent(client.cpu_share_max?);
    Some(format!("CPU at most {share} of {of}"))
}

fn throttled(client: &ClientSummary) -> Option<String> {
    let (throttled, periods) = client.throttled_periods.zip(client.periods)?;
    let first = first(client.first_throttled_at_s);
    (throttled > 0).then(|| format!("{throttled} of {periods} periods throttled{first}"))
}

fn steal(client: &ClientSummary) -> Option<String> {
    let share = client.steal_share_mean?;
    (share > NOTABLE_STEAL).then(|| format!("steal {}", percent(share)))
}

fn open_files(client: &ClientSummary) -> Option<String> {
    let (files, limit) = client.open_files_max.zip(client.open_files_limit)?;
    (files as f64 > NOTABLE_FILES * limit as f64).then(|| format!("{files} of {limit} open files"))
}

fn milliseconds(value_s: f64) -> String {
    format!("{} ms", fixed(value_s * 1e3, 2))
}

fn cores(cores: f64) -> String {
    match cores {
        1.0 => "1 core".to_string(),
        whole if whole.fract() == 0.0 => format!("{whole} cores"),
        part => format!("{} cores", fixed(part, 2)),
    }
}

fn at(time_s: Option<f64>) -> String {
    time_s.map_or_else(String::new, |s| format!(" at {} s", fixed(s, 1)))
}

fn first(time_s: Option<f64>) -> String {
    time_s.map_or_else(String::new, |_| format!(", first{}", at(time_s)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Quantiles;
    use crate::stats::client::ClientStats;

    /// 400 probes with a p99 of 0.14 ms, 12 % of two cores, no quota.
    fn quiet() -> ClientSummary {
        ClientSummary {
            limited: Some(false),
            lag: Some(Quantiles {
                p50_s: 0.000_06,
                p90_s: 0.000_1,
                p99_s: 0.000_14,
                max_s: 0.031,
                n: 400,
            }),
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
        let mut out = String::new();
        line(&mut out, client).expect("a String takes all");
        out
    }

    #[test]
    fn a_client_that_kept_up_is_ok_with_what_is_worth_a_word() {
        let ok = "client: ok (wake-up lag p99 0.140 ms; CPU at most 12.0 % of 2 cores";
        assert_eq!(text(&quiet()), format!("{ok})\n"));
        let crowded = ClientSummary {
            periods: Some(400),
            throttled_periods: Some(2),
            first_throttled_at_s: Some(7.0),
            steal_share_mean: Some(0.12),
            open_files_max: Some(901),
            mock_in_process: true,
            ..quiet()
        };
        let more = "; 2 of 400 periods throttled, first at 7.00 s; steal 12.0 %; 901 of 1000 open files; mock in process)\n";
        assert_eq!(text(&crowded), format!("{ok}{more}"));
        let blind = ClientSummary {
            cores_allowed: None,
            cpu_share_max: None,
            ..quiet()
        };
        assert_eq!(text(&blind), "client: ok (wake-up lag p99 0.140 ms)\n");
    }

    #[test]
    fn a_limited_client_says_first_what_was_over_and_when() {
        let late = ClientSummary {
            lag: quiet().lag.map(|lag| Quantiles {
                p99_s: 0.0073,
                ..lag
            }),
            ..limited(&[Limit::Lag])
        };
        let seen = "wake-up lag p99 7.30 ms, over 5 ms, worst 31.00 ms at 12.4 s; CPU at most 12.0 % of 2 cores";
        assert_eq!(text(&late), format!("client-limited: {seen}\n"));
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
        assert_eq!(text(&busy), format!("client-limited: {seen}\n"));
    }
}
