//! The samples files of shards, read side by side: one pass after the other, in the order of the ends of requests.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::sample::{Sample, TokenSource};
use crate::samples_file::{Entry, Reader};
use crate::stats::clock::{Clock, Held};
use crate::stats::facts::Facts;
use crate::stats::shards::Part;
use crate::vitals::Vitals;

/// The keys of headers that shards of one run have in common, and their names for the user.
const ALIKE: [(&str, &str); 9] = [
    ("command", "the command"),
    ("run_id", "the run"),
    ("seed", "--seed"),
    ("nonce", "--nonce"),
    ("model", "the model"),
    ("mock", "the kind of server"),
    ("slo", "the limits of --slo-file"),
    ("options", "the options"),
    ("setup", "the lengths that set-up found"),
];

/// A file of one or more shards.
pub struct Shards {
    /// The path as typed.
    pub name: String,
    reader: Reader<BufReader<File>>,
    pub held: Held,
    /// For each shard, the first and the last reading of its clocks.
    clocks: BTreeMap<u64, (Clock, Clock)>,
    /// The wall clock at stamp 0, in microseconds since 1970.
    zero_us: u64,
    /// Added to every stamp, so that all files count from one moment.
    offset_ns: u64,
    next: Option<Line>,
    /// The file's part of the current pass.
    pub part: Part,
    is_over: bool,
}

/// A line of a pass, its stamps on the merged clock.
pub enum Line {
    Sample(Box<Sample>),
    Vitals(Vitals),
    Tokens(u64, u64, TokenSource),
}

impl Shards {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// Fails when it cannot be read, or is not of a shard.
    pub fn open(name: &str) -> Result<Shards> {
        let reader = Reader::open(name, Path::new(name))?;
        let header = &reader.header;
        let held = Held::read(&header["shard"]).filter(|held| !held.held.is_empty());
        let clock = Clock::read(&header["clock"]);
        let (held, clock) = held.zip(clock).ok_or_else(|| {
            let why = "samples of a run without --shard, which is whole; want those of shards";
            Error::input(name, why).next(format!("Look at it: tmesh-cli report -i {name}"))
        })?;
        let clocks = held.held.iter().map(|index| {
            let clock = Clock {
                shard: Some(*index),
                ..clock
            };
            (*index, (clock, clock))
        });
        Ok(Shards {
            name: name.to_string(),
            clocks: clocks.collect(),
            zero_us: clock.zero_us(),
            reader,
            held,
            offset_ns: 0,
            next: None,
            part: Part::default(),
            is_over: false,
        })
    }

    pub fn header(&self) -> &Value {
        &self.reader.header
    }

    /// Whether the last line of the file is incomplete.
    pub fn is_torn(&self) -> bool {
        self.reader.is_torn
    }

    /// Says what tells this file from another one of the same run; `None`: they are of one run.
    pub fn unlike(&self, other: &Shards) -> Option<String> {
        let (mine, theirs) = (self.header(), other.header());
        if self.held.of != other.held.of {
            return Some(format!(
                "one of {} shards, but {} is one of {}",
                self.held.of, other.name, other.held.of
            ));
        }
        let differs = ALIKE.iter().find(|(key, _)| match *key {
            // How many requests set-up took depends on when the server answered.
            "setup" => mine[key]["common_tokens"] != theirs[key]["common_tokens"],
            key => mine[key] != theirs[key],
        });
        let (key, named) = differs?;
        let how = match (&mine[key], &theirs[key]) {
            (Value::Object(_), _) | (_, Value::Object(_)) => format!("{named} differ"),
            (mine, theirs) => format!("{named} is {mine} here and {theirs} there"),
        };
        Some(format!("not of the same run as {}: {how}", other.name))
    }

    /// Starts the next pass.
    ///
    /// # Errors
    /// Fails when a line is wrong.
    pub fn begin_pass(&mut self) -> Result<()> {
        self.part = Part::new(self.held.held.clone());
        self.advance()
    }

    /// Returns when the next line of the pass happened; `None`: the file has no more of it.
    pub fn t_ns(&self) -> Option<u64> {
        Some(match self.next.as_ref()? {
            Line::Sample(sample) => sample.t_end_ns,
            Line::Vitals(seen) => seen.t_end_ns,
            // It belongs to a request before it.
            Line::Tokens(..) => 0,
        })
    }

    /// Takes the next line of the pass.
    ///
    /// # Errors
    /// Fails when the line after it is wrong.
    pub fn take(&mut self) -> Result<Option<Line>> {
        let line = self.next.take();
        if let Some(Line::Sample(sample)) = &line {
            self.part.add(sample);
        }
        self.advance()?;
        Ok(line)
    }

    fn advance(&mut self) -> Result<()> {
        while !self.is_over && self.part.facts.is_none() {
            match self.reader.next()? {
                Some(Entry::Sample(mut sample)) => {
                    sample.stamps_mut().for_each(|ns| *ns += self.offset_ns);
                    self.next = Some(Line::Sample(sample));
                    return Ok(());
                }
                Some(Entry::Vitals(mut seen)) => {
                    seen.t_start_ns += self.offset_ns;
                    seen.t_end_ns += self.offset_ns;
                    seen.t_first_probe_ns += self.offset_ns;
                    self.next = Some(Line::Vitals(seen));
                    return Ok(());
                }
                Some(Entry::Tokens(id, tokens, source)) => {
                    self.next = Some(Line::Tokens(id, tokens, source));
                    return Ok(());
                }
                Some(Entry::Pass(line)) => self.part.facts = Some(self.facts(&line)),
                Some(Entry::Clock(line)) => self.clock(&line),
                Some(Entry::Findings(_) | Entry::Merge(_) | Entry::Other) => {}
                None => self.is_over = true,
            }
        }
        Ok(())
    }

    fn facts(&self, line: &Value) -> Facts {
        let facts = Facts::read(line);
        let later = |ns| ns + self.offset_ns;
        let both_later = |(from_ns, to_ns)| (later(from_ns), later(to_ns));
        Facts {
            t_start_ns: later(facts.t_start_ns),
            window_ns: facts.window_ns.map(both_later),
            schedule_ns: facts.schedule_ns.map(both_later),
            ..facts
        }
    }

    fn clock(&mut self, line: &Value) {
        let Some(clock) = Clock::read(line) else {
            return;
        };
        let index = clock.shard.unwrap_or(self.held.held[0]);
        let readings = self.clocks.entry(index).or_insert((clock, clock));
        readings.1 = clock;
    }

    /// Returns the first and the last reading of the clocks of each shard, on the merged clock.
    pub fn clocks(&self) -> impl Iterator<Item = (Clock, Clock)> {
        let later = |clock: Clock| Clock {
            t_ns: clock.t_ns + self.offset_ns,
            server_us: clock.server_us.map(|(low, high)| {
                let us = self.offset_ns / 1000;
                (low.saturating_sub(us), high.saturating_sub(us))
            }),
            ..clock
        };
        self.clocks
            .values()
            .map(move |(first, last)| (later(*first), later(*last)))
    }
}

/// Opens the files and checks that they are of one run. Files are in the order of their shards; those whose shards
/// another file has, too, are left out and returned by name.
///
/// # Errors
/// Fails when a file cannot be read or is of another run.
pub fn open(names: &[String]) -> Result<(Vec<Shards>, Vec<String>)> {
    let opened: Result<Vec<Shards>> = names.iter().map(|name| Shards::open(name)).collect();
    let mut opened = opened?;
    let first = &opened[0];
    if let Some((other, why)) = opened
        .iter()
        .find_map(|other| Some((other, other.unlike(first)?)))
    {
        return Err(Error::input(&other.name, why));
    }
    opened.sort_by_cached_key(|shards| shards.held.held[0]);
    let mut doubled = Vec::new();
    let mut seen: BTreeMap<u64, String> = BTreeMap::new();
    opened.retain(|shards| {
        let held = &shards.held.held;
        let other = held
            .iter()
            .find_map(|index| Some((index, seen.get(index)?)));
        if let Some((index, other)) = other {
            let name = &shards.name;
            doubled.push(format!(
                "shard {index} is in {other} and in {name}, which is left out"
            ));
            return false;
        }
        seen.extend(held.iter().map(|index| (*index, shards.name.clone())));
        true
    });
    let zero_us = opened
        .iter()
        .map(|shards| shards.zero_us)
        .min()
        .unwrap_or(0);
    for shards in &mut opened {
        shards.offset_ns = shards.zero_us.saturating_sub(zero_us).saturating_mul(1000);
    }
    Ok((opened, doubled))
}
