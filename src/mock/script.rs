//! The content of an answer, event by event, and when each event is due.
//!
//! Request, plan and faults go in; events without their framing come out, or the body of a reply that is not
//! streamed. The role of a chat comes with the first token, as at vLLM. Knows no sockets and no clock.

use std::io::Write;

use super::events::{Events, Usage};
use super::faults::{Kind, Picked};
use super::generation::{Api, Generation};
use super::http::ErrorReply;
use super::schedule::Plan;

/// The ways in which an answer ends, its last bytes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Whole,
    /// An error event is the last.
    Failed,
    /// The connection is to be closed in the middle.
    Cut,
    /// Nothing more is to be written, and the connection stays open.
    Stalled,
}

/// The part of an answer that comes next.
#[derive(Clone, Copy)]
enum Part {
    /// This comment, from 1, of those spread over the time to the first token.
    Keepalive(u64),
    Role,
    Text,
    Error,
    Closing,
    End(End),
}

/// An answer, and how far it has been said.
pub struct Script {
    pub generation: Generation,
    pub plan: Plan,
    pub faults: Picked,
    events: Events,
    next: Part,
    /// Tokens in the events made so far.
    tokens: usize,
    /// The text of one event; kept, so that no event allocates its own.
    text: String,
}

impl Script {
    pub fn new(generation: Generation, plan: Plan, faults: Picked, events: Events) -> Script {
        let mut script = Script {
            generation,
            plan,
            faults,
            events,
            next: Part::Keepalive(1),
            tokens: 0,
            text: String::new(),
        };
        if script.keepalives() == 0 {
            script.next = script.after_tokens();
        }
        script
    }

    /// The due time of the next event; `None`: nothing is left to wait for, and the rest comes at once.
    pub fn due_ns(&self) -> Option<u64> {
        match self.next {
            Part::Keepalive(index) => {
                let wait_ns = self.plan.first_due_ns() - self.plan.arrival_ns;
                Some(self.plan.arrival_ns + wait_ns / (self.keepalives() + 1) * index)
            }
            Part::Role | Part::Text => Some(self.plan.due_ns[self.next_tokens() - 1]),
            Part::Error | Part::Closing | Part::End(_) => None,
        }
    }

    /// The end of the answer, once no event is left.
    pub fn end(&self) -> Option<End> {
        match self.next {
            Part::End(end) => Some(end),
            _ => None,
        }
    }

    /// The number of tokens in the events made so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The number of all tokens of the answer.
    pub fn total(&self) -> usize {
        self.plan.due_ns.len()
    }

    /// Appends the next event to `out`; nothing if none is left, or no closing one is wanted.
    pub fn push_next(&mut self, out: &mut Vec<u8>) {
        self.next = match self.next {
            Part::Keepalive(index) => {
                let count = self.keepalives();
                write!(out, ": keepalive {index}/{count}\n\n").expect("a Vec takes everything");
                if index < count {
                    Part::Keepalive(index + 1)
                } else {
                    self.after_tokens()
                }
            }
            Part::Role => {
                self.events.push_role(out, self.event_usage(0));
                Part::Text
            }
            Part::Text => {
                self.push_text(out);
                self.after_tokens()
            }
            Part::Error => {
                let error = ErrorReply::told(500);
                write!(out, "data: {error}\n\n").expect("a Vec takes everything");
                Part::End(End::Failed)
            }
            Part::Closing => {
                self.events.push_closing(out, self.closing_usage());
                Part::End(End::Whole)
            }
            Part::End(end) => Part::End(end),
        }
    }

    /// The body of the reply that is not streamed.
    pub fn whole(&self) -> String {
        let mut text = String::new();
        (0..self.total()).for_each(|index| self.generation.push_token(&mut text, index));
        let usage = (!self.faults.has(Kind::NoUsage)).then(|| self.usage(self.total(), true));
        let finish_reason = self.generation.finish_reason();
        let mut body = self.events.whole(&text, finish_reason, usage);
        if self.faults.has(Kind::BadJson) {
            body.pop();
        }
        body
    }

    fn keepalives(&self) -> u64 {
        self.faults.number(Kind::Keepalive).unwrap_or(0)
    }

    /// The part that follows the tokens so far: more tokens, or what a fault or the last token demands.
    fn after_tokens(&self) -> Part {
        let is_due = |kind| {
            let after = self.faults.number(kind);
            after.is_some_and(|tokens| tokens.min(self.total() as u64) <= self.tokens as u64)
        };
        if is_due(Kind::Reset) {
            Part::End(End::Cut)
        } else if is_due(Kind::Stall) {
            Part::End(End::Stalled)
        } else if is_due(Kind::Error) {
            Part::Error
        } else if self.tokens == self.total() {
            Part::Closing
        } else if self.tokens == 0
            && self.generation.api == Api::Chat
            && !self.faults.has(Kind::NoRole)
        {
            Part::Role
        } else {
            Part::Text
        }
    }

    /// The number of tokens that will have been said after the next event with text.
    fn next_tokens(&self) -> usize {
        if self.tokens == 0 {
            return 1;
        }
        let many = self.faults.number(Kind::Chunk).unwrap_or(1) as usize;
        (self.tokens + many).min(self.total())
    }

    fn push_text(&mut self, out: &mut Vec<u8>) {
        let (from, until, total) = (self.tokens, self.next_tokens(), self.total());
        let finish_reason = (until == total).then(|| self.generation.finish_reason());
        let usage = self.event_usage(until);
        self.text.clear();
        (from..until).for_each(|index| self.generation.push_token(&mut self.text, index));
        self.events.push_text(out, &self.text, finish_reason, usage);
        let broken = self.faults.number(Kind::BadJson);
        let broken = broken.map(|after| (after as usize).min(total - 1));
        if broken.is_some_and(|token| (from..until).contains(&token)) {
            out.remove(out.len() - 3); // The brace before the empty line.
        }
        self.tokens = until;
    }

    fn usage(&self, completion_tokens: usize, with_cached: bool) -> Usage {
        if self.faults.has(Kind::ZeroUsage) {
            return Usage {
                prompt_tokens: 0,
                completion_tokens: 0,
                cached_tokens: with_cached.then_some(0),
            };
        }
        Usage {
            prompt_tokens: self.plan.prompt_tokens,
            completion_tokens,
            cached_tokens: self.plan.usage_cached.filter(|_| with_cached),
        }
    }

    /// The usage that an event with text tells, after `tokens` tokens.
    fn event_usage(&self, tokens: usize) -> Option<Usage> {
        let wanted = self.generation.continuous_usage || self.faults.has(Kind::ZeroUsage);
        (wanted && !self.faults.has(Kind::NoUsage)).then(|| self.usage(tokens, false))
    }

    fn closing_usage(&self) -> Option<Usage> {
        let wanted = self.generation.include_usage && !self.faults.has(Kind::NoUsage);
        wanted.then(|| self.usage(self.total(), true))
    }
}
