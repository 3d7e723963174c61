//! The requests of `load`: which prompt goes out when, how long prompt and answer are, what is a repeat.
//!
//! Prompts are made, or records of a dataset, or named by a trace. Everything follows from the seed, the nonce and
//! the name of the batch, so that what was sent is worked out again when its figures are.

use std::collections::HashMap;
use std::sync::Arc;

use fastrand::Rng;

use super::calibration::Calibration;
use super::dataset::{Content, Dataset, Record};
use super::groups::{self, Prompts, Shared};
use super::lengths::Length;
use super::perfect::Perfect;
use super::prompt::Writer;
use super::random::mixed;
use super::repeat::{Repeats, Slot};
use super::trace::{Texts, Trace};
use super::{Message, Prompt, Role, Turn, escape};
use crate::sample::Labels;
use crate::units::share;

/// Tokens of a block of the perfect prefix cache: most engines have 16.
const BLOCK_TOKENS: u64 = 16;

/// Where prompts and the lengths of answers come from.
#[derive(Debug)]
pub enum Source {
    Made {
        input: Length,
        output: Length,
        shared: Option<Shared>,
        repeat_ratio: f64,
    },
    /// Gone through in their order; behind the last comes the first again.
    Records {
        records: Records,
        output: Length,
        repeat_ratio: f64,
    },
    Trace(Trace),
}

impl Source {
    /// When the request at place `k` of a trace is due, from the first on; `None`: none is.
    pub fn due_ns(&self, k: usize, speed: f64) -> Option<u64> {
        match self {
            Source::Trace(trace) => (k < trace.len()).then(|| trace.due_ns(k, speed)),
            Source::Made { .. } | Source::Records { .. } => None,
        }
    }

    /// The request of a trace whose reply that at place `k` waits for, as `Trace::after` says; `None` elsewhere.
    pub fn after(&self, k: usize) -> Option<Option<u64>> {
        match self {
            Source::Trace(trace) => trace.after(k),
            Source::Made { .. } | Source::Records { .. } => None,
        }
    }

    /// Requests that it has; `None`: any number.
    pub fn requests(&self) -> Option<u64> {
        match self {
            Source::Made { .. } => None,
            Source::Records { records, .. } => Some(records.0.len() as u64),
            Source::Trace(trace) => Some(trace.len() as u64),
        }
    }
}

/// Records of one question each.
#[derive(Debug)]
pub struct Records(Vec<Question>);

#[derive(Debug)]
struct Question {
    line: u64,
    asked: Asked,
    /// The first record that asks the same.
    first: u64,
    record: Arc<Record>,
}

/// The part of a record that goes out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Asked {
    Messages(Vec<Message>),
    /// Members of a chat's body, as they stand in the file.
    Request(Arc<str>),
}

impl Records {
    /// # Errors
    /// The line of the first that is no single question, and why.
    pub fn new(dataset: &Dataset) -> Result<Records, (u64, String)> {
        let mut firsts = HashMap::new();
        let mut questions = Vec::new();
        for (place, record) in (0..).zip(dataset.sample(None)) {
            let line = record.line;
            let asked = asked(&record.content).map_err(|why| (line, why.to_string()))?;
            let first = *firsts.entry(asked.clone()).or_insert(place);
            questions.push(Question {
                line,
                asked,
                first,
                record,
            });
        }
        Ok(Records(questions))
    }

    /// The line of the first record that only the chat API takes, and what it is.
    pub fn first_chat(&self) -> Option<(u64, &'static str)> {
        self.0.iter().find_map(|question| match &question.asked {
            Asked::Messages(messages) if messages.len() == 1 => None,
            Asked::Messages(_) => Some((question.line, "a system message")),
            Asked::Request(_) => Some((question.line, "messages that go out as they stand")),
        })
    }

    /// The line of the first record that asks for something else than a body ending in `rest` sends, and for what.
    pub fn first_unlike(&self, rest: &str) -> Option<(u64, String)> {
        let mut records = self.0.iter().map(|question| &question.record);
        records.find_map(|record| Some((record.line, record.unlike(rest)?)))
    }

    /// Records whose messages go out as they stand.
    pub fn requests(&self) -> usize {
        let is_request = |question: &&Question| matches!(question.asked, Asked::Request(_));
        self.0.iter().filter(is_request).count()
    }

    fn of(&self, prompt: u64) -> &Question {
        &self.0[(prompt % self.0.len() as u64) as usize]
    }

    fn is_first_use(&self, prompt: u64) -> bool {
        self.of(prompt).first == prompt
    }
}

fn asked(content: &Content) -> Result<Asked, &'static str> {
    let (opening, questions) = match content {
        Content::Conversation { opening, questions } => (opening, questions),
        Content::Request { members, .. } => return Ok(Asked::Request(Arc::clone(members))),
        Content::Body { .. } => {
            return Err("a whole request body, which replay sends; load wants a prompt");
        }
    };
    let [question] = &questions[..] else {
        return Err("several turns, which replay sends; load wants one question a record");
    };
    let question = Message::new(Role::User, question);
    Ok(Asked::Messages(
        opening.iter().cloned().chain([question]).collect(),
    ))
}

/// The plan of a run, common to its batches.
#[derive(Debug)]
pub struct Plan {
    pub source: Source,
    pub seed: u64,
    pub nonce: String,
    pub lengths: Calibration,
    /// Records go out as texts, not as messages of a chat.
    pub as_text: bool,
}

/// Requests that go out together. Two batches of different names have no made prompt in common.
#[derive(Debug, Clone)]
pub struct Batch {
    pub name: String,
    /// `None`: without end.
    pub requests: Option<u64>,
    /// Requests from the first use of a prompt to a repeat of it.
    pub gap: u64,
    pub first_id: u64,
    /// Labels that all its requests have.
    pub labels: Labels,
}

/// One request before it has a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Item {
    /// The number of its prompt in the order of first uses; in a trace its place.
    prompt: u64,
    /// `None`: nobody plans repeats.
    is_repeat: Option<bool>,
    input_tokens: Option<u64>,
    output_tokens: u64,
}

/// Hit rates that caches of unlimited size would have in a batch; `None`: not known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PerfectRates {
    /// Replies found whole, over requests.
    pub response: Option<f64>,
    /// Prompt tokens found, over prompt tokens.
    pub prefix: Option<f64>,
}

impl Plan {
    /// The requests of a batch, each made when it is asked for.
    pub fn turns(&self, batch: &Batch) -> impl Iterator<Item = Turn> + use<'_> {
        let mut prompt = self.prompts(batch);
        let labels = batch.labels.clone();
        let items = (batch.first_id..).zip(self.items(batch));
        items.map(move |(id, item)| {
            let labels = Labels {
                repeat: item.is_repeat,
                wanted_prompt_tokens: item.input_tokens,
                wanted_output_tokens: Some(item.output_tokens),
                ..labels.clone()
            };
            Turn::alone(id, labels, prompt(item), Some(item.output_tokens))
        })
    }

    /// Makes the prompts of a batch.
    fn prompts(&self, batch: &Batch) -> Box<dyn FnMut(Item) -> Prompt + Send + '_> {
        let writer = Writer::new(self.seed, &self.nonce).branch(&batch.name);
        match &self.source {
            Source::Made { shared, .. } => {
                let mut prompts = Prompts::new(*shared, &writer, &self.lengths);
                Box::new(move |item| prompts.prompt(item.prompt, item.input_tokens.unwrap_or(1)))
            }
            Source::Records { records, .. } => {
                let nonce = escape(&format!("[{}/{}]\n", self.nonce, batch.name));
                Box::new(move |item| match &records.of(item.prompt).asked {
                    Asked::Messages(messages) => {
                        Prompt::new(Some(Arc::clone(&nonce)), messages.clone(), self.as_text)
                    }
                    Asked::Request(members) => Prompt::Request(Arc::clone(members)),
                })
            }
            Source::Trace(trace) => {
                let texts = Texts::new(&writer, &self.lengths, trace.block_tokens());
                Box::new(move |item| trace.prompt(item.prompt as usize, &texts))
            }
        }
    }

    /// Repeats among the requests of a batch that has an end; `None`: it has none, or a trace decides.
    pub fn repeats(&self, batch: &Batch) -> Option<u64> {
        let requests = batch.requests?;
        let planned = self.slots(batch).left()?;
        match &self.source {
            Source::Made { .. } => Some(planned),
            Source::Records { records, .. } => {
                // Each record is asked for the first time once, whatever the number of requests.
                let originals = (requests - planned).min(records.0.len() as u64);
                let firsts = (0..originals).filter(|&prompt| records.is_first_use(prompt));
                Some(requests - firsts.count() as u64)
            }
            Source::Trace(_) => None,
        }
    }

    /// Hit rates over the first `sent` requests of a batch, in their order.
    pub fn perfect(&self, batch: &Batch, sent: u64) -> PerfectRates {
        let mut perfect = Perfect::new(BLOCK_TOKENS);
        let (mut planned, mut repeats) = (0, 0);
        let sent = usize::try_from(sent).unwrap_or(usize::MAX);
        for item in self.items(batch).take(sent) {
            planned += u64::from(item.is_repeat.is_some());
            repeats += u64::from(item.is_repeat == Some(true));
            match &self.source {
                Source::Made { shared, .. } => {
                    let tokens = item.input_tokens.unwrap_or(0);
                    let (shared, own_tokens) = groups::parts(*shared, item.prompt, tokens);
                    match item.is_repeat {
                        Some(true) => perfect.see_again(tokens),
                        _ => perfect.see_first(shared, own_tokens),
                    };
                }
                Source::Trace(trace) => {
                    perfect.see(trace.parts(item.prompt as usize));
                }
                // Nobody has counted their tokens.
                Source::Records { .. } => {}
            }
        }
        PerfectRates {
            response: share(repeats, planned),
            prefix: perfect.hit_share(),
        }
    }

    fn items(&self, batch: &Batch) -> impl Iterator<Item = Item> + use<'_> {
        self.slots(batch).map(move |slot| self.item(slot))
    }

    fn slots(&self, batch: &Batch) -> Repeats {
        let ratio = match &self.source {
            Source::Made { repeat_ratio, .. } | Source::Records { repeat_ratio, .. } => {
                *repeat_ratio
            }
            Source::Trace(_) => 0.0,
        };
        Repeats::new(batch.requests, ratio, batch.gap, self.seed)
    }

    fn item(&self, Slot { prompt, is_repeat }: Slot) -> Item {
        match &self.source {
            Source::Made { input, output, .. } => Item {
                prompt,
                is_repeat: Some(is_repeat),
                input_tokens: Some(self.length(input, prompt, 1)),
                output_tokens: self.length(output, prompt, 2),
            },
            Source::Records {
                records, output, ..
            } => Item {
                prompt,
                is_repeat: Some(is_repeat || !records.is_first_use(prompt)),
                input_tokens: None,
                // A repeat asks for as many, or it would be another request.
                output_tokens: self.length(output, records.of(prompt).first, 2),
            },
            Source::Trace(trace) => Item {
                prompt,
                is_repeat: None,
                input_tokens: Some(trace.input_tokens(prompt as usize)),
                output_tokens: trace.output_tokens(prompt as usize),
            },
        }
    }

    /// Drawn for a prompt; the same each time.
    fn length(&self, length: &Length, prompt: u64, purpose: u64) -> u64 {
        let key = mixed(self.seed ^ mixed(prompt ^ mixed(purpose)));
        length.draw(&mut Rng::with_seed(key))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::plan::dataset;

    fn plan(source: Source) -> Plan {
        Plan {
            source,
            seed: 1,
            nonce: "n".to_string(),
            lengths: Calibration::fit((10, 10), (20, 20)).expect("a token a word"),
            as_text: true,
        }
    }

    fn made(repeat_ratio: f64) -> Source {
        Source::Made {
            input: Length::parse("20:40").expect("a length"),
            output: Length::parse("1:1000").expect("a length"),
            shared: None,
            repeat_ratio,
        }
    }

    fn batch(name: &str, requests: Option<u64>) -> Batch {
        Batch {
            name: name.to_string(),
            requests,
            gap: 4,
            first_id: 7,
            labels: Labels::default(),
        }
    }

    fn text(turn: &Turn) -> String {
        match &turn.prompt {
            Prompt::Text(texts) => texts.concat(),
            other => panic!("a text, not {other:?}"),
        }
    }

    #[test]
    fn a_repeat_is_the_same_request_again_and_all_else_is_new() {
        let plan = plan(made(0.3));
        let turns: Vec<Turn> = plan.turns(&batch("0", Some(200))).collect();
        assert_eq!(plan.repeats(&batch("0", Some(200))), Some(60));
        let mut seen = HashSet::new();
        let mut repeats = 0;
        for (id, turn) in (7..).zip(&turns) {
            assert_eq!(turn.id, id);
            let words = text(turn).split(' ').count() as u64;
            assert_eq!(turn.labels.wanted_prompt_tokens, Some(words));
            let is_new = seen.insert((text(turn), turn.max_tokens));
            assert_eq!(turn.labels.repeat, Some(!is_new), "{id}");
            repeats += u64::from(!is_new);
        }
        assert_eq!(repeats, 60);
        // 140 first uses draw from 1000 lengths: most differ.
        let lengths: HashSet<_> = turns.iter().map(|turn| turn.max_tokens).collect();
        assert!(lengths.len() > 100, "{}", lengths.len());
        let others: Vec<Turn> = plan.turns(&batch("1", Some(200))).collect();
        let texts: HashSet<String> = turns.iter().map(text).collect();
        assert!(others.iter().all(|turn| !texts.contains(&text(turn))));
        let again: Vec<Turn> = plan.turns(&batch("0", Some(200))).collect();
        assert!(turns.iter().zip(&again).all(|(a, b)| text(a) == text(b)));
    }

    #[test]
    fn repeats_are_counted_without_going_through_the_requests() {
        let lines = r#"{"prompt": "a"}"#.to_string()
            + "\n"
            + r#"{"prompt": "b"}"#
            + "\n"
            + r#"{"prompt": "a"}"#;
        let records = || records(&lines).expect("single questions");
        for ratio in [0.0, 0.3, 1.0] {
            let of_records = Source::Records {
                records: records(),
                output: Length::Fixed(5),
                repeat_ratio: ratio,
            };
            for source in [made(ratio), of_records] {
                let plan = plan(source);
                for requests in 1..40 {
                    let batch = batch("0", Some(requests));
                    let repeats = plan
                        .items(&batch)
                        .filter(|item| item.is_repeat == Some(true));
                    assert_eq!(
                        plan.repeats(&batch),
                        Some(repeats.count() as u64),
                        "{ratio}"
                    );
                }
            }
        }
        // No list of a hundred million is made, nor walked.
        let many = batch("0", Some(100_000_000));
        assert_eq!(plan(made(0.3)).repeats(&many), Some(30_000_000));
    }

    #[test]
    fn a_batch_without_end_begins_as_any_other_of_its_name() {
        let plan = plan(made(0.0));
        let endless: Vec<String> = plan
            .turns(&batch("0", None))
            .take(5)
            .map(|t| text(&t))
            .collect();
        let five: Vec<String> = plan.turns(&batch("0", Some(5))).map(|t| text(&t)).collect();
        assert_eq!(endless, five);
        assert_eq!(plan.repeats(&batch("0", None)), None);
    }

    #[test]
    fn perfect_rates_are_of_what_was_sent() {
        let source = Source::Made {
            input: Length::Fixed(33),
            output: Length::Fixed(1),
            shared: None,
            repeat_ratio: 0.5,
        };
        let plan = plan(source);
        // Four first uses, then four repeats, each of which finds two blocks of 16 of its 33 tokens.
        let batch = batch("0", Some(8));
        let rates = |sent| plan.perfect(&batch, sent);
        assert_eq!(rates(4).response, Some(0.0));
        assert_eq!(rates(6).response, Some(2.0 / 6.0));
        assert_eq!(rates(8).prefix, Some(4.0 * 32.0 / (8.0 * 33.0)));
        assert_eq!(rates(0), PerfectRates::default());
    }

    fn records(lines: &str) -> Result<Records, (u64, String)> {
        let path = std::env::temp_dir().join(format!(
            "tmesh-requests-{}-{}",
            std::process::id(),
            fastrand::u64(..)
        ));
        std::fs::write(&path, lines).expect("a file");
        let dataset = dataset::load(&path, None, 0).expect("a good dataset");
        std::fs::remove_file(&path).expect("it was there");
        Records::new(&dataset)
    }

    #[test]
    fn records_come_round_again_as_repeats_and_so_does_an_equal_text() {
        let lines = "{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}\n{\"prompt\":\"a\"}\n";
        let plan = plan(Source::Records {
            records: records(lines).expect("three questions"),
            output: Length::parse("1:1000").expect("a length"),
            repeat_ratio: 0.0,
        });
        let turns: Vec<Turn> = plan.turns(&batch("0", Some(5))).collect();
        let texts: Vec<String> = turns.iter().map(text).collect();
        let wanted = ["a", "b", "a", "a", "b"].map(|question| format!("[n/0]\\n{question}"));
        assert_eq!(texts, wanted);
        let repeats: Vec<_> = turns.iter().map(|turn| turn.labels.repeat).collect();
        let wanted = [false, false, true, true, true].map(Some);
        assert_eq!(repeats, wanted);
        assert_eq!(turns[0].max_tokens, turns[2].max_tokens);
        assert_eq!(plan.perfect(&batch("0", Some(5)), 5).response, Some(0.6));
        assert_eq!(plan.perfect(&batch("0", Some(5)), 5).prefix, None);
    }

    #[test]
    fn a_record_that_is_no_single_question_is_named_by_its_line() {
        let turns = r#"{"user_messages":["a","b"]}"#;
        let body =
            r#"{"custom_id":"1","method":"POST","url":"/v1/completions","body":{"prompt":"a"}}"#;
        for (line, why) in [(turns, "several turns"), (body, "a whole request body")] {
            let (at, said) = records(&format!("{{\"prompt\":\"a\"}}\n{line}\n")).expect_err(line);
            assert!(at == 2 && said.starts_with(why), "{at} {said}");
        }
        let system =
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"q"}]}"#;
        let chat = records(&format!("{{\"prompt\":\"a\"}}\n{system}\n")).expect("two questions");
        assert_eq!(chat.first_chat(), Some((2, "a system message")));
    }
}
