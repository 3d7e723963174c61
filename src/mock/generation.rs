//! A checked request for an answer: its prompt as tokens, the length and the words of its answer.
//!
//! Goes in as bytes, comes out as a `Generation` or as the error reply vLLM would give.

use super::body::Body;
use super::http::ErrorReply;
use super::options::{Keys, Options, Reuse};
use super::request::Request;
use super::response_cache::{Key, Stored};
use super::schedule::Job;
use super::tokens::{Chain, answer_word, fnv1a, fnv1a_start, mix, wrong_word};

/// Length of an answer when neither the request nor the options set one (as vLLM's completions).
const DEFAULT_OUTPUT_TOKENS: usize = 16;

/// The shape that requests and answers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    Completions,
    Chat,
    Generate,
}

pub struct Generation {
    pub api: Api,
    /// At most 100 characters; `None` if the prompt has no word.
    pub first_word: Option<String>,
    /// The hash of a chat's messages; `None` on other routes.
    pub messages_hash: Option<u64>,
    /// At least 1.
    pub output_tokens: usize,
    /// Whether the answer ends by itself: its last token is then an end of sequence without text.
    pub ends_itself: bool,
    pub stream: bool,
    pub include_usage: bool,
    /// Usage on every event.
    pub continuous_usage: bool,
    /// The key of a request to `/generate`; `None` on other routes.
    pub response_key: Option<Key>,
    /// Whether the answer is one that the response cache holds.
    pub is_cached: bool,
    /// Whether every word of the answer is another than the prompt leads to. Its blocks are those of the right words.
    pub is_corrupt: bool,
    prompt: Chain,
    /// Sets its blocks apart from those of other salts; 0: none. It does not change the answer.
    salt: u64,
    /// The first token of a chat answer, if it is tagged.
    tag: Option<String>,
}

impl Generation {
    /// Checks the body of a request to `api`.
    pub fn parse(api: Api, request: &Request, options: &Options) -> Result<Generation, ErrorReply> {
        let body = Body::parse(&request.body)?;
        check_model(&body, options)?;
        let stream = body.stream == Some(true);
        if body.stream_options.is_some() && !stream {
            let why =
                "Stream options can only be defined when `stream=True`. (parameter=stream_options)";
            return Err(ErrorReply::value("stream_options", why));
        }
        let prompt = match api {
            Api::Chat => body.chat_prompt(options.block_tokens)?,
            Api::Completions | Api::Generate => body.prompt(options.block_tokens)?,
        };
        let salt = salt(&body, request, &prompt, options)?;
        let limit = output_limit(body.max_tokens(), prompt.tokens(), options.max_model_len)?;
        let (output_tokens, ends_itself) = output_length(&body, limit, &prompt, options);
        let usage = body.stream_options.as_ref();
        let include_usage = usage.is_some_and(|usage| usage.include_usage == Some(true));
        let on_every_event = usage.is_some_and(|usage| usage.continuous_usage_stats == Some(true));
        let tagged = options.chat_tags && api == Api::Chat;
        Ok(Generation {
            api,
            first_word: body.first_word(),
            messages_hash: (api == Api::Chat).then(|| body.messages_hash()),
            output_tokens,
            ends_itself,
            stream,
            include_usage,
            continuous_usage: include_usage && on_every_event,
            response_key: (api == Api::Generate).then(|| body.response_key()),
            is_cached: false,
            is_corrupt: false,
            prompt,
            salt,
            tag: tagged.then(|| body.tag(request.session_id.as_deref())),
        })
    }

    /// Makes the answer end by itself after `tokens`, if it is not shorter.
    pub fn stop_after(&mut self, tokens: usize) {
        if tokens <= self.output_tokens {
            self.output_tokens = tokens;
            self.ends_itself = true;
        }
    }

    /// Makes the answer the one that the response cache holds.
    pub fn recall(&mut self, stored: Stored) {
        self.output_tokens = stored.output_tokens;
        self.ends_itself = stored.ends_itself;
        self.is_cached = true;
    }

    /// The part of the answer that the response cache holds.
    pub fn stored(&self) -> Stored {
        Stored {
            output_tokens: self.output_tokens,
            ends_itself: self.ends_itself,
        }
    }

    pub fn prompt_tokens(&self) -> usize {
        self.prompt.tokens()
    }

    pub fn finish_reason(&self) -> &'static str {
        if self.ends_itself { "stop" } else { "length" }
    }

    /// Appends the text of output token `index` to `text`: one word, or nothing at an end of sequence.
    pub fn push_token(&self, text: &mut String, index: usize) {
        match &self.tag {
            _ if self.ends_itself && index + 1 == self.output_tokens => {}
            Some(tag) if index == 0 => text.push_str(tag),
            _ => {
                text.push(' ');
                let word = if self.is_corrupt {
                    wrong_word
                } else {
                    answer_word
                };
                text.push_str(word(self.prompt.hash(), index));
            }
        }
    }

    /// The job for the schedule. O(output tokens).
    pub fn job(&self) -> Job {
        let mut chain = self.prompt.clone();
        let mut text = String::new();
        (0..self.output_tokens - 1).for_each(|index| self.push_token(&mut text, index));
        chain.push_text(&text);
        let mut blocks = chain.into_blocks();
        if self.salt != 0 {
            blocks
                .iter_mut()
                .for_each(|hash| *hash = mix(*hash ^ self.salt));
        }
        Job {
            prompt_tokens: self.prompt.tokens(),
            output_tokens: self.output_tokens,
            prompt_blocks: self.prompt.blocks().len(),
            blocks,
        }
    }
}

/// Fails if the body names another model than the one that is served.
pub fn check_model(body: &Body, options: &Options) -> Result<(), ErrorReply> {
    match &body.model {
        Some(model) if *model != options.model => {
            Err(ErrorReply::unknown_model(model, &options.model))
        }
        _ => Ok(()),
    }
}

/// The salt of a request's blocks; 0: they are shared with all whose salt is 0, too.
fn salt(
    body: &Body,
    request: &Request,
    prompt: &Chain,
    options: &Options,
) -> Result<u64, ErrorReply> {
    let key = match options.keys {
        Keys::Shared => "",
        Keys::Separate => request.authorization.as_deref().unwrap_or_default(),
    };
    let salt = match options.cache_salt {
        true => body.cache_salt()?,
        false => "",
    };
    let whole = match options.reuse {
        // The last block is named by all of the prompt up to its end, so only the same blocks get the same salt.
        Reuse::WholePrompt => prompt.blocks().last().map_or(0, |hash| mix(*hash)),
        Reuse::Prefix | Reuse::Units(_) => 0,
    };
    if key.is_empty() && salt.is_empty() {
        return Ok(whole);
    }
    let state = fnv1a(fnv1a(fnv1a_start(), key.as_bytes()), b"\0");
    Ok(mix(fnv1a(state, salt.as_bytes())) ^ whole)
}

/// The most tokens the answer may have: what was asked for, `None` if nothing was.
///
/// Fails unless the prompt and that, or one token, fit the model's `context`.
fn output_limit(
    asked: Option<i64>,
    prompt: usize,
    context: usize,
) -> Result<Option<usize>, ErrorReply> {
    let asked = match asked {
        Some(asked) if asked < 1 => {
            let why = format!(
                "max_tokens must be at least 1, got {asked}. (parameter=max_tokens, value={asked})"
            );
            return Err(ErrorReply::value("max_tokens", why));
        }
        asked => asked.map(|asked| asked as usize),
    };
    if let Some(asked) = asked.filter(|asked| *asked > context) {
        let why = format!(
            "max_tokens={asked} cannot be greater than max_model_len={context}. Please request fewer output \
             tokens. (parameter=max_tokens, value={asked})"
        );
        return Err(ErrorReply::value("max_tokens", why));
    }
    let limit = format!("This model's maximum context length is {context} tokens. However, ");
    if prompt >= context {
        let why = format!(
            "{limit}your prompt contains at least {prompt} input tokens, which exceeds this limit even without \
             any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value={prompt})"
        );
        return Err(ErrorReply::value("input_tokens", why));
    }
    if let Some(asked) = asked.filter(|asked| prompt + asked > context) {
        let total = prompt + asked;
        let why = format!(
            "{limit}you requested {asked} output tokens and your prompt contains at least {prompt} input tokens, \
             for a total of at least {total} tokens. Please reduce the length of the input prompt or the number \
             of requested output tokens. (parameter=input_tokens, value={prompt})"
        );
        return Err(ErrorReply::value("input_tokens", why));
    }
    Ok(asked)
}

/// How many tokens the answer has, and whether it ends by itself.
fn output_length(
    body: &Body,
    limit: Option<usize>,
    prompt: &Chain,
    options: &Options,
) -> (usize, bool) {
    let room = options.max_model_len - prompt.tokens();
    match options.output_tokens {
        Some((least, most)) if body.ignore_eos != Some(true) => {
            let drawn =
                fastrand::Rng::with_seed(mix(options.seed) ^ prompt.hash()).usize(least..=most);
            let natural = drawn.max(body.min_tokens.unwrap_or(0));
            let limit = limit.unwrap_or(room);
            (natural.min(limit), natural <= limit)
        }
        _ => (limit.unwrap_or(DEFAULT_OUTPUT_TOKENS.min(room)), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::http::Framing;

    fn parse(api: Api, json: &str, options: &Options) -> Result<Generation, ErrorReply> {
        parse_for(None, api, json, options)
    }

    fn parse_for(
        authorization: Option<&str>,
        api: Api,
        json: &str,
        options: &Options,
    ) -> Result<Generation, ErrorReply> {
        let request = Request {
            method: "POST".to_string(),
            path: String::new(),
            authorization: authorization.map(str::to_string),
            request_id: None,
            session_id: None,
            keep_alive: true,
            framing: Framing::Chunked,
            body: json.as_bytes().to_vec(),
            read_ns: 0,
        };
        Generation::parse(api, &request, options)
    }

    fn text(generation: &Generation) -> String {
        let mut text = String::new();
        (0..generation.output_tokens).for_each(|index| generation.push_token(&mut text, index));
        text
    }

    fn options(pairs: &[(&str, &str)]) -> Options {
        let mut options = Options::default();
        for (name, value) in pairs {
            options.set(name, value).expect("it is well formed");
        }
        options
    }

    #[test]
    fn an_answer_has_as_many_words_as_asked_for_and_depends_on_the_prompt() {
        let answer = |prompt: &str| {
            let json = format!(r#"{{"prompt":"{prompt}","max_tokens":40}}"#);
            text(&parse(Api::Completions, &json, &Options::default()).expect("it is good"))
        };
        assert_eq!(answer("a b").split_whitespace().count(), 40);
        assert_eq!(answer("a b"), answer("a b"));
        assert_ne!(answer("a b"), answer("a c"));
    }

    #[test]
    fn an_answer_that_ends_by_itself_has_an_end_of_sequence_for_its_last_token() {
        let options = options(&[("output_tokens", "5")]);
        for (json, tokens, reason, words) in [
            (r#"{"prompt":"a"}"#, 5, "stop", 4),
            (r#"{"prompt":"a","max_tokens":3}"#, 3, "length", 3),
            (
                r#"{"prompt":"a","max_tokens":9,"ignore_eos":true}"#,
                9,
                "length",
                9,
            ),
            (
                r#"{"prompt":"a","max_tokens":9,"min_tokens":7}"#,
                7,
                "stop",
                6,
            ),
        ] {
            let generation = parse(Api::Completions, json, &options).expect("it is good");
            assert_eq!(generation.output_tokens, tokens, "{json}");
            assert_eq!(generation.finish_reason(), reason, "{json}");
            assert_eq!(
                text(&generation).split_whitespace().count(),
                words,
                "{json}"
            );
        }
    }

    #[test]
    fn without_any_length_an_answer_has_16_tokens_or_what_fits() {
        let length = |max_model_len| {
            let options = options(&[("max_model_len", max_model_len)]);
            parse(Api::Completions, r#"{"prompt":"a b c"}"#, &options).map(|it| it.output_tokens)
        };
        assert_eq!(length("100"), Ok(16));
        assert_eq!(length("10"), Ok(7));
    }

    #[test]
    fn a_job_counts_the_blocks_of_the_prompt_and_of_all_but_the_last_token() {
        let options = options(&[("block_tokens", "2")]);
        let generation = parse(
            Api::Completions,
            r#"{"prompt":"a b c","max_tokens":4}"#,
            &options,
        );
        let job = generation.expect("it is good").job();
        // 3 words are 1 full block, 3 + 3 words are 3.
        assert_eq!(
            (job.prompt_tokens, job.prompt_blocks, job.blocks.len()),
            (3, 1, 3)
        );
    }

    #[test]
    fn keys_and_salts_set_blocks_apart_and_leave_the_answer_as_it_is() {
        let plain = r#"{"prompt":"a b c d","max_tokens":3}"#;
        let salted = r#"{"prompt":"a b c d","max_tokens":3,"cache_salt":"s"}"#;
        let other = r#"{"prompt":"a b c d","max_tokens":3,"cache_salt":"t"}"#;
        let (one, two) = (Some("Bearer 1"), Some("Bearer 2"));
        for (pairs, first, second, are_shared) in [
            (&[][..], (None, plain), (one, plain), true),
            (&[], (None, plain), (None, salted), false),
            (&[], (None, salted), (one, salted), true),
            (&[], (None, salted), (None, other), false),
            (
                &[("cache_salt", "off")],
                (None, plain),
                (None, salted),
                true,
            ),
            (&[("keys", "separate")], (one, plain), (one, plain), true),
            (&[("keys", "separate")], (one, plain), (two, plain), false),
            (&[("keys", "separate")], (None, plain), (one, plain), false),
            (&[("keys", "separate")], (one, plain), (one, salted), false),
        ] {
            let options = options(&[&[("block_tokens", "2")], pairs].concat());
            let [first, second] = [first, second].map(|(key, json)| {
                let generation = parse_for(key, Api::Completions, json, &options);
                generation.expect("it is good")
            });
            assert_eq!(text(&first), text(&second));
            let blocks = [first.job().blocks, second.job().blocks];
            // 4 + 2 words.
            assert_eq!(blocks.each_ref().map(Vec::len), [3, 3]);
            let equal = (0..3).filter(|at| blocks[0][*at] == blocks[1][*at]).count();
            assert_eq!(equal, if are_shared { 3 } else { 0 }, "{pairs:?}");
        }
        let empty = r#"{"prompt":"a","cache_salt":""}"#;
        let refused = parse(Api::Completions, empty, &Options::default()).err();
        let why =
            "Parameter 'cache_salt' must be a non-empty string if provided. (parameter=cache_salt)";
        assert_eq!(refused, Some(ErrorReply::value("cache_salt", why)));
        assert!(parse(Api::Completions, empty, &options(&[("cache_salt", "off")])).is_ok());
    }

    #[test]
    fn as_whole_prompts_only_prompts_of_the_same_blocks_share_them() {
        let options = options(&[("block_tokens", "2"), ("reuse", "whole_prompt")]);
        let blocks = |prompt: &str| {
            let json = format!(r#"{{"prompt":"{prompt}","max_tokens":1}}"#);
            let generation = parse(Api::Completions, &json, &options);
            generation.expect("it is good").job().blocks
        };
        let four = blocks("a b c d");
        assert_eq!(four.len(), 2);
        assert_ne!(four[0], four[1]);
        assert_eq!(blocks("a b c d e"), four);
        for other in ["a b", "a b c d e f", "a b c x"] {
            assert!(
                blocks(other).iter().all(|hash| !four.contains(hash)),
                "{other}"
            );
        }
    }

    #[test]
    fn a_tagged_chat_answer_counts_its_tag_as_a_token() {
        let options = options(&[("chat_tags", "on")]);
        let json = r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":3}"#;
        let answer = text(&parse(Api::Chat, json, &options).expect("it is good"));
        assert!(answer.starts_with("[mock][session:-][hash:"), "{answer}");
        assert_eq!(answer.split_whitespace().count(), 3);
    }

    #[test]
    fn limits_are_refused_in_vllms_words() {
        let options = options(&[("max_model_len", "8192"), ("model", "tiny-chain")]);
        let long = format!(r#"{{"prompt":"{}"}}"#, "token ".repeat(8193));
        for (json, parameter, message) in [
            (
                long.as_str(),
                "input_tokens",
                "This model's maximum context length is 8192 tokens. However, your prompt contains at least 8193 input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=8193)",
            ),
            (
                r#"{"prompt":"a b","max_tokens":8191}"#,
                "input_tokens",
                "This model's maximum context length is 8192 tokens. However, you requested 8191 output tokens and your prompt contains at least 2 input tokens, for a total of at least 8193 tokens. Please reduce the length of the input prompt or the number of requested output tokens. (parameter=input_tokens, value=2)",
            ),
            (
                r#"{"prompt":"a","max_tokens":16384}"#,
                "max_tokens",
                "max_tokens=16384 cannot be greater than max_model_len=8192. Please request fewer output tokens. (parameter=max_tokens, value=16384)",
            ),
            (
                r#"{"prompt":"a","max_tokens":0}"#,
                "max_tokens",
                "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)",
            ),
            (
                r#"{"prompt":""}"#,
                "prompt",
                "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)",
            ),
            (
                r#"{"prompt":"a","stream_options":{}}"#,
                "stream_options",
                "Stream options can only be defined when `stream=True`. (parameter=stream_options)",
            ),
        ] {
            let error = parse(Api::Completions, json, &options).err();
            assert_eq!(error, Some(ErrorReply::value(parameter, message)));
        }
        let error = parse(
            Api::Completions,
            r#"{"model":"other","prompt":"a"}"#,
            &options,
        )
        .err();
        assert_eq!(
            error,
            Some(ErrorReply::unknown_model("other", "tiny-chain"))
        );
    }
}
