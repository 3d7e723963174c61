//! The workloads of a run, one after the other, and what they leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::{Value, json};

use super::beside::Beside;
use super::options::Options;
use crate::backend::process::Server;
use crate::cli::commands::report::stdout_screen;
use crate::cli::connect::Opened;
use crate::cli::folder::{Folder, SAMPLES};
use crate::cli::pass::{Pass, Passed};
use crate::cli::print_last;
use crate::client::Target;
use crate::collect::Log;
use crate::collect::round::{Extent, OnSample};
use crate::error::{Error, Result};
use crate::load::stop::{Reason, Stop};
use crate::plan::fixed::Fixed;
use crate::plan::prompt::{Lengths, Writer};
use crate::report::render::{Format, Screen, render};
use crate::report::saved::Report;
use crate::report::workload_json::{SummaryFile, WorkloadFile};
use crate::sample::{Sample, Workload};
use crate::samples_file;
use crate::stats::workload::{WorkloadFacts, WorkloadSummary};
use crate::stats::{itl_ns, latency_ns, ttft_ns};

pub const SUMMARY: &str = "benchmark_summary.json";

/// A run, ready to send.
pub struct Run {
    pub target: Arc<Target>,
    pub lengths: Lengths,
    pub writer: Writer,
    pub opened: Opened,
    pub options: Options,
    pub folder: Folder,
    pub beside: Beside,
    pub about: Value,
    pub stop: Stop,
    pub succeeded: Arc<AtomicBool>,
    /// `None` once it could not be written.
    pub samples_file: Option<samples_file::Writer>,
    /// A reply of this run has reported cached tokens.
    pub cached_reported: bool,
    /// Of the next workload's first request.
    pub next_id: u64,
    /// All that have ended.
    pub summaries: Vec<WorkloadSummary>,
    pub samples: Vec<(Workload, Vec<Sample>)>,
    /// Outputs that could not be written, each with its reason.
    pub lost: Vec<String>,
}

impl Run {
    pub fn any_success(&self) -> bool {
        self.succeeded.load(Relaxed)
    }

    /// Sends every workload, and writes each as it ends; how the server has died, if it did.
    pub fn workloads(&mut self, mut server: Option<&mut Server>) -> Result<Option<String>> {
        for fixed in self.options.workloads.clone() {
            if self.stop.is_set() {
                break;
            }
            self.workload(fixed)?;
            if let Some(how) = server.as_mut().and_then(|server| server.has_died()) {
                return Ok(Some(how));
            }
        }
        Ok(None)
    }

    fn workload(&mut self, fixed: Fixed) -> Result<()> {
        self.beside.begin()?;
        let name = fixed.workload.name();
        let is_verbose = self.options.is_verbose;
        let pass = Pass {
            target: &self.target,
            stop: &self.stop,
            succeeded: &self.succeeded,
            extent: Extent::Requests(fixed.requests),
            in_flight: fixed.in_flight,
            beside: None,
            log: Log {
                name: SAMPLES,
                file: self.samples_file.take(),
                lost: Vec::new(),
            },
            label: (!is_verbose).then(|| name.to_string()),
            on_sample: if is_verbose {
                said()
            } else {
                Box::new(|_| Ok(()))
            },
            series: self.beside.lines(),
            keeps_gaps: true,
            is_warmup: false,
            mock_in_process: self.opened.mock.is_some(),
        };
        let first_id = self.next_id;
        self.next_id = first_id.saturating_add(fixed.requests);
        let mut passed = pass.run(fixed.sessions(first_id, &self.writer, &self.lengths))?;
        self.beside.end(self.stop.is_set());
        for (series, line) in (passed.series)() {
            passed.log.write(|file| file.write_series(series, &line));
        }
        if matches!(self.stop.reason(), Some(Reason::Refused(..))) {
            return Ok(());
        }
        self.take(fixed, passed);
        Ok(())
    }

    /// Works out the figures of a workload and writes its file.
    fn take(&mut self, fixed: Fixed, passed: Passed) {
        let Passed {
            samples,
            client,
            peak,
            mut log,
            ..
        } = passed;
        let start_ns = samples.iter().map(|sample| sample.t_send_ns).min();
        let end_ns = samples.iter().map(|sample| sample.t_end_ns).max();
        let told = self.beside.told(start_ns.unwrap_or(0), end_ns.unwrap_or(0));
        let line = json!({
            "workload": fixed.workload.name(),
            "concurrency_peak": peak,
            "figures": told,
            "client": client,
        });
        log.write(|file| file.write_series("workload", &line));
        self.samples_file = log.file;
        self.lost.extend(log.lost);
        if samples.is_empty() {
            return;
        }
        let workload = fixed.workload;
        let facts = WorkloadFacts {
            workload,
            concurrency: fixed.in_flight,
            peak,
            cached_reported: self.cached_reported,
            client,
            told,
        };
        let summary = WorkloadSummary::of(&samples, facts);
        self.cached_reported |= samples.iter().any(|sample| sample.cached_tokens.is_some());
        let file = pretty(&WorkloadFile {
            about: &self.about,
            summary: &summary,
        });
        self.summaries.push(summary);
        self.samples.push((workload, samples));
        // Also now: what comes next may be killed.
        let all = pretty(&SummaryFile {
            about: &self.about,
            workloads: &self.summaries,
        });
        let name = format!("{}_metrics.json", workload.name());
        for (name, text) in [(name.as_str(), file), (SUMMARY, all)] {
            match text {
                Ok(text) => self.folder.write(name, &text, &mut self.lost),
                Err(error) => self.lost.push(format!("{name}: {error}")),
            }
        }
    }

    /// Writes the reports and shows the table.
    pub fn finish(&mut self) -> Result<()> {
        let samples = std::mem::take(&mut self.samples);
        let mut report = Report::of_workloads(self.about.clone(), self.summaries.clone(), samples);
        report.note_missing();
        let for_files = Screen {
            width: None,
            is_utf8: true,
        };
        let bug = |_| Error::missed("report", "could not be made; this is a bug");
        for (name, format) in [
            ("REPORT.md", Format::Markdown),
            ("report.html", Format::Html),
        ] {
            let text = render(&report, format, for_files).map_err(bug)?;
            self.folder.write(name, &text, &mut self.lost);
        }
        let mut text = render(&report, Format::Table, stdout_screen()).map_err(bug)?;
        text.push_str(&format!("\nResults in {}\n", self.folder.dir().display()));
        print_last(&text)
    }
}

fn pretty(file: &impl serde::Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(file).map(|text| text + "\n")
}

/// Says on stderr how each request ended.
fn said() -> OnSample {
    Box::new(|sample| {
        let name = sample.labels.workload.map_or("", Workload::name);
        match &sample.failure {
            Some(failure) => eprintln!("{name} request {}: failed: {failure}", sample.id),
            None => {
                let ms = |ns: Option<f64>| {
                    ns.map_or("n/a".to_string(), |ns| format!("{:.2} ms", ns / 1e6))
                };
                eprintln!(
                    "{name} request {}: TTFT {}, TBT {}, latency {}, {} tokens",
                    sample.id,
                    ms(ttft_ns(sample).map(|ns| ns as f64)),
                    ms(itl_ns(sample)),
                    ms(Some(latency_ns(sample) as f64)),
                    sample.completion_tokens.unwrap_or(0)
                );
            }
        }
        Ok(())
    })
}
