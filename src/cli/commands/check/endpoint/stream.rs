//! Findings about the streams of an API, from one short answer.

use serde_json::json;

use super::probe::{Answer, MAX_TOKENS, Probe};
use super::route::{Route, why_failed};
use crate::client::body::LIMIT;
use crate::report::layout::notes::CACHE_OPTIONS;
use crate::sample::{FailKind, Sample, TokenSource};
use crate::units::{counted, fixed};

/// Output tokens of requests that are only about the prompt.
const FEW_TOKENS: u64 = 4;

/// A name and its finding.
pub type Finding = (&'static str, String);

/// Returns all findings about the stream of a route that has one.
pub fn findings(probe: &mut Probe, route: &Route, text: &str) -> Vec<Finding> {
    let Some(answer) = route.stream() else {
        return Vec::new();
    };
    let takes_options = route.target.body.optional.stream_options;
    let continuous = match takes_options {
        true => {
            let mut target = route.target.clone();
            let options = json!({"include_usage": true, "continuous_usage_stats": true});
            target.body.extra.insert("stream_options".into(), options);
            continuous_usage(probe.send(&target, text, MAX_TOKENS).as_ref(), answer)
        }
        false => "not tried: stream_options is refused".to_string(),
    };
    vec![
        ("streaming", streaming(answer)),
        ("usage", usage(&answer.sample, takes_options)),
        ("continuous usage", continuous),
        ("optional fields", optional_fields(route, &answer.sample)),
        ("reasoning", reasoning(&answer.sample)),
        ("tokens an event", tokens_an_event(&answer.sample)),
    ]
}

fn streaming(answer: &Answer) -> String {
    let sample = &answer.sample;
    let first_ns = sample.t_first_ns.unwrap_or(sample.t_end_ns);
    let ttft_ms = first_ns.saturating_sub(sample.t_send_ns) as f64 / 1e6;
    let held_back = match sample.token_reads {
        _ if sample.is_burst() => "; all at once: something on the way buffers, so there is no ITL",
        0 | 1 if sample.token_events > 1 => "; all at once: no ITL",
        _ => "",
    };
    format!(
        "{}, {} with text, the first of these after {} ms{}",
        counted(answer.events, "event"),
        sample.token_events,
        fixed(ttft_ms, 1),
        held_back,
    )
}

fn usage(sample: &Sample, takes_options: bool) -> String {
    let options = match takes_options {
        true => "stream_options is accepted",
        false => "stream_options is refused",
    };
    let count = |tokens: Option<u64>| tokens.map_or("unknown".to_string(), |n| n.to_string());
    let (prompt, output) = (count(sample.prompt_tokens), count(sample.completion_tokens));
    match sample.token_source {
        Some(TokenSource::Usage) => {
            format!("{prompt} prompt and {output} output tokens; {options}")
        }
        Some(TokenSource::ContinuousUsage) => {
            format!("only on events before the end, {output} output tokens; {options}")
        }
        Some(TokenSource::EventsOverUsage | TokenSource::Total) => format!(
            "{prompt} prompt tokens; it counts fewer output tokens than the {output} that came; {options}"
        ),
        _ => format!("none: a run counts events as tokens; {options}"),
    }
}

/// Says whether the API reports usage on every event; `plain` is the answer to a request that did not ask for it.
fn continuous_usage(answer: Option<&Answer>, plain: &Answer) -> String {
    let Some(answer) = answer else {
        return "not tried".to_string();
    };
    match why_failed(&answer.sample) {
        Some(why) if matches!(answer.sample.status, Some(400 | 422)) => format!("refused: {why}"),
        Some(why) => format!("no answer: {why}"),
        None if plain.has_running_usage => "on every event, asked for or not".to_string(),
        None if answer.has_running_usage => "honoured: on every event".to_string(),
        None => "ignored".to_string(),
    }
}

fn optional_fields(route: &Route, sample: &Sample) -> String {
    let tokens = match (sample.completion_tokens, sample.token_source) {
        (Some(n), Some(TokenSource::Usage | TokenSource::ContinuousUsage)) => {
            format!("; {n} of {MAX_TOKENS} tokens came")
        }
        _ => String::new(),
    };
    let mut refused = route.lessons.dropped.clone();
    let limit = route.target.body.limit_name;
    refused.extend((limit != LIMIT).then_some(LIMIT));
    match refused.is_empty() {
        true => format!("ignore_eos and min_tokens are accepted{tokens}"),
        false => format!("refused: {}{tokens}", refused.join(", ")),
    }
}

fn reasoning(sample: &Sample) -> String {
    let is_first = sample.t_first_ns.is_some() && sample.t_first_ns != sample.t_answer_ns;
    let is_counted = sample.reasoning_tokens.is_some_and(|tokens| tokens > 0);
    match is_first || is_counted {
        true => "seen: TTFT is the time to its first token".to_string(),
        false => "none seen".to_string(),
    }
}

fn tokens_an_event(sample: &Sample) -> String {
    let (tokens, events) = (sample.completion_tokens, sample.token_events);
    match (tokens, sample.token_source) {
        // The end of a sequence is a token without text.
        (Some(tokens), Some(TokenSource::Usage)) if tokens <= events + 1 => "one".to_string(),
        (Some(tokens), Some(TokenSource::Usage)) => {
            let [tokens, events] =
                [(tokens, "token"), (events, "event")].map(|(n, what)| counted(n, what));
            format!("{tokens} in {events}: ITL is a time between events")
        }
        _ => "unknown without usage".to_string(),
    }
}

/// Sends a prompt twice; returns a finding on its cached tokens, and its length by usage.
pub fn cached_tokens(probe: &mut Probe, route: &Route, text: &str) -> (String, Option<u64>) {
    let first = probe.send(&route.target, text, FEW_TOKENS);
    let second = probe.send(&route.target, text, FEW_TOKENS);
    match (first, second) {
        (Some(first), Some(second)) => {
            let tokens = second.sample.prompt_tokens;
            (cached(&first.sample, &second.sample), tokens)
        }
        _ => ("not tried".to_string(), None),
    }
}

fn cached(first: &Sample, second: &Sample) -> String {
    // A few tokens may have no text yet: hidden reasoning, half a character.
    let is_empty =
        |sample: &&Sample| sample.failure.as_ref().map(|f| f.kind) == Some(FailKind::Empty);
    let samples = [first, second]
        .into_iter()
        .filter(|sample| !is_empty(sample));
    if let Some(why) = samples.filter_map(why_failed).next() {
        return format!("no answer: {why}");
    }
    let of = second
        .prompt_tokens
        .map_or_else(String::new, |tokens| format!(" of {tokens}"));
    let before = match first.cached_tokens {
        Some(tokens) if tokens > 0 => format!(" ({tokens} at the first)"),
        _ => String::new(),
    };
    match second.cached_tokens {
        None => format!("not reported: usage gives no hit rate; {CACHE_OPTIONS}"),
        Some(0) => format!("0{of} at the second sending: no prefix cache seen"),
        Some(tokens) => format!("{tokens}{of} at the second sending{before}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Failure;

    fn sample(tokens: u64, events: u64, source: TokenSource) -> Sample {
        Sample {
            prompt_tokens: Some(40),
            completion_tokens: Some(tokens),
            token_source: Some(source),
            token_events: events,
            token_reads: events,
            t_send_ns: 1_000_000,
            t_first_ns: Some(6_250_000),
            t_answer_ns: Some(6_250_000),
            gaps_us: vec![5000, 0],
            ..Sample::default()
        }
    }

    #[test]
    fn events_tokens_and_what_usage_says_are_told_apart() {
        let one = sample(16, 16, TokenSource::Usage);
        assert_eq!(
            usage(&one, true),
            "40 prompt and 16 output tokens; stream_options is accepted"
        );
        assert_eq!(tokens_an_event(&one), "one");
        assert_eq!(tokens_an_event(&sample(16, 15, TokenSource::Usage)), "one");
        assert_eq!(
            tokens_an_event(&sample(16, 4, TokenSource::Usage)),
            "16 tokens in 4 events: ITL is a time between events"
        );
        let none = sample(9, 9, TokenSource::Events);
        assert_eq!(
            usage(&none, false),
            "none: a run counts events as tokens; stream_options is refused"
        );
        assert_eq!(tokens_an_event(&none), "unknown without usage");
    }

    #[test]
    fn a_stream_that_came_in_one_read_is_reported_to_have_no_gaps() {
        let mut answer = Answer {
            refusal: String::new(),
            sample: sample(3, 3, TokenSource::Usage),
            events: 5,
            has_running_usage: false,
        };
        // 6.25 ms - 1 ms.
        assert_eq!(
            streaming(&answer),
            "5 events, 3 with text, the first of these after 5.25 ms"
        );
        answer.sample.gaps_us = vec![0, 0];
        answer.sample.token_reads = 1;
        assert!(streaming(&answer).ends_with("5.25 ms; all at once: no ITL"));
    }

    #[test]
    fn reasoning_shows_in_the_texts_or_in_the_counts() {
        let mut sample = sample(16, 16, TokenSource::Usage);
        assert_eq!(reasoning(&sample), "none seen");
        sample.reasoning_tokens = Some(3);
        assert!(reasoning(&sample).starts_with("seen: "));
        sample.reasoning_tokens = None;
        sample.t_answer_ns = None;
        assert!(reasoning(&sample).starts_with("seen: "));
    }

    #[test]
    fn cached_tokens_are_those_of_the_second_sending() {
        let of = |cached| Sample {
            prompt_tokens: Some(600),
            cached_tokens: cached,
            ..Sample::default()
        };
        let said = |first, second| cached(&of(first), &of(second));
        assert_eq!(said(Some(0), Some(592)), "592 of 600 at the second sending");
        assert_eq!(
            said(Some(16), Some(592)),
            "592 of 600 at the second sending (16 at the first)"
        );
        assert!(said(Some(0), Some(0)).starts_with("0 of 600 at the second sending: "));
        assert!(said(None, None).starts_with("not reported"));
        let mut failed = of(None);
        failed.failure = Some(Failure::new(FailKind::Truncated, "cut"));
        assert_eq!(cached(&of(None), &failed), "no answer: truncated: cut");
        failed.failure = Some(Failure::new(FailKind::Empty, "no text"));
        failed.cached_tokens = Some(16);
        assert_eq!(
            cached(&of(None), &failed),
            "16 of 600 at the second sending"
        );
    }
}
