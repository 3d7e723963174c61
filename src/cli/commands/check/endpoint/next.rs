//! The command lines that a user would start from, made of the findings.

use serde_json::json;

use crate::cli::connect::Opened;
use crate::client::api::Api;
use crate::prom::catalog::HIT_RATE;
use crate::report::layout::next::{Server, To, shorter_input};
use crate::units::quoted;

/// A `benchmark` of few contexts, which needs to know nothing about the model.
pub fn benchmark(opened: &Opened, api: Api, max_model_len: Option<u64>) -> String {
    let mut options = server(opened, api).options(To::Benchmark);
    options.push("--contexts 20 --rotations 2".to_string());
    if let Some(most) = max_model_len.and_then(shorter_input) {
        options.push(format!("--input-length {most}"));
    }
    format!("tmesh-cli benchmark {}\n", options.join(" \\\n  "))
}

/// Returns the server with its API, and with the model that the user named.
fn server(opened: &Opened, api: Api) -> Server {
    let connection = &opened.connection;
    Server::of(&json!({
        "endpoint": opened.endpoint.shown_url(""),
        "model": connection.model,
        "connection": connection.given.header(None),
        "options": {"api": api.name()},
    }))
}

/// Returns a `replay` command line through an API that streams, one option a line, for copying; it never contains the
/// key. `reset_url` is a route that empties the cache, as it may be shown.
pub fn replay(opened: &Opened, api: Api, has_hit_rate: bool, reset_url: Option<&str>) -> String {
    let endpoint = &opened.endpoint;
    let mut options = server(opened, api).options(To::Replay);
    options.push("--synthetic 20 --max-output-tokens 128".to_string());
    if has_hit_rate {
        let url = quoted(&endpoint.shown_root("metrics"));
        options.push(format!(
            "--prometheus-url {url} --prometheus-metrics {HIT_RATE}"
        ));
    }
    if let Some(url) = reset_url.map(quoted) {
        options.push(format!(
            "--reset-cache-url {url} --reset-cache-between-concurrency"
        ));
    }
    let more = match opened.connection.given.has_own() {
        true => "(and this check's own options for key, headers, body and certificates)\n",
        false => "",
    };
    format!("tmesh-cli replay {}\n{more}", options.join(" \\\n  "))
}
