//! A model's config of any JSON: it yields the figure of its sizes, or a clean error.

use fastrand::Rng;
use serde_json::Value;

use super::{HYBRID, LAYER_LISTS, PARTS, UNEVEN, bytes_per_token};
use crate::fuzz;
use crate::plan::json;

const KEYS: &[&str] = &[
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_size",
    "kv_lora_rank",
    "qk_rope_head_dim",
    "use_mla",
    "sliding_window",
    "use_sliding_window",
    "max_window_layers",
    "max_position_embeddings",
    "model_type",
    "layer_types",
    "text_config",
    "multi_query",
    "mamba_d_state",
];

/// Makes a config by the grammar, and its bytes per token at 2 bytes an element.
fn valid(rng: &mut Rng) -> (String, u64) {
    let (layers, heads, dim) = (rng.u64(1..200), rng.u64(1..200), rng.u64(1..600));
    let (size, bytes) = match rng.u8(..3) {
        0 => (
            format!("\"kv_lora_rank\":{heads},\"qk_rope_head_dim\":{dim}"),
            layers * (heads + dim) * 2,
        ),
        1 => (
            format!("\"num_key_value_heads\":{heads},\"head_dim\":{dim}"),
            2 * layers * heads * dim * 2,
        ),
        _ => (
            format!(
                "\"num_attention_heads\":{heads},\"hidden_size\":{}",
                heads * dim
            ),
            2 * layers * heads * dim * 2,
        ),
    };
    let config = format!("{{\"num_hidden_layers\":{layers},\"sliding_window\":null,{size}}}");
    match rng.bool() {
        true => (config, bytes),
        false => (
            format!("{{\"text_config\":{config},\"hidden_size\":7}}"),
            bytes,
        ),
    }
}

#[test]
fn a_config_by_the_grammar_has_the_bytes_of_its_sizes() {
    fuzz::run("hf_config (grammar)", 2000, |rng| {
        let (json, bytes) = valid(rng);
        let config: Value = json::parse("f", json.as_bytes()).expect(&json);
        assert_eq!(bytes_per_token(&config, 2), Ok(bytes), "{json}");
    });
}

#[test]
fn any_config_is_a_clean_error_or_a_figure() {
    let lists = [PARTS, LAYER_LISTS, HYBRID].into_iter();
    let keys: Vec<&str> = lists
        .flat_map(|list| list.split(' '))
        .chain(KEYS.iter().copied())
        .chain(UNEVEN.map(|(key, _)| key))
        .collect();
    let (mut read, mut refused) = (0, 0);
    fuzz::run("hf_config", 10_000, |rng| {
        let json = fuzz::input(rng, KEYS, |rng| match rng.bool() {
            true => valid(rng).0.into_bytes(),
            false => fuzz::json(rng, 4, &keys).into_bytes(),
        });
        let config = match json::parse::<Value>("f", &json) {
            Ok(config) => config,
            Err(error) => return fuzz::assert_shown(&error.to_string()),
        };
        match bytes_per_token(&config, rng.u64(1..) >> rng.u32(..64) | 1) {
            Ok(bytes) => {
                read += 1;
                assert!(bytes > 0);
            }
            Err(why) => {
                refused += 1;
                fuzz::assert_shown(&crate::error::Error::input("f", why).to_string());
            }
        }
    });
    fuzz::assert_both(read, refused);
}

#[test]
fn a_config_as_deep_as_it_gets_is_an_error() {
    for key in KEYS.iter().copied().chain(PARTS.split(' ')) {
        for deep in fuzz::deep_json(key) {
            assert!(json::parse::<Value>("f", deep.as_bytes()).is_err());
        }
    }
}
