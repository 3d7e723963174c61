//! The APIs: OpenAI's completions and chat completions, and a bare `/generate`. Their requests are in `body`, their
//! replies in `dialect`.

use serde_json::Value;

use super::json::is_empty;
use crate::sample::{find, named};

named! {
    /// Which of the APIs a request speaks, under its name for `--api`.
    #[derive(Default)]
    pub enum Api {
        #[default]
        Completions = "completions",
        Chat = "chat",
        /// `{"prompt","max_tokens","temperature"}`, answered by `{"text","cached"}` or a stream of such objects.
        Generate = "generate",
    }
}

impl Api {
    /// Returns the path below `/v1/`; for `Generate`, the path beside `/v1/`.
    pub fn path(self) -> &'static str {
        match self {
            Api::Completions => "completions",
            Api::Chat => "chat/completions",
            Api::Generate => "generate",
        }
    }

    pub fn parse(name: &str) -> Option<Api> {
        find(&Api::NAMES, name)
    }
}

/// Returns the human part of an error reply: the first text under the keys that servers use, else the JSON value there,
/// else the whole text.
pub fn error_words(body: &str) -> String {
    const PLACES: [&str; 12] = [
        "/error/message",
        "/error/msg",
        "/error",
        "/errors/0/message",
        "/errors/0",
        "/detail",
        "/message",
        "/msg",
        "/error_msg",
        "/error_message",
        "/errorMessage",
        "/base_resp/status_msg",
    ];
    let Ok(value) = serde_json::from_str::<Value>(body) else {
        return body.to_string();
    };
    let found = || PLACES.iter().filter_map(|place| value.pointer(place));
    let is_text = |v: &&Value| v.as_str().is_some_and(|text| !text.trim().is_empty());
    let words = found()
        .find(is_text)
        .or_else(|| found().find(|v| !is_empty(v)));
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_string);
    text(words.unwrap_or(&value))
}

/// Returns whether this is the `[DONE]` that ends most streams, which some servers write as a JSON string.
pub fn is_done(data: &[u8]) -> bool {
    matches!(data.trim_ascii(), b"[DONE]" | b"\"[DONE]\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_an_error_are_found_wherever_servers_put_them() {
        for (body, words) in [
            (
                r#"{"error":{"message":"no such model","code":404}}"#,
                "no such model",
            ),
            (r#"{"error":"Unauthorized"}"#, "Unauthorized"),
            (r#"{"detail":"pinned"}"#, "pinned"),
            (r#"{"detail":[{"msg":"x"}]}"#, r#"[{"msg":"x"}]"#),
            ("Internal Server Error", "Internal Server Error"),
        ] {
            assert_eq!(error_words(body), words);
        }
    }
}
