//! The table of all figures: key, label, unit, source, reason for absence, definition, formula in stamps.
//!
//! JSON keys, table labels, `--fail-if`, `explain` and the lists of figures that are not reported read this table.
//! Where a guide has a key or a label of its own, the layout of that report has an alias.

use std::sync::LazyLock;

use super::facts::Told;
use super::goodput::Goodput;
use super::pass::Pass;
use super::spread::Spread;
use super::time::Time;

/// The definition of a figure of a pass.
pub struct Definition {
    /// The key in JSON. A spread has a key for each statistic, such as `ttft_p50_ms`.
    pub key: &'static str,
    pub label: &'static str,
    pub unit: &'static str,
    /// The source of the figure, and the reason for its absence when it is absent.
    pub source: &'static str,
    pub absent: &'static str,
    /// The definition in one or more sentences.
    pub definition: String,
    pub formula: &'static str,
}

/// Each figure has one line with its key, label, unit, source and the reason for its absence, followed by indented
/// lines with its definition and, after `=`, its formula.
const TEXT: &str = "\
ttft | TTFT | ms | requests | no request succeeded with a streamed reply
  Time to first token, reasoning included; in an open loop it counts from the scheduled time.
  = t_first - t_send, or t_first - t_due in an open loop
time_to_answer | Time to first answer token | ms | requests | no reply had reasoning before its answer, so it would be TTFT
  Time to the first token of the answer, after any reasoning; in an open loop it counts from the scheduled time. A reply
  that ended while it reasoned has none.
  = t_answer - t_send, or t_answer - t_due in an open loop
itl | ITL | ms | requests | no reply had two tokens that were read apart
  Inter-token latency of a request, also called TBT: the mean time from one output token to the next.
  = (t_last - t_first) / (n_streamed - 1)
latency | Latency | ms | requests | no request succeeded
  Time to the last token, or to the end of a reply that was not streamed; in an open loop it counts from the
  scheduled time.
  = t_last - t_send, or t_last - t_due in an open loop
gap | Gap | ms | requests | no reply had two token events, or the samples were written without gaps
  Time between adjacent token events: a token gap where there are at least nine tenths as many events as tokens, else a
  chunk gap. Events that share a read have gap 0. Percentiles come from a histogram, at most 0.1 % too high.
  = t_event[k + 1] - t_event[k]
lateness | Lateness | ms | requests | a closed loop has none
  How late this client sent a request.
  = t_send - t_due
ttft_from_sent | TTFT from the send | ms | requests | a closed loop has none
  TTFT in an open loop, counted from the send.
  = t_first - t_send
latency_from_sent | Latency from the send | ms | requests | a closed loop has none
  Latency in an open loop, counted from the send.
  = t_last - t_send
tpot_ms | TPOT | ms | requests | no reply had two tokens that were read apart
  Time per output token: the mean ITL over requests.
  = mean of ITL
tpot_with_first_ms | TPOT with first token avg (ms) | ms | requests | no reply has a count of output tokens
  Latency per output token, as the files of run define it: the first token, and so the TTFT, is included.
  = mean of (t_last - t_send) / n_out
request_tokens_per_s | A request's tokens/s, avg | tokens/s | requests | no reply has a count of output tokens
  Output tokens per second of a request, averaged over requests.
  = mean of n_out / (t_last - t_send)
prefill_tokens_per_s | Prefill throughput | tokens/s | requests | no streamed reply has a count of prompt tokens
  Prompt tokens per second of TTFT, averaged over requests. TTFT includes queueing.
  = mean of prompt_tokens / TTFT
decode_tokens_per_s | Decode throughput | tokens/s | requests | no reply had two tokens that were read apart
  Output tokens per second after the first token, averaged over requests.
  = mean of (n_streamed - 1) / (t_last - t_first)
decode_tokens_per_s_weighted | Decode throughput, token-weighted | tokens/s | requests | no reply had two tokens that were read apart
  Output tokens per second after the first token, weighted by tokens.
  = sum of (n_streamed - 1) / sum of (t_last - t_first)
throughput_tokens_per_s | Output tokens/s | tokens/s | requests | no reply has a count of output tokens
  Output tokens of successes over the duration. In benchmark it is the tokens that came within the window: a request
  that was cut, or that began in the warm-up, counts with the token events that it had in the window, each worth n_out
  over its events (for a request that was cut, the run's mean). Without gaps in the samples, events count as evenly spread.
  = sum of n_out / duration
request_throughput_rps | Requests/s | requests/s | requests | the pass has no duration
  Successes over the duration.
  = successes / duration
steady_duration_s | Steady window | s | requests | an open loop, benchmark, or no two mean times in flight with enough requests
  The longest span of a closed loop with at least 95 % of the wanted requests in flight. A pause of at most a twentieth of
  a request's mean time in flight, such as that from an end to the next send, does not end it. It lasts at least two mean
  times in flight.
  = longest time with requests in flight >= 0.95 x --concurrency
steady_throughput_tokens_per_s | Output tokens/s, steady window | tokens/s | requests | no steady window, or no reply has a count of output tokens
  Output tokens that came in the steady window, per second. Of a request that crosses an edge the token events in the
  window count, as evenly spread; those of a request that was cut have the run's mean of tokens.
  = tokens of events in the window / steady_duration_s
steady_request_throughput_rps | Requests/s, steady window | requests/s | requests | no steady window
  Successes per second in the steady window. One that crosses an edge counts with the share of its time in flight that
  lies in the window.
  = successes in the window / steady_duration_s
duration_s | Duration | s | requests | no request was measured
  From the first send to the last end of the measured requests; in benchmark the measured window.
  = last t_end - first t_send
prefix_cache_hit_rate | Prefix cache hit rate | share | usage of the replies | no reply reported cached tokens
  Prompt tokens that the server reported as cached, over all prompt tokens of successes.
  = sum of cached_tokens / sum of prompt_tokens
counter_hit_rate | Prefix cache hit rate by counters | share | the server's counters | the server's page of metrics was not read
  The prefix cache hit rate by the counters on the server's page of metrics, for all of its clients.
  = counter_hit_tokens / counter_prompt_tokens
cold_warm_ttft_ratio | Cold TTFT / Warm TTFT | ratio | requests | no whole warm rotation has ended, or the command is not benchmark
  Median TTFT of cold requests over that of warm ones at like load, with its 95 % interval. The burst of cold requests
  at the start is left out: the first ones, as many as are in flight at once, and those sent before all of these had
  their first token. Warm requests sent while a cold one was in flight are left out, and so are the next ones, as many
  as are in flight at once. The interval needs twenty requests on each side, and two for each request in flight.
  = median of cold TTFT / median of warm TTFT
first_turn_hit_rate | Prefix cache hit rate of first turns | share | usage of the replies | no session has a second turn, or no reply reported cached tokens
  The prefix cache hit rate over first turns alone.
  = as prefix_cache_hit_rate
response_cache_hit_rate | Response cache hit rate | share | cached of the replies | no reply said whether it was cached as a whole
  Replies that the server took whole from a cache of responses, over successes.
  = replies with cached: true / successes
perfect_prefix_cache_hit_rate | Perfect prefix cache hit rate | share | the plan and usage of the replies | the prompts come from a dataset, or the command is not load
  The prefix cache hit rate that a cache of unlimited size would have had. Prompts have the length that the server
  counted, template included, or the planned length if it counted none.
  = from the prompts that were sent
perfect_response_cache_hit_rate | Perfect response cache hit rate | share | the plan | the load comes from a trace, or the command is not load
  The response cache hit rate that a cache of unlimited size would have had.
  = repeats / requests
error_rate | Error rate | share | requests | no request was measured
  Failures over successes and failures.
  = failed / (succeeded + failed)
input_tokens_mean | Prompt tokens, mean | tokens | requests | no reply has a count of prompt tokens
  Mean prompt tokens of the successes that have a count.
  = mean of prompt_tokens
output_tokens_mean | Output tokens, mean | tokens | requests | no reply has a count of output tokens
  Mean output tokens of the successes that have a count.
  = mean of n_out
concurrency_mean | Concurrency, mean | requests | requests | no request was measured
  Requests in flight, averaged over the measured span.
  = sum of time in flight / span
connect_share | Connection set-up | share | requests | no request succeeded with a streamed reply
  Connection set-up as a share of all TTFT.
  = sum of connect / sum of TTFT
gaps_in_one_read_share | Gaps in one read | share | requests | no reply had two token events, or the samples were written without gaps
  Gaps of events that came in one read, over all gaps.
  = gaps of 0 / gaps
offered_rate_per_s | Rate asked for | requests/s | the plan | a closed loop or a trace has none
  The rate of requests that the user asked for.
  = --rate
scheduled_rate_per_s | Rate offered | requests/s | requests | a closed loop has none
  The rate at which requests were scheduled.
  = (n - 1) / (last t_due - first t_due)
achieved_rate_per_s | Rate achieved | requests/s | requests | fewer than two requests were sent
  The rate at which requests were sent.
  = (n - 1) / (last t_send - first t_send)
overloaded | Overload | 0 or 1 | requests | a closed loop, fewer than 100 requests, or an endless run
  1 if an open loop ran away: requests came faster than the server ended them. Both numbers are above 3 / the root of
  the number of requests, and one of them is above 0.5.
  = backlog_share and latency_growth
backlog_share | Backlog | share | requests | a closed loop, fewer than 100 requests, or an endless run
  Requests of an open loop that had not ended at the last scheduled time, over all but those that the latency of the
  first tenth explains.
  = 1 - ended / (requests - rate x first latency)
latency_growth | Latency growth | share | requests | a closed loop, fewer than 100 requests, or an endless run
  Growth of the mean latency of an open loop from the first half of its requests to the second, failures included; 0 if
  it fell.
  = (second half - first half) / first half
total_requests | Requests | requests | requests | never
  Requests that were measured: successes and failures.
  = succeeded + failed
successful_requests | Succeeded | requests | requests | never
  Measured requests that succeeded.
  = status 2xx, no error, an end
failed_requests | Failed | requests | requests | never
  Measured requests that failed. They enter no figure of times or tokens.
  = requests with a kind of failure (help errors)
cut_requests | Cut at the end | requests | requests | never
  Requests that were in flight when the run was ended: neither successes nor failures.
  = phase = cut
sent_requests | Sent | requests | requests | never
  Successes, failures and requests that were cut.
  = succeeded + failed + cut
planned_requests | Planned | requests | the plan | the run has a duration, not a number of requests
  Requests that the run was asked to send.
  = --requests
not_sent_requests | Not sent | requests | requests | never
  Planned requests that were not sent because the run ended early.
  = planned - sent
turns_not_sent | Turns not sent | requests | requests | never
  Turns that were not sent because an earlier turn of their session had failed.
  = turns of the session - turns sent
warmup_requests | Warm-up | requests | requests | never
  Requests of the warm-up. No other figure counts them.
  = phase = warmup
requests_not_streamed | Not streamed | requests | requests | never
  Successes whose reply was not streamed. They have no TTFT and no ITL.
  = replies without t_first
stale_connections | Stale connections | requests | requests | never
  Requests that were sent again because the server had closed the connection that they reused.
  = resent = true
concurrency_peak | At once, at most | requests | requests | never
  The most requests in flight at once.
  = highest count of requests between send and end
exhausted_requests | Pool exhausted | requests | requests | a closed loop has none
  Requests of an open loop that found no idle worker when they were due.
  = requests sent late because no worker was idle
goodput_requests | Goodput | requests | requests | no SLO was given
  Requests that met every limit of the SLO.
  = requests strictly below each limit
goodput_of_requests | Goodput of requests | requests | requests | no SLO was given
  All requests that could have met the SLO: goodput is a share of them.
  = succeeded + failed + turns not sent
goodput_requests_percent | Goodput requests (%) | % | requests | no SLO was given
  Requests that met the SLO, as a percentage of all that could have met it.
  = goodput_requests / goodput_of_requests
goodput_rps | Goodput requests/s | requests/s | requests | no SLO was given
  Requests that met the SLO, per second.
  = goodput_requests / duration
goodput_tokens | Goodput tokens | tokens | requests | no SLO was given
  Output tokens of requests that met the SLO.
  = sum of n_out
goodput_of_tokens | Goodput of tokens | tokens | requests | no SLO was given
  All output tokens of measured requests: goodput of tokens is a share of them.
  = sum of n_out of successes and failures
goodput_tokens_percent | Goodput tokens (%) | % | requests | no SLO was given
  Output tokens of requests that met the SLO, as a percentage of those of all measured requests.
  = goodput_tokens / goodput_of_tokens
goodput_tokens_per_s | Goodput tokens/s | tokens/s | requests | no SLO was given
  Output tokens of requests that met the SLO, per second.
  = goodput_tokens / duration
peak_mem_mb | Memory peak (MiB) | MiB | the server or the system | neither the server nor the system reports it
  The largest resident set of the server during the pass.
  = as the server or the system reports it
avg_mem_mb | Memory avg (MiB) | MiB | the server or the system | neither the server nor the system reports it
  The mean resident set of the server during the pass.
  = as the server or the system reports it
total_kv_used_tokens | KV cache used, peak (tokens) | tokens | the server or the system | neither the server nor the system reports it
  The most tokens that the KV cache held during the pass.
  = as the server or the system reports it
kv_used_bytes | KV cache used, peak (MiB) | bytes | the server or the system | neither the server nor the system reports it
  The most bytes that the KV cache held during the pass.
  = as the server or the system reports it
avg_prefix_hit_rate | Prefix cache hit rate | share | the server or the system | neither the server nor the system reports it
  The prefix cache hit rate by the server's own counters, else by usage.
  = as the server or the system reports it
total_evict_count | Evictions | blocks | the server or the system | neither the server nor the system reports it
  Blocks that the KV cache evicted during the pass.
  = as the server or the system reports it
evict_ms | Eviction time (ms) | ms | the server or the system | neither the server nor the system reports it
  Time that evictions took during the pass.
  = as the server or the system reports it
avg_spec_accept_rate | Speculative accept rate | share | the server or the system | neither the server nor the system reports it
  The share of the draft tokens of speculative decoding that was accepted.
  = as the server or the system reports it
total_preemption_count | Preemptions | requests | the server or the system | neither the server nor the system reports it
  Requests that the server preempted during the pass.
  = as the server or the system reports it
counter_hit_tokens | Cached prompt tokens by counters | tokens | the server or the system | neither the server nor the system reports it
  Prompt tokens that the server's counters say were found in its caches during the pass, for all of its clients.
  = last reading - first reading
counter_prompt_tokens | Prompt tokens by counters | tokens | the server or the system | neither the server nor the system reports it
  Prompt tokens that the server's counters say were looked up during the pass, for all of its clients.
  = last reading - first reading
device_hit_rate | Hit rate, device tier | share | the server or the system | neither the server nor the system reports it
  Prompt tokens found in the accelerator's memory, over all prompt tokens, by the server's counters.
  = hits of the tier / prompt tokens
host_hit_rate | Hit rate, host tier | share | the server or the system | neither the server nor the system reports it
  Prompt tokens found in the host's memory, over all prompt tokens, by the server's counters.
  = hits of the tier / prompt tokens
remote_hit_rate | Hit rate, remote tier | share | the server or the system | neither the server nor the system reports it
  Prompt tokens found beyond device and host, on a disk or another machine, over all prompt tokens, by the server's
  counters. Older vLLM counts all that its KV connector gives here, host memory included.
  = hits of the tier / prompt tokens
kv_cache_use_peak | KV cache use, peak | share | the server or the system | neither the server nor the system reports it
  The largest share of the KV cache that was in use during the pass.
  = highest reading
running_requests_mean | Running requests, mean | requests | the server or the system | neither the server nor the system reports it
  Requests that the server worked on, averaged over the readings while requests were in flight.
  = mean of readings
running_requests_peak | Running requests, peak | requests | the server or the system | neither the server nor the system reports it
  The most requests that the server worked on at once.
  = highest reading
waiting_requests_mean | Waiting requests, mean | requests | the server or the system | neither the server nor the system reports it
  Requests that waited in the server, averaged over the readings while requests were in flight.
  = mean of readings
waiting_requests_peak | Waiting requests, peak | requests | the server or the system | neither the server nor the system reports it
  The most requests that waited in the server at once.
  = highest reading
";

/// The source of the perfect prefix cache hit rate if no reply has a count of prompt tokens.
const BY_PLAN: &str = "the plan: no reply counts its prompt";
/// The source of figures that cannot be worked out from requests.
const SERVER: &str = "the server or the system";

pub static FIGURES: LazyLock<Vec<Definition>> = LazyLock::new(|| {
    let mut figures: Vec<Definition> = Vec::new();
    for line in TEXT.lines() {
        let (Some(text), Some(figure)) = (line.strip_prefix("  "), figures.last_mut()) else {
            figures.push(Definition::headed(line));
            continue;
        };
        match text.strip_prefix("= ") {
            Some(formula) => figure.formula = formula,
            None if figure.definition.is_empty() => figure.definition = text.to_string(),
            None => figure.definition.extend([" ", text]),
        }
    }
    figures
});

impl Definition {
    /// Returns the facts shown below the definition, each as a name and its text.
    pub fn facts(&self) -> [(&'static str, &'static str); 3] {
        [
            ("Formula", self.formula),
            ("Source", self.source),
            ("Absent when", self.absent),
        ]
    }

    /// Whether the figure has a value for each statistic, in milliseconds. A single time has its unit in its key.
    fn is_spread(&self) -> bool {
        self.unit == "ms" && !self.key.ends_with("_ms")
    }

    /// Makes a figure from its first line, without the definition and the formula that follow it.
    fn headed(line: &'static str) -> Definition {
        let mut parts = line.split(" | ");
        let mut part = || parts.next().unwrap_or_default();
        Definition {
            key: part(),
            label: part(),
            unit: part(),
            source: part(),
            absent: part(),
            definition: String::new(),
            formula: "",
        }
    }
}

/// The value of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Datum {
    Count(u64),
    Number(f64),
}

impl Datum {
    pub fn as_f64(self) -> f64 {
        match self {
            Datum::Count(n) => n as f64,
            Datum::Number(value) => value,
        }
    }
}

impl From<Datum> for serde_json::Value {
    fn from(datum: Datum) -> serde_json::Value {
        match datum {
            Datum::Count(n) => n.into(),
            Datum::Number(value) => value.into(),
        }
    }
}

/// A way to read a figure from a pass.
enum Reading {
    Times(Option<Spread>),
    Number(Option<f64>),
    Count(Option<u64>),
    /// The server or the system reports the value.
    Told,
}

fn read(pass: &Pass, key: &str) -> Reading {
    use Reading::{Count, Number, Times};
    let (of, facts) = (&pass.figures, &pass.facts);
    let open = |time| of.time(time).filter(|_| of.is_open);
    match key {
        "ttft" => Times(of.time(Time::Ttft)),
        "itl" => Times(of.time(Time::Itl)),
        "latency" => Times(of.time(Time::Latency)),
        "time_to_answer" => Times(of.time_to_answer),
        "gap" => Times(of.gap),
        "lateness" => Times(of.time(Time::Lateness)),
        "ttft_from_sent" => Times(open(Time::TtftFromSent)),
        "latency_from_sent" => Times(open(Time::LatencyFromSent)),
        "tpot_ms" => Number(of.time(Time::Itl).map(|itl| itl.avg)),
        "tpot_with_first_ms" => Number(of.tpot_with_first_ms),
        "request_tokens_per_s" => Number(of.request_tokens_per_s),
        "prefill_tokens_per_s" => Number(of.means.prefill_tokens_per_s.get()),
        "decode_tokens_per_s" => Number(of.means.decode_tokens_per_s.get()),
        "decode_tokens_per_s_weighted" => Number(of.decode_tokens_per_s_weighted),
        "throughput_tokens_per_s" => Number(of.token_throughput),
        "request_throughput_rps" => Number(of.request_throughput),
        "steady_duration_s" => Number(of.steady.map(|of| of.duration_s)),
        "steady_throughput_tokens_per_s" => Number(of.steady.and_then(|of| of.tokens_per_s)),
        "steady_request_throughput_rps" => Number(of.steady.map(|of| of.requests_per_s)),
        "duration_s" => Number(Some(of.duration_s)),
        "prefix_cache_hit_rate" => Number(of.all.prefix_cache_hit_rate),
        COUNTER_HIT_RATE => Number(facts.told.get(HIT_RATE).and_then(|told| told.value)),
        "cold_warm_ttft_ratio" => Number(of.reuse.ratio()),
        "first_turn_hit_rate" => Number(of.first_turn_hit_rate),
        "response_cache_hit_rate" => Number(of.response_cache_hit_rate),
        "perfect_prefix_cache_hit_rate" => Number(facts.perfect_prefix_rate),
        "perfect_response_cache_hit_rate" => Number(facts.perfect_response_rate),
        "error_rate" => Number(of.error_rate()),
        "input_tokens_mean" => Number(of.prompt_tokens.mean()),
        "output_tokens_mean" => Number(of.output_tokens.mean()),
        "concurrency_mean" => Number(of.concurrency_mean),
        "connect_share" => Number(of.connect_share),
        "gaps_in_one_read_share" => Number(of.gaps_in_one_read_share),
        "offered_rate_per_s" => Number(facts.rate_per_s),
        "scheduled_rate_per_s" => Number(of.scheduled_per_s),
        "achieved_rate_per_s" => Number(of.achieved_per_s),
        "overloaded" => Count(of.overload.map(|of| u64::from(of.is_overloaded()))),
        "backlog_share" => Number(of.overload.map(|of| of.backlog)),
        "latency_growth" => Number(of.overload.map(|of| of.growth)),
        "total_requests" => Count(Some(of.requests)),
        "successful_requests" => Count(Some(of.successful)),
        "failed_requests" => Count(Some(of.failed)),
        "cut_requests" => Count(Some(of.cut)),
        "sent_requests" => Count(Some(of.requests + of.cut)),
        "planned_requests" => Count(facts.planned),
        "not_sent_requests" => Count(Some(facts.not_sent)),
        "turns_not_sent" => Count(Some(facts.turns_not_sent)),
        "warmup_requests" => Count(Some(of.warmup)),
        "requests_not_streamed" => Count(Some(of.not_streamed)),
        "stale_connections" => Count(Some(of.stale_connections)),
        "concurrency_peak" => Count(Some(facts.concurrency_peak)),
        "exhausted_requests" => Count(facts.exhausted),
        _ => read_goodput(of.goodput.as_ref(), key),
    }
}

fn read_goodput(goodput: Option<&Goodput>, key: &str) -> Reading {
    use Reading::{Count, Number, Told};
    match key {
        "goodput_requests" => Count(goodput.map(|of| of.requests)),
        "goodput_of_requests" => Count(goodput.map(|of| of.of_requests)),
        "goodput_requests_percent" => Number(percent(goodput.and_then(Goodput::requests_share))),
        "goodput_rps" => Number(goodput.and_then(|of| of.requests_per_s)),
        "goodput_tokens" => Count(goodput.and_then(|of| of.tokens)),
        "goodput_of_tokens" => Count(goodput.and_then(|of| of.of_tokens)),
        "goodput_tokens_percent" => Number(percent(goodput.and_then(Goodput::tokens_share))),
        "goodput_tokens_per_s" => Number(goodput.and_then(|of| of.tokens_per_s)),
        _ => Told,
    }
}

fn percent(share: Option<f64>) -> Option<f64> {
    share.map(|share| share * 100.0)
}

/// A figure of the catalogue and, where its key names one, the statistic of its spread.
pub struct Figure {
    pub definition: &'static Definition,
    statistic: Option<Statistic>,
}

type Statistic = fn(&Spread) -> f64;

/// The statistics of a spread, each with the name that it has in keys.
const STATISTICS: [(&str, Statistic); 7] = [
    ("avg", |spread| spread.avg),
    ("p50", |spread| spread.p50),
    ("p90", |spread| spread.p90),
    ("p95", |spread| spread.p95),
    ("p99", |spread| spread.p99),
    ("min", |spread| spread.min),
    ("max", |spread| spread.max),
];

fn definition(key: &str) -> Option<&'static Definition> {
    FIGURES.iter().find(|figure| figure.key == key)
}

/// Returns the figure of a key such as `error_rate`, `ttft` or `ttft_p50_ms`; `None` if no figure has this key.
pub fn find(key: &str) -> Option<Figure> {
    if let Some(definition) = definition(key) {
        let statistic = None;
        return Some(Figure {
            definition,
            statistic,
        });
    }
    let (stem, name) = key.strip_suffix("_ms")?.rsplit_once('_')?;
    let (_, statistic) = STATISTICS.iter().find(|(known, _)| *known == name)?;
    Some(Figure {
        definition: definition(stem).filter(|definition| definition.is_spread())?,
        statistic: Some(*statistic),
    })
}

impl Figure {
    /// Whether the key names one value: of a spread it has to name the statistic.
    pub fn is_value(&self) -> bool {
        self.statistic.is_some() || !self.definition.is_spread()
    }

    /// Returns the value of the figure; `None` if it is absent.
    pub fn of(&self, pass: &Pass) -> Option<Datum> {
        let Definition { key, unit, .. } = self.definition;
        match read(pass, key) {
            Reading::Times(spread) => Some(Datum::Number((self.statistic?)(&spread?))),
            Reading::Number(number) => number.map(Datum::Number),
            Reading::Count(count) => count.map(Datum::Count),
            Reading::Told => {
                let value = told(pass, key).value?;
                let is_count = matches!(*unit, "tokens" | "bytes" | "blocks" | "requests");
                let is_whole = is_count && !key.ends_with("_mean");
                Some(match is_whole && value >= 0.0 {
                    true => Datum::Count(value.round() as u64),
                    false => Datum::Number(value),
                })
            }
        }
    }

    /// Returns the source of the figure, or that it is not reported and why.
    pub fn source(&self, pass: &Pass) -> String {
        match self.of(pass) {
            None => format!("not reported: {}", self.source_or_why(pass)),
            Some(_) => self.source_or_why(pass),
        }
    }

    /// Returns the source of the figure, or why it is absent.
    pub fn source_or_why(&self, pass: &Pass) -> String {
        let Definition {
            key,
            source,
            absent,
            ..
        } = self.definition;
        let of_counters = pass.facts.told.get(HIT_RATE);
        match (read(pass, key), *key) {
            (Reading::Told, key) => told(pass, key).source,
            (_, COUNTER_HIT_RATE) if of_counters.is_some() => {
                of_counters.map_or(String::new(), |told| told.source.clone())
            }
            _ if self.of(pass).is_none() => absent.to_string(),
            (_, "perfect_prefix_cache_hit_rate") if pass.facts.perfect_prefix_by_plan => {
                BY_PLAN.to_string()
            }
            _ => source.to_string(),
        }
    }
}

/// Returns the value of a key of the catalogue; `None` if the figure is absent.
pub fn value(pass: &Pass, key: &str) -> Option<Datum> {
    find(key)?.of(pass)
}

/// Returns the figures that the server or the system reports, in the order of the catalogue.
pub fn told_figures() -> impl Iterator<Item = &'static Definition> {
    FIGURES.iter().filter(|figure| figure.source == SERVER)
}

/// The key of the prefix cache hit rate by the server's own counters; `usage` gives the rate if there are none.
pub const HIT_RATE: &str = "avg_prefix_hit_rate";
/// The key of the rate by counters alone, which stays absent where the server tells none.
pub const COUNTER_HIT_RATE: &str = "counter_hit_rate";

/// Returns a figure that the server or the system reports, or the reason for its absence.
pub fn told(pass: &Pass, key: &str) -> Told {
    let told = pass.facts.told.get(key).cloned();
    let told = told.unwrap_or_else(|| Told::absent(NOT_IN_INPUT));
    match pass.figures.all.prefix_cache_hit_rate {
        Some(usage) if told.value.is_none() && key == HIT_RATE => {
            Told::new(usage, "usage of the replies")
        }
        _ => told,
    }
}

/// The source of a figure that the input does not contain.
pub const NOT_IN_INPUT: &str = "not in the input";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::facts::Facts;
    use crate::stats::records::Records;

    #[test]
    fn keys_are_unique_and_every_definition_is_complete() {
        for (at, figure) in FIGURES.iter().enumerate() {
            let is_twice = FIGURES[..at].iter().any(|other| other.key == figure.key);
            assert!(!is_twice, "the key {} is in the table twice", figure.key);
            for text in [
                figure.label,
                figure.unit,
                &figure.definition,
                figure.formula,
            ] {
                assert!(!text.is_empty(), "{}", figure.key);
            }
            assert!(figure.definition.ends_with('.'), "{}", figure.key);
            let pass = Pass::new(Facts::default(), Records::kept());
            let is_told = matches!(read(&pass, figure.key), Reading::Told);
            assert_eq!(is_told, figure.source == SERVER, "{}", figure.key);
        }
    }

    #[test]
    fn a_key_names_a_figure_or_a_statistic_of_a_spread() {
        for key in [
            "error_rate",
            "tpot_ms",
            "ttft_p50_ms",
            "latency_from_sent_p99_ms",
            "evict_ms",
        ] {
            assert!(find(key).is_some(), "{key}");
        }
        for key in ["ttft_p50", "ttft_p51_ms", "tpot_avg_ms", ""] {
            assert!(find(key).is_none(), "{key}");
        }
    }
}
