//! `tmesh-cli check endpoint URL`: what a server can do for the other commands, one finding a line.
//!
//! A check that fails is one line. Only a server without any stream is an error.

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
use crate::cli::discover::{RIGHT_KEY, SHOWN_MODELS, models};
use crate::cli::terminal::print;
use crate::client::Target;
use crate::client::api::{Api, error_words};
use crate::client::body::BodyShape;
use crate::client::discovery::Listed;
use crate::client::endpoint::{Endpoint, without_secrets};
use crate::error::{Error, Result};
use crate::plan::prompt::Writer;
use crate::report::layout::common::MOCK;
use crate::units::steers;

/// Column of the values.
const VALUES: usize = 22;
/// Words of the prompt that is sent twice: enough for several cache blocks of every engine.
const REPEATED_WORDS: u64 = 600;
const NO_RESET: &str = "not tried, since it empties the cache; --try-reset tries it";
/// Body fields that the check sets itself.
const OWN_FIELDS: [&str; 7] = [
    "max_tokens",
    "max_completion_tokens",
    "n_predict",
    "min_tokens",
    "n",
    "best_of",
    "stream_options",
];

/// Runs the command and returns the exit code.
///
/// # Errors
/// Fails when the server cannot be reached, denies the key, or streams with neither API.
pub fn run(args: &Args) -> Result<u8> {
    let url = args.url()?;
    Endpoint::parse_behind(args.command(), &url)?;
    let connection = Connection::parse(args, Server::Url(url))?;
    check_extra(&connection.extra_body)?;
    let opened = connection.open()?;
    say("endpoint", &where_it_is(&opened))?;
    let listed = models(&opened)?;
    let base = target(&opened, &listed)?;
    say("round trip", &beside::round_trip(&base))?;
    say_models(&opened, &listed)?;
    if opened.mock_version().is_some() {
        say("server", MOCK)?;
    }
    let writer = Writer::new(0, &base.run_id);
    let mut probe = Probe::default();

    let text = writer.context(1, 32) + &writer.question(1);
    let routes = find_routes(&mut probe, &opened, &base, &text)?;
    say_generate(&mut probe, &opened, &base.body.model, &text)?;
    let used = opened.endpoint.api.unwrap_or(Api::Chat);
    let measured = used_route(&routes, used);
    let repeated = writer.context(2, repeated_words(&listed, &base.body.model));
    let by_usage = match measured {
        Some(route) => say_api(&mut probe, route, &text, &repeated)?,
        None => None,
    };
    let asked = measured.map_or(&base, |route| &route.target);
    let counted = beside::tokenizer(&opened, asked, &repeated, by_usage);
    say("/tokenize", &counted)?;
    let has_hit_rate = say_metrics(&opened)?;
    let (found, reset_url) = match args.has("--try-reset") {
        true => beside::reset(&opened),
        false => (NO_RESET.to_string(), None),
    };
    say("reset route", &found)?;
    let sent = format!(
        "{} of at most {MAX_REQUESTS} that generate, {} output tokens asked for",
        probe.requests, probe.tokens
    );
    say("requests", &sent)?;
    let Some(route) = measured else {
        return Err(nothing_streams(&opened, &routes));
    };
    let asked = &base.body.model;
    let model = listed.iter().find(|model| model.id == *asked);
    let most = model.and_then(|model| model.max_model_len);
    let benchmark = next::benchmark(&opened, route.api(), most);
    let replay = next::replay(&opened, route.api(), has_hit_rate, reset_url.as_deref());
    print(&format!("\nStart from\n{benchmark}\n{replay}"))?;
    Ok(0)
}

/// Prints a finding, which may repeat the server's words.
fn say(name: &str, value: &str) -> Result<()> {
    let (name, value) = (format!("{name}  "), value.replace(steers, " "));
    print(&format!("{name:<VALUES$}{value}\n"))
}

/// Refuses tokens and their limit in `--extra-body`, since the check sets them.
fn check_extra(extra: &Map<String, Value>) -> Result<()> {
    let mut taken = OWN_FIELDS.into_iter();
    match taken.find(|field| extra.contains_key(*field)) {
        Some(field) => {
            let why = format!("{field} is set by check endpoint");
            Err(Error::input("--extra-body", why))
        }
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

/// Returns the target for the chat API, with the model to ask for.
fn target(opened: &Opened, listed: &[Listed]) -> Result<Target> {
    let first = listed.first().map(|model| model.id.clone());
    // Without a list a model was named; otherwise `models` has failed.
    let named = opened.connection.model.clone();
    let model = named.or(first).unwrap_or_default();
    let body = BodyShape {
        extra: opened.connection.extra_body.clone(),
        ..BodyShape::new(Api::Chat, model)
    };
    Target::new(opened.link.clone(), &opened.endpoint, body)
}

/// Prints one line a model, and which of them is asked.
fn say_models(opened: &Opened, listed: &[Listed]) -> Result<()> {
    let names = std::iter::once("models").chain(std::iter::repeat(""));
    for (name, model) in names.zip(listed.iter().take(SHOWN_MODELS)) {
        let id = opened.link.redact(&model.id);
        let limit = match model.max_model_len {
            Some(tokens) => format!("max_model_len {tokens}"),
            None => "no max_model_len".to_string(),
        };
        say(name, &format!("{id}, {limit}"))?;
    }
    match listed.len() {
        0 => say("models", "no usable list")?,
        n if n > SHOWN_MODELS => say("", &format!("and {} more", n - SHOWN_MODELS))?,
        _ => {}
    }
    match &opened.connection.model {
        Some(name) if listed.iter().any(|model| model.id == *name) => {
            say("model asked for", &format!("{name} (given)"))
        }
        Some(name) => say("model asked for", &format!("{name} (given, not listed)")),
        None if listed.len() > 1 => say(
            "model asked for",
            "the first of the list; --model picks another",
        ),
        None => Ok(()),
    }
}

/// Asks both APIs.
///
/// # Errors
/// Fails when the key was refused and neither API answered.
fn find_routes(
    probe: &mut Probe,
    opened: &Opened,
    base: &Target,
    text: &str,
) -> Result<Vec<Route>> {
    let mut routes = Vec::new();
    for api in [Api::Completions, Api::Chat] {
        let mut target = base.clone();
        target.uri = opened.endpoint.route(api)?;
        target.body.api = api;
        let route = Route::find(probe, target, text);
        say(route.target.uri.path(), &route.verdict())?;
        routes.push(route);
    }
    denied(&routes)?;
    Ok(routes)
}

/// Returns the number of words of the prompt that is sent twice; a model may not have room for all of them.
fn repeated_words(listed: &[Listed], asked: &str) -> u64 {
    let model = listed.iter().find(|model| model.id == asked);
    let limit = model.and_then(|model| model.max_model_len);
    // A word is at most two tokens, with few exceptions.
    limit.map_or(REPEATED_WORDS, |tokens| REPEATED_WORDS.min(tokens / 3))
}

/// Describes the API's streams; returns the tokens of the prompt that was sent twice, by usage.
fn say_api(probe: &mut Probe, route: &Route, text: &str, repeated: &str) -> Result<Option<u64>> {
    say("API used below", route.api().path())?;
    for (name, value) in stream::findings(probe, route, text) {
        say(name, &value)?;
    }
    let (cached, prompt_tokens) = stream::cached_tokens(probe, route, repeated);
    say("cached tokens", &cached)?;
    Ok(prompt_tokens)
}

/// Describes the metrics page; returns whether it has a hit rate.
fn say_metrics(opened: &Opened) -> Result<bool> {
    match beside::metrics(opened) {
        Ok((names, source)) => {
            say("/metrics", &names)?;
            say(
                "hit rate",
                source.as_deref().unwrap_or("no counters for it"),
            )?;
            Ok(source.is_some())
        }
        Err(why) => {
            say("/metrics", &format!("no: {}", opened.link.redact(why)))?;
            Ok(false)
        }
    }
}

/// Asks `/generate`; a server without it gets no line.
fn say_generate(probe: &mut Probe, opened: &Opened, model: &str, text: &str) -> Result<()> {
    let finding = match probe.generate(opened, model, text) {
        None => return Ok(()),
        Some(Ok(page)) if page.status == 404 => return Ok(()),
        Some(Ok(page)) if page.status < 300 => format!("answers: HTTP {}", page.status),
        Some(Ok(page)) => {
            let words = opened.link.redact(error_words(&page.text));
            format!("no: HTTP {}: {words}", page.status)
        }
        Some(Err(failure)) => format!("no: {}", opened.link.tidy(failure)),
    };
    say("/generate", &finding)
}

/// Returns the route of the API that is used by default, if it streams, else one that does.
fn used_route(routes: &[Route], used: Api) -> Option<&Route> {
    let mut streaming = routes.iter().filter(|route| route.stream().is_some());
    let other = streaming.clone().next();
    streaming.find(|route| route.api() == used).or(other)
}

/// Fails when the key was refused and no API answered.
fn denied(routes: &[Route]) -> Result<()> {
    let answers = routes.iter().filter_map(|route| route.answer.as_ref());
    let any_answered = answers.clone().any(|answer| answer.sample.is_success());
    match routes.iter().find(|route| route.is_denied()) {
        Some(route) if !any_answered => {
            let answer = route.answer.as_ref();
            let why = answer.and_then(|answer| why_failed(&answer.sample));
            let uri = without_secrets(&route.target.uri.to_string());
            Err(Error::input(uri, why.unwrap_or_default()).next(RIGHT_KEY))
        }
        _ => Ok(()),
    }
}

fn nothing_streams(opened: &Opened, routes: &[Route]) -> Error {
    let what = format!("check endpoint {}", opened.endpoint.shown_url(""));
    let error = Error::missed(what, "no API streams an answer");
    let reason = |route: &Route| format!("{}: {}", route.target.uri.path(), route.verdict());
    routes
        .iter()
        .fold(error, |error, route| error.next(reason(route)))
}
