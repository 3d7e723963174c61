//! Adapts requests to what a server refuses: decides from one reply to the next, sends nothing itself.

use super::body::{BodyShape, LIMIT, Optional};
use crate::sample::{FailKind, Sample};

/// The name that a server may accept instead of `LIMIT`.
const OTHER_LIMIT: &str = "max_completion_tokens";
/// Most replies that teach something: four fields, one name, and two numbers under each of the names.
const MOST: usize = 9;

/// Learns from the replies to requests that only differ in the body.
#[derive(Debug, Clone)]
pub struct Lessons {
    /// Optional fields that the server refused.
    pub dropped: Vec<&'static str>,
    /// The least number of output tokens that may be requested, as far as is known.
    pub tokens: u64,
    /// Most output tokens that are requested.
    most_tokens: u64,
    left: usize,
    trial: Trial,
}

/// The search for a field that the server refuses without naming it.
#[derive(Debug, Clone, Copy)]
enum Trial {
    NotBegun,
    /// All fields are left out; these were sent before.
    Bare(Optional),
    /// The field with this number was put back.
    Field(Optional, usize),
    Over,
}

impl Lessons {
    pub fn new(tokens: u64, most_tokens: u64) -> Lessons {
        Lessons {
            dropped: Vec::new(),
            tokens,
            most_tokens,
            left: MOST,
            trial: Trial::NotBegun,
        }
    }

    /// Reads the reply to a request with this body, and the server's full text if it refused it. Returns whether to ask
    /// again, with the changed body and with `tokens`.
    pub fn tell(&mut self, body: &mut BodyShape, sample: &Sample, refusal: &str) -> bool {
        match self.trial {
            Trial::Over => false,
            Trial::NotBegun if is_good(sample) => false,
            Trial::NotBegun => self.learn(body, sample, refusal) || self.begin(body, sample),
            Trial::Bare(wanted) if is_good(sample) => self.put_back(body, wanted, 0),
            Trial::Bare(wanted) => {
                // The server refuses something else.
                body.optional = wanted;
                self.trial = Trial::Over;
                false
            }
            Trial::Field(wanted, at) => {
                let (name, is_sent) = &mut body.optional.fields()[at];
                if !is_good(sample) {
                    **is_sent = false;
                    self.dropped.push(name);
                }
                self.put_back(body, wanted, at + 1)
            }
        }
    }

    /// Leaves all fields out, if the refused one may be among them.
    fn begin(&mut self, body: &mut BodyShape, sample: &Sample) -> bool {
        let wanted = body.optional;
        if !is_refused(sample) || wanted == Optional::NONE {
            return false;
        }
        body.optional = Optional::NONE;
        self.trial = Trial::Bare(wanted);
        true
    }

    /// Puts back the first wanted field from this number on.
    fn put_back(&mut self, body: &mut BodyShape, mut wanted: Optional, from: usize) -> bool {
        let fields = wanted.fields();
        let next = (from..fields.len()).find(|&at| *fields[at].1);
        self.trial = next.map_or(Trial::Over, |at| Trial::Field(wanted, at));
        if let Some(at) = next {
            *body.optional.fields()[at].1 = true;
        }
        next.is_some()
    }

    /// Returns whether the text names something that can be sent differently, and changes it.
    fn learn(&mut self, body: &mut BodyShape, sample: &Sample, refusal: &str) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        // Some gateways answer 500 to an unknown field.
        if matches!(sample.status, Some(400 | 422 | 500..=599)) {
            let named = body.optional.drop_named(refusal);
            self.dropped.extend(&named);
            if !named.is_empty() {
                return true;
            }
        }
        let is_of_tokens = is_refused(sample) && refusal.contains("token");
        let is_spent = self.tokens >= self.most_tokens;
        let is_of_name = refusal.contains(OTHER_LIMIT) || is_spent && refusal.contains(LIMIT);
        if is_of_tokens && is_of_name && body.limit_name == LIMIT {
            body.limit_name = OTHER_LIMIT;
            return true;
        }
        if is_of_tokens && !is_spent {
            self.tokens = (self.tokens * 16).min(self.most_tokens);
            return true;
        }
        false
    }
}

/// Returns whether the server accepted the request. One token may have no text: half a character, or a role.
pub fn is_good(sample: &Sample) -> bool {
    let kind = sample.failure.as_ref().map(|failure| failure.kind);
    matches!(kind, None | Some(FailKind::Empty))
}

/// Returns whether an answer replaces the one kept before: the last accepted answer is kept, else the last one.
pub fn is_kept(sample: &Sample, before: &Sample) -> bool {
    is_good(sample) || !is_good(before)
}

fn is_refused(sample: &Sample) -> bool {
    matches!(sample.status, Some(400 | 422))
}
