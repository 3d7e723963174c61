//! Sizes the workload of `benchmark`: as many contexts as the offload buffer holds.
//!
//! In: the model's entry, if there is one, and the user's settings. Out: the workload specification. GB are GiB (1024³
//! bytes). Other modules make the texts.

use super::models::ModelConfig;
use crate::error::{Error, Result};

/// Default tokens of a context, as in the guide.
pub const INPUT_LENGTH: u64 = 32_000;
/// Default tokens of an answer, as in the guide.
pub const OUTPUT_LENGTH: u64 = 100;
/// Default GB for a model without an entry: one rank's buffer in the built-in table.
pub const OFFLOAD_SIZE_GB: f64 = 100.0;

const BYTES_PER_GB: f64 = 1_073_741_824.0;
/// The part of the buffer that the contexts fill, as in the guide.
const FILL: f64 = 0.9;

/// Sizes that the user set instead of the computed ones.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Overrides {
    pub offload_size_gb: Option<f64>,
    /// From `--bytes-per-token` or `--hf-config`.
    pub bytes_per_token: Option<u64>,
    pub input_length: Option<u64>,
    pub output_length: Option<u64>,
    pub contexts: Option<u64>,
    pub questions: Option<u64>,
    pub max_inflight: Option<u64>,
}

/// The workload specification.
#[derive(Debug, Clone, PartialEq)]
pub struct Sizing {
    /// GB; `None` if it is unknown and not needed (`--contexts` and a model without an entry).
    pub offload_size_gb: Option<f64>,
    /// KV cache bytes of one token; `None` as for `offload_size_gb`.
    pub bytes_per_token: Option<u64>,
    /// Long contexts that are cycled through, ≥ 1.
    pub contexts: u64,
    /// Questions for each context, ≥ 1.
    pub questions: u64,
    /// Requests in flight at once, ≥ 1.
    pub max_inflight: u64,
    /// Tokens of a context, without its question.
    pub input_length: u64,
    /// Tokens asked for in an answer.
    pub output_length: u64,
}

impl Sizing {
    /// Computes the sizes that the user did not set: contexts from the buffer (see [`contexts`]), as many questions as
    /// contexts, in flight max(1, ⌊contexts / 3⌋).
    ///
    /// Fails on a value that is not above 0, on a buffer too small for one context, and without both `--contexts` and
    /// the bytes of a token (a caller that knows the model's id reports `models::not_found` first).
    pub fn new(model: Option<&ModelConfig>, set: &Overrides) -> Result<Sizing> {
        set.check()?;
        let known_bytes = model.map(|model| model.bytes_per_token);
        let known_size = model.map(ModelConfig::offload_size_gb);
        let bytes_per_token = set.bytes_per_token.or(known_bytes);
        let default_size = bytes_per_token.map(|_| OFFLOAD_SIZE_GB);
        let offload_size_gb = set.offload_size_gb.or(known_size).or(default_size);
        let input_length = set.input_length.unwrap_or(INPUT_LENGTH);
        let contexts = match (set.contexts, offload_size_gb, bytes_per_token) {
            (Some(contexts), _, _) => contexts,
            (None, Some(size), Some(bytes)) => match contexts(size, bytes, input_length) {
                0 => return Err(too_small(size, bytes, input_length)),
                contexts => contexts,
            },
            _ => {
                return Err(Error::input(
                    "workload size",
                    "unknown model: give --contexts N or --bytes-per-token N",
                ));
            }
        };
        Ok(Sizing {
            offload_size_gb,
            bytes_per_token,
            contexts,
            questions: set.questions.unwrap_or(contexts),
            max_inflight: set.max_inflight.unwrap_or((contexts / 3).max(1)),
            input_length,
            output_length: set.output_length.unwrap_or(OUTPUT_LENGTH),
        })
    }
}

impl Overrides {
    /// Fails on a value that is not above 0, and names its flag.
    pub fn check(&self) -> Result<()> {
        for (flag, value) in [
            ("--bytes-per-token", self.bytes_per_token),
            ("--input-length", self.input_length),
            ("--output-length", self.output_length),
            ("--contexts", self.contexts),
            ("--questions", self.questions),
            ("--max-inflight", self.max_inflight),
        ] {
            if value == Some(0) {
                return Err(Error::input(format!("{flag} 0"), "want 1 or more"));
            }
        }
        match self.offload_size_gb {
            Some(size) if !(size > 0.0 && size.is_finite()) => Err(Error::input(
                format!("--offload-size {size}"),
                "want GB, more than 0",
            )),
            _ => Ok(()),
        }
    }
}

/// Returns the contexts that fill nine tenths of the buffer: ⌊0.9 · offload GB / (bytes per token · input tokens /
/// 1024³)⌋.
///
/// This is the guide's formula; all arguments are above 0.
pub fn contexts(offload_size_gb: f64, bytes_per_token: u64, input_tokens: u64) -> u64 {
    (FILL * offload_size_gb / context_gb(bytes_per_token, input_tokens)).floor() as u64
}

/// Returns the GB of one context's KV cache.
fn context_gb(bytes_per_token: u64, input_tokens: u64) -> f64 {
    bytes_per_token as f64 * input_tokens as f64 / BYTES_PER_GB
}

fn too_small(offload_size_gb: f64, bytes_per_token: u64, input_tokens: u64) -> Error {
    // The figure is rounded up to the next hundredth, so that it works when typed.
    let least_gb = (context_gb(bytes_per_token, input_tokens) / FILL * 100.0).ceil() / 100.0;
    Error::input(
        format!("offload size {offload_size_gb} GB"),
        format!(
            "too small for one context of {input_tokens} tokens at {bytes_per_token} bytes per token; \
             want at least {least_gb} GB"
        ),
    )
    .next("Try: --contexts N to set their number yourself, or a smaller --input-length")
}

#[cfg(test)]
mod tests {
    use super::super::models::Table;
    use super::*;

    /// Returns (offload GB, contexts, questions, in flight) of a model of the built-in table.
    fn sized(name: &str) -> (Option<f64>, u64, u64, u64) {
        let table = Table::builtin();
        let sizing = Sizing::new(table.find(name), &Overrides::default()).unwrap();
        assert_eq!((sizing.input_length, sizing.output_length), (32_000, 100));
        (
            sizing.offload_size_gb,
            sizing.contexts,
            sizing.questions,
            sizing.max_inflight,
        )
    }

    #[test]
    fn gpt_oss_120b_gets_40_contexts() {
        // 73,728 · 32,000 / 1024³ = 2.197265625 GB a context; 0.9 · 100 / 2.197265625 = 40.96; 40 / 3 = 13.3
        assert_eq!(sized("openai/gpt-oss-120b"), (Some(100.0), 40, 40, 13));
    }

    #[test]
    fn gpt_oss_20b_gets_61_contexts() {
        // 49,152 · 32,000 / 1024³ = 1.46484375 GB a context; 0.9 · 100 / 1.46484375 = 61.44; 61 / 3 = 20.3
        assert_eq!(sized("openai/gpt-oss-20b"), (Some(100.0), 61, 61, 20));
    }

    #[test]
    fn qwen3_235b_on_8_ranks_gets_250_contexts() {
        // 96,256 · 32,000 / 1024³ = 2.86865234375 GB a context; 0.9 · 8 · 100 / 2.86865234375 = 250.989; 250 / 3 = 83.3
        assert_eq!(
            sized("Qwen/Qwen3-235B-A22B-Instruct-2507-FP8"),
            (Some(800.0), 250, 250, 83)
        );
    }

    #[test]
    fn qwen3_coder_480b_on_8_ranks_gets_95_contexts() {
        // 253,952 · 32,000 / 1024³ = 7.568359375 GB a context; 0.9 · 8 · 100 / 7.568359375 = 95.13; 95 / 3 = 31.7
        assert_eq!(
            sized("Qwen/Qwen3-Coder-480B-A35B-Instruct-FP8"),
            (Some(800.0), 95, 95, 31)
        );
    }

    #[test]
    fn qwen3_30b_gets_30_contexts() {
        // 98,304 · 32,000 / 1024³ = 2.9296875 GB a context; 0.9 · 100 / 2.9296875 = 30.72; 30 / 3 = 10
        assert_eq!(
            sized("Qwen/Qwen3-30B-A3B-Instruct-2507"),
            (Some(100.0), 30, 30, 10)
        );
    }

    #[test]
    fn a_buffer_of_exactly_n_contexts_holds_n() {
        // 32,768 bytes · 32,768 tokens = 1 GB a context: 0.9 · 10 = 9, 0.9 · 70 = 63, 0.9 · 1.12 = 1.008 contexts.
        for (offload, want) in [(10.0, 9), (70.0, 63), (69.99, 62), (1.12, 1), (1.11, 0)] {
            assert_eq!(contexts(offload, 32_768, 32_768), want, "{offload} GB");
        }
    }

    #[test]
    fn the_users_settings_replace_computed_sizes() {
        let table = Table::builtin();
        let model = table.find("openai/gpt-oss-20b");
        // 1.46484375 GB a context: 0.9 · 50 / 1.46484375 = 30.72. Half the bytes: 90 / 0.732421875 = 122.88. A tenth of
        // the tokens: 90 / 0.146484375 = 614.4.
        for (set, want) in [
            (
                Overrides {
                    offload_size_gb: Some(50.0),
                    ..Overrides::default()
                },
                (30, 30, 10),
            ),
            (
                Overrides {
                    bytes_per_token: Some(24_576),
                    ..Overrides::default()
                },
                (122, 122, 40),
            ),
            (
                Overrides {
                    input_length: Some(3_200),
                    ..Overrides::default()
                },
                (614, 614, 204),
            ),
            (
                Overrides {
                    contexts: Some(80),
                    ..Overrides::default()
                },
                (80, 80, 26),
            ),
            (
                Overrides {
                    contexts: Some(2),
                    ..Overrides::default()
                },
                (2, 2, 1),
            ),
            (
                Overrides {
                    questions: Some(5),
                    max_inflight: Some(64),
                    ..Overrides::default()
                },
                (61, 5, 64),
            ),
        ] {
            let sizing = Sizing::new(model, &set).unwrap();
            assert_eq!(
                (sizing.contexts, sizing.questions, sizing.max_inflight),
                want,
                "{set:?}"
            );
        }
    }

    #[test]
    fn a_model_without_an_entry_needs_contexts_or_the_bytes_of_a_token() {
        let sizing = Sizing::new(
            None,
            &Overrides {
                contexts: Some(9),
                ..Overrides::default()
            },
        )
        .unwrap();
        assert_eq!(
            (
                sizing.offload_size_gb,
                sizing.bytes_per_token,
                sizing.max_inflight
            ),
            (None, None, 3)
        );
        // 131,072 · 32,000 / 1024³ = 3.90625 GB a context; 0.9 · 100 / 3.90625 = 23.04
        let sizing = Sizing::new(
            None,
            &Overrides {
                bytes_per_token: Some(131_072),
                ..Overrides::default()
            },
        )
        .unwrap();
        assert_eq!((sizing.offload_size_gb, sizing.contexts), (Some(100.0), 23));
        assert!(Sizing::new(None, &Overrides::default()).is_err());
    }

    #[test]
    fn a_buffer_too_small_for_one_context_says_the_least_that_works() {
        // 49,152 · 32,000 / 1024³ / 0.9 = 1.6276 GB; 32,768 · 32,768 / 1024³ / 0.9 = 1.1111 GB;
        // 36,864 · 65,536 / 1024³ / 0.9 = 2.5 GB
        for (bytes, input, least) in [
            (49_152, 32_000, 1.63),
            (32_768, 32_768, 1.12),
            (36_864, 65_536, 2.5),
        ] {
            let set = Overrides {
                offload_size_gb: Some(0.5),
                bytes_per_token: Some(bytes),
                input_length: Some(input),
                ..Overrides::default()
            };
            let error = Sizing::new(None, &set).unwrap_err().to_string();
            let want = format!(
                "[ERROR] offload size 0.5 GB: too small for one context of {input} tokens at {bytes} bytes per token; \
                 want at least {least} GB\nTry: --contexts N"
            );
            assert!(error.starts_with(&want), "{error}");
            assert!(
                contexts(least, bytes, input) == 1 && contexts(least - 0.01, bytes, input) == 0,
                "{least}"
            );
        }
    }

    #[test]
    fn a_zero_is_named_by_its_flag() {
        for (set, want) in [
            (
                Overrides {
                    contexts: Some(0),
                    ..Overrides::default()
                },
                "--contexts 0: want 1 or more",
            ),
            (
                Overrides {
                    input_length: Some(0),
                    ..Overrides::default()
                },
                "--input-length 0: want 1 or more",
            ),
            (
                Overrides {
                    offload_size_gb: Some(0.0),
                    ..Overrides::default()
                },
                "--offload-size 0: want GB, more than 0",
            ),
        ] {
            assert_eq!(
                Sizing::new(None, &set).unwrap_err().to_string(),
                format!("[ERROR] {want}")
            );
        }
    }
}
