//! The model table: the KV cache sizes of known models and their offload buffers.
//!
//! In: the built-in `model_configs.json`, a user's file of the same format, the ids of `/v1/models`. Out: the matching
//! entry. `sizing` turns an entry into a workload. Sizes in GB are GiB (1024³ bytes), as in the guide's formula.

mod config;

use std::path::Path;

use self::config::parse;
pub use self::config::{ModelConfig, kv_bytes_per_token};
use super::json;
use crate::error::{Error, Result};

const BUILTIN: &str = include_str!("../../../model_configs.json");

const WAYS_ON: &str = "\
Use one of:
  --model-configs FILE       your own entries, in the form of model_configs.json
  --bytes-per-token N        KV cache bytes of one token
  --hf-config config.json    the model's Hugging Face config, to compute them
  --contexts N               the number of contexts itself, which needs no sizing";

/// All known models, in the order of the files.
#[derive(Debug, Clone)]
pub struct Table {
    models: Vec<ModelConfig>,
}

impl Table {
    /// Returns the table that is compiled in.
    pub fn builtin() -> Table {
        let models = parse("model_configs.json", "built in", BUILTIN.as_bytes());
        Table {
            models: models.expect("a test parses the compiled-in file"),
        }
    }

    /// Adds the entries of `--model-configs FILE`; an entry with a known `model_name` replaces the old one completely.
    ///
    /// Errors name the file, then the line or the entry and its key; the table is then unchanged.
    pub fn extend_from(&mut self, path: &Path) -> Result<()> {
        let what = format!("--model-configs {}", path.display());
        let source = path.display().to_string();
        for model in parse(&what, &source, &json::read(&what, path)?)? {
            let mut known = self.models.iter_mut();
            match known.find(|known| known.model_name == model.model_name) {
                Some(known) => *known = model,
                None => self.models.push(model),
            }
        }
        Ok(())
    }

    /// Returns the entry of a served model: by its exact name, else by the longest `search` in the id (the later of two
    /// equals).
    pub fn find(&self, model_id: &str) -> Option<&ModelConfig> {
        let by_name = |model: &&ModelConfig| model.model_name == model_id;
        let id = model_id.to_lowercase();
        let searched = self.models.iter().filter_map(|model| {
            let search = model.search.as_ref()?.to_lowercase();
            id.contains(&search).then_some((search.len(), model))
        });
        let by_search = || searched.max_by_key(|(length, _)| *length);
        let named = self.models.iter().find(by_name);
        named.or_else(|| by_search().map(|(_, model)| model))
    }

    /// Returns the known model names, in the order of the files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.models.iter().map(|model| model.model_name.as_str())
    }
}

/// The served model to measure.
#[derive(Debug, PartialEq)]
pub struct Choice<'a> {
    /// The model's id as the server spells it.
    pub id: &'a str,
    /// The model's entry in the table.
    pub model: &'a ModelConfig,
    /// Other served ids that the table knows too.
    pub others: Vec<&'a str>,
}

/// Chooses the first of the ids of `/v1/models` that the table knows; `None` if it knows none.
pub fn choose<'a>(ids: &'a [String], table: &'a Table) -> Option<Choice<'a>> {
    let ids = ids.iter().map(String::as_str);
    let mut known = ids.filter_map(|id| Some((id, table.find(id)?)));
    let (id, model) = known.next()?;
    let others = known.map(|(other, _)| other).filter(|other| *other != id);
    let others = others.collect();
    Some(Choice { id, model, others })
}

/// Returns the guide's error for a model that the table does not know, with the known ones and ways to proceed.
pub fn not_found(model: &str, table: &Table) -> Error {
    let names: String = table.names().map(|name| format!("  {name}\n")).collect();
    Error::fixed(format!("model {model} not found in model_configs.json"))
        .next(format!("Supported models:\n{names}{WAYS_ON}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_table_holds_the_guides_five_models() {
        let table = Table::builtin();
        let figures: Vec<_> = table
            .models
            .iter()
            .map(|m| {
                (
                    m.model_name.as_str(),
                    m.bytes_per_token,
                    m.offload_size_gb(),
                )
            })
            .collect();
        // The architecture keys are there too, so each figure is checked against 2·layers·heads·dim·bytes when parsed.
        assert_eq!(
            figures,
            [
                ("openai/gpt-oss-120b", 73_728, 100.0),
                ("openai/gpt-oss-20b", 49_152, 100.0),
                ("Qwen/Qwen3-235B-A22B-Instruct-2507-FP8", 96_256, 800.0),
                ("Qwen/Qwen3-Coder-480B-A35B-Instruct-FP8", 253_952, 800.0),
                ("Qwen/Qwen3-30B-A3B-Instruct-2507", 98_304, 100.0),
            ]
        );
    }

    #[test]
    fn a_model_is_found_by_name_or_by_its_search_part_in_any_case() {
        let table = Table::builtin();
        for (id, name) in [
            ("openai/gpt-oss-20b", Some("openai/gpt-oss-20b")),
            ("/models/GPT-OSS-20B/", Some("openai/gpt-oss-20b")),
            ("gpt-oss-120b", Some("openai/gpt-oss-120b")),
            (
                "Qwen/Qwen3-30B-A3B-Thinking-2507",
                Some("Qwen/Qwen3-30B-A3B-Instruct-2507"),
            ),
            ("Qwen/Qwen3-Coder-30B-A3B-Instruct", None),
            // The FP8 entry's one byte per element must not match: this model keeps two.
            ("Qwen/Qwen3-235B-A22B-Instruct-2507", None),
            ("meta-llama/Llama-3.1-8B-Instruct", None),
            ("", None),
        ] {
            assert_eq!(
                table.find(id).map(|model| model.model_name.as_str()),
                name,
                "{id}"
            );
        }
    }

    #[test]
    fn the_longest_search_part_wins_and_of_two_the_later() {
        let json = r#"[
            {"model_name": "a", "search": "qwen", "bytes_per_tok": 1, "cpuOffloadingBufferSize": 1},
            {"model_name": "b", "search": "QWEN-FP8", "bytes_per_tok": 1, "cpuOffloadingBufferSize": 1},
            {"model_name": "c", "search": "qwen", "bytes_per_tok": 1, "cpuOffloadingBufferSize": 1}]"#;
        let table = Table {
            models: parse("my.json", "my.json", json.as_bytes()).unwrap(),
        };
        for (id, name) in [("my-qwen-fp8", "b"), ("my-qwen", "c"), ("a", "a")] {
            assert_eq!(table.find(id).unwrap().model_name, name, "{id}");
        }
    }

    #[test]
    fn the_first_known_id_is_chosen_and_the_other_known_ones_are_named() {
        let table = Table::builtin();
        let ids = [
            "bge-m3",
            "local/gpt-oss-20b",
            "openai/gpt-oss-120b",
            "other",
            "local/gpt-oss-20b",
        ]
        .map(String::from);
        let choice = choose(&ids, &table).unwrap();
        assert_eq!(
            (choice.id, choice.model.model_name.as_str()),
            ("local/gpt-oss-20b", "openai/gpt-oss-20b")
        );
        assert_eq!(choice.others, ["openai/gpt-oss-120b"]);
        assert_eq!(choose(&ids[..1], &table), None);
        assert_eq!(choose(&[], &table), None);
    }

    #[test]
    fn a_users_file_overrides_by_name_and_extends() {
        let path = std::env::temp_dir().join(format!("tmesh-models-{}.json", std::process::id()));
        let json = r#"[{"model_name": "openai/gpt-oss-20b", "bytes_per_tok": "24576", "remoteOffloadingBufferSize": "500"},
            {"model_name": "my/model", "search": "my-model", "tensorParallelSize": 2, "diskOffloadingBufferSize": 0.5,
             "num_key_value_heads": 2, "head_dim": 32, "layers": 2, "dtype_size": 4}]"#;
        std::fs::write(&path, json).unwrap();
        let mut table = Table::builtin();
        table.extend_from(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(table.names().count(), 6);
        let model = table.find("openai/gpt-oss-20b").unwrap();
        assert_eq!(
            (model.bytes_per_token, model.offload_size_gb()),
            (24_576, 500.0)
        );
        // The whole entry is replaced, so without `search` only the exact name matches.
        assert_eq!(table.find("local/gpt-oss-20b"), None);
        // 2 · 2 layers · 2 heads · 32 · 4 bytes = 1,024; 0.5 GB of disk on each of 2 ranks.
        let model = table.find("x/My-Model").unwrap();
        assert_eq!(
            (model.bytes_per_token, model.offload_size_gb()),
            (1024, 1.0)
        );
        assert_eq!(
            model.to_string(),
            format!(
                "my/model ({}): 1024 bytes per token, offload buffers of 0 GB cpu and 0.5 GB disk for each of 2 ranks, \
                 0 GB remote",
                path.display()
            )
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named_and_changes_nothing() {
        let mut table = Table::builtin();
        let error = table.extend_from(Path::new("/no/such.json")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("[ERROR] --model-configs /no/such.json: cannot read: No such file")
        );
        assert_eq!(table.names().count(), 5);
    }

    #[test]
    fn an_unknown_model_gets_the_guides_line_then_the_known_ones_and_the_ways_on() {
        let text = not_found("my/model", &Table::builtin()).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "[ERROR] model my/model not found in model_configs.json"
        );
        assert_eq!(lines[2], "  openai/gpt-oss-120b");
        for way in [
            "--model-configs FILE",
            "--bytes-per-token N",
            "--hf-config config.json",
            "--contexts N",
        ] {
            assert!(
                lines[8..].iter().any(|line| line.contains(way)),
                "{way}\n{text}"
            );
        }
    }
}
