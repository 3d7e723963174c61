//! The collector of one round: keeps every sample, for figures that are exact, and shows how far it is.

use std::io;
use std::time::{Duration, Instant};

use crossbeam_channel::{never, select, tick};
use serde_json::Value;

use super::{Feed, Log, clear_progress, show_progress};
use crate::sample::{Phase, Sample};
use crate::stats::client::ClientStats;
use crate::units::fixed;
use crate::vitals::Vitals;

const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Told of every sample; what it could not write down.
pub type OnSample = Box<dyn FnMut(&Sample) -> io::Result<()> + Send>;
/// Lines of other series that have come up since the last call, each with the series' name.
pub type Series = Box<dyn FnMut() -> Vec<(&'static str, Value)> + Send>;

/// What the collector works on.
pub struct Collector {
    pub feed: Feed,
    pub log: Log,
    pub extent: Extent,
    /// `None`: nobody looks.
    pub progress: Option<Progress>,
    pub on_sample: OnSample,
    pub series: Series,
    /// The samples are to have the gaps between their tokens.
    pub keeps_gaps: bool,
}

/// What a round ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// So many requests are sent, if none fails.
    Requests(u64),
    /// Nothing is sent after so long.
    Duration(Duration),
}

/// How the line on the terminal begins, and the columns that there are.
pub struct Progress {
    pub label: String,
    pub width: usize,
}

/// A round that has ended.
pub struct Collected {
    /// In the order of their ends.
    pub samples: Vec<Sample>,
    pub client: ClientStats,
    pub log: Log,
    /// As it was handed in: its last lines may come after the round.
    pub series: Series,
}

struct State {
    collector: Collector,
    samples: Vec<Sample>,
    client: ClientStats,
    begun: Instant,
    failed: u64,
    told_lost: bool,
}

/// Collects until the last worker is gone, or a moment after the run was stopped.
pub fn run(collector: Collector) -> Collected {
    let mut state = State {
        samples: Vec::new(),
        collector,
        client: ClientStats::default(),
        begun: Instant::now(),
        failed: 0,
        told_lost: false,
    };
    state.until_the_end();
    Collected {
        samples: state.samples,
        client: state.client,
        log: state.collector.log,
        series: state.collector.series,
    }
}

impl State {
    fn until_the_end(&mut self) {
        let samples = self.collector.feed.samples.clone();
        let mut vitals = self.collector.feed.vitals.clone();
        let stopped = self.collector.feed.stopped.clone();
        let ticks = tick(PROGRESS_EVERY);
        loop {
            select! {
                recv(samples) -> sample => match sample {
                    Ok(sample) => self.take(sample),
                    Err(_) => break,
                },
                recv(vitals) -> seen => match seen {
                    Ok(seen) => self.watch(&seen),
                    // It is gone; the round does not need it.
                    Err(_) => vitals = never(),
                },
                recv(stopped) -> _ => break,
                recv(ticks) -> _ => {
                    self.write_series();
                    self.show_progress();
                }
            }
        }
        let (samples, vitals) = self.collector.feed.last_reports();
        samples.into_iter().for_each(|sample| self.take(sample));
        vitals.iter().for_each(|seen| self.watch(seen));
        self.write_series();
        if self.collector.progress.is_some() {
            clear_progress();
        }
    }

    fn take(&mut self, mut sample: Sample) {
        self.collector.log.write(|file| file.write(&sample));
        if let Err(error) = (self.collector.on_sample)(&sample)
            && !std::mem::replace(&mut self.told_lost, true)
        {
            self.collector.log.lose(format!("debug log: {error}"));
        }
        self.failed += u64::from(sample.failure.is_some() && sample.phase == Phase::Measured);
        if !self.collector.keeps_gaps {
            sample.gaps_us = Vec::new();
        }
        self.samples.push(sample);
    }

    fn watch(&mut self, seen: &Vitals) {
        self.collector.log.write(|file| file.write_vitals(seen));
        let started_ns = self.collector.feed.gauge.started_ns();
        // Before the first send nothing is measured yet.
        if started_ns > 0 {
            self.client.add(seen, started_ns);
        }
    }

    fn write_series(&mut self) {
        for (name, line) in (self.collector.series)() {
            self.collector
                .log
                .write(|file| file.write_series(name, &line));
        }
    }

    fn show_progress(&self) {
        let Some(Progress { label, width }) = &self.collector.progress else {
            return;
        };
        let done = self.samples.len() as u64;
        let elapsed_s = self.begun.elapsed().as_secs_f64();
        let line = progress(label, done, self.collector.extent, self.failed, elapsed_s);
        show_progress(&line, *width);
    }
}

/// `Concurrency 5, round 1: 30/100 done, 0 failed, 12.0 req/s, 6 s left`
fn progress(label: &str, done: u64, extent: Extent, failed: u64, elapsed_s: f64) -> String {
    let rate = done as f64 / elapsed_s;
    let (of, left_s) = match extent {
        Extent::Requests(of) => {
            let left_s = of.saturating_sub(done) as f64 / rate;
            (format!("/{of}"), (done > 0).then_some(left_s))
        }
        Extent::Duration(duration) => {
            let left_s = (duration.as_secs_f64() - elapsed_s).max(0.0);
            (String::new(), Some(left_s))
        }
    };
    let left = left_s.map_or(String::new(), |left_s| match left_s {
        left_s if left_s < 120.0 => format!(", {left_s:.0} s left"),
        left_s if left_s < 7200.0 => format!(", {:.0} min left", left_s / 60.0),
        left_s => format!(", {:.1} h left", left_s / 3600.0),
    });
    format!(
        "{label}: {done}{of} done, {failed} failed, {} req/s{left}",
        fixed(rate, 1)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_how_long_the_rest_will_take() {
        // 30 in 2.5 s are 12 a second; 70 more take 5.83 s.
        let line = progress("Concurrency 5, round 1", 30, Extent::Requests(100), 2, 2.5);
        let wanted = "Concurrency 5, round 1: 30/100 done, 2 failed, 12.0 req/s, 6 s left";
        assert_eq!(line, wanted);
        // 1 a second: 599 are 9.98 min, 35,999 are 10.0 h.
        for (of, left) in [(600, "10 min left"), (36_000, "10.0 h left")] {
            let line = progress("x", 1, Extent::Requests(of), 0, 1.0);
            assert!(line.ends_with(left), "{line}");
        }
        assert_eq!(
            progress("x", 0, Extent::Requests(9), 0, 1.0),
            "x: 0/9 done, 0 failed, 0.0 req/s"
        );
        let minute = Extent::Duration(Duration::from_secs(60));
        assert_eq!(
            progress("x", 30, minute, 0, 15.0),
            "x: 30 done, 0 failed, 2.00 req/s, 45 s left"
        );
    }
}
