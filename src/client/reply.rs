//! A reply as it arrives: stamps and counts, collected event by event, then judged once.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::sample::{FailKind, Sample, TokenSource};

use super::api::{Api, error_words, is_done};
use super::chunk::Chunk;
use super::dialect::{self, GENERATE_NAMES};
use super::json::{keys, without_nan};
use super::secret::beginning;
use super::template::Template;
use super::usage::{Shown, Usage};

/// Bytes of a text that are kept until secrets are masked; 200 characters are shown.
const MAX_SHOWN: usize = 12 << 10;
/// Largest plain reply whose text is kept for counting.
const MAX_COUNTED_BYTES: usize = 1 << 20;

/// The state of one reply.
#[derive(Debug, Default)]
pub struct Reply {
    api: Api,
    t_event_ns: Option<u64>,
    t_first_ns: Option<u64>,
    t_answer_ns: Option<u64>,
    t_last_ns: Option<u64>,
    t_done_ns: Option<u64>,
    gaps_us: Vec<u32>,
    /// Events with data, without `[DONE]`.
    events: u64,
    token_events: u64,
    /// Token events that have reasoning and no answer.
    reasoning_events: u64,
    /// Token events that are the first of a read.
    token_reads: u64,
    text_bytes: u64,
    finish_reason: Option<String>,
    has_finish_field: bool,
    /// The choices that finished, as a bit set of their numbers.
    finished: u64,
    /// Usage from an event without choices, or summed over the events that finish a choice.
    final_usage: Option<Usage>,
    /// Usage from the last event before the final one.
    running_usage: Option<Usage>,
    /// The reply's statement about a cache of whole replies.
    cached: Option<bool>,
    /// The text of a plain reply without a token count.
    text: Option<Arc<str>>,
    stream_error: Option<String>,
    malformed: Option<String>,
    /// The number of events that are not JSON, and the first of them with the reason.
    unread: Option<(u64, String)>,
    /// The keys of the first JSON object without text.
    keys_without_text: Option<String>,
    /// The answer so far, as in the JSON strings of the events, if it is to be kept.
    answer: Option<Vec<u8>>,
    /// The template of token events, kept from reply to reply.
    template: Template,
}

impl Reply {
    /// Makes a reader of replies of this API.
    pub fn new(api: Api) -> Reply {
        Reply {
            api,
            ..Reply::default()
        }
    }

    /// Prepares for a reply of about `tokens` tokens; `keeps_answer`: its text is wanted.
    pub fn start(&mut self, tokens: u64, keeps_answer: bool) {
        *self = Reply {
            answer: keeps_answer.then(Vec::new),
            template: std::mem::take(&mut self.template),
            ..Reply::new(self.api)
        };
        self.gaps_us.reserve(tokens.min(65_536) as usize);
    }

    /// Returns whether an event with generated text has come.
    pub fn has_token(&self) -> bool {
        self.t_first_ns.is_some()
    }

    /// Returns the number of events with data so far, without `[DONE]`.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Returns whether an event before the last one has reported usage.
    pub fn has_running_usage(&self) -> bool {
        self.running_usage.is_some()
    }

    /// Reads the data of one SSE event that was complete at `stamp_ns`.
    pub fn event(&mut self, data: &[u8], stamp_ns: u64) {
        self.t_event_ns.get_or_insert(stamp_ns);
        if self.t_done_ns.is_some() || data.is_empty() {
            return;
        }
        if is_done(data) {
            self.t_done_ns = Some(stamp_ns);
            return;
        }
        self.events += 1;
        if let Some(chunk) = self.template.read(data) {
            self.chunk(&chunk, stamp_ns);
            return;
        }
        match dialect::parse(self.api, data) {
            Ok(chunk) => {
                self.template.learn(data, &chunk);
                self.note_keys(data, &chunk);
                self.chunk(&chunk, stamp_ns);
            }
            Err(error) => self.odd_event(data, stamp_ns, &error),
        }
    }

    /// Reads an event that is not JSON, but may be JSON with NaN or infinities.
    fn odd_event(&mut self, data: &[u8], stamp_ns: u64, error: &serde_json::Error) {
        let repaired = std::str::from_utf8(data).ok().and_then(without_nan);
        let repaired = repaired.as_ref().map(String::as_bytes);
        if let Some(Ok(chunk)) = repaired.map(|json| dialect::parse(self.api, json)) {
            self.chunk(&chunk, stamp_ns);
            return;
        }
        let (count, _) = self.unread.get_or_insert_with(|| {
            let shown = excerpt(data);
            (
                0,
                format!("event is not the JSON expected ({error}): {shown}"),
            )
        });
        *count += 1;
    }

    /// Reads the message of an event that says it is an error.
    pub fn error(&mut self, data: &[u8]) {
        self.events += 1;
        let words = error_words(&excerpt(data));
        self.stream_error.get_or_insert(words);
    }

    fn note_keys(&mut self, data: &[u8], chunk: &Chunk<'_>) {
        let has_none = self.text_bytes == 0 && chunk.texts == 0;
        if has_none && self.api == Api::Generate && self.keys_without_text.is_none() {
            self.keys_without_text = keys(data);
        }
    }

    fn chunk(&mut self, chunk: &Chunk<'_>, stamp_ns: u64) {
        if chunk.answer_bytes + chunk.reasoning_bytes > 0 {
            self.token(chunk, stamp_ns);
        }
        self.facts(chunk);
    }

    fn token(&mut self, chunk: &Chunk<'_>, stamp_ns: u64) {
        self.token_events += 1;
        self.text_bytes += (chunk.answer_bytes + chunk.reasoning_bytes) as u64;
        match self.t_last_ns {
            Some(last_ns) => {
                let gap_ns = stamp_ns.saturating_sub(last_ns);
                let gap_us = u32::try_from((gap_ns + 500) / 1000);
                self.gaps_us.push(gap_us.unwrap_or(u32::MAX));
                self.token_reads += u64::from(gap_ns > 0);
            }
            None => {
                self.t_first_ns = Some(stamp_ns);
                self.token_reads = 1;
            }
        }
        match chunk.answer_bytes {
            0 => self.reasoning_events += 1,
            _ if self.t_answer_ns.is_none() => self.t_answer_ns = Some(stamp_ns),
            _ => {}
        }
        self.t_last_ns = Some(stamp_ns);
    }

    /// Returns the answer's text, escaped for the inside of a JSON string; empty if it was not kept.
    pub fn take_answer(&mut self) -> Arc<str> {
        let bytes = self.answer.take().unwrap_or_default();
        // The bytes are UTF-8: only parsed strings were added.
        String::from_utf8(bytes).unwrap_or_default().into()
    }

    /// Reads answer, usage, finish reason and error, which have no time.
    fn facts(&mut self, chunk: &Chunk<'_>) {
        if let Some(answer) = &mut self.answer {
            answer.extend_from_slice(chunk.answer);
        }
        self.cached = chunk.cached.or(self.cached);
        if let Some(error) = &chunk.error {
            self.stream_error.get_or_insert_with(|| error.to_string());
        }
        self.has_finish_field |= chunk.has_finish_field;
        if let Some((reason, _)) = chunk.finish {
            let reason = reason.get().trim_matches('"');
            self.finish_reason = Some(excerpt(reason.as_bytes()).into_owned());
        }
        let Some(usage) = chunk.usage else {
            return;
        };
        let updated = |before: Option<Usage>| before.map_or(usage, |before| before.updated(usage));
        match chunk.finish {
            // llama.cpp reports each choice separately, on the event that finishes it.
            Some((_, index)) => {
                let bit = 1 << index.min(63);
                let others = self.final_usage.filter(|_| self.finished & !bit != 0);
                let is_new = self.finished & bit == 0;
                self.finished |= bit;
                self.final_usage = Some(match others.filter(|_| is_new) {
                    Some(others) => others.plus(usage),
                    None => updated(self.final_usage),
                });
            }
            None if !chunk.has_choice || self.finish_reason.is_some() => {
                self.final_usage = Some(updated(self.final_usage));
            }
            None => self.running_usage = Some(updated(self.running_usage)),
        }
    }

    /// Reads a whole body that is not an event stream; returns false if it is several JSON values, one a line.
    pub fn plain(&mut self, body: &[u8]) -> bool {
        // An empty body is not broken JSON: nothing came.
        if body.trim_ascii().is_empty() {
            return true;
        }
        let error = match dialect::parse(self.api, body) {
            Ok(chunk) => {
                self.note_keys(body, &chunk);
                self.plain_chunk(&chunk, body.len());
                return true;
            }
            Err(error) => error,
        };
        if has_lines(body) {
            return false;
        }
        let text = excerpt(body);
        let why = format!("neither an event stream nor the JSON expected ({error}): {text}");
        self.malformed = Some(why);
        true
    }

    fn plain_chunk(&mut self, chunk: &Chunk<'_>, bytes: usize) {
        self.text_bytes = (chunk.answer_bytes + chunk.reasoning_bytes) as u64;
        self.facts(chunk);
        if self.usage().output_tokens(self.shown()).is_none() && bytes <= MAX_COUNTED_BYTES {
            self.text = chunk.answer_text().map(Arc::from);
        }
    }

    /// Returns whether the stream has said that it is complete.
    pub fn is_complete(&self) -> bool {
        self.t_done_ns.is_some()
    }

    /// Judges a reply whose body ended as its framing said; returns the failure, if it is one.
    ///
    /// A finish reason ends a stream; `[DONE]` alone does so only if no finish_reason field was sent. `/generate` is
    /// required to send neither, so the end of its body ends it. Events that are not JSON are no failure if the reply
    /// has text and an end.
    pub fn judge(&self, streamed: bool) -> Option<(FailKind, String)> {
        if let Some(words) = &self.stream_error {
            return Some((FailKind::StreamError, words.clone()));
        }
        let is_done = self.t_done_ns.is_some() || self.api == Api::Generate;
        let done_alone = is_done && !self.has_finish_field;
        let has_end = !streamed || self.finish_reason.is_some() || done_alone;
        let unread = self.unread.as_ref().map(|(_, first)| first);
        let malformed = self.malformed.as_ref().or(unread);
        match malformed {
            Some(why) if self.text_bytes == 0 || !has_end => {
                Some((FailKind::Malformed, why.clone()))
            }
            _ if self.text_bytes == 0 => Some((FailKind::Empty, self.why_empty())),
            _ if !has_end => {
                let why = "the stream ended without a finish reason";
                Some((FailKind::Truncated, why.into()))
            }
            _ => None,
        }
    }

    fn why_empty(&self) -> String {
        let keys = self.keys_without_text.as_ref().map(|keys| {
            let read = GENERATE_NAMES.join(", ");
            format!("; it has the keys {keys}; text is read from {read}")
        });
        format!(
            "the reply has no generated text{}",
            keys.unwrap_or_default()
        )
    }

    /// Returns the reply's counts; final ones take precedence over running ones.
    fn usage(&self) -> Usage {
        let running = self.running_usage.unwrap_or_default();
        running.updated(self.final_usage.unwrap_or_default())
    }

    /// Returns what the events have shown, to check the counts against.
    fn shown(&self) -> Shown {
        Shown {
            events: self.token_events,
            reasoning_events: self.reasoning_events,
            has_text: self.text_bytes > 0,
        }
    }

    /// Moves the results into the sample; its `t_end_ns` is the end of the body.
    pub fn fill(&mut self, sample: &mut Sample) {
        let usage = self.usage();
        sample.t_event_ns = self.t_event_ns;
        sample.t_first_ns = self.t_first_ns;
        sample.t_answer_ns = self.t_answer_ns;
        sample.t_last_ns = self.t_last_ns;
        sample.t_end_ns = self.t_done_ns.unwrap_or(sample.t_end_ns);
        sample.token_events = self.token_events;
        sample.token_reads = self.token_reads;
        sample.text_bytes = self.text_bytes;
        sample.finish_reason = self.finish_reason.take();
        sample.gaps_us = std::mem::take(&mut self.gaps_us);
        sample.response_cached = self.cached;
        sample.text = self.text.take();
        sample.unread = self.unread.take();
        sample.answer = self.answer.as_deref().and_then(hashed);
        let has_final = self
            .final_usage
            .is_some_and(|usage| usage.completion_tokens.is_some());
        let output = usage.output_tokens(self.shown());
        let output = output.map(|(tokens, source)| match source {
            TokenSource::Usage if !has_final => (tokens, TokenSource::ContinuousUsage),
            _ => (tokens, source),
        });
        (sample.completion_tokens, sample.token_source) = output.unzip();
        let usage = Usage {
            completion_tokens: sample.completion_tokens,
            ..usage
        };
        let usage = usage.possible();
        sample.prompt_tokens = usage.prompt_tokens;
        sample.cached_tokens = usage.cached_tokens;
        sample.reasoning_tokens = usage.reasoning_tokens;
        sample.streamed_tokens = usage.streamed_tokens(self.shown());
    }
}

/// Returns a hash of an answer, which is the same for equal answers within a run; `None` for an empty one.
fn hashed(answer: &[u8]) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    answer.hash(&mut hasher);
    (!answer.is_empty()).then(|| hasher.finish())
}

/// Returns whether the first of several lines is a JSON object.
fn has_lines(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    let first = memchr::memchr(b'\n', body).map(|end| &body[..end]);
    first.is_some_and(|line| serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok())
}

fn excerpt(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(beginning(bytes, MAX_SHOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(events: &[(&str, u64)]) -> Reply {
        let mut reply = Reply::new(Api::Chat);
        reply.start(10, true);
        for (data, stamp_ns) in events {
            reply.event(data.as_bytes(), *stamp_ns);
        }
        reply
    }

    #[test]
    fn equal_answers_that_are_kept_have_equal_hashes() {
        let answer = |words: &[&str], is_kept| {
            let mut reply = Reply::new(Api::Chat);
            reply.start(10, is_kept);
            for word in words {
                let event = format!(r#"{{"choices":[{{"delta":{{"content":"{word}"}}}}]}}"#);
                reply.event(event.as_bytes(), 1);
            }
            let mut sample = Sample::default();
            reply.fill(&mut sample);
            sample.answer
        };
        let whole = answer(&["one two"], true);
        assert!(whole.is_some());
        // The same text in other events.
        assert_eq!(answer(&["one", " two"], true), whole);
        assert_ne!(answer(&["one", " ten"], true), whole);
        assert_eq!(answer(&["one two"], false), None);
        assert_eq!(answer(&[], true), None);
    }

    #[test]
    fn a_role_event_is_an_event_but_not_a_token() {
        let reply = reply(&[
            (
                r#"{"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
                5,
            ),
            (
                r#"{"choices":[{"delta":{"reasoning":"a"},"finish_reason":null}]}"#,
                1_000_000,
            ),
            (
                r#"{"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}"#,
                3_000_499,
            ),
            ("[DONE]", 4_000_000),
        ]);
        assert_eq!(
            (reply.t_event_ns, reply.t_first_ns),
            (Some(5), Some(1_000_000))
        );
        assert_eq!(
            (reply.t_answer_ns, reply.t_last_ns),
            (Some(3_000_499), Some(3_000_499))
        );
        // 3,000,499 - 1,000,000 = 2,000,499 ns, rounded 2,000 us.
        assert_eq!(reply.gaps_us, [2000]);
        assert_eq!(reply.judge(true), None);
    }

    #[test]
    fn a_server_without_the_finish_field_may_end_with_done_alone() {
        let bare = reply(&[(r#"{"choices":[{"text":"a"}]}"#, 1), ("[DONE]", 2)]);
        assert_eq!(bare.judge(true), None);
        let interrupted = reply(&[
            (r#"{"choices":[{"text":"a","finish_reason":null}]}"#, 1),
            ("[DONE]", 2),
        ]);
        assert_eq!(
            interrupted.judge(true).map(|f| f.0),
            Some(FailKind::Truncated)
        );
        let cut = reply(&[(r#"{"choices":[{"text":"a"}]}"#, 1)]);
        assert_eq!(cut.judge(true).map(|f| f.0), Some(FailKind::Truncated));
    }

    #[test]
    fn a_plain_reply_keeps_its_text_only_where_nobody_counted_its_tokens() {
        let bare = r#"{"text":"a \"b\"","cached":true}"#;
        let counted = r#"{"choices":[{"text":"a","finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
        let uncounted = r#"{"choices":[{"message":{"content":"a b"},"finish_reason":"stop"}]}"#;
        for (api, body, text, cached) in [
            (Api::Generate, bare, Some("a \"b\""), Some(true)),
            (Api::Completions, counted, None, None),
            (Api::Chat, uncounted, Some("a b"), None),
        ] {
            let mut reply = Reply::new(api);
            reply.plain(body.as_bytes());
            assert_eq!(reply.judge(false), None, "{body}");
            let mut sample = Sample::default();
            reply.fill(&mut sample);
            assert_eq!(sample.text.as_deref(), text, "{body}");
            assert_eq!(sample.response_cached, cached, "{body}");
            assert_eq!((sample.t_first_ns, sample.t_last_ns), (None, None));
        }
    }

    #[test]
    fn a_stream_of_generate_ends_with_its_body() {
        let mut reply = Reply::new(Api::Generate);
        for (data, stamp_ns) in [
            (r#"{"text":"a"}"#, 1),
            (r#"{"text":"b"}"#, 5),
            (r#"{"text":"","cached":false}"#, 6),
        ] {
            reply.event(data.as_bytes(), stamp_ns);
        }
        assert_eq!(reply.judge(true), None);
        let mut sample = Sample::default();
        reply.fill(&mut sample);
        assert_eq!(
            (sample.t_first_ns, sample.t_last_ns, sample.token_events),
            (Some(1), Some(5), 2)
        );
        assert_eq!(
            (sample.response_cached, sample.completion_tokens),
            (Some(false), Some(2))
        );
    }

    #[test]
    fn an_empty_finish_reason_ends_nothing() {
        let cut = reply(&[(r#"{"choices":[{"text":"a","finish_reason":""}]}"#, 1)]);
        assert_eq!(cut.judge(true).map(|f| f.0), Some(FailKind::Truncated));
    }

    #[test]
    fn usage_of_zeros_beside_text_gives_way_to_the_events() {
        let zeros = r#"{"choices":[{"text":"a","finish_reason":"stop"}],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#;
        let mut reply = reply(&[(zeros, 1)]);
        let mut sample = Sample::default();
        reply.fill(&mut sample);
        assert_eq!(sample.prompt_tokens, None);
        assert_eq!(
            (sample.completion_tokens, sample.token_source),
            (Some(1), Some(TokenSource::EventsOverUsage))
        );
    }

    #[test]
    fn a_big_body_that_is_no_json_is_not_copied_into_the_reason() {
        let mut reply = Reply::new(Api::Chat);
        reply.plain(&vec![b'x'; 1 << 20]);
        let (kind, why) = reply.judge(false).expect("a failure");
        assert_eq!(kind, FailKind::Malformed);
        assert!(why.len() < 8192, "{} bytes", why.len());
    }

    #[test]
    fn the_answer_is_kept_as_json_without_reasoning_and_other_choices() {
        let mut reply = reply(&[
            (r#"{"choices":[{"delta":{"reasoning":"hm"}}]}"#, 1),
            (r#"{"choices":[{"delta":{"content":"\ud83d"}}]}"#, 2),
            (r#"{"choices":[{"delta":{"content":"\ude00 \"a\""}}]}"#, 3),
            (r#"{"choices":[{"delta":{"content":" b"}}]}"#, 4),
            (r#"{"choices":[{"index":1,"delta":{"content":"no"}}]}"#, 5),
            (
                r#"{"choices":[{"delta":{"content":"é"},"finish_reason":"stop"}]}"#,
                6,
            ),
        ]);
        let answer = reply.take_answer();
        let text: String = serde_json::from_str(&format!("\"{answer}\"")).expect("a string");
        assert_eq!(text, "😀 \"a\" bé");
        reply.start(10, false);
        reply.event(br#"{"choices":[{"delta":{"content":"x"}}]}"#, 7);
        assert_eq!(&*reply.take_answer(), "");
    }

    #[test]
    fn a_usage_that_only_runs_along_is_told_from_a_final_one() {
        let token = |n: u64| {
            format!(
                r#"{{"choices":[{{"text":"ab","finish_reason":null}}],"usage":{{"prompt_tokens":4,"completion_tokens":{n}}}}}"#
            )
        };
        let mut cut = reply(&[(&token(3), 1), (&token(6), 2)]);
        let mut sample = Sample::default();
        cut.fill(&mut sample);
        assert_eq!(
            (sample.completion_tokens, sample.token_source),
            (Some(6), Some(TokenSource::ContinuousUsage))
        );
    }

    fn text(field: &str) -> String {
        format!(r#"{{"choices":[{{"delta":{{"{field}":"ab"}},"finish_reason":null}}]}}"#)
    }

    const STOP: &str = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;

    /// Returns the sample of a reply with this many events of reasoning and of answer, with these counts before or
    /// after them.
    fn counted(reasoning: usize, answer: usize, before: &str, behind: &str) -> Sample {
        let mut events = vec![format!(r#"{{"choices":[],"usage":{before}}}"#)];
        events.extend(std::iter::repeat_n(text("reasoning_content"), reasoning));
        events.extend(std::iter::repeat_n(text("content"), answer));
        events.push(STOP.to_string());
        events.push(format!(r#"{{"choices":[],"usage":{behind}}}"#));
        let stamped = events.iter().map(String::as_str).zip(1..);
        let mut sample = Sample::default();
        reply(&stamped.collect::<Vec<_>>()).fill(&mut sample);
        sample
    }

    #[test]
    fn a_count_that_the_stream_refutes_gives_way() {
        use TokenSource::{EventsOverUsage, Total, Usage};
        let late = r#"{"prompt_tokens":20,"completion_tokens":10,"total_tokens":30}"#;
        let zero = r#"{"prompt_tokens":20,"completion_tokens":0,"total_tokens":20}"#;
        for (reasoning, answer, before, behind, tokens, source) in [
            (0, 10, "null", late, 10, Usage),
            // Several tokens in an event.
            (0, 4, "null", late, 10, Usage),
            (0, 10, "null", zero, 10, EventsOverUsage),
            (0, 10, zero, "null", 10, EventsOverUsage),
            (0, 10, zero, late, 10, Usage),
            (0, 10, late, zero, 10, Usage),
            (
                0,
                10,
                late,
                r#"{"prompt_tokens":0,"completion_tokens":0}"#,
                10,
                Usage,
            ),
            (0, 11, "null", late, 11, EventsOverUsage),
            // Reasoning is missing in the count, and the total shows it.
            (
                20,
                5,
                "null",
                r#"{"prompt_tokens":20,"completion_tokens":5,"total_tokens":45}"#,
                25,
                Total,
            ),
            (
                0,
                5,
                "null",
                r#"{"prompt_tokens":20,"completion_tokens":5,"total_tokens":525,"completion_tokens_details":{"reasoning_tokens":500}}"#,
                505,
                Total,
            ),
            (
                0,
                10,
                "null",
                r#"{"prompt_tokens":20,"total_tokens":30}"#,
                10,
                Total,
            ),
        ] {
            let sample = counted(reasoning, answer, before, behind);
            let found = (sample.completion_tokens, sample.token_source);
            assert_eq!(found, (Some(tokens), Some(source)), "{before} {behind}");
            assert_eq!(sample.prompt_tokens, Some(20), "{before} {behind}");
        }
    }

    #[test]
    fn tokens_that_the_server_does_not_stream_are_not_counted_as_streamed() {
        let usage = |all: u64, reasoning: u64| {
            format!(r#"{{"completion_tokens":{all},"reasoning_tokens":{reasoning}}}"#)
        };
        for (reasoning, answer, all, of_reasoning, streamed) in [
            (0, 10, 10, 0, None),
            // 500 of 510 tokens never came.
            (0, 10, 510, 500, Some(10)),
            // The 10 others came as three tokens an event.
            (0, 4, 510, 500, Some(10)),
            // All came, as one or as three tokens an event.
            (500, 10, 510, 500, None),
            (20, 10, 90, 60, None),
            // A summary of 10 events stands for 500 tokens.
            (10, 10, 510, 500, Some(20)),
            (10, 10, 30, 20, Some(20)),
            // The stream was cut before its answer, so there is nothing to compare.
            (20, 0, 60, 60, None),
            (20, 0, 500, 500, Some(20)),
        ] {
            let sample = counted(reasoning, answer, "null", &usage(all, of_reasoning));
            assert_eq!(
                sample.streamed_tokens, streamed,
                "{reasoning} {answer} {all} {of_reasoning}"
            );
            assert_eq!(sample.completion_tokens, Some(all));
        }
    }

    #[test]
    fn an_event_that_is_no_json_is_counted_and_fails_only_a_reply_without_an_end() {
        let token = text("content");
        let odd = ["ping", "{\"choices\":[", "7"];
        let mut events: Vec<(&str, u64)> = odd.map(|odd| (odd, 1)).to_vec();
        events.push((&token, 2));
        let cut = reply(&events);
        assert_eq!(cut.judge(true).map(|f| f.0), Some(FailKind::Malformed));
        events.push((STOP, 3));
        let mut whole = reply(&events);
        assert_eq!(whole.judge(true), None);
        let mut sample = Sample::default();
        whole.fill(&mut sample);
        let (count, first) = sample.unread.expect("events");
        assert_eq!(count, 3);
        assert!(first.ends_with(": ping"), "{first}");
        let none = reply(&[("ping", 1), (STOP, 2)]);
        assert_eq!(none.judge(true).map(|f| f.0), Some(FailKind::Malformed));
    }

    #[test]
    fn a_generate_without_a_known_name_tells_its_keys() {
        let mut reply = Reply::new(Api::Generate);
        reply.plain(br#"{"model":"m","answer":"abc"}"#);
        let (kind, why) = reply.judge(false).expect("a failure");
        assert_eq!(kind, FailKind::Empty);
        assert!(
            why.contains("it has the keys answer, model; text is read from text, response, "),
            "{why}"
        );
    }
}
