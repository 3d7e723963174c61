//! The models that a server lists under `/v1/models`.

use std::collections::HashSet;

use serde_json::Value;

use super::api::error_words;
use super::endpoint::Endpoint;
use super::http::Small;
use crate::sample::{FailKind, Failure};
use crate::units::steers;

/// One model of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub id: String,
    /// Most tokens of prompt plus output in a request.
    pub max_model_len: Option<u64>,
}

/// The answer of `/v1/models`.
#[derive(Debug, PartialEq, Eq)]
pub enum Listing {
    Models(Vec<Listed>),
    /// Why the answer is not a list. The model can still be given by name.
    Unusable(String),
    /// The server's words with a 404 or 405: the path is wrong, or there is no list.
    NoSuchPath(String),
    /// The reply, which is no HTTP.
    NoHttp(String),
    /// The server's words with a 401 or 403.
    Denied(String),
}

/// Asks for the models.
///
/// # Errors
/// Fails when no answer came at all.
pub fn list(small: &Small, endpoint: &Endpoint) -> Result<Listing, Failure> {
    let page = match small.get(&endpoint.url("models")) {
        Ok(page) => page,
        // The server is there, but its answer cannot be read.
        Err(f) if matches!(f.kind, FailKind::Truncated | FailKind::Malformed) => {
            return Ok(Listing::NoHttp(format!("no HTTP reply ({})", f.reason)));
        }
        Err(failure) => return Err(failure),
    };
    Ok(match page.status {
        200..=299 => parse(&page.text),
        401 | 403 => Listing::Denied(format!("HTTP {}: {}", page.status, error_words(&page.text))),
        404 | 405 => {
            Listing::NoSuchPath(format!("HTTP {}: {}", page.status, error_words(&page.text)))
        }
        status => Listing::Unusable(format!("HTTP {status}: {}", error_words(&page.text))),
    })
}

/// Keys of a list of models; a list may also be the whole answer.
const LISTS: [&str; 4] = ["data", "models", "items", "results"];
/// Keys of an entry's name, the preferred one first.
const NAMES: [&str; 6] = ["id", "model", "name", "model_name", "model_id", "key"];

fn parse(text: &str) -> Listing {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return Listing::Unusable("the answer is not JSON".into());
    };
    let mut seen = HashSet::new();
    let mut models = entries(&value);
    models.retain(|model| seen.insert(model.id.clone()));
    if models.is_empty() {
        return Listing::Unusable(why_none(&value, text));
    }
    Listing::Models(models)
}

/// Returns the models of a list, of an object that holds one, or of an object that is one model.
fn entries(value: &Value) -> Vec<Listed> {
    match value {
        Value::Array(list) => list.iter().filter_map(listed).collect(),
        Value::Object(map) => {
            let inside = LISTS.iter().filter_map(|key| map.get(*key)).map(entries);
            let mut inside = inside.filter(|models| !models.is_empty());
            let itself = || listed(value).filter(|_| value["object"] == "model");
            let found = inside.next();
            found.unwrap_or_else(|| itself().into_iter().collect())
        }
        _ => Vec::new(),
    }
}

/// Reads an entry of a list: a name, or an object that has one.
fn listed(entry: &Value) -> Option<Listed> {
    let usable = |name: &&str| !name.trim().is_empty() && !name.contains(steers);
    let mut names = NAMES.iter().filter_map(|key| entry[*key].as_str());
    let id = entry.as_str().filter(usable).or(names.find(usable))?;
    let limit = [&entry["max_model_len"], &entry["meta"]["n_ctx"]];
    Some(Listed {
        id: id.to_string(),
        max_model_len: limit.into_iter().find_map(Value::as_u64),
    })
}

/// Says why an answer, with `text` as received, has no model.
fn why_none(value: &Value, text: &str) -> String {
    let keys = LISTS.join(", ");
    let Value::Object(map) = value else {
        return list_without(value, "the answer");
    };
    if !value["error"].is_null() {
        return format!("an error with status 200: {}", error_words(text));
    }
    if let Some(key) = LISTS.iter().find(|key| map.contains_key(**key)) {
        return list_without(&value[*key], key);
    }
    let came: Vec<&str> = map.keys().map(String::as_str).collect();
    let came = came.join(", ");
    format!("no list of models: its keys are {came}; want one of {keys}")
}

fn list_without(value: &Value, what: &str) -> String {
    match value {
        Value::Array(list) if list.is_empty() => "it lists no model".to_string(),
        Value::Array(_) => {
            let keys = NAMES.join(", ");
            format!("it lists no model: no entry has a name; want one of {keys}")
        }
        Value::Null => format!("it lists no model: {what} is null"),
        _ => format!("it lists no model: {what} is not a list"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the body of a recorded answer.
    fn recorded(path: &str) -> String {
        let file = format!("{}/tests/data/captures/{path}", env!("CARGO_MANIFEST_DIR"));
        let raw = std::fs::read_to_string(&file).expect(&file);
        raw.split_once("\r\n\r\n").expect("headers").1.to_string()
    }

    #[test]
    fn the_lists_of_real_servers_are_read() {
        let one = |id: &str, len| {
            Listing::Models(vec![Listed {
                id: id.into(),
                max_model_len: len,
            }])
        };
        assert_eq!(
            parse(&recorded("vllm/models.raw")),
            one("tiny-chain", Some(8192))
        );
        assert_eq!(
            parse(&recorded("llama-server/models.raw")),
            one("tiny-chain", Some(8192))
        );
        assert_eq!(
            parse(&recorded("transformers/models.raw")),
            Listing::Unusable("it lists no model".into())
        );
        assert_eq!(
            parse(r#"{"data":[{"id":"a\u001b[31m"},{"id":"b"}]}"#),
            one("b", None)
        );
        assert_eq!(
            parse(""),
            Listing::Unusable("the answer is not JSON".into())
        );
    }
    /// Returns the names read from an answer.
    fn names(text: &str) -> Vec<String> {
        match parse(text) {
            Listing::Models(models) => models.into_iter().map(|model| model.id).collect(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_list_is_read_wherever_it_stands_and_whatever_its_names_are_called() {
        for (text, wanted) in [
            (
                r#"[{"id":"org/big-1","object":"model"},{"id":"org/small 2"}]"#,
                &["org/big-1", "org/small 2"][..],
            ),
            (r#"["a","b"]"#, &["a", "b"]),
            // Ollama.
            (
                r#"{"models":[{"name":"qwen:7b","model":"qwen:7b"}]}"#,
                &["qwen:7b"],
            ),
            // Gemini.
            (
                r#"{"models":[{"name":"models/g-pro","displayName":"G Pro","inputTokenLimit":30720}]}"#,
                &["models/g-pro"],
            ),
            (r#"{"models":["a","b"]}"#, &["a", "b"]),
            (
                r#"{"object":"list","data":[{"name":"llama","object":"model"}]}"#,
                &["llama"],
            ),
            (
                r#"{"data":[{"model_name":"m","model_info":{"id":"7"}}]}"#,
                &["m"],
            ),
            (r#"{"data":[{"id":7,"name":"m"}]}"#, &["m"]),
            (r#"{"models":[{"key":"m","display_name":"M 7B"}]}"#, &["m"]),
            (r#"{"code":0,"data":{"models":[{"id":"m"}]}}"#, &["m"]),
            (r#"{"data":null,"models":[{"model_id":"m"}]}"#, &["m"]),
            (r#"{"data":[],"models":["m"]}"#, &["m"]),
            (r#"{"id":"m","object":"model"}"#, &["m"]),
            (
                r#"{"data":[{"id":"m"},{"id":"n"},{"id":"m"}]}"#,
                &["m", "n"],
            ),
            (
                r#"{"data":[{"id":"Q wen/模型 \"7B\""},{"id":" "},null,7]}"#,
                &["Q wen/模型 \"7B\""],
            ),
        ] {
            assert_eq!(names(text), wanted, "{text}");
        }
    }

    #[test]
    fn an_answer_without_a_model_says_what_it_is() {
        for (text, why) in [
            (
                r#"{"object":"list","data":null}"#,
                "it lists no model: data is null",
            ),
            (r#"{"data":"m"}"#, "it lists no model: data is not a list"),
            (
                r#"{"data":[{"object":"model"}]}"#,
                "it lists no model: no entry has a name; want one of id, model, name, model_name, model_id, key",
            ),
            ("[]", "it lists no model"),
            ("null", "it lists no model: the answer is null"),
            ("7", "it lists no model: the answer is not a list"),
            (
                r#"{"name":"gateway","version":"2"}"#,
                "no list of models: its keys are name, version; want one of data, models, items, results",
            ),
            (
                r#"{"error":{"message":"no such route"},"data":null}"#,
                "an error with status 200: no such route",
            ),
        ] {
            assert_eq!(parse(text), Listing::Unusable(why.into()), "{text}");
        }
    }
}
