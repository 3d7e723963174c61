//! Simulated servers with peculiarities, for tests of the steps: `usage` that is not true, caches that reuse other parts
//! of prompts than prefixes, a TTL, resets that do not empty the cache, answers that differ.

use std::collections::HashMap;

use super::lab::{Lab, Prompt, Reading, Request};
use super::policy::Order;
use super::simulator::{BASE_S, SECONDS_A_TOKEN, Server};
use super::step::{Answer, Ask, Step};
use super::{separability, usage};
use crate::stats::probe::{Findings, Shape};

/// What the replies report as cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    Nothing,
    True,
    Zero,
    /// The prompt but for its last token, whatever was found.
    AllButOne,
    /// Twice what was found, at most the prompt.
    Double,
    /// The whole prompt for one that was sent before, though nothing was reused.
    Repeats,
}

/// What a reset empties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    All,
    FirstTier,
    Nothing,
}

/// How the text of an answer depends on the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    None,
    /// By the prompt alone.
    Greedy,
    /// By the prompt, and by whether it was found in the cache.
    Corrupt,
    /// At random.
    Random,
}

/// Text, branch and tokens of a context, and whether the other key sent it.
type Key = (u64, Option<(u64, u64)>, u64, bool);

/// A server with peculiarities; its clock is moved on by its replies and by waits.
pub struct Odd {
    pub server: Server,
    pub report: Report,
    /// `Shape::None`: nothing is cached.
    pub shape: Shape,
    /// Shorter prompts are not cached.
    pub least_tokens: u64,
    pub common_tokens: u64,
    pub ttl_s: Option<f64>,
    pub is_sliding: bool,
    pub reset: Reset,
    /// Whether a key finds only what it sent itself.
    pub is_salted: bool,
    pub text: Text,
    pub base_s: f64,
    /// Seconds that attention takes, for each square of 1,000 tokens.
    pub quadratic_s: f64,
    /// The share of requests that take ten times as long as a new prompt of their length.
    pub slow_share: f64,
    pub clock_s: f64,
    pub requests: u64,
    /// For each context its number in the server's cache, and when that was given or renewed.
    known: HashMap<Key, (u64, f64)>,
    /// With `Shape::Units`: prompts that are found again, and those that hold them in the server's cache.
    units: Vec<(Prompt, Prompt)>,
    numbers: u64,
}

impl Odd {
    pub fn new(block_tokens: u64, seed: u64) -> Odd {
        Odd::with_tiers(&[100_000], block_tokens, seed)
    }

    pub fn with_tiers(blocks: &[usize], block_tokens: u64, seed: u64) -> Odd {
        let mut server = Server::new(Order::Lru, blocks, block_tokens, seed);
        server.has_usage = true;
        Odd {
            server,
            report: Report::True,
            shape: Shape::Prefix,
            least_tokens: 0,
            common_tokens: 0,
            ttl_s: None,
            is_sliding: true,
            reset: Reset::All,
            is_salted: false,
            text: Text::Greedy,
            base_s: 0.05,
            quadratic_s: 0.0,
            slow_share: 0.0,
            clock_s: 0.0,
            requests: 0,
            known: HashMap::new(),
            units: Vec::new(),
            numbers: 0,
        }
    }

    /// Takes a step to its end.
    pub fn run(&mut self, step: &mut dyn Step, lab: &mut Lab) {
        let first = self.requests;
        while let Some(ask) = step.next(lab) {
            self.take(ask, step, lab);
            assert!(self.requests - first < 2_000, "the step does not end");
        }
    }

    /// Returns what the two steps know that come before all others.
    pub fn known(&mut self, longest_tokens: u64) -> (Lab, Findings) {
        let (mut lab, mut findings) = (Lab::new(longest_tokens), Findings::default());
        lab.common_tokens = self.common_tokens;
        let steps: [&mut dyn Step; 2] = [
            &mut separability::Machine::default(),
            &mut usage::Machine::default(),
        ];
        for step in steps {
            self.ask(step, &mut lab, &mut findings);
        }
        (lab, findings)
    }

    /// Takes a step to its end, and concludes it.
    pub fn ask(&mut self, step: &mut dyn Step, lab: &mut Lab, findings: &mut Findings) -> Answer {
        self.run(step, lab);
        step.conclude(lab, findings)
    }

    pub fn take(&mut self, ask: Ask, step: &mut dyn Step, lab: &mut Lab) {
        if let Some((request, reading)) = self.reply(ask) {
            step.tell(lab, &request, &reading);
        }
    }

    /// Does what is asked for; returns the reply to a request.
    pub fn reply(&mut self, ask: Ask) -> Option<(Request, Reading)> {
        match ask {
            Ask::Send(request) => return Some((request, self.send(&request))),
            Ask::Wait(time) => self.clock_s += time.as_secs_f64(),
            Ask::Reset => self.empty(),
        }
        None
    }

    fn empty(&mut self) {
        match self.reset {
            Reset::All => {
                self.known.clear();
                self.units.clear();
            }
            Reset::FirstTier => self.server.drop_first_tier(),
            Reset::Nothing => {}
        }
    }

    pub fn send(&mut self, request: &Request) -> Reading {
        self.requests += 1;
        let prompt = request.prompt;
        let was_sent = self.is_known(request);
        let held = self.held(request);
        let real = self.server.send(&held);
        let found = real.cached.unwrap_or(0);
        let square = |tokens: u64| (tokens as f64 / 1e3).powi(2);
        let attention_s = self.quadratic_s * (square(prompt.tokens) - square(found));
        let is_slow = self.server.rng.f64() < self.slow_share;
        let slow_s = f64::from(is_slow) * 10.0 * SECONDS_A_TOKEN * prompt.tokens as f64;
        let ttft_s = real.ttft_s - BASE_S + self.base_s + attention_s + slow_s;
        let ttft_s = ttft_s.max(0.0001);
        let sent_s = self.clock_s;
        self.clock_s += ttft_s;
        let (tokens, block) = (prompt.tokens, self.server.block_tokens);
        let found = found.max(self.common_tokens.min(tokens) / block * block);
        Reading {
            tokens,
            cached: match self.report {
                Report::Nothing => None,
                Report::True => Some(found),
                Report::Zero => Some(0),
                Report::AllButOne => Some(tokens - 1),
                Report::Double => Some((2 * found).min(tokens)),
                Report::Repeats if was_sent => Some(tokens / block * block),
                Report::Repeats => Some(0),
            },
            ttft_s,
            answer: self.answer(&prompt, found),
            sent_s,
        }
    }

    fn answer(&mut self, prompt: &Prompt, found: u64) -> Option<u64> {
        let greedy = prompt.text * 1_000;
        match self.text {
            Text::None => None,
            Text::Greedy => Some(greedy),
            Text::Corrupt => Some(greedy + u64::from(2 * found > prompt.tokens)),
            Text::Random => Some(self.server.rng.u64(..)),
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn is_known(&mut self, request: &Request) -> bool {
        let prompt = request.prompt;
        let key = (
            prompt.text,
            prompt.branch,
            prompt.tokens,
            request.is_other_key,
        );
        match self.report {
            Report::Repeats => self.known.insert(key, (0, 0.0)).is_some(),
            _ => false,
        }
    }

    /// Returns the prompt that finds in the server's cache what this one finds.
    fn held(&mut self, request: &Request) -> Prompt {
        let prompt = request.prompt;
        let is_new = match self.shape {
            Shape::None | Shape::Unclear => true,
            _ => prompt.tokens < self.least_tokens,
        };
        if is_new {
            return Prompt {
                text: self.number(),
                branch: None,
                ..prompt
            };
        }
        match self.shape {
            Shape::Units => self.held_unit(prompt),
            Shape::WholePrompt => Prompt {
                text: self.held_text((prompt.text, prompt.branch, prompt.tokens, false)),
                branch: None,
                ..prompt
            },
            _ => {
                let is_other = request.is_other_key && self.is_salted;
                Prompt {
                    text: self.held_text((prompt.text, None, 0, is_other)),
                    ..prompt
                }
            }
        }
    }

    /// Returns the number of a context in the server's cache: a new one if it is new, or older than the TTL.
    fn held_text(&mut self, key: Key) -> u64 {
        let ttl_s = self.ttl_s.unwrap_or(f64::INFINITY);
        let known = self.known.get(&key).copied();
        let (number, since_s) = match known {
            Some((number, since_s)) if self.clock_s - since_s < ttl_s => match self.is_sliding {
                true => (number, self.clock_s),
                false => (number, since_s),
            },
            _ => (self.number(), self.clock_s),
        };
        self.known.insert(key, (number, since_s));
        number
    }

    /// A prompt is found as far as the longest unit goes that it begins with. It becomes one itself, as does what it
    /// has in common with an earlier one.
    fn held_unit(&mut self, prompt: Prompt) -> Prompt {
        let covering = self
            .units
            .iter()
            .filter(|(unit, _)| begins_with(&prompt, unit));
        let longest = covering.max_by_key(|(unit, _)| unit.tokens).copied();
        let fresh = self.number();
        let held = match longest {
            Some((unit, held)) if unit.tokens == prompt.tokens => held,
            Some((unit, held)) => Prompt {
                text: held.text,
                tokens: prompt.tokens,
                branch: Some((unit.tokens, fresh)),
            },
            None => Prompt {
                text: fresh,
                branch: None,
                ..prompt
            },
        };
        let same = self
            .units
            .iter()
            .filter(|(unit, _)| unit.text == prompt.text);
        let common = same.filter_map(|(unit, _)| match (unit.branch, prompt.branch) {
            (None, Some((at, _))) if unit.tokens > at => Some(at),
            _ => None,
        });
        if let Some(tokens) = common.max() {
            let unit = Prompt::whole(prompt.text, tokens);
            self.units.push((unit, held));
        }
        self.units.push((prompt, held));
        held
    }
}

fn begins_with(prompt: &Prompt, unit: &Prompt) -> bool {
    let end = match (unit.branch, prompt.branch) {
        (None, None) => prompt.tokens,
        (None, Some((at, _))) => at,
        (of_unit, of_prompt) if of_unit == of_prompt => prompt.tokens,
        _ => return false,
    };
    prompt.text == unit.text && unit.tokens <= end
}
