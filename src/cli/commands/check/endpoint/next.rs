//! The command line that a user could start from, made of the findings.

use crate::cli::connect::{Opened, quoted};
use crate::client::api::Api;
use crate::client::http::Trust;
use crate::prom::catalog::HIT_RATE;

/// Returns a `replay` command line through an API that streams, one option a line, for copying; it never contains the
/// key. `reset_url` is a route that empties the cache, as it may be shown.
pub fn replay(opened: &Opened, api: Api, has_hit_rate: bool, reset_url: Option<&str>) -> String {
    let (connection, endpoint, link) = (&opened.connection, &opened.endpoint, &opened.link);
    let base = endpoint.shown_url("");
    let mut options = vec![format!("--endpoint {}", quoted(base.trim_end_matches('/')))];
    if let Some(model) = &connection.model {
        options.push(format!("--model {}", quoted(model)));
    }
    if api == Api::Completions {
        options.push("--api completions".to_string());
    }
    options.push("--dataset FILE --max-output-tokens 128".to_string());
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
        || !matches!(link.trust, Trust::Bundled);
    let more = match has_more {
        true => "(and this check's own options for key, headers, body and certificates)\n",
        false => "",
    };
    format!("tmesh-cli replay {}\n{more}", options.join(" \\\n  "))
}
