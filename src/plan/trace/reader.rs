//! Reads the records of a trace one by one and checks them; keeps where they stand, when they are due, and which
//! session each belongs to.

use std::hash::{DefaultHasher, Hasher};

use serde_json::value::RawValue;

use super::record::{Place, Text};
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
pub(super) const BLOCK_TOKENS: u64 = 512;
/// The format without `chat_id`.
pub(super) const MOONCAKE: Format = Format {
    block_tokens: BLOCK_TOKENS,
    unit: Unit::Milliseconds,
};
/// The format with `chat_id`.
const BAILIAN: Format = Format {
    block_tokens: 16,
    unit: Unit::Seconds,
};
/// `after` of a request without a session, and of the first of a session. There are fewer requests.
const NO_SESSION: u32 = u32::MAX;
const FIRST: u32 = u32::MAX - 1;

/// The properties of a file in JSON that follow from its format.
#[derive(Debug, Clone, Copy)]
pub(super) struct Format {
    pub block_tokens: u64,
    /// The unit of the timestamps, unless the user says another one.
    pub unit: Unit,
}

/// The lengths of a request, and the names of its prompt's blocks.
#[derive(Debug)]
pub struct Request {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub hash_ids: Vec<u64>,
}

/// One record.
#[derive(Debug)]
pub(super) struct Record {
    /// In the unit of the file in JSON, in milliseconds in columns.
    pub timestamp: f64,
    pub request: Request,
    pub turn: Option<Turn>,
}

/// A request's session or chat and the one that it follows, by hashes of their names; 0: none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Turn {
    own: u64,
    after: u64,
}

/// A record that was checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checked {
    pub timestamp_ms: f64,
    pub place: Place,
}

/// The records of a trace in the file's order, and the order of their requests. They take 24 bytes a request, and 4
/// more for each of: a file that is not in the order of its timestamps, and one with sessions. While a file with
/// sessions is read, there are another 20.
#[derive(Debug, Default)]
pub(super) struct Index {
    records: Vec<Checked>,
    /// The places of the requests in `records`, by time; empty: they are in order.
    order: Vec<u32>,
    /// For each request the one that it follows; empty: there are no sessions.
    after: Vec<u32>,
    /// For each record its session, until they are in order; empty: there are none.
    turns: Vec<Turn>,
}

impl Index {
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns the place of request `k` among the records.
    pub fn at(&self, k: usize) -> usize {
        self.order.get(k).map_or(k, |&at| at as usize)
    }

    pub fn record(&self, k: usize) -> Checked {
        self.records[self.at(k)]
    }

    /// Returns the request that request `k` follows, as `Trace::after` does.
    pub fn after(&self, k: usize) -> Option<Option<u64>> {
        match *self.after.get(k)? {
            NO_SESSION => None,
            FIRST => Some(None),
            after => Some(Some(u64::from(after))),
        }
    }

    /// Adds a record; the error says why it has no place.
    pub fn push(&mut self, timestamp: f64, raw: Raw<'_>, turn: Option<Turn>) -> Result<(), String> {
        let place = Place::new(raw.at, raw.json.as_bytes()).ok_or("4 GB or more in one record")?;
        if self.records.len() >= FIRST as usize {
            return Err("more than 4 billion records".to_string());
        }
        if turn.is_some() || !self.turns.is_empty() {
            self.turns.resize(self.records.len(), Turn::default());
            self.turns.push(turn.unwrap_or_default());
        }
        self.records.push(Checked {
            timestamp_ms: timestamp,
            place,
        });
        Ok(())
    }

    /// Converts the timestamps of JSON records to milliseconds. `given` is the unit that the user says, `own` that of
    /// the format.
    ///
    /// # Errors
    /// Fails when they look like seconds, the format has milliseconds, and no unit was given.
    pub fn scale(&mut self, given: Option<Unit>, own: Unit) -> Result<(), String> {
        self.sort();
        let times = (0..self.len()).map(|k| self.record(k).timestamp_ms);
        let is_in_doubt = given.is_none() && own == Unit::Milliseconds;
        if let Some(why) = is_in_doubt.then(|| like_seconds(times)).flatten() {
            return Err(why);
        }
        let in_ms = given.unwrap_or(own).in_ms();
        for record in &mut self.records {
            record.timestamp_ms *= in_ms;
        }
        Ok(())
    }

    /// Finds the order of the requests. Those with the same timestamp keep the file's order.
    fn sort(&mut self) {
        let records = &self.records;
        let time = |at: u32| records[at as usize].timestamp_ms;
        self.order.clear();
        if !records.is_sorted_by(|a, b| a.timestamp_ms.total_cmp(&b.timestamp_ms).is_le()) {
            self.order.extend(0..records.len() as u32);
            self.order
                .sort_unstable_by(|&a, &b| time(a).total_cmp(&time(b)).then(a.cmp(&b)));
        }
    }

    /// Sorts the requests by time, and links each to the one that it follows.
    ///
    /// # Errors
    /// Fails on a chat whose parent comes later; returns its record.
    pub fn put_in_order(&mut self) -> Result<(), Checked> {
        self.sort();
        let turns = std::mem::take(&mut self.turns);
        if turns.is_empty() {
            return Ok(());
        }
        // Records without a session after the last one with a session have no turn.
        let turn = |k: u32| turns.get(self.at(k as usize)).copied().unwrap_or_default();
        let mut by_name: Vec<u32> = (0..self.len() as u32).collect();
        by_name.retain(|&k| turn(k).own != 0);
        by_name.sort_unstable_by_key(|&k| (turn(k).own, k));
        let mut after = Vec::with_capacity(self.len());
        for k in 0..self.len() as u32 {
            let Turn { own, after: name } = turn(k);
            let end = by_name.partition_point(|&other| (turn(other).own, other) < (name, k));
            let has_name = |other: &&u32| name != 0 && turn(**other).own == name;
            let before = by_name[..end].last().filter(has_name);
            let is_later = name != own && by_name.get(end).filter(has_name).is_some();
            after.push(match before {
                Some(&before) => before,
                None if is_later => return Err(self.record(k as usize)),
                None if own == 0 => NO_SESSION,
                None => FIRST,
            });
        }
        self.after = after;
        Ok(())
    }
}

/// Returns the line of a record, and why it cannot be sent.
pub(super) fn later_parent(text: &Text, record: Checked) -> Problem {
    Problem {
        // Only the number in a message depends on reading once more.
        line: text.line_of(record.place.at()).unwrap_or(0),
        why: "its parent_chat_id is that of a later request; want a parent's timestamp before its children's".to_string(),
    }
}

impl Turn {
    /// Makes the turn of a session, which follows its previous one.
    pub fn of_session(name: &str) -> Turn {
        let own = hash('s', name);
        Turn { own, after: own }
    }
}

/// Returns a hash of a name that is not 0. Of a million names, two have one hash in one of 30 million traces.
fn hash(letter: char, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u32(letter.into());
    hasher.write(name.as_bytes());
    hasher.finish().max(1)
}

/// Returns the format of a file that begins with this record.
pub(super) fn format(first: Raw<'_>) -> Result<Format, Problem> {
    let [chat] = first.object(|json| json::values(json, ["chat_id"]))?;
    Ok(chat.map_or(MOONCAKE, |_| BAILIAN))
}

/// Parses a JSON record.
pub(super) fn parse(raw: Raw<'_>, block_tokens: u64) -> Result<Record, Problem> {
    let values = raw.object(|json| json::values(json, KEYS))?;
    record(values, block_tokens).map_err(|why| raw.problem(why))
}

fn record(values: [Option<&RawValue>; KEYS.len()], block_tokens: u64) -> Result<Record, String> {
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
    let input_tokens = number("input_length", input)?;
    if input_tokens == 0 {
        return Err("input_length: 0; want at least one token".to_string());
    }
    let hash_ids = hash_ids(input_tokens, ids, block_tokens)?;
    Ok(Record {
        timestamp: self::timestamp(wanted("timestamp", timestamp)?.get())?,
        request: Request {
            input_tokens,
            output_tokens: number("output_length", output)?,
            hash_ids,
        },
        turn: turn(session, chat, parent)?,
    })
}

fn hash_ids(
    input_tokens: u64,
    ids: Option<&RawValue>,
    block_tokens: u64,
) -> Result<Vec<u64>, String> {
    let ids = wanted("hash_ids", ids)?.get();
    if !ids.starts_with('[') {
        return Err(format!("hash_ids: {}, not an array", kind(ids)));
    }
    let ids = json::elements(ids)?;
    let blocks = input_tokens.div_ceil(block_tokens);
    if ids.len() as u64 != blocks {
        return Err(format!(
            "{} hash_ids for an input_length of {input_tokens}; want {blocks}, one for every {block_tokens} tokens",
            ids.len()
        ));
    }
    let numbers = ids.into_iter().map(|id| number("hash_ids", Some(id)));
    numbers.collect()
}

/// Returns the request's place: a session is known by its id, a chat by its own and its parent's, which for a root is
/// -1 or null.
fn turn(
    session: Option<&RawValue>,
    chat: Option<&RawValue>,
    parent: Option<&RawValue>,
) -> Result<Option<Turn>, String> {
    let named = |key: &str, value| session_id(value).map_err(|why| format!("{key}: {why}"));
    if let Some(session) = session {
        return Ok(Some(Turn::of_session(&named("session_id", session)?)));
    }
    let Some(chat) = chat else { return Ok(None) };
    let own = hash('c', &named("chat_id", chat)?);
    let parent = parent
        .map(|parent| named("parent_chat_id", parent))
        .transpose()?;
    let parent = parent.filter(|parent| *parent != "-1");
    let after = parent.map_or(0, |parent| hash('c', &parent));
    Ok(Some(Turn { own, after }))
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
    number.filter(|time| *time >= 0.0).ok_or_else(|| {
        let have = shortened(json);
        format!("timestamp: want a number from 0 on, have {have}")
    })
}
