//! Samples as JSON lines: a versioned header, then one line a request, flushed as it ends, and between them a line a
//! second for each series.
//!
//! The file contains neither the API key nor prompt text.

mod read;

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;

use crate::file;
use crate::sample::{Sample, TokenSource};
use crate::vitals::Vitals;

use self::read::SCHEMA;
pub use self::read::{Entry, Reader, holds_samples, keep_countable};
#[cfg(test)]
pub use self::read::{broken, some_lines};

/// Output tokens of a plain reply that were counted after the run, as a line of the series `tokens`. The fields' names
/// are the keys.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokensLine {
    id: u64,
    completion_tokens: u64,
    token_source: TokenSource,
}

impl TokensLine {
    pub fn new(id: u64, completion_tokens: u64, token_source: TokenSource) -> TokensLine {
        TokensLine {
            id,
            completion_tokens,
            token_source,
        }
    }
}

/// Writes one file of samples.
pub struct Writer {
    out: File,
    pub is_stdout: bool,
    /// The current line; the buffer is reused.
    line: Vec<u8>,
    with_gaps: bool,
}

impl Writer {
    /// Creates the file and writes its header: schema and version, then `about`. Without gaps, `gaps_us` stays empty.
    pub fn create(path: &Path, about: &Value, with_gaps: bool) -> io::Result<Writer> {
        let mut writer = Writer {
            out: file::create(path)?,
            is_stdout: file::goes_to_stdout(path),
            line: Vec::new(),
            with_gaps,
        };
        writer.line(&Header {
            schema: SCHEMA,
            tool_version: env!("CARGO_PKG_VERSION"),
            about,
        })?;
        Ok(writer)
    }

    pub fn write(&mut self, sample: &Sample) -> io::Result<()> {
        let with_gaps = self.with_gaps;
        self.line(&Line { sample, with_gaps })
    }

    /// Writes a line of the series `client`, which comes every second. It fails if the file was removed, which writing
    /// alone does not notice.
    pub fn write_vitals(&mut self, vitals: &Vitals) -> io::Result<()> {
        let file = self.out.metadata()?;
        if file.is_file() && file.nlink() == 0 {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the file was removed",
            ));
        }
        self.write_series("client", vitals)
    }

    /// Writes a line of a series: its name, then the keys of `seen`.
    pub fn write_series(&mut self, series: &'static str, seen: &impl Serialize) -> io::Result<()> {
        self.line(&Series { series, seen })
    }

    /// Writes a whole line at once.
    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, value)?;
        self.line.push(b'\n');
        self.out.write_all(&self.line)
    }
}

#[derive(Serialize)]
struct Header<'a> {
    schema: &'static str,
    tool_version: &'static str,
    #[serde(flatten)]
    about: &'a Value,
}

/// A line of a series: its name, then the keys of what was seen.
#[derive(Serialize)]
struct Series<'a, T: Serialize> {
    series: &'static str,
    #[serde(flatten)]
    seen: &'a T,
}

/// A sample as the file has it.
struct Line<'a> {
    sample: &'a Sample,
    with_gaps: bool,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (of, labels) = (self.sample, &self.sample.labels);
        let failure = of.failure.as_ref();
        let gaps_us: &[u32] = if self.with_gaps { &of.gaps_us } else { &[] };
        let mut keys = Keys(serializer.serialize_map(None)?);
        keys.put("id", of.id)?;
        keys.put_some("session", labels.session)?;
        keys.put_some("turn", labels.turn)?;
        keys.put_some("round", labels.round)?;
        keys.put_some("context", labels.context)?;
        keys.put_some("question", labels.question)?;
        keys.put_some("rotation", labels.rotation)?;
        keys.put_some("workload", labels.workload)?;
        keys.put("phase", of.phase)?;
        keys.put("ok", of.is_success())?;
        keys.put("error_kind", failure.map(|failure| failure.kind))?;
        keys.put("status", of.status)?;
        keys.put("error", failure.map(|failure| &failure.reason))?;
        keys.put("t_due_ns", of.t_due_ns)?;
        keys.put("t_send_ns", of.t_send_ns)?;
        keys.put("t_headers_ns", of.t_headers_ns)?;
        keys.put("t_event_ns", of.t_event_ns)?;
        keys.put("t_first_ns", of.t_first_ns)?;
        keys.put("t_answer_ns", of.t_answer_ns)?;
        keys.put("t_last_ns", of.t_last_ns)?;
        keys.put("t_end_ns", of.t_end_ns)?;
        keys.put("connect_ns", of.connect_ns)?;
        keys.put("reused", of.reused)?;
        keys.put("resent", of.resent)?;
        keys.put_some("t_first_send_ns", of.t_first_send_ns)?;
        keys.put("prompt_tokens", of.prompt_tokens)?;
        keys.put("cached_tokens", of.cached_tokens)?;
        keys.put("completion_tokens", of.completion_tokens)?;
        keys.put("reasoning_tokens", of.reasoning_tokens)?;
        keys.put("token_source", of.token_source)?;
        keys.put_some("streamed_tokens", of.streamed_tokens)?;
        keys.put("token_events", of.token_events)?;
        keys.put("token_reads", of.token_reads)?;
        keys.put_some("unread_events", of.unread.as_ref().map(|(count, _)| count))?;
        keys.put_some("unread_event", of.unread.as_ref().map(|(_, first)| first))?;
        keys.put("gaps_us", gaps_us)?;
        keys.put("finish_reason", &of.finish_reason)?;
        keys.put("prompt_bytes", of.prompt_bytes)?;
        keys.put("text_bytes", of.text_bytes)?;
        keys.put_some("concurrency", labels.concurrency)?;
        keys.put_some("rate_per_s", labels.rate_per_s)?;
        keys.put_some("side", labels.side)?;
        keys.put_some("repeat", labels.repeat)?;
        keys.put_some("response_cached", of.response_cached)?;
        keys.put_some("wanted_prompt_tokens", labels.wanted_prompt_tokens)?;
        keys.put_some("wanted_output_tokens", labels.wanted_output_tokens)?;
        keys.0.end()
    }
}

/// The keys of a line, in order.
struct Keys<M>(M);

impl<M: SerializeMap> Keys<M> {
    fn put(&mut self, key: &str, value: impl Serialize) -> Result<(), M::Error> {
        self.0.serialize_entry(key, &value)
    }

    /// Writes a key, or leaves it out if it does not apply.
    fn put_some(&mut self, key: &str, value: Option<impl Serialize>) -> Result<(), M::Error> {
        value.map_or(Ok(()), |value| self.put(key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{FailKind, Failure, Labels};

    fn whole(sample: &Sample) -> Line<'_> {
        let with_gaps = true;
        Line { sample, with_gaps }
    }

    #[test]
    fn a_failure_says_its_kind_and_absent_values_are_null() {
        let sample = Sample {
            failure: Some(Failure::new(FailKind::TimeoutIdle, "no byte")),
            ..Sample::default()
        };
        let value = serde_json::to_value(whole(&sample)).expect("a JSON object");
        assert_eq!(value["ok"], false);
        assert_eq!(value["error_kind"], "timeout_idle");
        assert_eq!(value["phase"], "measured");
        assert_eq!(value["t_first_ns"], Value::Null);
        for label in ["session", "turn", "round", "context", "concurrency"] {
            let left_out = value.get(label).is_none();
            assert!(left_out, "{label} does not apply");
        }
    }

    #[test]
    fn labels_of_a_replayed_turn_stand_where_the_format_says() {
        let sample = Sample {
            id: 7,
            labels: Labels {
                session: Some(3),
                turn: Some(0),
                round: Some(2),
                concurrency: Some(20),
                ..Labels::default()
            },
            ..Sample::default()
        };
        let line = serde_json::to_string(&whole(&sample)).expect("JSON");
        let start = r#"{"id":7,"session":3,"turn":0,"round":2,"phase":"measured","#;
        assert!(line.starts_with(start), "{line}");
        assert!(
            line.ends_with(r#","text_bytes":0,"concurrency":20}"#),
            "{line}"
        );
    }

    #[test]
    fn a_second_of_the_client_is_a_line_of_its_series() {
        let seen = Vitals {
            t_start_ns: 5,
            t_end_ns: 100_000_005,
            t_first_probe_ns: 50_000_005,
            lags_us: vec![140, 90],
            cpu_ms: Some(10),
            cores_allowed: Some(0.5),
            ..Vitals::default()
        };
        let line = Series {
            series: "client",
            seen: &seen,
        };
        let wanted = r#"{"series":"client","t_start_ns":5,"t_end_ns":100000005,"t_first_probe_ns":50000005,"lags_us":[140,90],"cpu_ms":10,"cores_allowed":0.5,"periods":null,"throttled_periods":null,"steal_share":null,"open_files":null,"open_files_limit":null}"#;
        assert_eq!(serde_json::to_string(&line).expect("JSON"), wanted);
    }
}
