//! The options of a command line, split once by the flag table.
//!
//! pico-args finds an option wherever its name stands and takes the next word, so it cannot tell `--a --b 1` from a
//! missing value, knows no lists, and strips quotes behind `=`. It splits off the command; its options are split here.

use std::fmt::Display;
use std::time::Duration;

use super::meant::meant;
use super::usage::{Flag, Usage};
use crate::client::endpoint::without_secrets;
use crate::error::{Error, Result};
use crate::units::{parse_count, parse_duration, parse_number, quoted};

#[cfg(test)]
mod fuzz;

/// The options of one command.
pub struct Args {
    usage: &'static Usage,
    /// The words without dashes.
    operands: Vec<String>,
    /// The options in their order: long name and one value each; a switch has an empty value.
    given: Vec<(&'static str, String)>,
}

impl Args {
    /// Checks every word against the command's flag table.
    pub fn new(usage: &'static Usage, words: Vec<String>) -> Result<Args> {
        let mut args = Args {
            usage,
            operands: Vec::new(),
            given: Vec::new(),
        };
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            let most = usage.most_operands();
            if !word.starts_with('-') && args.operands.len() < most {
                args.operands.push(word);
                continue;
            }
            let (name, joined) = match word.split_once('=') {
                Some((name, value)) if word.starts_with("--") => (name, Some(value.to_string())),
                _ => (word.as_str(), None),
            };
            let flag = find(usage, name)?;
            let is_repeated = args.given.iter().any(|(given, _)| *given == flag.name);
            if is_repeated && !flag.repeats && !flag.list {
                return Err(Error::input(name, "given twice"));
            }
            let is_value = |value: &String| {
                flag.words || !value.starts_with("--") && option(usage, value).is_none()
            };
            let values = values(&flag, name, joined, || words.next_if(is_value))?;
            args.given
                .extend(values.into_iter().map(|value| (flag.name, value)));
        }
        Ok(args)
    }

    /// Returns the word without dashes.
    ///
    /// # Errors
    /// Fails when the word is missing.
    pub fn operand(&self) -> Result<&str> {
        Ok(&self.operands()?[0])
    }

    /// Returns the URL that is the word without dashes, or the value of `--endpoint`.
    ///
    /// # Errors
    /// Fails when both are given, or neither.
    pub fn url(&self) -> Result<String> {
        match (self.text("--endpoint"), self.operands.is_empty()) {
            (Some(url), true) => Ok(url),
            (Some(_), false) => Err(Error::input(
                "--endpoint",
                "not together with a URL without an option, which says the same",
            )),
            (None, _) => self.operand().map(str::to_string),
        }
    }

    /// Returns the words without dashes, of which there is at least one.
    ///
    /// # Errors
    /// Fails when there is none.
    pub fn operands(&self) -> Result<&[String]> {
        let Usage { name, operand, .. } = self.usage;
        match &self.operands[..] {
            [] => Err(
                Error::input(name, format!("not given; want tmesh-cli {name} {operand}"))
                    .next(format!("Try: tmesh-cli {name} --help")),
            ),
            operands => Ok(operands),
        }
    }

    /// Returns the command's name.
    pub fn command(&self) -> &'static str {
        self.usage.name
    }

    /// Returns whether an option is given.
    pub fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(flag, _)| *flag == name)
    }

    /// Refuses pairs of options that exclude each other. The third text of a pair continues the message.
    pub fn apart(&self, pairs: &[(&'static str, &'static str, &str)]) -> Result<()> {
        let mut both = pairs
            .iter()
            .filter(|(one, other, _)| self.has(one) && self.has(other));
        both.next().map_or(Ok(()), |(one, other, more)| {
            Err(Error::input(
                one,
                format!("not together with {other}{more}"),
            ))
        })
    }

    /// Refuses an option that needs another one which is not given.
    pub fn only_with(&self, pairs: &[(&'static str, &'static str)]) -> Result<()> {
        let mut alone = pairs
            .iter()
            .filter(|(one, other)| self.has(one) && !self.has(other));
        alone.next().map_or(Ok(()), |(one, other)| {
            Err(Error::input(one, format!("only with {other}")))
        })
    }

    pub fn text(&self, name: &str) -> Option<String> {
        self.texts(name).next().map(str::to_string)
    }

    /// Returns every value of an option that may be repeated or takes several.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        let given = self.given.iter().filter(move |(flag, _)| *flag == name);
        given.map(|(_, value)| value.as_str())
    }

    /// Returns the parsed value; the error of `parse` says why it cannot be parsed.
    pub fn value<T, E: Display>(
        &self,
        name: &str,
        parse: impl FnMut(&str) -> std::result::Result<T, E>,
    ) -> Result<Option<T>> {
        Ok(self.list(name, parse)?.pop())
    }

    /// Returns all values of an option that takes several, in their order; the error of `parse` says why one is wrong.
    pub fn list<T, E: Display>(
        &self,
        name: &str,
        mut parse: impl FnMut(&str) -> std::result::Result<T, E>,
    ) -> Result<Vec<T>> {
        let is_secret = option(self.usage, name).is_some_and(|flag| flag.secret);
        let parsed = self.texts(name).map(|text| {
            let shown = if is_secret { "****" } else { text };
            parse(text).map_err(|why| Error::input(format!("{name} {shown}"), why))
        });
        parsed.collect()
    }
}

/// Returns the values of an option typed as `name`: the one joined to it by `=`, then as many words of `more` as it
/// takes.
fn values(
    flag: &Flag,
    name: &str,
    joined: Option<String>,
    mut more: impl FnMut() -> Option<String>,
) -> Result<Vec<String>> {
    if flag.value.is_empty() {
        return match joined {
            None => Ok(vec![String::new()]),
            Some(_) => Err(Error::input(name, "takes no value")),
        };
    }
    let first = joined.or_else(&mut more);
    let lacks = |what| {
        let why = format!("{what}; want {name} {}", flag.value);
        Error::input(name, why)
    };
    let first = first.ok_or_else(|| lacks("no value"))?;
    if flag.list {
        let all = std::iter::once(first).chain(std::iter::from_fn(more));
        return Ok(all.flat_map(|value| split(&value)).collect());
    }
    if flag.pair {
        let second = more().ok_or_else(|| lacks("one value"))?;
        return Ok(vec![first, second]);
    }
    Ok(vec![first])
}

/// Splits a list at its commas, except those inside braces.
fn split(text: &str) -> Vec<String> {
    let mut depth = 0;
    let parts = text.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let parts = parts.map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::to_string).collect()
}

/// Parses a duration above zero.
pub fn above_zero(text: &str) -> std::result::Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("want more than 0".to_string()),
        duration => Ok(duration),
    }
}

/// Parses a whole number above zero.
pub fn at_least_one(text: &str) -> std::result::Result<u64, String> {
    match parse_count(text)? {
        0 => Err("want 1 or more".to_string()),
        n => Ok(n),
    }
}

/// Parses a number from 0 to 1.
pub fn share(text: &str) -> std::result::Result<f64, String> {
    match parse_number(text)? {
        share if share <= 1.0 => Ok(share),
        _ => Err("want 0 to 1".to_string()),
    }
}

/// Parses a share such as `3%` or `0.03`.
pub fn percent(text: &str) -> std::result::Result<f64, String> {
    let (number, scale) = match text.trim().strip_suffix('%') {
        Some(number) => (number.trim_end(), 100.0),
        None => (text, 1.0),
    };
    match parse_number(number)? / scale {
        share if share <= 1.0 => Ok(share),
        _ => Err("want a share such as 3% or 0.03".to_string()),
    }
}

/// Returns the option with this long or short name.
fn option(usage: &Usage, name: &str) -> Option<Flag> {
    let is_named = |flag: &Flag| name == flag.name || !name.is_empty() && name == flag.short;
    usage.flags().find(is_named)
}

fn find(usage: &Usage, name: &str) -> Result<Flag> {
    if let Some(flag) = option(usage, name) {
        return Ok(flag);
    }
    let command = usage.name;
    let help = || format!("Try: tmesh-cli {command} --help");
    if !name.starts_with('-') {
        // The word may be a second URL, with a password in it.
        let word = without_secrets(name);
        let input = usage.flags().find(|flag| flag.name == "--input");
        let next = input.map(|flag| format!("Want: {} {}", flag.short, quoted(&word)));
        return Err(Error::input(&word, "not an option").next(next.unwrap_or_else(help)));
    }
    let why = format!("{command} has no such option");
    Err(Error::input(name, why).next(meant(usage, name).unwrap_or_else(help)))
}

#[cfg(test)]
mod tests {
    use super::super::flags::{BENCHMARK, CHECK_PROMETHEUS};
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
        let args = args(&["--contexts=7", "--seed", "9", "--insecure"]).expect("valid");
        assert_eq!(args.value("--contexts", parse_count), Ok(Some(7)));
        assert_eq!(args.value("--seed", parse_count), Ok(Some(9)));
        assert_eq!(args.value("--questions", parse_count), Ok(None));
        assert!(args.has("--insecure") && !args.has("--plain-http"));
    }

    #[test]
    fn words_of_another_program_may_begin_with_dashes() {
        static STARTING: Usage = Usage {
            name: "starting",
            operand: "",
            about: "starts another program",
            options: &["--hand-on WORDS  (words) its words\n--port PORT  its port"],
            examples: &[],
        };
        for value in ["--port 1 --x", "--port", "-o", "a, b", ""] {
            for words in [&["--hand-on", value][..], &[&format!("--hand-on={value}")]] {
                let words = words.iter().map(|word| word.to_string()).collect();
                let args = Args::new(&STARTING, words).expect(value);
                assert_eq!(args.texts("--hand-on").collect::<Vec<_>>(), [value]);
                assert_eq!(args.text("--port"), None, "{value}");
            }
        }
    }

    #[test]
    fn options_that_the_table_lacks_are_refused() {
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

    static LISTING: Usage = Usage {
        name: "listing",
        operand: "FILE",
        about: "takes lists",
        options: &["--sizes N…  (list) sizes
                    --on  a switch
                    -o, --output FILE  where to"],
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
            let args = args(line).expect(line);
            assert_eq!(args.text("--output").as_deref(), Some("r.json"), "{line}");
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
        assert!(
            error.starts_with("[ERROR] -x: listing has no such option"),
            "{error}"
        );
    }

    #[test]
    fn the_operand_is_the_word_without_dashes_and_there_is_one() {
        let words = |line: &str| line.split(' ').map(str::to_string).collect();
        let args = Args::new(&LISTING, words("--on a.jsonl")).expect("valid");
        assert_eq!(args.operand(), Ok("a.jsonl"));
        let none = Args::new(&LISTING, words("--on")).expect("valid");
        let text = none.operand().expect_err("none").to_string();
        assert!(text.starts_with("[ERROR] listing: not given; want tmesh-cli listing FILE"));
        let two = Args::new(&LISTING, words("a b")).err().expect("two");
        assert!(two.to_string().starts_with("[ERROR] b: not an option"));
    }

    #[test]
    fn a_url_is_given_with_or_without_its_option() {
        let url = |line: &str| {
            let words = line.split_whitespace().map(str::to_string).collect();
            Args::new(&CHECK_PROMETHEUS, words).expect(line).url()
        };
        assert_eq!(url("h:1").as_deref(), Ok("h:1"));
        assert_eq!(url("--endpoint h:1").as_deref(), Ok("h:1"));
        let both = url("h:1 --endpoint h:2").expect_err("two").to_string();
        assert_eq!(
            both,
            "[ERROR] --endpoint: not together with a URL without an option, which says the same"
        );
        let none = url("").expect_err("none").to_string();
        let wanted = "[ERROR] check prometheus: not given; want tmesh-cli check prometheus URL";
        assert!(none.starts_with(wanted), "{none}");
    }

    #[test]
    fn an_error_repeats_the_value_but_never_a_secret() {
        let bad = |_: &str| Err::<(), _>("bad");
        let args = args(&["--seed", "x", "--api-key", "s3cret"]).expect("valid");
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
