//! The command line: picks the command, shows help, prints to stdout.

mod args;
mod checks;
mod commands;
mod conditions;
mod connect;
mod credentials;
mod discover;
mod flags;
mod folder;
mod help;
mod lines_file;
mod mock_process;
mod output;
mod pass;
mod scrape_lines;
mod side;
mod slo;
mod startup;

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;

use self::args::Args;
use self::commands::{benchmark, check, convert, load, mock, replay, report, run};
use self::flags::{COMMANDS, nearest};
use crate::backend;
use crate::error::{Error, Result};

/// Runs what the words after the program's name ask for; the exit code.
///
/// # Errors
/// What stops the program.
pub fn run(words: Vec<std::ffi::OsString>) -> Result<u8> {
    let mut words = words.into_iter().map(|word| {
        word.into_string()
            .map_err(|word| Error::input(word.to_string_lossy(), "not valid UTF-8"))
    });
    let first = words.next().transpose()?;
    let mut rest: Vec<String> = words.collect::<Result<_>>()?;
    let first = match first.as_deref() {
        None => {
            return Err(
                Error::input("command", "none given").next(help::overview().trim_end().to_string())
            );
        }
        Some("help") if !rest.is_empty() => {
            rest.push("--help".to_string());
            return run(rest.into_iter().map(Into::into).collect());
        }
        Some("-h" | "--help" | "help") => {
            print(&help::overview())?;
            return Ok(0);
        }
        Some("-V" | "--version") => {
            print(&help::version())?;
            return Ok(0);
        }
        Some(name) => name.to_string(),
    };
    let asks_help = |words: &[String]| words.iter().any(|word| word == "-h" || word == "--help");
    let first = match with_subject(first, &mut rest) {
        Err(_) if asks_help(&rest) => {
            print(&help::overview())?;
            return Ok(0);
        }
        named => named?,
    };
    let Some(command) = COMMANDS.iter().find(|command| command.name == first) else {
        let error = Error::input(&first, "no such command");
        return Err(
            match nearest(&first, COMMANDS.iter().map(|command| command.name)) {
                Some(near) => error.next(format!("Did you mean {near}?")),
                None => error.next("Try: tmesh-cli --help"),
            },
        );
    };
    if asks_help(&rest) {
        print(&help::command(command))?;
        return Ok(0);
    }
    if command.name == flags::MOCK.name {
        return mock::run(&rest);
    }
    dispatch(command.name, Args::new(command, rest)?)
}

/// Runs a command other than `mock`, whose options are a table of their own.
fn dispatch(command: &str, args: Args) -> Result<u8> {
    match command {
        "load" => load::run(args),
        "replay" => replay::run(args),
        "report" => report::run(args),
        "run" => run::run(args),
        "check client" => check::client::run(args),
        "check dataset" => check::dataset::run(args),
        "check endpoint" => check::endpoint::run(args),
        "check prometheus" => check::prometheus::run(args),
        "convert longbench" => convert::longbench(args),
        "convert sharegpt" => convert::sharegpt(args),
        _ => benchmark::run(args),
    }
}

/// The name of a command of two words, such as `check client`, from its first word and those behind it.
fn with_subject(first: String, rest: &mut Vec<String>) -> Result<String> {
    let prefix = format!("{first} ");
    let names = COMMANDS.iter().map(|command| command.name);
    let ours: Vec<&str> = names.filter(|name| name.starts_with(&prefix)).collect();
    if ours.is_empty() {
        return Ok(first);
    }
    if rest.first().is_some_and(|word| !word.starts_with('-')) {
        return Ok(prefix + &rest.remove(0));
    }
    let why = format!("of what? want {}", ours.join(", "));
    Err(Error::input(first, why).next(format!("Try: tmesh-cli {} --help", ours[0])))
}

/// Writes to stdout at once. When nobody reads it any more the program ends with 0, as `| head` wants it.
pub fn print(text: &str) -> Result<()> {
    if !is_read(std::io::stdout().lock(), text)? {
        backend::kill_all();
        std::process::exit(0)
    }
    Ok(())
}

/// The same where the exit code is still to be found: it is what it is, whoever reads.
pub fn print_last(text: &str) -> Result<()> {
    is_read(std::io::stdout().lock(), text).map(|_| ())
}

/// Writes at once; whether somebody reads it.
fn is_read(mut out: impl Write, text: &str) -> Result<bool> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Error::missed("stdout", e)),
        Ok(()) => Ok(true),
    }
}

/// The columns of a terminal, 80 where it does not say; `None`: it is none.
pub fn terminal_width(stream: impl IsTerminal + AsFd) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stream);
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    Some(if columns == 0 { 80 } else { columns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_reading_is_told_from_a_text_that_cannot_be_written() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        assert_eq!(is_read(&writer, "text"), Ok(true));
        drop(reader);
        assert_eq!(is_read(&writer, "text"), Ok(false));
        let full = std::fs::File::options().write(true).open("/dev/full");
        let error = is_read(full.expect("a device"), "text").expect_err("no space");
        assert!(error.to_string().starts_with("[ERROR] stdout: "), "{error}");
    }
}
