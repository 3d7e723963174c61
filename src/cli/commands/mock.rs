//! `tmesh-cli mock`: the mock server as a command, until a signal ends it.

use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;

use crate::cli::flags::nearest;
use crate::cli::output::make_room;
use crate::error::{Error, Result};
use crate::load::stop::Stop;
use crate::mock::{Mock, OPTIONS, Options};

/// Environment variable with the id of the process that started this mock for itself. The mock ends with that process,
/// even if it is killed.
pub const OWNER: &str = "TMESH_MOCK_OWNER";

/// Serves until SIGINT or SIGTERM.
pub fn run(words: &[String]) -> Result<u8> {
    let mut options = Options::default();
    let mut seen: Vec<String> = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--") else {
            return Err(Error::input(word, "not an option").next("Try: tmesh-cli mock --help"));
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, value),
            None => match words.next() {
                Some(value) => (flag, value.as_str()),
                None => {
                    return Err(Error::input(word, "no value").next("Try: tmesh-cli mock --help"));
                }
            },
        };
        let known = name.replace('-', "_");
        let what = format!("--{name} {}", shown(&known, value));
        once(&mut seen, &known, &what)?;
        options
            .set(&known, value)
            .map_err(|why| refused(&known, &what, why).next("Try: tmesh-cli mock --help"))?;
    }
    let stop = Stop::new();
    stop.on_signals()?;
    make_room(options.truth_log.as_deref())?;
    let mock = Mock::start(options)?;
    let who = match mock.is_loopback() {
        true => "for this machine only: --host opens it to others",
        false => "open to other machines",
    };
    crate::cli::terminal::print(&format!(
        "mock server on {}/v1/ (a simulation: no engine, no model; {who})\n",
        mock.url()
    ))?;
    let owner = std::env::var(OWNER).ok();
    let is_orphan = || {
        let parent = std::os::unix::process::parent_id().to_string();
        owner.as_ref().is_some_and(|owner| *owner != parent)
    };
    // This channel disconnects at the signal; nothing is sent on it.
    while stop.woken().recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
        if is_orphan() {
            break;
        }
    }
    Ok(0)
}

/// Parses the options of `--mock 'name=value,…'`, or of a `flag` like it; options not in the list stay as in `options`.
pub fn options(flag: &str, mut options: Options, list: &str) -> Result<Options> {
    let mut seen: Vec<String> = Vec::new();
    for pair in list.split(',').filter(|pair| !pair.trim().is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            Error::input(
                format!("{flag} {pair}"),
                "want NAME=VALUE pairs, such as itl=10ms,tier2_tokens=4M",
            )
        })?;
        let name = name.trim().replace('-', "_");
        let what = format!("{flag} {name}={}", shown(&name, value));
        once(&mut seen, &name, &what)?;
        options
            .set(&name, value.trim())
            .map_err(|why| refused(&name, &what, why))?;
    }
    Ok(options)
}

fn once(seen: &mut Vec<String>, name: &str, what: &str) -> Result<()> {
    if seen.iter().any(|known| known == name) {
        return Err(Error::input(what, "given twice"));
    }
    seen.push(name.to_string());
    Ok(())
}

/// Returns an error about an option, with the nearest name if one is near.
fn refused(name: &str, what: &str, why: String) -> Error {
    let error = Error::input(what, why);
    let names = OPTIONS.iter().map(|spec| spec.name);
    match nearest(name, names).filter(|near| *near != name) {
        Some(near) => error.next(format!("Did you mean {near}?")),
        None => error,
    }
}

/// Returns the options of `--mock` as files may have them: without a key.
pub fn shown_list(list: &str) -> String {
    let shown = list.split(',').map(|pair| match pair.split_once('=') {
        Some((name, value)) => {
            let value = shown(&name.trim().replace('-', "_"), value);
            format!("{name}={value}")
        }
        None => pair.to_string(),
    });
    shown.collect::<Vec<_>>().join(",")
}

/// Returns the value as an error may show it; `name` is the table's.
fn shown<'a>(name: &str, value: &'a str) -> &'a str {
    if name == "api_key" { "****" } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_twice_is_refused_and_a_slip_finds_its_name() {
        let error = |list: &str| {
            options("--mock", Options::default(), list)
                .err()
                .expect("an error")
                .to_string()
        };
        assert_eq!(
            error("itl=1ms,itl=2ms"),
            "[ERROR] --mock itl=2ms: given twice"
        );
        assert!(error("tier2_token=1").ends_with("Did you mean tier2_tokens?"));
        let words = ["--port", "1", "--port=2"].map(str::to_string);
        assert_eq!(
            run(&words).expect_err("twice").to_string(),
            "[ERROR] --port 2: given twice"
        );
    }
}
