//! Saved runs of two sides: each run counts once.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::end::finish;
use super::options::Options;
use crate::cli::args::Args;
use crate::cli::output::SAMPLES;
use crate::cli::saved::Saved;
use crate::cli::verdict::of_saved;
use crate::collect::Log;
use crate::error::{Error, Result};
use crate::report::layout::report::Report;
use crate::samples_file::Reader;
use crate::stats::compare::runs::{Run, points, runs};
use crate::stats::pass::Pass;

/// The commands whose samples are runs.
const COMMANDS: [&str; 4] = ["benchmark", "replay", "run", "load"];

pub fn run(args: &Args, options: &Options) -> Result<u8> {
    let [base, new] = [Side::read(args, "--base")?, Side::read(args, "--new")?];
    options.check_files()?;
    check_points(&base, &new)?;
    let mut findings = runs(&base.runs(), &new.runs(), &options.figures, options.margin);
    for (side, of) in findings.sides.iter_mut().zip([&base, &new]) {
        side.name = of.files.join(", ");
        side.model.clone_from(&of.model);
    }
    let mut header = options.header();
    header["base"] = json!(base.files);
    header["new"] = json!(new.files);
    header["prompts"] = new.options["prompts"].clone();
    header["api"] = new.options["api"].clone();
    // Of these commands only load has prompts of its own to repeat.
    header["load"] = match new.options["prompts"].is_null() {
        true => Value::Null,
        false => new.options.clone(),
    };
    let mut report = Report {
        about: json!({
            "command": "compare",
            "model": new.model,
            "endpoint": new.endpoint,
            "mock": base.is_mock || new.is_mock,
            "backend": new.backend,
            "connection": new.connection,
            "options": header,
        }),
        notes: base.torn.into_iter().chain(new.torn).collect(),
        ..Report::default()
    };
    let mut log = Log::new("compare");
    let ending = finish(&mut report, &mut log, &findings, options)?;
    of_saved(&log, ending)
}

/// The runs in the files of one side.
struct Side {
    files: Vec<String>,
    /// The passes of each file, with a text that tells their run from others.
    saved: Vec<(String, Vec<Pass>)>,
    model: String,
    endpoint: String,
    backend: String,
    /// The connection and the options, for the next command.
    connection: Value,
    options: Value,
    is_mock: bool,
    /// Notes on files whose last line is incomplete.
    torn: Vec<String>,
}

impl Side {
    fn read(args: &Args, flag: &str) -> Result<Side> {
        let mut side = Side {
            files: args.texts(flag).map(str::to_string).collect(),
            saved: Vec::new(),
            model: String::new(),
            endpoint: String::new(),
            backend: String::new(),
            connection: Value::Null,
            options: Value::Null,
            is_mock: false,
            torn: Vec::new(),
        };
        for file in side.files.clone() {
            let what = format!("{flag} {file}");
            let saved = Saved::read(Reader::open(&what, &samples(&what, &file)?)?)?;
            side.add(&what, saved)?;
        }
        Ok(side)
    }

    fn add(&mut self, what: &str, Saved { run, is_torn }: Saved) -> Result<()> {
        let header = &run.about;
        let text = |key: &str| header[key].as_str().unwrap_or_default().to_string();
        let command = text("command");
        if !COMMANDS.contains(&&*command) {
            let why = format!("samples of {command}; want those of benchmark, load, replay or run");
            return Err(Error::input(what, why));
        }
        if run.passes.is_empty() {
            return Err(Error::input(what, "no request has ended"));
        }
        self.model = text("model");
        self.endpoint = text("endpoint");
        self.backend = text("backend");
        self.connection = header["connection"].clone();
        self.options = header["options"].clone();
        self.is_mock |= header["mock"] == true;
        if is_torn {
            self.torn
                .push(format!("{what}: the last line is incomplete and left out"));
        }
        // Shards that were started with one seed and nonce have one id, whenever they ran.
        let [id, clock, shard] = ["run_id", "clock", "shard"].map(|key| header[key].to_string());
        self.saved.push((id + &clock + &shard, run.passes));
        Ok(())
    }

    fn runs(&self) -> Vec<Run<'_>> {
        let passes = self.saved.iter().flat_map(|(id, passes)| {
            let passes = passes.iter().enumerate();
            passes.map(move |(number, pass)| Run { id, number, pass })
        });
        passes.collect()
    }
}

/// Refuses sides that cannot be compared at any point.
fn check_points(base: &Side, new: &Side) -> Result<()> {
    let [of_base, of_new] = [base, new].map(|side| points(&side.runs()));
    if of_new.iter().any(|point| of_base.contains(point)) {
        return Ok(());
    }
    let [has, had] = [&of_new, &of_base].map(|points| points.join(", "));
    let why = format!("{has}, but --base has {had}; want runs of the same points on both sides");
    Err(Error::input(format!("--new {}", new.files.join(" ")), why))
}

/// Returns the samples file that a path leads to.
fn samples(what: &str, typed: &str) -> Result<PathBuf> {
    let path = Path::new(typed);
    let path = match path.is_dir() {
        true => path.join(SAMPLES),
        false => path.to_path_buf(),
    };
    match path.is_file() {
        true => Ok(path),
        false => Err(Error::input(
            what,
            "file not found; want what a command wrote with --samples",
        )),
    }
}
