//! The keys of one line of a samples file, parsed without a map: a large file has a million lines with forty keys each.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::sample;

/// Whole numbers are below this limit so that they can be summed: as nanoseconds it is two years.
pub const COUNT_LIMIT: u64 = 1 << 56;
/// Most tokens of one request, as for those that a server reports.
pub const TOKENS_LIMIT: u64 = 1 << 32;

/// A part of a line, or why it is not one.
pub type Parsed<T> = Result<T, String>;

/// Every key that is written, in the order in which lines have them, so that the next key is found at once.
const NAMES: [&str; 57] = [
    "series",
    "id",
    "session",
    "turn",
    "round",
    "context",
    "question",
    "rotation",
    "workload",
    "phase",
    "ok",
    "error_kind",
    "status",
    "error",
    "t_due_ns",
    "t_send_ns",
    "t_headers_ns",
    "t_event_ns",
    "t_first_ns",
    "t_answer_ns",
    "t_last_ns",
    "t_end_ns",
    "connect_ns",
    "reused",
    "resent",
    "t_first_send_ns",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "token_source",
    "streamed_tokens",
    "token_events",
    "token_reads",
    "unread_events",
    "unread_event",
    "gaps_us",
    "finish_reason",
    "prompt_bytes",
    "text_bytes",
    "concurrency",
    "rate_per_s",
    "side",
    "repeat",
    "response_cached",
    "wanted_prompt_tokens",
    "wanted_output_tokens",
    // Keys of the series `client` alone.
    "t_start_ns",
    "t_first_probe_ns",
    "lags_us",
    "cpu_ms",
    "cores_allowed",
    "periods",
    "throttled_periods",
    "steal_share",
    "open_files",
    "open_files_limit",
];

/// A value of a line.
#[derive(Debug, Default)]
enum Slot<'a> {
    /// The key is absent or null.
    #[default]
    Absent,
    Count(u64),
    Number(f64),
    Claim(bool),
    Text(Cow<'a, str>),
    /// A list of counts, where the key has one: a count above `u32::MAX` is `u32::MAX`, and other items are left out.
    Counts(Vec<u32>),
    Other(Box<Value>),
}

/// The keys of a line; those that are absent or null are `None`. A key that stands twice has its last value.
pub struct Keys<'a> {
    slots: [Slot<'a>; NAMES.len()],
    /// The index behind the key that was found last.
    next: Cell<usize>,
}

/// Returns the index of a name, searched from `next` on, in a circle; `None` for a key that is not read.
fn find(key: &str, next: usize) -> Option<usize> {
    let (before, after) = NAMES.split_at(next);
    let at = |names: &[&str]| names.iter().position(|name| *name == key);
    at(after).map(|at| next + at).or_else(|| at(before))
}

impl<'a> Deserialize<'a> for Keys<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Keys<'a>, D::Error> {
        deserializer.deserialize_map(LineVisitor)
    }
}

struct LineVisitor;

impl<'a> Visitor<'a> for LineVisitor {
    type Value = Keys<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Keys<'a>, A::Error> {
        let mut slots = [const { Slot::Absent }; NAMES.len()];
        let mut next = 0;
        while let Some(at) = map.next_key_seed(Name { next })? {
            let Some(at) = at else {
                map.next_value::<Value>()?;
                continue;
            };
            let is_list = matches!(NAMES[at], "gaps_us" | "lags_us");
            slots[at] = map.next_value_seed(SlotOf { is_list })?;
            next = at + 1;
        }
        let next = Cell::new(0);
        Ok(Keys { slots, next })
    }
}

/// Finds the index of a key.
struct Name {
    next: usize,
}

impl<'a> DeserializeSeed<'a> for Name {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(find(key, self.next))
    }
}

/// Parses the value of a key, which may be a list of counts.
struct SlotOf {
    is_list: bool,
}

impl<'a> DeserializeSeed<'a> for SlotOf {
    type Value = Slot<'a>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Slot<'a>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for SlotOf {
    type Value = Slot<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Slot<'a>, E> {
        Ok(Slot::Absent)
    }

    fn visit_bool<E>(self, claim: bool) -> Result<Slot<'a>, E> {
        Ok(Slot::Claim(claim))
    }

    fn visit_u64<E>(self, count: u64) -> Result<Slot<'a>, E> {
        Ok(Slot::Count(count))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Slot<'a>, E> {
        Ok(Slot::Other(Box::new(number.into())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Slot<'a>, E> {
        Ok(Slot::Number(number))
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Slot<'a>, E> {
        Ok(Slot::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Slot<'a>, E> {
        Ok(Slot::Text(Cow::Owned(text.to_string())))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<Slot<'a>, A::Error> {
        if !self.is_list {
            let list = Value::deserialize(SeqAccessDeserializer::new(list))?;
            return Ok(Slot::Other(Box::new(list)));
        }
        let mut counts = Vec::new();
        while let Some(item) = list.next_element_seed(SlotOf { is_list: false })? {
            if let Slot::Count(count) = item {
                counts.push(u32::try_from(count).unwrap_or(u32::MAX));
            }
        }
        Ok(Slot::Counts(counts))
    }

    fn visit_map<A: MapAccess<'a>>(self, map: A) -> Result<Slot<'a>, A::Error> {
        let map = Value::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Slot::Other(Box::new(map)))
    }
}

/// Shows a value as JSON.
impl fmt::Display for Slot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = match self {
            Slot::Absent => Value::Null,
            Slot::Count(count) => Value::from(*count),
            Slot::Number(number) => Value::from(*number),
            Slot::Claim(claim) => Value::from(*claim),
            Slot::Text(text) => Value::from(&**text),
            Slot::Counts(counts) => Value::from(&counts[..]),
            Slot::Other(value) => return value.fmt(f),
        };
        value.fmt(f)
    }
}

impl Keys<'_> {
    fn at(&self, key: &str) -> usize {
        let at = find(key, self.next.get()).expect("every key that is read is a name");
        self.next.set(at + 1);
        at
    }

    /// Returns `None` for a key that is absent or null.
    fn value(&self, key: &str) -> Option<&Slot<'_>> {
        let slot = &self.slots[self.at(key)];
        (!matches!(slot, Slot::Absent)).then_some(slot)
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Slot::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn claim(&self, key: &str) -> Option<bool> {
        match self.value(key)? {
            Slot::Claim(claim) => Some(*claim),
            _ => None,
        }
    }

    pub fn is_true(&self, key: &str) -> bool {
        self.claim(key) == Some(true)
    }

    pub fn number(&self, key: &str) -> Option<f64> {
        match self.value(key)? {
            Slot::Number(number) => Some(*number),
            Slot::Count(count) => Some(*count as f64),
            Slot::Other(value) => value.as_f64(),
            _ => None,
        }
    }

    // There are thirty callers, which would each get a copy.
    #[inline(never)]
    pub fn count(&self, key: &str) -> Parsed<Option<u64>> {
        self.below(key, COUNT_LIMIT)
    }

    fn below(&self, key: &str, limit: u64) -> Parsed<Option<u64>> {
        match self.value(key) {
            None => Ok(None),
            Some(Slot::Count(count)) if *count < limit => Ok(Some(*count)),
            Some(value) => Err(format!(
                "{key}: want a whole number below {limit}, have {value}"
            )),
        }
    }

    #[inline(never)]
    pub fn tokens(&self, key: &str) -> Parsed<Option<u64>> {
        self.below(key, TOKENS_LIMIT)
    }

    #[inline(never)]
    pub fn must(&self, key: &str) -> Parsed<u64> {
        self.count(key)?.ok_or_else(|| format!("{key} is missing"))
    }

    /// Takes a list, which is empty afterwards.
    pub fn take_counts(&mut self, key: &str) -> Vec<u32> {
        let at = self.at(key);
        match std::mem::take(&mut self.slots[at]) {
            Slot::Counts(counts) => counts,
            _ => Vec::new(),
        }
    }

    /// Returns the value whose name the key has.
    pub fn named<T: Copy>(&self, key: &str, names: &[(T, &'static str)]) -> Parsed<Option<T>> {
        let Some(text) = self.text(key) else {
            return Ok(None);
        };
        let found = sample::find(names, text).map(Some);
        found.ok_or_else(|| format!("{key}: {text} is not known"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(line: &str) -> Keys<'_> {
        serde_json::from_str(line).expect(line)
    }

    #[test]
    fn keys_are_found_in_any_order_and_the_last_of_two_counts() {
        let mut keys = keys(
            r#"{"new":{"id":9},"gaps_us":[1,-2,"3",4294967296],"status":200,"id":1,"error":"a\nb","id":2}"#,
        );
        assert_eq!(keys.count("id"), Ok(Some(2)));
        assert_eq!(keys.text("error"), Some("a\nb"));
        assert_eq!(keys.count("status"), Ok(Some(200)));
        // Items that are no counts are left out, and a count above 32 bits becomes the largest of them.
        assert_eq!(keys.take_counts("gaps_us"), [1, u32::MAX]);
        assert_eq!(keys.text("series"), None);
    }

    #[test]
    fn a_value_of_another_type_is_absent_or_shown_as_in_the_line() {
        for (value, shown) in [
            ("\"x\"", "\"x\""),
            ("1.5", "1.5"),
            ("-1", "-1"),
            ("true", "true"),
            ("[1,{\"a\":null}]", "[1,{\"a\":null}]"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            let line = format!("{{\"status\":{value}}}");
            let error = keys(&line).count("status").expect_err(value);
            let wanted = "status: want a whole number below 72057594037927936, have";
            assert_eq!(error, format!("{wanted} {shown}"));
        }
        let keys = keys(r#"{"error":5,"reused":"yes","rate_per_s":-2,"side":null}"#);
        assert_eq!((keys.text("error"), keys.claim("reused")), (None, None));
        assert_eq!(
            (keys.number("rate_per_s"), keys.text("side")),
            (Some(-2.0), None)
        );
    }

    #[test]
    fn no_name_stands_twice() {
        for (at, name) in NAMES.iter().enumerate() {
            assert_eq!(find(name, 0), Some(at), "{name}");
            assert_eq!(find(name, NAMES.len()), Some(at), "{name}");
        }
    }
}
