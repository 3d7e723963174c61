//! The input of `report`: a file of samples, or a result file that leads to one.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::output::{ROUNDS, SAMPLES, SUMMARY};
use crate::cli::saved::Saved;
use crate::error::{Error, Result};
use crate::file::note_read;
use crate::report::document::Document;
use crate::report::layout::{self, notes};
use crate::report::summary_file;
use crate::samples_file::{Reader, holds_samples, keep_countable};
use crate::stats::pass::Pass;

/// Most files of a folder that are searched for the samples of a result.
const NEIGHBOURS: usize = 100;
const KNOWN: &str = "not a result of tmesh-cli; want a folder of run or replay, one of the files in it, or what benchmark, load, probe, compare or find-rate wrote with --samples";
const TORN: &str = "The last line of the samples is incomplete and left out: the run was killed, or is still writing";

/// Returns the report of what the path leads to.
///
/// # Errors
/// Fails when there is nothing at the path, when it cannot be read, or when no command wrote it.
pub fn load(typed: &str) -> Result<Document> {
    let what = format!("--input {typed}");
    let path = Path::new(typed);
    // `replay` writes into the same folder, but not a summary.
    let summary_of = path.parent().filter(|_| path.ends_with(SUMMARY));
    let beside = summary_of.filter(|folder| !path.exists() && folder.join(SAMPLES).is_file());
    if path.is_file() {
        of_file(&what, path)
    } else if let Some(folder) = beside.or(path.is_dir().then_some(path)) {
        let mut names = [SAMPLES, SUMMARY].into_iter();
        let name = names.find(|name| folder.join(name).is_file());
        let why = format!("holds no results; want {SAMPLES} or {SUMMARY}");
        let name = name.ok_or_else(|| Error::input(&what, why))?;
        let mut document = of_file(&format!("{what}, {name}"), &folder.join(name))?;
        if name == SAMPLES {
            document.remarks.extend(other_run(folder));
        }
        Ok(document)
    } else if path.exists() {
        let why = "a pipe or a device; want a file or a folder, which can be read twice";
        Err(Error::input(what, why))
    } else {
        Err(Error::input(what, "file not found")
            .next("Run a benchmark first: tmesh-cli run --workload year1 --backend mock"))
    }
}

fn of_file(what: &str, path: &Path) -> Result<Document> {
    let cannot = |error| Error::input(what, format!("cannot read: {error}"));
    note_read(path);
    if holds_samples(path).map_err(cannot)? {
        return of_samples(what, path, |_| true);
    }
    let samples = path.with_file_name(SAMPLES);
    if path.ends_with(ROUNDS) && is_of_replay(&samples) {
        return of_samples(&format!("{what}, {SAMPLES}"), &samples, |_| true);
    }
    let unknown = || Error::input(what, KNOWN);
    let bytes = fs::read(path).map_err(cannot)?;
    let mut file: Value = serde_json::from_slice(&bytes).map_err(|_| unknown())?;
    keep_countable(&mut file);
    let result = ResultFile::of(&file).ok_or_else(unknown)?;
    if let Some(samples) = samples_beside(path, &result.run_id) {
        let what = format!("{what}, {}", samples.display());
        return of_samples(&what, &samples, |pass| result.is_about(pass));
    }
    let document = layout::of_file(&file).or_else(|| summary_file::document(&file));
    document.ok_or_else(|| {
        let why = "a result file, but the samples of its run are not in the same folder; a report is made from samples";
        Error::input(what, why)
            .next("Run again with --samples FILE, then: tmesh-cli report --input FILE")
    })
}

/// Says that the summary in a folder is not of the run whose samples are there.
fn other_run(folder: &Path) -> Option<String> {
    let summary: Value = serde_json::from_slice(&fs::read(folder.join(SUMMARY)).ok()?).ok()?;
    let samples = header(&folder.join(SAMPLES))?;
    let is_same = summary["environment"]["run_id"] == samples["run_id"];
    (!is_same).then(|| {
        format!("{SUMMARY} in this folder is of another run: report -i shows that file by itself")
    })
}

/// Whether these are samples of `replay`, whose table of rounds does not say of which run it is.
fn is_of_replay(samples: &Path) -> bool {
    header(samples).is_some_and(|header| header["command"] == "replay")
}

/// Returns the header of a file of samples that is only looked at: the report may be made from another file.
fn header(path: &Path) -> Option<Value> {
    let file = BufReader::new(File::open(path).ok()?);
    Some(Reader::new("", file).ok()?.header)
}

/// Which passes of which run a result file is about.
pub(super) struct ResultFile {
    run_id: Value,
    concurrency: Option<u64>,
    round: Option<u64>,
    workload: Option<String>,
}

impl ResultFile {
    /// Returns `None` if no command wrote the file.
    pub(super) fn of(file: &Value) -> Option<ResultFile> {
        let schema = file["schema"].as_str()?;
        let about = match schema {
            "tmesh-cli/benchmark/1" => file,
            "tmesh-cli/replay/1" => &file["configuration"],
            "tmesh-cli/load/1" | "tmesh-cli/run/1" | "tmesh-cli/workload/1" => &file["environment"],
            _ if layout::is_of_experiment(schema) => file,
            _ => return None,
        };
        let is_round = schema == "tmesh-cli/replay/1";
        let count = |key: &str| about[key].as_u64().filter(|_| is_round);
        Some(ResultFile {
            run_id: about["run_id"].clone(),
            concurrency: count("concurrency"),
            round: count("round"),
            workload: about["workload"].as_str().map(str::to_string),
        })
    }

    pub(super) fn is_about(&self, pass: &Pass) -> bool {
        let facts = &pass.facts;
        let workload = facts.workload.map(|workload| workload.name().to_string());
        (self.round.is_none() || (self.concurrency, self.round) == (facts.concurrency, facts.round))
            && (self.workload.is_none() || self.workload == workload)
    }
}

/// Finds the file of samples of this run in the same folder.
fn samples_beside(path: &Path, run_id: &Value) -> Option<PathBuf> {
    if run_id.is_null() {
        return None;
    }
    // A bare name has no parent.
    let path = std::path::absolute(path).ok()?;
    let folder = fs::read_dir(path.parent()?).ok()?;
    let files = folder.flatten().map(|file| file.path());
    let is_jsonl = |file: &PathBuf| file.extension().is_some_and(|ending| ending == "jsonl");
    let mut files = files.filter(is_jsonl).take(NEIGHBOURS);
    files.find(|file| header(file).is_some_and(|header| header["run_id"] == *run_id))
}

fn of_samples(what: &str, path: &Path, is_wanted: impl Fn(&Pass) -> bool) -> Result<Document> {
    of_reader(what, Reader::open(what, path)?, is_wanted)
}

/// Returns the report of the passes in a file of samples.
///
/// # Errors
/// Fails when a line is wrong, or when there is no report for the command.
pub(super) fn of_reader(
    what: &str,
    reader: Reader<impl BufRead>,
    is_wanted: impl Fn(&Pass) -> bool,
) -> Result<Document> {
    let Saved { mut run, is_torn } = Saved::read(reader)?;
    run.notes.extend(notes::saved(&run.about, &run.passes));
    run.notes.extend(is_torn.then(|| TORN.to_string()));
    run.passes.retain(is_wanted);
    layout::document(&run)
        .ok_or_else(|| Error::input(what, "samples of a command that this version does not know"))
}
