//! The keys beside the messages of a record that decide what is asked: tools and the like, settings, images.
//!
//! Other keys, such as `id` or `source`, describe the record and go nowhere.

use serde_json::value::RawValue;

use crate::plan::json::{self, kind};

/// Keys that go out beside messages. The first two tell a model what it can call, in whatever form the record is.
const MEMBERS: [&str; 33] = [
    "tools",
    "functions",
    "tool_choice",
    "function_call",
    "parallel_tool_calls",
    "response_format",
    "chat_template",
    "chat_template_kwargs",
    "documents",
    "reasoning",
    "reasoning_effort",
    "thinking",
    "add_generation_prompt",
    "continue_final_message",
    "stop",
    "stop_token_ids",
    "n",
    "seed",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "top_k",
    "min_p",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structured_outputs",
    "modalities",
    "cache_salt",
];
/// Those of `MEMBERS` that say in every record what can be called.
const CALLABLE: usize = 2;
/// Keys that every request of a run has of its own.
const SETTINGS: [&str; 9] = [
    "model",
    "max_tokens",
    "max_completion_tokens",
    "min_tokens",
    "temperature",
    "top_p",
    "ignore_eos",
    "stream",
    "stream_options",
];
/// Keys of what is seen or heard, in whatever form the record is.
const MEDIA: [&str; 12] = [
    "image",
    "images",
    "image_url",
    "image_urls",
    "image_path",
    "image_paths",
    "img",
    "audio",
    "audios",
    "video",
    "videos",
    "multi_modal_data",
];

/// The values that a record has of those keys; empty ones count as absent.
#[derive(Debug)]
pub(in crate::plan) struct Beside<'a> {
    members: [Option<&'a RawValue>; MEMBERS.len()],
    settings: [Option<&'a RawValue>; SETTINGS.len()],
    media: [Option<&'a RawValue>; MEDIA.len()],
    /// A system message beside the others.
    pub system: Option<&'a RawValue>,
}

impl<'a> Beside<'a> {
    pub fn of(json: &'a str) -> serde_json::Result<Beside<'a>> {
        let [system, system_prompt] = json::values(json, ["system", "system_prompt"])?;
        Ok(Beside {
            members: filled(json::values(json, MEMBERS)?),
            settings: json::values(json, SETTINGS)?,
            media: filled(json::values(json, MEDIA)?),
            system: filled([system.or(system_prompt)])[0],
        })
    }

    /// The keys that must go out with the value of `key`, with what stands in them.
    pub fn members(&self, key: &str) -> Vec<(&'static str, &'a str)> {
        let count = match key {
            "messages" | "prompt" => MEMBERS.len(),
            _ => CALLABLE,
        };
        let members = present(MEMBERS, self.members);
        members
            .filter(|(key, _)| MEMBERS[..count].contains(key))
            .collect()
    }

    /// What the record sets for itself, where `key` is one of the API.
    pub fn settings(&self, key: &str) -> Vec<(&'static str, &'a str)> {
        match key {
            "messages" | "prompt" => present(SETTINGS, self.settings).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether something stands beside the texts that a conversation of texts does not carry.
    pub fn is_more(&self) -> bool {
        !self.members("conversations").is_empty() || self.media.iter().any(Option::is_some)
    }

    /// # Errors
    /// There is an image or the like, which would silently be left out.
    pub fn refuse_media(&self) -> Result<(), String> {
        match present(MEDIA, self.media).next() {
            None => Ok(()),
            Some((key, _)) => Err(format!(
                "{key} beside the text, which is not sent; want it in messages as a part such as image_url, or take it out"
            )),
        }
    }

    /// # Errors
    /// Tools are no list, or a system message stands beside messages that go out as they stand.
    pub fn refuse_odd(&self) -> Result<(), String> {
        if self.system.is_some() {
            let why =
                "system beside messages that go out as they stand; want it as the first message";
            return Err(why.to_string());
        }
        for (key, json) in self.members("conversations") {
            if !json.starts_with('[') {
                let found = kind(json);
                return Err(format!("{key}: {found}; want a list of objects"));
            }
        }
        Ok(())
    }
}

fn filled<const N: usize>(values: [Option<&RawValue>; N]) -> [Option<&RawValue>; N] {
    values.map(|value| value.filter(|value| !json::is_empty(value)))
}

fn present<'a, const N: usize>(
    keys: [&'static str; N],
    values: [Option<&'a RawValue>; N],
) -> impl Iterator<Item = (&'static str, &'a str)> {
    let pairs = keys.into_iter().zip(values);
    pairs.filter_map(|(key, value)| Some((key, value?.get())))
}
