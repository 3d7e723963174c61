//! Model tables of any JSON: tables by the grammar are read as written, anything else is a clean error.

use fastrand::Rng;

use super::parse;
use crate::fuzz;

const KEYS: &[&str] = &[
    "model_name",
    "search",
    "tensorParallelSize",
    "cpuOffloadingBufferSize",
    "diskOffloadingBufferSize",
    "remoteOffloadingBufferSize",
    "num_key_value_heads",
    "head_dim",
    "layers",
    "dtype_size",
    "bytes_per_tok",
];
const WORDS: &[&str] = &[
    "\"model_name\":\"m\",",
    "\"search\":",
    "\"bytes_per_tok\":",
    "\"100\"",
    "\"1k\"",
    "},{",
    "\"layers\":",
];

/// Makes a table by the grammar, and the name, ranks and bytes per token of its entries.
fn valid(rng: &mut Rng) -> (String, Vec<(String, u64, u64)>) {
    let mut entries = Vec::new();
    let mut made = Vec::new();
    for number in 0..rng.usize(1..4) {
        let (text, json) = fuzz::string(rng);
        let (name, json) = (
            format!("{number}{text}"),
            format!("\"{number}{}", &json[1..]),
        );
        let (ranks, layers, heads) = (rng.u64(1..9), rng.u64(1..99), rng.u64(1..99));
        // 2 for keys and values, head_dim 64, 2 bytes each.
        let bytes = 2 * layers * heads * 64 * 2;
        let size = match rng.u8(..3) {
            0 => format!("\"bytes_per_tok\":{bytes}"),
            1 => format!("\"bytes_per_tok\":\"{bytes}\""),
            _ => format!(
                "\"layers\":{layers},\"num_key_value_heads\":\"{heads}\",\"head_dim\":64,\"dtype_size\":2"
            ),
        };
        let buffer = ["cpu", "disk", "remote"][rng.usize(..3)];
        entries.push(format!(
            "{{\"model_name\":{json},\"tensorParallelSize\":{ranks},\"{buffer}OffloadingBufferSize\":0.5,\n{size}}}"
        ));
        made.push((name, ranks, bytes));
    }
    (format!("[{}]", entries.join(",")), made)
}

#[test]
fn a_table_by_the_grammar_has_the_entries_it_was_made_of() {
    fuzz::run("model_configs (grammar)", 2000, |rng| {
        let (json, made) = valid(rng);
        let models = parse("f", "f", json.as_bytes()).expect(&json);
        let read = models.into_iter().map(|model| {
            (
                model.model_name,
                model.tensor_parallel_size,
                model.bytes_per_token,
            )
        });
        assert_eq!(read.collect::<Vec<_>>(), made, "{json}");
    });
}

#[test]
fn any_bytes_are_a_clean_error_or_models_with_a_size() {
    let (mut read, mut refused) = (0, 0);
    fuzz::run("model_configs", 10_000, |rng| {
        let json = fuzz::input(rng, WORDS, |rng| match rng.bool() {
            true => valid(rng).0.into_bytes(),
            false => format!("[{}]", fuzz::json(rng, 3, KEYS)).into_bytes(),
        });
        match parse("f", "f", &json) {
            Ok(models) => {
                read += 1;
                for model in models {
                    assert!(model.bytes_per_token > 0 && model.offload_size_gb() > 0.0);
                }
            }
            Err(error) => {
                refused += 1;
                fuzz::assert_shown(&error.to_string());
            }
        }
    });
    fuzz::assert_both(read, refused);
}

#[test]
fn a_table_as_deep_as_it_gets_is_an_error() {
    for key in KEYS {
        for deep in fuzz::deep_json(key) {
            for json in [format!("[{{\"{key}\":{deep}}}]"), deep] {
                let error = parse("f", "f", json.as_bytes()).expect_err("too deep");
                fuzz::assert_shown(&error.to_string());
            }
        }
    }
}

#[test]
fn time_is_linear_in_the_table() {
    for piece in [
        " ",
        "[",
        "{\"model_name\":\"a\"},",
        "\"a\",",
        "{\"layers\":\"",
        "1,",
    ] {
        let make = |bytes| ("[".to_string() + &piece.repeat(bytes / piece.len())).into_bytes();
        fuzz::assert_linear(piece, make, |json| {
            let _ = parse("f", "f", json);
        });
    }
    let make = |bytes| {
        let mut json = "[".to_string();
        for number in 0.. {
            json.push_str(&format!(
                "{{\"model_name\":\"{number}\",\"bytes_per_tok\":1,\"cpuOffloadingBufferSize\":1}}"
            ));
            if json.len() > bytes {
                break;
            }
            json.push(',');
        }
        (json + "]").into_bytes()
    };
    fuzz::assert_linear("entries", make, |json| {
        assert!(parse("f", "f", json).is_ok());
    });
}
