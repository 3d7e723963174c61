//! One API of the server: whether it answers, whether it streams, which optional fields it takes.

use super::probe::{Answer, MAX_TOKENS, Probe};
use crate::client::Target;
use crate::client::api::{Api, error_words};
use crate::client::body::Optional;
use crate::sample::{FailKind, Sample};

pub struct Route {
    /// Its URI, with the optional fields that it takes.
    pub target: Target,
    /// The fields that it refused by name.
    pub dropped: Vec<&'static str>,
    /// Its words when it refused one without saying which, and answers when it gets none of them.
    pub unnamed: Option<String>,
    /// To the last request.
    pub answer: Option<Answer>,
}

const NO_FIELDS: Optional = Optional {
    temperature: true,
    ..Optional::NONE
};

impl Route {
    /// Asks for a short stream, without the fields that are refused. Four requests at the most.
    pub fn find(probe: &mut Probe, target: Target, text: &str) -> Route {
        let mut route = Route {
            target,
            dropped: Vec::new(),
            unnamed: None,
            answer: None,
        };
        while let Some(answer) = probe.send(&route.target, text, MAX_TOKENS) {
            let refusal = refusal(&answer.sample).map(str::to_string);
            route.answer = Some(answer);
            let Some(refusal) = refusal else { break };
            let dropped = route.target.body.optional.drop_named(&refusal);
            if dropped.is_empty() {
                route.without_any(probe, text, &refusal);
                break;
            }
            route.dropped.extend(dropped);
        }
        route
    }

    /// Tries again with no optional field at all; keeps the first answer where that does not help.
    fn without_any(&mut self, probe: &mut Probe, text: &str, words: &str) {
        let kept = std::mem::replace(&mut self.target.body.optional, NO_FIELDS);
        if kept == NO_FIELDS {
            return;
        }
        match probe.send(&self.target, text, MAX_TOKENS) {
            Some(answer) if answer.sample.is_success() => {
                self.answer = Some(answer);
                self.unnamed = Some(error_words(words));
            }
            _ => self.target.body.optional = kept,
        }
    }

    pub fn api(&self) -> Api {
        self.target.body.api
    }

    /// The answer, if it is a stream that a run could measure.
    pub fn stream(&self) -> Option<&Answer> {
        let is_stream =
            |answer: &&Answer| answer.sample.is_success() && answer.sample.token_events > 0;
        self.answer.as_ref().filter(is_stream)
    }

    /// Whether it was the key that was refused.
    pub fn is_denied(&self) -> bool {
        let status = self.answer.as_ref().and_then(|answer| answer.sample.status);
        matches!(status, Some(401 | 403))
    }

    /// What the user is told of it.
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

/// The words of a 400 or 422.
fn refusal(sample: &Sample) -> Option<&str> {
    let failure = sample.failure.as_ref()?;
    matches!(sample.status, Some(400 | 422)).then_some(failure.reason.as_str())
}

/// How a request failed, in words; `None` when it did not.
pub fn why_failed(sample: &Sample) -> Option<String> {
    let failure = sample.failure.as_ref()?;
    let words = error_words(&failure.reason);
    Some(match (failure.kind, sample.status) {
        (FailKind::Http, Some(status)) => format!("HTTP {status}: {words}"),
        (kind, _) => format!("{}: {words}", kind.name()),
    })
}
