//! `tmesh-cli check client`: how much time this client adds to its measurements, on this host, now.
//!
//! Runs the client of every command against a mock in a process of its own: a few seconds of paced streams, whose
//! samples are compared with the mock's truth log, then two seconds of unpaced streams.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::args::{Args, at_least_one};
use crate::cli::checks;
use crate::cli::mock_process::{MockProcess, Truth};
use crate::cli::run::Run;
use crate::cli::scrapes::span;
use crate::cli::step::{Sending, Step};
use crate::cli::terminal::print;
use crate::client::Target;
use crate::client::api::Api;
use crate::client::body::BodyShape;
use crate::client::endpoint::Endpoint;
use crate::client::http::{Link, resolve};
use crate::client::wire::Timeouts;
use crate::collect::Extent;
use crate::error::{Error, Result};
use crate::load::stop::Stop;
use crate::plan::calibration::Calibration;
use crate::plan::prompt::Writer;
use crate::plan::tiling::{Shape, Tiling};
use crate::report::client as client_line;
use crate::stats::client::ClientSummary;
use crate::stats::record::Record;
use crate::stats::records::Records;
use crate::stats::spread::exact_quantile;
use crate::units::{Epoch, fixed, parse_number, seconds};

const MODEL: &str = "check";
const RUN_ID: &str = "check";
const PROMPT_TOKENS: u64 = 64;
/// Time to the first token of paced streams. They last about a second, and each is sent several times.
const FIRST_TOKEN: Duration = Duration::from_millis(50);
const ROUNDS: u64 = 4;
/// The unpaced part's number of streams.
const SATURATING_STREAMS: u64 = 10;
const SATURATING_TOKENS: u64 = 100;
const SATURATING_TIME: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(60);

/// One part of the check: the streams that it requests from a mock.
struct Part {
    streams: u64,
    tokens: u64,
    /// Time from the request to the first token.
    first: Duration,
    itl: Duration,
    extent: Extent,
}

/// A finished part of the check, as client and mock saw it.
struct Ran {
    records: Records,
    watched: ClientSummary,
    truth: Vec<Truth>,
}

impl Ran {
    fn events(&self) -> f64 {
        let list = self.records.list.iter();
        list.map(|record| f64::from(record.token_events)).sum()
    }

    /// Formats the events per second from the first send to the last end.
    fn rate(&self) -> String {
        let (start_ns, end_ns) = span(&self.records.list).unwrap_or_default();
        fixed(self.events() / seconds(end_ns - start_ns), 0)
    }

    /// Returns the CPU time of this process per event; `None`: /proc does not tell.
    fn cpu_us_of_event(&self) -> Option<f64> {
        let cpu_us = self.watched.cpu_ms? as f64 * 1e3;
        Some(cpu_us / self.events()).filter(|us| us.is_finite())
    }
}

/// Runs the command and returns the exit code.
///
/// # Errors
/// Fails when the mock does not start, the client was limited, or a request was not answered.
pub fn run(args: &Args) -> Result<u8> {
    let streams = args.value("--streams", at_least_one)?.unwrap_or(256);
    let rate = args.value("--rate", rate)?.unwrap_or(100.0);
    checks::in_flight(&format!("--streams {streams}"), streams, false)?;
    let paced = Part {
        streams,
        tokens: (rate.round() as u64).max(2),
        first: FIRST_TOKEN,
        itl: Duration::from_secs_f64(1.0 / rate),
        extent: Extent::Requests(streams * ROUNDS),
    };
    let unpaced = Part {
        streams: SATURATING_STREAMS,
        tokens: SATURATING_TOKENS,
        first: Duration::ZERO,
        itl: Duration::ZERO,
        extent: Extent::Duration(SATURATING_TIME),
    };
    // Signals are caught before the mock starts, so that none leaves it behind.
    let stop = Stop::new();
    stop.on_signals()?;
    print(&format!(
        "Client check: {streams} streams at {rate} tokens/s each against a mock in a process of its own …\n"
    ))?;
    let Some(ran) = measure(&paced, &stop)? else {
        return Ok(130);
    };
    if let Some(failure) = ran.records.failures.values().next() {
        let n: u64 = ran.records.failures.values().map(|kind| kind.count).sum();
        let why = format!("{n} requests failed, one with {}", failure.example);
        return Err(Error::missed("check client", why));
    }
    let added = Added::of(&ran.records, &ran.truth)?;
    print(&paced_report(&ran, &added))?;
    let Some(saturated) = measure(&unpaced, &stop)? else {
        return Ok(130);
    };
    print(&saturated_report(&saturated))?;
    print(&format!("{}\n", client_line::pair(&ran.watched)))?;
    if ran.watched.limited == Some(true) {
        let why = "this host does not give the client the time it needs";
        return Err(Error::missed("check client", why)
            .next("Give the client a core of its own, or use fewer --streams or a lower --rate"));
    }
    Ok(0)
}

/// Parses a stream's tokens per second. A request asks for one second's tokens, which must fit the mock's model.
fn rate(text: &str) -> std::result::Result<f64, String> {
    match parse_number(text)? {
        rate if (0.1..=1e4).contains(&rate) => Ok(rate),
        _ => Err("want 0.1 to 10000 tokens per second".to_string()),
    }
}

/// Sends a load to a mock, with the watchdog running; `None`: a signal ended it.
fn measure(part: &Part, stop: &Stop) -> Result<Option<Ran>> {
    let us = |duration: Duration| format!("{}us", duration.as_secs_f64() * 1e6);
    let options = [
        ("--model", MODEL.to_string()),
        ("--base", us(part.first)),
        ("--itl", us(part.itl)),
        ("--prefill-rate", "1000M".to_string()),
        ("--max-running", part.streams.to_string()),
    ];
    let words = options.into_iter();
    let words = words.flat_map(|(name, value)| [name.to_string(), value]);
    let mock = MockProcess::start(&words.collect::<Vec<_>>())?;
    let target = Arc::new(target(&mock.url, Epoch::start())?);
    let mut run = Run::new(target, stop.clone(), false);
    let shape = Shape {
        contexts: part.streams,
        questions: part.streams,
        input_tokens: PROMPT_TOKENS,
        output_tokens: part.tokens,
        requests: match part.extent {
            Extent::Requests(requests) => Some(requests),
            Extent::Duration(_) => None,
        },
        has_repeats_at_once: false,
        has_pairs: false,
    };
    let plan = Tiling::new(shape, &Writer::new(0, RUN_ID), &Calibration::estimate());
    let step = Step {
        is_window: true,
        is_patient: true,
        records: Records::kept().with_details(false),
        ..Step::new(String::new(), part.extent, part.streams)
    };
    let sent = run.pass(step, Sending::Closed(Box::new(plan)))?;
    Ok((!run.stop.is_signalled()).then(|| Ran {
        records: sent.records,
        watched: sent.facts.client,
        truth: mock.truth(),
    }))
}

fn target(url: &str, epoch: Epoch) -> Result<Target> {
    let endpoint = Endpoint::parse(url)?;
    let addrs = resolve(&endpoint.host, endpoint.port, TIMEOUT)
        .map_err(|failure| Error::input(format!("mock at {url}"), failure.reason))?;
    let link = Link::bare(addrs, Timeouts::all(TIMEOUT), epoch);
    let body = BodyShape::new(Api::Completions, MODEL);
    Ok(Target {
        run_id: RUN_ID.to_string(),
        ..Target::new(link, &endpoint, body)?
    })
}

/// The time that the client added to each request: its own figure minus that of the truth log, sorted.
#[derive(Debug)]
struct Added {
    ttft_ms: Vec<f64>,
    /// Absolute differences.
    itl_us: Vec<f64>,
}

impl Added {
    fn of(records: &Records, truth: &[Truth]) -> Result<Added> {
        let named = truth
            .iter()
            .filter_map(|truth| Some((truth.id.as_deref()?, truth)));
        let by_id: HashMap<&str, &Truth> = named.collect();
        let details = records.details.iter().flatten();
        let joined = records.list.iter().zip(details).map(|(record, detail)| {
            let id = format!("{RUN_ID}-{}", detail.id);
            let truth = by_id.get(id.as_str());
            let differences = truth.and_then(|truth| differences(record, truth));
            let missing = || format!("the mock's truth log has no request {id}");
            differences.ok_or_else(|| Error::missed("check client", missing()))
        });
        let (mut ttft_ms, mut itl_us): (Vec<f64>, Vec<f64>) = joined.collect::<Result<_>>()?;
        ttft_ms.sort_unstable_by(f64::total_cmp);
        itl_us.sort_unstable_by(f64::total_cmp);
        Ok(Added { ttft_ms, itl_us })
    }
}

/// Returns the difference in TTFT in milliseconds and in ITL in microseconds; `None` unless each token was an event of
/// its own.
fn differences(record: &Record, truth: &Truth) -> Option<(f64, f64)> {
    let (first, last) = (*truth.t_written_ns.first()?, *truth.t_written_ns.last()?);
    let gaps = truth.t_written_ns.len().checked_sub(1).filter(|&n| n > 0)? as f64;
    let ns = |from: u64, to: u64| to as f64 - from as f64;
    let (t_first, t_last) = (record.t_first_ns()?, record.t_last_ns()?);
    let ttft_ns = record.ttft_ns()? as f64 - ns(truth.t_read_ns, first);
    let itl_ns = (ns(t_first, t_last) - ns(first, last)) / gaps;
    (u64::from(record.token_events) == truth.t_written_ns.len() as u64)
        .then(|| (ttft_ns / 1e6, itl_ns.abs() / 1e3))
}

fn paced_report(ran: &Ran, added: &Added) -> String {
    let mut text = format!(
        "\n{:<22}{:>12}{:>12}{:>12}{:>12}\n",
        "added by the client", "p50", "p99", "mean", "n"
    );
    for (name, unit, values) in [
        ("TTFT", "ms", &added.ttft_ms),
        ("ITL of a request", "µs", &added.itl_us),
    ] {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let [p50, p99] = [0.5, 0.99].map(|q| quantity(exact_quantile(values, q), 2, unit));
        let mean = quantity(Some(mean), 2, unit);
        let n = values.len();
        let _ = writeln!(text, "{name:<22}{p50:>12}{p99:>12}{mean:>12}{n:>12}");
    }
    let (cpu, rate) = (quantity(ran.cpu_us_of_event(), 1, "µs"), ran.rate());
    text + &format!("CPU per event: {cpu} at {rate} events/s\n")
}

fn saturated_report(ran: &Ran) -> String {
    let alone = ran.cpu_us_of_event().filter(|&us| us > 0.0);
    let alone = alone.map_or_else(|| "n/a".to_string(), |us| fixed(1e6 / us, 0));
    format!(
        "At saturation, {SATURATING_STREAMS} in flight: {} events/s, {} of client CPU each;\n  \
         the mock shares these cores, a core of the client's own would handle {alone} events/s\n",
        ran.rate(),
        quantity(ran.cpu_us_of_event(), 1, "µs")
    )
}

fn quantity(value: Option<f64>, digits: usize, unit: &str) -> String {
    let shown = |value| format!("{} {unit}", fixed(value, digits));
    value.map_or("n/a".to_string(), shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    /// Sent at 1 s, first token 51.25 ms later, two more within 20.5 ms.
    fn records(token_events: u64) -> Records {
        let sample = Sample {
            id: 3,
            t_send_ns: 1_000_000_000,
            t_first_ns: Some(1_051_250_000),
            t_last_ns: Some(1_071_750_000),
            token_events,
            ..Sample::default()
        };
        let mut records = Records::kept().with_details(false);
        records.add(&sample);
        records
    }

    /// The mock's clock differs: read at 7 s, written 50, 60 and 71 ms later.
    fn truth(id: &str) -> Truth {
        Truth {
            id: Some(id.to_string()),
            t_read_ns: 7_000_000_000,
            t_written_ns: vec![7_050_000_000, 7_060_000_000, 7_071_000_000],
        }
    }

    #[test]
    fn the_added_time_is_the_clients_figure_minus_the_mocks() {
        let added = Added::of(&records(3), &[truth("check-4"), truth("check-3")]).expect("joined");
        // TTFT 51.25 − 50 ms; ITL 20.5 / 2 = 10.25 against 21 / 2 = 10.5 ms: 250 µs, whichever way.
        assert_eq!((added.ttft_ms, added.itl_us), (vec![1.25], vec![250.0]));
    }

    #[test]
    fn a_request_whose_log_line_differs_or_is_missing_fails_the_check() {
        assert!(Added::of(&records(3), &[truth("check-4")]).is_err());
        assert!(Added::of(&records(2), &[truth("check-3")]).is_err());
    }
}
