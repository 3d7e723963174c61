//! From an open connection to a model and what the server takes: the start of every command that sends.

use serde_json::{Value, json};

use super::connect::{Connection, Opened, unreachable};
use super::print;
use crate::client::Target;
use crate::client::api::{Api, error_words};
use crate::client::discovery::{Listed, Listing, list};
use crate::client::proxy;
use crate::client::setup::Setup;
use crate::error::{Error, Result};
use crate::load::pool::is_refusal;
use crate::sample::Failure;

/// Prints the endpoint as typed and as used, and the masked key.
pub fn announce(opened: &Opened) -> Result<()> {
    let endpoint = &opened.endpoint;
    let key = opened
        .key
        .as_ref()
        .map_or_else(|| "none".to_string(), ToString::to_string);
    print(&format!(
        "endpoint: {}\napi_key: {key}\nnormalized endpoint: {}\n",
        opened.typed,
        endpoint.shown()
    ))?;
    if let Some(proxy) = &opened.link.proxy {
        print(&format!(
            "proxy: {}, in every figure\n",
            proxy::shown(proxy)
        ))?;
    } else if endpoint.host.parse::<std::net::IpAddr>().is_err() {
        print(&format!("address: {}\n", opened.link.addrs[0]))?;
    }
    Ok(())
}

/// The models that the server lists; none where it lists none and the user named one.
pub fn models(connection: &Connection, opened: &Opened) -> Result<Vec<Listed>> {
    let endpoint = &opened.endpoint;
    let listing =
        list(&opened.small, endpoint).map_err(|f| unreachable(endpoint, &opened.link.tidy(f)))?;
    match listing {
        Listing::Models(models) => Ok(models),
        Listing::Denied(words) => {
            let words = opened.link.redact(&words);
            Err(Error::input(format!("{}models", endpoint.base()), words)
                .next("Give the right key with --api-key, --api-key-file or TMESH_API_KEY."))
        }
        Listing::Unusable(why) if connection.model.is_none() => {
            let why = opened.link.redact(&why);
            Err(Error::input(format!("{}models", endpoint.base()), why)
                .next("Name the model by hand: --model NAME"))
        }
        Listing::Unusable(_) => Ok(Vec::new()),
    }
}

/// The model that `--model` names.
pub fn given(name: &str, models: &[Listed]) -> Result<Listed> {
    print(&format!("model: {name} (given)\n"))?;
    let listed = models.iter().find(|model| model.id == name).cloned();
    if listed.is_none() && !models.is_empty() {
        let ids: Vec<&str> = models.iter().map(|model| model.id.as_str()).collect();
        eprintln!(
            "note: /v1/models does not list {name}, but {}",
            ids.join(", ")
        );
    }
    Ok(listed.unwrap_or(Listed {
        id: name.to_string(),
        max_model_len: None,
    }))
}

/// The model that was named, else the first that is listed.
pub fn model(connection: &Connection, opened: &Opened) -> Result<Listed> {
    let models = models(connection, opened)?;
    match &connection.model {
        Some(name) => given(name, &models),
        None => first(&models),
    }
}

/// The name of the model to ask for; empty where the API has none and the user named none.
pub fn model_of_api(connection: &Connection, opened: &Opened, api: Api) -> Result<String> {
    match api {
        Api::Generate => Ok(connection.model.clone().unwrap_or_default()),
        Api::Completions | Api::Chat => Ok(model(connection, opened)?.id),
    }
}

/// The first that is listed, of one or more.
pub fn first(models: &[Listed]) -> Result<Listed> {
    print(&format!("found model: {}\n", models[0].id))?;
    let others: Vec<&str> = models[1..].iter().map(|model| model.id.as_str()).collect();
    also_served(&others)?;
    Ok(models[0].clone())
}

/// Prints what else could have been asked for.
pub fn also_served(others: &[&str]) -> Result<()> {
    if others.is_empty() {
        return Ok(());
    }
    print(&format!(
        "also served: {} (pick one with --model)\n",
        others.join(", ")
    ))
}

/// Says what the requests before the run found out.
///
/// # Errors
/// When the server refuses what the run will send.
pub fn report_setup(setup: &Setup, target: &Target) -> Result<()> {
    if let Some(failure) = &setup.failure {
        let words = error_words(&failure.reason);
        let status = setup.status.unwrap_or(0);
        if is_refusal(status, &failure.reason, &target.body.model) {
            return Err(Error::input(format!("HTTP {status} from {}", target.uri), words)
                .next("Check --model and the key, or try the other API: --api chat, --api completions"));
        }
        eprintln!(
            "warning: the set-up request failed ({}{}: {words}); lengths by {}",
            failure.kind.name(),
            setup
                .status
                .map_or_else(String::new, |status| format!(" {status}")),
            setup.counted_by
        );
    }
    if !setup.dropped.is_empty() {
        eprintln!(
            "note: the server does not take {}; sent without",
            setup.dropped.join(", ")
        );
    }
    Ok(())
}

/// Why a run was ended: the server refuses every request, with this status and these words.
pub fn refused(target: &Target, status: u16, failure: &Failure) -> Error {
    let words = error_words(&failure.reason);
    Error::input(format!("HTTP {status} from {}", target.uri), words)
        .next("No request has succeeded, so the run was ended.")
}

/// The line on the requests before the run.
pub fn setup_line(setup: &Setup) -> String {
    let plural = if setup.requests == 1 { "" } else { "s" };
    format!(
        "Set-up: {} request{plural} ({} prompt tokens, {} output tokens), lengths by {}\n",
        setup.requests, setup.prompt_tokens, setup.output_tokens, setup.counted_by
    )
}

/// The same for the header of a run's files.
pub fn setup_json(setup: &Setup) -> Value {
    json!({
        "requests": setup.requests,
        "prompt_tokens": setup.prompt_tokens,
        "output_tokens": setup.output_tokens,
        "lengths_by": setup.counted_by,
    })
}
