//! Reads the records of a trace one by one, and sorts their requests.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::unit::{Unit, like_seconds};
use crate::plan::dataset::source::Raw;
use crate::plan::dataset::{Problem, session_id};
use crate::plan::json::{self, kind, shortened};

/// The keys that are read, and those of AIPerf that change what is sent, which are refused.
pub(super) const KEYS: [&str; 13] = [
    "timestamp",
    "input_length",
    "output_length",
    "hash_ids",
    "session_id",
    "chat_id",
    "parent_chat_id",
    "delay",
    "text_input",
    "messages",
    "payload",
    "tools",
    "extra",
];

/// Tokens of a block of Mooncake's traces; the last block of a prompt may have fewer.
const BLOCK_TOKENS: u64 = 512;
/// Tokens of a block of Bailian's traces.
const CHAT_BLOCK_TOKENS: u64 = 16;

#[derive(Debug)]
pub(super) struct Request {
    pub timestamp_ms: f64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// The start of its blocks in `hash_ids`.
    pub first_hash: usize,
    line: u64,
    pub turn: Option<Turn>,
}

/// A request's place in its session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    /// The number of the session or the chat.
    own: u32,
    /// The previous one: its number while the file is read, then its place.
    pub after: Option<u32>,
}

/// The requests of a trace while it is read.
pub(super) struct Reader {
    pub requests: Vec<Request>,
    /// The names of all requests' blocks, one request after the other.
    pub hash_ids: Vec<u64>,
    pub block_tokens: u64,
    /// Records in columns without tokens.
    pub skipped: u64,
    /// Sessions and chats by name, after a letter that says which.
    names: HashMap<String, u32>,
}

impl Reader {
    pub fn new() -> Reader {
        Reader {
            requests: Vec::new(),
            hash_ids: Vec::new(),
            block_tokens: BLOCK_TOKENS,
            skipped: 0,
            names: HashMap::new(),
        }
    }

    /// Converts the timestamps of JSON records to milliseconds.
    ///
    /// # Errors
    /// Fails when they look like seconds and no unit was given.
    pub fn scale(&mut self, unit: Option<Unit>) -> Result<(), String> {
        self.sort();
        let times = self.requests.iter().map(|request| request.timestamp_ms);
        match unit.map_or_else(|| like_seconds(times), |_| None) {
            Some(why) => Err(why),
            None => {
                let in_ms = unit.unwrap_or(Unit::Milliseconds).in_ms();
                for request in &mut self.requests {
                    request.timestamp_ms *= in_ms;
                }
                Ok(())
            }
        }
    }

    fn sort(&mut self) {
        let time = |request: &Request| request.timestamp_ms;
        let requests = &mut self.requests;
        requests.sort_by(|a, b| time(a).total_cmp(&time(b)));
    }

    /// Sorts the requests by time, and links each to the one that it follows.
    ///
    /// # Errors
    /// Fails on a chat whose parent comes later.
    pub fn put_in_order(&mut self) -> Result<(), Problem> {
        self.sort();
        let mut is_in_file = vec![false; self.names.len()];
        let turns = self.requests.iter().filter_map(|request| request.turn);
        turns.for_each(|turn| is_in_file[turn.own as usize] = true);
        let mut last: Vec<Option<u32>> = vec![None; self.names.len()];
        for (k, request) in (0..).zip(&mut self.requests) {
            let Some(turn) = &mut request.turn else {
                continue;
            };
            let before = turn.after.filter(|&before| is_in_file[before as usize]);
            let after = before.and_then(|before| last[before as usize]);
            if before.is_some_and(|before| before != turn.own) && after.is_none() {
                return Err(Problem {
                    line: request.line,
                    why: "its parent_chat_id is that of a later request; want a parent's timestamp before its children's".to_string(),
                });
            }
            turn.after = after;
            last[turn.own as usize] = Some(k);
        }
        Ok(())
    }

    /// Returns the number of a session or a chat.
    pub fn name(&mut self, letter: char, name: &str) -> u32 {
        let next = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        *self.names.entry(format!("{letter}{name}")).or_insert(next)
    }

    /// Adds a request whose prompt shares nothing with others.
    pub fn push_unnamed(
        &mut self,
        line: u64,
        timestamp_ms: f64,
        input_tokens: u64,
        output_tokens: u64,
        session: Option<u32>,
    ) {
        let hash_ids = &mut self.hash_ids;
        let first_hash = hash_ids.len();
        let end = first_hash as u64 + input_tokens.div_ceil(BLOCK_TOKENS);
        hash_ids.extend(first_hash as u64..end);
        self.requests.push(Request {
            timestamp_ms,
            input_tokens,
            output_tokens,
            first_hash,
            line,
            turn: session.map(|own| Turn {
                own,
                after: Some(own),
            }),
        });
    }

    /// Adds the request of a JSON record.
    pub fn push(&mut self, raw: Raw<'_>) -> Result<(), Problem> {
        let values = raw.object(|json| json::values(json, KEYS))?;
        let request = self.request(raw.line, values);
        self.requests.push(request.map_err(|why| raw.problem(why))?);
        Ok(())
    }

    /// Reads one record and appends its names to `hash_ids`; the error says what is wrong with it.
    fn request(
        &mut self,
        line: u64,
        values: [Option<&RawValue>; KEYS.len()],
    ) -> Result<Request, String> {
        let [
            timestamp,
            input,
            output,
            ids,
            session,
            chat,
            parent,
            others @ ..,
        ] = values;
        if let Some(at) = others.iter().position(Option::is_some) {
            let key = KEYS[KEYS.len() - others.len() + at];
            return Err(format!(
                "{key}: not supported; prompts are made from hash_ids and sent at timestamp"
            ));
        }
        if chat.is_some() && self.requests.is_empty() {
            self.block_tokens = CHAT_BLOCK_TOKENS;
        }
        let input_tokens = number("input_length", input)?;
        if input_tokens == 0 {
            return Err("input_length: 0; want at least one token".to_string());
        }
        let first_hash = self.hash_ids.len();
        self.push_hash_ids(input_tokens, ids)?;
        Ok(Request {
            timestamp_ms: self::timestamp(wanted("timestamp", timestamp)?.get())?,
            input_tokens,
            output_tokens: number("output_length", output)?,
            first_hash,
            line,
            turn: self.turn(session, chat, parent)?,
        })
    }

    fn push_hash_ids(&mut self, input_tokens: u64, ids: Option<&RawValue>) -> Result<(), String> {
        let ids = wanted("hash_ids", ids)?.get();
        if !ids.starts_with('[') {
            return Err(format!("hash_ids: {}, not an array", kind(ids)));
        }
        let ids = json::elements(ids)?;
        let block_tokens = self.block_tokens;
        let blocks = input_tokens.div_ceil(block_tokens);
        if ids.len() as u64 != blocks {
            return Err(format!(
                "{} hash_ids for an input_length of {input_tokens}; want {blocks}, one for every {block_tokens} tokens",
                ids.len()
            ));
        }
        for id in ids {
            self.hash_ids.push(number("hash_ids", Some(id))?);
        }
        Ok(())
    }

    /// Returns the request's place: a session is known by its id, a chat by its own and its parent's, which for a root
    /// is -1 or null.
    fn turn(
        &mut self,
        session: Option<&RawValue>,
        chat: Option<&RawValue>,
        parent: Option<&RawValue>,
    ) -> Result<Option<Turn>, String> {
        let named = |key: &str, value| session_id(value).map_err(|why| format!("{key}: {why}"));
        if let Some(session) = session {
            let own = self.name('s', &named("session_id", session)?);
            let after = Some(own);
            return Ok(Some(Turn { own, after }));
        }
        let Some(chat) = chat else { return Ok(None) };
        let own = self.name('c', &named("chat_id", chat)?);
        let parent = parent
            .map(|parent| named("parent_chat_id", parent))
            .transpose()?;
        let after = parent
            .filter(|parent| *parent != "-1")
            .map(|parent| self.name('c', &parent));
        Ok(Some(Turn { own, after }))
    }
}

fn wanted<'a>(key: &str, value: Option<&'a RawValue>) -> Result<&'a RawValue, String> {
    value.ok_or_else(|| {
        format!("no {key} in it; want timestamp, input_length, output_length and hash_ids")
    })
}

fn number(key: &str, value: Option<&RawValue>) -> Result<u64, String> {
    let json = wanted(key, value)?.get();
    json.parse().map_err(|_| {
        let have = shortened(json);
        format!("{key}: want a whole number from 0 to 2^64 - 1, have {have}")
    })
}

fn timestamp(json: &str) -> Result<f64, String> {
    let number = serde_json::from_str(json).ok();
    number.filter(|ms| *ms >= 0.0).ok_or_else(|| {
        let have = shortened(json);
        format!("timestamp: want milliseconds from 0 on, have {have}")
    })
}
