//! Reads a file of samples back: header, samples, series. The last line may be torn.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde_json::{Map, Value};

use super::{End, SCHEMA};
use crate::error::{Error, Result};
use crate::file;
use crate::sample::{FailKind, Failure, Labels, Phase, Sample, TokenSource, Workload};
use crate::vitals::Vitals;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
pub use self::fuzz::{broken, some_lines};

/// Whole numbers are below it, since they are added up: as nanoseconds two years.
const COUNT_LIMIT: u64 = 1 << 56;
/// The same of tokens of one request, as for what a server reports.
const TOKENS_LIMIT: u64 = 1 << 32;

/// What a file of samples holds; keys and series that are not known are left out.
#[derive(Debug, Default)]
pub struct Saved {
    /// Without schema and version.
    pub about: Value,
    /// In the order of their lines, with the tokens that were counted after the run.
    pub samples: Vec<Sample>,
    /// The series `client`.
    pub vitals: Vec<Vitals>,
    /// The lines of the series `metrics`, as they are.
    pub metrics: Vec<Value>,
    /// The lines of the series `workload`, as they are.
    pub workloads: Vec<Value>,
    /// The lines of the series `point`, each behind the number of samples before it.
    pub points: Vec<(usize, Value)>,
    /// `None`: the run did not come to its end, or it was no run of `benchmark`.
    pub end: Option<End>,
    /// The last line was not whole and is left out.
    pub torn: bool,
    /// The series `tokens`, by the ids of samples.
    tokens: HashMap<u64, (u64, TokenSource)>,
}

/// Takes out of a result what could not be added up: whole numbers from two years of nanoseconds on. A seed, which
/// nothing is added to, may be any.
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

/// The header that this line is, without schema and version; `None`: it is something else.
pub fn header(line: &[u8]) -> Option<Value> {
    let mut header: Value = serde_json::from_slice(line).ok()?;
    let about = header.as_object_mut()?;
    let is_ours = about.get("schema").is_some_and(|schema| schema == SCHEMA);
    about.remove("schema");
    about.remove("tool_version");
    keep_countable(&mut header);
    is_ours.then_some(header)
}

/// Reads a whole file; `what` is the option with the file, as typed.
///
/// # Errors
/// When it cannot be read, does not begin with a header, or has a line that is wrong before its last one.
pub fn read(what: &str, path: &Path) -> Result<Saved> {
    let file = file::open(path).map_err(|error| cannot_read(what, &error))?;
    read_from(what, BufReader::new(file))
}

fn cannot_read(what: &str, error: &io::Error) -> Error {
    Error::input(what, format!("cannot read: {error}"))
}

/// The same for what has been opened.
pub fn read_from(what: &str, mut file: impl BufRead) -> Result<Saved> {
    let cannot = |error: io::Error| cannot_read(what, &error);
    let mut line = Vec::new();
    let mut saved = Saved::default();
    for number in 1_u64.. {
        line.clear();
        if file.read_until(b'\n', &mut line).map_err(cannot)? == 0 && number > 1 {
            break;
        }
        let taken = match number {
            1 => header(&line)
                .map(|about| saved.about = about)
                .ok_or_else(|| format!("not the header of {SCHEMA}")),
            _ => saved.take(&line),
        };
        if let Err(why) = taken {
            // A line is written at once with its end: one without was cut off.
            if number > 1 && !line.ends_with(b"\n") {
                saved.torn = true;
                break;
            }
            return Err(Error::input(format!("{what}, line {number}"), why));
        }
    }
    for sample in &mut saved.samples {
        if let Some((tokens, source)) = saved.tokens.remove(&sample.id) {
            sample.completion_tokens = Some(tokens);
            sample.token_source = Some(source);
        }
    }
    Ok(saved)
}

impl Saved {
    fn take(&mut self, line: &[u8]) -> std::result::Result<(), String> {
        let value: Map<String, Value> =
            serde_json::from_slice(line).map_err(|error| format!("not a JSON object: {error}"))?;
        let keys = Keys(&value);
        match keys.text("series").as_deref() {
            None => self.samples.push(keys.sample()?),
            Some("client") => self.vitals.push(keys.vitals()?),
            Some("metrics") => self.metrics.push(countable(value)),
            Some("workload") => self.workloads.push(countable(value)),
            Some("point") => self.points.push((self.samples.len(), countable(value))),
            Some("tokens") => {
                let (id, counted) = keys.counted()?;
                self.tokens.insert(id, counted);
            }
            Some("end") => self.end = Some(keys.end()?),
            Some(_) => {}
        }
        Ok(())
    }
}

fn countable(line: Map<String, Value>) -> Value {
    let mut line = Value::Object(line);
    keep_countable(&mut line);
    line
}

/// The keys of a line; those that are absent or null are `None`.
struct Keys<'a>(&'a Map<String, Value>);

impl Keys<'_> {
    fn value(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Option<String> {
        Some(self.value(key)?.as_str()?.to_string())
    }

    fn claim(&self, key: &str) -> Option<bool> {
        self.value(key)?.as_bool()
    }

    fn is_true(&self, key: &str) -> bool {
        self.claim(key) == Some(true)
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.value(key)?.as_f64()
    }

    // Thirty callers: each would have a copy.
    #[inline(never)]
    fn count(&self, key: &str) -> std::result::Result<Option<u64>, String> {
        self.below(key, COUNT_LIMIT)
    }

    fn below(&self, key: &str, limit: u64) -> std::result::Result<Option<u64>, String> {
        let count = self.value(key).map(|value| {
            let count = value.as_u64().filter(|&count| count < limit);
            count.ok_or_else(|| format!("{key}: want a whole number below {limit}, have {value}"))
        });
        count.transpose()
    }

    #[inline(never)]
    fn tokens(&self, key: &str) -> std::result::Result<Option<u64>, String> {
        self.below(key, TOKENS_LIMIT)
    }

    #[inline(never)]
    fn must(&self, key: &str) -> std::result::Result<u64, String> {
        self.count(key)?.ok_or_else(|| format!("{key} is missing"))
    }

    fn counts(&self, key: &str) -> Vec<u32> {
        let list = self.value(key).and_then(Value::as_array);
        let counts = list.into_iter().flatten().filter_map(Value::as_u64);
        counts
            .map(|count| u32::try_from(count).unwrap_or(u32::MAX))
            .collect()
    }

    /// What goes by the name that the key has.
    fn named<T: Copy>(
        &self,
        key: &str,
        all: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> std::result::Result<Option<T>, String> {
        let Some(text) = self.text(key) else {
            return Ok(None);
        };
        let found = all.iter().copied().find(|&one| name(one) == text);
        found
            .map(Some)
            .ok_or_else(|| format!("{key}: {text} is not known"))
    }

    fn sample(&self) -> std::result::Result<Sample, String> {
        let kind = self.named("error_kind", &FailKind::ALL, FailKind::name)?;
        let reason = self.text("error").unwrap_or_default();
        let phase = self.named("phase", &Phase::ALL, Phase::name)?;
        let status = self.count("status")?;
        Ok(Sample {
            id: self.must("id")?,
            labels: self.labels()?,
            phase: phase.ok_or("phase is missing")?,
            failure: kind.map(|kind| Failure::new(kind, reason)),
            status: status.and_then(|status| u16::try_from(status).ok()),
            t_due_ns: self.count("t_due_ns")?,
            t_send_ns: self.must("t_send_ns")?,
            t_headers_ns: self.count("t_headers_ns")?,
            t_event_ns: self.count("t_event_ns")?,
            t_first_ns: self.count("t_first_ns")?,
            t_answer_ns: self.count("t_answer_ns")?,
            t_last_ns: self.count("t_last_ns")?,
            t_end_ns: self.must("t_end_ns")?,
            connect_ns: self.count("connect_ns")?,
            reused: self.is_true("reused"),
            resent: self.is_true("resent"),
            prompt_tokens: self.tokens("prompt_tokens")?,
            cached_tokens: self.tokens("cached_tokens")?,
            completion_tokens: self.tokens("completion_tokens")?,
            reasoning_tokens: self.tokens("reasoning_tokens")?,
            token_source: self.named("token_source", &TokenSource::ALL, TokenSource::name)?,
            token_events: self.tokens("token_events")?.unwrap_or(0),
            gaps_us: self.counts("gaps_us"),
            finish_reason: self.text("finish_reason"),
            prompt_bytes: self.count("prompt_bytes")?.unwrap_or(0),
            response_cached: self.claim("response_cached"),
            text_bytes: self.count("text_bytes")?.unwrap_or(0),
            text: None,
        })
    }

    fn labels(&self) -> std::result::Result<Labels, String> {
        Ok(Labels {
            session: self.count("session")?,
            turn: self.count("turn")?,
            round: self.count("round")?,
            concurrency: self.count("concurrency")?,
            context: self.count("context")?,
            question: self.count("question")?,
            rotation: self.count("rotation")?,
            workload: self.named("workload", &Workload::ALL, Workload::name)?,
            rate_per_s: self.number("rate_per_s"),
            repeat: self.claim("repeat"),
            ..Labels::default()
        })
    }

    fn vitals(&self) -> std::result::Result<Vitals, String> {
        Ok(Vitals {
            t_start_ns: self.must("t_start_ns")?,
            t_end_ns: self.must("t_end_ns")?,
            t_first_probe_ns: self.must("t_first_probe_ns")?,
            lags_us: self.counts("lags_us"),
            cpu_ms: self.count("cpu_ms")?,
            cores_allowed: self.number("cores_allowed"),
            periods: self.count("periods")?,
            throttled_periods: self.count("throttled_periods")?,
            steal_share: self.number("steal_share"),
            open_files: self.count("open_files")?,
            open_files_limit: self.count("open_files_limit")?,
        })
    }

    /// The id of a sample, and what was counted of it.
    fn counted(&self) -> std::result::Result<(u64, (u64, TokenSource)), String> {
        let tokens = self.tokens("completion_tokens")?;
        let source = self.named("token_source", &TokenSource::ALL, TokenSource::name)?;
        let counted = tokens.zip(source);
        let counted = counted.ok_or("completion_tokens or token_source is missing")?;
        Ok((self.must("id")?, counted))
    }

    fn end(&self) -> std::result::Result<End, String> {
        Ok(End {
            t_start_ns: self.must("t_start_ns")?,
            t_end_ns: self.must("t_end_ns")?,
            concurrency_peak: self.must("concurrency_peak")?,
            in_flight: self.must("in_flight")?,
            why: self.text("why").unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use serde_json::json;

    use super::super::{Series, TokensLine, Writer};
    use super::*;

    /// A sample whose every key is one of several by chance, absent ones among them.
    fn random(id: u64, rng: &mut fastrand::Rng) -> Sample {
        fn maybe(rng: &mut fastrand::Rng) -> Option<u64> {
            rng.bool().then(|| rng.u64(..COUNT_LIMIT))
        }
        fn tokens(rng: &mut fastrand::Rng) -> Option<u64> {
            rng.bool().then(|| rng.u64(..TOKENS_LIMIT))
        }
        let phase = Phase::ALL[rng.usize(..3)];
        let kind = FailKind::ALL[rng.usize(..13)];
        let fails = rng.bool();
        Sample {
            id,
            labels: Labels {
                session: maybe(rng),
                turn: maybe(rng),
                round: maybe(rng),
                concurrency: maybe(rng),
                context: maybe(rng),
                question: maybe(rng),
                rotation: maybe(rng),
                workload: rng.bool().then(|| Workload::ALL[rng.usize(..3)]),
                // Eighths survive a decimal text.
                rate_per_s: rng.bool().then(|| f64::from(rng.u32(..)) / 8.0),
                repeat: rng.bool().then(|| rng.bool()),
                ..Labels::default()
            },
            phase,
            failure: fails.then(|| Failure::new(kind, "a \"b\"\n\u{1}ü")),
            status: rng.bool().then(|| rng.u16(..)),
            t_due_ns: maybe(rng),
            t_send_ns: rng.u64(..COUNT_LIMIT),
            t_headers_ns: maybe(rng),
            t_event_ns: maybe(rng),
            t_first_ns: maybe(rng),
            t_answer_ns: maybe(rng),
            t_last_ns: maybe(rng),
            t_end_ns: rng.u64(..COUNT_LIMIT),
            connect_ns: maybe(rng),
            reused: rng.bool(),
            resent: rng.bool(),
            prompt_tokens: tokens(rng),
            cached_tokens: tokens(rng),
            completion_tokens: tokens(rng),
            reasoning_tokens: tokens(rng),
            token_source: rng.bool().then(|| TokenSource::ALL[rng.usize(..5)]),
            token_events: rng.u64(..TOKENS_LIMIT),
            gaps_us: (0..rng.usize(..5)).map(|_| rng.u32(..)).collect(),
            finish_reason: rng.bool().then(|| "stop".to_string()),
            prompt_bytes: rng.u64(..COUNT_LIMIT),
            response_cached: rng.bool().then(|| rng.bool()),
            text_bytes: rng.u64(..COUNT_LIMIT),
            text: None,
        }
    }

    /// A file of its own, removed when dropped.
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

    #[test]
    fn what_was_written_is_what_is_read() {
        let temp = Temp::new("round-trip");
        let about = json!({"command": "benchmark", "seed": 7, "slo": null});
        let mut writer = Writer::create(&temp.0.to_string_lossy(), &about, true).expect("a file");
        let mut rng = fastrand::Rng::with_seed(11);
        let samples: Vec<Sample> = (0..200).map(|id| random(id, &mut rng)).collect();
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
        let end = End {
            t_start_ns: 1,
            t_end_ns: 2,
            concurrency_peak: 3,
            in_flight: 4,
            why: "the duration is over".to_string(),
        };
        for sample in &samples {
            writer.write(sample).expect("written");
        }
        writer.write_vitals(&seen).expect("written");
        writer
            .write_series("unheard-of", &json!({"a": 1}))
            .expect("written");
        writer.write_series("end", &end).expect("written");
        let saved = read("-i", &temp.0).expect("whole");
        assert_eq!(saved.about, about);
        assert_eq!(saved.samples, samples);
        assert_eq!((saved.vitals, saved.end), (vec![seen], Some(end)));
        assert!(!saved.torn);
    }

    const HEADER: &str = r#"{"schema":"tmesh-cli/samples/1","command":"benchmark"}"#;
    const LINE: &str = r#"{"id":1,"phase":"measured","t_send_ns":5,"t_end_ns":9,"new":[1]}"#;

    #[test]
    fn tokens_counted_after_the_run_are_those_of_their_samples() {
        let line =
            |id: u64| format!(r#"{{"id":{id},"phase":"measured","t_send_ns":5,"t_end_ns":9}}"#);
        let counted = Sample {
            id: 2,
            completion_tokens: Some(70),
            token_source: Some(TokenSource::Tokenize),
            ..Sample::default()
        };
        let tokens = Series {
            series: "tokens",
            seen: &TokensLine::of(&counted).expect("counted"),
        };
        let tokens = serde_json::to_string(&tokens).expect("JSON");
        let wanted =
            r#"{"series":"tokens","id":2,"completion_tokens":70,"token_source":"tokenize"}"#;
        assert_eq!(tokens, wanted);
        assert_eq!(TokensLine::of(&Sample::default()), None);
        let point = |at: u64| format!(r#"{{"series":"point","point":{at}}}"#);
        let lines = [
            HEADER,
            &line(1),
            &point(0),
            &line(2),
            &line(3),
            &point(1),
            &tokens,
        ];
        let temp = Temp::holding("tokens", &(lines.join("\n") + "\n"));
        let saved = read("-i", &temp.0).expect("whole");
        let got: Vec<_> = saved
            .samples
            .iter()
            .map(|sample| (sample.completion_tokens, sample.token_source))
            .collect();
        let wanted = [
            (None, None),
            (Some(70), Some(TokenSource::Tokenize)),
            (None, None),
        ];
        assert_eq!(got, wanted);
        let points = saved
            .points
            .iter()
            .map(|(before, line)| (*before, line["point"].as_u64()));
        assert_eq!(points.collect::<Vec<_>>(), [(1, Some(0)), (3, Some(1))]);
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
        for text in ["", "{}\n", "{\"schema\":\"tmesh-cli/samples/2\"}\n"] {
            let temp = Temp::holding("header", text);
            let error = read("-i s", &temp.0).expect_err(text).to_string();
            let wanted = "[ERROR] -i s, line 1: not the header of tmesh-cli/samples/1";
            assert_eq!(error, wanted, "{text}");
        }
    }
}
