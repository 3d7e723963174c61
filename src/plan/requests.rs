//! The requests of `load`: which prompt is sent when, how long prompt and answer are, which are repeats.
//!
//! Prompts are made, or are records of a dataset, or are named by a trace. Everything follows from the seed, the nonce
//! and the name of the batch, so that figures can derive again what was sent.

use std::collections::HashMap;
use std::sync::Arc;

use fastrand::Rng;

use super::calibration::Calibration;
use super::counted::Counted;
use super::dataset::{Content, Dataset, Record};
use super::groups::{self, Prompts, Shared};
use super::lengths::Length;
use super::perfect::Perfect;
use super::prompt::Writer;
use super::random::mixed;
use super::repeat::{Repeats, Slot};
use super::trace::{Texts, Trace};
use super::{Message, Prompt, Role, Turn, escape};
use crate::error;
use crate::sample::Labels;
use crate::units::share;

/// The source of prompts and of the lengths of answers.
#[derive(Debug)]
pub enum Source {
    Made {
        input: Length,
        output: Length,
        shared: Option<Shared>,
        repeat_ratio: f64,
    },
    /// Records sent in their order; after the last comes the first again.
    Records {
        records: Records,
        output: Length,
        repeat_ratio: f64,
    },
    Trace(Trace),
}

impl Source {
    /// Returns the due time of the request at place `k` of a trace, from the first on; `None` for other sources.
    pub fn due_ns(&self, k: usize, speed: f64) -> Option<u64> {
        match self {
            Source::Trace(trace) => (k < trace.len()).then(|| trace.due_ns(k, speed)),
            Source::Made { .. } | Source::Records { .. } => None,
        }
    }

    /// Returns the trace request whose reply place `k` waits for, as `Trace::after` does; `None` for other sources.
    pub fn after(&self, k: usize) -> Option<Option<u64>> {
        match self {
            Source::Trace(trace) => trace.after(k),
            Source::Made { .. } | Source::Records { .. } => None,
        }
    }

    /// # Errors
    /// Fails as `Trace::check` does.
    pub fn check(&self) -> error::Result<()> {
        match self {
            Source::Trace(trace) => trace.check(),
            Source::Made { .. } | Source::Records { .. } => Ok(()),
        }
    }

    /// Returns the number of requests of the source; `None`: any number.
    pub fn requests(&self) -> Option<u64> {
        match self {
            Source::Made { .. } => None,
            Source::Records { records, .. } => Some(records.0.len() as u64),
            Source::Trace(trace) => Some(trace.len() as u64),
        }
    }
}

/// Records with one question each.
#[derive(Debug)]
pub struct Records(Vec<Question>);

#[derive(Debug)]
struct Question {
    line: u64,
    asked: Asked,
    /// The first record with the same question.
    first: u64,
    record: Arc<Record>,
}

/// The part of a record that is sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Asked {
    Messages(Vec<Message>),
    /// Members of a chat's body, as the file has them.
    Request(Arc<str>),
}

impl Records {
    /// # Errors
    /// Fails with the line of the first record that is not a single question, and the reason.
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

    /// Returns the line of the first record that only the chat API accepts, and what it is.
    pub fn first_chat(&self) -> Option<(u64, &'static str)> {
        self.0.iter().find_map(|question| match &question.asked {
            Asked::Messages(messages) if messages.len() == 1 => None,
            Asked::Messages(_) => Some((question.line, "a system message")),
            Asked::Request(_) => Some((question.line, "messages that are sent unchanged")),
        })
    }

    /// Returns the line of the first record that asks for something that a body ending in `rest` does not send, and the
    /// reason.
    pub fn first_unlike(&self, rest: &str) -> Option<(u64, String)> {
        let mut records = self.0.iter().map(|question| &question.record);
        records.find_map(|record| Some((record.line, record.unlike(rest)?)))
    }

    /// Returns the number of records whose messages are sent unchanged.
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

/// The plan of a run, shared by its batches.
#[derive(Debug)]
pub struct Plan {
    pub source: Arc<Source>,
    pub seed: u64,
    pub nonce: String,
    pub lengths: Calibration,
    /// Whether records are sent as texts, not as messages of a chat.
    pub as_text: bool,
}

/// Requests that are sent together. Batches of different names share no made prompt.
#[derive(Debug, Clone)]
pub struct Batch {
    pub name: String,
    /// The number of requests; `None`: without end.
    pub requests: Option<u64>,
    /// Requests from the first use of a prompt to its repeat.
    pub gap: u64,
    pub first_id: u64,
    /// Labels that all its requests have.
    pub labels: Labels,
}

/// One request before its text is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Item {
    /// The number of its prompt in the order of first uses; its place in a trace.
    prompt: u64,
    /// Whether it is a repeat; `None`: repeats are not planned.
    is_repeat: Option<bool>,
    input_tokens: Option<u64>,
    output_tokens: u64,
}

/// Hit rates that caches of unlimited size would reach in a batch; `None`: unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PerfectRates {
    /// Replies found whole, per request.
    pub response: Option<f64>,
    /// Prompt tokens found, per prompt token.
    pub prefix: Option<f64>,
    /// The prompt tokens are those of the plan: the server counted none.
    pub is_by_plan: bool,
}

/// The tokens of a prompt that a perfect cache holds, by the plan.
#[derive(Debug, Clone, Copy)]
enum Held {
    All,
    /// So many; 0: none but those that every prompt begins with.
    First(u64),
}

/// Returns the line in front of the questions of a dataset that are sent in one batch: a point, or a level.
pub fn first_line(nonce: &str, batch: &str) -> String {
    format!("[{nonce}/{batch}]\n")
}

impl Plan {
    /// Returns the requests of a batch, each made when it is taken.
    pub fn turns(&self, batch: &Batch) -> impl Iterator<Item = Turn> + use<'_> {
        let mut prompt = self.prompts(batch);
        let labels = batch.labels.clone();
        let items = (batch.first_id..).zip(self.items(batch));
        items.map_while(move |(id, item)| {
            let labels = Labels {
                repeat: item.is_repeat,
                wanted_prompt_tokens: item.input_tokens,
                wanted_output_tokens: Some(item.output_tokens),
                ..labels.clone()
            };
            let prompt = prompt(item)?;
            Some(Turn::alone(id, labels, prompt, Some(item.output_tokens)))
        })
    }

    /// Returns a function that makes the prompts of a batch; `None` ends the plan.
    fn prompts(&self, batch: &Batch) -> Box<dyn FnMut(Item) -> Option<Prompt> + Send + '_> {
        let writer = Writer::new(self.seed, &self.nonce).branch(&batch.name);
        match &*self.source {
            Source::Made { shared, .. } => {
                let mut prompts = Prompts::new(*shared, &writer, &self.lengths);
                Box::new(move |item| {
                    Some(prompts.prompt(item.prompt, item.input_tokens.unwrap_or(1)))
                })
            }
            Source::Records { records, .. } => {
                let nonce = escape(&first_line(&self.nonce, &batch.name));
                Box::new(move |item| {
                    Some(match &records.of(item.prompt).asked {
                        Asked::Messages(messages) => {
                            Prompt::new(Some(Arc::clone(&nonce)), messages.clone(), self.as_text)
                        }
                        Asked::Request(members) => Prompt::Request(Arc::clone(members)),
                    })
                })
            }
            Source::Trace(trace) => {
                let texts = Texts::new(&writer, &self.lengths, trace.block_tokens());
                Box::new(move |item| {
                    let request = trace.request(item.prompt as usize)?;
                    Some(texts.prompt(&request.hash_ids, request.input_tokens))
                })
            }
        }
    }

    /// Returns the number of repeats in a batch with an end; `None`: no end, or a trace decides.
    pub fn repeats(&self, batch: &Batch) -> Option<u64> {
        let requests = batch.requests?;
        let planned = self.slots(batch).left()?;
        match &*self.source {
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

    /// Returns the hit rates over the first `sent` requests of a batch, in their order: an upper bound of what caches can hit.
    ///
    /// Prompts are as long as the server counted them. Requests without a count are no part of the rate, but the cache
    /// holds them. Where nothing was counted, the lengths are those of the plan.
    pub fn perfect(&self, batch: &Batch, sent: u64, counted: &Counted) -> PerfectRates {
        let mut perfect = Perfect::new(counted.block_tokens());
        let (mut planned, mut repeats) = (0, 0);
        let sent = usize::try_from(sent).unwrap_or(usize::MAX);
        for (place, item) in self.items(batch).take(sent).enumerate() {
            planned += u64::from(item.is_repeat.is_some());
            repeats += u64::from(item.is_repeat == Some(true));
            let Some((wanted, held)) = self.held(&mut perfect, item) else {
                continue;
            };
            let tokens = match counted.is_any() {
                true => counted.of(place),
                false => Some(wanted),
            };
            let Some(tokens) = tokens else {
                continue;
            };
            let held = match held {
                Held::All => tokens,
                Held::First(0) => counted.common_tokens(),
                Held::First(held) => counted.shared_tokens(held, wanted, tokens),
            };
            perfect.count(tokens, held);
        }
        PerfectRates {
            response: share(repeats, planned),
            prefix: perfect.hit_share(),
            is_by_plan: !counted.is_any(),
        }
    }

    /// The tokens of a prompt, and those of them that the cache holds, by the plan; the cache takes it in. `None`:
    /// nobody planned them.
    fn held(&self, perfect: &mut Perfect, item: Item) -> Option<(u64, Held)> {
        let wanted = item.input_tokens?;
        let held = match &*self.source {
            Source::Made { .. } if item.is_repeat == Some(true) => {
                return Some((wanted, Held::All));
            }
            Source::Made { shared, .. } => perfect.hold(groups::parts(*shared, item.prompt)),
            Source::Trace(trace) => {
                let request = trace.request(item.prompt as usize)?;
                perfect.hold(request.parts(trace.block_tokens()))
            }
            Source::Records { .. } => return None,
        };
        let is_all = held == wanted;
        Some((wanted, if is_all { Held::All } else { Held::First(held) }))
    }

    fn items(&self, batch: &Batch) -> impl Iterator<Item = Item> + use<'_> {
        self.slots(batch).map_while(move |slot| self.item(slot))
    }

    fn slots(&self, batch: &Batch) -> Repeats {
        let ratio = match &*self.source {
            Source::Made { repeat_ratio, .. } | Source::Records { repeat_ratio, .. } => {
                *repeat_ratio
            }
            Source::Trace(_) => 0.0,
        };
        Repeats::new(batch.requests, ratio, batch.gap, self.seed)
    }

    /// Returns `None` where the plan ends.
    fn item(&self, Slot { prompt, is_repeat }: Slot) -> Option<Item> {
        Some(match &*self.source {
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
                // A repeat asks for as many tokens, or it would be another request.
                output_tokens: self.length(output, records.of(prompt).first, 2),
            },
            Source::Trace(trace) => {
                let request = trace.request(prompt as usize)?;
                Item {
                    prompt,
                    is_repeat: None,
                    input_tokens: Some(request.input_tokens),
                    output_tokens: request.output_tokens(),
                }
            }
        })
    }

    /// Draws a length for a prompt; the same for the same prompt.
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
    use crate::plan::perfect::testing::Twin;
    use crate::sample::Sample;

    fn plan(source: Source) -> Plan {
        Plan {
            source: Arc::new(source),
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
        let nothing = Counted::default();
        let rates = |sent| plan.perfect(&batch, sent, &nothing);
        assert_eq!(rates(4).response, Some(0.0));
        assert_eq!(rates(6).response, Some(2.0 / 6.0));
        assert_eq!(rates(8).prefix, Some(4.0 * 32.0 / (8.0 * 33.0)));
        assert_eq!((rates(0).response, rates(0).prefix), (None, None));
        assert!(rates(8).is_by_plan);
    }

    fn counted(first_id: u64, tokens: u64, cached: u64, wanted: u64) -> impl Fn(u64) -> Sample {
        move |place| Sample {
            id: first_id + place,
            labels: Labels {
                wanted_prompt_tokens: Some(wanted),
                ..Labels::default()
            },
            prompt_tokens: Some(tokens),
            cached_tokens: Some(cached),
            ..Sample::default()
        }
    }

    #[test]
    fn a_perfect_cache_holds_what_the_server_counted_of_the_prompts() {
        let source = Source::Made {
            input: Length::Fixed(100),
            output: Length::Fixed(1),
            shared: Some(Shared {
                tokens: 60,
                groups: 2,
            }),
            repeat_ratio: 0.0,
        };
        let plan = plan(source);
        let batch = batch("0", Some(4));
        // Four prompts of two groups, of 100 tokens and, as the server says, 20 more, with a template of 10.
        let rates = |cached, failed: &[u64]| {
            let mut counts = Counted::new(7, 10);
            for place in (0..4).filter(|place| !failed.contains(place)) {
                counts.add(&counted(7, 120, cached, 100)(place));
            }
            plan.perfect(&batch, 4, &counts)
        };
        // The second prompt of a group: 60 + 20 + 10, and 8 that may hide, are six blocks and 2.
        let all = rates(0, &[]);
        assert_eq!(all.prefix, Some(2.0 * 96.0 / 480.0));
        assert!(!all.is_by_plan);
        // Single tokens: 10 + 8 of each first one, which may begin alike, and 98 of the second one.
        assert_eq!(rates(31, &[]).prefix, Some(2.0 * (18.0 + 98.0) / 480.0));
        // The first one failed, and is held all the same.
        assert_eq!(rates(0, &[0]).prefix, Some(2.0 * 96.0 / 360.0));
        assert!(rates(0, &[0, 1, 2, 3]).is_by_plan);
    }

    /// Tokens of a word, as of a tokenizer that the plan does not know: no two words cost the same.
    fn pieces(word: &str) -> impl Iterator<Item = String> {
        let n = 1 + word.bytes().map(usize::from).sum::<usize>() % 3;
        (0..n).map(move |k| format!(" {word}{k}"))
    }

    #[test]
    fn no_cache_hits_more_than_the_perfect_one_whatever_the_tokenizer() {
        let mut rng = Rng::with_seed(5);
        for case in 0..60 {
            let block_tokens = rng.choice([1, 16]).expect("two");
            let template = rng.u64(0..40);
            let tokens_of = |text: &str| {
                let before = (0..template).map(|k| format!(" <{k}>"));
                let words = text.split_ascii_whitespace().flat_map(pieces);
                before.chain(words).collect::<String>()
            };
            let count = |text: &str| tokens_of(text).split_ascii_whitespace().count() as u64;
            let writer = Writer::new(1, "setup");
            let probe = |words| (words, count(&writer.context(u64::MAX, words)));
            let lengths = Calibration::fit(probe(97), probe(385)).expect("a rising line");
            let first = pieces(&writer.context(u64::MAX, 1)).count() as u64;
            let input = Length::parse(["300", "250:900"][case % 2]).expect("a length");
            let shared = Shared {
                tokens: 20 + rng.u64(0..180),
                groups: 1 + rng.u64(0..4),
            };
            let plan = Plan {
                lengths: lengths.clone(),
                ..plan(Source::Made {
                    input,
                    output: Length::Fixed(1),
                    shared: (case % 3 > 0).then_some(shared),
                    repeat_ratio: [0.0, 0.3][case % 2],
                })
            };
            let batch = batch("0", Some(60));
            let mut twin = Twin::new(block_tokens);
            twin.see(&tokens_of(""));
            let mut counts = Counted::new(7, lengths.template_tokens(Some(first)));
            let (mut hits, mut all) = (0, 0);
            for turn in plan.turns(&batch) {
                let text = text(&turn);
                let tokens = count(&text);
                let hit = twin.see(&tokens_of(&text));
                (hits, all) = (hits + hit, all + tokens);
                let wanted = turn.labels.wanted_prompt_tokens.expect("it is planned");
                counts.add(&counted(turn.id, tokens, hit, wanted)(0));
            }
            let rates = plan.perfect(&batch, 60, &counts);
            let (rate, most) = (hits as f64 / all as f64, rates.prefix.expect("tokens"));
            assert!(rate <= most, "case {case}: {rate} of {most}");
            // Ten tokens of a hundred, in the worst case: 8 by chance, and a block.
            assert!(most - rate < 0.12, "case {case}: {rate} of {most}");
        }
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
        let rates = plan.perfect(&batch("0", Some(5)), 5, &Counted::default());
        assert_eq!((rates.response, rates.prefix), (Some(0.6), None));
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
