//! The state that all steps of a probe share: the prompts they send, the readings of replies, and every text sent so far
//! in order.

use crate::sample::Sample;

use super::curve::Curve;
use crate::stats::probe::Shape;

/// Tokens of a text, which is known by its number, and of another text behind its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prompt {
    pub text: u64,
    /// Tokens of the whole prompt.
    pub tokens: u64,
    /// The token at which another text begins, and its number.
    pub branch: Option<(u64, u64)>,
}

/// One request of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    pub prompt: Prompt,
    pub output_tokens: u64,
    /// Whether it is sent with the other key.
    pub is_other_key: bool,
}

impl Prompt {
    /// Makes a prompt of one text.
    pub fn whole(text: u64, tokens: u64) -> Prompt {
        Prompt {
            text,
            tokens,
            branch: None,
        }
    }
}

impl Request {
    /// Makes a request for one output token with the user's own key.
    pub fn new(prompt: Prompt) -> Request {
        Request {
            prompt,
            output_tokens: 1,
            is_other_key: false,
        }
    }
}

/// The part of a reply that tells of the cache.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Prompt tokens by `usage`, else those that the plan meant to send.
    pub tokens: u64,
    pub cached: Option<u64>,
    pub ttft_s: f64,
    /// A hash of the text of the answer.
    pub answer: Option<u64>,
    /// The moment of the send, in seconds from the run's epoch.
    pub sent_s: f64,
}

impl Reading {
    /// Returns the reading of a successful request; `None` for a failure, or a reply without a token.
    pub fn of(sample: &Sample) -> Option<Reading> {
        let t_first_ns = sample.t_first_ns.filter(|_| sample.is_success())?;
        Some(Reading {
            tokens: sample
                .prompt_tokens
                .or(sample.labels.wanted_prompt_tokens)?,
            cached: sample.cached_tokens,
            ttft_s: t_first_ns.saturating_sub(sample.t_send_ns) as f64 / 1e9,
            answer: sample.answer,
            sent_s: sample.t_send_ns as f64 / 1e9,
        })
    }
}

/// A control: a new prompt and its immediate repeat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Control {
    /// Tokens that the prompt was meant to have.
    pub tokens: u64,
    pub cold: Reading,
    pub warm: Reading,
}

/// A context that was sent: its text and its tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Access {
    pub text: u64,
    pub tokens: f64,
    /// `None`: the text was new, or nobody asks what the reply says of the cache.
    pub reread: Option<Reread>,
}

/// The reading of a context that was sent before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reread {
    /// Tokens of other contexts that were sent since the context was sent last.
    pub distance: f64,
    pub tokens: f64,
    pub reading: Reading,
}

/// The uncached share of a prompt, 0 to 1 but for noise, by each source that can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Shares {
    /// By TTFT, between that of a warm and that of a cold prompt of this length, and its standard deviation.
    pub time: Option<(f64, f64)>,
    /// By the cached tokens of `usage`.
    pub usage: Option<f64>,
}

/// The greatest uncached share of a warm prompt by `usage`, and by time: in standard deviations, but at least in shares.
const WARM_BY_USAGE: f64 = 0.05;
const WARM_DEVIATIONS: f64 = 3.0;
const WARM_BY_TIME: f64 = 0.2;

impl Shares {
    /// Returns whether the whole prompt was found, as far as the sources tell.
    pub fn are_warm(&self) -> bool {
        let by_usage = self.usage.is_none_or(|share| share < WARM_BY_USAGE);
        let by_time = self.time.is_none_or(|(share, deviation)| {
            share < (WARM_DEVIATIONS * deviation).max(WARM_BY_TIME)
        });
        by_usage && by_time
    }

    /// Returns the share by `usage`, else by time.
    pub fn best(&self) -> Option<f64> {
        self.usage.or(self.time.map(|(share, _)| share))
    }
}

/// The shared state of all steps.
#[derive(Debug)]
pub struct Lab {
    /// Longest prompt that may be sent, in tokens.
    pub longest_tokens: u64,
    /// Tokens that all prompts have in common before their texts, and that a cache holds from the first request on.
    pub common_tokens: u64,
    /// Whether the cached tokens of replies are left out of account.
    pub ignores_usage: bool,
    /// Shortest context whose TTFT tells cold from warm, or that `usage` tells apart.
    pub shortest_tokens: u64,
    /// Whether times tell hits from misses.
    pub trusts_time: bool,
    /// Whether the cached tokens of `usage` are true.
    pub trusts_usage: bool,
    /// Tokens of a block, if a step has found them.
    pub block_tokens: Option<u64>,
    /// Tokens of all tiers together under LRU, once they are known.
    pub capacity_tokens: Option<f64>,
    /// If there are two tiers: tokens of the first one, and the share by time of what is read from the second.
    pub first_tier: Option<(f64, f64)>,
    /// Which part of an earlier prompt is reused, if a step has found it.
    pub shape: Option<Shape>,
    /// The controls of all lengths, in the order in which they were sent.
    pub controls: Vec<Control>,
    /// TTFT of prompts that were new, and of immediate repeats.
    pub cold: Curve,
    pub warm: Curve,
    /// All contexts that were sent, in order.
    pub accesses: Vec<Access>,
    texts: u64,
}

impl Lab {
    /// Makes a lab that knows nothing of the server but the longest prompt that it takes.
    pub fn new(longest_tokens: u64) -> Lab {
        Lab {
            longest_tokens,
            common_tokens: 0,
            ignores_usage: false,
            shortest_tokens: longest_tokens,
            trusts_time: false,
            trusts_usage: false,
            block_tokens: None,
            capacity_tokens: None,
            first_tier: None,
            shape: None,
            controls: Vec::new(),
            cold: Curve::cold(),
            warm: Curve::warm(),
            accesses: Vec::new(),
            texts: 0,
        }
    }

    /// Returns the number of a text that was not sent before.
    pub fn new_text(&mut self) -> u64 {
        self.texts += 1;
        self.texts
    }

    /// Returns a prompt of a new text.
    pub fn new_prompt(&mut self, tokens: u64) -> Prompt {
        Prompt::whole(self.new_text(), tokens)
    }

    /// Notes a context whose text is new.
    pub fn wrote(&mut self, text: u64, reading: &Reading) {
        self.cold.note(reading.tokens as f64, reading.ttft_s);
        self.sent(text, reading.tokens as f64, None);
    }

    /// Notes a context that was sent before, and returns what its reply says.
    pub fn read_again(&mut self, text: u64, reading: &Reading) -> Reread {
        let tokens = reading.tokens as f64;
        let reread = Reread {
            distance: self.distance(text),
            tokens: self.kept(tokens),
            reading: *reading,
        };
        self.sent(text, tokens, Some(reread));
        reread
    }

    /// Returns the tokens of a prompt that a cache can keep: those of full blocks.
    fn kept(&self, tokens: f64) -> f64 {
        match self.block_tokens {
            Some(block) => (tokens / block as f64).floor() * block as f64,
            None => tokens,
        }
    }

    /// Notes that a text was sent whose reply says nothing of the cache's size or order.
    pub fn sent(&mut self, text: u64, tokens: f64, reread: Option<Reread>) {
        let tokens = self.kept(tokens);
        self.accesses.push(Access {
            text,
            tokens,
            reread,
        });
    }

    /// Notes the immediate repeat of a context that a cache holds.
    pub fn repeated(&mut self, text: u64, warm: &Reading) {
        self.warm.note(warm.tokens as f64, warm.ttft_s);
        self.sent(text, warm.tokens as f64, None);
    }

    /// Notes a prompt whose reply says nothing of the cache's size or order; what is behind its branch is a context of
    /// its own.
    pub fn sent_prompt(&mut self, prompt: &Prompt, reading: &Reading) {
        let tokens = reading.tokens;
        match prompt.branch {
            Some((at, other)) => {
                self.sent(prompt.text, at.min(tokens) as f64, None);
                self.sent(other, tokens.saturating_sub(at) as f64, None);
            }
            None => self.sent(prompt.text, tokens as f64, None),
        }
    }

    /// Returns whether a prompt that may have been cached whole was a hit; `None` when neither source can be trusted.
    pub fn is_hit(&self, reading: &Reading) -> Option<bool> {
        self.found_part(reading, reading.tokens)
            .map(|(part, _)| part > 0.5)
    }

    /// Returns how much was found of the first tokens of a prompt, those that it shares with an earlier one: 0 to 1 but
    /// for noise, and its standard deviation. `None` when neither source can be trusted.
    pub fn found_part(&self, reading: &Reading, shared_tokens: u64) -> Option<(f64, f64)> {
        let shares = self.shares(reading);
        let (share, deviation) = match shares.usage {
            Some(share) => (share, 0.0),
            None => shares.time?,
        };
        let times = reading.tokens as f64 / shared_tokens.max(1) as f64;
        Some(((1.0 - share) * times, deviation * times))
    }

    /// Returns the tokens of other contexts that were sent since this one was sent last.
    pub fn distance(&self, text: u64) -> f64 {
        let known = self.distances().find(|&(own, _)| own == text);
        known.map_or(f64::INFINITY, |(_, distance)| distance)
    }

    /// Returns all texts with the tokens of the others that were sent since, from the last one on.
    pub fn distances(&self) -> impl Iterator<Item = (u64, f64)> {
        let mut seen = std::collections::HashSet::new();
        let mut sum = 0.0;
        let distinct = self.accesses.iter().rev();
        let distinct = distinct.filter(move |access| seen.insert(access.text));
        distinct.map(move |access| {
            sum += access.tokens;
            (access.text, sum - access.tokens)
        })
    }

    /// Returns the tokens of the longest control whose repeat was found.
    pub fn longest_repeat(&self) -> f64 {
        let controls = self.controls.iter();
        let found = controls.filter(|control| self.is_hit(&control.warm) == Some(true));
        found.fold(0.0, |longest, control| longest.max(control.tokens as f64))
    }

    /// Returns the least capacity that the readings allow: half of the longest context that was found.
    pub fn least_capacity_tokens(&self) -> f64 {
        let found = self.rereads().filter(|reread| {
            let share = self.shares(&reread.reading).best();
            share.is_some_and(|share| share < 0.5)
        });
        let found = found.map(|reread| reread.tokens / 2.0);
        found.fold(self.shortest_tokens as f64 / 4.0, f64::max)
    }

    /// Returns all readings of contexts that were sent before.
    pub fn rereads(&self) -> impl Iterator<Item = Reread> {
        self.accesses.iter().filter_map(|access| access.reread)
    }

    /// Returns the uncached share of a prompt by each source that can be trusted.
    pub fn shares(&self, reading: &Reading) -> Shares {
        let tokens = reading.tokens as f64;
        let usage = reading.cached.filter(|_| self.trusts_usage);
        Shares {
            time: self.time_share(tokens, reading.ttft_s),
            usage: usage.map(|cached| (1.0 - cached as f64 / self.kept(tokens)).clamp(0.0, 1.0)),
        }
    }

    /// Returns the median of the standard deviations of shares by time; 0 without any.
    pub fn time_deviation(&self) -> f64 {
        let shares = self
            .rereads()
            .filter_map(|reread| self.shares(&reread.reading).time);
        let mut deviations: Vec<f64> = shares.map(|(_, deviation)| deviation).collect();
        deviations.sort_unstable_by(f64::total_cmp);
        deviations.get(deviations.len() / 2).copied().unwrap_or(0.0)
    }

    fn time_share(&self, tokens: f64, ttft_s: f64) -> Option<(f64, f64)> {
        if !self.trusts_time {
            return None;
        }
        let (cold_s, warm_s) = (self.cold.at(tokens)?, self.warm.at(tokens)?);
        let gap_s = cold_s - warm_s;
        if gap_s <= 0.0 {
            return None;
        }
        let share = (ttft_s - warm_s) / gap_s;
        let part = share.clamp(0.0, 1.0);
        let gap_at = |tokens| match self.cold.fitted(tokens) - self.warm.fitted(tokens) {
            fitted_s if fitted_s > 0.0 => fitted_s,
            _ => gap_s,
        };
        let deviation = self.warm.deviation_at(tokens, gap_at) * (1.0 - part)
            + self.cold.deviation_at(tokens, gap_at) * part;
        Some((share, deviation.max(LEAST_DEVIATION)))
    }
}

/// The least standard deviation of a share by time: curves are no more exact than that.
const LEAST_DEVIATION: f64 = 0.03;
