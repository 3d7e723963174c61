//! One API of the server: whether it answers, whether it streams, which optional fields it takes.

use super::probe::{Answer, MAX_TOKENS, Probe};
use crate::client::Target;
use crate::client::api::{Api, error_words};
use crate::client::lessons::{Lessons, is_kept};
use crate::sample::{FailKind, Sample};

pub struct Route {
    /// The API's URI, with the optional fields that it accepts.
    pub target: Target,
    pub lessons: Lessons,
    /// The last accepted answer, else the last answer.
    pub answer: Option<Answer>,
}

impl Route {
    /// Asks for a short stream, leaving out fields that the server refuses.
    pub fn find(probe: &mut Probe, target: Target, text: &str) -> Route {
        let mut route = Route {
            target,
            lessons: Lessons::new(MAX_TOKENS, MAX_TOKENS),
            answer: None,
        };
        let mut is_asked = true;
        while is_asked && let Some(answer) = probe.send(&route.target, text, MAX_TOKENS) {
            let body = &mut route.target.body;
            is_asked = route.lessons.tell(body, &answer.sample, &answer.refusal);
            let before = route.answer.as_ref();
            if before.is_none_or(|before| is_kept(&answer.sample, &before.sample)) {
                route.answer = Some(answer);
            }
        }
        route
    }

    pub fn api(&self) -> Api {
        self.target.body.api
    }

    /// Returns the answer, if it is a stream that a run could measure.
    pub fn stream(&self) -> Option<&Answer> {
        let is_stream =
            |answer: &&Answer| answer.sample.is_success() && answer.sample.token_events > 0;
        self.answer.as_ref().filter(is_stream)
    }

    /// Returns whether the server refused the key.
    pub fn is_denied(&self) -> bool {
        let status = self.answer.as_ref().and_then(|answer| answer.sample.status);
        matches!(status, Some(401 | 403))
    }

    /// Returns the finding for the user.
    pub fn verdict(&self) -> String {
        let Some(answer) = &self.answer else {
            return "not tried".to_string();
        };
        match why_failed(&answer.sample) {
            Some(why) => format!("no: {why}"),
            None if self.stream().is_some() => "streams".to_string(),
            None => "answers, but does not stream: nothing to measure".to_string(),
        }
    }
}

/// Says how a request failed; `None` when it did not.
pub fn why_failed(sample: &Sample) -> Option<String> {
    let failure = sample.failure.as_ref()?;
    let words = error_words(&failure.reason);
    Some(match (failure.kind, sample.status) {
        (FailKind::Http, Some(status)) => format!("HTTP {status}: {words}"),
        (kind, _) => format!("{}: {words}", kind.name()),
    })
}
