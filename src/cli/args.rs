//! Options from the command line: a strict wrapper over pico-args.
//!
//! pico-args does not know which options exist: unknown ones, values that are missing, and options
//! given twice are found here first, by the flag table.

use std::ffi::OsString;
use std::fmt::Display;
use std::time::Duration;

use super::flags::{Command, Flag, nearest};
use crate::error::{Error, Result};
use crate::units::{parse_count, parse_duration, parse_number};

#[cfg(test)]
mod fuzz;

/// The options of one command, to be taken out one by one.
pub struct Args {
    command: &'static Command,
    words: pico_args::Arguments,
    operand: Option<String>,
    /// Values of the options that take several, or the words of another program.
    lists: Vec<(&'static str, String)>,
}

impl Args {
    /// Checks every word against the command's table.
    pub fn new(command: &'static Command, words: Vec<String>) -> Result<Args> {
        let mut args = Args {
            command,
            words: pico_args::Arguments::from_vec(Vec::new()),
            operand: None,
            lists: Vec::new(),
        };
        let mut checked: Vec<OsString> = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            if !word.starts_with('-') && !command.operand.is_empty() && args.operand.is_none() {
                args.operand = Some(word);
                continue;
            }
            let (name, joined) = match word.split_once('=') {
                Some((name, value)) if word.starts_with("--") => (name, Some(value.to_string())),
                _ => (word.as_str(), None),
            };
            let flag = find(command, name)?;
            if seen.contains(&flag.name) && !flag.repeats && !flag.list {
                return Err(Error::input(name, "given twice"));
            }
            seen.push(flag.name);
            if flag.value.is_empty() {
                if joined.is_some() {
                    return Err(Error::input(name, "takes no value"));
                }
                checked.push(flag.name.into());
                continue;
            }
            let is_value = |value: &String| {
                flag.words || !value.starts_with("--") && short(command, value).is_none()
            };
            let mut more = || words.next_if(is_value);
            let Some(value) = joined.or_else(&mut more) else {
                let why = format!("no value; want {name} {}", flag.value);
                return Err(Error::input(name, why));
            };
            if flag.list {
                let values = std::iter::once(value).chain(std::iter::from_fn(more));
                args.lists.extend(
                    values
                        .flat_map(|value| split(&value))
                        .map(|v| (flag.name, v)),
                );
            } else if flag.pair {
                let Some(second) = more() else {
                    let why = format!("one value; want {name} {}", flag.value);
                    return Err(Error::input(name, why));
                };
                args.lists.extend([(flag.name, value), (flag.name, second)]);
            } else if flag.words {
                // Kept from pico-args, which would take it for an option.
                args.lists.push((flag.name, value));
            } else {
                checked.extend([flag.name.into(), value.into()]);
            }
        }
        args.words = pico_args::Arguments::from_vec(checked);
        Ok(args)
    }

    /// The word without dashes.
    ///
    /// # Errors
    /// When it is missing.
    pub fn operand(&mut self) -> Result<String> {
        let Command { name, operand, .. } = self.command;
        self.operand.take().ok_or_else(|| {
            Error::input(name, format!("none given; want tmesh-cli {name} {operand}"))
                .next(format!("Try: tmesh-cli {name} --help"))
        })
    }

    /// All values of an option that takes several, in their order; `parse` says why one is wrong. For one that
    /// takes words, its one value.
    pub fn list<T, E: Display>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> std::result::Result<T, E>,
    ) -> Result<Vec<T>> {
        let values = self.lists.iter().filter(|(flag, _)| *flag == name);
        values
            .map(|(_, text)| parse(text).map_err(|why| Error::input(format!("{name} {text}"), why)))
            .collect()
    }

    /// The command's name.
    pub fn command(&self) -> &'static str {
        self.command.name
    }

    pub fn switch(&mut self, name: &'static str) -> bool {
        self.words.contains(name)
    }

    pub fn text(&mut self, name: &'static str) -> Result<Option<String>> {
        self.value(name, |text| Ok::<_, String>(text.to_string()))
    }

    /// Every value of an option that may be repeated.
    pub fn texts(&mut self, name: &'static str) -> Result<Vec<String>> {
        self.words
            .values_from_str(name)
            .map_err(|e| Error::input(name, e))
    }

    /// The parsed value; `parse` says why it cannot.
    pub fn value<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> std::result::Result<T, E>,
    ) -> Result<Option<T>> {
        let text: Option<String> = self
            .words
            .opt_value_from_str(name)
            .map_err(|e| Error::input(name, e))?;
        let Some(text) = text else { return Ok(None) };
        let secret = self
            .command
            .flags()
            .any(|flag| flag.name == name && flag.secret);
        let shown = if secret { "****" } else { &text };
        parse(&text)
            .map(Some)
            .map_err(|why| Error::input(format!("{name} {shown}"), why))
    }
}

/// The values of a list that is written with commas; those inside of braces belong to a value.
fn split(text: &str) -> Vec<String> {
    let mut depth = 0;
    let parts = text.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let parts = parts.map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::to_string).collect()
}

/// A duration above zero.
pub fn above_zero(text: &str) -> std::result::Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("want more than 0".to_string()),
        duration => Ok(duration),
    }
}

/// A whole number above zero.
pub fn at_least_one(text: &str) -> std::result::Result<u64, String> {
    match parse_count(text)? {
        0 => Err("want 1 or more".to_string()),
        n => Ok(n),
    }
}

/// A number from 0 to 1.
pub fn share(text: &str) -> std::result::Result<f64, String> {
    match parse_number(text)? {
        share if share <= 1.0 => Ok(share),
        _ => Err("want 0 to 1".to_string()),
    }
}

/// The option of this short name, such as `-o`.
fn short(command: &Command, name: &str) -> Option<&'static Flag> {
    let mut flags = command.flags().filter(|flag| !flag.short.is_empty());
    flags.find(|flag| flag.short == name)
}

fn find(command: &Command, name: &str) -> Result<&'static Flag> {
    if let Some(flag) = short(command, name) {
        return Ok(flag);
    }
    if !name.starts_with("--") {
        return Err(Error::input(name, "not an option")
            .next(format!("Try: tmesh-cli {} --help", command.name)));
    }
    command
        .flags()
        .find(|flag| flag.name == name)
        .ok_or_else(|| {
            let error = Error::input(name, format!("{} has no such option", command.name));
            match nearest(name, command.flags().map(|flag| flag.name)) {
                Some(near) => error.next(format!("Did you mean {near}?")),
                None => error.next(format!("Try: tmesh-cli {} --help", command.name)),
            }
        })
}

#[cfg(test)]
mod tests {
    use super::super::flags::{BENCHMARK, flag};
    use super::*;

    fn args(words: &[&str]) -> Result<Args> {
        Args::new(
            &BENCHMARK,
            words.iter().map(|word| word.to_string()).collect(),
        )
    }

    fn error(words: &[&str]) -> String {
        args(words).err().expect("an error").to_string()
    }

    #[test]
    fn values_come_after_a_space_or_an_equals_sign() {
        let mut args = args(&["--contexts=7", "--seed", "9", "--insecure"]).expect("valid");
        assert_eq!(args.value("--contexts", parse_count), Ok(Some(7)));
        assert_eq!(args.value("--seed", parse_count), Ok(Some(9)));
        assert_eq!(args.value("--questions", parse_count), Ok(None));
        assert!(args.switch("--insecure") && !args.switch("--plain-http"));
    }

    #[test]
    fn words_of_another_program_may_begin_with_dashes() {
        static STARTING: Command = Command {
            name: "starting",
            operand: "",
            about: "starts another program",
            groups: &[&super::super::flags::Group {
                title: "Program",
                flags: &[
                    Flag {
                        words: true,
                        ..flag("--hand-on", "WORDS", "", "its words")
                    },
                    flag("--port", "PORT", "", "its port"),
                ],
            }],
            examples: &[],
        };
        for value in ["--port 1 --x", "--port", "-o", "a, b", ""] {
            for words in [&["--hand-on", value][..], &[&format!("--hand-on={value}")]] {
                let words = words.iter().map(|word| word.to_string()).collect();
                let mut args = Args::new(&STARTING, words).expect(value);
                let text = |text: &str| Ok::<_, String>(text.to_string());
                assert_eq!(args.list("--hand-on", text).expect(value), [value]);
                assert_eq!(args.text("--port"), Ok(None), "{value}");
            }
        }
    }

    #[test]
    fn what_the_table_does_not_know_is_refused() {
        assert!(error(&["--contxts", "1"]).ends_with("Did you mean --contexts?"));
        assert!(error(&["stray"]).starts_with("[ERROR] stray: not an option"));
        assert!(error(&["--seed", "1", "--seed", "2"]).contains("given twice"));
        assert!(error(&["--insecure=1"]).contains("takes no value"));
        assert_eq!(
            error(&["--seed", "--insecure"]),
            "[ERROR] --seed: no value; want --seed N"
        );
        assert_eq!(
            error(&["--seed"]),
            "[ERROR] --seed: no value; want --seed N"
        );
    }

    static LISTING: Command = Command {
        name: "listing",
        operand: "FILE",
        about: "takes lists",
        groups: &[&super::super::flags::Group {
            title: "Lists",
            flags: &[
                Flag {
                    list: true,
                    ..flag("--sizes", "N…", "", "sizes")
                },
                flag("--on", "", "", "a switch"),
                Flag {
                    short: "-o",
                    ..flag("--output", "FILE", "", "where to")
                },
            ],
        }],
        examples: &[],
    };

    #[test]
    fn a_list_takes_words_commas_and_repetition_in_their_order() {
        let text = |value: &str| Ok::<_, String>(value.to_string());
        for (line, wanted) in [
            ("--sizes 5 10 20 --on", vec!["5", "10", "20"]),
            ("f --sizes 5,10 --on --sizes=20", vec!["5", "10", "20"]),
            (r#"--sizes a{x="1,2"},b"#, vec![r#"a{x="1,2"}"#, "b"]),
            ("--on", vec![]),
        ] {
            let words = line.split(' ').map(str::to_string).collect();
            let args = Args::new(&LISTING, words).expect(line);
            assert_eq!(args.list("--sizes", text).expect(line), wanted, "{line}");
        }
        let none = Args::new(&LISTING, vec!["--sizes".into(), "--on".into()]);
        let text = none.err().expect("no value").to_string();
        assert_eq!(text, "[ERROR] --sizes: no value; want --sizes N…");
    }

    #[test]
    fn a_short_name_is_its_long_one_and_no_value() {
        let args = |line: &str| {
            let words = line.split(' ').map(str::to_string).collect();
            Args::new(&LISTING, words)
        };
        for line in ["-o r.json", "--output r.json", "--sizes 5 -o r.json"] {
            let output = args(line).expect(line).text("--output");
            assert_eq!(output, Ok(Some("r.json".to_string())), "{line}");
        }
        for (line, wanted) in [
            ("-o", "[ERROR] -o: no value; want -o FILE"),
            ("-o a --output b", "[ERROR] --output: given twice"),
            (
                "--output -o",
                "[ERROR] --output: no value; want --output FILE",
            ),
        ] {
            let error = args(line).err().expect(line).to_string();
            assert_eq!(error, wanted, "{line}");
        }
        let error = args("-x y").err().expect("unknown").to_string();
        assert!(error.starts_with("[ERROR] -x: not an option"), "{error}");
    }

    #[test]
    fn the_operand_is_the_word_without_dashes_and_there_is_one() {
        let words = |line: &str| line.split(' ').map(str::to_string).collect();
        let mut args = Args::new(&LISTING, words("--on a.jsonl")).expect("valid");
        assert_eq!(args.operand(), Ok("a.jsonl".to_string()));
        let text = args.operand().expect_err("taken").to_string();
        assert!(text.starts_with("[ERROR] listing: none given; want tmesh-cli listing FILE"));
        let two = Args::new(&LISTING, words("a b")).err().expect("two");
        assert!(two.to_string().starts_with("[ERROR] b: not an option"));
    }

    #[test]
    fn an_error_repeats_the_value_but_never_a_secret() {
        let bad = |_: &str| Err::<(), _>("bad");
        let mut args = args(&["--seed", "x", "--api-key", "s3cret"]).expect("valid");
        assert_eq!(
            args.value("--seed", bad).expect_err("bad").to_string(),
            "[ERROR] --seed x: bad"
        );
        assert_eq!(
            args.value("--api-key", bad).expect_err("bad").to_string(),
            "[ERROR] --api-key ****: bad"
        );
    }
}
