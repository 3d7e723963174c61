//! The one flag table: help, parsing and "did you mean" all read it.

use super::usage::Usage;
use crate::error::distance;

/// Returns the next step of an error about a name, if a known name is near.
pub fn did_you_mean<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    nearest(typed, names).map(|near| format!("Did you mean {near}?"))
}

/// The known name nearest to what was typed, if any is near.
pub fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (distance(typed, name), name))
        .filter(|(distance, name)| *distance <= name.len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

const ENDPOINT: &str = "\
    Connection
    --endpoint URL                  server, such as http://localhost:8000; a path /v1/chat/completions picks the API
";

const KEY_AND_MODEL: &str = "\
    --api-key KEY                   (secret) sent as a bearer token; else TMESH_API_KEY, and for https or loopback \
                                    OPENAI_API_KEY
    --api-key-file FILE             reads the key from a file
    --model NAME                    model to ask for, instead of discovery by /v1/models
";

const API: &str = "\
    --api NAME                      completions or chat [by path]
";

/// The value of `--proxy` may contain a password, so the option is secret.
const TRANSPORT: &str = "\
    --timeout DURATION              a whole request, from its send [300s]
    --first-token-timeout DURATION  until the first token, from the send [--timeout]
    --idle-timeout DURATION         between two reads after the first token [120s]
    --header 'NAME: VALUE'          (repeats, secret) sent with every request; may be repeated
    --extra-body JSON               an object whose keys go into every request body
    --cacert FILE                   trusts only the certificates of this PEM file
    --insecure                      accepts any certificate
    --plain-http                    speaks http to an https URL
    --proxy env                     (secret) uses the proxy that ALL_PROXY, HTTPS_PROXY or HTTP_PROXY names; \
                                    without it, no proxy is used
";

const COUNTERS: &str = "\
    --metrics-url URL               the server's page of metrics, read before, once a second and after; off leaves it \
                                    alone [/metrics beside the endpoint, if it answers]
";

const MOCK_SERVER: &str = "\
    --backend mock                  instead of --endpoint: a mock server in this process
    --mock 'NAME=VALUE,…'           options of that mock: see tmesh-cli mock --help
";

/// The connection options of `load`, which has a default endpoint and one more API.
const LOAD_ENDPOINT: &str = "\
    Connection
    --endpoint URL                  server, such as http://localhost:8000; a path picks the API \
                                    [http://localhost:8000/generate]
";

const LOAD_API: &str = "\
    --api NAME                      completions, chat or generate, which is {prompt, max_tokens, temperature} \
                                    [by path]
";

/// The lengths and the source of prompts that are sent once each.
const LENGTHS: &str = "\
    Prompts and answers
    --max-tokens N                  tokens asked for in an answer [100]
    --output-tokens LENGTH          tokens of an answer, drawn for each prompt: N, A:B (uniform) or normal:MEAN,DEVIATION
    --input-tokens LENGTH           tokens of a prompt, in the same forms [128]
    --shared-prefix-tokens N        tokens that all prompts of a group begin with
    --groups N                      number of these groups [1]
    --dataset FILE                  records of one question each, as replay reads them, instead of made prompts
    --seed N                        decides texts, lengths, repeats and arrivals [0]
    --nonce TEXT                    makes the prompts new; give an old one for a warm start [random]
";

/// Repeats of an experiment.
const REPEATS: &str = "\
    --repeat-ratio X                share of the requests that repeat an earlier prompt [0]
";

const SAMPLES: &str = "\
    --samples FILE                  one JSON line a request, as it ends, and one a second on the client itself; - is \
                                    stdout, without the report
";

/// One of several processes that send one run.
const SHARD: &str = "\
    Several machines
    --shard I/N                     sends one of N parts of the run, I from 0; auto asks the launcher: see tmesh-cli \
                                    help scale
    --shards N                      N, where the launcher does not tell it [TMESH_SHARDS]
    --start-at TIME                 sends the first request then: RFC 3339, or seconds since 1970
";

const QUIET: &str = "\
    --quiet                         leaves stderr to warnings and errors
";

pub static BENCHMARK: Usage = Usage {
    name: "benchmark",
    operand: "",
    about: "Cycles through long contexts and shows how much the KV cache helps",
    options: &[
        ENDPOINT,
        KEY_AND_MODEL,
        API,
        TRANSPORT,
        COUNTERS,
        MOCK_SERVER,
        SHARD,
        "\
    Workload
    --offload-size GB               size of the KV offload buffer that the contexts fill [by model]
    --input-length TOKENS           tokens of a context [32000]
    --output-length TOKENS          tokens asked for in an answer [100]
    --contexts N                    number of contexts; no sizing is needed then [by size]
    --questions N                   questions to draw from [contexts]
    --max-inflight N                requests in flight at once [contexts/3]
    --model-configs FILE            entries that override and extend the built-in model table
    --bytes-per-token N             KV cache bytes of a token, for a model that has no entry
    --hf-config FILE                computes these bytes from a Hugging Face config.json
    --kv-dtype-bytes N              bytes of a KV element, with --hf-config [2]
    --seed N                        decides texts and questions [0]
    --nonce TEXT                    makes the contexts new; give an old one for a warm start [random]

    Run and output
    --duration DURATION             ends the run after this time; requests in flight are cut
    --requests N                    ends the run after N requests
    --rotations N                   ends the run after N rounds through all contexts
    --warmup-seconds S              leaves requests sent in the first S seconds out of every figure [0]
    --interval DURATION             time between two blocks [5s]
    --samples FILE                  one JSON line a request, as it ends, and one a second on the client itself; - is \
                                    stdout, without the report
    --no-gaps                       leaves the gaps between tokens out of the samples file
    --output FILE                   the figures as JSON, also rewritten every minute; - is stdout, without the report
    --max-error-rate X              exit code 1 if a larger share of requests failed
    --fail-if CONDITION             (repeats) exit code 1 if it holds, or the figure is not reported: \
                                    ttft_p99_ms>500, error_rate>=0.05
",
        QUIET,
    ],
    examples: &[
        "tmesh-cli benchmark --endpoint http://localhost:8000 --api-key sk-123",
        "tmesh-cli benchmark --endpoint localhost:8000 --rotations 2 --output r.json",
        "tmesh-cli benchmark --backend mock --duration 20s",
    ],
};

pub static LOAD: Usage = Usage {
    name: "load",
    operand: "",
    about: "Sends N requests, in a closed loop or at a rate, with repeated prompts",
    options: &[
        LOAD_ENDPOINT,
        KEY_AND_MODEL,
        LOAD_API,
        TRANSPORT,
        COUNTERS,
        MOCK_SERVER,
        SHARD,
        "\
    Load
    --requests N                    requests of each point [50]
    --concurrency N…                (list) closed loop: requests in flight at once; several make a sweep: 1 2 4 8 [5]
    --rate R…                       (list) open loop: requests a second, sent at scheduled times; several make a sweep
    --burstiness B                  shape of the gaps at a rate: 1 is Poisson, less comes in bursts, inf is even [1]
    --duration DURATION             instead of --requests: nothing is sent after it; requests in flight are completed
    --trace FILE                    a trace: Mooncake's or Bailian's JSONL, or Azure's or BurstGPT's CSV
    --trace-unit UNIT               unit of the trace's timestamps: ms or s [by format: Mooncake ms, others s]
    --speed X                       sends the trace X times as fast [1]
    --max-inflight N                threads of an open loop; a connection is opened when it is needed [256]
    --warmup N                      requests sent before each point, with prompts of their own, in no figure [5]
    --runs N                        sends all points N times, each time with new prompts: the runs that compare takes [1]

", LENGTHS, "\
    --repeat-ratio X                share of the requests that repeat an earlier prompt; 0 with --dataset [0.3]

    Figures and output
    --slo-file FILE                 YAML with slo: ttft_ms, itl_ms, latency_ms: requests below all of them are goodput
    --max-error-rate X              exit code 1 if a larger share of requests failed at any point
    --fail-if CONDITION             (repeats) exit code 1 if it holds at any point: ttft_p99_ms>500, \
                                    concurrency_8.error_rate>0
    --output FILE                   the figures as JSON; - is stdout, without the report
    --samples FILE                  one JSON line a request, as it ends, and one a second on the client itself; - is \
                                    stdout, without the report
    --no-gaps                       leaves the gaps between tokens out of the samples file
    --export vllm FILE              (pair) the figures as a result of vllm bench serve; a sweep writes one file a point
",
        QUIET,
    ],
    examples: &[
        "tmesh-cli load --endpoint http://localhost:8000/generate",
        "tmesh-cli load --endpoint localhost:8000 --api chat --rate 2 --duration 60s",
        "tmesh-cli load --backend mock --concurrency 1 2 4 8 --output results.json",
    ],
};

pub static REPLAY: Usage = Usage {
    name: "replay",
    operand: "",
    about: "Sends a dataset twice at each concurrency level, cold and warm",
    options: &[
        ENDPOINT,
        KEY_AND_MODEL,
        API,
        TRANSPORT,
        COUNTERS,
        MOCK_SERVER,
        SHARD,
        "\
    Dataset and rounds
    --dataset FILE                  JSONL, a JSON array or an object with data: text, prompt, user_messages, \
                                    conversations, messages or body
    --synthetic N                   in place of --dataset: N made prompts of one question each
    --num-samples N…                (list) records to draw by the seed: one number for all levels, or one a level \
                                    [all]
    --concurrency N…                (list) sessions in flight at once, a level each: 5 10 20 [1]
    --rounds N                      how often each level is sent [2]
    --no-shuffle-round2             later rounds keep the first one's order
    --live-history                  later rounds continue from their own replies, not from the first round's
    --seed N                        decides draw, order and intervals [0]
    --nonce TEXT                    line before each first message, with the level's number; give an old one for a \
                                    warm start [random]
    --no-nonce                      sends the texts exactly as they are
    --reset-cache-url URL           where a POST empties the server's cache
    --reset-cache-between-rounds    empties it before every later round
    --reset-cache-between-concurrency  empties it before every level; no nonce is used then

    Lengths and sampling
    --max-input-length TOKENS       cuts longer questions before the first round
    --max-context-tokens TOKENS     drops the earliest question and answer of a longer history
    --max-output-tokens TOKENS      max_tokens of every request [the server's]
    --min-output-tokens TOKENS      min_tokens of every request
    --temperature T                 0 is greedy [0]
    --top-p P                       sent only if given
    --send-metadata                 sends session and request ids as metadata, which strict servers refuse; the \
                                    mock gets them anyway

    Figures and output
    --slo-file FILE                 YAML with slo: ttft_ms, itl_ms, latency_ms: requests below all of them are goodput
    --max-error-rate X              exit code 1 if a larger share of requests failed in any round
    --fail-if CONDITION             (repeats) exit code 1 if it holds in any round, or the figure is not reported: \
                                    ttft_p99_ms>500, concurrency_5_round_2.error_rate>=0.05
    --prometheus-url URL            the same as --metrics-url
    --prometheus-metrics NAME…      (list) more names on that page, to be read beside each request, also \
                                    name{label=\"x\"}; lmcache_hit_rate is computed for any engine
    --prometheus-interval DURATION  time between two reads of it; named metrics are read between the requests at a \
                                    concurrency of 1 [1s]
    --output-dir DIR                metrics_summary.csv, concurrency_C_round_R.json, samples.jsonl [benchmark_results]
    --no-gaps                       leaves the gaps between tokens out of samples.jsonl
    --debug                         logs every request's messages, a JSON line each
    --debug-log-dir DIR             where --debug writes, readable only by you [debug_logs]
    --mock-server                   instead of --endpoint: the built-in mock, its chat answers tagged with session \
                                    and hash
    --mock-host ADDRESS             where --mock-server listens [127.0.0.1]
    --mock-port PORT                where --mock-server listens [a free one]
",
        QUIET,
    ],
    examples: &[
        "tmesh-cli replay --dataset d.jsonl --endpoint host:8000 --concurrency 5 10",
        "tmesh-cli replay --dataset chat.jsonl --backend mock --max-output-tokens 64",
    ],
};

pub static RUN_FIXED: Usage = Usage {
    name: "run",
    operand: "",
    about: "Runs fixed workloads on a backend that it starts, or on a server",
    options: &["\
    Workload and backend
    --workload NAME                 short, long, stress, or year1: all three in this order [year1]
    --requests N                    requests of each workload [5, 3, 10]
    --backend NAME                  mock, cpu, vllm, lmdeploy, sglang, llamacpp or command: started with --model \
                                    for the run and stopped after it; with --endpoint it only selects the metric \
                                    names to read [mock]
    --backend-command COMMAND       what --backend command starts; {model} and {port} are filled in
    --backend-args WORDS            (words) arguments for the backend, split as a shell would: \"--dtype bfloat16\"
    --port PORT                     where the backend listens [a free one]
    --start-timeout DURATION        how long the backend may take until it is healthy [600s]
    --mock 'NAME=VALUE,…'           options of the mock: see tmesh-cli mock --help
    --seed N                        decides the texts [0]
    --nonce TEXT                    makes the texts new [random]
", ENDPOINT, KEY_AND_MODEL, API, TRANSPORT, COUNTERS, SHARD, "\
    Output and limits
    -o, --output DIR                where the JSON files, samples.jsonl, REPORT.md and report.html go \
                                    [./benchmark_results]
    --no-gaps                       leaves the gaps between tokens out of samples.jsonl
    -v, --verbose                   prints a line for each request as it ends
    --bytes-per-token N             KV cache bytes of a token, for the bytes that the cache uses [by model]
    --max-error-rate X              exit code 1 if a larger share of requests failed in any workload
    --fail-if 'EXPR'                (repeats) exit code 1 when it holds, or the figure is not reported: \
                                    'avg_ttft_ms>100', 'stress_test.error_rate>=0.05'; may be repeated
    --contract NAME                 year1, year2 or year3: exit code 1 when a workload misses one of its limits
", QUIET],
    examples: &[
        "tmesh-cli run --workload year1 --backend mock",
        "tmesh-cli run --backend llamacpp --model m.gguf --fail-if 'avg_ttft_ms>99'",
        "tmesh-cli run --endpoint localhost:8000 --contract year1",
    ],
};

pub static PROBE: Usage = Usage {
    name: "probe",
    operand: "",
    about: "Finds out what the prefix cache is, and whether its counters are true",
    options: &[
        ENDPOINT,
        KEY_AND_MODEL,
        API,
        TRANSPORT,
        COUNTERS,
        MOCK_SERVER,
        "\
    Probe
    --steps NAME…                   (list) separability, usage, reuse, block, capacity, order, answer, sharing, ttl, \
                                    reset; the first is always taken [all whose options are given]
    --ignore-usage                  goes by times alone, as if no reply told its cached tokens
    --budget-tokens N               most prompt tokens to send; required if the server is on another machine
    --max-context TOKENS            longest context [what the model accepts less an answer, else 32000]
    --reset-cache-url URL           for the step reset: where a POST empties the server's cache
    --ttl DURATION                  for the step ttl: how long to wait for contexts to be forgotten
    --other-key-file FILE           for the step sharing: another API key; is its cache the same?
    --seed N                        decides texts [0]
    --nonce TEXT                    makes the contexts new [random]

    Output and limits
    --fail-on-lies                  exit code 1 if the server says of its cache what is not true
    --samples FILE                  one JSON line a request, as it ends, and one a second on the client itself; - is \
                                    stdout, without the report
    --output FILE                   the findings as JSON; - is stdout, without the report
",
        QUIET,
    ],
    examples: &[
        "tmesh-cli probe --endpoint localhost:8000",
        "tmesh-cli probe --endpoint node7:8000 --budget-tokens 2M --output r.json",
        "tmesh-cli probe --backend mock --mock tier1_tokens=8k,tier2_tokens=0",
    ],
};

pub static COMPARE: Usage = Usage {
    name: "compare",
    operand: "",
    about: "Says which of two endpoints, or of two sets of saved runs, is faster",
    options: &[
        ENDPOINT,
        "\
    --against URL                   the other server: is it slower or faster than the endpoint?
    --against-mock 'NAME=VALUE,…'   instead of --against: a second mock server in this process
    --against-model NAME            model of the other server [as --model, else discovery]
    --against-api-key-file FILE     key of the other server [as for the endpoint]
    --against-header 'NAME: VALUE'  (repeats, secret) sent to the other server too, or there instead of --header
",
        KEY_AND_MODEL,
        LOAD_API,
        TRANSPORT,
        MOCK_SERVER,
        "\
    Saved runs
    --base FILE…                    (list) instead of servers: samples files or folders of one side
    --new FILE…                     (list) and of the other: is it slower or faster than the base?

    Comparison
    --figure NAME…                  (list) what decides: ttft_mean, ttft_p95, itl_mean, latency_mean, latency_p95, \
                                    output_throughput, error_rate, hit_rate [ttft_mean, itl_mean, error_rate]
    --margin SHARE                  a smaller change counts as none [3%]
    --pairs N                       most pairs of requests; it ends before once all is clear [2000]
    --concurrency N                 requests in flight at once; above 1 the sides take turns of 20 N requests [1]
    --warmup N                      requests sent to each side before, in no figure [5]
    --unclear CODE                  the exit code if it is unclear: pass (0) or fail (1) [3]
",
        LENGTHS,
        REPEATS,
        "\
    Output
    --output FILE                   the result as JSON; - is stdout, without the report
    --summary FILE                  five lines of Markdown for a pull request; - is stdout, without the report
",
        SAMPLES,
        QUIET,
    ],
    examples: &[
        "tmesh-cli compare --endpoint localhost:8000 --against localhost:8001",
        "tmesh-cli compare --base main.jsonl --new branch.jsonl --summary -",
        "tmesh-cli compare --backend mock --against-mock prefill_rate=5000",
    ],
};

pub static FIND_RATE: Usage = Usage {
    name: "find-rate",
    operand: "",
    about: "Finds the highest rate at which an SLO holds, and verifies it",
    options: &[
        ENDPOINT,
        KEY_AND_MODEL,
        LOAD_API,
        TRANSPORT,
        MOCK_SERVER,
        "\
    Search
    --slo-file FILE                 YAML with slo: ttft_ms, itl_ms, latency_ms: what a request must stay below
    --attainment SHARE              share of the requests that must meet the SLO [95%]
    --burstiness B                  shape of the gaps at a rate: 1 is Poisson, less comes in bursts, inf is even [1]
    --budget-requests N             most requests to send [20000]
    --budget-time DURATION          most time for the search [no limit]
    --min-rate R                    exit code 1 if the rate is lower
    --max-inflight N                threads of an open loop; a connection is opened when it is needed [256]
    --warmup N                      requests sent before the search, in no figure [5]

",
        LENGTHS,
        REPEATS,
        "\
    Output
    --output FILE                   the result as JSON; - is stdout, without the report
",
        SAMPLES,
        QUIET,
    ],
    examples: &[
        "tmesh-cli find-rate --endpoint localhost:8000 --slo-file slo.yaml",
        "tmesh-cli find-rate --endpoint h:8000 --slo-file slo.yaml --min-rate 12",
    ],
};

pub static REPORT: Usage = Usage {
    name: "report",
    operand: "",
    about: "Shows saved results as a table, JSON, CSV, Markdown or a page with charts",
    options: &["\
    Input and output
    -i, --input PATH                folder of run or replay, or one of the files in it; what a command wrote with \
                                    --samples [./benchmark_results/benchmark_summary.json]
    --format NAME                   table, json, csv, markdown, or html: one page with charts [table]
    -o, --output FILE               where the report goes [stdout]
"],
    examples: &[
        "tmesh-cli report -i benchmark_results --format html -o report.html",
        "tmesh-cli report -i samples.jsonl --format markdown > REPORT.md",
    ],
};

pub static MERGE: Usage = Usage {
    name: "merge",
    operand: "FILE…",
    about: "Makes one samples file of those that the shards of a run wrote",
    options: &["\
    Output
    -o, --output FILE               the merged samples, which report, compare and merge read; - is stdout
    --allow-missing                 exit code 0 although a shard is missing, doubled or was cut
"],
    examples: &[
        "tmesh-cli merge s0.jsonl s1.jsonl s2.jsonl s3.jsonl -o all.jsonl",
        "tmesh-cli merge shards/*.jsonl -o all.jsonl --allow-missing",
    ],
};

pub static EXPLAIN: Usage = Usage {
    name: "explain",
    operand: "FIGURE",
    about: "Says what a figure means, where it comes from and when it is absent",
    options: &[],
    examples: &["tmesh-cli explain ttft", "tmesh-cli explain goodput_rps"],
};

pub static CHECK_CLIENT: Usage = Usage {
    name: "check client",
    operand: "",
    about: "Measures what this client itself adds, on this host",
    options: &["\
    Load
    --streams N                     requests in flight at once [256]
    --rate TOKENS_PER_S             tokens a second of each stream [100]
"],
    examples: &[
        "tmesh-cli check client",
        "tmesh-cli check client --streams 1000 --rate 10",
    ],
};

pub static CHECK_DATASET: Usage = Usage {
    name: "check dataset",
    operand: "FILE",
    about: "Reads a whole dataset as replay would, and says what is in it",
    options: &[],
    examples: &["tmesh-cli check dataset data/long_context.jsonl"],
};

pub static CHECK_ENDPOINT: Usage = Usage {
    name: "check endpoint",
    operand: "URL",
    about: "Asks a server what it can do for the other commands",
    options: &[
        "\
    Connection
    --endpoint URL                  the same as URL without an option
",
        KEY_AND_MODEL,
        API,
        TRANSPORT,
        "\
    Check
    --try-reset                     also calls the routes that empty the server's cache, to see which it has
",
    ],
    examples: &[
        "tmesh-cli check endpoint localhost:8000",
        "tmesh-cli check endpoint http://localhost:8000/v1/completions --try-reset",
    ],
};

pub static CHECK_PROMETHEUS: Usage = Usage {
    name: "check prometheus",
    operand: "URL",
    about: "Reads a metrics page: names, types and values",
    options: &["\
    Metrics
    --endpoint URL                  the same as URL without an option
    --metrics NAME…                 (list) the names to look up: NAME or 'NAME{label=\"value\"}' [all]
"],
    examples: &[
        "tmesh-cli check prometheus localhost:8000",
        "tmesh-cli check prometheus localhost:8000 --metrics lmcache_hit_rate",
    ],
};

pub static CONVERT_LONGBENCH: Usage = Usage {
    name: "convert longbench",
    operand: "",
    about: "Turns LongBench's records into prompts for replay",
    options: &["\
    Input and output
    --input-file FILE               one file of LongBench
    --input-dir FOLDER              the folder that LongBench's data.zip was unpacked to
    --dataset NAME…                 (list) such as narrativeqa, qasper_e of LongBench-E, or longbench-v2 [all found]
    --num-samples N                 takes the first N records of each dataset [all]
    --output FILE                   JSON lines for replay
"],
    examples: &[
        "tmesh-cli convert longbench --input-dir LongBench --output long.jsonl",
        "tmesh-cli convert longbench --input-file data.json --output v2.jsonl",
    ],
};

pub static CONVERT_SHAREGPT: Usage = Usage {
    name: "convert sharegpt",
    operand: "",
    about: "Turns ShareGPT's conversations into sessions for replay",
    options: &["\
    Input and output
    --input-file FILE               a JSON array or JSON lines
    --output FILE                   JSON lines for replay
    --min-turns N                   drops conversations with fewer messages of the user [1]
    --max-turns N                   keeps the first N messages of the user and the answers to them [all]
"],
    examples: &["tmesh-cli convert sharegpt --input-file sg.json --output s.jsonl"],
};

pub static MOCK: Usage = Usage {
    name: "mock",
    operand: "",
    about: "Serves the OpenAI API with a simulated, exact KV cache",
    // The mock's options are the table `mock::OPTIONS`, which --mock reads too.
    options: &[],
    examples: &[
        "tmesh-cli mock --port 8000",
        "tmesh-cli mock --port 8000 --itl 10ms --tier2-tokens 4M --truth-log t.jsonl",
    ],
};

#[cfg(test)]
mod tests {
    use super::super::commands::COMMANDS;
    use super::super::usage::Flag;
    use super::*;

    fn usages() -> impl Iterator<Item = &'static Usage> {
        COMMANDS.iter().map(|command| command.usage)
    }

    fn lines(usage: &Usage) -> impl Iterator<Item = &'static str> {
        let lines = usage.options.iter().flat_map(|part| part.lines());
        lines.map(str::trim).filter(|line| !line.is_empty())
    }

    /// Says what is wrong with a line of a table.
    fn problem(line: &'static str) -> Option<&'static str> {
        let flag = match line.trim() {
            heading if !heading.starts_with('-') => {
                let is_title = heading.starts_with(|c: char| c.is_ascii_uppercase());
                return (!is_title || heading.contains("  ")).then_some("heading");
            }
            row => Flag::parse(row),
        };
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_letter = |c: char| c.is_ascii_alphabetic() && c != 'h' && c != 'V';
        let name = flag.name.strip_prefix("--").unwrap_or_default();
        let short = flag.short.strip_prefix('-').unwrap_or("?");
        let (more, words) = (flag.value.ends_with('…'), flag.value.split(' ').count());
        let takes = flag.repeats || flag.secret || flag.list || flag.pair || flag.words;
        [
            (name.is_empty() || !name.chars().all(is_name), "name"),
            (
                !flag.short.is_empty() && (short.len() != 1 || !short.chars().all(is_letter)),
                "short name",
            ),
            (flag.help.is_empty() || flag.help.ends_with('.'), "help"),
            (flag.help.starts_with(['(', ' ']), "marks"),
            (flag.value.is_empty() && takes, "a mark of a switch"),
            (flag.list != more, "list"),
            (
                flag.pair != (words == 2 && !flag.value.starts_with('\'')) || words > 2,
                "pair",
            ),
        ]
        .into_iter()
        .find_map(|(is_wrong, what)| is_wrong.then_some(what))
    }

    /// Returns the marks of a line as written.
    fn marks(line: &str) -> Option<&str> {
        let help = line.trim().split_once("  ")?.1.trim_start();
        Some(help.strip_prefix('(')?.split_once(')')?.0)
    }

    #[test]
    fn every_line_is_an_option_or_a_heading() {
        for line in usages().flat_map(lines) {
            assert_eq!(problem(line), None, "{line}");
            for mark in marks(line).into_iter().flat_map(|marks| marks.split(", ")) {
                let known = ["repeats", "list", "secret", "pair", "words"];
                assert!(known.contains(&mark), "{line}");
            }
        }
    }

    #[test]
    fn a_malformed_line_is_found() {
        for (line, what) in [
            ("output", "heading"),
            ("Output  FILE", "heading"),
            ("-output FILE  where to", "name"),
            ("--Output FILE  where to", "name"),
            ("-out, --output FILE  where to", "short name"),
            ("-h, --output FILE  where to", "short name"),
            ("--output FILE where to", "help"),
            ("--output FILE  where to.", "help"),
            ("--output FILE  (secret)where to", "marks"),
            ("--on  (repeats) a switch", "a mark of a switch"),
            ("--output FILE…  where to", "list"),
            ("--output FILE  (list) where to", "list"),
            ("--output FILE  (pair) where to", "pair"),
            ("--output a FILE  where to", "pair"),
        ] {
            assert_eq!(problem(line), Some(what), "{line}");
        }
    }

    #[test]
    fn names_are_unique_in_a_command() {
        for usage in usages() {
            let mut seen = std::collections::HashSet::new();
            for flag in usage.flags() {
                assert!(seen.insert(flag.name), "{} {}", usage.name, flag.name);
                assert!(
                    flag.short.is_empty() || seen.insert(flag.short),
                    "{} {}",
                    usage.name,
                    flag.short
                );
            }
            assert!(!usage.examples.is_empty());
        }
    }

    #[test]
    fn a_url_that_is_the_operand_leaves_out_the_options_of_a_mock() {
        let names: Vec<&str> = CHECK_ENDPOINT.flags().map(|flag| flag.name).collect();
        // A connection has 16 options: these two are left out, --try-reset is added.
        assert_eq!((names[0], names.len()), ("--endpoint", 15));
        for name in ["--backend", "--mock"] {
            assert!(!names.contains(&name), "{name}");
        }
    }

    #[test]
    fn a_slip_finds_the_name_and_nonsense_finds_none() {
        let names = || BENCHMARK.flags().map(|flag| flag.name);
        assert_eq!(nearest("--endpont", names()), Some("--endpoint"));
        assert_eq!(nearest("--rotation", names()), Some("--rotations"));
        assert_eq!(nearest("--xyzzy", names()), None);
    }
}
