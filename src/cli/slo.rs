//! `--slo-file`: limits in YAML, in either of two formats.
//!
//! The YAML reader's events are read into a small tree, which keeps the line of each key and has no aliases.

use std::io::Read;
use std::path::Path;

use yaml_rust2::parser::{Event, Parser};

use super::flags::nearest;
use crate::error::{Error, Result};
use crate::file;
use crate::stats::goodput::Slo;
use crate::units::parse_number;

#[cfg(test)]
mod fuzz;

/// Largest file that is accepted.
const MAX_BYTES: u64 = 64 * 1024;
/// Deepest nesting: `constraints`, a limit, `max`.
const MAX_DEPTH: usize = 3;
const FORMS: [&str; 2] = ["slo", "constraints"];
const LIMITS: [&str; 3] = ["ttft_ms", "itl_ms", "latency_ms"];
const MAXIMUM: &str = "max";
const EXAMPLE: &str = "Want limits such as: slo: {ttft_ms: 1000, itl_ms: 50, latency_ms: 10000}, or constraints: {ttft_ms: {max: 1000}}";

/// The reason of an error, and its line if known.
type Wrong = (Option<usize>, String);
type Parsed<T> = std::result::Result<T, Wrong>;

/// Reads the file's limits, of which at least one is set.
pub fn read(path: &str) -> Result<Slo> {
    let what = format!("--slo-file {path}");
    let unread = |error| Error::input(&what, format!("cannot read: {error}"));
    let mut bytes = Vec::new();
    let file = file::open(Path::new(path)).map_err(unread)?;
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unread)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::input(&what, "larger than 64 KB; want a short YAML file").next(EXAMPLE));
    }
    let text = String::from_utf8(bytes).map_err(|_| Error::input(&what, "not UTF-8 text"))?;
    parse(&text).map_err(|(line, why)| {
        let place = line.map_or_else(String::new, |line| format!(", line {line}"));
        Error::input(format!("{what}{place}"), why).next(EXAMPLE)
    })
}

fn parse(text: &str) -> Parsed<Slo> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The YAML reader would take a NUL for the end of the file and ignore the limits after it.
    if let Some(line) = text.split('\n').position(|line| line.contains('\0')) {
        return Err((Some(line + 1), "a NUL byte; want text".to_string()));
    }
    let document = document(text)?.ok_or_else(|| (None, "no limit in it".to_string()))?;
    if let Node::Scalar(text, line) = &document
        && !text.is_empty()
    {
        return Err((Some(*line), "a text; want keys with values".to_string()));
    }
    let mut slo = Slo::default();
    let mut form: Option<&str> = None;
    for entry in document.entries("the file", &FORMS)? {
        if let Some(form) = form.replace(&entry.key) {
            let both = format!("both {form} and {}; want one of them", entry.key);
            return Err((Some(entry.line), both));
        }
        for limit in entry.node.entries(&entry.key, &LIMITS)? {
            let value = match entry.key.as_str() {
                "constraints" => maximum(limit)?,
                _ => limit.number()?,
            };
            *match limit.key.as_str() {
                "ttft_ms" => &mut slo.ttft_ms,
                "itl_ms" => &mut slo.itl_ms,
                _ => &mut slo.latency_ms,
            } = Some(value);
        }
    }
    Ok(slo)
}

/// Returns the number of `{max: …}`.
fn maximum(limit: &Entry) -> Parsed<f64> {
    let bounds = limit.node.entries(&limit.key, &[MAXIMUM])?;
    let missing = || (Some(limit.line), format!("{}: no max", limit.key));
    bounds.first().ok_or_else(missing)?.number()
}

/// Returns the text on one line of bounded length.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(60).collect::<String>())
}

enum Node {
    /// A text and its line.
    Scalar(String, usize),
    /// A mapping; each key occurs once.
    Mapping(Vec<Entry>),
}

struct Entry {
    key: String,
    line: usize,
    node: Node,
}

impl Entry {
    fn number(&self) -> Parsed<f64> {
        let have = match &self.node {
            Node::Scalar(text, _) => match parse_number(text) {
                Ok(number) if number > 0.0 => return Ok(number),
                _ => shown(text),
            },
            Node::Mapping(_) => "a mapping".to_string(),
        };
        let why = format!("{}: want milliseconds above 0, have {have}", self.key);
        Err((Some(self.line), why))
    }
}

impl Node {
    /// Returns the entries of a non-empty mapping, all with one of these keys; `name` is the key that the mapping is
    /// under.
    fn entries(&self, name: &str, keys: &[&str]) -> Parsed<&[Entry]> {
        let why = match self {
            Node::Scalar(text, _) if !text.is_empty() => {
                format!("want keys with values, have {}", shown(text))
            }
            Node::Mapping(entries) if !entries.is_empty() => {
                let unknown = entries.iter().find(|e| !keys.contains(&e.key.as_str()));
                return unknown.map_or(Ok(entries), |entry| Err(unknown_key(entry, keys)));
            }
            Node::Scalar(..) | Node::Mapping(_) => "no limit in it".to_string(),
        };
        Err((None, format!("{name}: {why}")))
    }
}

fn unknown_key(entry: &Entry, known: &[&str]) -> Wrong {
    let hint = match nearest(&entry.key, known.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("want {}", known.join(", ")),
    };
    // What is below a key of an SLO file is no file of another kind.
    let inside = (known != FORMS).then(|| shown(&entry.key));
    let key = inside.or_else(|| named(&entry.key));
    let key = key.map_or(String::new(), |key| format!(" {key}"));
    (Some(entry.line), format!("unknown key{key}; {hint}"))
}

/// Returns a key to be shown in an error; `None` if it is unlike every word of an SLO file: the file may be another one,
/// with a secret in it.
fn named(key: &str) -> Option<String> {
    let known = FORMS.into_iter().chain(LIMITS).chain([MAXIMUM]);
    nearest(key, known).map(|_| shown(key))
}

/// The reader's events. They are read one by one, so that a tree multiplied by aliases is never built.
type Events<'a> = Parser<std::str::Chars<'a>>;

/// Returns the next event, and the line that it begins on.
fn next(events: &mut Events) -> Parsed<(Event, usize)> {
    let (event, place) = events.next_token().map_err(|error| {
        let why = format!("not YAML: {}", error.info());
        (Some(error.marker().line()), why)
    })?;
    Ok((event, place.line()))
}

/// Reads the file's only document to its end; `None`: the file has none.
fn document(text: &str) -> Parsed<Option<Node>> {
    let mut events = Parser::new(text.chars());
    let mut document = None;
    loop {
        match next(&mut events)? {
            (Event::StreamEnd, _) => return Ok(document),
            (Event::DocumentStart, line) if document.is_some() => {
                return Err((Some(line), "a second document; want one".to_string()));
            }
            (Event::DocumentStart, _) => document = Some(node(&mut events, 0)?),
            _ => {}
        }
    }
}

fn node(events: &mut Events, depth: usize) -> Parsed<Node> {
    let (event, line) = next(events)?;
    let why = match event {
        Event::Scalar(text, ..) => return Ok(Node::Scalar(text, line)),
        Event::MappingStart(..) if depth < MAX_DEPTH => return mapping(events, depth),
        Event::MappingStart(..) => "nested too deep",
        Event::SequenceStart(..) => "a list; want keys with values",
        Event::Alias(_) => "an alias; write the value itself",
        _ => "want keys with values",
    };
    Err((Some(line), why.to_string()))
}

fn mapping(events: &mut Events, depth: usize) -> Parsed<Node> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let (key, line) = match next(events)? {
            (Event::MappingEnd, _) => return Ok(Node::Mapping(entries)),
            (Event::Scalar(key, ..), line) => (key, line),
            (_, line) => return Err((Some(line), "a key that is not plain text".to_string())),
        };
        if entries.iter().any(|entry| entry.key == key) {
            let key = named(&key).unwrap_or("a key".to_string());
            return Err((Some(line), format!("{key} is given twice")));
        }
        let node = node(events, depth + 1)?;
        entries.push(Entry { key, line, node });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(ttft_ms: Option<f64>, itl_ms: Option<f64>, latency_ms: Option<f64>) -> Slo {
        Slo {
            ttft_ms,
            itl_ms,
            latency_ms,
        }
    }

    const GUIDE: &str =
        "slo:\n  ttft_ms: 1000        # TTFT must be < 1000ms\n  itl_ms: 50\n  latency_ms: 10000\n";

    #[test]
    fn both_forms_are_read() {
        for (text, wanted) in [
            (GUIDE, limits(Some(1000.0), Some(50.0), Some(10_000.0))),
            (
                "---\nslo: {itl_ms: 0.5}\n...\n",
                limits(None, Some(0.5), None),
            ),
            (
                "\u{feff}slo:\r\n  itl_ms: 0.5\r\n",
                limits(None, Some(0.5), None),
            ),
            (
                "constraints:\n  ttft_ms: {max: 1e3}\n  latency_ms:\n    max: 9\n",
                limits(Some(1000.0), None, Some(9.0)),
            ),
        ] {
            assert_eq!(parse(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn a_file_that_may_be_that_of_a_key_is_not_quoted() {
        for (text, line, why) in [
            ("sk-secret\n", 1, "a text; want keys with values"),
            ("\n\nsk-secret\n", 3, "a text; want keys with values"),
            ("\nsk-secret: 7\n", 2, "unknown key; want slo, constraints"),
            ("sk-secret: 7\nsk-secret: 8\n", 2, "a key is given twice"),
        ] {
            let wanted = Err((Some(line), why.to_string()));
            assert_eq!(parse(text), wanted, "{text}");
        }
    }

    #[test]
    fn an_error_in_the_file_is_named_with_its_line() {
        for (text, line, why) in [
            ("", None, "no limit in it"),
            ("# nothing\n", None, "no limit in it"),
            ("slo:\n", None, "slo: no limit in it"),
            ("slo: {}\n", None, "slo: no limit in it"),
            ("slo: 7\n", None, "slo: want keys with values, have \"7\""),
            (
                "ttft_ms: 7\n",
                Some(1),
                "unknown key \"ttft_ms\"; want slo, constraints",
            ),
            (
                "slo:\n  tftt_ms: 7\n",
                Some(2),
                "unknown key \"tftt_ms\"; did you mean ttft_ms?",
            ),
            (
                "slo:\n  itl_ms: 7\n  itl_ms: 8\n",
                Some(3),
                "\"itl_ms\" is given twice",
            ),
            (
                "slo:\n  itl_ms: -1\n",
                Some(2),
                "itl_ms: want milliseconds above 0, have \"-1\"",
            ),
            (
                "slo:\n  itl_ms: 0\n",
                Some(2),
                "itl_ms: want milliseconds above 0, have \"0\"",
            ),
            (
                "slo:\n  itl_ms: fast\n",
                Some(2),
                "itl_ms: want milliseconds above 0, have \"fast\"",
            ),
            (
                "slo:\n  itl_ms: .inf\n",
                Some(2),
                "itl_ms: want milliseconds above 0, have \".inf\"",
            ),
            (
                "slo:\n  itl_ms:\n",
                Some(2),
                "itl_ms: want milliseconds above 0, have \"\"",
            ),
            (
                "slo:\n  itl_ms: {max: 5}\n",
                Some(2),
                "itl_ms: want milliseconds above 0, have a mapping",
            ),
            (
                "slo:\n  itl_ms: [5]\n",
                Some(2),
                "a list; want keys with values",
            ),
            (
                "constraints:\n  itl_ms: {mx: 5}\n",
                Some(2),
                "unknown key \"mx\"; did you mean max?",
            ),
            (
                "slo: {itl_ms: 5}\nconstraints: {itl_ms: {max: 5}}\n",
                Some(2),
                "both slo and constraints; want one of them",
            ),
            (
                "slo: {itl_ms: 5}\n---\nslo: {itl_ms: 5}\n",
                Some(2),
                "a second document; want one",
            ),
            (
                "slo: &a\n  itl_ms: 5\nconstraints: *a\n",
                Some(3),
                "an alias; write the value itself",
            ),
            ("slo: {a: {b: {c: {d: 1}}}}\n", Some(1), "nested too deep"),
            (
                "slo:\n  ttft_ms: 5\n\0\n  itl_ms: 5\n",
                Some(3),
                "a NUL byte; want text",
            ),
        ] {
            assert_eq!(parse(text), Err((line, why.to_string())), "{text}");
        }
        let (line, why) = parse("slo:\n  itl_ms: [5\n").expect_err("an open list");
        assert!(line.is_some() && why.starts_with("a list"), "{why}");
        let (line, why) = parse("slo: \"open\n").expect_err("an open quote");
        assert!(line.is_some() && why.starts_with("not YAML: "), "{why}");
    }

    #[test]
    fn bombs_and_deep_nesting_are_refused_at_once() {
        let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n";
        assert!(parse(bomb).is_err());
        for piece in ["[", "{", "- ", "? ", "{a: ", "!t "] {
            let text = piece.repeat(MAX_BYTES as usize / piece.len());
            assert!(parse(&text).is_err(), "{piece}");
        }
    }

    #[test]
    fn no_mutation_of_a_file_panics() {
        let mut rng = fastrand::Rng::with_seed(4);
        let pieces = [
            "*a",
            "&a ",
            "- ",
            "? ",
            ": ",
            "[",
            "]",
            "{",
            "}",
            "\"",
            "'",
            "|",
            ">",
            "%",
            "!",
            "!!t ",
            "#",
            "---",
            "...",
            "\n",
            "\t",
            " ",
            "\0",
            "\u{feff}",
            "é",
            "\\x",
            "1e999",
            "%YAML 9.9\n",
            "%TAG ! x\n",
            "|9\n",
            "\r",
        ];
        for _ in 0..20_000 {
            let mut text: Vec<char> = GUIDE.chars().collect();
            for _ in 0..rng.usize(1..6) {
                let at = rng.usize(..=text.len());
                let end = (at + rng.usize(..4)).min(text.len());
                let piece = pieces[rng.usize(..pieces.len())];
                text.splice(at..end, piece.chars());
            }
            let _ = parse(&String::from_iter(text));
        }
    }

    #[test]
    fn a_file_that_cannot_be_an_slo_is_an_error_with_its_name() {
        let missing = read("/nowhere/slo.yaml")
            .expect_err("no such file")
            .to_string();
        assert!(
            missing.starts_with("[ERROR] --slo-file /nowhere/slo.yaml: cannot read: "),
            "{missing}"
        );
        let endless = read("/dev/zero").expect_err("endless").to_string();
        assert!(
            endless.starts_with("[ERROR] --slo-file /dev/zero: larger than 64 KB"),
            "{endless}"
        );
        let random = std::env::temp_dir().join(format!("slo-{}.yaml", std::process::id()));
        let path = random.to_str().expect("UTF-8");
        std::fs::write(path, "slo:\n  itl: 5\n").expect("written");
        let wrong = read(path).expect_err("an unknown key").to_string();
        std::fs::write(path, b"slo: \xff").expect("written");
        let bytes = read(path).expect_err("not UTF-8").to_string();
        std::fs::remove_file(path).expect("removed");
        let wanted = format!("[ERROR] --slo-file {path}, line 2: unknown key \"itl\"");
        assert!(wrong.starts_with(&wanted), "{wrong}");
        assert_eq!(bytes, format!("[ERROR] --slo-file {path}: not UTF-8 text"));
    }
}
