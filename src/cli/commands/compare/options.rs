//! The options that both forms of `compare` have.

use serde_json::{Value, json};

use crate::cli::args::{Args, percent};
use crate::cli::flags::did_you_mean;
use crate::cli::output;
use crate::error::{Error, Result};
use crate::sample::find;
use crate::stats::compare::Name;

/// The figures that decide if the user names none.
const FIGURES: [Name; 3] = [Name::TtftMean, Name::ItlMean, Name::ErrorRate];
const MARGIN: f64 = 0.03;
/// The exit code of an unclear answer.
const UNCLEAR: u8 = 3;

/// Options of a comparison of saved runs, and those of a live one, exclude each other.
const APART: [(&str, &str, &str); 13] = [
    ("--base", "--endpoint", SAVED),
    ("--base", "--backend", SAVED),
    ("--base", "--mock", SAVED),
    ("--base", "--against", SAVED),
    ("--base", "--against-mock", SAVED),
    ("--base", "--pairs", SAVED),
    ("--base", "--concurrency", SAVED),
    ("--base", "--warmup", SAVED),
    ("--base", "--samples", SAVED),
    ("--base", "--dataset", SAVED),
    ("--base", "--input-tokens", SAVED),
    ("--base", "--max-tokens", SAVED),
    (
        "--against",
        "--against-mock",
        "; both name the other server",
    ),
];
const SAVED: &str = "; saved runs are compared, and nothing is sent";

pub struct Options {
    /// The figures that decide, and whether the user named them.
    pub figures: Vec<Name>,
    pub are_named: bool,
    pub margin: f64,
    /// The exit code if the answer is unclear.
    pub unclear: u8,
    pub output: Option<String>,
    pub summary: Option<String>,
    pub samples: Option<String>,
}

impl Options {
    /// # Errors
    /// Fails when an option is malformed, or two exclude each other.
    pub fn parse(args: &Args) -> Result<Options> {
        args.apart(&APART)?;
        args.only_with(&[
            ("--base", "--new"),
            ("--new", "--base"),
            ("--against-mock", "--backend"),
        ])?;
        let named = args.list("--figure", figure)?;
        let are_named = !named.is_empty();
        let figures = if are_named { named } else { FIGURES.to_vec() };
        let unclear = args.value("--unclear", |text| match text {
            "pass" => Ok(0),
            "fail" => Ok(1),
            _ => Err("want pass or fail"),
        })?;
        Ok(Options {
            figures,
            are_named,
            margin: args.value("--margin", percent)?.unwrap_or(MARGIN),
            unclear: unclear.unwrap_or(UNCLEAR),
            output: args.text("--output"),
            summary: args.text("--summary"),
            samples: args.text("--samples"),
        })
    }

    /// Returns the names of the figures that decide.
    pub fn names(&self) -> Vec<&'static str> {
        self.figures.iter().map(|figure| figure.name()).collect()
    }

    /// Returns the options for the header that both forms have.
    pub fn header(&self) -> Value {
        json!({
            "figures": self.are_named.then(|| self.names()),
            "margin": self.margin,
        })
    }

    /// Checks before anything is sent or read that the files can be written.
    pub fn check_files(&self) -> Result<()> {
        output::check(&[
            ("--samples", self.samples.as_deref()),
            ("--output", self.output.as_deref()),
            ("--summary", self.summary.as_deref()),
        ])
    }
}

fn figure(text: &str) -> std::result::Result<Name, String> {
    find(&Name::NAMES, text).ok_or_else(|| {
        let names = Name::NAMES.map(|(_, name)| name);
        let all = names.join(", ");
        match did_you_mean(text, names.into_iter()) {
            Some(near) => format!("no such figure. {near}"),
            None => format!("no such figure; want {all}"),
        }
    })
}

/// Says that there is nothing to compare with.
pub fn nothing_to_compare() -> Error {
    Error::input("compare", "no other server; want --against URL")
        .next("Saved runs: tmesh-cli compare --base main.jsonl --new branch.jsonl")
        .next("Or try it without a server: tmesh-cli compare --backend mock --against-mock prefill_rate=5000")
}
