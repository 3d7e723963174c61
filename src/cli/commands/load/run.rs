//! The points of a run, one after the other, and what they leave.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::Value;

use super::options::Options;
use super::points::Point;
use crate::cli::commands::report::stdout_screen;
use crate::cli::connect::Opened;
use crate::cli::output;
use crate::cli::pass::{Pass, Passed};
use crate::cli::{print, print_last};
use crate::client::Target;
use crate::client::count::count_texts;
use crate::collect::Log;
use crate::collect::round::Extent;
use crate::error::{Error, Result};
use crate::load::open::Due;
use crate::load::stop::{Reason, Stop};
use crate::plan::Session;
use crate::plan::arrival::Arrivals;
use crate::plan::requests::{Batch, Plan};
use crate::report::load_json::LoadFile;
use crate::report::render::{Format, load_point, render};
use crate::report::saved::Report;
use crate::report::vllm;
use crate::sample::{Labels, Sample};
use crate::samples_file::{self, TokensLine};
use crate::stats::load::{LoadFacts, LoadSummary};

/// A run, ready to send.
pub struct Load {
    pub target: Arc<Target>,
    pub opened: Opened,
    pub options: Options,
    pub plan: Plan,
    pub warmup_plan: Plan,
    pub about: Value,
    pub stop: Stop,
    pub succeeded: Arc<AtomicBool>,
    /// `None`: nobody asked for it, or it could not be written.
    pub samples_file: Option<samples_file::Writer>,
    /// A reply of this run has reported cached tokens, or said whether it was cached as a whole.
    pub cached_reported: bool,
    pub response_cached_reported: bool,
    /// Of the next request.
    pub next_id: u64,
    /// All points that have ended, and the samples of each.
    pub summaries: Vec<LoadSummary>,
    pub samples: Vec<Vec<Sample>>,
    /// What of the report has been shown.
    pub shown: String,
    /// Outputs that could not be written, each with its reason.
    pub lost: Vec<String>,
}

impl Load {
    /// Sends every point, and shows and writes each as it ends.
    pub fn points(&mut self) -> Result<()> {
        for (at, point) in self.options.points.clone().into_iter().enumerate() {
            let warmup = self.warm_up(at, point)?;
            if self.stop.is_set() {
                break;
            }
            let batch = self.batch(at, point);
            let passed = self.measure(point, &batch)?;
            if matches!(self.stop.reason(), Some(Reason::Refused(..))) {
                break;
            }
            self.take(at, &batch, warmup, passed)?;
            if self.stop.is_set() {
                break;
            }
        }
        Ok(())
    }

    /// Requests with prompts of their own, in no figure.
    fn warm_up(&mut self, at: usize, point: Point) -> Result<Vec<Sample>> {
        let requests = self.options.warmup;
        if requests == 0 {
            return Ok(Vec::new());
        }
        let batch = Batch {
            name: format!("warmup/{at}"),
            requests: Some(requests),
            gap: 1,
            first_id: self.next_id,
            labels: labels(point),
        };
        let log = self.log();
        let pass = Pass {
            label: Some(format!("{}, warm-up", title(point))),
            is_warmup: true,
            ..self.pass(point, Extent::Requests(requests), log)
        };
        let passed = pass.run(self.warmup_plan.turns(&batch).map(Session::single))?;
        Ok(self.keep(passed).samples)
    }

    fn batch(&self, at: usize, point: Point) -> Batch {
        Batch {
            name: at.to_string(),
            requests: self.options.requests,
            gap: self.options.gap(point),
            first_id: self.next_id,
            labels: labels(point),
        }
    }

    fn measure(&mut self, point: Point, batch: &Batch) -> Result<Passed> {
        let extent = match self.options.duration {
            Some(duration) => Extent::Duration(duration),
            None => Extent::Requests(batch.requests.unwrap_or(0)),
        };
        let log = self.log();
        let pass = self.pass(point, extent, log);
        let sessions = self.plan.turns(batch).map(Session::single);
        let due = |(due_ns, session)| Due { due_ns, session };
        let passed = match (point, &self.plan.source) {
            (Point::Concurrency(_), _) => pass.run(sessions)?,
            (Point::Rate(rate), _) => {
                let options = &self.options;
                let times = Arrivals::new(rate, options.burstiness, options.seed);
                pass.run_open(times.zip(sessions).map(due))?
            }
            (Point::Trace, source) => {
                let speed = self.options.speed;
                let times = (0..).map_while(|k| source.due_ns(k, speed));
                pass.run_open(times.zip(sessions).map(due))?
            }
        };
        Ok(self.keep(passed))
    }

    fn log(&mut self) -> Log {
        Log {
            name: "--samples",
            file: self.samples_file.take(),
            lost: Vec::new(),
        }
    }

    fn pass(&self, point: Point, extent: Extent, log: Log) -> Pass<'_> {
        Pass {
            target: &self.target,
            stop: &self.stop,
            succeeded: &self.succeeded,
            extent,
            in_flight: self.options.in_flight(point),
            beside: None,
            log,
            label: Some(title(point)),
            on_sample: Box::new(|_| Ok(())),
            series: Box::new(Vec::new),
            keeps_gaps: true,
            is_warmup: false,
            mock_in_process: self.opened.mock.is_some(),
        }
    }

    /// Takes back what the pass had of the run.
    fn keep(&mut self, mut passed: Passed) -> Passed {
        self.samples_file = passed.log.file.take();
        self.lost.append(&mut passed.log.lost);
        let last = passed.samples.iter().map(|sample| sample.id + 1).max();
        self.next_id = self.next_id.max(last.unwrap_or(0));
        passed
    }

    /// Counts what is left to count, works out the figures of a point, writes and shows them.
    fn take(
        &mut self,
        at: usize,
        batch: &Batch,
        warmup: Vec<Sample>,
        mut passed: Passed,
    ) -> Result<()> {
        let sent = passed.samples.len() as u64;
        if sent == 0 {
            return Ok(());
        }
        let point = self.options.points[at];
        let counted = self.count(&mut passed.samples);
        let perfect = self.plan.perfect(batch, sent);
        let facts = LoadFacts {
            concurrency: point.concurrency(),
            rate_per_s: point.rate_per_s(),
            planned: batch.requests,
            peak: passed.peak,
            cached_reported: self.cached_reported,
            response_cached_reported: self.response_cached_reported,
            slo: self.options.slo,
            exhausted: passed.exhausted,
            perfect_response_rate: perfect.response,
            perfect_prefix_rate: perfect.prefix,
            not_sent: batch
                .requests
                .map_or(0, |planned| planned.saturating_sub(sent)),
            client: passed.client,
        };
        let mut log = self.log();
        for line in counted {
            log.write(|file| file.write_series("tokens", &line));
        }
        log.write(|file| file.write_series("point", &facts.line(at as u64)));
        self.samples_file = log.file;
        self.lost.append(&mut log.lost);
        let mut samples = warmup;
        samples.append(&mut passed.samples);
        let summary = LoadSummary::of(&samples, facts);
        let mut all = samples.iter();
        self.cached_reported |= all.clone().any(|s| s.cached_tokens.is_some());
        self.response_cached_reported |= all.any(|s| s.response_cached.is_some());
        self.export(at, &summary, &samples);
        self.summaries.push(summary);
        self.samples.push(samples);
        self.write_output();
        self.show(at)
    }

    /// Counts the tokens of plain replies that did not say; the lines that tell so.
    fn count(&self, samples: &mut [Sample]) -> Vec<TokensLine> {
        let uncounted = samples.iter().filter(|sample| sample.text.is_some());
        let ids: HashSet<u64> = uncounted.map(|sample| sample.id).collect();
        if ids.is_empty() {
            return Vec::new();
        }
        let tokenizer = self.opened.tokenizer(&self.target);
        count_texts(&tokenizer, samples, &self.plan.lengths);
        let counted = samples.iter().filter(|sample| ids.contains(&sample.id));
        counted.filter_map(TokensLine::of).collect()
    }

    fn export(&mut self, at: usize, summary: &LoadSummary, samples: &[Sample]) {
        let names: Vec<String> = self.options.points.iter().map(Point::name).collect();
        let Some(path) = self.options.outputs.exports(&names).into_iter().nth(at) else {
            return;
        };
        let result = vllm::result(&self.about, summary, samples);
        let text = serde_json::to_string(&result).map(|text| text + "\n");
        self.write("--export vllm", &path, text);
    }

    /// The figures so far: what comes next may be killed.
    fn write_output(&mut self) {
        let Some(path) = self.options.outputs.output.clone() else {
            return;
        };
        let file = LoadFile {
            about: &self.about,
            points: &self.summaries,
        };
        let text = serde_json::to_string_pretty(&file).map(|text| text + "\n");
        self.write("--output", &path, text);
    }

    fn write(&mut self, flag: &str, path: &str, text: serde_json::Result<String>) {
        output::write(&format!("{flag} {path}"), path, text, &mut self.lost);
    }

    /// In a sweep each point is shown as it ends.
    fn show(&mut self, at: usize) -> Result<()> {
        if self.options.points.len() == 1 {
            return Ok(());
        }
        let text = load_point(&self.summaries[at]).map_err(bug)?;
        print(&text)?;
        self.shown.push_str(&text);
        Ok(())
    }

    /// Shows the rest of the report.
    pub fn finish(&mut self) -> Result<()> {
        let samples = std::mem::take(&mut self.samples);
        let mut report = Report::of_points(self.about.clone(), self.summaries.clone(), samples);
        report.note_missing();
        let text = render(&report, Format::Table, stdout_screen()).map_err(bug)?;
        let mut rest = text.strip_prefix(&self.shown).unwrap_or(&text).to_string();
        let outputs = &self.options.outputs;
        let named = [
            ("Figures", "--output", &outputs.output),
            ("Samples", "--samples", &outputs.samples),
        ];
        for (what, flag, path) in named {
            let is_lost = self.lost.iter().any(|why| why.starts_with(flag));
            if let Some(path) = path.as_ref().filter(|_| !is_lost) {
                rest.push_str(&format!("\n{what} in {path}"));
            }
        }
        print_last(&(rest.trim_end().to_string() + "\n"))
    }
}

fn bug(_: std::fmt::Error) -> Error {
    Error::missed("report", "could not be made; this is a bug")
}

fn labels(point: Point) -> Labels {
    Labels {
        concurrency: point.concurrency(),
        rate_per_s: point.rate_per_s(),
        ..Labels::default()
    }
}

/// Of the line on the terminal.
fn title(point: Point) -> String {
    match point {
        Point::Concurrency(n) => format!("Concurrency {n}"),
        Point::Rate(rate) => format!("Rate {rate}/s"),
        Point::Trace => "Trace".to_string(),
    }
}
