//! A saved `run`: from its samples, or from its result files.

use serde_json::Value;

use super::saved::{
    Figures, Group, NO_SAMPLES, Report, Samples, client_between, no_gaps, peak, start_ns,
};
use super::{read_back, workload_json};
use crate::sample::{Sample, Workload};
use crate::stats::workload::{WorkloadFacts, WorkloadSummary};

impl Report {
    /// Of samples of `run`.
    pub fn of_run(saved: Samples) -> Report {
        let mut rest = saved.samples;
        let mut groups: Vec<(Workload, Vec<Sample>)> = Vec::new();
        for workload in Workload::ALL {
            let is_of = |sample: &Sample| sample.labels.workload == Some(workload);
            let (of, others) = rest.into_iter().partition(is_of);
            rest = others;
            groups.push((workload, of));
        }
        groups.retain(|(_, samples)| !samples.is_empty());
        let is_mock = saved.about["mock"] == true;
        let mut notes = Vec::new();
        let mut cached_reported = false;
        let mut summaries = Vec::new();
        for (at, (workload, samples)) in groups.iter().enumerate() {
            let name = workload.name();
            let mut lines = saved.workloads.iter();
            let line = lines.find(|line| line["workload"] == name);
            if line.is_none() {
                notes.push(format!("{name} has no end in this file: requests in flight then are not counted, and nothing tells of memory and cache"));
            }
            let next = groups.get(at + 1);
            let until_ns = next.map_or(u64::MAX, |(_, samples)| start_ns(samples));
            let told = line.unwrap_or(&Value::Null);
            let client = read_back::client(&told["client"]);
            let of_samples = samples.first().and_then(|s| s.labels.concurrency);
            let facts = WorkloadFacts {
                workload: *workload,
                concurrency: of_samples.unwrap_or(1),
                peak: told["concurrency_peak"]
                    .as_u64()
                    .unwrap_or_else(|| peak(samples)),
                cached_reported,
                client: client.unwrap_or_else(|| {
                    client_between(&saved.vitals, start_ns(samples), until_ns, is_mock)
                }),
                told: workload_json::told_figures(told),
            };
            summaries.push(WorkloadSummary::of(samples, facts));
            cached_reported |= samples.iter().any(|sample| sample.cached_tokens.is_some());
        }
        notes.extend(no_gaps(groups.iter().flat_map(|(_, samples)| samples)));
        let mut report = Report::of_workloads(saved.about, summaries, groups);
        report.notes = notes;
        report.note_missing();
        report
    }

    /// Of workloads that have ended, and their samples.
    pub fn of_workloads(
        about: Value,
        summaries: Vec<WorkloadSummary>,
        samples: Vec<(Workload, Vec<Sample>)>,
    ) -> Report {
        let groups = samples.into_iter().map(|(workload, samples)| Group {
            name: workload.name().to_string(),
            samples,
        });
        Report {
            about,
            figures: Figures::Run(summaries),
            notes: Vec::new(),
            groups: groups.collect(),
        }
    }

    /// Leaves out all workloads but this one.
    pub fn keep_workload(&mut self, name: &str) {
        if let Figures::Run(workloads) = &mut self.figures {
            workloads.retain(|one| one.workload.name() == name);
        }
        self.groups.retain(|group| group.name == name);
    }

    /// Of a run's summary, or of the file of one workload; `None`: it is neither.
    pub fn of_run_result(file: &Value) -> Option<Report> {
        let summaries: Option<Vec<WorkloadSummary>> = match file.get("workloads") {
            Some(workloads) => {
                let of = Workload::ALL.map(|workload| workloads.get(workload.name()));
                of.into_iter().flatten().map(workload_json::read).collect()
            }
            None => workload_json::read(file).map(|one| vec![one]),
        };
        let mut about = file.get("environment")?.clone();
        let map = about.as_object_mut()?;
        map.remove("tool_version");
        map.remove("workload");
        let mut report = Report::of_workloads(about, summaries?, Vec::new());
        report.notes.push(NO_SAMPLES.to_string());
        Some(report)
    }
}

/// The names of the workloads that were asked for.
pub(super) fn planned(options: &Value) -> impl Iterator<Item = String> {
    let asked_for = options["workload"].as_str().unwrap_or_default();
    // Such as short, for short_input.
    let is_planned = move |name: &&str| asked_for == "year1" || name.starts_with(asked_for);
    let names = Workload::ALL.map(Workload::name).into_iter();
    names.filter(is_planned).map(str::to_string)
}
