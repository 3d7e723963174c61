//! The text of a trace, from which a record is read again when its request is due.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// Bytes that are read at once: records are mostly due in the order in which they stand.
const WINDOW_BYTES: usize = 1 << 16;

/// A trace's text: a file, or the bytes of a pipe, which cannot be read twice.
#[derive(Debug)]
pub(super) enum Text {
    File(File),
    Held(Vec<u8>),
}

impl Text {
    /// Keeps an opened file, or reads a pipe to its end.
    pub fn of(mut file: File) -> io::Result<Text> {
        if file.metadata()?.is_file() {
            return Ok(Text::File(file));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Text::Held(bytes))
    }

    /// Returns a reader of the whole text.
    pub fn reader(&self) -> Start<'_> {
        Start { text: self, at: 0 }
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        match self {
            Text::File(file) => file.read_at(buffer, at),
            Text::Held(bytes) => {
                let start = usize::try_from(at).unwrap_or(usize::MAX);
                bytes.get(start..).unwrap_or_default().read(buffer)
            }
        }
    }

    /// Returns the line of the byte at this place, from 1.
    pub fn line_of(&self, at: u64) -> io::Result<u64> {
        let mut before = self.reader().take(at);
        let (mut line, mut buffer) = (1, vec![0; WINDOW_BYTES]);
        loop {
            match before.read(&mut buffer)? {
                0 => return Ok(line),
                n => line += memchr::memchr_iter(b'\n', &buffer[..n]).count() as u64,
            }
        }
    }
}

/// Reads a text from its start.
pub(super) struct Start<'a> {
    text: &'a Text,
    at: u64,
}

impl Read for Start<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.text.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// The place of a record in the text, and a checksum of its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    at: u64,
    bytes: u32,
    check: u32,
}

impl Place {
    /// Returns `None` for a record of 4 GB or more.
    pub fn new(at: u64, record: &[u8]) -> Option<Place> {
        Some(Place {
            at,
            bytes: u32::try_from(record.len()).ok()?,
            check: check(record),
        })
    }

    pub fn at(self) -> u64 {
        self.at
    }
}

fn check(record: &[u8]) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write(record);
    hasher.finish() as u32
}

/// A part of the text that was read last.
#[derive(Debug, Default)]
pub(super) struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Returns a record; `None` if its bytes are not those that were there before, or cannot be read.
    pub fn record(&mut self, text: &Text, place: Place) -> Option<&str> {
        let len = place.bytes as usize;
        let is_inside = |window: &Window| {
            let from = usize::try_from(place.at.checked_sub(window.start)?).ok()?;
            let end = from.checked_add(len)?;
            (end <= window.bytes.len()).then_some(from..end)
        };
        if is_inside(self).is_none() {
            self.fill(text, place.at, len.max(WINDOW_BYTES)).ok()?;
        }
        let record = &self.bytes[is_inside(self)?];
        let text = std::str::from_utf8(record).ok()?;
        (check(record) == place.check).then_some(text)
    }

    /// Reads so many bytes, or up to the end of the text.
    fn fill(&mut self, text: &Text, at: u64, bytes: usize) -> io::Result<()> {
        self.start = at;
        self.bytes.clear();
        let source = Start { text, at };
        source.take(bytes as u64).read_to_end(&mut self.bytes)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_in_any_order_and_a_changed_one_is_not() {
        let lines: Vec<String> = (0..20_000).map(|k| format!("record {k}")).collect();
        let text = lines.join("\n");
        let mut at = 0;
        let places: Vec<Place> = lines
            .iter()
            .map(|line| {
                let place = Place::new(at, line.as_bytes()).expect("a short record");
                at += line.len() as u64 + 1;
                place
            })
            .collect();
        let held = Text::Held(text.clone().into_bytes());
        let mut window = Window::default();
        for k in [0, 1, 19_999, 5, 12_000, 12_001, 11_999] {
            assert_eq!(window.record(&held, places[k]), Some(&lines[k][..]));
            assert_eq!(held.line_of(places[k].at()).expect("held"), k as u64 + 1);
        }
        let changed = Text::Held(text.replace("record 7\n", "record 8\n").into_bytes());
        let cut = Text::Held(text.as_bytes()[..text.len() - 1].to_vec());
        for (text, wrong) in [(changed, 7), (cut, 19_999)] {
            let mut window = Window::default();
            assert_eq!(window.record(&text, places[wrong]), None);
            assert_eq!(window.record(&text, places[6]), Some("record 6"));
        }
    }
}
