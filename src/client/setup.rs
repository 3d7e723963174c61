//! The few requests before a run: which optional fields the server takes, and how its tokenizer
//! counts. None of them is measured; all of them are counted, for who compares server counters.

use std::sync::Arc;

use serde_json::{Value, json};

use super::api::Api;
use super::body::{LIMIT, Optional};
use super::endpoint::Endpoint;
use super::http::Small;
use super::{Client, Target};
use crate::plan::calibration::Calibration;
use crate::plan::prompt::{BLOCK_WORDS, Writer};
use crate::plan::{Prompt, Turn, escape};
use crate::sample::{FailKind, Failure, Labels, Sample, is_overload};

/// Words of the two texts that are counted; whole blocks, so that every word weighs the same.
const SHORT_WORDS: u64 = 1 + BLOCK_WORDS;
const LONG_WORDS: u64 = 1 + 4 * BLOCK_WORDS;
/// The name that a server may take in the place of `LIMIT`.
const OTHER_LIMIT: &str = "max_completion_tokens";
/// One token of output is asked for, 16 times as many where that is refused, and no more than these.
const MOST_TOKENS: u64 = 256;
/// Requests that teach something: of four fields, of one name, and of two numbers under each of the names.
const MOST_LESSONS: usize = 9;

/// What the set-up found out.
#[derive(Debug, Clone)]
pub struct Setup {
    pub lengths: Calibration,
    /// Where `lengths` come from, for the user.
    pub counted_by: &'static str,
    /// Optional fields that the server refused.
    pub dropped: Vec<&'static str>,
    /// The fewest tokens of output that a request may ask for, as far as is known.
    tokens: u64,
    /// Completion requests sent, and the tokens the server reported for them.
    pub requests: u64,
    pub prompt_tokens: u64,
    pub output_tokens: u64,
    /// The last completion request that failed, when none succeeded.
    pub failure: Option<Failure>,
    /// Its status.
    pub status: Option<u16>,
    /// Whether replies come as streams; `None`: no reply has told.
    pub streams: Option<bool>,
}

/// Asks the server; `target.body.optional` is left with the fields it takes.
pub fn run(target: &mut Target, endpoint: &Endpoint, small: &Small, writer: &Writer) -> Setup {
    let mut setup = Setup {
        lengths: Calibration::estimate(),
        counted_by: "an estimate: no usable token counts",
        dropped: Vec::new(),
        tokens: 1,
        requests: 0,
        prompt_tokens: 0,
        output_tokens: 0,
        failure: None,
        status: None,
        streams: None,
    };
    let short = setup.probe(target, writer, SHORT_WORDS);
    // A server that is overloaded or still loading may count all the same; others are not asked again.
    if setup.failure.is_some() && !is_overload(setup.status) {
        return setup;
    }
    // A chat template adds tokens that /tokenize does not see.
    let fit = match target.body.api {
        Api::Completions | Api::Generate => {
            let tokenizer = Tokenizer {
                target,
                endpoint,
                small,
            };
            let count = |words| tokenizer.prompt_tokens(&writer.context(u64::MAX, words));
            count(SHORT_WORDS).zip(count(LONG_WORDS))
        }
        Api::Chat => None,
    };
    let (fit, counted_by) = match fit {
        Some(counts) => (Some(counts), "/tokenize"),
        None if short.is_some() => (short.zip(setup.probe(target, writer, LONG_WORDS)), "usage"),
        None => (None, ""),
    };
    let line =
        fit.and_then(|(short, long)| Calibration::fit((SHORT_WORDS, short), (LONG_WORDS, long)));
    if let Some(lengths) = line {
        setup.lengths = lengths;
        setup.counted_by = counted_by;
    }
    setup
}

impl Setup {
    /// Sends a text of so many words for the fewest tokens of output; what the server refuses is learnt request by
    /// request. Returns the prompt tokens that it reports.
    fn probe(&mut self, target: &mut Target, writer: &Writer, words: u64) -> Option<u64> {
        let mut asked = self.ask(target, writer, words);
        for _ in 0..MOST_LESSONS {
            if !self.learn(target, &asked) {
                break;
            }
            asked = self.ask(target, writer, words);
        }
        if asked.is_refused() {
            asked = self.without_fields(target, writer, words).unwrap_or(asked);
        }
        let sample = asked.sample;
        if sample.is_success() {
            self.streams = Some(sample.t_first_ns.is_some());
        }
        // One token may well be no text yet: half a character, or a role.
        self.failure = sample
            .failure
            .filter(|failure| failure.kind != FailKind::Empty);
        self.status = sample.status;
        sample.prompt_tokens
    }

    fn ask(&mut self, target: &Target, writer: &Writer, words: u64) -> Asked {
        let asked = few_tokens(target, writer, self.requests, words, self.tokens);
        self.requests += 1;
        self.prompt_tokens += asked.sample.prompt_tokens.unwrap_or(0);
        self.output_tokens += asked.sample.completion_tokens.unwrap_or(0);
        asked
    }

    /// Whether the server's words name something that can be sent otherwise, which it is from now on.
    fn learn(&mut self, target: &mut Target, asked: &Asked) -> bool {
        let body = &mut target.body;
        let text = &asked.refusal;
        // Some gateways answer 500 for a field that they do not know.
        if matches!(asked.sample.status, Some(400 | 422 | 500..=599)) {
            let named = body.optional.drop_named(text);
            self.dropped.extend(&named);
            if !named.is_empty() {
                return true;
            }
        }
        let is_of_tokens = asked.is_refused() && text.contains("token");
        let is_spent = self.tokens >= MOST_TOKENS;
        let is_of_name = text.contains(OTHER_LIMIT) || is_spent && text.contains(LIMIT);
        if is_of_tokens && is_of_name && body.limit_name == LIMIT {
            body.limit_name = OTHER_LIMIT;
            self.tokens = 1;
            return true;
        }
        if is_of_tokens && !is_spent {
            self.tokens *= 16;
            return true;
        }
        false
    }

    /// Finds out which optional fields are refused where the server does not name them: all are left out, then each is
    /// tried by itself. `None`: it is something else that is refused.
    fn without_fields(
        &mut self,
        target: &mut Target,
        writer: &Writer,
        words: u64,
    ) -> Option<Asked> {
        let mut wanted = std::mem::replace(&mut target.body.optional, Optional::NONE);
        let bare = self.ask(target, writer, words);
        if bare.sample.failure.is_some() {
            target.body.optional = wanted;
            return None;
        }
        for (at, (name, is_wanted)) in wanted.fields().into_iter().enumerate() {
            if !*is_wanted {
                continue;
            }
            let kept = target.body.optional;
            *target.body.optional.fields()[at].1 = true;
            if self.ask(target, writer, words).sample.failure.is_some() {
                target.body.optional = kept;
                self.dropped.push(name);
            }
        }
        Some(bare)
    }
}

/// A request of the set-up as it ended, with all that the server said when it refused it.
struct Asked {
    sample: Sample,
    refusal: String,
}

impl Asked {
    fn is_refused(&self) -> bool {
        matches!(self.sample.status, Some(400 | 422))
    }
}

fn few_tokens(target: &Target, writer: &Writer, number: u64, words: u64, tokens: u64) -> Asked {
    // A number that no context of the run has.
    let context = writer.context(u64::MAX - number, words);
    let prompt = Prompt::Text(vec![escape(&context)]);
    let turn = Turn::alone(number, Labels::default(), prompt, Some(tokens));
    let target = Target {
        run_id: format!("{}-setup", target.run_id),
        ..target.clone()
    };
    let mut client = Client::new(Arc::new(target));
    Asked {
        sample: client.send(&turn),
        refusal: client.refusal().to_string(),
    }
}

/// The server's own count of texts: vLLM and SGLang answer `count`, llama.cpp `tokens`.
pub struct Tokenizer<'a> {
    pub target: &'a Target,
    pub endpoint: &'a Endpoint,
    pub small: &'a Small,
}

impl Tokenizer<'_> {
    /// Tokens of a prompt, with those that the server puts around it; `None` where it does not count.
    pub fn prompt_tokens(&self, text: &str) -> Option<u64> {
        self.tokens(text, true)
    }

    /// Tokens of an answer: nothing is put around it.
    pub fn answer_tokens(&self, text: &str) -> Option<u64> {
        self.tokens(text, false)
    }

    fn tokens(&self, text: &str, with_special: bool) -> Option<u64> {
        let mut body = json!({
            "prompt": text, "add_special_tokens": with_special,
            "content": text, "add_special": with_special,
        });
        let model = &self.target.body.model;
        if !model.is_empty() {
            body["model"] = json!(model);
        }
        let url = self.endpoint.root("tokenize");
        let page = self.small.post(&url, &body.to_string()).ok()?;
        let reply: Value = serde_json::from_str(&page.text).ok()?;
        let listed = reply["tokens"].as_array().map(|tokens| tokens.len() as u64);
        reply["count"]
            .as_u64()
            .or(listed)
            .filter(|&n| page.status == 200 && n > 0)
    }
}
