//! What is sent otherwise because a server refuses it: decides from one reply to the next, sends nothing itself.

use super::body::{BodyShape, LIMIT, Optional};
use crate::sample::{FailKind, Sample};

/// The name that a server may take in the place of `LIMIT`.
const OTHER_LIMIT: &str = "max_completion_tokens";
/// Replies that teach something: of four fields, of one name, and of two numbers under each of the names.
const MOST: usize = 9;

/// Learns from the replies to requests that are alike but for the body.
#[derive(Debug, Clone)]
pub struct Lessons {
    /// Optional fields that the server refused.
    pub dropped: Vec<&'static str>,
    /// The fewest tokens of output that may be asked for, as far as is known.
    pub tokens: u64,
    /// No more than these are asked for.
    most_tokens: u64,
    left: usize,
    trial: Trial,
}

/// The search for a field that the server refuses without naming it.
#[derive(Debug, Clone, Copy)]
enum Trial {
    NotBegun,
    /// All fields have been left out; these were sent before.
    Bare(Optional),
    /// The field of this number was put back.
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

    /// Takes the reply to a request with this body, and all that the server said where it refused it. Returns whether
    /// to ask again, with the body as it is then and with `tokens`.
    pub fn tell(&mut self, body: &mut BodyShape, sample: &Sample, refusal: &str) -> bool {
        match self.trial {
            Trial::Over => false,
            Trial::NotBegun if is_good(sample) => false,
            Trial::NotBegun => self.learn(body, sample, refusal) || self.begin(body, sample),
            Trial::Bare(wanted) if is_good(sample) => self.put_back(body, wanted, 0),
            Trial::Bare(wanted) => {
                // It is something else that is refused.
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

    /// Leaves all fields out, if it may be one of them that is refused.
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

    /// Whether the words name something that can be sent otherwise, which it is from now on.
    fn learn(&mut self, body: &mut BodyShape, sample: &Sample, refusal: &str) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        // Some gateways answer 500 for a field that they do not know.
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

/// Whether the server took the request. One token may well be no text yet: half a character, or a role.
pub fn is_good(sample: &Sample) -> bool {
    let kind = sample.failure.as_ref().map(|failure| failure.kind);
    matches!(kind, None | Some(FailKind::Empty))
}

/// Whether an answer takes the place of the one kept before it: the last one that was taken, else the last one of all.
pub fn is_kept(sample: &Sample, before: &Sample) -> bool {
    is_good(sample) || !is_good(before)
}

fn is_refused(sample: &Sample) -> bool {
    matches!(sample.status, Some(400 | 422))
}
