//! An entry of the model table, and the format of `model_configs.json`: an array of entries, each checked key by key.
//!
//! In: the text of a file. Out: `ModelConfig`s, or an error that names the line, or the entry and its key. Numbers may
//! also be text ("100"), which the guide's tool accepts too. If absent, `tensorParallelSize` is 1 and a buffer 0 GB.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::plan::json::{self, count};
use crate::units;

#[cfg(test)]
mod fuzz;

/// One model of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The model's id on the server.
    pub model_name: String,
    /// A part of other ids of the same model, in any case; `None`: only `model_name` matches.
    pub search: Option<String>,
    /// GPUs (ranks) that share the model; each has buffers of its own.
    pub tensor_parallel_size: u64,
    /// GB for each rank; 0: no such buffer.
    pub cpu_offload_gb: f64,
    /// GB for each rank; 0: no such buffer.
    pub disk_offload_gb: f64,
    /// GB for all ranks together; 0: no such buffer.
    pub remote_offload_gb: f64,
    /// KV cache bytes of one token over all layers and ranks.
    pub bytes_per_token: u64,
    /// The origin of the entry: `built in`, or the user's file.
    pub source: String,
}

impl ModelConfig {
    /// The largest offload buffer, in GB: max(cpu · tp, disk · tp, remote).
    pub fn offload_size_gb(&self) -> f64 {
        let ranks = self.tensor_parallel_size as f64;
        (self.cpu_offload_gb * ranks)
            .max(self.disk_offload_gb * ranks)
            .max(self.remote_offload_gb)
    }
}

/// Shows the entry on one line, as used.
impl fmt::Display for ModelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, source, bytes) = (&self.model_name, &self.source, self.bytes_per_token);
        let (cpu, disk) = (self.cpu_offload_gb, self.disk_offload_gb);
        let (remote, ranks) = (self.remote_offload_gb, self.tensor_parallel_size);
        write!(
            f,
            "{name} ({source}): {bytes} bytes per token, offload buffers of {cpu} GB cpu and {disk} GB disk \
             for each of {ranks} ranks, {remote} GB remote"
        )
    }
}

/// Returns the KV cache bytes of one token: 2 (key and value) · layers · KV heads · head dimension · bytes per element.
///
/// Returns `None` on overflow.
pub fn kv_bytes_per_token(sizes: [u64; 4]) -> Option<u64> {
    sizes.into_iter().try_fold(2, u64::checked_mul)
}

/// An entry as the file has it; its values are checked one by one, so that an error can name the key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an entry in braces")]
struct Entry {
    model_name: Option<Value>,
    search: Option<Value>,
    #[serde(rename = "tensorParallelSize")]
    tensor_parallel_size: Option<Value>,
    #[serde(rename = "cpuOffloadingBufferSize")]
    cpu_offload: Option<Value>,
    #[serde(rename = "diskOffloadingBufferSize")]
    disk_offload: Option<Value>,
    #[serde(rename = "remoteOffloadingBufferSize")]
    remote_offload: Option<Value>,
    num_key_value_heads: Option<Value>,
    head_dim: Option<Value>,
    layers: Option<Value>,
    dtype_size: Option<Value>,
    bytes_per_tok: Option<Value>,
}

/// Parses a file; `what` begins every error, `source` is stored as the entries' origin.
pub(super) fn parse(what: &str, source: &str, text: &[u8]) -> Result<Vec<ModelConfig>> {
    let example = "Want the form of model_configs.json: [{\"model_name\": \"org/model\", \"search\": \"model\", \
        \"tensorParallelSize\": 1, \"cpuOffloadingBufferSize\": 100, \"bytes_per_tok\": 98304}]";
    let start = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if start.trim_ascii_start().first() != Some(&b'[') {
        json::parse::<serde::de::IgnoredAny>(what, text)?;
        return Err(Error::input(what, "not an array of entries").next(example));
    }
    let entries: Vec<Entry> = json::parse(what, text).map_err(|error| error.next(example))?;
    let mut models = Vec::new();
    let mut names = HashSet::new();
    for (number, entry) in (1..).zip(&entries) {
        let wrong = |why| match &entry.model_name {
            Some(Value::String(name)) => {
                Error::input(format!("{what}, entry {number} ({name})"), why)
            }
            _ => Error::input(format!("{what}, entry {number}"), why),
        };
        let model = entry.check(source).map_err(wrong)?;
        if !names.insert(model.model_name.clone()) {
            return Err(wrong("model_name: occurs twice in this file".to_string()));
        }
        models.push(model);
    }
    Ok(models)
}

impl Entry {
    fn check(&self, source: &str) -> std::result::Result<ModelConfig, String> {
        let ranks = count("tensorParallelSize", self.tensor_parallel_size.as_ref());
        let model = ModelConfig {
            model_name: text("model_name", self.model_name.as_ref())?.ok_or("no model_name")?,
            search: text("search", self.search.as_ref())?,
            tensor_parallel_size: ranks?.unwrap_or(1),
            cpu_offload_gb: gigabytes("cpuOffloadingBufferSize", self.cpu_offload.as_ref())?,
            disk_offload_gb: gigabytes("diskOffloadingBufferSize", self.disk_offload.as_ref())?,
            remote_offload_gb: gigabytes(
                "remoteOffloadingBufferSize",
                self.remote_offload.as_ref(),
            )?,
            bytes_per_token: self.bytes_per_token()?,
            source: source.to_string(),
        };
        if model.offload_size_gb() <= 0.0 {
            let why = "no buffer: want one of cpuOffloadingBufferSize, diskOffloadingBufferSize, \
                remoteOffloadingBufferSize above 0";
            return Err(why.to_string());
        }
        Ok(model)
    }

    /// Returns the given figure, which must agree with the architecture if that is given too; else computes it.
    fn bytes_per_token(&self) -> std::result::Result<u64, String> {
        let given = count("bytes_per_tok", self.bytes_per_tok.as_ref())?;
        let layers = count("layers", self.layers.as_ref())?;
        let heads = count("num_key_value_heads", self.num_key_value_heads.as_ref())?;
        let dim = count("head_dim", self.head_dim.as_ref())?;
        let dtype = count("dtype_size", self.dtype_size.as_ref())?;
        let (Some(layers), Some(heads), Some(dim), Some(dtype)) = (layers, heads, dim, dtype)
        else {
            let why = "no bytes_per_tok, and not all of num_key_value_heads, head_dim, layers, dtype_size";
            return given.ok_or_else(|| why.to_string());
        };
        let formula =
            format!("2 x {layers} layers x {heads} KV heads x {dim} head_dim x {dtype} bytes");
        match (given, kv_bytes_per_token([layers, heads, dim, dtype])) {
            (_, None) => Err(format!("{formula}: too large")),
            (Some(given), Some(bytes)) if given != bytes => Err(format!(
                "bytes_per_tok {given} disagrees with {formula} = {bytes}; remove the wrong one"
            )),
            (_, Some(bytes)) => Ok(bytes),
        }
    }
}

/// Returns a text; `None` if it is absent.
fn text(key: &str, value: Option<&Value>) -> std::result::Result<Option<String>, String> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text.clone())),
        Some(other) => {
            let have = json::shown(other);
            Err(format!("{key}: want a text that is not empty, have {have}"))
        }
    }
}

/// Returns GB, also from text ("100"); 0 if absent.
fn gigabytes(key: &str, value: Option<&Value>) -> std::result::Result<f64, String> {
    let number = match value {
        None => Some(0.0),
        Some(Value::String(text)) => units::parse_number(text).ok(),
        Some(other) => other.as_f64().filter(|number| *number >= 0.0),
    };
    number.ok_or_else(|| {
        let have = value.map(json::shown).unwrap_or_default();
        format!("{key}: want GB, 0 or more, have {have}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_file_is_named_with_line_or_entry_and_key() {
        for (json, want) in [
            (
                "[\n{\"model_name\": \"m\",\n}]",
                "my.json, line 3: not JSON: trailing comma",
            ),
            ("", "my.json, line 1: not JSON: EOF while parsing a value"),
            (
                "{\"model_name\": \"m\"}",
                "my.json: not an array of entries",
            ),
            (
                "[\n{\"model\": \"m\"}]",
                "my.json, line 2: unknown field `model`, expected one of `model_name`",
            ),
            (
                "[{\"layers\": 1,\n \"layers\": 2}]",
                "my.json, line 2: duplicate field `layers`",
            ),
            (
                "[3]",
                "my.json, line 1: invalid type: integer `3`, expected an entry in braces",
            ),
            ("[{}]", "my.json, entry 1: no model_name"),
            (
                "[{\"model_name\": 3}]",
                "my.json, entry 1: model_name: want a text that is not empty, have 3",
            ),
            (
                "[{\"model_name\": \"m\", \"search\": \"\"}]",
                "entry 1 (m): search: want a text that is not empty, have \"\"",
            ),
            (
                "[{\"model_name\": \"m\", \"tensorParallelSize\": 0}]",
                "tensorParallelSize: want a whole number above 0, have 0",
            ),
            (
                "[{\"model_name\": \"m\", \"cpuOffloadingBufferSize\": -1}]",
                "cpuOffloadingBufferSize: want GB, 0 or more, have -1",
            ),
            (
                "[{\"model_name\": \"m\", \"cpuOffloadingBufferSize\": \"10Gi\"}]",
                "want GB, 0 or more, have \"10Gi\"",
            ),
            (
                "[{\"model_name\": \"m\", \"bytes_per_tok\": 1.5}]",
                "bytes_per_tok: want a whole number above 0, have 1.5",
            ),
            (
                "[{\"model_name\": \"m\", \"bytes_per_tok\": 0}]",
                "bytes_per_tok: want a whole number above 0, have 0",
            ),
            (
                "[{\"model_name\": \"m\", \"bytes_per_tok\": 8}]",
                "(m): no buffer: want one of cpuOffloadingBufferSize",
            ),
            (
                "[{\"model_name\": \"m\", \"layers\": 2}]",
                "(m): no bytes_per_tok, and not all of num_key_value_heads, head_dim",
            ),
            (
                r#"[{"model_name": "m", "num_key_value_heads": 4, "head_dim": 128, "layers": 94, "dtype_size": 2,
                   "bytes_per_tok": 96256}]"#,
                "bytes_per_tok 96256 disagrees with 2 x 94 layers x 4 KV heads x 128 head_dim x 2 bytes = 192512",
            ),
            (
                r#"[{"model_name": "m", "num_key_value_heads": 4294967296, "head_dim": 4294967296, "layers": 1, "dtype_size": 1}]"#,
                "head_dim x 1 bytes: too large",
            ),
            (
                r#"[{"model_name": "m", "bytes_per_tok": 8, "cpuOffloadingBufferSize": 1},
                    {"model_name": "m", "bytes_per_tok": 8, "cpuOffloadingBufferSize": 1}]"#,
                "my.json, entry 2 (m): model_name: occurs twice in this file",
            ),
        ] {
            let error =
                parse("--model-configs my.json", "my.json", json.as_bytes()).expect_err(json);
            assert!(
                error
                    .to_string()
                    .lines()
                    .next()
                    .is_some_and(|line| line.contains(want)),
                "{json}\n{error}"
            );
            assert_eq!(error.exit_code(), 2);
        }
    }
}
