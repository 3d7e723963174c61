//! What `report` reads: files and folders that the commands wrote, told apart by what is in them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::folder::SAMPLES;
use crate::error::{Error, Result};
use crate::report::load_json::SCHEMA as LOAD_SCHEMA;
use crate::report::saved::{Report, Samples};
use crate::report::workload_json::{SUMMARY_SCHEMA, WORKLOAD_SCHEMA};
use crate::samples_file::{self, Saved};
use crate::stats::Clock;

/// A first line longer than this is no header.
const HEADER_BYTES: u64 = 1 << 20;
const SUMMARY: &str = "benchmark_summary.json";
const KNOWN: &str = "not a result of tmesh-cli; want a folder of run or replay, one of the files in it, or what benchmark or load wrote with --samples or --output";

/// An input, read.
pub struct Loaded {
    pub report: Report,
    /// Of a result file its whole text.
    pub json: Option<String>,
    /// Files that figures come from.
    pub read: Vec<PathBuf>,
}

/// Reads what the path leads to.
///
/// # Errors
/// When there is nothing, when it cannot be read, or when no command wrote it.
pub fn load(typed: &str) -> Result<Loaded> {
    let what = format!("--input {typed}");
    let path = Path::new(typed);
    let folder = path.parent().filter(|_| path.ends_with(SUMMARY));
    match folder {
        // `replay` writes into the same folder, but no summary.
        Some(folder) if !path.exists() && has_results(folder) => of_folder(&what, folder),
        _ if path.is_dir() => of_folder(&what, path),
        _ if path.is_file() => of_file(&what, path),
        _ if path.exists() => Err(Error::input(
            what,
            "a pipe or a device; want a file or a folder, which can be read twice",
        )),
        _ => Err(Error::input(what, "file not found")
            .next("Run a benchmark first: tmesh-cli run --workload year1 --backend mock")),
    }
}

fn has_results(folder: &Path) -> bool {
    folder.join(SAMPLES).is_file() || !result_files(folder).is_empty()
}

/// The result files of `replay`, by level and round.
fn result_files(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let named = files.filter_map(|file| {
        let name = file.file_name().into_string().ok()?;
        let numbers = name.strip_prefix("concurrency_")?.strip_suffix(".json")?;
        let (concurrency, round) = numbers.split_once("_round_")?;
        let key: (u64, u64) = (concurrency.parse().ok()?, round.parse().ok()?);
        Some((key, file.path()))
    });
    let mut named: Vec<((u64, u64), PathBuf)> = named.collect();
    named.sort_unstable_by_key(|(key, _)| *key);
    named.into_iter().map(|(_, path)| path).collect()
}

fn of_folder(what: &str, folder: &Path) -> Result<Loaded> {
    let samples = folder.join(SAMPLES);
    if samples.is_file() {
        return of_samples(&format!("{what}, {SAMPLES}"), &samples);
    }
    let summary = folder.join(SUMMARY);
    if summary.is_file() {
        return of_file(&format!("{what}, {SUMMARY}"), &summary);
    }
    let paths = result_files(folder);
    let files = paths.iter().map(|path| json(what, path));
    let files: Vec<Value> = files.collect::<Result<_>>()?;
    let report = Report::of_replay_results(&files);
    let why = "holds no results; want samples.jsonl or concurrency_C_round_R.json";
    Ok(Loaded {
        report: report.ok_or_else(|| Error::input(what, why))?,
        json: None,
        read: known(&paths),
    })
}

fn known(paths: &[PathBuf]) -> Vec<PathBuf> {
    let paths = paths.iter().map(fs::canonicalize);
    paths.filter_map(std::result::Result::ok).collect()
}

fn json(what: &str, path: &Path) -> Result<Value> {
    let text = fs::read(path)
        .map_err(|error| Error::input(format!("{what}, {}", path.display()), error))?;
    countable(&text).ok_or_else(|| Error::input(what, KNOWN))
}

fn countable(json: &[u8]) -> Option<Value> {
    let mut file = serde_json::from_slice(json).ok()?;
    samples_file::keep_countable(&mut file);
    Some(file)
}

fn of_file(what: &str, path: &Path) -> Result<Loaded> {
    if starts_as_samples(what, path)? {
        return of_samples(what, path);
    }
    let bytes =
        fs::read(path).map_err(|error| Error::input(what, format!("cannot read: {error}")))?;
    let unknown = || Error::input(what, KNOWN);
    let text = String::from_utf8(bytes).map_err(|_| unknown())?;
    Ok(Loaded {
        report: of_result(path, &text).ok_or_else(unknown)?,
        json: Some(text),
        read: known(&[path.to_path_buf()]),
    })
}

/// Of the text of a result file; `None`: it is none.
pub(super) fn of_result(path: &Path, text: &str) -> Option<Report> {
    let file = countable(text.as_bytes())?;
    match file["schema"].as_str() {
        Some("tmesh-cli/benchmark/1") => Report::of_benchmark_result(file),
        Some("tmesh-cli/replay/1") => of_round(path, file),
        Some(LOAD_SCHEMA) => Report::of_load_result(&file),
        Some(SUMMARY_SCHEMA | WORKLOAD_SCHEMA) => of_run(path, &file),
        _ => None,
    }
}

fn starts_as_samples(what: &str, path: &Path) -> Result<bool> {
    let mut line = Vec::new();
    let file = File::open(path);
    let read =
        file.and_then(|file| BufReader::new(file.take(HEADER_BYTES)).read_until(b'\n', &mut line));
    read.map_err(|error| Error::input(what, format!("cannot read: {error}")))?;
    Ok(samples_file::header(&line).is_some())
}

/// A round from the samples beside its file, where they are of the same run; else from the file alone.
fn of_round(path: &Path, file: Value) -> Option<Report> {
    let samples = path.with_file_name(SAMPLES);
    let configuration = &file["configuration"];
    let (concurrency, round) = (
        configuration["concurrency"].as_u64()?,
        configuration["round"].as_u64()?,
    );
    let run_id = configuration["run_id"].clone();
    if let Ok(loaded) = of_samples("", &samples)
        && loaded.report.about["run_id"] == run_id
    {
        let mut report = loaded.report;
        report.keep(concurrency, round);
        return Some(report);
    }
    Report::of_replay_results(&[file])
}

/// A run, or one workload of it, from the samples beside its file where they are of the same run; else from the
/// file alone.
fn of_run(path: &Path, file: &Value) -> Option<Report> {
    let environment = &file["environment"];
    let samples = path.with_file_name(SAMPLES);
    if let Ok(loaded) = of_samples("", &samples)
        && loaded.report.about["run_id"] == environment["run_id"]
    {
        let mut report = loaded.report;
        if let Some(workload) = environment["workload"].as_str() {
            report.keep_workload(workload);
        }
        return Some(report);
    }
    Report::of_run_result(file)
}

fn of_samples(what: &str, path: &Path) -> Result<Loaded> {
    Ok(Loaded {
        report: of_saved(what, path, samples_file::read(what, path)?)?,
        json: None,
        read: known(&[path.to_path_buf()]),
    })
}

/// Of what a file of samples held; results of a replay are looked for beside it.
pub(super) fn of_saved(what: &str, path: &Path, saved: Saved) -> Result<Report> {
    let (is_torn, end) = (saved.torn, saved.end);
    let run_id = saved.about["run_id"].clone();
    let samples = Samples {
        about: saved.about,
        samples: saved.samples,
        vitals: saved.vitals,
        metrics: saved.metrics,
        workloads: saved.workloads,
        points: saved.points,
    };
    let mut report = match samples.about["command"].as_str() {
        Some("benchmark") => {
            let end = end.map(|end| {
                let clock = Clock {
                    started_ns: end.t_start_ns,
                    now_ns: end.t_end_ns,
                    in_flight: end.in_flight,
                    peak: end.concurrency_peak,
                    ..Clock::default()
                };
                (clock, end.why)
            });
            Report::of_benchmark(samples, end)
        }
        Some("replay") => Report::of_replay(samples, |concurrency, round| {
            let name = format!("concurrency_{concurrency}_round_{round}.json");
            let file = json(what, &path.with_file_name(name)).ok()?;
            (file["configuration"]["run_id"] == run_id).then_some(file)
        }),
        Some("run") => Report::of_run(samples),
        Some("load") => Report::of_load(samples),
        _ => {
            let why = "samples of a command that this version does not know";
            return Err(Error::input(what, why));
        }
    };
    if is_torn {
        let note = "The last line of the samples is torn and left out: the run was killed, or is still writing";
        report.notes.push(note.to_string());
    }
    Ok(report)
}
