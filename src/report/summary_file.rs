//! `benchmark_summary.json` and the files of workloads, read back: a guide names the summary as an input of `report`.
//!
//! This reader needs only the parsed JSON, which may hold anything; samples, where they exist, tell more.

use std::sync::LazyLock;

use serde_json::Value;

use super::document::{Document, Section};
use super::layout::common;
use super::layout::failures::Failed;
use super::layout::keys::{self, Key};
use super::layout::report::Report;
use super::layout::run::{self, KEYS, SUMMARY_SCHEMA, WORKLOAD_SCHEMA};
use crate::sample::Workload;
use crate::stats::catalog::Datum;

const NO_SAMPLES: &str =
    "The input has no samples: no charts, no reasons of failures and no sources of figures";

/// Figures of the table that only the `detail` of a workload has: their keys in `detail` and in the table.
static DETAIL: LazyLock<Vec<Key>> = LazyLock::new(|| {
    keys::parse(
        "concurrency_peak avg_input_tokens=input_tokens_mean avg_output_tokens=output_tokens_mean
        n_ttft=ttft_n avg_time_to_answer=time_to_answer_avg_ms p99_time_to_answer=time_to_answer_p99_ms
        steady_duration_s steady_throughput_tokens_per_s steady_request_throughput_rps
        p99_itl=itl_p99_ms n_itl=itl_n p99_latency=latency_p99_ms",
    )
});

/// Makes the report of a summary or of the file of one workload; `None` if `file` is neither.
pub fn document(file: &Value) -> Option<Document> {
    let about = file.get("environment")?;
    let workloads: Vec<(&str, &Value)> = match file["schema"].as_str()? {
        SUMMARY_SCHEMA => {
            let names = Workload::NAMES.into_iter().map(|(_, name)| name);
            let found = names.map(|name| Some((name, file["workloads"].get(name)?)));
            found.flatten().collect()
        }
        WORKLOAD_SCHEMA => vec![(about["workload"].as_str()?, file)],
        _ => return None,
    };
    let names = workloads.iter().map(|(name, _)| name.to_string());
    let names: Vec<String> = names.collect();
    let value = |at: usize, key: &str| figure(workloads[at].1, key);
    let mut section = Section::new("Figures");
    let failed = failed(&workloads);
    failed.begin(&mut section);
    run::table(&mut section, names.iter().cloned(), value);
    let report = Report {
        about: about.clone(),
        notes: vec![NO_SAMPLES.to_string()],
        ..Report::default()
    };
    let (sections, data) = (vec![section], file.clone().into());
    Some(Document {
        key_figures: run::leading(&failed, &names, value),
        ..common::document(&report, sections, Vec::new(), Vec::new(), data)
    })
}

/// Counts the failed requests of the workloads.
fn failed<'a>(workloads: &[(&str, &'a Value)]) -> Failed<'a> {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let mut all = Failed::default();
    for (_, workload) in workloads {
        all.requests = all
            .requests
            .saturating_add(count(&workload["total_requests"]));
        all.failed = all
            .failed
            .saturating_add(count(&workload["failed_requests"]));
        for (kind, failure) in workload["failures"].as_object().into_iter().flatten() {
            let of_kind = all.kinds.entry(kind).or_insert(0);
            *of_kind = of_kind.saturating_add(count(&failure["count"]));
        }
    }
    all
}

/// Returns the figure with a key of the table from the file of a workload.
fn figure(workload: &Value, key: &str) -> Option<Datum> {
    let alias = |keys: &[Key]| keys.iter().find(|(_, known)| *known == key).map(|of| of.0);
    let value = match alias(&KEYS) {
        Some(alias) => &workload[alias],
        None => &workload["detail"][alias(&DETAIL)?],
    };
    let count = value.as_u64().map(Datum::Count);
    count.or_else(|| value.as_f64().map(Datum::Number))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::text::{self, Screen};

    const SUMMARY: &str = include_str!("../../tests/golden/report_run.json");
    const TABLE: &str = include_str!("../../tests/golden/report_run_table.txt");

    fn printed(file: &Value) -> String {
        let document = document(file).expect("a summary or a workload");
        text::render(&document, Screen::FILE)
    }

    #[test]
    fn a_summary_gives_the_table_of_its_samples() {
        let summary = serde_json::from_str(SUMMARY).expect("JSON");
        let (table, _) = TABLE.split_once("\n\n").expect("lines behind the table");
        assert_eq!(
            printed(&summary),
            format!("{table}\n\nNote: {NO_SAMPLES}\n")
        );
    }

    #[test]
    fn the_file_of_a_workload_gives_its_column() {
        let summary: Value = serde_json::from_str(SUMMARY).expect("JSON");
        let text = printed(&summary["workloads"]["stress_test"]);
        for line in [
            "Workload                            stress_test",
            "Error rate                               25.0 %",
            "KV cache used, peak (MiB)                   n/a",
            "  the same by usage                       6.2 %",
        ] {
            assert!(text.lines().any(|have| have == line), "{line}\n{text}");
        }
    }

    #[test]
    fn broken_values_are_absent_and_other_files_give_no_report() {
        let workloads = json!({"long_input": 7, "short_input": {"avg_ttft_ms": "a", "error_rate": [1],
            "total_requests": null, "kv_used_bytes": 1e300}});
        let broken = json!({"schema": SUMMARY_SCHEMA, "environment": [], "workloads": workloads});
        let text = printed(&broken);
        for line in [
            "Workload                            short_input     long_input",
            "Requests                                    n/a            n/a",
            "TTFT avg (ms)                               n/a            n/a",
            "Error rate                                  n/a            n/a",
        ] {
            assert!(text.lines().any(|have| have == line), "{line}\n{text}");
        }
        for other in [
            json!(null),
            json!({"schema": SUMMARY_SCHEMA}),
            json!({"schema": WORKLOAD_SCHEMA, "environment": {}}),
            json!({"schema": "tmesh-cli/load/1", "environment": {}}),
        ] {
            assert!(document(&other).is_none(), "{other}");
        }
    }
}
