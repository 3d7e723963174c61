//! The command line: picks the command, or shows help.

mod args;
mod checks;
mod commands;
mod common;
mod condition;
mod connect;
mod counters;
mod credentials;
mod discover;
mod feedback;
mod flags;
mod flow;
mod given;
mod help;
mod host;
mod meant;
mod mock_process;
mod output;
mod reset;
mod run;
mod saved;
mod scrapes;
mod shard;
mod side;
mod silence;
mod slo;
mod start;
mod step;
mod terminal;
mod topics;
mod usage;
mod verdict;

use std::ffi::OsString;

use pico_args::Arguments;

use self::args::Args;
use self::commands::{COMMANDS, Run};
use self::flags::did_you_mean;
use self::terminal::{page, print};
use self::topics::TOPICS;
use crate::error::{Error, Result};
use crate::tty::be_quiet;

/// Runs the command that the words after the program's name ask for, and returns the exit code.
///
/// # Errors
/// Fails with the error that stops the program.
pub fn run(words: Vec<OsString>) -> Result<u8> {
    if let Some(word) = words.iter().find(|word| word.to_str().is_none()) {
        return Err(Error::input(word.to_string_lossy(), "not valid UTF-8"));
    }
    let mut words = Arguments::from_vec(words);
    let first: Option<String> = words.opt_free_from_str().unwrap_or_default();
    match first.as_deref() {
        None => {
            let error = Error::input("command", "none given");
            Err(error.next(topics::overview().trim_end()))
        }
        Some("help") => help_on(words),
        Some("-h" | "--help") => told(&topics::overview()),
        Some("-V" | "--version") => told(&help::version()),
        Some(first) => start(first, words),
    }
}

fn told(text: &str) -> Result<u8> {
    print(text)?;
    Ok(0)
}

/// Runs `help`, `help TOPIC` and `help COMMAND`.
fn help_on(words: Arguments) -> Result<u8> {
    let rest = words.finish();
    let word = match &rest[..] {
        [] => return told(&topics::overview()),
        [word] if word == "-h" || word == "--help" => return told(&topics::overview()),
        [word, ..] => word.to_string_lossy().into_owned(),
    };
    if let Some(topic) = topics::find(&word).filter(|_| rest.len() == 1) {
        page(&topic.text())?;
        return Ok(0);
    }
    let names = COMMANDS.iter().map(|command| command.usage.name);
    let first_words = names.filter_map(|name| name.split(' ').next());
    let mut known: Vec<&str> = first_words.collect();
    if known.contains(&word.as_str()) {
        return run(rest.into_iter().chain(["--help".into()]).collect());
    }
    known.extend(TOPICS.iter().map(|topic| topic.name));
    let near = did_you_mean(&word, known.into_iter());
    let next = near.unwrap_or_else(|| "Try: tmesh-cli help".to_string());
    Err(Error::input(format!("help {word}"), "no such command or topic").next(next))
}

/// Starts the command that `first` names, alone or with the next word.
fn start(first: &str, mut words: Arguments) -> Result<u8> {
    let name = with_subject(first, &mut words);
    let asks_help = words.contains(["-h", "--help"]);
    if name.is_err() && asks_help {
        return told(&help::group(first));
    }
    let name = name?;
    let Some(command) = COMMANDS.iter().find(|one| one.usage.name == name) else {
        let names = COMMANDS.iter().map(|one| one.usage.name);
        let near = did_you_mean(&name, names);
        let next = near.unwrap_or_else(|| "Try: tmesh-cli --help".to_string());
        return Err(Error::input(&name, "no such command").next(next));
    };
    if asks_help {
        return told(&help::command(command));
    }
    let words = words.finish().into_iter();
    // All words were checked to be UTF-8.
    let words = words.map(|word| word.to_string_lossy().into_owned());
    let words: Vec<String> = words.collect();
    match command.run {
        Run::Options(run) => {
            let args = Args::new(command.usage, words)?;
            if args.has("--quiet") {
                be_quiet();
            }
            run(&args)
        }
        Run::Mock(run) => run(&words),
    }
}

/// Returns the name of a two-word command, such as `check client`, from its first word and the words behind it.
fn with_subject(first: &str, words: &mut Arguments) -> Result<String> {
    let prefix = format!("{first} ");
    let names = COMMANDS.iter().map(|command| command.usage.name);
    let ours: Vec<&str> = names.filter(|name| name.starts_with(&prefix)).collect();
    if ours.is_empty() {
        return Ok(first.to_string());
    }
    if let Ok(Some(subject)) = words.subcommand() {
        return Ok(prefix + &subject);
    }
    let why = format!("no subject given; want {}", ours.join(", "));
    Err(Error::input(first, why).next(format!("Try: tmesh-cli {} --help", ours[0])))
}
