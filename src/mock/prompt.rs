//! A prompt in the forms in which clients send one: a text, token ids, or a list of either.
//!
//! One prompt becomes a text; several, and what is no prompt, become the error that says so.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::http::ErrorReply;

/// A prompt as it was sent.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Prompt<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Ids(Vec<u64>),
    Texts(Vec<String>),
    Lists(Vec<Vec<u64>>),
    Other(IgnoredAny),
}

impl<'a> Prompt<'a> {
    /// Makes one prompt a text, in which a token id is a word: its decimal number. A list of one prompt is that
    /// prompt.
    ///
    /// # Errors
    /// A list of several prompts, and what is no prompt, is refused with the name of its `field`.
    pub fn into_text(self, field: &'static str) -> Result<Cow<'a, str>, ErrorReply> {
        let several = |count: usize| {
            format!(
                "{field} holds {count} prompts; this server takes one a request (parameter={field})"
            )
        };
        let why = match self {
            Prompt::Text(text) => return Ok(text),
            Prompt::Ids(ids) => return Ok(words(&ids)),
            Prompt::Texts(texts) => match <[String; 1]>::try_from(texts) {
                Ok([text]) => return Ok(text.into()),
                Err(texts) => several(texts.len()),
            },
            Prompt::Lists(lists) => match &lists[..] {
                [ids] => return Ok(words(ids)),
                _ => several(lists.len()),
            },
            Prompt::Other(IgnoredAny) => {
                format!("{field} must be a text or a list of token ids (parameter={field})")
            }
        };
        Err(ErrorReply::value(field, why))
    }
}

/// The text of these tokens.
fn words(ids: &[u64]) -> Cow<'static, str> {
    let words: Vec<String> = ids.iter().map(u64::to_string).collect();
    words.join(" ").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Result<String, ErrorReply> {
        let prompt: Prompt = serde_json::from_str(json).expect("it is JSON");
        prompt.into_text("prompt").map(Cow::into_owned)
    }

    #[test]
    fn one_prompt_is_a_text_in_whichever_form_it_comes() {
        for (json, expected) in [
            (r#""a b""#, "a b"),
            (r#""a\nb""#, "a\nb"),
            (r#"["a b"]"#, "a b"),
            ("[1, 20, 300]", "1 20 300"),
            ("[[1, 20, 300]]", "1 20 300"),
            ("[]", ""),
            ("[[]]", ""),
        ] {
            assert_eq!(text(json).as_deref(), Ok(expected), "{json}");
        }
    }

    #[test]
    fn several_prompts_are_refused_by_name_and_number() {
        for json in [r#"["a", "b"]"#, "[[1, 2], [3]]"] {
            let why = "prompt holds 2 prompts; this server takes one a request (parameter=prompt)";
            assert_eq!(text(json), Err(ErrorReply::value("prompt", why)), "{json}");
        }
    }

    #[test]
    fn what_is_no_prompt_is_refused_by_name() {
        for json in ["7", "true", "{}", "[-1]", "[1.5]", r#"[1, "a"]"#, "[null]"] {
            let why = "prompt must be a text or a list of token ids (parameter=prompt)";
            assert_eq!(text(json), Err(ErrorReply::value("prompt", why)), "{json}");
        }
    }
}
