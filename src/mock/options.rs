//! The mock's options: one table that help, README, the flags of `mock` and `--mock` all read.
//!
//! Parses and stores values, nothing else: a path is opened and an address bound by `Mock::start`.

use std::path::PathBuf;
use std::time::Duration;

use super::faults::Faults;
use crate::units::{parse_count, parse_duration};

/// One row of the table.
pub struct OptionSpec {
    /// In snake_case; as a flag with dashes.
    pub name: &'static str,
    /// What stands for the value in help.
    pub value: &'static str,
    /// The default as one would type it; empty: none.
    pub default: &'static str,
    pub help: &'static str,
}

const fn option(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> OptionSpec {
    OptionSpec {
        name,
        value,
        default,
        help,
    }
}

pub const OPTIONS: &[OptionSpec] = &[
    option("host", "ADDRESS", "127.0.0.1", "address to listen on"),
    option("port", "PORT", "0", "port to listen on; 0 takes a free one"),
    option(
        "path_prefix",
        "PATH",
        "",
        "what every path starts with, such as /inference",
    ),
    option(
        "model",
        "NAME",
        "openai/gpt-oss-20b",
        "the model it serves; another one is a 404",
    ),
    option(
        "max_model_len",
        "TOKENS",
        "131072",
        "limit of prompt + max_tokens; above it a 400",
    ),
    option(
        "api_key",
        "KEY",
        "",
        "key to demand on every route but /health",
    ),
    option(
        "base",
        "DURATION",
        "5ms",
        "time to first token beside queue and prefill",
    ),
    option(
        "prefill_rate",
        "TOKENS_PER_S",
        "320k",
        "prompt tokens computed a second, by all requests together",
    ),
    option(
        "load_rate",
        "TOKENS_PER_S",
        "800k",
        "prompt tokens loaded from tier 2 a second, in the same queue",
    ),
    option(
        "itl",
        "DURATION",
        "5ms",
        "time from one token of an answer to the next",
    ),
    option(
        "jitter",
        "DURATION",
        "0s",
        "each token is up to this late, at random, in order",
    ),
    option(
        "seed",
        "NUMBER",
        "0",
        "seed of jitter, output_tokens and fault rates",
    ),
    option(
        "max_running",
        "REQUESTS",
        "256",
        "requests that run at once; others wait in order of arrival",
    ),
    option(
        "freeze_at",
        "DURATION",
        "0s",
        "when the server freezes, from the arrival of the first request for an answer; needs freeze_for",
    ),
    option(
        "freeze_for",
        "DURATION",
        "0s",
        "how long it then writes and starts nothing; what is due after the start comes that much later; 0s: no freeze",
    ),
    option(
        "block_tokens",
        "TOKENS",
        "16",
        "tokens of a KV block; only full blocks are cached",
    ),
    option(
        "tier1_tokens",
        "TOKENS",
        "100k",
        "capacity of the prefix cache's first tier (GPU)",
    ),
    option(
        "tier2_tokens",
        "TOKENS",
        "2M",
        "capacity of the second tier (offload buffer), which takes what the first evicts",
    ),
    option(
        "response_cache",
        "ANSWERS",
        "4096",
        "answers that /generate holds for the same prompt, max_tokens and temperature, and says at once after base; 0: none",
    ),
    option(
        "output_tokens",
        "all|N|N-M",
        "all",
        "tokens after which an answer ends by itself (finish_reason stop), unless ignore_eos is sent; all: max_tokens, or 16 where the request sets none",
    ),
    option(
        "chat_tags",
        "on|off",
        "off",
        "chat answers begin with [mock][session:...][hash:...]; hash: FNV-1a 64 over role, NUL, content, NUL of every message",
    ),
    option(
        "truth_log",
        "FILE",
        "",
        "write one JSON line a request: what was due and written when, cache hits, a chat's hash",
    ),
    option("faults", "FAULTS", "", super::faults::HELP),
];

/// The values of all options.
///
/// Not `Debug`: it holds the key.
#[derive(Clone, PartialEq)]
pub struct Options {
    pub host: String,
    pub port: u16,
    /// Empty or starting with `/` and not ending with it.
    pub path_prefix: String,
    pub model: String,
    pub max_model_len: usize,
    /// `None`: no key is demanded.
    pub api_key: Option<String>,
    pub base: Duration,
    /// At least 1 token per second.
    pub prefill_rate: u64,
    /// At least 1 token per second.
    pub load_rate: u64,
    pub itl: Duration,
    pub jitter: Duration,
    pub seed: u64,
    /// At least 1.
    pub max_running: usize,
    pub freeze_at: Duration,
    /// Zero: it never freezes.
    pub freeze_for: Duration,
    /// At least 1.
    pub block_tokens: usize,
    pub tier1_tokens: usize,
    pub tier2_tokens: usize,
    /// In answers; 0: there is none.
    pub response_cache: usize,
    /// Least and most tokens of an answer, least ≥ 1; `None`: as many as are asked for.
    pub output_tokens: Option<(usize, usize)>,
    pub chat_tags: bool,
    /// `None`: no log.
    pub truth_log: Option<PathBuf>,
    pub faults: Faults,
}

impl Default for Options {
    /// What the table says.
    fn default() -> Options {
        let mut options = Options {
            host: String::new(),
            port: 0,
            path_prefix: String::new(),
            model: String::new(),
            max_model_len: 0,
            api_key: None,
            base: Duration::ZERO,
            prefill_rate: 1,
            load_rate: 1,
            itl: Duration::ZERO,
            jitter: Duration::ZERO,
            seed: 0,
            max_running: 1,
            freeze_at: Duration::ZERO,
            freeze_for: Duration::ZERO,
            block_tokens: 1,
            tier1_tokens: 0,
            tier2_tokens: 0,
            response_cache: 0,
            output_tokens: None,
            chat_tags: false,
            truth_log: None,
            faults: Faults::default(),
        };
        for spec in OPTIONS {
            options
                .set(spec.name, spec.default)
                .expect("a test parses every default");
        }
        options
    }
}

impl Options {
    /// Sets the option with this name of the table; an empty value is none, where there can be none.
    ///
    /// The error says why, without the option's name.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let given = (!value.is_empty()).then_some(value);
        match name {
            "host" => self.host = value.to_string(),
            "port" => self.port = parse_port(value)?,
            "path_prefix" => self.path_prefix = parse_path_prefix(value)?,
            "model" => self.model = value.to_string(),
            "max_model_len" => self.max_model_len = parse_size(value)?,
            "api_key" => self.api_key = given.map(str::to_string),
            "base" => self.base = parse_duration(value)?,
            "prefill_rate" => self.prefill_rate = at_least_1(parse_count(value)?)?,
            "load_rate" => self.load_rate = at_least_1(parse_count(value)?)?,
            "itl" => self.itl = parse_duration(value)?,
            "jitter" => self.jitter = parse_duration(value)?,
            "seed" => self.seed = parse_count(value)?,
            "max_running" => self.max_running = at_least_1(parse_size(value)?)?,
            "freeze_at" => self.freeze_at = parse_duration(value)?,
            "freeze_for" => self.freeze_for = parse_duration(value)?,
            "block_tokens" => self.block_tokens = at_least_1(parse_size(value)?)?,
            "tier1_tokens" => self.tier1_tokens = parse_size(value)?,
            "tier2_tokens" => self.tier2_tokens = parse_size(value)?,
            "response_cache" => self.response_cache = parse_size(value)?,
            "output_tokens" => self.output_tokens = parse_output_tokens(value)?,
            "chat_tags" => self.chat_tags = parse_switch(value)?,
            "truth_log" => self.truth_log = given.map(PathBuf::from),
            "faults" => self.faults = Faults::parse(value)?,
            _ => return Err(unknown()),
        }
        Ok(())
    }
}

fn unknown() -> String {
    let names: Vec<&str> = OPTIONS.iter().map(|spec| spec.name).collect();
    format!(
        "no such option of the mock; want one of {}",
        names.join(", ")
    )
}

/// A count of what is held in memory: 32 bits' worth.
fn parse_size(value: &str) -> Result<usize, String> {
    let size = u32::try_from(parse_count(value)?).map_err(|_| "too large; want at most 4294M")?;
    Ok(size as usize)
}

fn at_least_1<N: PartialEq + Default>(number: N) -> Result<N, String> {
    if number == N::default() {
        return Err("want at least 1".to_string());
    }
    Ok(number)
}

fn parse_port(value: &str) -> Result<u16, String> {
    value
        .parse()
        .map_err(|_| "not a port; want 0 to 65535".to_string())
}

fn parse_path_prefix(value: &str) -> Result<String, String> {
    if !value.is_empty() && !value.starts_with('/') {
        return Err("want a path that starts with /, such as /inference".to_string());
    }
    Ok(value.trim_end_matches('/').to_string())
}

fn parse_output_tokens(value: &str) -> Result<Option<(usize, usize)>, String> {
    if value == "all" {
        return Ok(None);
    }
    let (least, most) = value.split_once('-').unwrap_or((value, value));
    let wrong = |why| format!("{why}; or a range such as 50-150, or all");
    let least = parse_size(least).and_then(at_least_1).map_err(wrong)?;
    let most = parse_size(most).map_err(wrong)?;
    if most < least {
        return Err("the range ends before it starts".to_string());
    }
    Ok(Some((least, most)))
}

fn parse_switch(value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("want on or off".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_of_the_table_is_the_default_value() {
        let mut options = Options::default();
        assert_eq!(options.host, "127.0.0.1");
        assert_eq!(options.model, "openai/gpt-oss-20b");
        assert_eq!(options.base, Duration::from_millis(5));
        assert_eq!(
            (options.prefill_rate, options.load_rate),
            (320_000, 800_000)
        );
        assert_eq!(
            (options.tier1_tokens, options.tier2_tokens),
            (100_000, 2_000_000)
        );
        assert_eq!((options.block_tokens, options.max_running), (16, 256));
        assert_eq!(options.response_cache, 4_096);
        assert_eq!(options.output_tokens, None);
        for spec in OPTIONS {
            assert_eq!(
                options.set(spec.name, spec.default),
                Ok(()),
                "{}",
                spec.name
            );
        }
        assert!(options == Options::default());
    }

    #[test]
    fn every_option_of_the_table_can_be_set() {
        for (spec, value) in OPTIONS.iter().zip([
            "::1",
            "8000",
            "/inference/",
            "tiny",
            "8192",
            "secret",
            "1ms",
            "1k",
            "2k",
            "7ms",
            "1ms",
            "9",
            "4",
            "2s",
            "2s",
            "32",
            "64k",
            "0",
            "0",
            "50-150",
            "on",
            "truth.jsonl",
            "reset@3",
        ]) {
            let mut options = Options::default();
            assert_eq!(options.set(spec.name, value), Ok(()), "{}", spec.name);
            assert!(options != Options::default(), "{}", spec.name);
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        for (name, value, why) in [
            ("prefill_rate", "0", "want at least 1"),
            ("block_tokens", "0", "want at least 1"),
            (
                "max_running",
                "many",
                "not a whole number; want such as 100, 32k or 2M",
            ),
            ("tier1_tokens", "5000M", "too large; want at most 4294M"),
            ("port", "70000", "not a port; want 0 to 65535"),
            (
                "path_prefix",
                "inference",
                "want a path that starts with /, such as /inference",
            ),
            ("output_tokens", "9-3", "the range ends before it starts"),
            (
                "output_tokens",
                "0",
                "want at least 1; or a range such as 50-150, or all",
            ),
            ("chat_tags", "yes", "want on or off"),
        ] {
            let result = Options::default().set(name, value);
            assert_eq!(result.err().unwrap_or_default(), why, "{name} {value}");
        }
        let why = Options::default()
            .set("tier3", "1")
            .expect_err("there is none");
        assert!(why.starts_with("no such option of the mock; want one of host, port, "));
        assert!(why.ends_with(", truth_log, faults"));
    }
}
