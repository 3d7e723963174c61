//! From an open connection to a server that is ready: finds its model, the fields that it accepts, and its token
//! counts.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::common::{Common, fresh_nonce};
use super::connect::{Opened, unreachable};
use super::flags::nearest;
use super::host;
use super::terminal::print;
use crate::client::Target;
use crate::client::api::{Api, error_words};
use crate::client::body::BodyShape;
use crate::client::body::LIMIT;
use crate::client::discovery::{Listed, Listing, list};
use crate::client::endpoint::without_secrets;
use crate::client::proxy;
use crate::client::setup::{self, Setup};
use crate::error::{Error, Result};
use crate::load::pool::is_refusal;
use crate::plan::prompt::{ALIKE_TOKENS, Writer};
use crate::plan::shard::{Shard, run_id};
use crate::report::layout::common::MOCK;
use crate::sample::Failure;
use crate::stats::clock::Held;
use crate::units::{counted, format_utc, quoted};

/// Most models of a list that are shown.
pub const SHOWN_MODELS: usize = 10;
/// The step for a user whose URL has a path that the server does not know.
const RIGHT_PATH: &str = "Correct the path of the URL (a missing prefix?), or if the server has no such list: --model NAME";
/// The step for a user whose URL has a port that does not answer in HTTP.
const RIGHT_PORT: &str = "Correct the port, or use https:// if it speaks TLS";
/// The step for a user whose key the server refuses.
pub const RIGHT_KEY: &str = "Give the right key with --api-key, --api-key-file or TMESH_API_KEY.";

/// Prints the endpoint as typed and as used, and the masked key.
pub fn announce(opened: &Opened) -> Result<()> {
    let endpoint = &opened.endpoint;
    let key = opened.connection.key.as_ref();
    let key = key.map_or("none".to_string(), ToString::to_string);
    let way = match &opened.link.proxy {
        Some(proxy) => format!("proxy: {}, in every figure\n", proxy::shown(proxy)),
        None if endpoint.host.parse::<IpAddr>().is_ok() => String::new(),
        None => format!("address: {}\n", opened.link.addrs[0]),
    };
    print(&format!(
        "endpoint: {}\napi_key: {key}\nnormalized endpoint: {}\n{way}",
        without_secrets(&opened.typed),
        endpoint.shown()
    ))
}

/// Returns the models that the server lists; none if it lists none and the user named one.
pub fn models(opened: &Opened) -> Result<Vec<Listed>> {
    let endpoint = &opened.endpoint;
    let listing = list(&opened.small, endpoint);
    let (why, next) = match listing.map_err(|f| unreachable(endpoint, &opened.link.tidy(f)))? {
        Listing::Models(models) => return Ok(models),
        Listing::Unusable(_) | Listing::NoSuchPath(_) | Listing::NoHttp(_)
            if opened.connection.model.is_some() =>
        {
            return Ok(Vec::new());
        }
        Listing::Unusable(why) | Listing::NoSuchPath(why) | Listing::NoHttp(why)
            if endpoint.deployment().is_some() =>
        {
            let name = endpoint.deployment().unwrap_or_default().to_string();
            let why = opened.link.redact(why);
            note!(
                "note: no list of models ({why}); using the deployment of the URL as the model: {name}"
            );
            return Ok(vec![Listed {
                id: name,
                max_model_len: None,
            }]);
        }
        Listing::Unusable(why) => (why, "Name the model by hand: --model NAME"),
        Listing::NoSuchPath(why) => (why, RIGHT_PATH),
        Listing::NoHttp(why) => (why, RIGHT_PORT),
        Listing::Denied(why) => (why, RIGHT_KEY),
    };
    let what = endpoint.shown_url("models");
    Err(Error::input(what, opened.link.redact(&why)).next(next))
}

/// Returns the model to ask for: the one that the user named, else the first that the server lists.
pub fn model(opened: &Opened) -> Result<Listed> {
    pick(opened.connection.model.as_deref(), &models(opened)?)
}

/// Returns the model that is `named`, else the first of the list.
pub fn pick(named: Option<&str>, models: &[Listed]) -> Result<Listed> {
    let ids: Vec<&str> = models.iter().map(|model| model.id.as_str()).collect();
    let Some(name) = named else {
        say_found(ids[0], &ids[1..])?;
        return Ok(models[0].clone());
    };
    print(&format!("model: {name} (given)\n"))?;
    if !ids.is_empty() && !ids.contains(&name) {
        let ids = names(&ids, SHOWN_MODELS);
        note!("note: /v1/models does not list {name}; it lists {ids}");
    }
    let listed = models.iter().find(|model| model.id == name).cloned();
    Ok(listed.unwrap_or(Listed {
        id: name.to_string(),
        max_model_len: None,
    }))
}

/// Prints which model was found, and which others the server lists.
pub fn say_found(id: &str, others: &[&str]) -> Result<()> {
    print(&format!("found model: {id}\n"))?;
    if others.is_empty() {
        return Ok(());
    }
    // The model that was found counts towards the limit.
    let others = names(others, SHOWN_MODELS - 1);
    print(&format!("also served: {others} (pick one with --model)\n"))
}

/// Returns the first names of a list, at most `most`, and how many more there are.
fn names(ids: &[&str], most: usize) -> String {
    let shown = ids.iter().take(most).copied().collect::<Vec<_>>();
    let shown = shown.join(", ");
    match ids.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A server that has answered all set-up questions of a run.
pub struct Ready {
    pub opened: Opened,
    /// Whether the other server of a comparison is a mock.
    pub is_against_mock: bool,
    pub target: Arc<Target>,
    pub setup: Setup,
    /// The tokens that all prompts have in common before their texts; `None`: nobody counted.
    pub common_tokens: Option<u64>,
    pub common: Common,
    pub writer: Writer,
    /// The origin of the server: `mock`, `attached` or the preset that started it.
    pub backend: &'static str,
    /// The engine that answers, if known.
    pub engine: Option<String>,
    pub engine_version: Option<String>,
    /// The tokens that the model takes; `None`: the server does not say.
    pub max_model_len: Option<u64>,
}

impl Ready {
    /// Asks the set-up questions and says what they found. If the server does not have the API of `body`, the
    /// `fallback` API is asked instead.
    ///
    /// # Errors
    /// Fails when the server refuses what the run will send.
    pub fn ask(
        opened: Opened,
        mut body: BodyShape,
        fallback: Option<Api>,
        common: Common,
    ) -> Result<Ready> {
        body.extra.clone_from(&opened.connection.extra_body);
        let nonce = common.nonce.clone().unwrap_or_else(fresh_nonce);
        let writer = Writer::new(common.seed, &nonce);
        let ask = |body| -> Result<(Target, Setup)> {
            let mut target = Target::new(opened.link.clone(), &opened.endpoint, body)?;
            let setup = setup::run(&mut target, &opened.endpoint, &opened.small, &writer);
            Ok((target, setup))
        };
        let (mut target, mut setup) = ask(body.clone())?;
        let has_no_route = matches!(setup.status, Some(404 | 405 | 501));
        if let Some(api) = fallback.filter(|_| has_no_route) {
            let retried = ask(BodyShape { api, ..body })?;
            if retried.1.failure.is_none() {
                note!("note: no /v1/completions on this server; using /v1/chat/completions");
                (target, setup) = retried;
            }
        }
        report_setup(&setup, &target, &opened)?;
        if common.shard.is_some() {
            target.run_id = run_id(common.seed, &nonce);
        }
        Ok(Ready {
            target: Arc::new(target),
            common_tokens: setup.template_tokens.map(|tokens| tokens + ALIKE_TOKENS),
            setup,
            writer,
            backend: match opened.mock {
                Some(_) => "mock",
                None => "attached",
            },
            opened,
            is_against_mock: false,
            common,
            engine: None,
            engine_version: None,
            max_model_len: None,
        })
    }

    /// Notes that all prompts begin with a line of so many bytes, which are no fewer than its tokens.
    pub fn note_line(&mut self, bytes: usize) {
        let tokens = self.common_tokens.as_mut();
        if let Some(tokens) = tokens {
            *tokens += bytes as u64;
        }
    }

    /// Whether a mock answers, in this process or in another one, or the other server of a comparison is one.
    pub fn is_mock(&self) -> bool {
        self.is_against_mock || self.opened.mock_version().is_some()
    }

    /// Returns the end of the text before a run: the set-up findings, seed and nonce, then the command's own lines,
    /// then a note on a mock server.
    pub fn lines(&self, own: &str) -> String {
        let setup = &self.setup;
        let seed = self.common.seed;
        let nonce = match &self.common.nonce {
            Some(nonce) => format!("nonce: {nonce}"),
            None => "no nonce: texts go out exactly as they are".to_string(),
        };
        let shard = match &self.common.shard {
            Some((Shard { index, of }, source)) => {
                format!("Shard: {index}/{of} by {source}; it sends its part of the run\n")
            }
            None => String::new(),
        };
        let mock = match self.is_mock() {
            true => format!("{}\n", MOCK),
            false => String::new(),
        };
        format!(
            "Set-up: {} ({} prompt tokens, {} output tokens), lengths by {}\n\
             Seed: {seed}, {nonce}\n{shard}{own}{mock}\n",
            counted(setup.requests, "request"),
            setup.prompt_tokens,
            setup.output_tokens,
            setup.counted_by
        )
    }

    /// Returns the header of samples and figures in files, with the same keys for every command. It holds no API key
    /// and no prompt text. `options` are the command's.
    pub fn header(&self, mut options: Value) -> Value {
        let (target, setup) = (&self.target, &self.setup);
        options["api"] = target.body.api.name().into();
        let shard = self.common.shard().map(|Shard { index, of }| Held {
            of,
            held: vec![index],
        });
        let mut given = self.opened.connection.given.clone();
        if !self.opened.endpoint.secrets().is_empty() {
            given.add_own("URL where **** stands in it");
        }
        // Without a proxy in the environment the option changes nothing.
        if self.opened.link.proxy.is_some() {
            given.add_own("--proxy");
        }
        json!({
            "command": self.opened.connection.command,
            "endpoint": self.opened.endpoint.shown_url(""),
            "model": target.body.model,
            "mock": self.is_mock(),
            "seed": self.common.seed,
            "nonce": self.common.nonce,
            "is_nonce_fresh": self.common.is_nonce_fresh,
            "run_id": target.run_id,
            "shard": shard,
            "clock": host::clock(target, self.common.shard()),
            "slo": self.common.slo,
            "started_at": format_utc(SystemTime::now()),
            "backend": self.backend,
            "connection": given.header(self.max_model_len),
            "engine": self.engine,
            "engine_version": self.engine_version,
            "cpu": host::cpu(),
            "cores": std::thread::available_parallelism().map_or(1, usize::from),
            "kernel": host::kernel(),
            "options": options,
            "setup": {
                "requests": setup.requests,
                "prompt_tokens": setup.prompt_tokens,
                "output_tokens": setup.output_tokens,
                "lengths_by": setup.counted_by,
                "common_tokens": self.common_tokens,
            },
        })
    }
}

/// Says what the set-up questions found.
///
/// # Errors
/// Fails when the server refuses what the run will send.
fn report_setup(setup: &Setup, target: &Target, opened: &Opened) -> Result<()> {
    if let Some(failure) = &setup.failure {
        let words = error_words(&failure.reason);
        let (kind, counted_by) = (failure.kind.name(), setup.counted_by);
        let status = setup.status.unwrap_or(0);
        if is_refusal(status, &failure.reason, &target.body.model) {
            if matches!(status, 401 | 403) {
                return Err(refused(target, status, failure));
            }
            if let Some(error) = unlisted(opened, &target.body.model) {
                return Err(error.next(format!("The server says: HTTP {status}: {words}")));
            }
            return Err(refused(target, status, failure).next(
                "Check --model and the key, or try the other API: --api chat, --api completions",
            ));
        }
        let status = setup
            .status
            .map_or(String::new(), |status| format!(" {status}"));
        eprintln!(
            "warning: the set-up request failed ({kind}{status}: {words}); lengths by {counted_by}"
        );
    }
    let dropped = &setup.lessons.dropped;
    if !dropped.is_empty() {
        note!(
            "note: the server does not accept {}; sending without it",
            dropped.join(", ")
        );
    }
    if target.body.limit_name != LIMIT {
        let name = target.body.limit_name;
        note!("note: the server does not accept {LIMIT}; sending {name} instead");
    }
    Ok(())
}

/// Returns the error about a server that refuses what is sent, with its status and words.
pub fn refused(target: &Target, status: u16, failure: &Failure) -> Error {
    let uri = without_secrets(&target.uri.to_string());
    let error = Error::input(
        format!("HTTP {status} from {uri}"),
        error_words(&failure.reason),
    );
    match status {
        401 | 403 => error.next(RIGHT_KEY),
        _ => error,
    }
}

/// Returns the error about a named model that the server's list lacks. `None`: the user named none, or no list says that
/// the model is not there.
fn unlisted(opened: &Opened, model: &str) -> Option<Error> {
    opened.connection.model.as_ref()?;
    match list(&opened.small, &opened.endpoint) {
        Ok(Listing::Models(models)) => no_such_model(model, &models),
        _ => None,
    }
}

/// Returns the error about a named model that is not in the list, with the nearest name; `None` if it is in the list, or
/// the list is empty.
pub fn no_such_model(name: &str, models: &[Listed]) -> Option<Error> {
    let ids: Vec<&str> = models.iter().map(|model| model.id.as_str()).collect();
    if ids.is_empty() || ids.contains(&name) {
        return None;
    }
    let shown = names(&ids, SHOWN_MODELS);
    let why = format!("the server lists no such model; it lists {shown}");
    let error = Error::input(format!("--model {name}"), why);
    Some(match nearest(name, ids.iter().copied()) {
        Some(near) => error.next(format!("Did you mean --model {}?", quoted(near))),
        None => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_names_of_a_list_are_shown_and_the_others_are_counted() {
        let ids: Vec<String> = (0..1000).map(|n| format!("m{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        for (listed, shown) in [
            (1, "m0"),
            (10, "m0, m1, m2, m3, m4, m5, m6, m7, m8, m9"),
            (11, "m0, m1, m2, m3, m4, m5, m6, m7, m8, m9 and 1 more"),
            (1000, "m0, m1, m2, m3, m4, m5, m6, m7, m8, m9 and 990 more"),
        ] {
            assert_eq!(names(&ids[..listed], SHOWN_MODELS), shown);
        }
    }
}
