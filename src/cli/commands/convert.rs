//! `tmesh-cli convert longbench` and `convert sharegpt`: turn public datasets into the JSON lines that `replay` reads.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::cli::args::{Args, at_least_one};
use crate::cli::flags::did_you_mean;
use crate::cli::output::{check_earlier, keep_measured};
use crate::cli::terminal::unless_unread;
use crate::error::{Error, Result};
use crate::file::{Replacement, note_read};
use crate::plan::convert::longbench::Longbench;
use crate::plan::convert::sharegpt::Sharegpt;
use crate::plan::convert::tasks::{self, V2};
use crate::plan::convert::{self, Problem, Raw};
use crate::stats::spread::exact_quantile;
use crate::units::{counted, fixed};

const GET_V1: &str = "LongBench v1: download https://huggingface.co/datasets/THUDM/LongBench/resolve/main/data.zip, \
    unpack it, and give its folder as --input-dir";
const GET_V2: &str = "LongBench v2: download https://huggingface.co/datasets/THUDM/LongBench-v2/resolve/main/data.json \
    and give it as --input-file";

/// A file to read.
struct Input {
    /// The option as typed, or the file that it led to.
    what: String,
    path: PathBuf,
}

impl Input {
    fn named(file: &str) -> Input {
        Input {
            what: format!("--input-file {file}"),
            path: file.into(),
        }
    }
}

pub fn longbench(args: &Args) -> Result<u8> {
    let wanted = datasets(args)?;
    let most = args.value("--num-samples", at_least_one)?;
    let output = required(args, "--output", "FILE")?;
    let inputs = match (args.text("--input-file"), args.text("--input-dir")) {
        (Some(_), Some(_)) => return Err(Error::input("--input-dir", "not with --input-file")),
        (Some(file), None) => vec![Input::named(&file)],
        (None, Some(dir)) => found(&dir, &wanted)?,
        (None, None) => {
            let error = Error::input(
                "convert longbench",
                "no input given; want --input-file FILE or --input-dir FOLDER",
            );
            return Err(with_source(error, &wanted));
        }
    };
    let mut longbench = Longbench::new(wanted.clone(), most);
    let lines = convert(&inputs, &output, |raw, path| {
        let stem = path.file_stem().unwrap_or_default();
        longbench.line(raw, &stem.to_string_lossy())
    })?;
    let tallies = longbench.tallies();
    let missing = wanted
        .iter()
        .find(|name| !tallies.iter().any(|tally| tally.dataset == **name));
    if let Some(name) = missing {
        let places: Vec<&str> = inputs.iter().map(|input| input.what.as_str()).collect();
        let why = format!("no record of this dataset in {}", places.join(", "));
        return Err(Error::input(format!("--dataset {name}"), why));
    }
    lines.finish()?;
    let mut written = 0;
    for tally in tallies {
        let n = tally.characters.len();
        let (dataset, duplicates) = (&tally.dataset, tally.duplicates);
        let characters = spread(&tally.characters);
        let duplicates = counted(duplicates, "duplicate");
        note!("{dataset}: {n} written, {duplicates} dropped; characters: {characters}");
        written += n as u64;
    }
    note!("{output}: {}", counted(written, "record"));
    Ok(0)
}

pub fn sharegpt(args: &Args) -> Result<u8> {
    let input = required(args, "--input-file", "FILE")?;
    let output = required(args, "--output", "FILE")?;
    let min_turns = args.value("--min-turns", at_least_one)?.unwrap_or(1);
    let max_turns = args.value("--max-turns", at_least_one)?;
    if let Some(most) = max_turns.filter(|&most| most < min_turns) {
        let why = format!("below --min-turns {min_turns}");
        return Err(Error::input(format!("--max-turns {most}"), why));
    }
    let input = Input::named(&input);
    let mut sharegpt = Sharegpt::new(min_turns, max_turns);
    let inputs = std::slice::from_ref(&input);
    let lines = convert(inputs, &output, |raw, _| sharegpt.line(raw))?;
    let counts = &sharegpt.counts;
    let mut dropped = format!(
        "{} without user text, {} with fewer than {}",
        counts.without_user,
        counts.too_short,
        counted(min_turns, "user turn")
    );
    for (n, what) in [
        (counts.with_more, "with tools or images"),
        (counts.duplicates, "that came before"),
    ] {
        if n > 0 {
            dropped += &format!(", {n} {what}");
        }
    }
    if counts.turns.is_empty() {
        let why = format!("no conversation is left; dropped: {dropped}");
        return Err(Error::input(input.what, why));
    }
    lines.finish()?;
    note!("dropped: {dropped}");
    if let Some(most) = max_turns {
        note!("cut to {}: {}", counted(most, "user turn"), counts.cut);
    }
    let (turns, characters) = (spread(&counts.turns), spread(&counts.characters));
    note!("user turns: {turns}; characters: {characters}");
    let written = counted(counts.turns.len() as u64, "conversation");
    note!("{output}: {written}");
    Ok(0)
}

fn required(args: &Args, name: &'static str, value: &str) -> Result<String> {
    args.text(name)
        .ok_or_else(|| Error::input(name, format!("not given; want {name} {value}")))
}

/// Writes the lines that `line` makes of the records of all inputs; the caller finishes the file.
fn convert(
    inputs: &[Input],
    output: &str,
    mut line: impl FnMut(Raw<'_>, &Path) -> std::result::Result<Option<String>, Problem>,
) -> Result<Lines> {
    let what = format!("--output {output}");
    let output = Path::new(output);
    inputs.iter().for_each(|input| note_read(&input.path));
    check_earlier(&what, output)?;
    let mut lines = Lines::create(what, output)?;
    for input in inputs {
        convert::read(&input.what, &input.path, |raw| {
            if let Some(line) = line(raw, &input.path)? {
                lines.add(&line);
            }
            Ok(())
        })?;
    }
    Ok(lines)
}

/// A file of lines that appears complete or not at all: dropped before its end, it leaves nothing.
struct Lines {
    /// The option with its value, as typed.
    what: String,
    path: PathBuf,
    file: BufWriter<Replacement>,
    /// The first failure; nothing is written after it.
    written: io::Result<()>,
}

impl Lines {
    /// Creates the missing folders, and the file.
    fn create(what: String, path: &Path) -> Result<Lines> {
        if path.is_dir() {
            return Err(Error::input(what, "a folder; want a file"));
        }
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        // A link is written through from the first line on.
        let kept = folder.and_then(|()| match path.is_symlink() {
            true => keep_measured(path),
            false => Ok(()),
        });
        match kept.and_then(|()| Replacement::create(path)) {
            Ok(file) => Ok(Lines {
                what,
                path: path.to_owned(),
                file: BufWriter::new(file),
                written: Ok(()),
            }),
            Err(error) => Err(Error::input(what, format!("cannot write: {error}"))),
        }
    }

    /// Adds a line; `finish` reports a failure.
    fn add(&mut self, line: &str) {
        if self.written.is_ok() {
            self.written = writeln!(self.file, "{line}");
        }
    }

    /// Renames the file to its target, where samples are moved aside.
    ///
    /// # Errors
    /// Fails when a line could not be written.
    fn finish(self) -> Result<()> {
        let file = self.written.and_then(|()| Ok(self.file.into_inner()?));
        let finished = file.and_then(|file| {
            keep_measured(&self.path)?;
            file.finish()
        });
        let finished = unless_unread(&self.path, finished);
        finished.map_err(|error| Error::missed(self.what, format!("cannot write: {error}")))
    }
}

/// Returns the values of `--dataset`, each once.
fn datasets(args: &Args) -> Result<Vec<String>> {
    let known: Vec<String> = tasks::names().collect();
    let mut wanted: Vec<String> = Vec::new();
    for name in args.texts("--dataset").map(str::to_string) {
        if !known.contains(&name) {
            let why = "LongBench has no dataset of that name";
            let near = did_you_mean(&name, known.iter().map(String::as_str));
            let next = near.unwrap_or_else(|| format!("Want one of: {}", known.join(" ")));
            return Err(Error::input(format!("--dataset {name}"), why).next(next));
        }
        if !wanted.contains(&name) {
            wanted.push(name);
        }
    }
    Ok(wanted)
}

/// Finds the files of the wanted datasets in `dir`; if none is named, of all but LongBench-E.
fn found(dir: &str, wanted: &[String]) -> Result<Vec<Input>> {
    let what = format!("--input-dir {dir}");
    if !Path::new(dir).is_dir() {
        return Err(with_source(Error::input(what, "no such folder"), wanted));
    }
    let names: Vec<String> = if wanted.is_empty() {
        tasks::names()
            .filter(|name| !name.ends_with("_e"))
            .collect()
    } else {
        wanted.to_vec()
    };
    let mut inputs = Vec::new();
    for name in &names {
        if let Some(path) = file_of(Path::new(dir), name) {
            let what = path.display().to_string();
            inputs.push(Input { what, path });
        } else if !wanted.is_empty() {
            let error = Error::input(what, format!("no file of {name} in this folder"));
            return Err(with_source(error, std::slice::from_ref(name)));
        }
    }
    if inputs.is_empty() {
        let error = Error::input(what, "no LongBench file in this folder");
        return Err(with_source(error, wanted));
    }
    Ok(inputs)
}

/// Returns `NAME.jsonl` in the folder or in its subfolder `data`, as in the archive.
fn file_of(dir: &Path, name: &str) -> Option<PathBuf> {
    let own = format!("{name}.jsonl");
    let files = match name {
        V2 => &["longbench-v2.jsonl", "longbench-v2.json", "data.json"][..],
        _ => &[own.as_str()],
    };
    [dir.to_path_buf(), dir.join("data")]
        .iter()
        .flat_map(|folder| files.iter().map(|file| folder.join(file)))
        .find(|path| path.is_file())
}

/// Adds where to get the wanted datasets; both versions if none is named.
fn with_source(error: Error, wanted: &[String]) -> Error {
    let wants = |is_v2| wanted.is_empty() || wanted.iter().any(|name| (name == V2) == is_v2);
    let sources = [(false, GET_V1), (true, GET_V2)].into_iter();
    let sources = sources.filter(|(is_v2, _)| wants(*is_v2));
    sources.fold(error, |error, (_, source)| error.next(source))
}

/// Formats `min 1, median 2, max 4`; n/a without values.
pub(super) fn spread(values: &[u64]) -> String {
    let mut sorted: Vec<f64> = values.iter().map(|&value| value as f64).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let [min, median, max] = [0.0, 0.5, 1.0].map(|q| {
        let value = exact_quantile(&sorted, q);
        value.map_or_else(|| "n/a".to_string(), figure)
    });
    format!("min {min}, median {median}, max {max}")
}

/// Formats a count, or the middle of two.
pub(super) fn figure(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        fixed(value, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_shows_counts_as_they_are() {
        assert_eq!(spread(&[4, 1, 2]), "min 1, median 2, max 4");
        // Halfway between 1000 and 1001.
        assert_eq!(spread(&[1001, 1000]), "min 1000, median 1000.5, max 1001");
        assert_eq!(spread(&[]), "min n/a, median n/a, max n/a");
    }
}
