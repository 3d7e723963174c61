//! `tmesh-cli merge`: the samples files of the shards of a run as one samples file.

mod files;

use std::fs;
use std::io;

use serde_json::{Value, json};

use self::files::{Line, Shards, open};
use crate::cli::args::Args;
use crate::cli::output;
use crate::cli::terminal::{print_last, stdout_screen, unless_unread};
use crate::error::{Error, Result};
use crate::file::is_stdout;
use crate::report::layout::merge as layout;
use crate::report::text;
use crate::samples_file::{TokensLine, Writer};
use crate::stats::clock::{Clock, Held};
use crate::stats::pass::peak_of;
use crate::stats::shards::{Part, clocks, merged};

/// A merge that is under way.
struct Merge {
    files: Vec<Shards>,
    /// The indexes of shards that no file has.
    missing: Vec<u64>,
    /// The file to write, as typed.
    path: String,
    writer: Writer,
    passes: Vec<layout::Pass>,
    requests: u64,
}

/// Runs the command and returns the exit code.
pub fn run(args: &Args) -> Result<u8> {
    let names = args.operands()?;
    let path = args.text("--output").ok_or_else(|| {
        let why = "not given; want the file to write, such as all.jsonl";
        Error::input("--output", why).next("Try: tmesh-cli merge s0.jsonl s1.jsonl -o all.jsonl")
    })?;
    let (files, doubled) = open(names)?;
    output::check_samples("--output", &path)?;
    let (held, missing) = held(&files);
    let created = output::create_samples(path.as_ref(), &header(&files[0], &held), true);
    let writer = written(&path, created)?;
    let mut merge = Merge {
        files,
        missing,
        path: path.clone(),
        writer,
        passes: Vec::new(),
        requests: 0,
    };
    let merged = merge.passes().and_then(|()| merge.end(doubled));
    match merged {
        Ok(faults) if faults.is_empty() || args.has("--allow-missing") => Ok(0),
        Ok(faults) => Err(fault(faults)),
        Err(error) => {
            if !is_stdout(path.as_ref()) {
                // Half a run would pass for a whole one.
                let _ = fs::remove_file(&path);
            }
            Err(error)
        }
    }
}

/// Returns the error about shards that lack something.
fn fault(faults: Vec<String>) -> Error {
    let mut faults = faults.into_iter();
    let error = Error::missed("merge", faults.next().unwrap_or_default());
    let error = faults.fold(error, |error, fault| {
        error.next(format!("[ERROR] merge: {fault}"))
    });
    error.next("The merged file has the rest and says what it lacks; --allow-missing makes the exit code 0.")
}

/// Passes on what writing the merged file returned.
///
/// # Errors
/// Fails when the output is lost.
fn written<T>(path: &str, result: io::Result<T>) -> Result<T> {
    let result = unless_unread(path.as_ref(), result);
    result.map_err(|error| Error::missed(format!("--output {path}"), error))
}

/// Returns the shards in all files, and the indexes of those in none.
fn held(files: &[Shards]) -> (Held, Vec<u64>) {
    let mut held: Vec<u64> = files
        .iter()
        .flat_map(|file| file.held.held.clone())
        .collect();
    held.sort_unstable();
    let held = Held {
        of: files[0].held.of,
        held,
    };
    let missing = held.missing();
    (held, missing)
}

/// Returns the header of the merged run: that of its first shard, with the clock that all stamps count from.
fn header(first: &Shards, held: &Held) -> Value {
    let mut header = first.header().clone();
    let zero = first.clocks().map(|(first, _)| first.zero_us()).next();
    header["shard"] = json!(held);
    header["clock"] = json!(Clock {
        wall_us: zero.unwrap_or(0),
        ..Clock::default()
    });
    header
}

impl Merge {
    fn passes(&mut self) -> Result<()> {
        while self.pass()? {}
        Ok(())
    }

    /// Merges the next pass; returns whether there was one.
    fn pass(&mut self) -> Result<bool> {
        let spans_ns = self.copy_pass()?;
        let parts = || self.files.iter().map(|file| &file.part);
        if parts().all(|part| part.facts.is_none() && part.span_ns.is_none()) {
            return Ok(false);
        }
        self.check_alike()?;
        self.requests += parts().map(|part| part.sent).sum::<u64>();
        let parts: Vec<Part> = self
            .files
            .iter_mut()
            .map(|file| std::mem::take(&mut file.part))
            .collect();
        let merged = merged(&parts, &self.missing, peak_of(spans_ns.into_iter()));
        written(&self.path, self.writer.write_series("pass", &merged.facts))?;
        let files = self.files.iter().zip(&parts);
        let rows = files.zip(merged.planned.iter().zip(&merged.is_cut));
        let rows = rows.map(|((file, part), (&planned, &is_cut))| layout::Row {
            file: file.name.clone(),
            shards: part.held.clone(),
            sent: part.sent,
            failed: part.failed,
            planned,
            span_ns: part.span_ns,
            is_cut,
        });
        self.passes.push(layout::Pass {
            rows: rows.collect(),
            merged,
        });
        Ok(true)
    }

    /// Writes the lines of the next pass of all files in their order in time; returns the times of its requests.
    fn copy_pass(&mut self) -> Result<Vec<(u64, u64)>> {
        for file in &mut self.files {
            file.begin_pass()?;
        }
        let mut spans_ns = Vec::new();
        while let Some(at) = self.earliest() {
            let Some(line) = self.files[at].take()? else {
                break;
            };
            let copied = match &line {
                Line::Sample(sample) => {
                    spans_ns.push((sample.t_send_ns, sample.t_end_ns));
                    self.writer.write(sample)
                }
                Line::Vitals(seen) => self.writer.write_series("client", seen),
                Line::Tokens(id, tokens, source) => {
                    let line = TokensLine::new(*id, *tokens, *source);
                    self.writer.write_series("tokens", &line)
                }
            };
            written(&self.path, copied)?;
        }
        Ok(spans_ns)
    }

    /// Returns the file whose next line comes first.
    fn earliest(&self) -> Option<usize> {
        let next = self.files.iter().enumerate();
        let next = next.filter_map(|(at, file)| Some((file.t_ns()?, at)));
        next.min().map(|(_, at)| at)
    }

    /// Checks that the files are at one pass.
    fn check_alike(&self) -> Result<()> {
        let mut known: Option<(&str, String)> = None;
        for file in &self.files {
            let Some(facts) = &file.part.facts else {
                continue;
            };
            let name = facts.name();
            match &known {
                Some((other, pass)) if *pass != name => {
                    let why = format!("has {name} where {other} has {pass}");
                    return Err(Error::input(&file.name, why));
                }
                Some(_) => {}
                None => known = Some((&file.name, name)),
            }
        }
        Ok(())
    }

    /// Writes what is known about the shards, shows it, and returns what they lack.
    fn end(&mut self, doubled: Vec<String>) -> Result<Vec<String>> {
        let readings: Vec<(Clock, Clock)> = self.files.iter().flat_map(Shards::clocks).collect();
        let clocks = clocks(&readings);
        let torn = self.files.iter().filter(|file| file.is_torn());
        let torn =
            torn.map(|file| format!("the last line of {} is incomplete and left out", file.name));
        let result = layout::Merge {
            run_id: self.files[0].header()["run_id"]
                .as_str()
                .unwrap_or("")
                .to_string(),
            of: self.files[0].held.of,
            passes: std::mem::take(&mut self.passes),
            clocks,
            requests: self.requests,
            output: self.path.clone(),
            doubled,
            torn: torn.collect(),
        };
        let clocks = readings
            .iter()
            .try_for_each(|(_, last)| self.writer.write_series("clock", last));
        let ended = clocks.and_then(|()| self.writer.write_series("merge", &result.line()));
        written(&self.path, ended)?;
        let document = layout::document(&result);
        print_last(&text::render(&document, stdout_screen()))?;
        let mut faults = result.doubled.clone();
        faults.extend(result.lacks());
        Ok(faults)
    }
}
