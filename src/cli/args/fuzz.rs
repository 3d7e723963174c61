//! Command lines of any words: they yield the values that were given, or a clean error without secrets.

use fastrand::Rng;

use super::super::commands::run as fixed;
use super::super::commands::{COMMANDS, load, mock, replay};
use super::super::connect::{Connection, Server};
use super::*;
use crate::fuzz;

const SECRET: &str = "s3cret-of-the-user";
const VALUES: &[&str] = &[
    "0",
    "1",
    "-1",
    "10",
    "32k",
    "2M",
    "99999999999999999999",
    "18446744073709551615",
    "1e999",
    "inf",
    "nan",
    "NaN",
    "-0",
    "0.5",
    "1e-300",
    "1.5",
    "10ms",
    "2s",
    "1h",
    "1e9h",
    "250us",
    "s",
    "",
    " ",
    ",",
    "1,2,3",
    "1,,2",
    "a=b",
    "{",
    "}",
    "{\"a\":1}",
    "a{x=\"1,2\"},b",
    "http://localhost:8000",
    "https://h/v1",
    "h:99999",
    "mock",
    "completions",
    "chat",
    "generate",
    "name: value",
    "Authorization: x",
    ":",
    "/nowhere/file",
    "é",
    "\u{1b}[31m",
    "\u{202e}",
    "--",
    "-",
    "-o",
    "--seed",
    "itl=10ms",
    "itl=-1",
    "faults=http:503@10%",
    "short",
    "year1",
    "vllm",
    "normal:100:20",
    "100-200",
    "poisson",
    "ttft_p99_ms>500",
];

fn word(rng: &mut Rng) -> String {
    let value = VALUES[rng.usize(..VALUES.len())].as_bytes();
    fuzz::text(&match rng.u8(..3) {
        0 => fuzz::input(rng, VALUES, |_| value.to_vec()),
        _ => value.to_vec(),
    })
}

/// Whether an option's value names a file or a folder, which the test must not read or write at random.
fn is_path(flag: &Flag) -> bool {
    ["FILE", "DIR", "PATH", "FOLDER"]
        .iter()
        .any(|name| flag.value.contains(name))
}

/// Picks any command but `mock`, whose options are a table of their own.
fn command(rng: &mut Rng) -> &'static Usage {
    let others = COMMANDS.iter().map(|command| command.usage);
    let others = others.filter(|usage| usage.flags().next().is_some());
    let others: Vec<_> = others.collect();
    others[rng.usize(..others.len())]
}

fn words(rng: &mut Rng, command: &Usage) -> Vec<String> {
    let flags: Vec<Flag> = command.flags().collect();
    let mut words = Vec::new();
    for _ in 0..rng.usize(1..7) {
        let flag = &flags[rng.usize(..flags.len())];
        let value = match flag.secret {
            // An error shows the name of a header, if it has one.
            true if flag.name == "--header" => ["x: ", "a b "][rng.usize(..2)].to_string() + SECRET,
            true => SECRET.to_string() + &word(rng),
            false if is_path(flag) => "/nowhere/file".to_string(),
            false => word(rng),
        };
        match rng.u8(..16) {
            0 => words.push(word(rng)),
            1 => words.push(flag.name.to_string()),
            2 => words.push(fuzz::text(&fuzz::input(rng, VALUES, |_| flag.name.into()))),
            // As a separate word the value could be taken for an operand, which errors repeat.
            _ if flag.secret => words.push(format!("{}={value}", flag.name)),
            3..8 => words.push(format!("{}={value}", flag.name)),
            _ if flag.value.is_empty() => words.push(flag.name.to_string()),
            _ => words.extend([flag.name.to_string(), value]),
        }
    }
    words
}

/// Parses the options of a command as it does before it opens anything; `None`: the command does not parse them
/// separately.
fn options(command: &Usage, args: &Args) -> Option<Result<()>> {
    Some(match command.name {
        "load" => load::Options::parse(args).map(drop),
        "replay" => replay::Options::parse(args).map(drop),
        "run" => fixed::Options::parse(args).map(drop),
        _ => return None,
    })
}

#[test]
fn any_words_are_a_clean_error_or_options() {
    let (mut taken, mut refused) = (0, 0);
    fuzz::run("command line", 6000, |rng| {
        let command = command(rng);
        let words = words(rng, command);
        let parsed = Args::new(command, words.clone()).and_then(|args| {
            if rng.bool()
                && let Some(ended) = options(command, &args)
            {
                return ended;
            }
            if command.flags().any(|flag| flag.name == "--timeout") {
                let server = Server::parse(&args, None)?;
                Connection::parse(&args, server)?;
            }
            Ok(())
        });
        match parsed {
            Ok(()) => taken += 1,
            Err(error) => {
                refused += 1;
                let shown = error.to_string();
                fuzz::assert_shown(&shown);
                assert!(!shown.contains(SECRET), "{words:?}: {shown}");
            }
        }
    });
    fuzz::assert_both(taken, refused);
}

#[test]
fn values_that_were_given_are_found_whatever_their_order() {
    fuzz::run("command line (grammar)", 3000, |rng| {
        let command = command(rng);
        let mut flags: Vec<Flag> = command.flags().collect();
        rng.shuffle(&mut flags);
        flags.truncate(5);
        let (mut words, mut given) = (Vec::new(), Vec::new());
        for flag in flags
            .into_iter()
            .filter(|flag| !flag.list && !flag.pair && !flag.words)
        {
            let value = match flag.value.is_empty() {
                true => String::new(),
                // A separate value must not look like an option.
                false => format!("v{}", word(rng)),
            };
            match value.is_empty() {
                true => words.push(flag.name.to_string()),
                false if rng.bool() => words.push(format!("{}={value}", flag.name)),
                false => words.extend([flag.name.to_string(), value.clone()]),
            }
            given.push((flag.name, value));
        }
        let args =
            Args::new(command, words.clone()).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        rng.shuffle(&mut given);
        for (name, value) in given {
            match value.is_empty() {
                true => assert!(args.has(name), "{words:?}"),
                false => assert_eq!(args.text(name), Some(value), "{words:?}"),
            }
        }
    });
}

#[test]
fn any_list_of_mock_options_is_a_clean_error_or_options() {
    let names: Vec<&str> = crate::mock::OPTIONS.iter().map(|spec| spec.name).collect();
    let (mut taken, mut refused) = (0, 0);
    fuzz::run("mock options", 6000, |rng| {
        let pairs = (0..rng.usize(1..5)).map(|_| {
            let name = names[rng.usize(..names.len())];
            format!("{name}={}", word(rng))
        });
        let list = pairs.collect::<Vec<_>>().join(",");
        match mock::options("--mock", crate::mock::Options::default(), &list) {
            Ok(_) => taken += 1,
            Err(error) => {
                refused += 1;
                fuzz::assert_shown(&error.to_string());
            }
        }
    });
    fuzz::assert_both(taken, refused);
}

#[test]
fn quantities_of_any_text_are_a_clean_error_or_in_their_range() {
    fuzz::run("quantities", 10_000, |rng| {
        let text = word(rng);
        for why in [
            above_zero(&text)
                .map(|duration| assert!(!duration.is_zero() && duration.as_secs() <= 1_000_000_000))
                .err(),
            at_least_one(&text).map(|count| assert!(count > 0)).err(),
            share(&text)
                .map(|share| assert!((0.0..=1.0).contains(&share)))
                .err(),
        ] {
            fuzz::assert_shown(&why.unwrap_or_default());
        }
    });
}
