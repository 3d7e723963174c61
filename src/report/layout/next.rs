//! The next command of a report: how it names the server of the run, from the header of its samples.
//!
//! A next command runs as printed and asks the same server through the same API. A secret is never in the header, so
//! that what such an option gave is named, not repeated.

use serde_json::Value;

use super::findings::{count, list, option};
use super::report::Report;
use crate::report::document::Next;
use crate::sample::{FailKind, named};
use crate::stats::pass::Pass;
use crate::stats::record::Record;
use crate::units::quoted;

/// The APIs that `--api` names.
const APIS: [&str; 3] = ["completions", "chat", "generate"];
/// Tokens of a context that `benchmark` makes unless told otherwise.
const DEFAULT_INPUT: u64 = 32_000;
/// Tokens of an answer there, and those of a question and of a chat template.
const DEFAULT_OUTPUT: u64 = 100;
const QUESTION: u64 = 64;
/// Tokens of a context that are left to question, answer and template, with some to spare.
const BESIDE_INPUT: u64 = 1000;
/// The least context of a model that has room for what `benchmark` sends.
const LEAST_CONTEXT: u64 = 512;

named! {
    /// A command that a next step can name.
    pub enum To {
        Benchmark = "benchmark",
        CheckEndpoint = "check endpoint",
        Compare = "compare",
        FindRate = "find-rate",
        Load = "load",
        Probe = "probe",
        Replay = "replay",
    }
}

impl To {
    /// Whether the command asks through this API unless told otherwise; `check endpoint` asks through all that it knows.
    fn takes_by_itself(self, api: &str) -> bool {
        match self {
            To::CheckEndpoint => true,
            To::Replay => api == "chat",
            To::Benchmark | To::Compare | To::FindRate | To::Load | To::Probe => {
                api == "completions"
            }
        }
    }

    fn speaks_generate(self) -> bool {
        matches!(self, To::Compare | To::FindRate | To::Load)
    }
}

/// Where a server is.
enum Place {
    /// A mock in the process of the command, with its options as `--mock` takes them.
    Mock(String),
    Url(String),
    /// A server that the run started and stopped again: no later command can ask it.
    Stopped,
}

/// The server of a run, as a next command names it.
pub struct Server {
    place: Place,
    model: String,
    /// The name of the API that was measured; empty if it is not known.
    api: String,
    api_key_file: String,
    /// The options that were given and cannot be repeated, such as `--header`.
    own: Vec<String>,
    max_model_len: Option<u64>,
}

/// The rotations of a cycle that is a next step, unless it takes more.
pub const ROTATIONS: u64 = 3;

/// The cycle of a `benchmark`; `None`: its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cycle {
    pub contexts: u64,
    pub rotations: u64,
    pub input: Option<u64>,
    pub output: Option<u64>,
}

impl Server {
    /// Returns the server of a run with this header.
    pub fn of(about: &Value) -> Server {
        let connection = &about["connection"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let place = match about["backend"].as_str() {
            Some("mock") => Place::Mock(text(&connection["mock"])),
            None | Some("attached" | "") => {
                let url = about["endpoint"].as_str().unwrap_or("URL");
                Place::Url(url.trim_end_matches('/').to_string())
            }
            Some(_) => Place::Stopped,
        };
        let own = list(&connection["own_options"]).map(text);
        let api = text(&about["options"]["api"]);
        Server {
            place,
            model: text(&about["model"]),
            api: Some(api)
                .filter(|api| APIS.contains(&&**api))
                .unwrap_or_default(),
            api_key_file: text(&connection["api_key_file"]),
            own: own.collect(),
            max_model_len: count(connection, "max_model_len"),
        }
    }

    /// Returns another server that was asked beside this one, in the same way.
    pub fn beside(self, url: Option<&str>, mock: &Value, model: &Value) -> Server {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        Server {
            place: match url {
                Some(url) => Place::Url(url.trim_end_matches('/').to_string()),
                None => Place::Mock(text(mock)),
            },
            model: text(model),
            ..self
        }
    }

    /// Replaces the file of the key, if this one is given.
    pub fn with_key_file(self, path: &Value) -> Server {
        match path.as_str() {
            Some(path) => Server {
                api_key_file: path.to_string(),
                ..self
            },
            None => self,
        }
    }

    /// Returns the options that name this server to a command, one after the other; none for a server that is gone.
    pub fn options(&self, to: To) -> Vec<String> {
        // A mock in the process has one model, which its own options name.
        let (first, mock, model) = match &self.place {
            Place::Mock(list) => ("--backend mock".to_string(), list.as_str(), ""),
            Place::Url(url) if to == To::CheckEndpoint => (quoted(url), "", &*self.model),
            Place::Url(url) => (format!("--endpoint {}", quoted(url)), "", &*self.model),
            Place::Stopped => return Vec::new(),
        };
        let api = match to.takes_by_itself(&self.api) || self.is_named_by_path() {
            true => "",
            false => &self.api,
        };
        let more = [
            ("--mock", mock),
            ("--model", model),
            ("--api", api),
            ("--api-key-file", &self.api_key_file),
        ];
        let more = more.into_iter().filter(|(_, value)| !value.is_empty());
        let more = more.map(|(name, value)| format!("{name} {}", quoted(value)));
        std::iter::once(first).chain(more).collect()
    }

    /// Begins a command that asks this server.
    ///
    /// `None`: the command cannot ask it, since it does not speak the API, or the server is gone.
    pub fn begin(&self, to: To) -> Option<String> {
        let speaks = !self.is_generate() || to.speaks_generate();
        let reaches = match self.place {
            Place::Mock(_) => to != To::CheckEndpoint,
            Place::Url(_) => true,
            Place::Stopped => false,
        };
        let options = self.options(to).join(" ");
        (speaks && reaches).then(|| format!("tmesh-cli {} {options}", to.name()))
    }

    /// Makes the command that cycles through contexts; `None` where `benchmark` cannot run.
    pub fn cycle(&self, cycle: &Cycle) -> Option<String> {
        let begin = self.begin(To::Benchmark)?;
        let Cycle {
            contexts,
            rotations,
            input,
            output,
        } = self.fitting(cycle)?;
        let input = option("--input-length", &input.into());
        let output = option("--output-length", &output.into());
        Some(format!(
            "{begin} --contexts {contexts}{input}{output} --rotations {rotations}"
        ))
    }

    /// Returns the cycle with contexts that the model takes; `None`: it has no room for any.
    pub fn fitting(&self, cycle: &Cycle) -> Option<Cycle> {
        let Some(limit) = self.max_model_len else {
            return Some(*cycle);
        };
        let most = longest_input(limit, cycle.output)?;
        let wanted = cycle.input.unwrap_or(DEFAULT_INPUT);
        let input = match wanted > most {
            true => Some(most),
            false => cycle.input,
        };
        Some(Cycle { input, ..*cycle })
    }

    /// Makes a small request or a check that tells why the server answers nothing; `None` for a mock in the process.
    pub fn check(&self) -> Option<String> {
        match self.place {
            Place::Mock(_) | Place::Stopped => None,
            Place::Url(_) => self.begin(To::CheckEndpoint).or_else(|| {
                let load = self.begin(To::Load)?;
                Some(format!("{load} --requests 1"))
            }),
        }
    }

    /// Whether it is a mock in the process of the command.
    pub fn is_mock(&self) -> bool {
        matches!(self.place, Place::Mock(_))
    }

    pub fn is_generate(&self) -> bool {
        self.api == "generate" || self.is_named_by_path()
    }

    /// Whether the URL itself is the route of `/generate`.
    fn is_named_by_path(&self) -> bool {
        matches!(&self.place, Place::Url(url) if url.ends_with("/generate"))
    }

    /// Completes a command that asks this server: says what else it needs.
    pub fn next(&self, command: Option<String>) -> Next {
        let (last, others) = match &self.own[..] {
            [] => return Next::of(command),
            [one] => (one, String::new()),
            [others @ .., last] => (last, format!("{} and ", others.join(", "))),
        };
        let needs = format!("Give the next command this run's own {others}{last}, too.");
        Next {
            advice: command.iter().map(|_| needs.clone()).collect(),
            command,
        }
    }
}

/// Returns the longest context of a `benchmark` on a model that takes `limit` tokens; `None`: it has no room for one.
pub fn longest_input(limit: u64, output: Option<u64>) -> Option<u64> {
    let beside = output.unwrap_or(DEFAULT_OUTPUT).saturating_add(QUESTION);
    let most = limit.saturating_sub(BESIDE_INPUT).max(limit / 2);
    let most = most.min(limit.saturating_sub(beside));
    (limit >= LEAST_CONTEXT && most > 0).then_some(most)
}

/// Returns the option that keeps the contexts of a `benchmark` within what a model takes; `None`: its default fits.
pub fn shorter_input(limit: u64) -> Option<u64> {
    longest_input(limit, None).filter(|&most| most < DEFAULT_INPUT)
}

/// Returns the next step after a run of which no request succeeded, or whose server went away; `None`: it was answered.
pub fn unanswered(report: &Report) -> Option<Next> {
    let server = Server::of(&report.about);
    is_unanswered(&report.passes).then(|| server.next(server.check()))
}

/// Whether the last pass of a run was ended before its end.
pub fn was_stopped(passes: &[Pass]) -> bool {
    passes.last().is_some_and(|pass| pass.facts.was_stopped)
}

/// Whether no measured request of a run succeeded, or the server answers no more: a larger load tells nothing.
fn is_unanswered(passes: &[Pass]) -> bool {
    let figures = || passes.iter().map(|pass| &pass.figures);
    let all_failed = figures().any(|of| of.failed > 0) && figures().all(|of| of.successful == 0);
    all_failed || passes.last().is_some_and(is_gone)
}

/// Whether the request that was sent last in a pass got no answer, as at the end of a server.
fn is_gone(pass: &Pass) -> bool {
    let measured = pass.records.list.iter().filter(|one| one.is_measured());
    let last = measured.max_by_key(|one: &&Record| one.t_send_ns);
    let failure = last.and_then(|last| last.failure);
    let is_silence = |kind| {
        matches!(
            kind,
            FailKind::Dns | FailKind::Connect | FailKind::TimeoutConnect
        )
    };
    failure.is_some_and(is_silence)
}

#[cfg(test)]
mod tests;
