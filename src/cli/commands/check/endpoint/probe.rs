//! The generating requests of a check: one at a time, each on a connection of its own, all counted here.

use std::sync::Arc;

use serde_json::json;

use crate::cli::connect::Opened;
use crate::client::http::Page;
use crate::client::{Client, Target};
use crate::plan::{Prompt, Turn, escape};
use crate::sample::{Failure, Labels, Sample};

/// Most requests of a check, whatever the server answers.
pub const MAX_REQUESTS: u64 = 20;
/// Most output tokens that a request asks for.
pub const MAX_TOKENS: u64 = 16;

/// The requests sent so far.
#[derive(Default)]
pub struct Probe {
    pub requests: u64,
    /// Output tokens requested in total.
    pub tokens: u64,
}

pub struct Answer {
    pub sample: Sample,
    /// The server's full answer where it refused the request.
    pub refusal: String,
    /// Events with data, `[DONE]` left out.
    pub events: u64,
    /// Whether an event before the end reported usage.
    pub has_running_usage: bool,
}

impl Probe {
    /// Counts a request and returns its number; `None` once the limit is reached.
    fn count(&mut self, tokens: u64) -> Option<u64> {
        if self.requests == MAX_REQUESTS {
            return None;
        }
        self.requests += 1;
        self.tokens += tokens;
        Some(self.requests)
    }

    /// Sends a request for this many tokens, at most `MAX_TOKENS`, and waits for its end; `None` once the limit is
    /// reached.
    pub fn send(&mut self, target: &Target, text: &str, tokens: u64) -> Option<Answer> {
        let tokens = tokens.min(MAX_TOKENS);
        let turn = Turn {
            id: self.count(tokens)?,
            labels: Labels::default(),
            prompt: Prompt::Text(vec![escape(text)]),
            max_tokens: Some(tokens),
            session: None,
            keeps_reply: false,
        };
        // A new client has no pooled connection that could be closed, so nothing is sent twice.
        let mut client = Client::new(Arc::new(target.clone()));
        let sample = client.send(&turn);
        Some(Answer {
            sample,
            refusal: client.refusal().to_string(),
            events: client.events(),
            has_running_usage: client.has_running_usage(),
        })
    }

    /// Asks `/generate` in the body formats of all servers that have it; `None` once the limit is reached.
    pub fn generate(
        &mut self,
        opened: &Opened,
        model: &str,
        text: &str,
    ) -> Option<Result<Page, Failure>> {
        self.count(MAX_TOKENS)?;
        let body = json!({
            "model": model,
            "prompt": text, "max_tokens": MAX_TOKENS,
            "text": text, "sampling_params": {"max_new_tokens": MAX_TOKENS},
            "inputs": text, "parameters": {"max_new_tokens": MAX_TOKENS},
        });
        let url = opened.endpoint.root("generate");
        Some(opened.small.post(&url, &body.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::api::Api;
    use crate::client::body::BodyShape;
    use crate::client::http::Link;
    use crate::client::wire::Timeouts;
    use crate::units::Epoch;
    use std::time::Duration;
    use ureq::http::Uri;

    /// A target that cannot be reached: it has no address.
    fn target() -> Target {
        let second = Duration::from_secs(1);
        let uri: Uri = "http://h/v1/completions".parse().expect("a URI");
        Target {
            link: Link::bare(Vec::new(), Timeouts::all(second), Epoch::start()),
            uri: uri.clone(),
            idle_uri: uri,
            body: BodyShape::new(Api::Completions, "m"),
            run_id: "r".into(),
            server_clock: Arc::default(),
        }
    }

    #[test]
    fn there_are_no_more_than_twenty_requests_and_sixteen_tokens_each() {
        let (mut probe, target) = (Probe::default(), target());
        let sent = (0..30).filter(|_| probe.send(&target, "a", 500).is_some());
        // 20 × 16.
        assert_eq!((sent.count(), probe.requests, probe.tokens), (20, 20, 320));
    }
}
