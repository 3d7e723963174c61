//! The set-up requests before a run: they find out which optional fields the server accepts, and how its tokenizer
//! counts. They are not measured, but counted, so that they can be told apart in the server's counters.

use std::sync::Arc;

use serde_json::{Value, json};

use super::api::Api;
use super::endpoint::Endpoint;
use super::http::Small;
use super::lessons::{Lessons, is_good, is_kept};
use super::{Client, Target};
use crate::plan::calibration::Calibration;
use crate::plan::prompt::{BLOCK_WORDS, Writer};
use crate::plan::{Prompt, Turn, escape};
use crate::sample::{Failure, Labels, Sample, is_overload};

/// Words of the shorter of the two counted texts; whole blocks, so that every word weighs the same.
const SHORT_WORDS: u64 = 1 + BLOCK_WORDS;
const LONG_WORDS: u64 = 1 + 4 * BLOCK_WORDS;
/// Most output tokens that are requested: one, or more if the server refuses one.
const MOST_TOKENS: u64 = 256;

/// The findings of the set-up.
#[derive(Debug, Clone)]
pub struct Setup {
    pub lengths: Calibration,
    /// The source of `lengths`, for the user.
    pub counted_by: &'static str,
    /// Tokens that the server puts around a text, such as a chat template's, at the most; `None`: nobody counted.
    pub template_tokens: Option<u64>,
    pub lessons: Lessons,
    /// Completion requests sent, and the tokens that the server reported for them.
    pub requests: u64,
    pub prompt_tokens: u64,
    pub output_tokens: u64,
    /// The failure of the last completion request, if none succeeded.
    pub failure: Option<Failure>,
    /// The status of that failure.
    pub status: Option<u16>,
    /// Whether replies are streams; `None`: unknown.
    pub streams: Option<bool>,
    /// Whether a reply reported cached tokens, be it 0.
    pub reports_cached: bool,
    /// TTFT of the last short text that succeeded, in nanoseconds; `None`: no reply was streamed.
    pub short_ttft_ns: Option<u64>,
}

/// Asks the server; afterwards `target.body.optional` has the fields that it accepts.
pub fn run(target: &mut Target, endpoint: &Endpoint, small: &Small, writer: &Writer) -> Setup {
    let mut setup = Setup {
        lengths: Calibration::estimate(),
        counted_by: "an estimate, since the server gave no usable token counts",
        template_tokens: None,
        lessons: Lessons::new(1, MOST_TOKENS),
        requests: 0,
        prompt_tokens: 0,
        output_tokens: 0,
        failure: None,
        status: None,
        streams: None,
        reports_cached: false,
        short_ttft_ns: None,
    };
    let short = setup.probe(target, writer, SHORT_WORDS);
    // A server that is overloaded or still loading may count nevertheless; others are not asked again.
    if setup.failure.is_some() && !is_overload(setup.status) {
        return setup;
    }
    let tokenizer = Tokenizer {
        target: &target.clone(),
        endpoint,
        small,
    };
    // A chat template adds tokens that /tokenize does not see.
    let fit = match target.body.api {
        Api::Completions | Api::Generate => {
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
        let first = tokenizer.answer_tokens(&writer.context(u64::MAX, 1));
        setup.template_tokens = Some(lengths.template_tokens(first));
        setup.lengths = lengths;
        setup.counted_by = counted_by;
    }
    setup
}

impl Setup {
    /// Sends a text of `words` words and asks for the fewest output tokens, leaving out what the server refuses;
    /// returns the prompt tokens that it reports.
    fn probe(&mut self, target: &mut Target, writer: &Writer, words: u64) -> Option<u64> {
        let (mut sample, mut refusal) = self.ask(target, writer, words);
        let mut kept = sample.clone();
        while self.lessons.tell(&mut target.body, &sample, &refusal) {
            (sample, refusal) = self.ask(target, writer, words);
            if is_kept(&sample, &kept) {
                kept = sample.clone();
            }
        }
        if kept.is_success() {
            self.streams = Some(kept.t_first_ns.is_some());
            if words == SHORT_WORDS {
                let first_ns = kept.t_first_ns;
                self.short_ttft_ns = first_ns.map(|ns| ns.saturating_sub(kept.t_send_ns));
            }
        }
        self.status = kept.status;
        self.failure = match is_good(&kept) {
            true => None,
            false => kept.failure,
        };
        kept.prompt_tokens
    }

    /// Sends one request; returns its sample, and the server's full text if it refused it.
    fn ask(&mut self, target: &Target, writer: &Writer, words: u64) -> (Sample, String) {
        let asked = few_tokens(target, writer, self.requests, words, self.lessons.tokens);
        self.requests += 1;
        self.reports_cached |= asked.0.cached_tokens.is_some();
        self.prompt_tokens += asked.0.prompt_tokens.unwrap_or(0);
        self.output_tokens += asked.0.completion_tokens.unwrap_or(0);
        asked
    }
}

fn few_tokens(
    target: &Target,
    writer: &Writer,
    number: u64,
    words: u64,
    tokens: u64,
) -> (Sample, String) {
    // No context of the run has this number.
    let context = writer.context(u64::MAX - number, words);
    let prompt = Prompt::Text(vec![escape(&context)]);
    let turn = Turn::alone(number, Labels::default(), prompt, Some(tokens));
    let target = Target {
        run_id: format!("{}-setup", target.run_id),
        ..target.clone()
    };
    let mut client = Client::new(Arc::new(target));
    let sample = client.send(&turn);
    (sample, client.refusal().to_string())
}

/// The server's token counter: vLLM and SGLang answer `count`, llama.cpp `tokens`.
pub struct Tokenizer<'a> {
    pub target: &'a Target,
    pub endpoint: &'a Endpoint,
    pub small: &'a Small,
}

impl Tokenizer<'_> {
    /// Returns the tokens of a prompt, including those that the server adds; `None` if it does not count.
    pub fn prompt_tokens(&self, text: &str) -> Option<u64> {
        self.tokens(text, true)
    }

    /// Returns the tokens of an answer, to which the server adds none.
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
