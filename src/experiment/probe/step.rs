//! A step of a probe: a machine that asks for requests and takes their replies.

use std::time::Duration;

use super::lab::{Lab, Reading, Request};
use crate::stats::probe::Findings;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ask {
    Send(Request),
    Wait(Duration),
    /// Ask the server to empty its cache.
    Reset,
}

/// The answer of a step in words.
pub struct Answer {
    pub words: String,
    pub is_clear: bool,
    /// Whether the server says what is not true.
    pub is_lie: bool,
}

impl Answer {
    /// Makes the answer of a step that found no lie.
    pub fn new(words: impl Into<String>, is_clear: bool) -> Answer {
        Answer {
            words: words.into(),
            is_clear,
            is_lie: false,
        }
    }

    pub fn clear(words: impl Into<String>) -> Answer {
        Answer::new(words, true)
    }

    pub fn unclear(words: impl Into<String>) -> Answer {
        Answer::new(words, false)
    }
}

/// One step: what it asks for, and what it makes of the replies.
pub trait Step {
    /// Returns what to do next; `None` at the end.
    fn next(&mut self, lab: &mut Lab) -> Option<Ask>;

    /// Takes the reply to a request.
    fn tell(&mut self, lab: &mut Lab, request: &Request, reading: &Reading);

    /// Says what was found, at the end or when the probe is ended before.
    fn conclude(&mut self, lab: &mut Lab, findings: &mut Findings) -> Answer;
}
