//! Parses server-sent events by the WHATWG standard, with tolerance for servers that deviate; no I/O and no clock.
//!
//! Bytes go in as they were read, events come out once their blank line is there. An event that lies within one read is
//! passed on in place; one that is split, or has several data lines, is assembled in buffers that are reused. So
//! nothing is allocated once these are large enough.

use serde::de::IgnoredAny;

use super::api::is_done;

#[cfg(test)]
mod fuzz;

/// One element of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The data of one event, its lines joined by LF; or a line that is JSON without `data:`.
    Data(&'a [u8]),
    /// The data of an event named `error`, or the value of a field of that name.
    Error(&'a [u8]),
    /// A line that starts with a colon: it keeps the connection alive, and is never a token.
    Comment,
}

/// Capacity that the buffers keep from one stream to the next.
const KEPT_BYTES: usize = 64 << 10;

/// A byte order mark, allowed before the first line.
pub const BOM: &[u8] = b"\xef\xbb\xbf";

#[derive(Debug, Default)]
pub struct Parser {
    /// The line that the last read left incomplete.
    line: Vec<u8>,
    /// Data lines of the current event, each ended by LF.
    data: Vec<u8>,
    /// Whether the current event is named `error`.
    is_error: bool,
    /// Whether the last byte was a CR that ended a line: an LF right after it belongs to it.
    after_cr: bool,
    /// Whether the first line is over, after which a byte order mark is ordinary text.
    started: bool,
}

impl Parser {
    /// Forgets a stream that ended.
    pub fn reset(&mut self) {
        self.line.clear();
        self.data.clear();
        self.is_error = false;
        // The memory of a huge event is released.
        self.line.shrink_to(KEPT_BYTES);
        self.data.shrink_to(KEPT_BYTES);
        self.after_cr = false;
        self.started = false;
    }

    /// Returns the bytes held of an event that has not ended.
    pub fn held_bytes(&self) -> usize {
        self.line.len() + self.data.len()
    }

    /// Ends the stream and its last event, even if its blank line or its last line end never came. The standard drops
    /// such an event, but servers leave these out, and an event cut in the middle is not valid JSON.
    pub fn end(&mut self, mut on_event: impl FnMut(Event<'_>)) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.end_line(&line, b"", &mut on_event);
        }
        self.end_event(&mut on_event);
        self.line = line;
        self.reset();
    }

    /// Parses the bytes of one read and calls `on_event` for every event that they complete.
    pub fn feed(&mut self, mut bytes: &[u8], mut on_event: impl FnMut(Event<'_>)) {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else {
                self.line.extend_from_slice(bytes);
                return;
            };
            let (head, rest) = (&bytes[..end], &bytes[end + 1..]);
            self.after_cr = bytes[end] == b'\r';
            bytes = rest;
            if self.line.is_empty() {
                // If the event also ends within this read, its data is used in place.
                if self.data.is_empty() && self.whole_event(head, &mut bytes, &mut on_event) {
                    continue;
                }
                self.end_line(head, bytes, &mut on_event);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(head);
                self.end_line(&line, bytes, &mut on_event);
                line.clear();
                self.line = line;
            }
        }
    }

    /// Handles `data: …` followed immediately by its blank line, without copying; the common case.
    fn whole_event(
        &mut self,
        line: &[u8],
        rest: &mut &[u8],
        on_event: &mut impl FnMut(Event<'_>),
    ) -> bool {
        if self.after_cr || self.is_error || rest.first() != Some(&b'\n') {
            return false;
        }
        let line = self.without_bom(line);
        let Some(value) = field(line, b"data").filter(|value| !value.is_empty()) else {
            return false;
        };
        self.started = true;
        *rest = &rest[1..];
        on_event(Event::Data(value));
        true
    }

    /// Handles a complete line; `rest` is what was read after it.
    fn end_line(&mut self, line: &[u8], rest: &[u8], on_event: &mut impl FnMut(Event<'_>)) {
        let line = self.without_bom(line);
        self.started = true;
        if line.is_empty() {
            self.end_event(on_event);
        } else if line[0] == b':' {
            on_event(Event::Comment);
        } else if let Some(value) = field(line, b"data") {
            // Some servers do not send a blank line after an event.
            let may_be_whole = self.data.is_empty() && !self.is_blank_next(rest);
            let is_whole = may_be_whole && is_whole(value);
            self.data.extend_from_slice(value);
            self.data.push(b'\n');
            if is_whole {
                self.end_event(on_event);
            }
        } else if let Some(name) = field(line, b"event") {
            self.is_error = name.trim_ascii() == b"error";
        } else if let Some(value) = field(line, b"error") {
            on_event(Event::Error(value));
        } else if line[0] == b'{' || is_done(line) {
            on_event(Event::Data(line));
        }
        // The fields id and retry and unknown ones do not concern tokens.
    }

    /// Returns whether the next line has been read and is blank.
    fn is_blank_next(&self, rest: &[u8]) -> bool {
        let rest = match rest {
            [b'\n', rest @ ..] if self.after_cr => rest,
            _ => rest,
        };
        matches!(rest.first(), Some(b'\n' | b'\r'))
    }

    fn end_event(&mut self, on_event: &mut impl FnMut(Event<'_>)) {
        if let Some((_lf, data)) = self.data.split_last() {
            on_event(match self.is_error {
                true => Event::Error(data),
                false => Event::Data(data),
            });
            self.is_error = false;
        }
        self.data.clear();
    }

    fn without_bom<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        if self.started {
            line
        } else {
            line.strip_prefix(BOM).unwrap_or(line)
        }
    }
}

/// Returns the value of the field of this name: one space after the colon is not part of it; a name alone has an empty
/// value.
fn field<'a, const N: usize>(line: &'a [u8], name: &[u8; N]) -> Option<&'a [u8]> {
    match line.strip_prefix(name)? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

/// Returns whether a data line must be its event's only one: a whole JSON object, or `[DONE]`.
fn is_whole(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let is_object = value.starts_with(b"{") && value.ends_with(b"}");
    is_done(value) || is_object && serde_json::from_slice::<IgnoredAny>(value).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns data as text and comments as `:`, parsed from these pieces.
    fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut parser = Parser::default();
        let mut seen = Vec::new();
        for piece in pieces {
            parser.feed(piece, |event| {
                seen.push(match event {
                    Event::Data(data) => String::from_utf8_lossy(data).into_owned(),
                    Event::Error(data) => format!("!{}", String::from_utf8_lossy(data)),
                    Event::Comment => ":".to_string(),
                });
            });
        }
        seen
    }

    const CASES: &[(&str, &[&str])] = &[
        ("data: a\n\ndata: b\n\n", &["a", "b"]),
        ("data:a\n\n", &["a"]),
        ("data:  a\n\n", &[" a"]),
        ("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]),
        ("data: a\r\rdata: b\r\r", &["a", "b"]),
        ("data: a\r\n\ndata: b\n\r\n", &["a", "b"]),
        ("data: a\ndata: b\n\n", &["a\nb"]),
        ("data: a\r\ndata:\r\ndata: c\r\n\r\n", &["a\n\nc"]),
        ("data\n\n", &[""]),
        ("data:\n\n", &[""]),
        (":\n\n: keepalive 1/2\n\ndata: a\n\n", &[":", ":", "a"]),
        ("event: x\nid: 7\nretry: 10\ndata: a\n\n", &["a"]),
        ("data: a\nid: 7\n\n", &["a"]),
        ("event: x\n\n", &[]),
        ("\u{feff}data: a\n\n\u{feff}data: b\n\n", &["a"]),
        ("\u{feff}: c\n\n", &[":"]),
        ("datas: a\n\nDATA: b\n\n", &[]),
        ("data: héé 😀\n\n", &["héé 😀"]),
        ("\n\n\ndata: a\n\n\n\n", &["a"]),
        ("data: a\n\ndata: never finished\n", &["a"]),
        ("data: a\n\ndata: never finished", &["a"]),
    ];

    #[test]
    fn events_come_out_the_same_however_the_bytes_are_cut() {
        for (text, wanted) in CASES {
            let bytes = text.as_bytes();
            assert_eq!(parse([bytes]), *wanted, "whole: {text:?}");
            assert_eq!(parse(bytes.chunks(1)), *wanted, "byte by byte: {text:?}");
            for cut in 0..=bytes.len() {
                let (a, b) = bytes.split_at(cut);
                assert_eq!(parse([a, b]), *wanted, "cut at {cut}: {text:?}");
            }
        }
    }

    /// The streams of web-platform-tests, eventsource/format-*, and their events, worked out by the standard.
    const FORMATS: &[(&str, &str, &[&str])] = &[
        (
            "bom",
            "\u{feff}data:1\n\n\u{feff}data:2\n\ndata:3\n\n",
            &["1", "3"],
        ),
        (
            "bom-2",
            "\u{feff}\u{feff}data:1\n\ndata:2\n\ndata:3\n\n",
            &["2", "3"],
        ),
        (
            "comments",
            "data:1\r:\0\n:\r\ndata:2\n:xxx\rdata:3\n:data:fail\r:xxx\ndata:4\n\n",
            &[":", ":", ":", ":", ":", "1\n2\n3\n4"],
        ),
        (
            "data-before-final-empty-line",
            "retry:1000\ndata:test1\n\nid:test\ndata:test2",
            &["test1"],
        ),
        (
            "field-data",
            "data:\n\ndata\ndata\n\ndata:test\n\n",
            &["", "\n", "test"],
        ),
        (
            "field-event",
            "event:test\ndata:x\n\ndata:x\n\n",
            &["x", "x"],
        ),
        ("field-event-empty", "event: \ndata:data\n\n", &["data"]),
        (
            "field-id",
            "id: 1\ndata: hello\n\nid\ndata:bye\n\n",
            &["hello", "bye"],
        ),
        ("field-id-null", "id: 1\0 2\ndata:hello\n\n", &["hello"]),
        (
            "field-parsing",
            "data:\0\n data:2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\n\
             data:4\n\n",
            &["\0\n1\n3\n\n4"],
        ),
        ("field-retry", "retry:3000\ndata:x\n\n", &["x"]),
        (
            "field-retry-bogus",
            "retry:3000\nretry:1000x\ndata:x\n\n",
            &["x"],
        ),
        ("field-retry-empty", "retry\ndata:test\n\n", &["test"]),
        (
            "field-unknown",
            "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n",
            &[":", "test\n\ntest"],
        ),
        (
            "leading-space",
            "data:\ttest\rdata: \ndata:test\n\n",
            &["\ttest\n\ntest"],
        ),
        (
            "newlines",
            "data:test\r\ndata\ndata:test\r\n\r",
            &["test\n\ntest"],
        ),
        ("null-character", "data:\0\n\n\n\n", &["\0"]),
        ("utf-8", "data:ok…\n\n", &["ok…"]),
    ];

    #[test]
    fn the_formats_of_web_platform_tests_are_read_as_they_demand() {
        for (name, stream, wanted) in FORMATS {
            assert_eq!(parse([stream.as_bytes()]), *wanted, "{name}");
            assert_eq!(parse(stream.as_bytes().chunks(1)), *wanted, "{name}");
        }
        let comment = format!(":{}\rdata:1\n\n", "x".repeat(4096));
        assert_eq!(parse([comment.as_bytes()]), [":", "1"]);
    }

    #[test]
    fn random_cuts_of_all_cases_in_a_row_agree_with_the_whole() {
        let text: String = CASES[..19].iter().map(|(text, _)| *text).collect();
        let whole = parse([text.as_bytes()]);
        for seed in 0..300 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut rest = text.as_bytes();
            let mut pieces = Vec::new();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rng.usize(1..=rest.len().min(12)));
                pieces.push(piece);
                rest = after;
            }
            assert_eq!(parse(pieces), whole, "seed {seed}");
        }
    }

    /// Streams that deviate from the standard in ways that servers do.
    const NEARLY: &[(&str, &[&str])] = &[
        (
            "data: {\"a\":1}\ndata: {\"b\":2}\ndata: [DONE]\n",
            &["{\"a\":1}", "{\"b\":2}", "[DONE]"],
        ),
        ("data: {\"a\":\ndata: 1}\n\n", &["{\"a\":\n1}"]),
        ("data: {\ndata: \"a\":{}\ndata: }\n\n", &["{\n\"a\":{}\n}"]),
        ("data: {\"a\":{}\ndata: }\n\n", &["{\"a\":{}\n}"]),
        (
            "error: {\"message\":\"x\"}\n\ndata: a\n\n",
            &["!{\"message\":\"x\"}", "a"],
        ),
        ("event: error\ndata: x\n\ndata: a\n\n", &["!x", "a"]),
        ("event: error\nevent: ping\ndata: x\n\n", &["x"]),
        (
            "{\"a\":1}\ndata: b\n\n[DONE]\n",
            &["{\"a\":1}", "b", "[DONE]"],
        ),
        ("errors: x\nevents: error\ndata: a\n\n", &["a"]),
    ];

    #[test]
    fn streams_that_are_nearly_right_are_read_too() {
        for (text, wanted) in NEARLY {
            assert_eq!(parse([text.as_bytes()]), *wanted, "{text}");
            assert_eq!(parse(text.as_bytes().chunks(1)), *wanted, "{text}");
        }
    }

    #[test]
    fn the_end_of_a_stream_ends_its_last_event() {
        for text in ["data: {\"a\":\ndata: 1}\n", "data: {\"a\":\ndata: 1}"] {
            let mut parser = Parser::default();
            parser.feed(text.as_bytes(), |_| panic!("no event is complete"));
            let mut seen = Vec::new();
            parser.end(|event| {
                if let Event::Data(data) = event {
                    seen.extend_from_slice(data);
                }
            });
            assert_eq!(seen, b"{\"a\":\n1}", "{text}");
            parser.end(|_| panic!("it has ended"));
        }
    }

    #[test]
    fn a_parser_that_was_reset_remembers_nothing() {
        let mut parser = Parser::default();
        parser.feed(b"data: a\ndata: b", |_| panic!("no event is complete"));
        parser.reset();
        let mut seen = 0;
        parser.feed(b"\xef\xbb\xbfdata: c\n\n", |event| {
            assert_eq!(event, Event::Data(b"c"));
            seen += 1;
        });
        assert_eq!(seen, 1);
    }
}
