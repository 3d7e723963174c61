//! Errors that a server reports inside a reply whose status is 200.

use serde_json::Value;

use crate::client::api::error_words;
use crate::client::json::is_empty;

/// Keys that only an error has.
const TELLING: [&str; 4] = ["detail", "error_msg", "error_message", "errorMessage"];
/// Keys of an error's message, which other objects may have too.
const WORDS: [&str; 3] = ["message", "msg", "reason"];

/// Returns the message of the error in a JSON object; `None` if it has none, or an empty one. An object without text
/// and counts may itself be the error.
pub fn words(json: &str, is_bare: bool) -> Option<String> {
    let object: Value = serde_json::from_str(json).ok()?;
    let has = |key: &str| !is_empty(&object[key]);
    let is_error = has("error")
        || has("errors")
        // MiniMax reports a status in every reply.
        || !is_empty(&object["base_resp"]["status_code"])
        || is_bare && (TELLING.into_iter().any(has) || is_flat(&object));
    is_error.then(|| error_words(json))
}

/// Returns whether an object with a message is an error: it says so, or it has an error code.
fn is_flat(object: &Value) -> bool {
    let says = |key: &str| {
        let word = object[key].as_str().unwrap_or_default().to_lowercase();
        ["error", "exception", "fail"]
            .iter()
            .any(|part| word.contains(part))
    };
    let has_words = WORDS
        .iter()
        .any(|key| object[key].as_str().is_some_and(|words| !words.is_empty()));
    let has_code = ["code", "error_code", "status_code"]
        .iter()
        .any(|key| !is_empty(&object[key]));
    let is_refused = object["success"] == false
        || object["status"]
            .as_u64()
            .is_some_and(|status| status >= 400);
    has_words
        && (says("object")
            || says("type")
            || says("status")
            || says("level")
            || has_code
            || is_refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_in_each_of_their_forms() {
        for (json, wanted) in [
            (r#"{"error":{"message":"no room","code":500}}"#, "no room"),
            (r#"{"error":"no room"}"#, "no room"),
            (r#"{"error":true,"message":"no room"}"#, "no room"),
            (r#"{"errors":[{"message":"no room"}]}"#, "no room"),
            (
                r#"{"object":"error","message":"no room","type":"x","code":500}"#,
                "no room",
            ),
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"no room"}}"#,
                "no room",
            ),
            (r#"{"message":"no room","code":502}"#, "no room"),
            (r#"{"code":"50001","msg":"no room"}"#, "no room"),
            (r#"{"success":false,"msg":"no room"}"#, "no room"),
            (r#"{"status":503,"message":"no room"}"#, "no room"),
            (r#"{"detail":"no room"}"#, "no room"),
            (r#"{"error_code":17,"error_msg":"no room"}"#, "no room"),
            (
                r#"{"base_resp":{"status_code":1008,"status_msg":"no room"}}"#,
                "no room",
            ),
        ] {
            assert_eq!(words(json, true).as_deref(), Some(wanted), "{json}");
        }
        for none in [
            r#"{"error":null}"#,
            r#"{"error":false}"#,
            r#"{"error":""}"#,
            r#"{"error":{}}"#,
            r#"{"error":{"message":"","code":0},"code":0}"#,
            r#"{"errors":[]}"#,
            r#"{"base_resp":{"status_code":0,"status_msg":"success"}}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"keepalive","message":"busy"}"#,
            r#"{"code":0,"message":"ok"}"#,
            "{}",
            "[]",
            "no JSON",
        ] {
            assert_eq!(words(none, true), None, "{none}");
        }
        // Beside text, only an object that is named an error counts.
        assert_eq!(
            words(r#"{"choices":[],"message":"hi","code":7}"#, false),
            None
        );
        assert_eq!(
            words(r#"{"choices":[],"error":"late"}"#, false).as_deref(),
            Some("late")
        );
    }
}
