//! The points of `load`: the guide's figures first, then times, then what is to be known of them.

use std::fmt::{self, Write};

use super::cells::{DECIMALS, or_absent, printed};
use super::{client, notes, number, percent};
use crate::stats::load::{HitBy, LoadSummary, Part, Times};
use crate::units::fixed;

const WIDTH: usize = 80;
const NAME_WIDTH: usize = 24;
const VALUE_WIDTH: usize = 14;
/// Of the table of times: the name, a time, the number of requests.
const TIMES_NAME: usize = 26;
const TIME_WIDTH: usize = 9;
const COUNT_WIDTH: usize = 9;
pub(super) const TIMES_HEAD: [&str; 7] = ["Milliseconds", "Avg", "P50", "P95", "P99", "Max", "n"];

const NOT_STREAMED: &str = "not streamed";

/// Writes every point, and of a sweep the table at its end.
pub fn report(out: &mut String, points: &[LoadSummary]) -> fmt::Result {
    for one in points {
        point(out, one)?;
        writeln!(out)?;
    }
    if points.len() > 1 {
        sweep(out, points)?;
        writeln!(out)?;
    }
    Ok(())
}

/// Writes the block of a point.
pub fn point(out: &mut String, one: &LoadSummary) -> fmt::Result {
    writeln!(out, "{}", capitalised(&name(one)))?;
    writeln!(out, "{}", "=".repeat(WIDTH))?;
    for row in headline(one) {
        let Headline { name, value, note } = row;
        let line = format!("{name:<NAME_WIDTH$}{value:>VALUE_WIDTH$}  {note}");
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out)?;
    times_line(out, &TIMES_HEAD.map(str::to_string))?;
    for row in times(one) {
        times_line(out, &row)?;
    }
    writeln!(out)?;
    beyond(out, one)
}

/// How a point is called among others.
pub(super) fn name(one: &LoadSummary) -> String {
    point_name(one.concurrency, one.rate_per_s)
}

/// Without both it goes as a trace says.
pub(super) fn point_name(concurrency: Option<u64>, rate_per_s: Option<f64>) -> String {
    match (concurrency, rate_per_s) {
        (_, Some(rate)) => format!("rate {rate}/s"),
        (Some(concurrency), None) => format!("concurrency {concurrency}"),
        (None, None) => "trace".to_string(),
    }
}

pub(super) fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

/// One of the guide's figures.
pub(super) struct Headline {
    pub name: &'static str,
    /// With its unit.
    pub value: String,
    /// What it is of; empty: nothing is to be said.
    pub note: String,
}

/// In the guide's order.
pub(super) fn headline(one: &LoadSummary) -> Vec<Headline> {
    let (ttft, latency) = (one.waits.ttft.as_ref(), one.waits.latency.as_ref());
    let n = |times: Option<&Times>| times.map_or(String::new(), |times| format!("n {}", times.n));
    let waited = |times: Option<&Times>| match (times, &one.open) {
        (Some(times), Some(_)) => format!("n {}, from the due time", times.n),
        (times, _) => n(times),
    };
    let streamed = |value: Option<f64>| match one.is_not_streamed() {
        true => NOT_STREAMED.to_string(),
        false => with_unit(value, "ms"),
    };
    let row = |name, value, note| Headline { name, value, note };
    let perfect = |rate: Option<f64>| {
        rate.map_or(String::new(), |rate| {
            format!("; a perfect cache: {}", percent(rate))
        })
    };
    let response = format!("whole replies{}", perfect(one.perfect_response_rate));
    let prefix = format!("prompt tokens{}", perfect(one.perfect_prefix_rate));
    vec![
        row("TTFT P50", streamed(ttft.map(|t| t.p50_ms)), waited(ttft)),
        row("TTFT P95", streamed(ttft.map(|t| t.p95_ms)), String::new()),
        row("TTFT P99", streamed(ttft.map(|t| t.p99_ms)), String::new()),
        row("TPOT", streamed(one.tpot_ms()), n(one.itl.as_ref())),
        row(
            "Throughput",
            with_unit(one.round.token_throughput, "tokens/s"),
            String::new(),
        ),
        row(
            "Cache Hit Rate",
            notes::hit_rate(one.response_cache_hit_rate),
            response,
        ),
        row(
            "Prefix Cache Hit Rate",
            notes::hit_rate(one.round.prefix_cache_hit_rate),
            prefix,
        ),
        row(
            "Avg Latency",
            with_unit(latency.map(|t| t.avg_ms), "ms"),
            waited(latency),
        ),
    ]
}

fn with_unit(value: Option<f64>, unit: &str) -> String {
    let value = printed(value, DECIMALS).map(|value| format!("{value} {unit}"));
    or_absent(value)
}

/// A row a time, its name first, then the cells under `TIMES_HEAD`.
pub(super) fn times(one: &LoadSummary) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = |name: &str, times: Option<&Times>| {
        let of = times.map(|t| [t.avg_ms, t.p50_ms, t.p95_ms, t.p99_ms, t.max_ms]);
        let cell = |k: usize| or_absent(printed(of.map(|of| of[k]), DECIMALS));
        let n = times.map_or(0, |times| times.n).to_string();
        let cells = (0..5).map(cell).chain([n]);
        rows.push(std::iter::once(name.to_string()).chain(cells).collect());
    };
    let is_streamed = !one.is_not_streamed();
    if is_streamed {
        row("TTFT", one.waits.ttft.as_ref());
        row("ITL", one.itl.as_ref());
    }
    row("Latency", one.waits.latency.as_ref());
    for (part, waits) in &one.splits {
        let of = part_name(*part, one.hit_by);
        if is_streamed {
            row(&format!("TTFT, {of}"), waits.ttft.as_ref());
        }
        row(&format!("Latency, {of}"), waits.latency.as_ref());
    }
    if let Some(open) = &one.open {
        if is_streamed {
            row("TTFT from the send", open.from_sent.ttft.as_ref());
        }
        row("Latency from the send", open.from_sent.latency.as_ref());
    }
    rows
}

fn part_name(part: Part, by: Option<HitBy>) -> &'static str {
    match (part, by) {
        (Part::FirstUse, _) => "first use",
        (Part::Repeat, _) => "repeat",
        (Part::Hit, Some(HitBy::Prefix)) => "prefix hit",
        (Part::Miss, Some(HitBy::Prefix)) => "prefix miss",
        (Part::Hit, _) => "cache hit",
        (Part::Miss, _) => "cache miss",
    }
}

fn times_line(out: &mut String, cells: &[String]) -> fmt::Result {
    write!(out, "{:<TIMES_NAME$}", cells[0])?;
    for cell in &cells[1..6] {
        write!(out, "{cell:>TIME_WIDTH$}")?;
    }
    writeln!(out, "{:>COUNT_WIDTH$}", cells[6])
}

/// What the tables do not tell: counts, rates, failures, doubts, this client.
pub(super) fn beyond(out: &mut String, one: &LoadSummary) -> fmt::Result {
    let round = &one.round;
    counts(out, one)?;
    writeln!(
        out,
        "Request Throughput: {} requests/s over {} s",
        number(round.request_throughput, 2),
        fixed(round.duration_s, 2)
    )?;
    open_loop(out, one)?;
    goodput(out, one)?;
    writeln!(
        out,
        "Tokens per Request: {} in, {} out",
        number(round.input_tokens_mean, 1),
        number(round.output_tokens_mean, 1)
    )?;
    notes::concurrency(out, round.concurrency_mean, round.concurrency_peak)?;
    notes::token_sources(out, &round.token_sources)?;
    let (share, stale) = (round.connect_share, round.stale_connections);
    notes::connections(out, round.successful, share, stale)?;
    notes::not_streamed(out, round.not_streamed)?;
    if round.failed > 0 {
        notes::failures(out, round.failed, &round.failures)?;
    }
    client::line(out, &round.client)
}

fn counts(out: &mut String, one: &LoadSummary) -> fmt::Result {
    let round = &one.round;
    write!(
        out,
        "Requests: {} sent = {} succeeded + {} failed",
        one.sent(),
        round.successful,
        round.failed
    )?;
    if round.cut > 0 {
        write!(out, " + {} cut at the end", round.cut)?;
    }
    writeln!(out)?;
    if one.not_sent > 0 {
        let planned = one.planned.map_or(String::new(), |n| format!(" of {n}"));
        writeln!(out, "Not Sent: {}{planned}", one.not_sent)?;
    }
    if let Some(rate) = one.error_rate() {
        writeln!(out, "Error Rate: {}", percent(rate))?;
    }
    if one.warmup > 0 {
        let n = one.warmup;
        writeln!(out, "Warm-up: {n} requests, left out of every figure")?;
    }
    Ok(())
}

fn open_loop(out: &mut String, one: &LoadSummary) -> fmt::Result {
    let Some(open) = &one.open else {
        return Ok(());
    };
    let asked = one
        .rate_per_s
        .map_or(String::new(), |rate| format!(" (asked for: {rate})"));
    writeln!(
        out,
        "Rate: offered {}/s{asked}, achieved {}/s",
        number(open.scheduled_per_s, 2),
        number(one.achieved_per_s, 2)
    )?;
    let lateness = open.lateness.map(|late| {
        let [mean, p99, max] = [late.avg_ms, late.p99_ms, late.max_ms].map(|ms| fixed(ms, 2));
        format!("mean {mean} ms, p99 {p99} ms, max {max} ms")
    });
    writeln!(out, "Lateness: {}", or_absent(lateness))?;
    if let Some(n) = open.exhausted.filter(|&n| n > 0) {
        writeln!(
            out,
            "Pool Exhausted: {n} requests found no idle worker; raise --max-inflight"
        )?;
    }
    Ok(())
}

fn goodput(out: &mut String, one: &LoadSummary) -> fmt::Result {
    let Some(goodput) = &one.goodput else {
        return Ok(());
    };
    writeln!(
        out,
        "Goodput: {} of {} requests met the SLO ({}), {} requests/s, {} tokens/s",
        goodput.requests,
        goodput.of_requests,
        goodput.requests_share().map_or("n/a".to_string(), percent),
        number(goodput.requests_per_s, 2),
        number(goodput.tokens_per_s, 2)
    )
}

/// Writes the points of a sweep as one table.
pub fn sweep(out: &mut String, points: &[LoadSummary]) -> fmt::Result {
    const POINT: usize = 16;
    const CELL: [usize; 7] = [10, 9, 10, 10, 9, 9, 7];
    for row in std::iter::once(sweep_head()).chain(sweep_rows(points)) {
        let mut line = format!("{:<POINT$}", row[0]);
        // Without an SLO the column of goodput stays away.
        let has_goodput = points.iter().any(|point| point.goodput.is_some());
        for (k, width) in CELL.into_iter().enumerate() {
            if k != 5 || has_goodput {
                write!(line, "{:>width$}", row[k + 1])?;
            }
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}

pub(super) fn sweep_head() -> Vec<String> {
    let head = [
        "Times in ms",
        "tokens/s",
        "req/s",
        "TTFT p50",
        "TTFT p99",
        "ITL p99",
        "goodput",
        "errors",
    ];
    head.map(str::to_string).to_vec()
}

pub(super) fn sweep_rows(points: &[LoadSummary]) -> impl Iterator<Item = Vec<String>> {
    points.iter().map(|one| {
        let (round, ttft) = (&one.round, one.waits.ttft);
        let ms = |value| or_absent(printed(value, 1));
        let share = one
            .goodput
            .as_ref()
            .and_then(|goodput| goodput.requests_share());
        let share = share.map(percent);
        vec![
            name(one),
            ms(round.token_throughput),
            or_absent(printed(round.request_throughput, DECIMALS)),
            ms(ttft.map(|ttft| ttft.p50_ms)),
            ms(ttft.map(|ttft| ttft.p99_ms)),
            ms(one.itl.map(|itl| itl.p99_ms)),
            or_absent(share),
            round.failed.to_string(),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;
    use crate::stats::client::ClientStats;
    use crate::stats::load::LoadFacts;

    const MS: u64 = 1_000_000;

    fn facts() -> LoadFacts {
        LoadFacts {
            concurrency: Some(16),
            rate_per_s: None,
            planned: Some(2),
            peak: 2,
            cached_reported: false,
            response_cached_reported: false,
            slo: None,
            exhausted: None,
            perfect_response_rate: Some(0.3),
            perfect_prefix_rate: None,
            not_sent: 0,
            client: ClientStats::default().summary(0, false),
        }
    }

    fn streamed() -> Sample {
        Sample {
            t_first_ns: Some(40 * MS),
            t_last_ns: Some(240 * MS),
            t_end_ns: 250 * MS,
            completion_tokens: Some(11),
            ..Sample::default()
        }
    }

    fn block(one: &LoadSummary) -> String {
        let mut out = String::new();
        point(&mut out, one).expect("a String takes all");
        out
    }

    #[test]
    fn a_reply_that_is_no_stream_has_no_ttft_and_the_lines_say_so() {
        let plain = Sample {
            t_end_ns: 50 * MS,
            response_cached: Some(true),
            ..Sample::default()
        };
        let text = block(&LoadSummary::of(&[plain], facts()));
        for name in ["TTFT P50", "TTFT P95", "TTFT P99", "TPOT"] {
            let line = format!("{name:<24}  not streamed\n");
            assert!(text.contains(&line), "{text}");
        }
        let rate =
            "Cache Hit Rate                 100.0 %  whole replies; a perfect cache: 30.0 %\n";
        assert!(text.contains(rate), "{text}");
        assert!(!text.contains("\nTTFT  "), "{text}");
        assert!(
            text.contains("Throughput                         n/a\n"),
            "{text}"
        );
    }

    #[test]
    fn a_sweep_ends_with_a_row_a_point_and_goodput_only_with_an_slo() {
        let facts = |concurrency| LoadFacts {
            concurrency: Some(concurrency),
            ..facts()
        };
        let of = |concurrency| LoadSummary::of(&[streamed()], facts(concurrency));
        let mut out = String::new();
        sweep(&mut out, &[of(1), of(16)]).expect("a String takes all");
        // 11 tokens and a request in 0.25 s.
        let wanted = "\
Times in ms       tokens/s    req/s  TTFT p50  TTFT p99  ITL p99 errors
concurrency 1         44.0     4.00      40.0      40.0     20.0      0
concurrency 16        44.0     4.00      40.0      40.0     20.0      0
";
        assert_eq!(out, wanted);
    }

    #[test]
    fn no_line_of_a_block_or_a_sweep_is_wider_than_80_columns() {
        let facts = LoadFacts {
            concurrency: None,
            rate_per_s: Some(1000.5),
            exhausted: Some(123),
            slo: Some(crate::stats::goodput::Slo::default()),
            ..facts()
        };
        let late = Sample {
            t_due_ns: Some(0),
            t_send_ns: 3 * MS,
            ..streamed()
        };
        let one = LoadSummary::of(&[late], facts);
        let mut text = block(&one);
        sweep(&mut text, &[one]).expect("a String takes all");
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert!(
            text.contains("\nLateness: mean 3.00 ms, p99 3.00 ms, max 3.00 ms\n"),
            "{text}"
        );
        assert!(
            text.contains(
                "\nPool Exhausted: 123 requests found no idle worker; raise --max-inflight"
            ),
            "{text}"
        );
    }
}
