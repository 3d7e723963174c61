//! The APIs: OpenAI's completions and chat completions, and a bare `/generate`. Their requests are in `body`, their replies
//! in `chunk`.

use serde_json::Value;

/// Which of the APIs a request speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Api {
    #[default]
    Completions,
    Chat,
    /// `{"prompt","max_tokens","temperature"}`, answered by `{"text","cached"}` or a stream of such.
    Generate,
}

impl Api {
    /// The path below `/v1/`; of `Generate` beside it.
    pub fn path(self) -> &'static str {
        match self {
            Api::Completions => "completions",
            Api::Chat => "chat/completions",
            Api::Generate => "generate",
        }
    }

    /// As `--api` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Api::Completions => "completions",
            Api::Chat => "chat",
            Api::Generate => "generate",
        }
    }

    pub fn parse(name: &str) -> Option<Api> {
        match name {
            "completions" => Some(Api::Completions),
            "chat" => Some(Api::Chat),
            "generate" => Some(Api::Generate),
            _ => None,
        }
    }
}

/// The human part of an error reply: `error.message`, `error`, `detail` or `message` where JSON has
/// one, else the text itself.
pub fn error_words(body: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(body) else {
        return body.to_string();
    };
    let inside = [
        &value["error"]["message"],
        &value["error"],
        &value["detail"],
        &value["message"],
        &value,
    ];
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_string);
    inside
        .into_iter()
        .find(|v| !v.is_null())
        .map_or_else(|| body.to_string(), text)
}

/// The `[DONE]` that ends most streams.
pub fn is_done(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]"
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
