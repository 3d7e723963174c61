//! Counts the output tokens of plain replies without a count, once the run is over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::setup::Tokenizer;
use crate::sample::TokenSource;

/// Longest time that the server is asked to count; the rest is estimated.
const LONGEST: Duration = Duration::from_secs(20);

/// Returns the tokens of each answer, and who counted them.
///
/// The server's `/tokenize` counts, equal texts once, until it gives no answer; the rest is estimated from the bytes at
/// `tokens_per_byte`.
pub fn count_texts<'a>(
    tokenizer: &Tokenizer<'_>,
    texts: impl Iterator<Item = &'a Arc<str>>,
    tokens_per_byte: f64,
) -> Vec<(u64, TokenSource)> {
    let deadline = Instant::now() + LONGEST;
    let mut counted: HashMap<&str, u64> = HashMap::new();
    let mut answers = true;
    let counts = texts.map(|text| {
        let known = counted.get(&**text).copied();
        let tokens = known.or_else(|| {
            answers &= Instant::now() < deadline;
            let tokens = answers.then(|| tokenizer.answer_tokens(text)).flatten();
            answers &= tokens.is_some();
            counted.extend(tokens.map(|tokens| (&**text, tokens)));
            tokens
        });
        let estimate = (text.len() as f64 * tokens_per_byte).round() as u64;
        match tokens {
            Some(tokens) => (tokens, TokenSource::Tokenize),
            None => (estimate.max(1), TokenSource::Estimate),
        }
    });
    counts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Target;
    use crate::client::api::Api;
    use crate::client::body::BodyShape;
    use crate::client::endpoint::Endpoint;
    use crate::client::http::{Link, Small};
    use crate::client::wire::Timeouts;
    use crate::mock::testing::start;
    use crate::plan::calibration::Calibration;
    use crate::units::Epoch;

    /// Returns the counts of two equal replies by the server at this address.
    fn counted(url: &str) -> Vec<(u64, TokenSource)> {
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
        let text: Arc<str> = "a b c".into();
        count_texts(
            &tokenizer,
            [&text, &text].into_iter(),
            Calibration::estimate().tokens_per_byte(),
        )
    }

    #[test]
    fn uncounted_replies_are_counted_by_the_server() {
        let mock = start(&[]);
        // The mock's tokens are words.
        let three = (3, TokenSource::Tokenize);
        assert_eq!(counted(&mock.url()), [three, three]);
    }

    #[test]
    fn without_a_count_by_the_server_the_bytes_give_an_estimate() {
        // Nothing listens on this port.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        drop(listener);
        // Five bytes of words with about five letters and a space, 1.05 tokens each: less than one and a half tokens.
        let one = (1, TokenSource::Estimate);
        assert_eq!(counted(&url), [one, one]);
    }
}
