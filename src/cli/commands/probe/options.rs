//! The options of `probe`, as typed and checked against each other.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::args::{Args, above_zero, at_least_one};
use crate::cli::common::Common;
use crate::cli::connect::{Connection, Server};
use crate::cli::counters::PageUrl;
use crate::cli::credentials::key_in_file;
use crate::cli::flags::did_you_mean;
use crate::cli::side::SideUrl;
use crate::client::discovery::Listed;
use crate::client::endpoint::Endpoint;
use crate::client::secret::ApiKey;
use crate::error::{Error, Result};
use crate::experiment::probe::Name;
use crate::sample::find;

/// Output tokens of the longest answer that a step asks for.
const ANSWER_TOKENS: u64 = 8;
/// The longest context where the server names no limit.
const ASSUMED_TOKENS: u64 = 32_000;
/// The least length of the longest context.
const LEAST_TOKENS: u64 = 64;
/// Prompts whose lengths are predicted from two counted texts may be longer by one in this many tokens.
const TOLERANCE: u64 = 100;

/// The steps that need an option of their own, each with that option.
const NEEDS: [(Name, &str); 3] = [
    (Name::Reset, "--reset-cache-url"),
    (Name::Ttl, "--ttl"),
    (Name::Sharing, "--other-key-file"),
];

/// The options of a probe: its steps, its limits, and the files that it writes.
pub struct Options {
    pub steps: Vec<Name>,
    pub ignores_usage: bool,
    /// Most prompt tokens to send; `None`: no limit.
    pub budget_tokens: Option<u64>,
    max_context_tokens: Option<u64>,
    pub reset: Option<SideUrl>,
    pub ttl: Option<Duration>,
    pub other_key: Option<ApiKey>,
    pub fails_on_lies: bool,
    pub samples: Option<String>,
    pub output: Option<String>,
    /// The server's page of metrics.
    pub page: PageUrl,
    pub common: Common,
}

/// The longest context, and what decides it.
pub struct Longest {
    pub tokens: u64,
    pub why: String,
}

impl Options {
    pub fn parse(args: &Args, connection: &Connection) -> Result<Options> {
        let options = Options {
            steps: steps(args)?,
            ignores_usage: args.has("--ignore-usage"),
            budget_tokens: args.value("--budget-tokens", at_least_one)?,
            max_context_tokens: args.value("--max-context", |text| match at_least_one(text)? {
                tokens if tokens < LEAST_TOKENS => Err(format!("want {LEAST_TOKENS} or more")),
                tokens => Ok(tokens),
            })?,
            reset: SideUrl::of_flag(args, "--reset-cache-url", "/reset_prefix_cache")?,
            ttl: args.value("--ttl", above_zero)?,
            other_key: key_in_file(args, "--other-key-file")?,
            fails_on_lies: args.has("--fail-on-lies"),
            samples: args.text("--samples"),
            output: args.text("--output"),
            page: PageUrl::parse(args)?,
            common: Common::parse(args)?,
        };
        if options.other_key.is_some() && options.other_key == connection.key {
            let why = "the same key as the one that all other requests carry";
            return Err(Error::input("--other-key-file", why));
        }
        options.check_budget(connection)?;
        Ok(options)
    }

    /// Refuses to fill a cache that others may use, unless the user has said how far.
    fn check_budget(&self, connection: &Connection) -> Result<()> {
        let Server::Url(typed) = &connection.server else {
            return Ok(());
        };
        // `Connection::open` reports what is wrong with a URL.
        let Ok(endpoint) = Endpoint::parse(typed) else {
            return Ok(());
        };
        if self.budget_tokens.is_some() || endpoint.is_loopback() {
            return Ok(());
        }
        let shown = endpoint.shown_url("");
        let why = format!(
            "not given, and {shown} is not this machine; a probe fills the cache of its server, which evicts what others have cached there"
        );
        let error = Error::input("--budget-tokens", why);
        Err(error.next("Say how many prompt tokens it may send, such as --budget-tokens 2M"))
    }

    /// Returns the longest context: the user's, else as long as the model takes beside an answer.
    ///
    /// # Errors
    /// Fails when the model does not take such a context.
    pub fn longest(&self, model: &Listed) -> Result<Longest> {
        let room = model
            .max_model_len
            .map(|limit| (limit, limit.saturating_sub(1 + ANSWER_TOKENS)));
        match (self.max_context_tokens, room) {
            (Some(tokens), Some((limit, room))) if tokens > room => {
                let what = format!("--max-context {tokens}");
                let why = format!(
                    "with an answer of {ANSWER_TOKENS} tokens more than the {limit} that {} accepts",
                    model.id
                );
                Err(Error::input(what, why).next(format!("Try: --max-context {room}")))
            }
            (Some(tokens), _) => Ok(Longest {
                tokens,
                why: "--max-context".to_string(),
            }),
            (None, Some((limit, room))) if room - room / TOLERANCE < LEAST_TOKENS => {
                let why = format!("accepts {limit} tokens; want at least {}", 2 * LEAST_TOKENS);
                Err(Error::input(&model.id, why))
            }
            (None, Some((limit, room))) => Ok(Longest {
                tokens: room - room / TOLERANCE,
                why: format!("the model accepts {limit}"),
            }),
            (None, None) => Ok(Longest {
                tokens: ASSUMED_TOKENS,
                why: "assumed, since the server names no limit; --max-context sets another"
                    .to_string(),
            }),
        }
    }

    /// Returns the run's options for the header.
    pub fn header(&self, longest: &Longest) -> Value {
        let steps: Vec<&str> = self.steps.iter().map(|step| step.name()).collect();
        json!({
            "steps": steps,
            "ignores_usage": self.ignores_usage,
            "budget_tokens": self.budget_tokens,
            "max_context_tokens": longest.tokens,
            "reset_cache_url": self.reset.as_ref().map(|url| url.shown.as_str()),
            "ttl_s": self.ttl.map(|ttl| ttl.as_secs_f64()),
            "has_other_key": self.other_key.is_some(),
        })
    }
}

/// Returns the steps in their order: those that are named, else all for which no option is missing; always the first
/// one, which the others need.
fn steps(args: &Args) -> Result<Vec<Name>> {
    let mut named = Vec::new();
    for text in args.texts("--steps") {
        named.push(step(text)?);
    }
    let lacks = |step: &Name| {
        let mut needs = NEEDS.iter();
        let needed = needs.find(|(needing, _)| needing == step);
        needed.filter(|(_, option)| !args.has(option))
    };
    if let Some((step, option)) = named.iter().find_map(lacks) {
        let what = format!("--steps {}", step.name());
        return Err(Error::input(what, format!("only with {option}")));
    }
    let is_picked = !named.is_empty();
    let mut needs = NEEDS.iter();
    if let Some((step, option)) =
        needs.find(|(step, option)| is_picked && args.has(option) && !named.contains(step))
    {
        let why = format!(
            "only with the step {}, which --steps leaves out",
            step.name()
        );
        return Err(Error::input(option, why));
    }
    let all = Name::NAMES.iter().map(|(step, _)| *step);
    let is_asked = |step: &Name| match is_picked {
        true => named.contains(step) || *step == Name::Separability,
        false => lacks(step).is_none(),
    };
    Ok(all.filter(is_asked).collect())
}

fn step(text: &str) -> Result<Name> {
    if let Some(step) = find(&Name::NAMES, text) {
        return Ok(step);
    }
    let names = Name::NAMES.map(|(_, name)| name);
    let all = names.join(", ");
    let error = Error::input(
        format!("--steps {text}"),
        format!("no such step; want {all}"),
    );
    Err(match did_you_mean(text, names.into_iter()) {
        Some(meant) => error.next(meant),
        None => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::flags::PROBE;

    fn parsed(line: &str) -> Result<Options> {
        let words = line.split_whitespace().map(str::to_string).collect();
        let args = Args::new(&PROBE, words)?;
        let connection = Connection::parse(&args, Server::parse(&args, None)?)?;
        Options::parse(&args, &connection)
    }

    fn names(line: &str) -> String {
        let options = parsed(line).expect(line);
        let names: Vec<&str> = options.steps.iter().map(|step| step.name()).collect();
        names.join(" ")
    }

    #[test]
    fn steps_that_need_an_option_are_taken_where_it_is_given() {
        for (line, wanted) in [
            (
                "--backend mock",
                "separability usage reuse block capacity order answer",
            ),
            (
                "--backend mock --ttl 5s --reset-cache-url h",
                "separability usage reuse block capacity order answer ttl reset",
            ),
            (
                "--backend mock --steps order,block",
                "separability block order",
            ),
        ] {
            assert_eq!(names(line), wanted, "{line}");
        }
    }

    #[test]
    fn options_that_do_not_fit_are_refused() {
        let all = "separability, usage, reuse, block, capacity, order, answer, sharing, ttl, reset";
        let unknown =
            format!("[ERROR] --steps capacty: no such step; want {all}\nDid you mean capacity?");
        for (line, wanted) in [
            ("--backend mock --steps capacty", unknown.as_str()),
            (
                "--backend mock --steps ttl",
                "[ERROR] --steps ttl: only with --ttl",
            ),
            (
                "--backend mock --steps block --ttl 1m",
                "[ERROR] --ttl: only with the step ttl, which --steps leaves out",
            ),
            (
                "--backend mock --max-context 9",
                "[ERROR] --max-context 9: want 64 or more",
            ),
            (
                "--endpoint http://192.0.2.1:8000",
                "[ERROR] --budget-tokens: not given, and http://192.0.2.1:8000/v1/ is not this machine; a probe fills the cache of its server, which evicts what others have cached there\nSay how many prompt tokens it may send, such as --budget-tokens 2M",
            ),
        ] {
            let error = parsed(line).err().expect(line).to_string();
            assert_eq!(error, wanted);
        }
        for fine in [
            "--endpoint 192.0.2.1:8000 --budget-tokens 2M",
            "--endpoint localhost:8000",
        ] {
            assert!(parsed(fine).is_ok(), "{fine}");
        }
    }

    #[test]
    fn the_longest_context_leaves_room_for_an_answer() {
        let longest = |line: &str, limit| {
            let model = Listed {
                id: "m".to_string(),
                max_model_len: limit,
            };
            let longest = parsed(line).expect(line).longest(&model);
            longest.map(|longest| longest.tokens)
        };
        // 4096 - 9 = 4087, less one in a hundred.
        assert_eq!(longest("--backend mock", Some(4096)), Ok(4047));
        assert_eq!(longest("--backend mock", None), Ok(32_000));
        assert_eq!(
            longest("--backend mock --max-context 4087", Some(4096)),
            Ok(4087)
        );
        let error = longest("--backend mock --max-context 5k", Some(4096));
        assert_eq!(
            error.expect_err("too long").to_string(),
            "[ERROR] --max-context 5000: with an answer of 8 tokens more than the 4096 that m accepts\nTry: --max-context 4087"
        );
        assert!(longest("--backend mock", Some(20)).is_err());
    }
}
