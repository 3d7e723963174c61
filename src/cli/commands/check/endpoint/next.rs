//! The command line that a user would start from, made of what the check has found.

use crate::cli::connect::{Connection, Opened, quoted};
use crate::client::api::Api;
use crate::client::http::Trust;
use crate::prom::catalog::HIT_RATE;

/// What goes into the line.
pub struct Known<'a> {
    pub connection: &'a Connection,
    pub opened: &'a Opened,
    /// One that streams.
    pub api: Api,
    pub has_hit_rate: bool,
    /// A route that empties the cache, as it may be shown.
    pub reset_url: Option<&'a str>,
}

/// A `replay`, an option a line so that it can be copied; the key never stands in it.
pub fn replay(known: &Known) -> String {
    let endpoint = &known.opened.endpoint;
    let base = endpoint.shown_url("");
    let mut options = vec![format!("--endpoint {}", quoted(base.trim_end_matches('/')))];
    if let Some(model) = &known.connection.model {
        options.push(format!("--model {}", quoted(model)));
    }
    if known.api == Api::Completions {
        options.push("--api completions".to_string());
    }
    options.push("--dataset FILE --max-output-tokens 128".to_string());
    if known.has_hit_rate {
        let url = endpoint.shown_root("metrics");
        options.push(format!(
            "--prometheus-url {} --prometheus-metrics {HIT_RATE}",
            quoted(&url)
        ));
    }
    if let Some(url) = known.reset_url {
        options.push(format!(
            "--reset-cache-url {} --reset-cache-between-concurrency",
            quoted(url)
        ));
    }
    let link = &known.opened.link;
    let has_more = !link.headers.is_empty()
        || !known.connection.extra_body.is_empty()
        || !matches!(link.trust, Trust::Bundled);
    let more = match has_more {
        true => "(and this check's own options for key, headers, body and certificates)\n",
        false => "",
    };
    format!("tmesh-cli replay {}\n{more}", options.join(" \\\n  "))
}
