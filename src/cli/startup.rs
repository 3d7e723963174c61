//! From an open connection to a workload: discovery, sizing and set-up requests.

use std::path::Path;

use super::args::{Args, at_least_one};
use super::checks;
use super::connect::{Connection, Opened};
use super::discover;
use super::print;
use crate::client::Target;
use crate::client::api::Api;
use crate::client::body::BodyShape;
use crate::client::discovery::Listed;
use crate::client::setup::{self, Setup};
use crate::error::{Error, Result};
use crate::plan::hf_config::bytes_per_token_of_hf_config;
use crate::plan::models::{ModelConfig, Table, choose, not_found};
use crate::plan::prompt::Writer;
use crate::plan::sizing::{Overrides, Sizing};
use crate::units::parse_number;

/// What the user said of the workload.
pub struct Workload {
    set: Overrides,
    table: Table,
    /// `--model-configs` was given: the entry used is shown.
    shows_entry: bool,
}

impl Workload {
    pub fn parse(args: &mut Args) -> Result<Workload> {
        let mut table = Table::builtin();
        let configs = args.text("--model-configs")?;
        if let Some(path) = &configs {
            table.extend_from(Path::new(path))?;
        }
        let bytes_per_token = args.value("--bytes-per-token", at_least_one)?;
        let dtype_bytes = args.value("--kv-dtype-bytes", at_least_one)?;
        let hf_config = args.text("--hf-config")?;
        let from_config = match (&hf_config, dtype_bytes) {
            (Some(_), _) if bytes_per_token.is_some() => {
                return Err(Error::input(
                    "--hf-config",
                    "not together with --bytes-per-token",
                ));
            }
            (Some(path), dtype) => Some(bytes_per_token_of_hf_config(
                Path::new(path),
                dtype.unwrap_or(2),
            )?),
            (None, Some(_)) => {
                return Err(Error::input("--kv-dtype-bytes", "only with --hf-config"));
            }
            (None, None) => None,
        };
        if let Some(bytes) = from_config {
            print(&format!(
                "bytes per token: {bytes} ({} bytes per KV element)\n",
                dtype_bytes.unwrap_or(2)
            ))?;
        }
        let set = Overrides {
            offload_size_gb: args.value("--offload-size", parse_number)?,
            bytes_per_token: bytes_per_token.or(from_config),
            input_length: args.value("--input-length", at_least_one)?,
            output_length: args.value("--output-length", at_least_one)?,
            contexts: args.value("--contexts", at_least_one)?,
            questions: args.value("--questions", at_least_one)?,
            max_inflight: args.value("--max-inflight", at_least_one)?,
        };
        set.check()?;
        Ok(Workload {
            set,
            table,
            shows_entry: configs.is_some(),
        })
    }

    /// Whether a model without an entry will do.
    fn needs_no_entry(&self) -> bool {
        self.set.contexts.is_some() || self.set.bytes_per_token.is_some()
    }
}

/// All that a run needs.
pub struct Ready {
    pub target: Target,
    pub sizing: Sizing,
    pub setup: Setup,
    pub is_mock: bool,
}

/// Finds the model, sizes the workload, asks the server the set-up questions; prints the guide's
/// start-up lines as it goes.
pub fn prepare(
    connection: Connection,
    workload: &Workload,
    opened: &Opened,
    writer: &Writer,
) -> Result<Ready> {
    let endpoint = &opened.endpoint;
    discover::announce(opened)?;
    let (model, entry) = find_model(&connection, workload, opened)?;
    let sizing = Sizing::new(entry.as_ref(), &workload.set)?;
    if let Some(entry) = entry.filter(|_| workload.shows_entry) {
        print(&format!("model entry: {entry}\n"))?;
    }
    if let Some(size) = sizing
        .offload_size_gb
        .filter(|_| workload.set.contexts.is_none())
    {
        print(&format!("offload_size: {size}\n"))?;
    }
    checks::length(&model, &sizing)?;
    checks::in_flight("--max-inflight", sizing.max_inflight, opened.mock.is_some())?;
    checks::memory(&sizing)?;

    let api = endpoint.api.unwrap_or(Api::Completions);
    let body = BodyShape {
        extra: connection.extra_body,
        ..BodyShape::new(api, model.id)
    };
    let mut target = Target::new(opened.link.clone(), endpoint, body)?;
    let setup = setup::run(&mut target, endpoint, &opened.small, writer);
    discover::report_setup(&setup, &target)?;
    Ok(Ready {
        target,
        sizing,
        setup,
        is_mock: opened.mock.is_some(),
    })
}

/// The model and its entry in the table, if it has one.
fn find_model(
    connection: &Connection,
    workload: &Workload,
    opened: &Opened,
) -> Result<(Listed, Option<ModelConfig>)> {
    let models = discover::models(connection, opened)?;
    let model = match &connection.model {
        Some(name) => discover::given(name, &models)?,
        None => discovered(workload, &models)?,
    };
    let entry = workload.table.find(&model.id).cloned();
    if entry.is_none() && !workload.needs_no_entry() {
        return Err(not_found(&model.id, &workload.table));
    }
    Ok((model, entry))
}

/// The first listed model that the table knows, else the first.
fn discovered(workload: &Workload, models: &[Listed]) -> Result<Listed> {
    let ids: Vec<String> = models.iter().map(|model| model.id.clone()).collect();
    let known = choose(&ids, &workload.table);
    let id = known.as_ref().map_or(ids[0].as_str(), |choice| choice.id);
    print(&format!("found model: {id}\n"))?;
    let others = match &known {
        Some(choice) => choice.others.clone(),
        None => ids.iter().skip(1).map(String::as_str).collect(),
    };
    discover::also_served(&others)?;
    let found = models.iter().find(|model| model.id == id);
    Ok(found.expect("the id comes from this list").clone())
}
