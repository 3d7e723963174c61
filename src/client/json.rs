//! JSON from servers: values are looked up by name and borrowed, duplicate keys are allowed, and values of other types
//! are ignored.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// A JSON value as a slice of the text.
pub type Raw<'a> = &'a RawValue;

/// Returns the values of an object's keys, in the order of `names`; of duplicate keys the last. Anything but an object
/// has none.
pub fn pick<'a, const N: usize>(
    object: Option<Raw<'a>>,
    names: &[&str; N],
) -> [Option<Raw<'a>>; N] {
    // The text of a RawValue is valid JSON, so only another type is an error.
    let object = object.and_then(|object| read(object.get(), names).ok());
    object.unwrap_or([None; N])
}

/// Returns the values of the keys of a text that may not be JSON; null and lists have no keys.
///
/// # Errors
/// Fails when the text is not JSON, or is a bare string, number or boolean.
pub fn read<'a, const N: usize>(
    json: &'a str,
    names: &[&str; N],
) -> serde_json::Result<[Option<Raw<'a>>; N]> {
    let mut json = serde_json::Deserializer::from_str(json);
    let found = (&mut json).deserialize_any(Pick { names })?;
    json.end()?;
    Ok(found)
}

struct Pick<'n, const N: usize> {
    names: &'n [&'n str; N],
}

impl<'de, const N: usize> Visitor<'de> for Pick<'_, N> {
    type Value = [Option<Raw<'de>>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok([None; N])
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(place) = map.next_key_seed(Place(self.names))? {
            match place {
                Some(at) => found[at] = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// The position of a key among the names.
struct Place<'n>(&'n [&'n str]);

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<Self::Value, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| *name == key))
    }
}

/// Calls `each` for every element of a list; for the value itself if it is an object.
pub fn each<'a>(list: Option<Raw<'a>>, each: impl FnMut(Raw<'a>)) {
    struct Each<F>(F);
    impl<'de, F: FnMut(Raw<'de>)> Visitor<'de> for Each<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
            while let Some(element) = list.next_element()? {
                (self.0)(element);
            }
            Ok(())
        }
    }
    let Some(list) = list else {
        return;
    };
    let mut each = Each(each);
    if list.get().starts_with('{') {
        (each.0)(list);
    } else {
        // A value of another type is not a list, and has no elements.
        let _ = serde_json::Deserializer::from_str(list.get()).deserialize_any(each);
    }
}

/// Returns the names of an object's keys for display; `None` if it is not an object or is empty.
pub fn keys(json: &[u8]) -> Option<String> {
    let object: serde_json::Map<String, Value> = serde_json::from_slice(json).ok()?;
    let keys: Vec<&str> = object.keys().map(String::as_str).collect();
    (!keys.is_empty()).then(|| keys.join(", "))
}

/// Returns a JSON string without its quotes; `None` for anything else.
pub fn inside(raw: Option<Raw<'_>>) -> Option<&str> {
    raw?.get().strip_prefix('"')?.strip_suffix('"')
}

/// Returns a string's value; `None` for anything else.
pub fn string(raw: Option<Raw<'_>>) -> Option<String> {
    serde_json::from_str(raw?.get()).ok()
}

/// Returns a count: a whole number, also written as 20.0 or "20". Counts above four billion are not believed.
pub fn count(raw: Option<Raw<'_>>) -> Option<u64> {
    let text = raw?.get();
    let text = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    let count = text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        let is_count = number.fract() == 0.0 && (0.0..1e10).contains(&number);
        is_count.then_some(number as u64)
    });
    count.filter(|&count| count <= u64::from(u32::MAX))
}

/// Returns whether a value is empty: null, false, 0, an empty text, or a list or object of only such values.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is_true) => !is_true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.trim().is_empty(),
        Value::Array(list) => list.iter().all(is_empty),
        Value::Object(object) => object.values().all(is_empty),
    }
}

/// Returns the text with null instead of NaN and infinities, which Python writes and JSON does not have; `None` if
/// there are none.
pub fn without_nan(json: &str) -> Option<String> {
    const WORDS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];
    let mut out = String::new();
    let (mut rest, mut is_inside) = (json, false);
    while let Some(first) = rest.chars().next() {
        let word = WORDS
            .iter()
            .find(|word| !is_inside && rest.starts_with(**word));
        let taken = match word {
            Some(word) => word.len(),
            None if first == '\\' && is_inside => {
                1 + rest[1..].chars().next().map_or(0, char::len_utf8)
            }
            None => first.len_utf8(),
        };
        is_inside ^= first == '"';
        out += if word.is_some() {
            "null"
        } else {
            &rest[..taken]
        };
        rest = &rest[taken..];
    }
    (out != json).then_some(out)
}

/// Returns the UTF-8 bytes of a JSON string; 0 for anything else.
pub fn text_bytes(raw: Option<Raw<'_>>) -> usize {
    let mut rest = inside(raw).unwrap_or_default().as_bytes();
    let mut bytes = 0;
    while let Some(at) = rest.iter().position(|&b| b == b'\\') {
        let (escaped, after) = match rest.get(at + 1) {
            Some(b'u') => (utf8_bytes(rest.get(at + 2..at + 6)), at + 6),
            _ => (1, at + 2),
        };
        bytes += at + escaped;
        rest = rest.get(after..).unwrap_or_default();
    }
    bytes + rest.len()
}

/// Returns the bytes that the four hex digits of `\u` stand for; each half of a surrogate pair counts 2 of 4.
fn utf8_bytes(digits: Option<&[u8]>) -> usize {
    let code = digits
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| u32::from_str_radix(digits, 16).ok());
    match code {
        Some(0..=0x7f) => 1,
        Some(0x80..=0x7ff | 0xd800..=0xdfff) => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn raw(json: &str) -> Raw<'_> {
        serde_json::from_str(json).expect(json)
    }

    fn picked(json: &str) -> [Option<&str>; 2] {
        pick(Some(raw(json)), &["a", "b"]).map(|value| value.map(RawValue::get))
    }

    #[test]
    fn keys_are_found_in_any_order_and_the_last_of_two_counts() {
        assert_eq!(
            picked(r#"{"b":[1],"x":{"a":7},"a":"t"}"#),
            [Some("\"t\""), Some("[1]")]
        );
        assert_eq!(picked(r#"{"a":1,"a":null}"#), [Some("null"), None]);
        assert_eq!(picked(r#"{"\u0061":1}"#), [Some("1"), None]);
        for other in ["7", "[1,2]", "\"a\"", "null", "{}"] {
            assert_eq!(picked(other), [None, None], "{other}");
        }
        for bad in ["", "{", "{}}", "7", "[1]", "{\"a\":NaN}"] {
            assert!(read(bad, &["a"]).is_err(), "{bad}");
        }
    }

    #[test]
    fn elements_are_those_of_a_list_and_an_object_is_its_own() {
        for (json, wanted) in [
            ("[1,[2],\"c\"]", vec!["1", "[2]", "\"c\""]),
            (r#"{"a":1}"#, vec![r#"{"a":1}"#]),
            ("null", vec![]),
            ("7", vec![]),
        ] {
            let mut seen = Vec::new();
            each(Some(raw(json)), |element| {
                seen.push(element.get().to_string());
            });
            assert_eq!(seen, wanted, "{json}");
        }
    }

    #[test]
    fn counts_are_read_as_servers_write_them() {
        for (json, wanted) in [
            ("20", Some(20)),
            ("20.0", Some(20)),
            ("2e1", Some(20)),
            ("\"20\"", Some(20)),
            ("0", Some(0)),
            ("20.5", None),
            ("-1", None),
            ("-1.0", None),
            ("4294967296", None),
            ("18446744073709551615", None),
            ("\"\"", None),
            ("null", None),
            ("true", None),
            ("[20]", None),
        ] {
            assert_eq!(count(Some(raw(json))), wanted, "{json}");
        }
    }

    #[test]
    fn nested_empty_values_are_empty() {
        for empty in [
            json!(null),
            json!(false),
            json!(0),
            json!(0.0),
            json!(""),
            json!([]),
            json!({}),
        ] {
            assert!(is_empty(&empty), "{empty}");
            assert!(
                is_empty(&json!({"message": empty, "code": [empty]})),
                "{empty}"
            );
        }
        for full in [
            json!(true),
            json!(5),
            json!("x"),
            json!([0, 1]),
            json!({"a": {"b": "c"}}),
        ] {
            assert!(!is_empty(&full), "{full}");
        }
    }

    #[test]
    fn nan_and_infinity_become_null_outside_strings() {
        for (json, wanted) in [
            (
                r#"{"a":NaN,"b":[-Infinity,Infinity]}"#,
                Some(r#"{"a":null,"b":[null,null]}"#),
            ),
            (
                r#"{"a":"NaN \" NaN","b":NaN}"#,
                Some(r#"{"a":"NaN \" NaN","b":null}"#),
            ),
            (r#"{"a":"é\\","b":NaN}"#, Some(r#"{"a":"é\\","b":null}"#)),
            (r#"{"a":"Infinity"}"#, None),
            ("\"\\", None),
        ] {
            assert_eq!(without_nan(json).as_deref(), wanted, "{json}");
        }
    }

    #[test]
    fn text_is_measured_as_utf8_without_decoding_it() {
        for text in [
            "", "a", "é", "😀", "\n\t\"\\", "a\u{1}b", "x\\u00e9", "日本",
        ] {
            for json in [json!(text).to_string(), ascii_only(text)] {
                assert_eq!(text_bytes(Some(raw(&json))), text.len(), "{json}");
            }
        }
        for other in ["null", "7", "[\"a\"]"] {
            assert_eq!(text_bytes(Some(raw(other))), 0, "{other}");
        }
        assert_eq!(text_bytes(None), 0);
    }

    fn ascii_only(text: &str) -> String {
        let units: String = text
            .encode_utf16()
            .map(|unit| format!("\\u{unit:04x}"))
            .collect();
        format!("\"{units}\"")
    }
}
