//! Streams of any bytes in any pieces: the parser agrees with a slow reading of the standard.

use fastrand::Rng;
use serde::de::IgnoredAny;

use super::{Event, Parser};
use crate::fuzz;

const WORDS: &[&str] = &[
    "data",
    "data:",
    "data: ",
    "data : ",
    "event: x",
    "event: error",
    "error: x",
    "{\"a\":1}",
    "data: {}",
    "id: 1",
    "retry: 5",
    ": c",
    ":",
    "\n\n",
    "\r\r",
    "\r\n\r\n",
    "\u{feff}",
    "[DONE]",
];

/// The kind of each event and its data: `d`ata, `e`rror, `:` a comment.
type Said = Vec<(char, Vec<u8>)>;

/// The standard's rules word for word: first the whole stream is cut into lines, then each line is read.
fn slow_twin(stream: &[u8]) -> Said {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let (mut said, mut data, mut name, mut line) = (Said::new(), None::<Vec<u8>>, 'd', Vec::new());
    let mut bytes = stream.iter().copied().chain(*b"\n\n").peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\n' && byte != b'\r' {
            line.push(byte);
            continue;
        }
        if byte == b'\r' {
            bytes.next_if_eq(&b'\n');
        }
        let (field, value) = match line.iter().position(|&b| b == b':') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (&line[..], &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let mut is_end = line.is_empty();
        if !line.is_empty() && field.is_empty() {
            said.push((':', Vec::new()));
        } else if field == b"data" {
            is_end = data.is_none() && is_whole(value);
            match &mut data {
                Some(before) => {
                    before.push(b'\n');
                    before.extend_from_slice(value);
                }
                None => data = Some(value.to_vec()),
            }
        } else if field == b"event" {
            name = if value.trim_ascii() == b"error" {
                'e'
            } else {
                'd'
            };
        } else if field == b"error" {
            said.push(('e', value.to_vec()));
        } else if line.starts_with(b"{")
            || line.trim_ascii() == b"[DONE]"
            || line.trim_ascii() == b"\"[DONE]\""
        {
            said.push(('d', line.clone()));
        }
        if let Some(data) = data.take_if(|_| is_end) {
            said.push((name, data));
            name = 'd';
        }
        line.clear();
    }
    said
}

/// Recognises a JSON object, or `[DONE]`. The grammar decides, as in the parser: a tree of values would refuse numbers
/// that are too large for it.
fn is_whole(value: &[u8]) -> bool {
    let text = value.trim_ascii();
    let is_done = [&b"[DONE]"[..], b"\"[DONE]\""].contains(&text);
    is_done || text.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Said {
    let (mut parser, mut said, mut fed) = (Parser::default(), Said::new(), 0);
    let mut say = |event: Event<'_>| {
        said.push(match event {
            Event::Data(data) => ('d', data.to_vec()),
            Event::Error(data) => ('e', data.to_vec()),
            Event::Comment => (':', Vec::new()),
        });
    };
    for piece in pieces {
        fed += piece.len();
        parser.feed(piece, &mut say);
        // Each data line has one LF more instead of `data`.
        assert!(parser.held_bytes() <= fed, "holds more than it was fed");
    }
    parser.end(&mut say);
    said
}

fn pieces<'a>(rng: &mut Rng, mut rest: &'a [u8]) -> Vec<&'a [u8]> {
    let most = 1 << rng.usize(..8);
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rng.usize(1..=most).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Makes a stream by the grammar, and its events.
fn valid(rng: &mut Rng) -> (Vec<u8>, Said) {
    let (mut stream, mut said) = (Vec::new(), Said::new());
    if rng.u8(..4) == 0 {
        stream.extend_from_slice(b"\xef\xbb\xbf");
    }
    let end = |rng: &mut Rng, stream: &mut Vec<u8>, line: &[u8]| {
        stream.extend_from_slice(line);
        // A CR and an LF together would be one line end.
        stream.extend_from_slice([&b"\n"[..], b"\r\n"][rng.usize(..2)]);
    };
    for _ in 0..rng.usize(..6) {
        let mut lines = Vec::new();
        for _ in 0..rng.usize(..5) {
            match rng.u8(..6) {
                0 => end(rng, &mut stream, b"event: x"),
                1 => end(rng, &mut stream, b"datas: x"),
                2 => {
                    end(rng, &mut stream, b": c");
                    said.push((':', Vec::new()));
                }
                _ => {
                    // An object or `[DONE]` would be an event of its own.
                    let value = fuzz::string(rng).0.replace(['\n', '\r', '}', ']'], "");
                    end(rng, &mut stream, format!("data: {value}").as_bytes());
                    lines.push(value);
                }
            }
        }
        end(rng, &mut stream, b"");
        if !lines.is_empty() {
            said.push(('d', lines.join("\n").into_bytes()));
        }
    }
    (stream, said)
}

#[test]
fn a_stream_by_the_grammar_says_what_was_put_into_it() {
    fuzz::run("sse (grammar)", 5000, |rng| {
        let (stream, said) = valid(rng);
        assert_eq!(read([&stream[..]]), said);
        assert_eq!(read(pieces(rng, &stream)), said);
    });
}

#[test]
fn any_bytes_in_any_pieces_are_read_as_the_standard_says() {
    fuzz::run("sse", 10_000, |rng| {
        let stream = fuzz::input(rng, WORDS, |rng| valid(rng).0);
        let said = slow_twin(&stream);
        assert_eq!(read([&stream[..]]), said, "{:?}", fuzz::text(&stream));
        let pieces = pieces(rng, &stream);
        assert_eq!(read(pieces.iter().copied()), said, "{pieces:?}");
    });
}

#[test]
fn every_cut_in_two_is_read_as_the_whole() {
    fuzz::run("sse (cuts)", 300, |rng| {
        let mut stream = fuzz::input(rng, WORDS, |rng| valid(rng).0);
        stream.truncate(200);
        let said = slow_twin(&stream);
        for cut in 0..=stream.len() {
            let (head, tail) = stream.split_at(cut);
            assert_eq!(read([head, tail]), said, "{head:?} {tail:?}");
        }
    });
}

#[test]
fn time_is_linear_in_the_stream() {
    for piece in [
        "data: a\n\n",
        "data: a\n",
        "data\n",
        "a",
        ":\n",
        "\r",
        "data:\r\n",
        "id: 7\n",
    ] {
        let make = |bytes: usize| piece.repeat(bytes / piece.len()).into_bytes();
        for size in [7, 4096, usize::MAX] {
            fuzz::assert_linear(piece, make, |stream| {
                let mut parser = Parser::default();
                for part in stream.chunks(size) {
                    parser.feed(part, |_| {});
                }
            });
        }
    }
}
