//! `tmesh-cli check client`: what this client adds to what it measures, on this host, now.
//!
//! The client of every command against a mock in a process of its own: a few seconds of paced streams, whose
//! samples are joined with the mock's truth log, then two seconds without any pace.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::cli::args::{Args, at_least_one};
use crate::cli::checks;
use crate::cli::mock_process::{MockProcess, Truth};
use crate::cli::print;
use crate::client::api::Api;
use crate::client::body::BodyShape;
use crate::client::endpoint::Endpoint;
use crate::client::http::{Link, resolve};
use crate::client::transport::Timeouts;
use crate::client::{Client, Target};
use crate::error::{Error, Result};
use crate::load::pool::Shared;
use crate::load::stop::{Reason, Stop};
use crate::load::{self, Limit};
use crate::plan::prompt::{Lengths, Writer};
use crate::plan::tiling::{Shape, Tiling};
use crate::report::client as client_line;
use crate::sample::{Gauge, Sample};
use crate::stats::client::{ClientStats, ClientSummary};
use crate::stats::{exact_quantile, ttft_ns};
use crate::units::{Epoch, fixed, parse_number, seconds};
use crate::watchdog;

const MODEL: &str = "check";
const RUN_ID: &str = "check";
const PROMPT_TOKENS: u64 = 64;
/// Paced streams begin with this and last about a second; each is sent so many times.
const FIRST_TOKEN: Duration = Duration::from_millis(50);
const ROUNDS: u64 = 4;
/// The unpaced part.
const SATURATING_STREAMS: u64 = 10;
const SATURATING_TOKENS: u64 = 100;
const SATURATING_TIME: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(60);

/// One part of the check.
struct Load {
    streams: u64,
    tokens: u64,
    /// `None`: for `duration`.
    requests: Option<u64>,
    duration: Option<Duration>,
}

/// What a part of the check has left.
struct Ran {
    samples: Vec<Sample>,
    /// Of this process, in steps of 10 ms; `None`: /proc does not tell.
    cpu_s: Option<f64>,
    watched: ClientSummary,
    interrupted: bool,
}

impl Ran {
    fn events(&self) -> u64 {
        self.samples.iter().map(|sample| sample.token_events).sum()
    }

    /// From the first send to the last end.
    fn elapsed_s(&self) -> f64 {
        let start = self.samples.iter().map(|sample| sample.t_send_ns).min();
        let end = self.samples.iter().map(|sample| sample.t_end_ns).max();
        seconds(end.unwrap_or(0).saturating_sub(start.unwrap_or(0)))
    }

    fn cpu_us_of_event(&self) -> Option<f64> {
        let events = self.events();
        self.cpu_s
            .filter(|_| events > 0)
            .map(|cpu_s| cpu_s * 1e6 / events as f64)
    }
}

/// Runs the command; the exit code.
///
/// # Errors
/// When the mock does not start, or the check fails: the client was limited, or a request was not answered.
pub fn run(mut args: Args) -> Result<u8> {
    let streams = args.value("--streams", at_least_one)?.unwrap_or(256);
    let rate = args.value("--rate", rate)?.unwrap_or(100.0);
    checks::in_flight("--streams", streams, false)?;
    let itl = Duration::from_secs_f64(1.0 / rate);
    let paced = Load {
        streams,
        tokens: (rate.round() as u64).max(2),
        requests: Some(streams * ROUNDS),
        duration: None,
    };
    // Before the mock is there: a signal must not leave it behind.
    let stop = Stop::new();
    stop.on_signals()?;
    print(&format!(
        "Client check: {streams} streams at {rate} tokens/s each against a mock in a process of its own …\n"
    ))?;
    let mock = MockProcess::start(&mock_options(streams, FIRST_TOKEN, itl))?;
    let ran = measure(&mock.url, &paced, &stop)?;
    if ran.interrupted {
        return Ok(130);
    }
    let failed = ran.samples.iter().filter(|sample| !sample.is_success());
    if let Some(failure) = failed.clone().find_map(|sample| sample.failure.as_ref()) {
        let n = failed.count();
        let why = format!("{n} requests failed, one with {}", failure.reason);
        return Err(Error::missed("check client", why));
    }
    let added = Added::of(&ran.samples, &mock.truth())?;
    print(&paced_report(&ran, &added))?;

    let unpaced = Load {
        streams: SATURATING_STREAMS,
        tokens: SATURATING_TOKENS,
        requests: None,
        duration: Some(SATURATING_TIME),
    };
    let mock = MockProcess::start(&mock_options(
        SATURATING_STREAMS,
        Duration::ZERO,
        Duration::ZERO,
    ))?;
    let saturated = measure(&mock.url, &unpaced, &stop)?;
    if saturated.interrupted {
        return Ok(130);
    }
    print(&saturated_report(&saturated))?;
    let mut line = String::new();
    // Writing to a String cannot fail.
    let _ = client_line::line(&mut line, &ran.watched);
    print(&line)?;
    if ran.watched.limited == Some(true) {
        return Err(Error::missed(
            "check client",
            "this host does not give the client the time it needs",
        )
        .next("Leave it a core of its own, or ask for less: fewer --streams, a lower --rate"));
    }
    Ok(0)
}

/// Tokens a second of a stream. Its request has a second's tokens, which must fit the mock's model.
fn rate(text: &str) -> std::result::Result<f64, String> {
    match parse_number(text)? {
        rate if (0.1..=1e4).contains(&rate) => Ok(rate),
        _ => Err("want 0.1 to 10000 tokens per second".to_string()),
    }
}

fn mock_options(streams: u64, first: Duration, itl: Duration) -> Vec<String> {
    let us = |duration: Duration| format!("{}us", duration.as_secs_f64() * 1e6);
    let pairs = [
        ("--model", MODEL.to_string()),
        ("--base", us(first)),
        ("--itl", us(itl)),
        ("--prefill-rate", "1000M".to_string()),
        ("--max-running", streams.to_string()),
    ];
    let words = pairs.into_iter();
    words
        .flat_map(|(name, value)| [name.to_string(), value])
        .collect()
}

/// Puts a server under a load, with the watchdog beside it.
fn measure(url: &str, load: &Load, stop: &Stop) -> Result<Ran> {
    let epoch = Epoch::start();
    let target = Arc::new(target(url, epoch)?);
    let (sender, samples) = bounded(4096);
    let gauge = Arc::new(Gauge::default());
    let shared = Shared::new(sender, stop.clone(), gauge.clone(), MODEL);
    let clients = (0..load.streams)
        .map(|_| Client::new(target.clone()))
        .collect();
    let shape = Shape {
        contexts: load.streams,
        questions: load.streams,
        input_tokens: PROMPT_TOKENS,
        output_tokens: load.tokens,
        requests: load.requests,
    };
    let plan = Tiling::new(shape, &Writer::new(0, RUN_ID), &Lengths::estimate());
    let watch = watchdog::start(epoch)?;
    let collecting = std::thread::spawn(move || samples.iter().collect::<Vec<Sample>>());
    let limit = load.duration.map_or(Limit::None, Limit::Cut);
    load::run(plan, clients, shared, limit)?;
    let samples = collecting
        .join()
        .map_err(|_| Error::missed("collector", "it panicked; this is a bug"))?;
    drop(watch.end);
    let mut stats = ClientStats::default();
    let mut cpu_ms = Some(0);
    for vitals in watch.vitals.iter() {
        stats.add(&vitals, gauge.started_ns());
        cpu_ms = cpu_ms.zip(vitals.cpu_ms).map(|(sum, ms)| sum + ms);
    }
    Ok(Ran {
        samples,
        cpu_s: cpu_ms.map(|ms| ms as f64 / 1e3),
        watched: stats.summary(gauge.started_ns(), false),
        interrupted: stop.reason() == Some(&Reason::Signal),
    })
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

/// What the client added to each request: its own figure less that of the truth log, sorted.
#[derive(Debug)]
struct Added {
    ttft_ms: Vec<f64>,
    /// The size of the difference, whatever its sign.
    itl_us: Vec<f64>,
}

impl Added {
    fn of(samples: &[Sample], truth: &[Truth]) -> Result<Added> {
        let by_id: HashMap<&str, &Truth> = truth
            .iter()
            .filter_map(|truth| Some((truth.id.as_deref()?, truth)))
            .collect();
        let mut added = Added {
            ttft_ms: Vec::with_capacity(samples.len()),
            itl_us: Vec::with_capacity(samples.len()),
        };
        for sample in samples {
            let id = format!("{RUN_ID}-{}", sample.id);
            let joined = by_id
                .get(id.as_str())
                .and_then(|truth| differences(sample, truth));
            let (ttft_ms, itl_us) = joined.ok_or_else(|| {
                Error::missed("check client", format!("the mock has no truth of {id}"))
            })?;
            added.ttft_ms.push(ttft_ms);
            added.itl_us.push(itl_us);
        }
        added.ttft_ms.sort_by(f64::total_cmp);
        added.itl_us.sort_by(f64::total_cmp);
        Ok(added)
    }
}

/// TTFT's in milliseconds and ITL's in microseconds; `None` unless each token was an event of its own.
fn differences(sample: &Sample, truth: &Truth) -> Option<(f64, f64)> {
    let (first, last) = (*truth.t_written_ns.first()?, *truth.t_written_ns.last()?);
    let gaps = truth.t_written_ns.len().checked_sub(1).filter(|&n| n > 0)? as f64;
    let ns = |from: u64, to: u64| to as f64 - from as f64;
    let (t_first, t_last) = (sample.t_first_ns?, sample.t_last_ns?);
    let ttft_ns = ttft_ns(sample)? as f64 - ns(truth.t_read_ns, first);
    let itl_ns = (ns(t_first, t_last) - ns(first, last)) / gaps;
    (sample.token_events == truth.t_written_ns.len() as u64)
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
        let shown = [
            exact_quantile(values, 0.5),
            exact_quantile(values, 0.99),
            Some(mean),
        ];
        let _ = write!(text, "{name:<22}");
        for value in shown {
            let value =
                value.map_or_else(|| "n/a".to_string(), |v| format!("{} {unit}", fixed(v, 2)));
            let _ = write!(text, "{value:>12}");
        }
        let _ = writeln!(text, "{:>12}", values.len());
    }
    let rate = fixed(ran.events() as f64 / ran.elapsed_s(), 0);
    let _ = writeln!(
        text,
        "CPU per event: {} at {rate} events/s",
        microseconds(ran.cpu_us_of_event())
    );
    text
}

fn saturated_report(ran: &Ran) -> String {
    let rate = fixed(ran.events() as f64 / ran.elapsed_s(), 0);
    let alone = ran.cpu_us_of_event().filter(|&us| us > 0.0);
    let alone = alone.map_or_else(|| "n/a".to_string(), |us| fixed(1e6 / us, 0));
    format!(
        "At saturation, {SATURATING_STREAMS} in flight: {rate} events/s, {} of client CPU each;\n  \
         the mock shares these cores, a core of the client's own would take {alone} events/s\n",
        microseconds(ran.cpu_us_of_event())
    )
}

fn microseconds(us: Option<f64>) -> String {
    us.map_or_else(|| "n/a".to_string(), |us| format!("{} µs", fixed(us, 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sent at 1 s, first token 51.25 ms later, two more in 20.5 ms.
    fn sample() -> Sample {
        Sample {
            id: 3,
            t_send_ns: 1_000_000_000,
            t_first_ns: Some(1_051_250_000),
            t_last_ns: Some(1_071_750_000),
            token_events: 3,
            ..Sample::default()
        }
    }

    /// On another clock: read at 7 s, written 50, 60 and 71 ms later.
    fn truth(id: &str) -> Truth {
        Truth {
            id: Some(id.to_string()),
            t_read_ns: 7_000_000_000,
            t_written_ns: vec![7_050_000_000, 7_060_000_000, 7_071_000_000],
        }
    }

    #[test]
    fn what_the_client_added_is_its_figure_less_that_of_the_mock() {
        let added = Added::of(&[sample()], &[truth("check-4"), truth("check-3")]).expect("joined");
        // TTFT 51.25 − 50 ms; ITL 20.5 / 2 = 10.25 against 21 / 2 = 10.5 ms: 250 µs, whichever way.
        assert_eq!((added.ttft_ms, added.itl_us), (vec![1.25], vec![250.0]));
    }

    #[test]
    fn a_request_that_the_mock_knows_otherwise_or_not_at_all_fails_the_check() {
        assert!(Added::of(&[sample()], &[truth("check-4")]).is_err());
        let joined = Sample {
            token_events: 2,
            ..sample()
        };
        assert!(Added::of(&[joined], &[truth("check-3")]).is_err());
    }
}
