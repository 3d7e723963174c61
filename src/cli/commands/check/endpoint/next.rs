//! The command lines that a user would start from, made of the findings.

use crate::cli::connect::Opened;
use crate::client::api::Api;
use crate::client::trust::Trust;
use crate::prom::catalog::HIT_RATE;
use crate::units::quoted;

/// Tokens of a context and its question beside those that `--input-length` names, with some to spare.
const BESIDE_INPUT: u64 = 1000;
const DEFAULT_INPUT: u64 = 32_000;

/// A `benchmark` of few contexts, which needs to know nothing about the model.
pub fn benchmark(opened: &Opened, api: Api, max_model_len: Option<u64>) -> String {
    let mut options = server(opened, api, Api::Completions);
    options.push("--contexts 20 --rotations 2".to_string());
    let most = max_model_len.map(|tokens| tokens.saturating_sub(BESIDE_INPUT).max(tokens / 2));
    if let Some(most) = most.filter(|&most| most < DEFAULT_INPUT) {
        options.push(format!("--input-length {most}"));
    }
    format!("tmesh-cli benchmark {}\n", options.join(" \\\n  "))
}

/// The server, its model, and the API where it is not the command's default.
fn server(opened: &Opened, api: Api, default: Api) -> Vec<String> {
    let mut options = vec![opened.named_by()];
    if let Some(model) = &opened.connection.model {
        options.push(format!("--model {}", quoted(model)));
    }
    if api != default {
        options.push(format!("--api {}", api.name()));
    }
    options
}

/// Returns a `replay` command line through an API that streams, one option a line, for copying; it never contains the
/// key. `reset_url` is a route that empties the cache, as it may be shown.
pub fn replay(opened: &Opened, api: Api, has_hit_rate: bool, reset_url: Option<&str>) -> String {
    let (connection, endpoint, link) = (&opened.connection, &opened.endpoint, &opened.link);
    let mut options = server(opened, api, Api::Chat);
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
    let has_more = !link.headers.is_empty()
        || !connection.extra_body.is_empty()
        || !matches!(link.tls.trust, Trust::Bundled);
    let more = match has_more {
        true => "(and this check's own options for key, headers, body and certificates)\n",
        false => "",
    };
    format!("tmesh-cli replay {}\n{more}", options.join(" \\\n  "))
}
