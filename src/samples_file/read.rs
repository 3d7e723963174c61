//! Reads a file of samples: header, samples, series. The last line may be incomplete.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use self::line::{COUNT_LIMIT, Keys, Parsed};
use crate::error::{Error, Result};
use crate::file;
use crate::sample::{Sample, TokenSource};
use crate::vitals::Vitals;

#[cfg(test)]
mod fuzz;
mod keys;
mod line;
#[cfg(test)]
pub use self::fuzz::{broken, some_lines};

/// Longest first line that can be a header.
const HEADER_BYTES: u64 = 1 << 20;
/// The schema in the first line.
pub(super) const SCHEMA: &str = "tmesh-cli/samples/2";
/// A line after the header.
#[derive(Debug)]
pub enum Entry {
    Sample(Box<Sample>),
    /// A line of the series `client`.
    Vitals(Vitals),
    /// A line of the series `tokens`: the id of a sample, and its output tokens counted after the run.
    Tokens(u64, u64, TokenSource),
    /// A line of the series `pass`, unchanged.
    Pass(Value),
    /// A line of the series `clock`, unchanged.
    Clock(Value),
    /// The line of the series `merge`, unchanged: how shards were merged.
    Merge(Value),
    /// The line of the series `probe`, `compare` or `find_rate`: what an experiment found.
    Findings(Value),
    /// A line of a series that no figure needs.
    Other,
}

/// Removes numbers from a result that could not be summed: whole numbers from two years of nanoseconds on. Seeds, which
/// are not summed, may be any number.
pub fn keep_countable(value: &mut Value) {
    match value {
        Value::Number(number) if number.as_u64().is_some_and(|count| count >= COUNT_LIMIT) => {
            *value = Value::Null;
        }
        Value::Array(items) => items.iter_mut().for_each(keep_countable),
        Value::Object(map) => {
            let counted = map.iter_mut().filter(|(key, _)| *key != "seed");
            counted.for_each(|(_, value)| keep_countable(value));
        }
        _ => {}
    }
}

/// Returns whether the line is the header of a file of samples, of any version.
fn is_header(line: &[u8]) -> bool {
    serde_json::from_slice(line).is_ok_and(|header: Value| schema(&header).is_some())
}

/// Returns whether a file begins with the header of samples, of any version.
///
/// # Errors
/// Fails when the file cannot be read.
pub fn holds_samples(path: &Path) -> io::Result<bool> {
    let mut line = Vec::new();
    let file = File::open(path)?.take(HEADER_BYTES);
    BufReader::new(file).read_until(b'\n', &mut line)?;
    Ok(is_header(&line))
}

/// Returns the version in a header, such as `2`.
fn schema(header: &Value) -> Option<&str> {
    header["schema"]
        .as_str()?
        .strip_prefix("tmesh-cli/samples/")
}

/// Returns the header without schema and version.
fn header(line: &[u8]) -> Parsed<Value> {
    let not_one = || format!("not the header of {SCHEMA}");
    let mut header: Value = serde_json::from_slice(line).map_err(|_| not_one())?;
    let version = schema(&header).ok_or_else(not_one)?;
    if !SCHEMA.ends_with(&format!("/{version}")) {
        return Err(format!(
            "samples of version {version}, which another version of tmesh-cli wrote; this one reads {SCHEMA}"
        ));
    }
    keep_countable(&mut header);
    let about = header.as_object_mut().ok_or_else(not_one)?;
    about.remove("schema");
    about.remove("tool_version");
    Ok(header)
}

/// Reads a file line by line; unknown keys and series are ignored.
pub struct Reader<R> {
    /// The option with the file, as typed.
    what: String,
    file: R,
    line: Vec<u8>,
    number: u64,
    /// The header without schema and version.
    pub header: Value,
    /// Whether the last line was incomplete and is left out.
    pub is_torn: bool,
}

impl Reader<BufReader<File>> {
    /// Opens a file and reads its header; `what` is the option with the file, as typed.
    ///
    /// # Errors
    /// Fails when it cannot be read or does not begin with a header of this version.
    pub fn open(what: &str, path: &Path) -> Result<Reader<BufReader<File>>> {
        let file = file::open(path).map_err(|error| cannot_read(what, &error))?;
        Reader::new(what, BufReader::new(file))
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads the header of an opened file.
    ///
    /// # Errors
    /// Fails as `open` does.
    pub fn new(what: &str, mut file: R) -> Result<Reader<R>> {
        let mut line = Vec::new();
        let read = file.read_until(b'\n', &mut line);
        read.map_err(|error| cannot_read(what, &error))?;
        let header = header(&line);
        Ok(Reader {
            header: header.map_err(|why| Error::input(format!("{what}, line 1"), why))?,
            what: what.to_string(),
            file,
            line,
            number: 1,
            is_torn: false,
        })
    }

    /// Returns the next line; `None` at the end.
    ///
    /// # Errors
    /// Fails when it cannot be read, or when a line is wrong that is not the last.
    pub fn next(&mut self) -> Result<Option<Entry>> {
        self.line.clear();
        self.number += 1;
        let read = self.file.read_until(b'\n', &mut self.line);
        if read.map_err(|error| cannot_read(&self.what, &error))? == 0 {
            return Ok(None);
        }
        match entry(&self.line) {
            Ok(entry) => Ok(Some(entry)),
            // A line is written at once with its end, so a line without one was cut off.
            Err(_) if !self.line.ends_with(b"\n") => {
                self.is_torn = true;
                Ok(None)
            }
            Err(why) => {
                let line = format!("{}, line {}", self.what, self.number);
                Err(Error::input(line, why))
            }
        }
    }
}

fn cannot_read(what: &str, error: &io::Error) -> Error {
    Error::input(what, format!("cannot read: {error}"))
}

fn entry(line: &[u8]) -> Parsed<Entry> {
    let mut keys: Keys<'_> = of_object(line)?;
    Ok(match keys.text("series") {
        None => Entry::Sample(Box::new(keys.sample()?)),
        Some("client") => Entry::Vitals(keys.vitals()?),
        Some("tokens") => {
            let (id, tokens, source) = keys.counted()?;
            Entry::Tokens(id, tokens, source)
        }
        Some("pass") => Entry::Pass(countable(line)?),
        Some("clock") => Entry::Clock(countable(line)?),
        Some("merge") => Entry::Merge(countable(line)?),
        Some("probe" | "compare" | "find_rate") => Entry::Findings(countable(line)?),
        Some(_) => Entry::Other,
    })
}

fn of_object<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Parsed<T> {
    serde_json::from_slice(line).map_err(|error| format!("not a JSON object: {error}"))
}

fn countable(line: &[u8]) -> Parsed<Value> {
    let mut line = Value::Object(of_object::<Map<String, Value>>(line)?);
    keep_countable(&mut line);
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use serde_json::json;

    use super::super::{Series, TokensLine, Writer};
    use super::fuzz::{Saved, collected, sample};
    use super::*;

    /// A temporary file, removed when dropped.
    struct Temp(PathBuf);

    impl Temp {
        fn new(name: &str) -> Temp {
            let name = format!("samples-{name}-{}.jsonl", std::process::id());
            Temp(std::env::temp_dir().join(name))
        }

        fn holding(name: &str, text: &str) -> Temp {
            let temp = Temp::new(name);
            fs::write(&temp.0, text).expect("a temporary file");
            temp
        }
    }

    impl Drop for Temp {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn read(what: &str, path: &Path) -> Result<Saved> {
        collected(Reader::open(what, path)?)
    }

    #[test]
    fn written_samples_are_read_back() {
        let temp = Temp::new("round-trip");
        let about = json!({"command": "benchmark", "seed": 7, "slo": null});
        let mut writer = Writer::create(&temp.0, &about, true).expect("a file");
        let mut rng = fastrand::Rng::with_seed(11);
        let samples: Vec<Sample> = (0..200)
            .map(|id| Sample {
                id,
                ..sample(&mut rng)
            })
            .collect();
        let seen = Vitals {
            t_start_ns: 5,
            t_end_ns: 1_000_000_005,
            t_first_probe_ns: 50,
            lags_us: vec![140, 0, u32::MAX],
            cpu_ms: Some(10),
            cores_allowed: Some(0.1 + 0.2),
            steal_share: Some(1.0 / 3.0),
            open_files: Some(30),
            ..Vitals::default()
        };
        let pass = json!({"t_start_ns": 1, "told": {}});
        for sample in &samples {
            writer.write(sample).expect("written");
        }
        writer.write_vitals(&seen).expect("written");
        writer
            .write_series("unheard-of", &json!({"a": 1}))
            .expect("written");
        writer.write_series("pass", &pass).expect("written");
        let saved = read("-i", &temp.0).expect("whole");
        assert_eq!(saved.header, about);
        assert_eq!(saved.samples, samples);
        assert_eq!(saved.vitals, vec![seen]);
        let wanted = json!({"series": "pass", "t_start_ns": 1, "told": {}});
        assert_eq!(saved.passes, [wanted]);
        assert!(!saved.torn);
    }

    const HEADER: &str = r#"{"schema":"tmesh-cli/samples/2","command":"benchmark"}"#;
    const LINE: &str = r#"{"id":1,"phase":"measured","t_send_ns":5,"t_end_ns":9,"new":[1]}"#;

    #[test]
    fn tokens_counted_after_the_run_name_their_sample() {
        let tokens = Series {
            series: "tokens",
            seen: &TokensLine::new(2, 70, TokenSource::Tokenize),
        };
        let tokens = serde_json::to_string(&tokens).expect("JSON");
        let wanted =
            r#"{"series":"tokens","id":2,"completion_tokens":70,"token_source":"tokenize"}"#;
        assert_eq!(tokens, wanted);
        let temp = Temp::holding("tokens", &format!("{HEADER}\n{LINE}\n{tokens}\n"));
        let saved = read("-i", &temp.0).expect("whole");
        assert_eq!(saved.tokens, [(2, 70, TokenSource::Tokenize)]);
    }

    #[test]
    fn a_file_torn_at_any_byte_of_its_last_line_keeps_the_lines_before() {
        let whole = format!("{HEADER}\n{LINE}\n");
        for cut in whole.len() + 1..whole.len() + LINE.len() {
            let text = format!("{whole}{LINE}\n");
            let temp = Temp::holding("torn", &text[..cut]);
            let saved = read("-i", &temp.0).expect("torn, not wrong");
            assert_eq!((saved.samples.len(), saved.torn), (1, true), "{cut}");
        }
        let temp = Temp::holding("no-line-end", &format!("{whole}{LINE}"));
        let saved = read("-i", &temp.0).expect("whole but for its end");
        assert_eq!((saved.samples.len(), saved.torn), (2, false));
    }

    #[test]
    fn a_line_that_is_wrong_before_the_last_names_its_number() {
        for (line, why) in [
            (
                "{",
                "not a JSON object: EOF while parsing an object at line 2 column 0",
            ),
            (r#"{"id":1}"#, "phase is missing"),
            (
                r#"{"id":-1}"#,
                "id: want a whole number below 72057594037927936, have -1",
            ),
            (
                r#"{"id":1,"phase":"cut","t_send_ns":72057594037927936}"#,
                "t_send_ns: want a whole number below 72057594037927936, have 72057594037927936",
            ),
            (
                r#"{"id":1,"phase":"cut","t_send_ns":1,"t_end_ns":1,"prompt_tokens":4294967296}"#,
                "prompt_tokens: want a whole number below 4294967296, have 4294967296",
            ),
            (
                r#"{"series":"tokens","id":1,"token_source":"usage"}"#,
                "completion_tokens or token_source is missing",
            ),
            (
                r#"{"id":1,"error_kind":"odd"}"#,
                "error_kind: odd is not known",
            ),
        ] {
            let temp = Temp::holding("wrong", &format!("{HEADER}\n{LINE}\n{line}\n{LINE}\n"));
            let error = read("-i s", &temp.0).expect_err(line).to_string();
            assert_eq!(error, format!("[ERROR] -i s, line 3: {why}"));
        }
        for (text, why) in [
            ("", "not the header of tmesh-cli/samples/2"),
            ("{}\n", "not the header of tmesh-cli/samples/2"),
            (
                "{\"schema\":\"tmesh-cli/samples/1\"}\n",
                "samples of version 1, which another version of tmesh-cli wrote; this one reads tmesh-cli/samples/2",
            ),
        ] {
            let temp = Temp::holding("header", text);
            let error = read("-i s", &temp.0).expect_err(text).to_string();
            assert_eq!(error, format!("[ERROR] -i s, line 1: {why}"), "{text}");
        }
    }
}
