//! A round's figures as printed strings: what the table and the CSV have in common.

use crate::stats::goodput::Goodput;
use crate::stats::round::RoundSummary;
use crate::stats::spread::Spread;

/// Statistics of a figure, in the order of `Row::cells`, as the table and the CSV name them.
pub(super) const TABLE_NAMES: [&str; 7] = ["Avg", "P50", "P90", "P99", "Min", "Max", "Stddev"];
pub(super) const LONG_NAMES: [&str; 7] =
    ["Average", "Median", "P90", "P99", "Min", "Max", "Stddev"];

/// Decimals of times and rates, and of the server's metrics.
pub(super) const DECIMALS: usize = 2;
pub(super) const METRIC_DECIMALS: usize = 4;

/// One figure of a round over its requests; a cell is `None` where the figure is absent.
pub(super) struct Row {
    pub name: String,
    pub cells: [Option<String>; 7],
    /// Requests that have the figure.
    pub n: u64,
}

impl Row {
    fn new(name: &str, spread: Option<&Spread>, decimals: usize) -> Row {
        Row {
            name: name.to_string(),
            cells: statistics(spread).map(|value| printed(value, decimals)),
            n: spread.map_or(0, |spread| spread.n),
        }
    }
}

/// In the order of the names; all absent without a spread.
pub(super) fn statistics(spread: Option<&Spread>) -> [Option<f64>; 7] {
    let Some(s) = spread else { return [None; 7] };
    let [avg, p50, p90, p99, min, max] = [s.avg, s.p50, s.p90, s.p99, s.min, s.max].map(Some);
    [avg, p50, p90, p99, min, max, s.stddev]
}

/// TTFT, ITL and latency, then the server's metrics.
pub(super) fn rows(round: &RoundSummary) -> Vec<Row> {
    let times = [
        ("TTFT (ms)", &round.ttft_ms),
        ("ITL (ms)", &round.itl_ms),
        ("Latency (ms)", &round.latency_ms),
    ];
    let times = times.map(|(name, spread)| Row::new(name, spread.as_ref(), DECIMALS));
    let metrics = round
        .metrics
        .iter()
        .map(|metric| Row::new(&metric.name, metric.spread.as_ref(), METRIC_DECIMALS));
    times.into_iter().chain(metrics).collect()
}

/// The same; `*` stands behind the name of a metric whose time with other requests is in it.
pub(super) fn marked_rows(round: &RoundSummary) -> Vec<Row> {
    let mut rows = rows(round);
    let times = rows.len() - round.metrics.len();
    for (row, metric) in rows[times..].iter_mut().zip(&round.metrics) {
        if metric.shared {
            row.name.push('*');
        }
    }
    rows
}

/// With exactly so many decimals, as the guide has it.
pub(super) fn printed(value: Option<f64>, decimals: usize) -> Option<String> {
    value.map(|value| format!("{value:.decimals$}"))
}

/// `n/a` where there is no figure.
pub(super) fn or_absent(cell: Option<String>) -> String {
    cell.unwrap_or_else(|| "n/a".to_string())
}

/// Throughput in tokens and in requests per second.
pub(super) fn throughput(round: &RoundSummary) -> [Option<String>; 2] {
    [round.token_throughput, round.request_throughput].map(|value| printed(value, DECIMALS))
}

/// Shares of requests and of tokens that met the SLO, per cent.
pub(super) fn goodput_percent(goodput: &Goodput) -> [Option<String>; 2] {
    [goodput.requests_share(), goodput.tokens_share()]
        .map(|share| printed(share.map(|share| share * 100.0), DECIMALS))
}
