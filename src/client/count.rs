//! Output tokens of plain replies that did not say how many they have: counted once the run is over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::setup::Tokenizer;
use crate::plan::prompt::Lengths;
use crate::sample::{Sample, TokenSource};

/// The server is asked no longer than this; the rest is estimated.
const LONGEST: Duration = Duration::from_secs(20);

/// Counts the answers of all samples that have kept their text, and lets go of it.
///
/// By the server's `/tokenize`, equal texts once, until it gives no answer; then by the bytes, at the tokens a byte
/// that `lengths` has. A count that the sample has already, such as that of a stream's events, stays.
pub fn count_texts(tokenizer: &Tokenizer<'_>, samples: &mut [Sample], lengths: &Lengths) {
    let deadline = Instant::now() + LONGEST;
    let mut counted: HashMap<Arc<str>, u64> = HashMap::new();
    let mut answers = true;
    for sample in samples {
        let Some(text) = sample.text.take() else {
            continue;
        };
        if sample.completion_tokens.is_some() || !sample.is_success() {
            continue;
        }
        let known = counted.get(&text).copied();
        let tokens = known.or_else(|| {
            answers &= Instant::now() < deadline;
            let tokens = answers.then(|| tokenizer.answer_tokens(&text)).flatten();
            answers &= tokens.is_some();
            counted.extend(tokens.map(|tokens| (Arc::clone(&text), tokens)));
            tokens
        });
        let estimate = (text.len() as f64 * lengths.tokens_per_byte()).round() as u64;
        let (tokens, source) = match tokens {
            Some(tokens) => (tokens, TokenSource::Tokenize),
            None => (estimate.max(1), TokenSource::Estimate),
        };
        (sample.completion_tokens, sample.token_source) = (Some(tokens), Some(source));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Target;
    use crate::client::api::Api;
    use crate::client::body::BodyShape;
    use crate::client::endpoint::Endpoint;
    use crate::client::http::{Link, Small};
    use crate::client::transport::Timeouts;
    use crate::mock::testing::start;
    use crate::sample::{FailKind, Failure};
    use crate::units::Epoch;

    fn sample(text: &str) -> Sample {
        Sample {
            text: Some(text.into()),
            ..Sample::default()
        }
    }

    /// What is counted of four replies by the server at this address.
    fn counted(url: &str) -> Vec<Sample> {
        let endpoint = Endpoint::parse(url).expect("an endpoint");
        let second = Duration::from_secs(1);
        let addrs = vec![std::net::SocketAddr::from(([127, 0, 0, 1], endpoint.port))];
        let link = Link::bare(addrs, Timeouts::all(second), Epoch::start());
        let small = Small::new(link.clone());
        let target = Target::new(link, &endpoint, BodyShape::new(Api::Generate, ""));
        let tokenizer = Tokenizer {
            target: &target.expect("a target"),
            endpoint: &endpoint,
            small: &small,
        };
        let failed = Sample {
            failure: Some(Failure::new(FailKind::Empty, "x")),
            ..sample("a b")
        };
        let by_events = Sample {
            completion_tokens: Some(9),
            token_source: Some(TokenSource::Events),
            ..sample("a b")
        };
        let mut samples = vec![sample("a b c"), failed, by_events, sample("a b c")];
        count_texts(&tokenizer, &mut samples, &Lengths::estimate());
        assert!(samples.iter().all(|sample| sample.text.is_none()));
        samples
    }

    #[test]
    fn what_nobody_counted_is_counted_by_the_server() {
        let mock = start(&[]);
        let told: Vec<_> = counted(&mock.url())
            .iter()
            .map(|sample| (sample.completion_tokens, sample.token_source))
            .collect();
        // The mock's tokens are words.
        let three = (Some(3), Some(TokenSource::Tokenize));
        let nine = (Some(9), Some(TokenSource::Events));
        assert_eq!(told, [three, (None, None), nine, three]);
    }

    #[test]
    fn where_it_counts_nothing_the_bytes_give_an_estimate() {
        // A port that nothing listens on.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        drop(listener);
        let samples = counted(&url);
        // Five bytes of words of some five letters and a space, 1.05 tokens each: below one and a half.
        let told = (samples[0].completion_tokens, samples[0].token_source);
        assert_eq!(told, (Some(1), Some(TokenSource::Estimate)));
    }
}
