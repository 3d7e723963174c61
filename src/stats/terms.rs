//! The words that definitions and formulas of figures are made of, and the names that guides give to figures.

/// A term a line: its name and its definition, which goes on in the lines that begin with a blank.
const TEXT: &str = "\
t_due | The scheduled time of a request in an open loop, or of a trace. A request of a closed loop has none.
t_send | The time at which a worker sends a request. If its connection has to be opened first, that comes after it.
t_first | The time of the read that brought the first token event.
t_last | The time of the read that brought the last token event.
t_end | The time at which the reply ended, or at which the request failed.
token_event | An event of the stream that carries generated text: answer, reasoning, refusal or tool call. Comments,
  events with a role alone, empty events and events with usage alone are none.
n_out | The output tokens of a reply: the server's last usage.completion_tokens, else the number of token events. A
  count that is below the token events is refuted by them: then total_tokens less the prompt counts, or the events.
  A plain reply without a count is counted by the server's /tokenize after the run, else estimated from the bytes of its
  text: at the tokens a byte of the counted plain replies, if there are any, or of the prompts. A count above the bytes of
  the text, the tokens asked for (1,048,576 if none were) and 65,536 together cannot be; then the events count.
n_streamed | The output tokens that were streamed: n_out without the reasoning tokens that the server keeps to itself.
  If only a part of the reasoning was streamed, it is the number of token events.
prompt_tokens | The tokens of a prompt with its chat template, as the server's usage counts them. A count of more than
  65,536 above the bytes of the prompt cannot be, and is left out.
cached_tokens | The prompt tokens that the server took from its prefix cache, as its usage counts them. A count
  above the prompt tokens cannot be, and is left out.
success | A request with status 2xx, no error in its reply, generated text, and an end: a finish reason other than
  abort or error, or [DONE] from a server that sends no finish reasons. Failures enter no time and no token figure.
cut | A request that was in flight when the run was ended. It is neither a success nor a failure.
burst | A reply whose token events came in a few reads at its end: fewer than a fifth of the events began a new read,
  and first and last are less than 2 % of the latency apart. Something on the way holds the reply back. It has no ITL,
  TPOT or decode rate, and a note counts such replies.
duration | From the first t_send to the last t_end of the measured requests. In benchmark it is the measured window.
cold | A cold request sends a prompt for the first time: in the first rotation of benchmark, in the first round of replay,
  or as the first use of a prompt in load.
warm | A warm request sends a prompt that was sent before: in a later rotation, in a later round, or as a repeat.
rotation | One round of benchmark through all of its contexts.
percentile | In a run that has an end it is exact: linear interpolation between the closest ranks (type 7). In an endless
  run, in benchmark's blocks and for gaps it comes from a histogram: nearest rank, at most 0.1 % too high. The maximum
  is always exact.
independent_unit | A stretch of a round of replay that lasts ten mean latencies; there are no more of them than sessions.
  Requests that are closer together wait for one another, so they do not tell twice as much as one. Below twenty units
  a comparison has no interval. Otherwise the sessions, in the order of their sends, are cut into twenty batches, and
  the interval is that of their sums (Student's t), widened where neighbouring batches go together.
closed_loop | A load with a fixed number of requests in flight: the next one is sent when one has ended (--concurrency).
open_loop | A load whose requests are sent at scheduled times, whatever became of earlier ones (--rate, --trace). Its
  times count from t_due, so that a server that stalls cannot hide the wait of those behind it.
";

/// A word of definitions.
pub struct Term {
    pub name: &'static str,
    pub definition: String,
}

/// All terms, in the order in which one explains the next.
pub fn terms() -> Vec<Term> {
    let mut terms: Vec<Term> = Vec::new();
    for line in TEXT.lines() {
        match (line.strip_prefix("  "), terms.last_mut()) {
            (Some(more), Some(term)) => term.definition.extend([" ", more]),
            _ => {
                let (name, definition) = line.split_once(" | ").unwrap_or((line, ""));
                let definition = definition.to_string();
                terms.push(Term { name, definition });
            }
        }
    }
    terms
}

/// Names that guides, tables and other tools have for a figure, in lower case, with its key in the catalogue.
const OTHER_NAMES: [(&str, &str); 31] = [
    ("e2e", "latency"),
    ("e2e latency", "latency"),
    ("end-to-end latency", "latency"),
    ("time to first token", "ttft"),
    ("time_to_first_token", "ttft"),
    ("inter-token latency", "itl"),
    ("inter_token_latency", "itl"),
    ("time between tokens", "itl"),
    ("time per output token", "tpot_ms"),
    ("tbt", "itl"),
    ("tpot", "tpot_ms"),
    ("rps", "request_throughput_rps"),
    ("qps", "request_throughput_rps"),
    ("elapsed time", "duration_s"),
    ("test duration", "duration_s"),
    ("total number of requests processed", "successful_requests"),
    ("global average ttft", "ttft"),
    ("interval average ttft", "ttft"),
    ("global average itl", "itl"),
    ("interval average itl", "itl"),
    ("global average prefill throughput", "prefill_tokens_per_s"),
    (
        "interval average prefill throughput",
        "prefill_tokens_per_s",
    ),
    ("global average decode throughput", "decode_tokens_per_s"),
    ("interval average decode throughput", "decode_tokens_per_s"),
    ("output throughput", "throughput_tokens_per_s"),
    ("token throughput", "throughput_tokens_per_s"),
    ("throughput", "throughput_tokens_per_s"),
    ("request throughput", "request_throughput_rps"),
    ("cache hit rate", "response_cache_hit_rate"),
    ("hit rate", "prefix_cache_hit_rate"),
    ("goodput", "goodput_rps"),
];

/// The catalogue's key of a figure that is called `name`, in lower case, by a guide, a table or another tool.
pub fn other_name(name: &str) -> Option<&'static str> {
    let found = OTHER_NAMES.iter().find(|(other, _)| *other == name);
    found.map(|(_, key)| *key)
}

#[cfg(test)]
mod tests {
    use super::super::catalog;
    use super::*;

    #[test]
    fn terms_are_sentences_with_names_of_their_own() {
        for Term { name, definition } in terms() {
            assert!(definition.ends_with('.'), "{name}");
            assert!(!definition.contains(" | ") && !name.contains(' '), "{name}");
            assert!(catalog::find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn other_names_lead_to_a_figure_and_take_none_from_the_catalogue() {
        for (name, key) in OTHER_NAMES {
            assert!(catalog::find(key).is_some(), "{name}: {key}");
            assert!(catalog::find(name).is_none(), "{name}");
            assert_eq!(name, name.to_lowercase());
        }
    }
}
