//! The collector of a run in constant memory: adds samples up and prints a block at every interval.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crossbeam_channel::{at, never, select};
use serde_json::Value;

use super::{Feed, Log, replace};
use crate::report::{json, live};
use crate::sample::Sample;
use crate::stats::{Clock, Stats, Summary};
use crate::units::nanoseconds;
use crate::vitals::Vitals;

const RESULT_EVERY: Duration = Duration::from_secs(60);
/// Without samples nobody knows yet when the run starts.
const START_POLL: Duration = Duration::from_millis(50);

/// What the collector works on.
pub struct Collector {
    pub feed: Feed,
    pub log: Log,
    pub interval: Duration,
    pub warmup: Duration,
    pub mock_in_process: bool,
    /// Rewritten every minute and at the end.
    pub result: Option<ResultFile>,
    /// Called when nobody reads stdout any more.
    pub on_closed: Box<dyn Fn() + Send>,
}

/// Where the JSON result goes, and what stands in front of the figures.
pub struct ResultFile {
    pub path: String,
    pub about: Value,
}

impl ResultFile {
    pub fn write(&self, summary: &Summary, ended: Option<&str>) -> io::Result<()> {
        let result = json::ResultFile::new(&self.about, summary, ended);
        let text = format!("{}\n", serde_json::to_string_pretty(&result)?);
        replace(&self.path, text.as_bytes())
    }
}

/// What is left when the last sample is in.
pub struct Collected {
    pub summary: Summary,
    /// What the summary was taken with.
    pub clock: Clock,
    pub any_success: bool,
    pub result: Option<ResultFile>,
    pub log: Log,
}

struct State {
    collector: Collector,
    stats: Stats,
    /// Ended after the interval being printed.
    early: Vec<Sample>,
    checked_length: bool,
    closed: bool,
}

/// Collects until the last worker is gone, or a moment after the run was stopped.
pub fn run(collector: Collector) -> Collected {
    let mut state = State {
        collector,
        stats: Stats::default(),
        early: Vec::new(),
        checked_length: false,
        closed: false,
    };
    let ended_ns = state.until_the_end();
    let clock = state.clock(ended_ns);
    Collected {
        any_success: state.stats.any_success(),
        summary: state.stats.summary(&clock).ended(),
        clock,
        result: state.collector.result,
        log: state.collector.log,
    }
}

impl State {
    /// When the run ended: waiting for cut requests is no part of it.
    fn until_the_end(&mut self) -> u64 {
        let samples = self.collector.feed.samples.clone();
        let mut vitals = self.collector.feed.vitals.clone();
        let stopped = self.collector.feed.stopped.clone();
        let mut next_block: Option<u64> = None;
        let mut wake = at(Instant::now() + START_POLL);
        let mut next_result = Instant::now() + RESULT_EVERY;
        let mut result_due = if self.collector.result.is_some() {
            at(next_result)
        } else {
            never()
        };
        loop {
            select! {
                recv(samples) -> sample => match sample {
                    Ok(sample) => self.take(&sample),
                    Err(_) => break,
                },
                recv(vitals) -> seen => match seen {
                    Ok(seen) => self.watch(&seen),
                    // It is gone; the run does not need it.
                    Err(_) => vitals = never(),
                },
                recv(stopped) -> _ => break,
                recv(wake) -> _ => {
                    next_block = match next_block {
                        Some(boundary) => {
                            self.block(boundary);
                            Some(boundary + nanoseconds(self.collector.interval))
                        }
                        None => self.first_block(),
                    };
                    wake = match next_block {
                        Some(stamp_ns) => at(self.collector.feed.epoch.instant(stamp_ns)),
                        None => at(Instant::now() + START_POLL),
                    };
                }
                recv(result_due) -> _ => {
                    next_result += RESULT_EVERY;
                    result_due = at(next_result);
                    self.write_result();
                }
            }
        }
        let ended_ns = self.now_ns();
        // A block that was due at the very end is not left to chance.
        let next_block = next_block.or_else(|| self.first_block());
        if let Some(boundary) = next_block.filter(|&due| due <= ended_ns) {
            self.block(boundary);
        }
        let (samples, vitals) = self.collector.feed.last_reports();
        samples.iter().for_each(|sample| self.take(sample));
        vitals.iter().for_each(|seen| self.watch(seen));
        ended_ns
    }

    /// The end of the first interval, once a request has been sent.
    fn first_block(&self) -> Option<u64> {
        let started = self.collector.feed.gauge.started_ns();
        (started > 0).then(|| self.measured_ns() + nanoseconds(self.collector.interval))
    }

    /// When figures begin to count.
    fn measured_ns(&self) -> u64 {
        self.collector.feed.gauge.started_ns() + nanoseconds(self.collector.warmup)
    }

    fn now_ns(&self) -> u64 {
        self.collector.feed.epoch.now_ns()
    }

    fn take(&mut self, sample: &Sample) {
        self.collector.log.write(|file| file.write(sample));
        self.check_length(sample);
        self.stats.add(sample);
    }

    fn watch(&mut self, seen: &Vitals) {
        self.collector.log.write(|file| file.write_vitals(seen));
        // Before the first send nothing is measured yet.
        if self.collector.feed.gauge.started_ns() > 0 {
            self.stats.add_vitals(seen, self.measured_ns());
        }
    }

    /// The first count of the server shows whether prompts have the length that was meant.
    fn check_length(&mut self, sample: &Sample) {
        let counts = sample.prompt_tokens.zip(sample.labels.wanted_prompt_tokens);
        let Some((got, wanted)) = counts.filter(|_| !self.checked_length) else {
            return;
        };
        self.checked_length = true;
        let off = got as f64 / wanted as f64 - 1.0;
        if off.abs() > 0.01 {
            let off = off * 100.0;
            eprintln!(
                "note: prompts are {got} tokens by the server's count, {wanted} were meant ({off:+.1} %)"
            );
        }
    }

    /// Prints the block of the interval that ended at `boundary`; samples that ended later wait.
    fn block(&mut self, boundary: u64) {
        while let Ok(sample) = self.collector.feed.samples.try_recv() {
            if sample.t_end_ns <= boundary {
                self.take(&sample);
            } else {
                self.early.push(sample);
            }
        }
        let summary = self.summary(boundary);
        let interval = self.stats.end_interval();
        let mut text = String::new();
        let seconds = self.collector.interval.as_secs_f64();
        // Writing to a String cannot fail.
        let _ = live::block(&mut text, &summary, &interval, seconds);
        self.print(&text);
        for sample in std::mem::take(&mut self.early) {
            self.take(&sample);
        }
    }

    fn summary(&self, now_ns: u64) -> Summary {
        self.stats.summary(&self.clock(now_ns))
    }

    fn clock(&self, now_ns: u64) -> Clock {
        let gauge = &self.collector.feed.gauge;
        let started_ns = gauge.started_ns();
        Clock {
            started_ns,
            measured_ns: self.measured_ns(),
            // Before the first send no time has passed.
            now_ns: if started_ns == 0 { 0 } else { now_ns },
            in_flight: gauge.in_flight(),
            peak: gauge.peak(),
            mock_in_process: self.collector.mock_in_process,
        }
    }

    fn print(&mut self, text: &str) {
        if self.closed {
            return;
        }
        let mut out = io::stdout().lock();
        if out
            .write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .is_err()
        {
            self.closed = true;
            (self.collector.on_closed)();
        }
    }

    fn write_result(&mut self) {
        let summary = self.summary(self.now_ns());
        if let Some(Err(error)) = self
            .collector
            .result
            .as_ref()
            .map(|result| result.write(&summary, None))
        {
            eprintln!("warning: --output: {error}");
        }
    }
}
