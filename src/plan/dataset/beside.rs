//! The keys beside a record's messages that change the request: tools and the like, settings, images.
//!
//! Other keys, such as `id` or `source`, describe the record and are not sent.

use serde_json::value::RawValue;

use crate::plan::json::{self, kind};

/// Keys that are sent beside messages. The first two tell a model which tools it can call, in any record format.
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
/// The number of `MEMBERS` that list tools in every record format.
const CALLABLE: usize = 2;
/// Keys that the run itself sets in every request.
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
/// Keys of images, sound or video, in any record format.
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

/// A record's values of those keys; empty ones count as absent.
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

    /// Returns the keys that must be sent with the value of `key`, and their values.
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

    /// Returns the record's own settings, if `key` belongs to the API.
    pub fn settings(&self, key: &str) -> Vec<(&'static str, &'a str)> {
        match key {
            "messages" | "prompt" => present(SETTINGS, self.settings).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns whether the record has something besides texts that a conversation of texts cannot carry.
    pub fn is_more(&self) -> bool {
        !self.members("conversations").is_empty() || self.media.iter().any(Option::is_some)
    }

    /// # Errors
    /// Fails on an image or the like, which would be left out silently.
    pub fn refuse_media(&self) -> Result<(), String> {
        match present(MEDIA, self.media).next() {
            None => Ok(()),
            Some((key, _)) => Err(format!(
                "{key} beside the text, which is not sent; want it in messages as a part such as image_url, or take it out"
            )),
        }
    }

    /// # Errors
    /// Fails when tools are not a list, or when a system message is beside messages that are sent unchanged.
    pub fn refuse_odd(&self) -> Result<(), String> {
        if self.system.is_some() {
            let why =
                "system beside messages that are sent unchanged; want it as the first message";
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
