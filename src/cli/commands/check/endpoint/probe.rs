//! The generating requests of a check: one at a time, each on a connection of its own, all of them counted here.

use std::sync::Arc;

use serde_json::json;
use ureq::http::Uri;

use crate::client::api::Api;
use crate::client::body::Optional;
use crate::client::endpoint::Endpoint;
use crate::client::http::{Page, Small};
use crate::client::{Client, Target};
use crate::plan::{Prompt, Turn, escape};
use crate::sample::{Failure, Labels, Sample};

/// A check sends no more than this, whatever the server answers.
pub const MAX_REQUESTS: u64 = 20;
/// Output tokens that a request asks for at the most.
pub const MAX_TOKENS: u64 = 16;

pub struct Probe {
    /// Of the requests; API and URI are each one's own.
    target: Target,
    pub requests: u64,
    /// Output tokens asked for by all of them.
    pub tokens: u64,
}

/// One request, as it is to be sent.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub api: Api,
    pub uri: &'a Uri,
    pub optional: Optional,
    /// Usage is asked for on every event.
    pub continuous_usage: bool,
    pub text: &'a str,
    /// Above `MAX_TOKENS` it counts as that.
    pub tokens: u64,
}

pub struct Answer {
    pub sample: Sample,
    /// Events with data, `[DONE]` left out.
    pub events: u64,
    /// An event before the end reported usage.
    pub has_running_usage: bool,
}

impl Probe {
    pub fn new(target: Target) -> Probe {
        Probe {
            target,
            requests: 0,
            tokens: 0,
        }
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Counts a request; its number, `None` when there may be no more.
    fn count(&mut self, tokens: u64) -> Option<u64> {
        if self.requests == MAX_REQUESTS {
            return None;
        }
        self.requests += 1;
        self.tokens += tokens;
        Some(self.requests)
    }

    /// Sends a request and waits for its end; `None` when there may be no more.
    pub fn send(&mut self, ask: Ask) -> Option<Answer> {
        let tokens = ask.tokens.min(MAX_TOKENS);
        let turn = Turn {
            id: self.count(tokens)?,
            labels: Labels::default(),
            prompt: Prompt::Text(vec![escape(ask.text)]),
            max_tokens: Some(tokens),
            session: None,
            keeps_reply: false,
        };
        let mut target = self.target.clone();
        target.uri = ask.uri.clone();
        target.body.api = ask.api;
        target.body.optional = ask.optional;
        if ask.continuous_usage {
            let options = json!({"include_usage": true, "continuous_usage_stats": true});
            target.body.extra.insert("stream_options".into(), options);
        }
        // A new client has no connection that could turn out closed, so nothing is sent twice.
        let mut client = Client::new(Arc::new(target));
        let sample = client.send(&turn);
        Some(Answer {
            sample,
            events: client.events(),
            has_running_usage: client.has_running_usage(),
        })
    }

    /// Asks `/generate` in the words of every server that has it; `None` when there may be no more requests.
    pub fn generate(
        &mut self,
        small: &Small,
        endpoint: &Endpoint,
        text: &str,
    ) -> Option<Result<Page, Failure>> {
        self.count(MAX_TOKENS)?;
        let body = json!({
            "model": self.target.body.model,
            "prompt": text, "max_tokens": MAX_TOKENS,
            "text": text, "sampling_params": {"max_new_tokens": MAX_TOKENS},
            "inputs": text, "parameters": {"max_new_tokens": MAX_TOKENS},
        });
        Some(small.post(&endpoint.root("generate"), &body.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::body::{BodyShape, Sampling};
    use crate::client::http::Link;
    use crate::client::wire::Timeouts;
    use crate::units::Epoch;
    use std::time::Duration;

    /// A server that cannot be reached: no address.
    fn probe() -> Probe {
        let second = Duration::from_secs(1);
        let uri: Uri = "http://h/v1/completions".parse().expect("a URI");
        Probe::new(Target {
            link: Link::bare(Vec::new(), Timeouts::all(second), Epoch::start()),
            uri: uri.clone(),
            idle_uri: uri,
            body: BodyShape {
                api: Api::Completions,
                model: "m".into(),
                optional: Optional::ALL,
                limit_name: crate::client::body::LIMIT,
                sampling: Sampling::default(),
                sends_metadata: false,
                extra: serde_json::Map::new(),
            },
            run_id: "r".into(),
        })
    }

    #[test]
    fn there_are_no_more_than_twenty_requests_and_sixteen_tokens_each() {
        let mut probe = probe();
        let uri = probe.target().uri.clone();
        let ask = Ask {
            api: Api::Completions,
            uri: &uri,
            optional: Optional::ALL,
            continuous_usage: false,
            text: "a",
            tokens: 500,
        };
        let sent = (0..30).filter(|_| probe.send(ask).is_some()).count();
        // 20 x 16.
        assert_eq!((sent, probe.requests, probe.tokens), (20, 20, 320));
    }
}
