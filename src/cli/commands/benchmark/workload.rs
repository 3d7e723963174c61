//! The size of the workload, from the options and the table of models.

use std::path::Path;

use crate::cli::args::{Args, at_least_one};
use crate::cli::connect::Opened;
use crate::cli::discover::{models, no_such_model, pick, say_found};
use crate::cli::terminal::print;
use crate::client::discovery::Listed;
use crate::error::Result;
use crate::plan::hf_config::bytes_per_token_of_hf_config;
use crate::plan::models::{Table, choose, not_found};
use crate::plan::sizing::{Overrides, Sizing};
use crate::units::{parse_number, quoted};

/// The workload as the user described it.
pub struct Workload {
    set: Overrides,
    table: Table,
    /// `--model-configs` was given, so the entry used is shown.
    shows_entry: bool,
}

impl Workload {
    pub fn parse(args: &Args) -> Result<Workload> {
        let mut table = Table::builtin();
        let configs = args.text("--model-configs");
        if let Some(path) = &configs {
            table.extend_from(Path::new(path))?;
        }
        args.apart(&[("--hf-config", "--bytes-per-token", "")])?;
        args.only_with(&[("--kv-dtype-bytes", "--hf-config")])?;
        let mut bytes_per_token = args.value("--bytes-per-token", at_least_one)?;
        let dtype = args.value("--kv-dtype-bytes", at_least_one)?.unwrap_or(2);
        if let Some(path) = args.text("--hf-config") {
            let bytes = bytes_per_token_of_hf_config(Path::new(&path), dtype)?;
            print(&format!(
                "bytes per token: {bytes} ({dtype} bytes per KV element)\n"
            ))?;
            bytes_per_token = Some(bytes);
        }
        let set = Overrides {
            offload_size_gb: args.value("--offload-size", parse_number)?,
            bytes_per_token,
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

    /// Returns the model, and the sizes that follow from its entry in the table; prints both.
    ///
    /// # Errors
    /// Fails when the server lists no model, the model needs an entry and has none, or its sizes leave nothing to send.
    pub fn size(&self, opened: &Opened) -> Result<(Listed, Sizing)> {
        let models = models(opened)?;
        let named = opened.connection.model.as_deref();
        let listed = models.clone();
        let ids: Vec<String> = models.iter().map(|model| model.id.clone()).collect();
        let model = match choose(&ids, &self.table).filter(|_| named.is_none()) {
            Some(choice) => {
                say_found(choice.id, &choice.others)?;
                let mut models = models.into_iter();
                let chosen = models.find(|model| model.id == choice.id);
                chosen.expect("the id comes from this list")
            }
            None => pick(named, &models)?,
        };
        let entry = self.table.find(&model.id);
        let is_derived = self.set.contexts.is_none();
        if entry.is_none() && is_derived && self.set.bytes_per_token.is_none() {
            let server = opened.named_by();
            let (unlisted, named) = match named {
                Some(name) => (
                    no_such_model(name, &listed),
                    format!(" --model {}", quoted(name)),
                ),
                None => (None, String::new()),
            };
            let next = format!("Try: tmesh-cli benchmark {server}{named} --contexts 20");
            return Err(match unlisted {
                Some(error) => error
                    .next("If the server has it under this name all the same:")
                    .next(next),
                None => not_found(&model.id, &self.table).next(next),
            });
        }
        let sizing = Sizing::new(entry, &self.set)?;
        if let Some(entry) = entry.filter(|_| self.shows_entry) {
            print(&format!("model entry: {entry}\n"))?;
        }
        if let Some(size) = sizing.offload_size_gb.filter(|_| is_derived) {
            print(&format!("offload_size: {size}\n"))?;
        }
        Ok((model, sizing))
    }
}
