//! The mock's options: one table that help, README, the flags of `mock` and `--mock` all read.
//!
//! Parses and stores values, nothing else: a path is opened and an address bound by `Mock::start`.

use std::path::PathBuf;
use std::time::Duration;

use super::faults::Faults;
use super::kv_cache::{Policy, Tiers};
use crate::units::{parse_count, parse_duration};

/// One row of the table.
pub struct OptionSpec {
    /// The name in snake_case; the flag has dashes in place of `_`.
    pub name: &'static str,
    /// The word that stands for the value in help.
    pub value: &'static str,
    /// The default as one would type it; empty: none.
    pub default: &'static str,
    pub help: &'static str,
}

/// Makes the table, the struct of values and what leads from one to the other out of rows
/// `name: type = default, parser of the text, value's name in help, help;`.
macro_rules! options {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:literal, $parse:expr, $value:literal, $help:expr;)*) => {
        pub const OPTIONS: &[OptionSpec] = &[$(OptionSpec {
            name: stringify!($name),
            value: $value,
            default: $default,
            help: $help,
        }),*];

        /// The values of all options.
        ///
        /// They are not `Debug`, because the key is one of them.
        #[derive(Clone, PartialEq)]
        pub struct Options {
            $($(#[$doc])* pub $name: $type,)*
        }

        impl Default for Options {
            fn default() -> Options {
                Options {
                    $($name: $parse($default).expect("a test parses every default"),)*
                }
            }
        }

        impl Options {
            /// Sets the option with this name of the table; an empty value is none, where there can be none.
            ///
            /// The error says why, without the option's name.
            pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
                match name {
                    $(stringify!($name) => self.$name = $parse(value)?,)*
                    _ => return Err(unknown()),
                }
                Ok(())
            }
        }
    };
}

options! {
    host: String = "127.0.0.1", parse_text, "ADDRESS", "address to listen on";
    port: u16 = "0", parse_port, "PORT", "port to listen on; 0 takes a free one";
    /// Empty or starting with `/` and not ending with it.
    path_prefix: String = "", parse_path_prefix, "PATH", "what every path starts with, such as /inference";
    model: String = "openai/gpt-oss-20b", parse_text, "NAME", "the model it serves; another one is a 404";
    max_model_len: usize = "131072", parse_size, "TOKENS", "limit of prompt + max_tokens; above it a 400";
    /// `None`: no key is demanded.
    api_key: Option<String> = "", parse_optional, "KEY", "key to demand on every route but /health";
    base: Duration = "5ms", parse_duration, "DURATION", "time to first token beside queue and prefill";
    /// At least 1 token per second.
    prefill_rate: u64 = "320k", parse_rate, "TOKENS_PER_S",
        "prompt tokens computed a second, by all requests together";
    /// At least 1 token per second.
    load_rate: u64 = "800k", parse_rate, "TOKENS_PER_S",
        "prompt tokens loaded from tier 2 a second, in the same queue";
    itl: Duration = "5ms", parse_duration, "DURATION", "time from one token of an answer to the next";
    jitter: Duration = "0s", parse_duration, "DURATION", "each token is up to this late, at random, in order";
    /// Zero: no noise.
    ttft_noise: Duration = "0s", parse_duration, "DURATION",
        "standard deviation of base, which is normally distributed but never negative; moves the whole answer";
    seed: u64 = "0", parse_count, "NUMBER", "seed of all that is drawn at random";
    /// At least 1.
    max_running: usize = "256", parse_positive, "REQUESTS",
        "requests that run at once; others wait in order of arrival";
    freeze_at: Duration = "0s", parse_duration, "DURATION",
        "when the server freezes, from the arrival of the first request for an answer; needs freeze_for";
    /// Zero: it never freezes.
    freeze_for: Duration = "0s", parse_duration, "DURATION",
        "how long it then writes and starts nothing; what is due after the start comes that much later; 0s: no freeze";
    /// At least 1.
    block_tokens: usize = "16", parse_positive, "TOKENS", "tokens of a KV block; only full blocks are cached";
    tier1_tokens: usize = "100k", parse_size, "TOKENS", "capacity of the prefix cache's first tier (GPU)";
    tier2_tokens: usize = "2M", parse_size, "TOKENS",
        "capacity of the second tier (offload buffer)";
    tiers: Tiers = "exclusive", parse_tiers, "exclusive|inclusive",
        "what the second tier holds: what the first evicted and has not taken back, or a copy of all that was used";
    policy: Policy = "lru", parse_policy, "lru|fifo|mru|random|lfu",
        "block that a full tier evicts: the one used longest ago, inserted first, used last, any, or used least often";
    /// Zero: blocks do not become too old.
    ttl: Duration = "0s", parse_duration, "DURATION", "age above which a block is not found any more; 0s: none";
    ttl_sliding: bool = "on", parse_switch, "on|off",
        "count a block's age from its last use; off: from when it was computed";
    reuse: Reuse = "prefix", Reuse::parse, "prefix|whole_prompt|units:N",
        "what of a prompt is found: its longest known prefix, all of it or nothing, or as much of the prefix as fills units of N tokens";
    min_cached: usize = "0", parse_size, "TOKENS", "shorter prompts neither find anything in the cache nor enter it";
    keys: Keys = "shared", parse_keys, "shared|separate",
        "whether requests with different API keys find each other's blocks; separate: they do not";
    cache_salt: bool = "on", parse_switch, "on|off",
        "requests with different values of the field cache_salt find none of each other's blocks; off: the field is ignored";
    reset: Reset = "honest", parse_reset, "honest|tier1|lie",
        "what /reset_prefix_cache empties: both tiers, tier 1, or nothing; it answers the same";
    /// Requests in a hundred, at most 100.
    misses: u64 = "0", parse_percent, "PERCENT",
        "requests in a hundred that find nothing in the cache, at random, as those that a balancer sends to a cold replica";
    /// At most 100.
    corrupt_hits: u64 = "0", parse_percent, "PERCENT",
        "answers in a hundred that have other words than right ones, at random, of those whose prompt had a cache hit";
    usage_cached: UsageCached = "true", UsageCached::parse, "true|absent|zero|all|double",
        "cached tokens in usage: the true ones, none, always 0, all but the last token of every prompt, or twice the true ones";
    /// How often a token is counted: 1 or 2.
    counters: u64 = "true", parse_counters, "true|double",
        "cached tokens, cache queries and cache hits in /metrics: the true ones, or twice as many";
    metrics: bool = "on", parse_switch, "on|off", "serve /metrics; off: a 404";
    /// The capacity in answers; 0: there is no cache.
    response_cache: usize = "4096", parse_size, "ANSWERS",
        "answers that /generate holds for the same prompt, max_tokens and temperature, and says at once after base; 0: none";
    /// Least and most tokens of an answer, least ≥ 1; `None`: as many as are asked for.
    output_tokens: Option<(usize, usize)> = "all", parse_output_tokens, "all|N|N-M",
        "tokens after which an answer ends by itself (finish_reason stop), unless ignore_eos is sent; all: max_tokens, or 16 where the request sets none";
    chat_tags: bool = "off", parse_switch, "on|off",
        "chat answers begin with [mock][session:...][hash:...]; hash: FNV-1a 64 over role, NUL, content, NUL of every message";
    /// `None`: no log.
    truth_log: Option<PathBuf> = "", parse_optional, "FILE",
        "write one JSON line a request: what was due and written when, cache hits, a chat's hash";
    faults: Faults = "", Faults::parse, "FAULTS", super::faults::HELP;
}

/// The cached tokens that `usage` reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageCached {
    True,
    Absent,
    Zero,
    All,
    Double,
}

impl UsageCached {
    fn parse(value: &str) -> Result<UsageCached, String> {
        let all = [
            UsageCached::True,
            UsageCached::Absent,
            UsageCached::Zero,
            UsageCached::All,
            UsageCached::Double,
        ];
        Ok(all[choice(value, &["true", "absent", "zero", "all", "double"])?])
    }

    /// Returns the tokens to report for a prompt of which so many are cached.
    pub fn tokens(self, cached: usize, prompt: usize) -> Option<usize> {
        match self {
            UsageCached::True => Some(cached),
            UsageCached::Absent => None,
            UsageCached::Zero => Some(0),
            UsageCached::All => Some(prompt.saturating_sub(1)),
            UsageCached::Double => Some(prompt.min(2 * cached)),
        }
    }
}

fn parse_counters(value: &str) -> Result<u64, String> {
    Ok(choice(value, &["true", "double"])? as u64 + 1)
}

/// What POST /reset_prefix_cache empties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    Honest,
    Tier1,
    /// Nothing, and says that it did.
    Lie,
}

fn parse_reset(value: &str) -> Result<Reset, String> {
    let all = [Reset::Honest, Reset::Tier1, Reset::Lie];
    Ok(all[choice(value, &["honest", "tier1", "lie"])?])
}

/// The part of a prompt that is found in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// The leading blocks that are held.
    Prefix,
    /// All full blocks, if a prompt with just these was seen before and all of them are held.
    WholePrompt,
    /// The leading blocks that are held and fill units of this many tokens, at least 1.
    Units(usize),
}

impl Reuse {
    fn parse(value: &str) -> Result<Reuse, String> {
        match (value, value.strip_prefix("units:")) {
            ("prefix", _) => Ok(Reuse::Prefix),
            ("whole_prompt", _) => Ok(Reuse::WholePrompt),
            (_, Some(tokens)) => parse_positive(tokens).map(Reuse::Units),
            _ => Err("want prefix, whole_prompt or units:N, such as units:64".to_string()),
        }
    }
}

/// Who finds the blocks of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// All.
    Shared,
    /// Those who send the same API key.
    Separate,
}

fn parse_keys(value: &str) -> Result<Keys, String> {
    Ok([Keys::Shared, Keys::Separate][choice(value, &["shared", "separate"])?])
}

fn parse_tiers(value: &str) -> Result<Tiers, String> {
    let all = [Tiers::Exclusive, Tiers::Inclusive];
    Ok(all[choice(value, &["exclusive", "inclusive"])?])
}

fn parse_policy(value: &str) -> Result<Policy, String> {
    let all = [
        Policy::Lru,
        Policy::Fifo,
        Policy::Mru,
        Policy::Random,
        Policy::Lfu,
    ];
    Ok(all[choice(value, &["lru", "fifo", "mru", "random", "lfu"])?])
}

/// The place of a word in the list of those that can be given.
fn choice(value: &str, words: &[&str]) -> Result<usize, String> {
    let place = words.iter().position(|word| *word == value);
    place.ok_or_else(|| {
        let (last, others) = words.split_last().expect("there are several");
        format!("want {} or {last}", others.join(", "))
    })
}

fn parse_percent(value: &str) -> Result<u64, String> {
    let percent = parse_count(value)?;
    match percent {
        0..=100 => Ok(percent),
        _ => Err("want 0 to 100".to_string()),
    }
}

fn unknown() -> String {
    let names: Vec<&str> = OPTIONS.iter().map(|spec| spec.name).collect();
    format!(
        "no such option of the mock; want one of {}",
        names.join(", ")
    )
}

fn parse_text(value: &str) -> Result<String, String> {
    Ok(value.to_string())
}

fn parse_optional<T: for<'a> From<&'a str>>(value: &str) -> Result<Option<T>, String> {
    Ok((!value.is_empty()).then(|| T::from(value)))
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

fn parse_rate(value: &str) -> Result<u64, String> {
    at_least_1(parse_count(value)?)
}

fn parse_positive(value: &str) -> Result<usize, String> {
    at_least_1(parse_size(value)?)
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
    let least = parse_positive(least).map_err(wrong)?;
    let most = parse_size(most).map_err(wrong)?;
    if most < least {
        return Err("the range ends before it starts".to_string());
    }
    Ok(Some((least, most)))
}

fn parse_switch(value: &str) -> Result<bool, String> {
    Ok(choice(value, &["on", "off"])? == 0)
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
            "2ms",
            "9",
            "4",
            "2s",
            "2s",
            "32",
            "64k",
            "0",
            "inclusive",
            "fifo",
            "5m",
            "off",
            "units:64",
            "1024",
            "separate",
            "off",
            "lie",
            "50",
            "1",
            "zero",
            "double",
            "off",
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
    fn usage_tells_the_cached_tokens_or_what_it_is_told_to() {
        for (usage, of_a_third, of_most) in [
            ("true", Some(32), Some(64)),
            ("absent", None, None),
            ("zero", Some(0), Some(0)),
            ("all", Some(99), Some(99)),
            ("double", Some(64), Some(100)),
        ] {
            let usage = UsageCached::parse(usage).expect("it is one");
            let tokens = [32, 64].map(|cached| usage.tokens(cached, 100));
            assert_eq!(tokens, [of_a_third, of_most], "{usage:?}");
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
                "not a whole number; want one such as 100, 32k or 2M",
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
            ("tiers", "2", "want exclusive or inclusive"),
            ("reset", "no", "want honest, tier1 or lie"),
            ("reuse", "units:0", "want at least 1"),
            (
                "reuse",
                "units",
                "want prefix, whole_prompt or units:N, such as units:64",
            ),
            ("keys", "own", "want shared or separate"),
            ("policy", "arc", "want lru, fifo, mru, random or lfu"),
            ("misses", "101", "want 0 to 100"),
            (
                "usage_cached",
                "no",
                "want true, absent, zero, all or double",
            ),
            ("counters", "3", "want true or double"),
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
