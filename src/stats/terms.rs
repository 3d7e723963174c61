//! The words that definitions and formulas of figures are made of, and the names that guides give to figures.

/// Each term has a line with its name and its definition, which continues on the lines that begin with a blank.
const TEXT: &str = "\
t_due | The scheduled time of a request in an open loop, or of a trace. A request of a closed loop has none.
t_send | The time at which a worker sends a request. A connection that has to be opened first is opened after t_send.
t_first | The time of the read that brought the first token event.
t_answer | The time of the read that brought the first token event of the answer, which is not reasoning.
t_last | The time of the read that brought the last token event.
t_end | The time at which the reply ended, or at which the request failed.
token_event | An event of the stream that carries generated text: answer, reasoning, refusal or tool call. Comments,
  events with a role alone, empty events and events with usage alone are not token events.
n_out | The output tokens of a reply: the server's last usage.completion_tokens, else the number of token events. A
  count below the number of token events is wrong: total_tokens less the prompt tokens, or the number of events, replaces
  it. The tokens of a plain reply without a count are counted by the server's /tokenize after the run, or else estimated
  from the bytes of its text, with the tokens per byte of the counted plain replies, or of the prompts if there are none.
  A count above the sum of the bytes of the text, the tokens asked for (1,048,576 if no number was asked for) and 65,536
  is impossible: the number of token events replaces it.
n_streamed | The output tokens that were streamed: n_out without the reasoning tokens that the server keeps to itself.
  If only a part of the reasoning was streamed, it is the number of token events.
prompt_tokens | The tokens of a prompt with its chat template, as the server's usage counts them. A count
  that exceeds the bytes of the prompt by more than 65,536 is impossible, and is left out.
cached_tokens | The prompt tokens that the server took from its prefix cache, as its usage counts them. A count
  above the prompt tokens is impossible, and is left out.
success | A request with status 2xx, no error in its reply, generated text, and an end: a finish reason other than
  abort or error, or [DONE] from a server that sends no finish reasons. Failures are in no figure of times or tokens.
cut | A request that was in flight when the run was ended. It is neither a success nor a failure.
burst | A reply whose token events came in a few reads at its end: fewer than a fifth of the events began a new read,
  and the first and the last token are less than 2 % of the latency apart. Something on the way holds the reply back.
  It has no ITL, TPOT or decode rate, and a note counts such replies.
duration | From the first t_send to the last t_end of the measured requests. In benchmark it is the measured window.
cold | A cold request sends a prompt for the first time: in the first rotation of benchmark, in the first round of replay,
  or as the first use of a prompt in load.
warm | A warm request sends a prompt that was sent before: in a later rotation, in a later round, or as a repeat.
kv_cache | The verdict on the prefix cache that benchmark, replay, run and load end with: working, partly working, not
  helping (off or too small) or not known, and what it is based on.
rotation | One round of benchmark through all of its contexts.
client_limited | The client was so late that its delays are in the figures: threads woke late, the CPU was full, or the process
  was stopped. Other reports say client: ok.
percentile | In a run that has an end it is exact: linear interpolation between the closest ranks (type 7). In an endless
  run, in benchmark's blocks and for gaps it comes from a histogram: nearest rank, at most 0.1 % too high. The maximum
  is always exact.
independent_unit | A stretch of a round of replay that lasts ten mean latencies; there are at most as many as sessions.
  Requests that are closer together wait in the same queue, so two of them tell little more than one. With fewer than
  twenty units a comparison has no interval. Otherwise the sessions, in the order of their sends, are cut into twenty
  batches, and the interval is that of their sums (Student's t), widened where neighbouring batches are correlated.
closed_loop | A load with a fixed number of requests in flight: the next one is sent when one has ended (--concurrency).
open_loop | A load whose requests are sent at scheduled times, whether or not earlier ones have ended (--rate,
  --trace). Its times are measured from t_due, so that a stalled server cannot hide how long later requests waited.
";

/// A word that definitions and formulas of figures use.
pub struct Term {
    pub name: &'static str,
    pub definition: String,
}

/// Returns all terms in the order in which they are explained.
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

/// Names that guides, tables and other tools give to a figure, in lower case, each with the figure's key in the
/// catalogue.
const OTHER_NAMES: [(&str, &str); 57] = [
    ("achieved concurrency", "concurrency_mean"),
    ("kv cache use", "kv_cache_use_peak"),
    ("steady window", "steady_duration_s"),
    ("time to answer", "time_to_answer"),
    ("first answer token", "time_to_answer"),
    ("token gap", "gap"),
    ("chunk gap", "gap"),
    ("output_throughput", "throughput_tokens_per_s"),
    ("hit_rate", "prefix_cache_hit_rate"),
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
    ("output throughput", "throughput_tokens_per_s"),
    ("token throughput", "throughput_tokens_per_s"),
    ("throughput", "throughput_tokens_per_s"),
    ("request throughput", "request_throughput_rps"),
    ("cache hit rate", "response_cache_hit_rate"),
    ("hit rate", "prefix_cache_hit_rate"),
    ("goodput", "goodput_rps"),
    ("average input tokens", "input_tokens_mean"),
    ("average output tokens", "output_tokens_mean"),
    ("tokens per request", "output_tokens_mean"),
    ("prompt_tokens_mean", "input_tokens_mean"),
    ("requests meeting slo", "goodput_requests_percent"),
    ("request_goodput", "goodput_rps"),
    ("tokens meeting slo", "goodput_tokens_percent"),
    ("goodput token throughput", "goodput_tokens_per_s"),
    ("in flight", "concurrency_mean"),
    ("running / waiting requests", "running_requests_mean"),
    ("hit rate by tier", "device_hit_rate"),
    ("lmcache_hit_rate", "avg_prefix_hit_rate"),
    (
        "requests processed in last 5 second interval",
        "successful_requests",
    ),
    ("requests cut at the end", "cut_requests"),
    ("requests_cut", "cut_requests"),
    ("elapsed_s", "duration_s"),
    ("output_tokens_per_s", "throughput_tokens_per_s"),
    ("tokens/s", "throughput_tokens_per_s"),
    ("req/s", "request_throughput_rps"),
    ("errors", "error_rate"),
    ("rate", "offered_rate_per_s"),
    ("the same by usage", "prefix_cache_hit_rate"),
    ("speed_up", "cold_warm_ttft_ratio"),
    ("speed-up of ttft", "cold_warm_ttft_ratio"),
    ("hit_share", "prefix_cache_hit_rate"),
];

/// Returns the catalogue's key of the figure that a guide, a table or another tool calls `name`, in lower case.
pub fn other_name(name: &str) -> Option<&'static str> {
    let found = OTHER_NAMES.iter().find(|(other, _)| *other == name);
    found.map(|(_, key)| *key)
}

#[cfg(test)]
mod tests {
    use super::super::catalog;
    use super::*;

    #[test]
    fn terms_are_sentences_with_unique_names() {
        for Term { name, definition } in terms() {
            assert!(definition.ends_with('.'), "{name}");
            assert!(!definition.contains(" | ") && !name.contains(' '), "{name}");
            assert!(catalog::find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn other_names_lead_to_a_figure_and_are_no_keys_of_the_catalogue() {
        for (name, key) in OTHER_NAMES {
            assert!(catalog::find(key).is_some(), "{name}: {key}");
            assert!(catalog::find(name).is_none(), "{name}");
            assert_eq!(name, name.to_lowercase());
        }
    }
}
