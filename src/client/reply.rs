//! A reply as it comes in: stamps and counts, gathered event by event, then judged once.

use std::borrow::Cow;
use std::sync::Arc;

use crate::sample::{FailKind, Sample, TokenSource};

use super::api::{Api, error_words, is_done};
use super::chunk::Chunk;
use super::secret::beginning;
use super::template::Template;
use super::usage::Usage;

/// Bytes of a text that are kept until secrets are masked in it: 200 characters are shown.
const MAX_SHOWN: usize = 12 << 10;
/// The text of a larger plain reply is not kept to be counted.
const MAX_COUNTED_BYTES: usize = 1 << 20;

/// What has been seen of one reply.
#[derive(Debug, Default)]
pub struct Reply {
    api: Api,
    t_event_ns: Option<u64>,
    t_first_ns: Option<u64>,
    t_answer_ns: Option<u64>,
    t_last_ns: Option<u64>,
    t_done_ns: Option<u64>,
    gaps_us: Vec<u32>,
    /// Events with data, `[DONE]` left out.
    events: u64,
    token_events: u64,
    text_bytes: u64,
    finish_reason: Option<String>,
    has_finish_field: bool,
    /// The choices that finished, as bits of their numbers.
    finished: u64,
    /// From an event without choices, or summed over the events that finish a choice.
    final_usage: Option<Usage>,
    /// From the last event before that.
    running_usage: Option<Usage>,
    /// What the reply says of a cache of whole replies.
    cached: Option<bool>,
    /// Of a plain reply, if it does not say how many tokens it has.
    text: Option<Arc<str>>,
    stream_error: Option<String>,
    malformed: Option<String>,
    /// The answer so far as it stands in the JSON strings of the events, if it is to be kept.
    answer: Option<Vec<u8>>,
    /// Kept from reply to reply.
    template: Template,
}

impl Reply {
    /// For replies of this API.
    pub fn new(api: Api) -> Reply {
        Reply {
            api,
            ..Reply::default()
        }
    }

    /// Makes ready for a reply of about `tokens` tokens, whose answer is wanted or not.
    pub fn start(&mut self, tokens: u64, keeps_answer: bool) {
        *self = Reply {
            answer: keeps_answer.then(Vec::new),
            template: std::mem::take(&mut self.template),
            ..Reply::new(self.api)
        };
        self.gaps_us.reserve(tokens.min(65_536) as usize);
    }

    /// Whether an event with generated text has come.
    pub fn has_token(&self) -> bool {
        self.t_first_ns.is_some()
    }

    /// Events with data so far, `[DONE]` left out.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether an event before the last one has reported usage.
    pub fn has_running_usage(&self) -> bool {
        self.running_usage.is_some()
    }

    /// Takes the data of one SSE event that was complete at `stamp_ns`.
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
        match Chunk::parse(self.api, data) {
            Ok(chunk) => {
                self.template.learn(data, &chunk);
                self.chunk(&chunk, stamp_ns);
            }
            Err(error) => {
                self.malformed.get_or_insert_with(|| {
                    format!(
                        "event is not the JSON expected ({error}): {}",
                        excerpt(data)
                    )
                });
            }
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
        if let Some(last) = self.t_last_ns {
            let gap_us = (stamp_ns.saturating_sub(last) + 500) / 1000;
            self.gaps_us.push(u32::try_from(gap_us).unwrap_or(u32::MAX));
        }
        self.t_first_ns.get_or_insert(stamp_ns);
        if chunk.answer_bytes > 0 {
            self.t_answer_ns.get_or_insert(stamp_ns);
        }
        self.t_last_ns = Some(stamp_ns);
    }

    /// The answer's text, escaped for the inside of a JSON string; empty if it was not to be kept.
    pub fn take_answer(&mut self) -> Arc<str> {
        let bytes = self.answer.take().unwrap_or_default();
        // Only strings that were parsed have been added.
        String::from_utf8(bytes).unwrap_or_default().into()
    }

    /// Answer, usage, finish reason and error: what has no time.
    fn facts(&mut self, chunk: &Chunk<'_>) {
        if let Some(answer) = &mut self.answer {
            answer.extend_from_slice(chunk.answer);
        }
        self.cached = chunk.cached.or(self.cached);
        if let Some(error) = chunk.error {
            self.stream_error
                .get_or_insert_with(|| error_words(error.get()));
        }
        self.has_finish_field |= chunk.has_finish_field;
        if let Some((reason, _)) = chunk.finish {
            let reason = reason.get().trim_matches('"');
            self.finish_reason = Some(excerpt(reason.as_bytes()).into_owned());
        }
        let Some(usage) = chunk.usage.filter(|usage| !usage.is_all_zero()) else {
            return;
        };
        match chunk.finish {
            // llama.cpp reports each choice apart, on the event that finishes it.
            Some((_, index)) => {
                let bit = 1 << index.min(63);
                let before = self.final_usage.filter(|_| self.finished & bit == 0);
                self.finished |= bit;
                self.final_usage = Some(before.map_or(usage, |before| before.plus(usage)));
            }
            None if !chunk.has_choice || self.finish_reason.is_some() => {
                self.final_usage = Some(usage);
            }
            None => self.running_usage = Some(usage),
        }
    }

    /// Takes a whole plain (not streamed) body.
    pub fn plain(&mut self, body: &[u8]) {
        // That is no broken JSON: nothing came.
        if body.trim_ascii().is_empty() {
            return;
        }
        match Chunk::parse(self.api, body) {
            Ok(chunk) => {
                self.text_bytes = (chunk.answer_bytes + chunk.reasoning_bytes) as u64;
                self.facts(&chunk);
                let tokens = self.final_usage.and_then(|usage| usage.completion_tokens);
                if tokens.is_none() && body.len() <= MAX_COUNTED_BYTES {
                    self.text = chunk.answer_text().map(Arc::from);
                }
            }
            Err(error) => {
                let text = excerpt(body);
                let why =
                    format!("neither an event stream nor the JSON expected ({error}): {text}");
                self.malformed = Some(why);
            }
        }
    }

    /// Judges a reply whose body ended as its framing said: why it is a failure, if it is one.
    ///
    /// A finish reason ends a stream; `[DONE]` alone does only where no finish_reason field was sent. `/generate` has
    /// neither by any rule: there the end of the body ends it.
    pub fn judge(&self, streamed: bool) -> Option<(FailKind, String)> {
        if let Some(words) = &self.stream_error {
            return Some((FailKind::StreamError, words.clone()));
        }
        if let Some(why) = &self.malformed {
            return Some((FailKind::Malformed, why.clone()));
        }
        if self.text_bytes == 0 {
            return Some((FailKind::Empty, "the reply has no generated text".into()));
        }
        let is_done = self.t_done_ns.is_some() || self.api == Api::Generate;
        let done_alone = is_done && !self.has_finish_field;
        if streamed && self.finish_reason.is_none() && !done_alone {
            return Some((
                FailKind::Truncated,
                "the stream ended without a finish reason".into(),
            ));
        }
        None
    }

    /// Moves what was seen into the sample; `t_end_ns` there is the end of the body.
    pub fn fill(&mut self, sample: &mut Sample) {
        let usage = self.final_usage.or(self.running_usage).unwrap_or_default();
        sample.t_event_ns = self.t_event_ns;
        sample.t_first_ns = self.t_first_ns;
        sample.t_answer_ns = self.t_answer_ns;
        sample.t_last_ns = self.t_last_ns;
        sample.t_end_ns = self.t_done_ns.unwrap_or(sample.t_end_ns);
        sample.token_events = self.token_events;
        sample.text_bytes = self.text_bytes;
        sample.finish_reason = self.finish_reason.take();
        sample.gaps_us = std::mem::take(&mut self.gaps_us);
        sample.response_cached = self.cached;
        sample.text = self.text.take();
        sample.prompt_tokens = usage.prompt_tokens;
        sample.cached_tokens = usage.cached_tokens;
        sample.reasoning_tokens = usage.reasoning_tokens;
        (sample.completion_tokens, sample.token_source) = match usage.completion_tokens {
            Some(n) if self.final_usage.is_some() => (Some(n), Some(TokenSource::Usage)),
            Some(n) => (Some(n), Some(TokenSource::ContinuousUsage)),
            None if self.token_events > 0 => (Some(self.token_events), Some(TokenSource::Events)),
            None => (None, None),
        };
    }
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
    fn usage_of_zeros_beside_text_counts_as_absent() {
        let zeros = r#"{"choices":[{"text":"a","finish_reason":"stop"}],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#;
        let mut reply = reply(&[(zeros, 1)]);
        let mut sample = Sample::default();
        reply.fill(&mut sample);
        assert_eq!(sample.prompt_tokens, None);
        assert_eq!(
            (sample.completion_tokens, sample.token_source),
            (Some(1), Some(TokenSource::Events))
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
}
