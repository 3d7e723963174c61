//! The JSON bodies of the generating routes and of /tokenize.
//!
//! Knows which fields there are and what text they hold; limits and lengths are `generation`'s.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::http::ErrorReply;
use super::prompt::Prompt;
use super::response_cache::Key;
use super::tokens::{Chain, fnv1a, fnv1a_start, mix};

/// The fields the mock reads; others are ignored.
#[derive(Deserialize)]
pub struct Body<'a> {
    pub model: Option<String>,
    #[serde(borrow, rename = "prompt")]
    sent_prompt: Option<Prompt<'a>>,
    #[serde(borrow, rename = "content")]
    sent_content: Option<Prompt<'a>>,
    /// The text of `sent_prompt`.
    #[serde(skip)]
    prompt: Option<Cow<'a, str>>,
    /// The text of `sent_content`, by which llama.cpp's /tokenize calls its prompt.
    #[serde(skip)]
    content: Option<Cow<'a, str>>,
    /// SGLang's names of the prompt, and vLLM's of one in a form that is not served.
    text: Option<IgnoredAny>,
    input_ids: Option<IgnoredAny>,
    prompt_embeds: Option<IgnoredAny>,
    #[serde(borrow)]
    messages: Option<Vec<Message<'a>>>,
    n: Option<i64>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    temperature: Option<f64>,
    cache_salt: Option<String>,
    pub min_tokens: Option<usize>,
    pub ignore_eos: Option<bool>,
    pub stream: Option<bool>,
    pub stream_options: Option<StreamOptions>,
    user: Option<String>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    session_id: Option<String>,
}

#[derive(Deserialize)]
pub struct StreamOptions {
    pub include_usage: Option<bool>,
    pub continuous_usage_stats: Option<bool>,
}

#[derive(Deserialize)]
struct Message<'a> {
    role: String,
    #[serde(borrow)]
    content: Option<Content<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

impl<'a> Message<'a> {
    /// The content as one text; parts are joined without anything between them.
    fn text(&self) -> Cow<'a, str> {
        match &self.content {
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => parts.iter().map(|part| part.text.as_str()).collect(),
            None => Cow::Borrowed(""),
        }
    }
}

impl<'a> Body<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Body<'a>, ErrorReply> {
        let mut body: Body =
            serde_json::from_slice(bytes).map_err(|e| ErrorReply::invalid(None, e))?;
        let text = |sent: Option<Prompt<'a>>, field| sent.map(|sent| sent.into_text(field));
        body.prompt = text(body.sent_prompt.take(), "prompt").transpose()?;
        body.content = text(body.sent_content.take(), "content").transpose()?;
        match body.n {
            None | Some(1) => Ok(body),
            Some(n) => {
                let why = format!("n is {n}; this server gives one choice a request (parameter=n)");
                Err(ErrorReply::value("n", why))
            }
        }
    }

    /// The limit of the answer's length as it was sent.
    pub fn max_tokens(&self) -> Option<i64> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    /// The key by which the response cache knows the request.
    pub fn response_key(&self) -> Key {
        let prompt = self.prompt.as_deref().unwrap_or_default();
        Key {
            prompt_hash: fnv1a(fnv1a_start(), prompt.as_bytes()),
            prompt_bytes: prompt.len(),
            max_tokens: self.max_tokens(),
            // -0 + 0 is 0.
            temperature_bits: self.temperature.map(|it| (it + 0.0).to_bits()),
        }
    }

    /// The text that keeps the request's blocks apart from those of others; empty if none was sent.
    pub fn cache_salt(&self) -> Result<&str, ErrorReply> {
        match self.cache_salt.as_deref() {
            Some("") => {
                let why = "Parameter 'cache_salt' must be a non-empty string if provided. (parameter=cache_salt)";
                Err(ErrorReply::value("cache_salt", why))
            }
            salt => Ok(salt.unwrap_or_default()),
        }
    }

    /// The words of `prompt`. A request that names its prompt otherwise is told so.
    pub fn prompt(&self, block_tokens: usize) -> Result<Chain, ErrorReply> {
        let others = [
            ("text", self.text),
            ("input_ids", self.input_ids),
            ("prompt_embeds", self.prompt_embeds),
        ];
        if let Some((name, _)) = others.iter().find(|(_, sent)| sent.is_some())
            && self.prompt.is_none()
        {
            let why = format!(
                "{name} is not served; want prompt, a text or a list of token ids (parameter={name})"
            );
            return Err(ErrorReply::value(name, why));
        }
        let Some(prompt) = self.prompt.as_deref().filter(|prompt| !prompt.is_empty()) else {
            let why =
                "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)";
            return Err(ErrorReply::value("prompt", why));
        };
        let mut chain = Chain::new(block_tokens);
        chain.push_text(prompt);
        Ok(chain)
    }

    /// The words of the messages' contents; roles set them apart but are no tokens.
    pub fn chat_prompt(&self, block_tokens: usize) -> Result<Chain, ErrorReply> {
        let mut chain = Chain::new(block_tokens);
        for message in self.messages()? {
            chain.push_mark(&message.role);
            chain.push_text(&message.text());
        }
        chain.push_mark("assistant");
        Ok(chain)
    }

    fn messages(&self) -> Result<&[Message<'a>], ErrorReply> {
        let Some(messages) = &self.messages else {
            let why = "{'type': 'missing', 'loc': 'body.messages', 'msg': 'Field required'}";
            return Err(ErrorReply::invalid(Some("body.messages"), why));
        };
        if messages.is_empty() {
            let why = "messages must have at least one message (parameter=messages)";
            return Err(ErrorReply::value("messages", why));
        }
        Ok(messages)
    }

    /// One number for each word, equal for equal words: of `prompt` as vLLM reads it, else of
    /// `content` as llama.cpp does, else of the messages.
    pub fn token_ids(&self) -> Result<Vec<u64>, ErrorReply> {
        let texts = match self.prompt.as_ref().or(self.content.as_ref()) {
            Some(text) => vec![text.clone()],
            None if self.messages.is_none() => {
                let why = "want prompt, content or messages (parameter=prompt)";
                return Err(ErrorReply::value("prompt", why));
            }
            None => self.messages()?.iter().map(Message::text).collect(),
        };
        let mut ids = Vec::new();
        for text in texts {
            let words = text.split_ascii_whitespace();
            ids.extend(words.map(|word| mix(fnv1a(fnv1a_start(), word.as_bytes())) % 200_000));
        }
        Ok(ids)
    }

    /// At most 100 characters; `None` if there is no word.
    pub fn first_word(&self) -> Option<String> {
        let contents = self.messages.iter().flatten().map(Message::text);
        let mut texts = self.prompt.iter().cloned().chain(contents);
        texts.find_map(|text| {
            let word = text.split_ascii_whitespace().next()?;
            Some(word.chars().take(100).collect())
        })
    }

    /// `[mock][session:…][hash:…]`, one word: whitespace in the session becomes `_`.
    pub fn tag(&self, session_header: Option<&str>) -> String {
        let metadata = self.metadata.as_ref();
        let session = session_header
            .or_else(|| metadata.and_then(|metadata| metadata.session_id.as_deref()))
            .or(self.user.as_deref())
            .unwrap_or("-");
        let session: Vec<&str> = session.split_whitespace().collect();
        let hash = self.messages_hash();
        format!("[mock][session:{}][hash:{hash:016x}]", session.join("_"))
    }

    /// FNV-1a 64 over role, NUL, content, NUL of every message.
    pub fn messages_hash(&self) -> u64 {
        self.messages
            .iter()
            .flatten()
            .fold(fnv1a_start(), |hash, message| {
                let hash = fnv1a(fnv1a(hash, message.role.as_bytes()), b"\0");
                fnv1a(fnv1a(hash, message.text().as_bytes()), b"\0")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(messages: &str) -> Chain {
        let json = format!(r#"{{"messages":{messages}}}"#);
        let body = Body::parse(json.as_bytes()).expect("it is well formed");
        body.chat_prompt(1).expect("it has messages")
    }

    #[test]
    fn the_tokens_of_a_chat_are_the_words_of_its_contents() {
        let chain = chat(
            r#"[{"role":"system","content":"be brief"},{"role":"user","content":"hi\nthere"}]"#,
        );
        assert_eq!(chain.tokens(), 4);
        let parts = chat(
            r#"[{"role":"user","content":[{"type":"text","text":"a b"},{"type":"text","text":" c"}]}]"#,
        );
        assert_eq!(parts, chat(r#"[{"role":"user","content":"a b c"}]"#));
        assert_eq!(chat(r#"[{"role":"assistant","content":null}]"#).tokens(), 0);
    }

    #[test]
    fn the_next_turn_of_a_chat_starts_like_the_prompt_and_answer_before_it() {
        let mut first = chat(r#"[{"role":"user","content":"hi there"}]"#);
        first.push_text(" the answer");
        let turns = r#"[{"role":"user","content":"hi there"},{"role":"assistant","content":" the answer"},{"role":"user","content":"go"}]"#;
        assert_eq!(chat(turns).blocks()[..4], *first.blocks());
        let other = chat(r#"[{"role":"system","content":"hi there"}]"#);
        assert_ne!(other.blocks()[0], first.blocks()[0]);
    }

    #[test]
    fn a_tag_names_session_and_messages() {
        let json = br#"{"user":"u 1","messages":[{"role":"user","content":"hi"}]}"#;
        let body = Body::parse(json).expect("it is well formed");
        // FNV-1a 64 of "user\0hi\0", from a separate implementation.
        assert_eq!(body.tag(None), "[mock][session:u_1][hash:660db381bfb802cb]");
        assert_eq!(
            body.tag(Some("s-7")),
            "[mock][session:s-7][hash:660db381bfb802cb]"
        );
    }

    #[test]
    fn what_cannot_be_read_is_a_400_that_says_why() {
        for (json, why) in [
            (
                "{\"prompt\": ",
                "EOF while parsing a value at line 1 column 11",
            ),
            (
                "{\"max_tokens\": \"many\"}",
                "invalid type: string \"many\", expected i64 at line 1 column 21",
            ),
        ] {
            let error = Body::parse(json.as_bytes()).err();
            assert_eq!(error, Some(ErrorReply::invalid(None, why)));
        }
    }

    #[test]
    fn several_choices_and_no_messages_are_refused_by_name() {
        for n in ["2", "0"] {
            let json = format!(r#"{{"prompt":"a","n":{n}}}"#);
            let why = format!("n is {n}; this server gives one choice a request (parameter=n)");
            let refused = Body::parse(json.as_bytes()).err();
            assert_eq!(refused, Some(ErrorReply::value("n", why)));
        }
        for n in ["1", "null"] {
            let json = format!(r#"{{"prompt":"a","n":{n}}}"#);
            assert!(Body::parse(json.as_bytes()).is_ok(), "{n}");
        }
        let body = Body::parse(br#"{"messages":[]}"#).expect("it is well formed");
        let why = "messages must have at least one message (parameter=messages)";
        assert_eq!(
            body.chat_prompt(1).err(),
            Some(ErrorReply::value("messages", why))
        );
    }

    #[test]
    fn prompt_max_tokens_and_temperature_make_the_response_key() {
        let key = |json: &str| {
            let body = Body::parse(json.as_bytes()).expect("it is well formed");
            body.response_key()
        };
        let first = key(r#"{"prompt":"a b","max_tokens":4,"temperature":0.0}"#);
        for same in [
            r#"{"temperature":0,"max_tokens":4,"prompt":"a b","stream":true}"#,
            r#"{"temperature":-0.0,"max_tokens":4,"prompt":"a \u0062"}"#,
        ] {
            assert_eq!(key(same), first, "{same}");
        }
        for other in [
            r#"{"prompt":"a  b","max_tokens":4,"temperature":0}"#,
            r#"{"prompt":"a b","max_tokens":5,"temperature":0}"#,
            r#"{"prompt":"a b","max_tokens":4,"temperature":0.1}"#,
            r#"{"prompt":"a b","max_tokens":4}"#,
            r#"{"prompt":"a b","temperature":0}"#,
        ] {
            assert_ne!(key(other), first, "{other}");
        }
    }

    #[test]
    fn equal_words_have_equal_token_ids() {
        let ids = |json: &str| {
            Body::parse(json.as_bytes())
                .expect("it is well formed")
                .token_ids()
                .expect("it has a text")
        };
        let [a, b, c] = ids(r#"{"content":"x y x"}"#)[..] else {
            panic!("want 3 ids");
        };
        assert!(a == c && a != b);
        assert_eq!(ids(r#"{"prompt":"x y"}"#), [a, b]);
        // A client that does not know the server sends both forms.
        assert_eq!(ids(r#"{"prompt":"x y","content":"x y"}"#), [a, b]);
    }
}
