//! `tmesh-cli check endpoint URL`: what a server can do for the other commands, a line a finding.
//!
//! What goes wrong in one check is a line. Only a server without any stream is an error.

mod beside;
mod next;
mod probe;
mod route;
mod stream;

use std::net::IpAddr;

use serde_json::{Map, Value};

use self::probe::{MAX_REQUESTS, Probe};
use self::route::{Route, why_failed};
use crate::cli::args::Args;
use crate::cli::connect::{Connection, Opened, Server};
use crate::cli::discover::{SHOWN_MODELS, models};
use crate::cli::terminal::print;
use crate::client::Target;
use crate::client::api::{Api, error_words};
use crate::client::body::BodyShape;
use crate::client::discovery::Listed;
use crate::client::endpoint::{Endpoint, without_secrets};
use crate::error::{Error, Result};
use crate::plan::prompt::Writer;

/// Column of the values.
const VALUES: usize = 22;
/// Words of the prompt that is sent twice: several blocks of every engine.
const REPEATED_WORDS: u64 = 600;
/// What the check itself decides in a body.
const OWN_FIELDS: [&str; 7] = [
    "max_tokens",
    "max_completion_tokens",
    "n_predict",
    "min_tokens",
    "n",
    "best_of",
    "stream_options",
];

/// Runs the command; the exit code.
///
/// # Errors
/// When the server cannot be reached, denies the key, or streams with neither API.
pub fn run(mut args: Args) -> Result<u8> {
    let url = args.operand()?;
    Endpoint::parse_behind(args.command(), &url)?;
    let connection = Connection::parse(&mut args, Server::Url(url))?;
    check_extra(&connection.extra_body)?;
    let tries_reset = args.switch("--try-reset");
    let opened = connection.open()?;
    say("endpoint", &where_it_is(&opened))?;
    let listed = models(&connection, &opened)?;
    let target = target(&connection, &opened, &listed)?;
    say("round trip", &beside::round_trip(&target))?;
    say_models(&connection, &opened, &listed)?;
    let writer = Writer::new(0, &target.run_id);
    let mut probe = Probe::new(target);

    let text = writer.context(1, 32) + &writer.question(1);
    let routes = find_routes(&mut probe, &opened, &text)?;
    say_generate(&mut probe, &opened, &text)?;
    let used = opened.endpoint.api.unwrap_or(Api::Chat);
    let measured = used_route(&routes, used);
    let model = &probe.target().body.model;
    let repeated = writer.context(2, repeated_words(&listed, model));
    let by_usage = match measured {
        Some(route) => say_api(&mut probe, route, &text, &repeated)?,
        None => None,
    };
    let api = measured.map_or(used, |route| route.api);
    let counted = beside::tokenizer(&probe, &opened, &repeated, api, by_usage);
    say("/tokenize", &counted)?;
    let (has_hit_rate, reset_url) = say_beside(&opened, tries_reset)?;
    let sent = format!(
        "{} of at most {MAX_REQUESTS} that generate, {} output tokens asked for",
        probe.requests, probe.tokens
    );
    say("requests", &sent)?;
    let Some(route) = measured else {
        return Err(nothing_streams(&opened, &routes));
    };
    let start = next::replay(&next::Known {
        connection: &connection,
        opened: &opened,
        api: route.api,
        has_hit_rate,
        reset_url: reset_url.as_deref(),
    });
    print(&format!("\nStart from\n{start}"))?;
    Ok(0)
}

/// Prints a finding.
fn say(name: &str, value: &str) -> Result<()> {
    print(&format!("{name:<VALUES$}{value}\n"))
}

/// Tokens and their limit are the check's own.
fn check_extra(extra: &Map<String, Value>) -> Result<()> {
    match OWN_FIELDS
        .into_iter()
        .find(|field| extra.contains_key(*field))
    {
        Some(field) => Err(Error::input(
            "--extra-body",
            format!("{field} is set by check endpoint"),
        )),
        None => Ok(()),
    }
}

fn where_it_is(opened: &Opened) -> String {
    let base = opened.endpoint.shown_url("");
    match opened.endpoint.host.parse::<IpAddr>() {
        Ok(_) => base,
        Err(_) => format!("{base} at {}", opened.link.addrs[0]),
    }
}

fn target(connection: &Connection, opened: &Opened, listed: &[Listed]) -> Result<Target> {
    let first = listed.first().map(|model| model.id.clone());
    // Without a list there is a name: else `models` has failed.
    let model = connection.model.clone().or(first).unwrap_or_default();
    let body = BodyShape {
        extra: connection.extra_body.clone(),
        ..BodyShape::new(Api::Chat, model)
    };
    Target::new(opened.link.clone(), &opened.endpoint, body)
}

/// A line a model, and which of them is asked.
fn say_models(connection: &Connection, opened: &Opened, listed: &[Listed]) -> Result<()> {
    for (at, model) in listed.iter().take(SHOWN_MODELS).enumerate() {
        let id = opened.link.redact(&model.id);
        let limit = match model.max_model_len {
            Some(tokens) => format!("max_model_len {tokens}"),
            None => "no max_model_len".to_string(),
        };
        say(
            if at == 0 { "models" } else { "" },
            &format!("{id}, {limit}"),
        )?;
    }
    match listed.len() {
        0 => say("models", "no usable list")?,
        n if n > SHOWN_MODELS => say("", &format!("and {} more", n - SHOWN_MODELS))?,
        _ => {}
    }
    match &connection.model {
        Some(name) if listed.iter().any(|model| model.id == *name) => {
            say("model asked for", &format!("{name} (given)"))
        }
        Some(name) => say("model asked for", &format!("{name} (given, not listed)")),
        None if listed.len() > 1 => say("model asked for", "the first; another with --model"),
        None => Ok(()),
    }
}

/// Asks both APIs.
///
/// # Errors
/// When the key was refused and neither answered.
fn find_routes(probe: &mut Probe, opened: &Opened, text: &str) -> Result<Vec<Route>> {
    let mut routes = Vec::new();
    for api in [Api::Completions, Api::Chat] {
        let uri = opened.endpoint.route(api)?;
        let route = Route::find(probe, api, uri, text);
        say(route.uri.path(), &route.verdict())?;
        routes.push(route);
    }
    denied(&routes)?;
    Ok(routes)
}

/// Words of the prompt that is sent twice; a model may have no room for all of them.
fn repeated_words(listed: &[Listed], asked: &str) -> u64 {
    let model = listed.iter().find(|model| model.id == asked);
    let limit = model.and_then(|model| model.max_model_len);
    // A word is two tokens at the most, with few exceptions.
    limit.map_or(REPEATED_WORDS, |tokens| REPEATED_WORDS.min(tokens / 3))
}

/// What the API's streams are like; the tokens of the prompt that was sent twice, by usage.
fn say_api(probe: &mut Probe, route: &Route, text: &str, repeated: &str) -> Result<Option<u64>> {
    say("API of what follows", route.api.path())?;
    for (name, value) in stream::findings(probe, route, text) {
        say(name, &value)?;
    }
    let cached = stream::cached_tokens(probe, route, repeated);
    say("cached tokens", &cached.finding)?;
    Ok(cached.prompt_tokens)
}

/// Metrics and reset: whether there is a hit rate, and the route that has emptied the cache.
fn say_beside(opened: &Opened, tries_reset: bool) -> Result<(bool, Option<String>)> {
    let metrics = beside::metrics(opened);
    say("/metrics", &metrics.page)?;
    if let Some(source) = &metrics.hit_rate {
        say("hit rate", source)?;
    }
    let (found, url) = match tries_reset {
        true => beside::reset(opened),
        false => (
            "not tried: it empties the cache; --try-reset does".to_string(),
            None,
        ),
    };
    say("reset route", &found)?;
    Ok((metrics.has_hit_rate, url))
}

/// A server without `/generate` is nothing to speak of.
fn say_generate(probe: &mut Probe, opened: &Opened, text: &str) -> Result<()> {
    match probe.generate(&opened.small, &opened.endpoint, text) {
        None => Ok(()),
        Some(Ok(page)) if page.status == 404 => Ok(()),
        Some(Ok(page)) if page.status < 300 => {
            say("/generate", &format!("answers: HTTP {}", page.status))
        }
        Some(Ok(page)) => {
            let words = opened.link.redact(error_words(&page.text));
            say("/generate", &format!("no: HTTP {}: {words}", page.status))
        }
        Some(Err(failure)) => {
            let failure = opened.link.tidy(failure);
            say("/generate", &format!("no: {failure}"))
        }
    }
}

/// The route of the API that is used by default, if it streams, else one that does.
fn used_route(routes: &[Route], used: Api) -> Option<&Route> {
    let mut streaming = routes.iter().filter(|route| route.stream().is_some());
    let other = streaming.clone().next();
    streaming.find(|route| route.api == used).or(other)
}

/// Fails when the key was refused and nothing answered.
fn denied(routes: &[Route]) -> Result<()> {
    let answers = routes.iter().filter_map(|route| route.answer.as_ref());
    let any_answered = answers.clone().any(|answer| answer.sample.is_success());
    match routes.iter().find(|route| route.is_denied()) {
        Some(route) if !any_answered => {
            let answer = route.answer.as_ref();
            let why = answer
                .and_then(|answer| why_failed(&answer.sample))
                .unwrap_or_default();
            let uri = without_secrets(&route.uri.to_string());
            Err(Error::input(uri, why)
                .next("Give the right key with --api-key, --api-key-file or TMESH_API_KEY."))
        }
        _ => Ok(()),
    }
}

fn nothing_streams(opened: &Opened, routes: &[Route]) -> Error {
    let what = format!("check endpoint {}", opened.endpoint.shown_url(""));
    let error = Error::missed(what, "no API streams an answer");
    let reason = |route: &Route| format!("{}: {}", route.uri.path(), route.verdict());
    routes
        .iter()
        .fold(error, |error, route| error.next(reason(route)))
}
