//! From the options of `run` and a server that is up to all that its workloads need.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::beside::{Beside, TokenBytes};
use super::engine::{self, Engine};
use super::host;
use super::measure::Run;
use super::options::Options;
use crate::backend::memory::Of;
use crate::backend::process::Server;
use crate::cli::connect::{Connection, Opened};
use crate::cli::discover::{announce, first, given, models, report_setup, setup_json, setup_line};
use crate::cli::folder::Folder;
use crate::cli::{checks, print};
use crate::client::Target;
use crate::client::api::Api;
use crate::client::body::BodyShape;
use crate::client::discovery::Listed;
use crate::client::setup::{self, Setup};
use crate::error::Result;
use crate::load::stop::Stop;
use crate::plan::models::Table;
use crate::plan::prompt::Writer;
use crate::report;
use crate::units::format_utc;

/// Finds the model, asks the set-up questions, looks for metrics, and says what will be sent.
pub fn open(
    mut connection: Connection,
    options: Options,
    folder: Folder,
    stop: &Stop,
    server: Option<&Server>,
) -> Result<Run> {
    let most = options.workloads.iter().map(|fixed| fixed.in_flight).max();
    checks::in_flight(
        "--workload, requests at once:",
        most.unwrap_or(1),
        connection.is_mock(),
    )?;
    let opened = connection.open()?;
    announce(&opened)?;
    let listed = models(&connection, &opened)?;
    let model = match asked_for(connection.model.as_deref(), &listed, &options.engine) {
        Some(name) => given(name, &listed)?,
        None => first(&listed)?,
    };
    let writer = Writer::new(options.seed, &options.nonce);
    let chosen = opened.endpoint.api;
    let body = BodyShape {
        extra: connection.extra_body,
        ..BodyShape::new(chosen.unwrap_or(Api::Completions), model.id)
    };
    let (target, setup) = ask(&opened, body, chosen.is_none(), &writer)?;
    report_setup(&setup, &target)?;
    let memory_of = match (&options.engine, server) {
        (_, Some(server)) => Some(Of::Group(server.group())),
        (Engine::Mock(_), None) => Some(Of::ThisProcess),
        _ => None,
    };
    let token_bytes = token_bytes(&options, &target.body.model);
    let beside = Beside::open(&opened, options.engine.names(), memory_of, token_bytes);
    if let Some(why) = beside.no_page() {
        eprintln!("note: {why}; what only the server can tell is n/a");
    }
    let about = about(&options, &target, &opened, &setup, &beside);
    print(&specification(&options, &opened, &setup))?;
    let samples_file = folder.samples(&about, true)?;
    Ok(Run {
        target: Arc::new(target),
        lengths: setup.lengths,
        writer,
        opened,
        options,
        folder,
        beside,
        about,
        stop: stop.clone(),
        succeeded: Arc::new(AtomicBool::new(false)),
        samples_file: Some(samples_file),
        cached_reported: false,
        next_id: 0,
        summaries: Vec::new(),
        samples: Vec::new(),
        lost: Vec::new(),
    })
}

/// The name to ask for; `None`: the first of the list.
///
/// A backend may list what it was started with under a name of its own, such as a path's last part.
fn asked_for<'a>(named: Option<&'a str>, listed: &[Listed], engine: &Engine) -> Option<&'a str> {
    let renames = matches!(engine, Engine::Started(launch) if launch.preset.lists_models);
    let is_listed = |name: &str| listed.iter().any(|model| model.id == name);
    named.filter(|name| !renames || listed.is_empty() || is_listed(name))
}

/// Asks the set-up questions; where the API is open and the server has no completions, it is chat.
fn ask(
    opened: &Opened,
    body: BodyShape,
    may_change: bool,
    writer: &Writer,
) -> Result<(Target, Setup)> {
    let endpoint = &opened.endpoint;
    let chat = BodyShape {
        api: Api::Chat,
        ..body.clone()
    };
    let mut target = Target::new(opened.link.clone(), endpoint, body)?;
    let setup = setup::run(&mut target, endpoint, &opened.small, writer);
    if !may_change || !matches!(setup.status, Some(404 | 405 | 501)) {
        return Ok((target, setup));
    }
    let mut other = Target::new(opened.link.clone(), endpoint, chat)?;
    let retried = setup::run(&mut other, endpoint, &opened.small, writer);
    if retried.failure.is_some() {
        return Ok((target, setup));
    }
    eprintln!("note: the server has no completions; chat it is");
    Ok((other, retried))
}

fn token_bytes(options: &Options, model: &str) -> Option<TokenBytes> {
    if let Some(bytes) = options.bytes_per_token {
        let source = "--bytes-per-token".to_string();
        return Some(TokenBytes { bytes, source });
    }
    let table = Table::builtin();
    table.find(model).map(|entry| TokenBytes {
        bytes: entry.bytes_per_token,
        source: format!("model_configs.json, {}", entry.model_name),
    })
}

/// What stands in front of samples and figures in files; no key, no prompt text, no command line.
fn about(
    options: &Options,
    target: &Target,
    opened: &Opened,
    setup: &Setup,
    beside: &Beside,
) -> Value {
    let watch = beside.watch();
    let (backend, engine, version) = match &options.engine {
        Engine::Mock(_) => (
            "mock",
            Some("mock"),
            Some(env!("CARGO_PKG_VERSION").to_string()),
        ),
        other => {
            let backend = match other {
                Engine::Started(launch) => launch.preset.name,
                _ => "attached",
            };
            let told = watch.and_then(|watch| watch.engine_version());
            let version = told.map(str::to_string).or_else(|| engine::version(opened));
            let engine = watch.and_then(|watch| watch.engine());
            (backend, engine.or(options.engine.names()), version)
        }
    };
    json!({
        "command": "run",
        "endpoint": opened.endpoint.base(),
        "model": target.body.model,
        "mock": opened.mock.is_some(),
        "seed": options.seed,
        "nonce": options.nonce,
        "run_id": target.run_id,
        "slo": null,
        "started_at": format_utc(SystemTime::now()),
        "backend": backend,
        "engine": engine,
        "engine_version": version,
        "cpu": host::cpu(),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "kernel": host::kernel(),
        "options": {
            "api": target.body.api.path(),
            "workload": options.workload,
            "bytes_per_token": options.bytes_per_token,
        },
        "setup": setup_json(setup),
    })
}

fn specification(options: &Options, opened: &Opened, setup: &Setup) -> String {
    let mut text = "\nWorkloads:\n".to_string();
    for fixed in &options.workloads {
        let tokens = fixed.workload.tokens();
        let order = match fixed.in_flight {
            1 => "one after the other".to_string(),
            n => format!("{n} at once"),
        };
        text.push_str(&format!(
            "  {}: {} requests, {order}, about {tokens} tokens in, {tokens} out\n",
            fixed.workload.name(),
            fixed.requests
        ));
    }
    text.push_str(&setup_line(setup));
    text.push_str(&format!(
        "Seed: {}, nonce: {}\n",
        options.seed, options.nonce
    ));
    if opened.mock.is_some() {
        text.push_str(report::MOCK);
        text.push('\n');
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::presets::Preset;
    use crate::cli::commands::run::engine::Launch;

    #[test]
    fn a_backend_is_asked_for_the_model_it_was_started_with_by_the_name_on_its_list() {
        let listed = |ids: &[&str]| -> Vec<Listed> {
            let models = ids.iter().map(|id| Listed {
                id: id.to_string(),
                max_model_len: None,
            });
            models.collect()
        };
        let started = |name| {
            Engine::Started(Launch {
                preset: Preset::find(name).expect("it is in the table"),
                words: Vec::new(),
                port: 1,
                timeout: Duration::ZERO,
                model: None,
            })
        };
        for (backend, named, ids, wanted) in [
            ("command", Some("b"), &["a", "b"][..], Some("b")),
            ("command", Some("/m/b"), &["b"], None),
            ("command", Some("b"), &[], Some("b")),
            ("command", None, &["a"], None),
            // Its list has all that was ever downloaded.
            ("cpu", Some("/m/b"), &["a"], Some("/m/b")),
        ] {
            let got = asked_for(named, &listed(ids), &started(backend));
            assert_eq!(got, wanted, "{backend} {named:?} {ids:?}");
        }
        let attached = Engine::Attached {
            url: String::new(),
            names: None,
        };
        let got = asked_for(Some("c"), &listed(&["a"]), &attached);
        assert_eq!(got, Some("c"));
    }
}
