//! `tmesh-cli check dataset`: reads a whole dataset as `replay` would, and says what is in it.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use crate::cli::args::Args;
use crate::cli::commands::convert::{figure, spread};
use crate::cli::terminal::print;
use crate::error::{Error, Result};
use crate::plan::dataset::{self, Draft, Problem};
use crate::stats::spread::exact_quantile;
use crate::units::counted;

/// The number of wrong records shown; the others are only counted.
const SHOWN: u64 = 20;

pub fn run(args: &Args) -> Result<u8> {
    let file = args.operand()?;
    let mut found = Found::default();
    dataset::scan(Path::new(file), |record| match record {
        Ok(draft) => found.add(&draft),
        Err(problem) => found.add_problem(&problem),
    })?;
    print(&found.report(file))?;
    match found.wrong {
        0 => Ok(0),
        wrong => {
            let records = counted(wrong + found.right(), "record");
            let why = match wrong {
                1 => format!("1 of {records} is wrong"),
                _ => format!("{wrong} of {records} are wrong"),
            };
            Err(Error::missed(format!("check dataset {file}"), why))
        }
    }
}

#[derive(Debug, Default)]
struct Found {
    /// The number of records per kind, named by the key that they were read by.
    kinds: BTreeMap<&'static str, u64>,
    /// The number of records whose messages are sent unchanged.
    requests: u64,
    session_ids: HashSet<String>,
    with_session_id: u64,
    turns: Vec<u64>,
    characters: Vec<f64>,
    bytes: Vec<f64>,
    wrong: u64,
    problems: String,
}

impl Found {
    fn add(&mut self, draft: &Draft<'_>) {
        *self.kinds.entry(draft.kind).or_default() += 1;
        self.requests += u64::from(draft.is_request());
        self.turns.push(draft.turns());
        if let Some(id) = &draft.session_id {
            self.with_session_id += 1;
            if !self.session_ids.contains(id.as_ref()) {
                self.session_ids.insert(id.to_string());
            }
        }
        for prompt in draft.prompts() {
            self.characters.push(prompt.chars().count() as f64);
            self.bytes.push(prompt.len() as f64);
        }
    }

    fn add_problem(&mut self, problem: &Problem) {
        self.wrong += 1;
        if self.wrong <= SHOWN {
            self.problems += &format!("line {}: {}\n", problem.line, problem.why);
        }
    }

    fn right(&self) -> u64 {
        self.turns.len() as u64
    }

    fn report(&mut self, file: &str) -> String {
        let (wrong, right) = (self.wrong, self.right());
        let mut text = std::mem::take(&mut self.problems);
        if wrong > SHOWN {
            text += &format!("and {} more\n", wrong - SHOWN);
        }
        let records = counted(right + wrong, "record");
        text += &format!("{file}: {records}, {wrong} wrong\n");
        if right == 0 {
            return text;
        }
        let kinds = self.kinds.iter().map(|(kind, n)| format!("{kind} {n}"));
        let kinds = kinds.collect::<Vec<_>>().join(", ");
        let with = counted(self.with_session_id, "record");
        let different = self.session_ids.len();
        let as_they_stand = match self.requests {
            0 => String::new(),
            n => format!(
                "sent unchanged: {}, to the chat API only\n",
                counted(n, "request")
            ),
        };
        let (sum, turns) = (self.turns.iter().sum::<u64>(), spread(&self.turns));
        text += &format!(
            "kinds: {kinds}\n{as_they_stand}\
             sessions: {with} with a session_id, {different} different\n\
             turns: {sum} in all; of a record: {turns}\n\
             {:<24}{:>12}{:>12}{:>12}{:>12}\n",
            "user message", "p50", "p90", "p99", "max"
        );
        for (name, values) in [
            ("characters", &mut self.characters),
            ("bytes", &mut self.bytes),
        ] {
            values.sort_unstable_by(f64::total_cmp);
            text += &format!("{name:<24}");
            for q in [0.5, 0.9, 0.99, 1.0] {
                let value = exact_quantile(values, q).map_or_else(|| "n/a".to_string(), figure);
                text += &format!("{value:>12}");
            }
            text.push('\n');
        }
        text
    }
}
