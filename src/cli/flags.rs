//! The one flag table: help, parsing and "did you mean" all read it.

use crate::error::distance;

/// One option.
#[derive(Clone, Copy)]
pub struct Flag {
    /// As typed, such as `--endpoint`.
    pub name: &'static str,
    /// Such as `-o`; empty: it has none.
    pub short: &'static str,
    /// What its value is called in help; empty for a switch.
    pub value: &'static str,
    pub default: &'static str,
    pub help: &'static str,
    /// May be given more than once.
    pub repeats: bool,
    /// Takes several values: `5 10 20`, `5,10,20`, or the option again.
    pub list: bool,
    /// Its value is never shown again.
    pub secret: bool,
    /// Takes two values, each as it stands.
    pub pair: bool,
    /// Its value is the command line of another program, which may begin with dashes.
    pub words: bool,
}

/// An option that takes one value, or none; for a table.
pub const fn flag(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Flag {
    Flag {
        name,
        short: "",
        value,
        default,
        help,
        repeats: false,
        list: false,
        pair: false,
        secret: false,
        words: false,
    }
}

/// Options under one heading of the help.
pub struct Group {
    pub title: &'static str,
    pub flags: &'static [Flag],
}

/// One command, as help shows it.
pub struct Command {
    /// One word, or two: `check client`.
    pub name: &'static str,
    /// What its one word without dashes is called in help; empty: it takes none.
    pub operand: &'static str,
    pub about: &'static str,
    pub groups: &'static [&'static Group],
    pub examples: &'static [&'static str],
}

impl Command {
    pub fn flags(&self) -> impl Iterator<Item = &'static Flag> {
        self.groups.iter().flat_map(|group| group.flags.iter())
    }
}

pub const COMMANDS: &[&Command] = &[
    &BENCHMARK,
    &LOAD,
    &REPLAY,
    &RUN_FIXED,
    &REPORT,
    &CHECK_CLIENT,
    &CHECK_DATASET,
    &CHECK_ENDPOINT,
    &CHECK_PROMETHEUS,
    &CONVERT_LONGBENCH,
    &CONVERT_SHAREGPT,
    &MOCK,
];

static CONNECTION: Group = Group {
    title: "Connection",
    flags: &CONNECTION_FLAGS,
};

const CONNECTION_FLAGS: [Flag; 16] = [
    flag(
        "--endpoint",
        "URL",
        "",
        "server, such as http://localhost:8000; a path /v1/chat/completions picks the API",
    ),
    Flag {
        secret: true,
        ..flag(
            "--api-key",
            "KEY",
            "",
            "sent as a bearer token; else TMESH_API_KEY, and for https or loopback OPENAI_API_KEY",
        )
    },
    flag("--api-key-file", "FILE", "", "reads the key from a file"),
    flag(
        "--model",
        "NAME",
        "",
        "model to ask for, in place of discovery by /v1/models",
    ),
    flag("--api", "NAME", "by path", "completions or chat"),
    flag(
        "--timeout",
        "DURATION",
        "300s",
        "a whole request, from its send",
    ),
    flag(
        "--first-token-timeout",
        "DURATION",
        "--timeout",
        "until the first token, from the send",
    ),
    flag(
        "--idle-timeout",
        "DURATION",
        "120s",
        "between two reads after the first token",
    ),
    Flag {
        repeats: true,
        secret: true,
        ..flag(
            "--header",
            "'NAME: VALUE'",
            "",
            "sent with every request; may be repeated",
        )
    },
    flag(
        "--extra-body",
        "JSON",
        "",
        "an object whose keys go into every request body",
    ),
    flag(
        "--cacert",
        "FILE",
        "",
        "trusts the certificates of this PEM file only",
    ),
    flag("--insecure", "", "", "takes any certificate"),
    flag("--plain-http", "", "", "speaks http to an https URL"),
    Flag {
        // A URL that is typed in its place may have a password.
        secret: true,
        ..flag(
            "--proxy",
            "env",
            "",
            "goes through the proxy that ALL_PROXY, HTTPS_PROXY or HTTP_PROXY names; without it, through none",
        )
    },
    flag(
        "--backend",
        "mock",
        "",
        "in place of --endpoint: a mock server in this process",
    ),
    flag(
        "--mock",
        "'NAME=VALUE,…'",
        "",
        "options of that mock: see tmesh-cli mock --help",
    ),
];

static WORKLOAD: Group = Group {
    title: "Workload",
    flags: &[
        flag(
            "--offload-size",
            "GB",
            "by model",
            "size of the KV offload buffer that the contexts fill",
        ),
        flag("--input-length", "TOKENS", "32000", "tokens of a context"),
        flag(
            "--output-length",
            "TOKENS",
            "100",
            "tokens asked for in an answer",
        ),
        flag(
            "--contexts",
            "N",
            "by size",
            "contexts that are cycled through; no sizing is needed then",
        ),
        flag("--questions", "N", "contexts", "questions to draw from"),
        flag(
            "--max-inflight",
            "N",
            "contexts/3",
            "requests in flight at once",
        ),
        flag(
            "--model-configs",
            "FILE",
            "",
            "entries that override and extend the built-in model table",
        ),
        flag(
            "--bytes-per-token",
            "N",
            "",
            "KV cache bytes of a token, for a model that has no entry",
        ),
        flag(
            "--hf-config",
            "FILE",
            "",
            "works them out from a Hugging Face config.json",
        ),
        flag(
            "--kv-dtype-bytes",
            "N",
            "2",
            "bytes of a KV element, with --hf-config",
        ),
        flag("--seed", "N", "0", "decides texts and questions"),
        flag(
            "--nonce",
            "TEXT",
            "random",
            "makes the contexts new; give an old one for a warm start",
        ),
    ],
};

static RUN: Group = Group {
    title: "Run and output",
    flags: &[
        flag(
            "--duration",
            "DURATION",
            "",
            "ends the run after this time; requests in flight are cut",
        ),
        flag("--requests", "N", "", "ends it after N requests"),
        flag(
            "--rotations",
            "N",
            "",
            "ends it after N rounds through all contexts",
        ),
        flag(
            "--warmup-seconds",
            "S",
            "0",
            "leaves requests sent in the first S seconds out of every figure",
        ),
        flag("--interval", "DURATION", "5s", "time between two blocks"),
        flag(
            "--samples",
            "FILE",
            "",
            "one JSON line a request, as it ends, and one a second on the client itself",
        ),
        flag(
            "--no-gaps",
            "",
            "",
            "leaves the gaps between tokens out of the samples file",
        ),
        flag(
            "--output",
            "FILE",
            "",
            "the figures as JSON, also rewritten every minute",
        ),
    ],
};

pub static BENCHMARK: Command = Command {
    name: "benchmark",
    operand: "",
    about: "Cycles through long contexts and shows what the KV cache does",
    groups: &[&CONNECTION, &WORKLOAD, &RUN],
    examples: &[
        "tmesh-cli benchmark --endpoint http://localhost:8000 --api-key sk-123",
        "tmesh-cli benchmark --endpoint localhost:8000 --rotations 2 --output r.json",
        "tmesh-cli benchmark --backend mock --duration 20s",
    ],
};

const fn list(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Flag {
    Flag {
        list: true,
        ..flag(name, value, default, help)
    }
}

/// `load` has an endpoint by default, and one more API.
static LOAD_CONNECTION: Group = Group {
    title: "Connection",
    flags: &{
        let mut flags = CONNECTION_FLAGS;
        flags[0] = flag(
            "--endpoint",
            "URL",
            "",
            "server, such as http://localhost:8000; a path picks the API [http://localhost:8000/generate]",
        );
        flags[4] = flag(
            "--api",
            "NAME",
            "by path",
            "completions, chat or generate, which is {prompt, max_tokens, temperature}",
        );
        flags
    },
};

static LOAD_PLAN: Group = Group {
    title: "Load",
    flags: &[
        flag("--requests", "N", "50", "requests of each point"),
        list(
            "--concurrency",
            "N…",
            "5",
            "closed loop: requests in flight at once; several are a sweep: 1 2 4 8",
        ),
        list(
            "--rate",
            "R…",
            "",
            "open loop: requests a second, sent when they are due; several are a sweep",
        ),
        flag(
            "--burstiness",
            "B",
            "1",
            "shape of the gaps at a rate: 1 is Poisson, less comes in bursts, inf is even",
        ),
        flag(
            "--duration",
            "DURATION",
            "",
            "in place of --requests: nothing is sent after it, what is in flight is waited for",
        ),
        flag(
            "--trace",
            "FILE",
            "",
            "Mooncake trace, JSONL: timestamp, input_length, output_length, hash_ids",
        ),
        flag("--speed", "X", "1", "plays the trace so many times as fast"),
        flag(
            "--max-inflight",
            "N",
            "256",
            "threads of an open loop; a connection is opened when it is needed",
        ),
        flag(
            "--warmup",
            "N",
            "5",
            "requests sent before each point, with prompts of their own, in no figure",
        ),
    ],
};

static LOAD_PROMPTS: Group = Group {
    title: "Prompts and answers",
    flags: &[
        flag("--max-tokens", "N", "100", "tokens asked for in an answer"),
        flag(
            "--output-tokens",
            "LENGTH",
            "",
            "the same drawn for each prompt: N, A:B (uniform) or normal:MEAN,DEVIATION",
        ),
        flag(
            "--input-tokens",
            "LENGTH",
            "128",
            "tokens of a prompt, in the same forms",
        ),
        flag(
            "--repeat-ratio",
            "X",
            "0.3",
            "share of the requests that repeat an earlier prompt; 0 with --dataset",
        ),
        flag(
            "--shared-prefix-tokens",
            "N",
            "",
            "tokens that all prompts of a group begin with",
        ),
        flag("--groups", "N", "1", "such groups"),
        flag(
            "--dataset",
            "FILE",
            "",
            "records of one question each, as replay reads them, in place of made prompts",
        ),
        flag(
            "--seed",
            "N",
            "0",
            "decides texts, lengths, repeats and arrivals",
        ),
        flag(
            "--nonce",
            "TEXT",
            "random",
            "makes the prompts new; give an old one for a warm start",
        ),
    ],
};

static LOAD_RESULTS: Group = Group {
    title: "Figures and output",
    flags: &[
        flag(
            "--slo-file",
            "FILE",
            "",
            "YAML with slo: ttft_ms, itl_ms, latency_ms: requests below all of them are goodput",
        ),
        flag(
            "--max-error-rate",
            "X",
            "",
            "exit code 1 if a larger share of requests failed at any point",
        ),
        Flag {
            repeats: true,
            ..flag(
                "--fail-if",
                "CONDITION",
                "",
                "exit code 1 if it holds at any point: ttft_p99_ms>500, concurrency_8.error_rate>0",
            )
        },
        flag("--output", "FILE", "", "the figures as JSON"),
        flag(
            "--samples",
            "FILE",
            "",
            "one JSON line a request, as it ends, and one a second on the client itself",
        ),
        Flag {
            pair: true,
            ..flag(
                "--export",
                "vllm FILE",
                "",
                "the figures as a result of vllm bench serve; of a sweep a file a point",
            )
        },
    ],
};

pub static LOAD: Command = Command {
    name: "load",
    operand: "",
    about: "Sends N requests, in a closed loop or at a rate, with repeated prompts",
    groups: &[&LOAD_CONNECTION, &LOAD_PLAN, &LOAD_PROMPTS, &LOAD_RESULTS],
    examples: &[
        "tmesh-cli load --endpoint http://localhost:8000/generate",
        "tmesh-cli load --endpoint localhost:8000 --api chat --rate 2 --duration 60s",
        "tmesh-cli load --backend mock --concurrency 1 2 4 8 --output results.json",
    ],
};

static DATASET: Group = Group {
    title: "Dataset and rounds",
    flags: &[
        flag(
            "--dataset",
            "FILE",
            "",
            "JSONL, a JSON array or an object with data: text, prompt, user_messages, conversations, messages or body",
        ),
        list(
            "--num-samples",
            "N…",
            "all",
            "records to draw by the seed: one number for all levels, or one a level",
        ),
        list(
            "--concurrency",
            "N…",
            "1",
            "sessions in flight at once, a level each: 5 10 20",
        ),
        flag("--rounds", "N", "2", "how often each level is sent"),
        flag(
            "--no-shuffle-round2",
            "",
            "",
            "later rounds keep the first one's order",
        ),
        flag(
            "--live-history",
            "",
            "",
            "later rounds go on from their own replies, not from the first round's",
        ),
        flag("--seed", "N", "0", "decides draw, order and intervals"),
        flag(
            "--nonce",
            "TEXT",
            "random",
            "the line in front of each first message, with the level's number; an old one is warm",
        ),
        flag("--no-nonce", "", "", "sends the texts exactly as they are"),
        flag(
            "--reset-cache-url",
            "URL",
            "",
            "where a POST empties the server's cache",
        ),
        flag(
            "--reset-cache-between-rounds",
            "",
            "",
            "empties it before every later round",
        ),
        flag(
            "--reset-cache-between-concurrency",
            "",
            "",
            "empties it before every level; no nonce then",
        ),
    ],
};

static LENGTHS: Group = Group {
    title: "Lengths and sampling",
    flags: &[
        flag(
            "--max-input-length",
            "TOKENS",
            "",
            "cuts longer questions before the first round",
        ),
        flag(
            "--max-context-tokens",
            "TOKENS",
            "",
            "drops the earliest question and answer of a longer history",
        ),
        flag(
            "--max-output-tokens",
            "TOKENS",
            "the server's",
            "max_tokens of every request",
        ),
        flag(
            "--min-output-tokens",
            "TOKENS",
            "",
            "min_tokens of every request",
        ),
        flag("--temperature", "T", "0", "0 draws nothing"),
        flag("--top-p", "P", "", "sent only if given"),
        flag(
            "--send-metadata",
            "",
            "",
            "sends session and request ids as metadata, which strict servers refuse; the mock gets them anyway",
        ),
    ],
};

static REPLAYED: Group = Group {
    title: "Figures and output",
    flags: &[
        flag(
            "--slo-file",
            "FILE",
            "",
            "YAML with slo: ttft_ms, itl_ms, latency_ms: requests below all of them are goodput",
        ),
        flag(
            "--prometheus-url",
            "URL",
            "",
            "metrics page to read beside the requests",
        ),
        list(
            "--prometheus-metrics",
            "NAME…",
            "",
            "names on it, also name{label=\"x\"}; lmcache_hit_rate is worked out for any engine",
        ),
        flag(
            "--prometheus-interval",
            "DURATION",
            "1s",
            "time between two reads above one request in flight",
        ),
        flag(
            "--output-dir",
            "DIR",
            "benchmark_results",
            "metrics_summary.csv, concurrency_C_round_R.json, samples.jsonl",
        ),
        flag(
            "--no-gaps",
            "",
            "",
            "leaves the gaps between tokens out of samples.jsonl",
        ),
        flag(
            "--debug",
            "",
            "",
            "logs every request's messages, a JSON line each",
        ),
        flag(
            "--debug-log-dir",
            "DIR",
            "debug_logs",
            "where, readable for you alone",
        ),
        flag(
            "--mock-server",
            "",
            "",
            "in place of --endpoint: the built-in mock, its chat answers tagged with session and hash",
        ),
        flag("--mock-host", "ADDRESS", "127.0.0.1", "where it listens"),
        flag("--mock-port", "PORT", "a free one", "where it listens"),
    ],
};

pub static REPLAY: Command = Command {
    name: "replay",
    operand: "",
    about: "Sends a dataset twice at each concurrency level, cold and warm",
    groups: &[&CONNECTION, &DATASET, &LENGTHS, &REPLAYED],
    examples: &[
        "tmesh-cli replay --dataset d.jsonl --endpoint host:8000 --concurrency 5 10",
        "tmesh-cli replay --dataset chat.jsonl --backend mock --max-output-tokens 64",
    ],
};

/// The shared options but for the mock's two, the last: `run` has its own.
static TO_SERVER: Group = Group {
    title: "Connection",
    flags: CONNECTION.flags.split_at(CONNECTION.flags.len() - 2).0,
};

static FIXED: Group = Group {
    title: "Workload and backend",
    flags: &[
        flag(
            "--workload",
            "NAME",
            "year1",
            "short, long, stress, or year1: all three in this order",
        ),
        flag("--requests", "N", "5, 3, 10", "requests of each workload"),
        flag(
            "--backend",
            "NAME",
            "mock",
            "mock, cpu, vllm, lmdeploy, sglang, llamacpp or command: started with --model for the run and stopped after it; beside --endpoint it only says whose metric names to read",
        ),
        flag(
            "--backend-command",
            "COMMAND",
            "",
            "starts this one; {model} and {port} are filled in",
        ),
        Flag {
            words: true,
            ..flag(
                "--backend-args",
                "WORDS",
                "",
                "handed on to the backend, split as a shell would: \"--dtype bfloat16\"",
            )
        },
        flag(
            "--port",
            "PORT",
            "a free one",
            "where the backend is to listen",
        ),
        flag(
            "--start-timeout",
            "DURATION",
            "600s",
            "how long the backend may take until it is healthy",
        ),
        flag(
            "--mock",
            "'NAME=VALUE,…'",
            "",
            "options of the mock: see tmesh-cli mock --help",
        ),
        flag("--seed", "N", "0", "decides the texts"),
        flag("--nonce", "TEXT", "random", "makes the texts new"),
    ],
};

static FIXED_OUTPUT: Group = Group {
    title: "Output and limits",
    flags: &[
        Flag {
            short: "-o",
            ..flag(
                "--output",
                "DIR",
                "./benchmark_results",
                "where the JSON files, samples.jsonl, REPORT.md and report.html go",
            )
        },
        Flag {
            short: "-v",
            ..flag("--verbose", "", "", "a line a request, as it ends")
        },
        flag(
            "--bytes-per-token",
            "N",
            "by model",
            "KV cache bytes of a token, for the bytes that the cache uses",
        ),
        Flag {
            repeats: true,
            ..flag(
                "--fail-if",
                "'EXPR'",
                "",
                "exit code 1 when it holds, or the figure is not reported: 'avg_ttft_ms>100', 'stress_test.error_rate>=0.05'; may be repeated",
            )
        },
        flag(
            "--contract",
            "NAME",
            "",
            "year1, year2 or year3: exit code 1 when a workload misses one of its limits",
        ),
    ],
};

pub static RUN_FIXED: Command = Command {
    name: "run",
    operand: "",
    about: "Runs fixed workloads on a backend that it starts, or on a server",
    groups: &[&FIXED, &TO_SERVER, &FIXED_OUTPUT],
    examples: &[
        "tmesh-cli run --workload year1 --backend mock",
        "tmesh-cli run --backend llamacpp --model m.gguf --fail-if 'avg_ttft_ms>99'",
        "tmesh-cli run --endpoint localhost:8000 --contract year1",
    ],
};

static REPORTED: Group = Group {
    title: "Input and output",
    flags: &[
        Flag {
            short: "-i",
            ..flag(
                "--input",
                "PATH",
                "./benchmark_results/benchmark_summary.json",
                "folder of run or replay, or one of the files in it; what benchmark or load wrote with --samples or --output",
            )
        },
        flag(
            "--format",
            "NAME",
            "table",
            "table, json, markdown, or html: one page with charts",
        ),
        Flag {
            short: "-o",
            ..flag("--output", "FILE", "stdout", "where the report goes")
        },
    ],
};

pub static REPORT: Command = Command {
    name: "report",
    operand: "",
    about: "Shows saved results as a table, JSON, Markdown or a page with charts",
    groups: &[&REPORTED],
    examples: &[
        "tmesh-cli report -i benchmark_results --format html -o report.html",
        "tmesh-cli report -i samples.jsonl --format markdown > REPORT.md",
    ],
};

static CHECKED_CLIENT: Group = Group {
    title: "Load",
    flags: &[
        flag("--streams", "N", "256", "requests in flight at once"),
        flag(
            "--rate",
            "TOKENS_PER_S",
            "100",
            "tokens a second of each stream",
        ),
    ],
};

pub static CHECK_CLIENT: Command = Command {
    name: "check client",
    operand: "",
    about: "Measures what this client itself adds, on this host",
    groups: &[&CHECKED_CLIENT],
    examples: &[
        "tmesh-cli check client",
        "tmesh-cli check client --streams 1000 --rate 10",
    ],
};

static CHECKED_METRICS: Group = Group {
    title: "Metrics",
    flags: &[Flag {
        list: true,
        ..flag(
            "--metrics",
            "NAME…",
            "all",
            "the names to look up: NAME or 'NAME{label=\"value\"}'",
        )
    }],
};

pub static CHECK_PROMETHEUS: Command = Command {
    name: "check prometheus",
    operand: "URL",
    about: "Reads a metrics page: names, types and values",
    groups: &[&CHECKED_METRICS],
    examples: &[
        "tmesh-cli check prometheus localhost:8000",
        "tmesh-cli check prometheus localhost:8000 --metrics lmcache_hit_rate",
    ],
};

pub static CHECK_DATASET: Command = Command {
    name: "check dataset",
    operand: "FILE",
    about: "Reads a whole dataset as replay would, and says what is in it",
    groups: &[],
    examples: &["tmesh-cli check dataset data/long_context.jsonl"],
};

static LONGBENCH: Group = Group {
    title: "Input and output",
    flags: &[
        flag("--input-file", "FILE", "", "one file of LongBench"),
        flag(
            "--input-dir",
            "FOLDER",
            "",
            "the folder that LongBench's data.zip was unpacked to",
        ),
        Flag {
            list: true,
            ..flag(
                "--dataset",
                "NAME…",
                "all found",
                "such as narrativeqa, of LongBench-E qasper_e, or longbench-v2",
            )
        },
        flag(
            "--num-samples",
            "N",
            "all",
            "takes the first N records of each dataset",
        ),
        flag("--output", "FILE", "", "JSON lines for replay"),
    ],
};

pub static CONVERT_LONGBENCH: Command = Command {
    name: "convert longbench",
    operand: "",
    about: "Turns LongBench's records into prompts for replay",
    groups: &[&LONGBENCH],
    examples: &[
        "tmesh-cli convert longbench --input-dir LongBench --output long.jsonl",
        "tmesh-cli convert longbench --input-file data.json --output v2.jsonl",
    ],
};

static SHAREGPT: Group = Group {
    title: "Input and output",
    flags: &[
        flag("--input-file", "FILE", "", "a JSON array or JSON lines"),
        flag("--output", "FILE", "", "JSON lines for replay"),
        flag(
            "--min-turns",
            "N",
            "1",
            "drops conversations with fewer messages of the user",
        ),
        flag(
            "--max-turns",
            "N",
            "all",
            "keeps the first N messages of the user and the answers to them",
        ),
    ],
};

pub static CONVERT_SHAREGPT: Command = Command {
    name: "convert sharegpt",
    operand: "",
    about: "Turns ShareGPT's conversations into sessions for replay",
    groups: &[&SHAREGPT],
    examples: &["tmesh-cli convert sharegpt --input-file sg.json --output s.jsonl"],
};

/// The shared options where the URL is the operand: all but `--endpoint`, the first, and the mock's two, the last.
static TO_URL: Group = Group {
    title: "Connection",
    flags: {
        let (_, flags) = CONNECTION.flags.split_at(1);
        flags.split_at(flags.len() - 2).0
    },
};

static CHECKED_ENDPOINT: Group = Group {
    title: "Check",
    flags: &[flag(
        "--try-reset",
        "",
        "",
        "also calls the routes that empty the server's cache, to see which it has",
    )],
};

pub static CHECK_ENDPOINT: Command = Command {
    name: "check endpoint",
    operand: "URL",
    about: "Asks a server what it can do for the other commands",
    groups: &[&TO_URL, &CHECKED_ENDPOINT],
    examples: &[
        "tmesh-cli check endpoint localhost:8000",
        "tmesh-cli check endpoint http://localhost:8000/v1/completions --try-reset",
    ],
};

pub static MOCK: Command = Command {
    name: "mock",
    operand: "",
    about: "Serves the OpenAI API with a simulated, exact KV cache",
    // Its options are the table in `mock::OPTIONS`, which --mock reads too.
    groups: &[],
    examples: &[
        "tmesh-cli mock --port 8000",
        "tmesh-cli mock --port 8000 --itl 10ms --tier2-tokens 4M --truth-log t.jsonl",
    ],
};

/// The known name nearest to what was typed, if any is near.
pub fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (distance(typed, name), name))
        .filter(|(distance, name)| *distance <= name.len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_long_lower_case_and_unique_in_a_command() {
        for command in COMMANDS {
            let mut seen = std::collections::HashSet::new();
            for flag in command.flags() {
                assert!(
                    flag.name.starts_with("--") && seen.insert(flag.name),
                    "{}",
                    flag.name
                );
                assert!(
                    flag.name[2..]
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                    "{}",
                    flag.name
                );
                assert!(
                    !flag.help.is_empty() && !flag.help.ends_with('.'),
                    "{}",
                    flag.name
                );
            }
            assert!(!command.examples.is_empty());
        }
    }

    #[test]
    fn short_names_are_a_dash_and_a_letter_and_unique_in_a_command() {
        for command in COMMANDS {
            let shorts = command.flags().map(|flag| flag.short);
            let shorts: Vec<&str> = shorts.filter(|short| !short.is_empty()).collect();
            for (at, short) in shorts.iter().enumerate() {
                let is_letter = |c: char| c.is_ascii_alphabetic() && c != 'h' && c != 'V';
                let letter = short.strip_prefix('-').expect(short);
                assert!(
                    letter.len() == 1 && letter.chars().all(is_letter),
                    "{short}"
                );
                assert!(!shorts[..at].contains(short), "{} {short}", command.name);
            }
        }
    }

    #[test]
    fn a_url_that_is_the_operand_leaves_out_the_options_it_takes_the_place_of() {
        let names: Vec<&str> = CHECK_ENDPOINT.flags().map(|flag| flag.name).collect();
        assert_eq!(
            (names[0], names.len()),
            ("--api-key", CONNECTION.flags.len() - 2)
        );
        for name in ["--endpoint", "--backend", "--mock"] {
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
