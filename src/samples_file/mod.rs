//! Samples as JSON lines: a versioned header, then one line a request, flushed as it ends, and between
//! them a line for every second of a series.
//!
//! Holds neither the API key nor prompt text.

mod read;

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::sample::{Phase, Sample, TokenSource, Workload};
use crate::vitals::Vitals;

use self::read::SCHEMA;
pub use self::read::{Entry, Reader, is_header, keep_countable};
#[cfg(test)]
pub use self::read::{broken, some_lines};

/// Output tokens of a plain reply that were counted after the run, as series `tokens`. The names of the fields
/// are the keys.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokensLine {
    id: u64,
    completion_tokens: u64,
    token_source: &'static str,
}

impl TokensLine {
    pub fn new(id: u64, completion_tokens: u64, source: TokenSource) -> TokensLine {
        TokensLine {
            id,
            completion_tokens,
            token_source: source.name(),
        }
    }
}

/// Writes one file of samples.
pub struct Writer {
    out: File,
    /// The line under way; keeps its capacity.
    line: Vec<u8>,
    with_gaps: bool,
}

impl Writer {
    /// Writes the header: schema and version, then `about`. Without gaps, `gaps_us` stays empty.
    pub fn create(path: &Path, about: &Value, with_gaps: bool) -> io::Result<Writer> {
        let mut writer = Writer {
            out: File::create(path)?,
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
        self.line(&Line::of(sample, self.with_gaps))
    }

    /// A line of the series `client`; one comes every second, and tells of a file that was taken away, which writing
    /// does not.
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

    /// A line of a series: its name, then the keys of what was seen.
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

/// What a sampler saw, under its name.
#[derive(Serialize)]
struct Series<'a, T: Serialize> {
    series: &'static str,
    #[serde(flatten)]
    seen: &'a T,
}

/// A sample as it stands in the file.
#[derive(Serialize)]
struct Line<'a> {
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    turn: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    round: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    question: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<&'static str>,
    #[serde(serialize_with = "phase_name")]
    phase: Phase,
    ok: bool,
    error_kind: Option<&'static str>,
    status: Option<u16>,
    error: Option<&'a str>,
    t_due_ns: Option<u64>,
    t_send_ns: u64,
    t_headers_ns: Option<u64>,
    t_event_ns: Option<u64>,
    t_first_ns: Option<u64>,
    t_answer_ns: Option<u64>,
    t_last_ns: Option<u64>,
    t_end_ns: u64,
    connect_ns: Option<u64>,
    reused: bool,
    resent: bool,
    prompt_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    token_source: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    streamed_tokens: Option<u64>,
    token_events: u64,
    token_reads: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    unread_events: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unread_event: Option<&'a str>,
    gaps_us: &'a [u32],
    finish_reason: Option<&'a str>,
    prompt_bytes: u64,
    text_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_cached: Option<bool>,
}

impl<'a> Line<'a> {
    fn of(sample: &'a Sample, with_gaps: bool) -> Line<'a> {
        let failure = sample.failure.as_ref();
        Line {
            id: sample.id,
            session: sample.labels.session,
            turn: sample.labels.turn,
            round: sample.labels.round,
            context: sample.labels.context,
            question: sample.labels.question,
            rotation: sample.labels.rotation,
            workload: sample.labels.workload.map(Workload::name),
            phase: sample.phase,
            ok: sample.is_success(),
            error_kind: failure.map(|failure| failure.kind.name()),
            status: sample.status,
            error: failure.map(|failure| failure.reason.as_str()),
            t_due_ns: sample.t_due_ns,
            t_send_ns: sample.t_send_ns,
            t_headers_ns: sample.t_headers_ns,
            t_event_ns: sample.t_event_ns,
            t_first_ns: sample.t_first_ns,
            t_answer_ns: sample.t_answer_ns,
            t_last_ns: sample.t_last_ns,
            t_end_ns: sample.t_end_ns,
            connect_ns: sample.connect_ns,
            reused: sample.reused,
            resent: sample.resent,
            prompt_tokens: sample.prompt_tokens,
            cached_tokens: sample.cached_tokens,
            completion_tokens: sample.completion_tokens,
            reasoning_tokens: sample.reasoning_tokens,
            token_source: sample.token_source.map(|source| source.name()),
            streamed_tokens: sample.streamed_tokens,
            token_events: sample.token_events,
            token_reads: sample.token_reads,
            unread_events: sample.unread.as_ref().map(|(count, _)| *count),
            unread_event: sample.unread.as_ref().map(|(_, first)| first.as_str()),
            gaps_us: if with_gaps { &sample.gaps_us } else { &[] },
            finish_reason: sample.finish_reason.as_deref(),
            prompt_bytes: sample.prompt_bytes,
            text_bytes: sample.text_bytes,
            concurrency: sample.labels.concurrency,
            rate_per_s: sample.labels.rate_per_s,
            repeat: sample.labels.repeat,
            response_cached: sample.response_cached,
        }
    }
}

// serde passes the field by reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn phase_name<S: Serializer>(phase: &Phase, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(phase.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{FailKind, Failure, Labels};

    #[test]
    fn a_failure_says_its_kind_and_absent_values_are_null() {
        let sample = Sample {
            failure: Some(Failure::new(FailKind::TimeoutIdle, "no byte")),
            ..Sample::default()
        };
        let value = serde_json::to_value(Line::of(&sample, true)).expect("a JSON object");
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
        let line = serde_json::to_string(&Line::of(&sample, true)).expect("JSON");
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
