//! Computes the KV cache bytes of a token from a model's Hugging Face `config.json`.
//!
//! It refuses models for which one figure per token is wrong: layers that keep only a window, a fixed state or no cache
//! of their own, and layers that differ. Weights and their quantization do not matter; the cache's element size is
//! given.

use std::path::Path;

use serde_json::Value;

use super::json;
use super::models::kv_bytes_per_token;
use crate::error::{Error, Result};

#[cfg(test)]
mod fuzz;

/// Keys under which multimodal configs keep their language model.
const PARTS: &str = "thinker_config text_config llm_config language_config";

/// Keys that list every layer's kind: `layer_types` since transformers 4.53; the others in older hybrid models.
const LAYER_LISTS: &str = "layer_types layers_block_type block_types attn_type_list";

/// Keys of models that mix attention with layers of fixed state, used if no list of layers decides.
const HYBRID: &str = "mamba_d_state mamba_num_heads ssm_cfg hybrid_override_pattern attn_layer_indices \
    attn_layer_period full_attn_idxs full_attention_interval linear_num_key_heads linear_attn_config";

/// Keys that change what a token costs, and how.
const UNEVEN: [(&str, &str); 6] = [
    ("attention_chunk_size", "layers attend within chunks"),
    ("hybrid_layer_pattern", "layers differ"),
    ("block_configs", "layers differ"),
    ("num_kv_shared_layers", "layers share their cache"),
    ("cross_attention_layers", "layers cache image tokens"),
    ("index_topk", "a sparse-attention index is cached too"),
];

/// Returns the KV cache bytes of one token, with `kv_dtype_bytes` for each cached element.
///
/// 2 · num_hidden_layers · num_key_value_heads · head_dim · bytes; with multi-head latent attention (DeepSeek,
/// Kimi-K2) num_hidden_layers · (kv_lora_rank + qk_rope_head_dim) · bytes. Errors name the file and the key.
pub fn bytes_per_token_of_hf_config(path: &Path, kv_dtype_bytes: u64) -> Result<u64> {
    if kv_dtype_bytes == 0 {
        return Err(Error::input("--kv-dtype-bytes 0", "want 1 or more"));
    }
    let what = format!("--hf-config {}", path.display());
    let config: Value = json::parse(&what, &json::read(&what, path)?)?;
    bytes_per_token(&config, kv_dtype_bytes).map_err(|why| {
        let next = "Give --bytes-per-token N instead: KV cache bytes / KV cache tokens, from the engine's own log";
        Error::input(&what, why).next(next)
    })
}

fn bytes_per_token(config: &Value, kv_dtype_bytes: u64) -> std::result::Result<u64, String> {
    if !config.is_object() {
        return Err("not a JSON object".to_string());
    }
    let config = language_part(config);
    check_layers(config)?;
    let layers = wanted(config, "num_hidden_layers")?;
    let is_mla = config["use_mla"] != Value::Bool(false);
    let bytes = match count(config, "kv_lora_rank")? {
        Some(rank) if is_mla => {
            let latent = rank.checked_add(wanted(config, "qk_rope_head_dim")?);
            latent.and_then(|latent| layers.checked_mul(latent)?.checked_mul(kv_dtype_bytes))
        }
        _ => {
            let (heads, dim) = (kv_heads(config)?, head_dim(config)?);
            kv_bytes_per_token([layers, heads, dim, kv_dtype_bytes])
        }
    };
    bytes.ok_or_else(|| "its sizes are too large".to_string())
}

fn language_part(config: &Value) -> &Value {
    let has_layers = |config: &Value| config.get("num_hidden_layers").is_some();
    let parts = PARTS.split(' ').map(|key| &config[key]);
    let mut parts = parts.filter(|part| part.is_object()).map(language_part);
    let part = parts.find(|part| has_layers(part) || !has_layers(config));
    part.unwrap_or(config)
}

fn count(config: &Value, key: &str) -> std::result::Result<Option<u64>, String> {
    json::count(key, config.get(key))
}

fn wanted(config: &Value, key: &str) -> std::result::Result<u64, String> {
    count(config, key)?.ok_or_else(|| format!("no {key}"))
}

/// Returns the number of KV heads: every query head has its own if no key says otherwise. Falcon has keys of its own.
fn kv_heads(config: &Value) -> std::result::Result<u64, String> {
    if let Some(heads) = count(config, "num_key_value_heads")? {
        return Ok(heads);
    }
    let mut shared = ["multi_query", "num_kv_heads"].into_iter();
    match shared.find(|key| is_set(&config[key])) {
        Some(key) => Err(format!(
            "no num_key_value_heads, and {key} says that query heads share them"
        )),
        None => wanted(config, "num_attention_heads"),
    }
}

fn head_dim(config: &Value) -> std::result::Result<u64, String> {
    if let Some(dim) = count(config, "head_dim")? {
        return Ok(dim);
    }
    let missing = |why| format!("no head_dim, and {why}");
    let hidden = wanted(config, "hidden_size").map_err(missing)?;
    let heads = wanted(config, "num_attention_heads").map_err(missing)?;
    match hidden % heads {
        0 => Ok(hidden / heads),
        _ => Err(missing(format!(
            "hidden_size {hidden} is not a multiple of num_attention_heads {heads}"
        ))),
    }
}

/// Fails unless every layer keeps every token.
fn check_layers(config: &Value) -> std::result::Result<(), String> {
    let lists = LAYER_LISTS.split(' ');
    let lists = lists.filter_map(|key| Some((key, config[key].as_array()?)));
    let mut listed = Vec::new();
    for (key, kinds) in lists.filter(|(_, kinds)| !kinds.is_empty()) {
        if let Some(kind) = kinds.iter().find(|kind| !is_full_attention(kind)) {
            return Err(refusal(&format!("{key} has {}", json::shown(kind))));
        }
        listed.push(key);
    }
    if let Some((key, how)) = UNEVEN.iter().find(|(key, _)| is_set(&config[key])) {
        return Err(refusal(&format!("{key}: {how}")));
    }
    let mut hybrid = HYBRID.split(' ').filter(|key| is_set(&config[key]));
    if let Some(key) = hybrid.next().filter(|_| listed.is_empty()) {
        return Err(refusal(&format!("{key}: not all layers are attention")));
    }
    if !listed.contains(&"layer_types") && slides(config) {
        let window = json::shown(&config["sliding_window"]);
        return Err(refusal(&format!("sliding_window {window}")));
    }
    Ok(())
}

fn refusal(because: &str) -> String {
    format!(
        "not every layer keeps the same bytes for every token ({because}), so no one figure follows from it"
    )
}

/// Returns whether a layer's kind is full attention; 1 is softmax attention in MiniMax's `attn_type_list`.
fn is_full_attention(kind: &Value) -> bool {
    match kind {
        Value::String(kind) => matches!(kind.as_str(), "full_attention" | "attention" | "full"),
        number => number.as_u64() == Some(1),
    }
}

/// Returns whether a value is not null (as absent keys are), false, 0 or empty.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Returns whether `sliding_window` says that layers drop tokens.
///
/// They do not with `use_sliding_window: false` (the default of Qwen2), nor in layers below `max_window_layers`, nor if
/// the window is as long as the longest prompt (Phi-3 and Phi-4-mini with 128k).
fn slides(config: &Value) -> bool {
    let number = |key: &str| config[key].as_u64();
    let is_qwen = config["model_type"]
        .as_str()
        .is_some_and(|kind| kind.starts_with("qwen"));
    let is_on = config["use_sliding_window"].as_bool().unwrap_or(!is_qwen);
    let reaches_layers = !is_qwen || number("max_window_layers") < number("num_hidden_layers");
    let cuts = match &config["sliding_window"] {
        Value::Null => false,
        Value::Number(window) => {
            let tokens = window.as_u64().unwrap_or(0);
            tokens > 0 && number("max_position_embeddings").is_none_or(|longest| tokens < longest)
        }
        _ => true,
    };
    is_on && reaches_layers && cuts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // Sizes are from the models' own config.json, without irrelevant keys.

    fn llama_3_1_8b() -> Value {
        json!({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
            "intermediate_size": 14336, "max_position_embeddings": 131072, "num_attention_heads": 32,
            "num_hidden_layers": 32, "num_key_value_heads": 8, "torch_dtype": "bfloat16", "vocab_size": 128256})
    }

    fn qwen2_5_7b() -> Value {
        json!({"model_type": "qwen2", "hidden_size": 3584, "max_position_embeddings": 32768, "max_window_layers": 28,
            "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4, "sliding_window": 131072,
            "use_sliding_window": false, "vocab_size": 152064})
    }

    fn deepseek_v3() -> Value {
        json!({"model_type": "deepseek_v3", "hidden_size": 7168, "kv_lora_rank": 512, "max_position_embeddings": 163840,
            "num_attention_heads": 128, "num_hidden_layers": 61, "num_key_value_heads": 128,
            "num_nextn_predict_layers": 1, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
            "v_head_dim": 128})
    }

    fn gpt_oss_20b() -> Value {
        json!({"model_type": "gpt_oss", "head_dim": 64, "hidden_size": 2880, "initial_context_length": 4096,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
            "max_position_embeddings": 131072, "num_attention_heads": 64, "num_hidden_layers": 24,
            "num_key_value_heads": 8, "sliding_window": 128})
    }

    /// Returns a config with some keys changed (null: removed).
    fn with(mut config: Value, changes: Value) -> Value {
        let Value::Object(changes) = changes else {
            panic!("not an object: {changes}")
        };
        config.as_object_mut().unwrap().extend(changes);
        config
    }

    #[test]
    fn the_bytes_are_2_layers_kv_heads_head_dim_and_element() {
        let qwen3_30b = json!({"model_type": "qwen3_moe", "head_dim": 128, "hidden_size": 2048,
            "max_position_embeddings": 262144, "max_window_layers": 48, "num_attention_heads": 32,
            "num_hidden_layers": 48, "num_key_value_heads": 4, "sliding_window": null, "use_sliding_window": false});
        let tiny = json!({"num_hidden_layers": 2, "hidden_size": 128, "num_attention_heads": 4});
        for (name, config, element_bytes, want) in [
            (
                "Llama-3.1-8B, head_dim = 4096 / 32",
                llama_3_1_8b(),
                2,
                2 * 32 * 8 * 128 * 2,
            ),
            ("the same with an FP8 cache", llama_3_1_8b(), 1, 65_536),
            (
                "Llama with head_dim null",
                with(llama_3_1_8b(), json!({"head_dim": null})),
                2,
                131_072,
            ),
            (
                "Qwen3-30B-A3B, whose head_dim is not 2048 / 32",
                qwen3_30b,
                2,
                98_304,
            ),
            (
                "Qwen2.5-7B: 2 · 28 · 4 · (3584 / 28) · 2",
                qwen2_5_7b(),
                2,
                57_344,
            ),
            (
                "one KV head for each of 4 query heads: 2 · 2 · 4 · 32 · 2",
                tiny,
                2,
                1024,
            ),
            (
                "DeepSeek-V3: 61 · (512 + 64) · 2, no factor 2 for keys and values",
                deepseek_v3(),
                2,
                70_272,
            ),
            (
                "DeepSeek-VL2-tiny's part without latent attention: 2 · 12 · 10 · (1280 / 10) · 2",
                json!({"num_hidden_layers": 12, "hidden_size": 1280, "num_attention_heads": 10,
                    "num_key_value_heads": 10, "kv_lora_rank": null, "qk_rope_head_dim": 0, "use_mla": false}),
                2,
                61_440,
            ),
        ] {
            assert_eq!(bytes_per_token(&config, element_bytes), Ok(want), "{name}");
        }
    }

    #[test]
    fn a_multimodal_config_counts_by_its_language_part() {
        let vision =
            json!({"num_hidden_layers": 24, "num_attention_heads": 16, "hidden_size": 1024});
        for config in [
            json!({"model_type": "m", "vision_config": vision, "text_config": llama_3_1_8b()}),
            json!({"thinker_config": {"vision_config": vision, "text_config": llama_3_1_8b()}, "hidden_size": 1}),
            // A flat config whose language part does not describe layers (Qwen2-VL).
            with(
                llama_3_1_8b(),
                json!({"vision_config": vision, "text_config": {"model_type": "m"}}),
            ),
        ] {
            assert_eq!(bytes_per_token(&config, 2), Ok(131_072), "{config}");
        }
    }

    #[test]
    fn a_window_that_cuts_nothing_is_accepted() {
        for (name, config) in [
            (
                "Qwen2's default",
                with(
                    qwen2_5_7b(),
                    json!({"use_sliding_window": null, "sliding_window": 4096}),
                ),
            ),
            (
                "no layer is above max_window_layers",
                with(qwen2_5_7b(), json!({"use_sliding_window": true})),
            ),
            (
                "listed as full",
                with(
                    qwen2_5_7b(),
                    json!({"layer_types": ["full_attention", "full_attention"], "sliding_window": 9}),
                ),
            ),
        ] {
            assert_eq!(bytes_per_token(&config, 2), Ok(57_344), "{name}");
        }
        for (name, changes) in [
            (
                "Phi-4-mini: longer than any prompt",
                json!({"model_type": "phi3", "sliding_window": 262144}),
            ),
            (
                "Mistral ≥ 0.2",
                json!({"model_type": "mistral", "sliding_window": null}),
            ),
            (
                "Granite 4.0 micro: the list decides",
                json!({"layer_types": ["attention"], "mamba_d_state": 128}),
            ),
            (
                "MiniMax-M2: all softmax",
                json!({"attn_type_list": [1, 1, 1], "sliding_window": null}),
            ),
            (
                "an empty list",
                json!({"layer_types": [], "cross_attention_layers": [], "num_kv_shared_layers": 0}),
            ),
        ] {
            assert_eq!(
                bytes_per_token(&with(llama_3_1_8b(), changes), 2),
                Ok(131_072),
                "{name}"
            );
        }
    }

    #[test]
    fn layers_that_keep_less_than_every_token_are_refused_by_their_key() {
        for (name, config, because) in [
            (
                "gpt-oss-20b",
                gpt_oss_20b(),
                "(layer_types has \"sliding_attention\")",
            ),
            (
                "gpt-oss of before layer_types",
                with(gpt_oss_20b(), json!({"layer_types": null})),
                "(sliding_window 128)",
            ),
            (
                "Gemma-3",
                json!({"text_config": with(llama_3_1_8b(), json!({"model_type": "gemma3_text",
                "sliding_window": 1024, "sliding_window_pattern": 6}))}),
                "(sliding_window 1024)",
            ),
            (
                "Mistral-7B-v0.1",
                with(llama_3_1_8b(), json!({"sliding_window": 4096})),
                "(sliding_window 4096)",
            ),
            (
                "Qwen2 that slides from layer 21 on",
                with(
                    qwen2_5_7b(),
                    json!({"use_sliding_window": true, "max_window_layers": 21, "sliding_window": 4096}),
                ),
                "(sliding_window 4096)",
            ),
            (
                "Qwen3-Next",
                with(
                    llama_3_1_8b(),
                    json!({"layer_types": ["linear_attention", "full_attention"]}),
                ),
                "(layer_types has \"linear_attention\")",
            ),
            (
                "Jamba",
                with(llama_3_1_8b(), json!({"attn_layer_period": 8})),
                "(attn_layer_period: not all layers",
            ),
            (
                "Bamba",
                with(llama_3_1_8b(), json!({"attn_layer_indices": [9, 18]})),
                "(attn_layer_indices: not all",
            ),
            (
                "MiniMax-01",
                with(llama_3_1_8b(), json!({"attn_type_list": [0, 0, 1]})),
                "(attn_type_list has 0)",
            ),
            (
                "Llama-4",
                with(llama_3_1_8b(), json!({"attention_chunk_size": 8192})),
                "(attention_chunk_size: layers",
            ),
            (
                "DeepSeek-V3.2",
                with(deepseek_v3(), json!({"index_topk": 2048})),
                "(index_topk: a sparse-attention index",
            ),
        ] {
            let why = bytes_per_token(&config, 2).expect_err(name);
            assert!(
                why.starts_with("not every layer keeps the same bytes for every token")
                    && why.contains(because),
                "{name}: {why}"
            );
        }
    }

    #[test]
    fn a_missing_or_wrong_key_is_named() {
        for (config, want) in [
            (json!([]), "not a JSON object"),
            (json!({"n_layer": 12, "n_head": 12}), "no num_hidden_layers"),
            (
                with(llama_3_1_8b(), json!({"num_hidden_layers": 0})),
                "num_hidden_layers: want a whole number above 0, have 0",
            ),
            (
                with(llama_3_1_8b(), json!({"num_key_value_heads": [8, 4]})),
                "num_key_value_heads: want a whole number above 0, have an array",
            ),
            (
                with(
                    llama_3_1_8b(),
                    json!({"num_key_value_heads": null, "num_attention_heads": null}),
                ),
                "no num_attention_heads",
            ),
            (
                with(llama_3_1_8b(), json!({"hidden_size": null})),
                "no head_dim, and no hidden_size",
            ),
            (
                with(llama_3_1_8b(), json!({"hidden_size": 4100})),
                "no head_dim, and hidden_size 4100 is not a multiple of num_attention_heads 32",
            ),
            (
                with(deepseek_v3(), json!({"qk_rope_head_dim": null})),
                "no qk_rope_head_dim",
            ),
            (
                with(llama_3_1_8b(), json!({"num_hidden_layers": u64::MAX})),
                "its sizes are too large",
            ),
            // Falcon-7B: one KV head for 71 query heads.
            (
                json!({"num_hidden_layers": 32, "num_attention_heads": 71, "hidden_size": 4544, "multi_query": true}),
                "no num_key_value_heads, and multi_query says that query heads share them",
            ),
        ] {
            assert_eq!(bytes_per_token(&config, 2), Err(want.to_string()));
        }
    }

    #[test]
    fn an_error_names_the_file_and_the_way_on() {
        let path =
            std::env::temp_dir().join(format!("tmesh-hf-config-{}.json", std::process::id()));
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let bytes = bytes_per_token_of_hf_config(&path, 2);
            std::fs::remove_file(&path).unwrap();
            bytes.map_err(|error| {
                error
                    .to_string()
                    .replace(&path.display().to_string(), "config.json")
            })
        };
        assert_eq!(read(&llama_3_1_8b().to_string()), Ok(131_072));
        assert_eq!(
            read("{}"),
            Err("[ERROR] --hf-config config.json: no num_hidden_layers\n\
                Give --bytes-per-token N instead: KV cache bytes / KV cache tokens, from the engine's own log"
                .to_string())
        );
        assert!(
            read("{\n")
                .unwrap_err()
                .starts_with("[ERROR] --hf-config config.json, line 2: not JSON: EOF")
        );
        assert!(
            bytes_per_token_of_hf_config(&path, 2)
                .unwrap_err()
                .to_string()
                .contains("cannot read: No such file")
        );
        assert!(
            bytes_per_token_of_hf_config(&path, 0)
                .unwrap_err()
                .to_string()
                .contains("--kv-dtype-bytes 0")
        );
    }
}
