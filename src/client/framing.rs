//! Where a body ends: after a number of bytes, with its last chunk, or with the connection. No I/O.
//!
//! ureq-proto has the same, but looks for a `;` in the 100 bytes behind each chunk's length, which takes more time than
//! all the rest of reading a token.

use ureq_proto::{BodyMode, Error};

/// Longest line before a chunk, as ureq-proto has it.
const MAX_SIZE_LINE: usize = 20;

/// The part of a body that is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    /// A chunked body, and where it stands.
    Chunks(Chunks),
    /// Everything until the connection ends.
    UntilClosed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunks {
    /// The line with the length of the next chunk.
    Size,
    /// So many bytes of a chunk.
    Data(usize),
    /// The end of line behind a chunk.
    LineEnd,
    /// Lines behind the last chunk, up to an empty one.
    Trailer,
    Over,
}

impl Framing {
    pub fn of(mode: BodyMode) -> Framing {
        match mode {
            BodyMode::NoBody => Framing::Length(0),
            BodyMode::LengthDelimited(bytes) => Framing::Length(bytes),
            BodyMode::Chunked => Framing::Chunks(Chunks::Size),
            BodyMode::CloseDelimited => Framing::UntilClosed,
        }
    }

    /// Returns whether the body has ended; one that ends with the connection has not.
    pub fn is_over(self) -> bool {
        matches!(self, Framing::Length(0) | Framing::Chunks(Chunks::Over))
    }

    /// Returns whether the end of the connection ends the body: also behind a last chunk without its empty line.
    pub fn may_close(self) -> bool {
        matches!(
            self,
            Framing::UntilClosed | Framing::Chunks(Chunks::Trailer)
        )
    }

    /// Copies body bytes from `input` to `output`; returns how many bytes of each were used.
    ///
    /// # Errors
    /// Fails when the bytes are not chunks.
    pub fn read(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Error> {
        let most = input.len().min(output.len());
        match self {
            Framing::Length(left) => {
                let n = most.min(usize::try_from(*left).unwrap_or(usize::MAX));
                output[..n].copy_from_slice(&input[..n]);
                *left -= n as u64;
                Ok((n, n))
            }
            Framing::Chunks(chunks) => chunks.read(input, output),
            Framing::UntilClosed => {
                output[..most].copy_from_slice(&input[..most]);
                Ok((most, most))
            }
        }
    }
}

impl Chunks {
    fn read(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Error> {
        let (mut used, mut made) = (0, 0);
        loop {
            let rest = &input[used..];
            if let Chunks::Data(left) = self {
                let n = rest.len().min(output.len() - made).min(*left);
                output[made..made + n].copy_from_slice(&rest[..n]);
                (used, made, *left) = (used + n, made + n, *left - n);
                if *left > 0 {
                    break;
                }
                *self = Chunks::LineEnd;
                continue;
            }
            let Some(line) = line(rest).filter(|_| *self != Chunks::Over) else {
                break;
            };
            used += line.len() + 2;
            *self = match self {
                Chunks::Size => match size(line)? {
                    0 => Chunks::Trailer,
                    size => Chunks::Data(size),
                },
                Chunks::LineEnd if line.is_empty() => Chunks::Size,
                Chunks::LineEnd => return Err(Error::ChunkExpectedCrLf),
                Chunks::Trailer if line.is_empty() => Chunks::Over,
                Chunks::Trailer | Chunks::Data(_) | Chunks::Over => *self,
            };
        }
        Ok((used, made))
    }
}

/// Returns the bytes before the first CR, if an LF follows it.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr(b'\r', bytes)?;
    (bytes.get(end + 1) == Some(&b'\n')).then(|| &bytes[..end])
}

/// Returns the length of a chunk: hexadecimal, perhaps with an extension behind a `;`.
fn size(line: &[u8]) -> Result<usize, Error> {
    if line.len() > MAX_SIZE_LINE {
        return Err(Error::ChunkExpectedCrLf);
    }
    let digits = line.split(|&byte| byte == b';').next().unwrap_or(line);
    let digits = std::str::from_utf8(digits.trim_ascii()).map_err(|_| Error::ChunkLenNotAscii)?;
    usize::from_str_radix(digits, 16).map_err(|_| Error::ChunkLenNotANumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: Framing = Framing::Chunks(Chunks::Size);

    /// Reads a body that arrives in pieces of `cut` bytes into an output of `room` bytes at a time.
    fn whole(mut framing: Framing, body: &[u8], cut: usize, room: usize) -> (Vec<u8>, Framing) {
        let (mut held, mut seen) = (Vec::new(), Vec::new());
        for piece in body.chunks(cut) {
            held.extend_from_slice(piece);
            loop {
                let mut output = vec![0; room];
                let (used, made) = framing.read(&held, &mut output).expect("a body");
                held.drain(..used);
                seen.extend_from_slice(&output[..made]);
                if used == 0 {
                    break;
                }
            }
        }
        (seen, framing)
    }

    #[test]
    fn chunks_are_joined_however_they_are_cut() {
        let body =
            b"5\r\nhello\r\n1;last=\"no\"\r\n \r\n00C\r\nmany\r\nworlds\r\n0\r\nX-Sum: 1\r\n\r\n";
        for cut in [1, 2, 3, 7, body.len()] {
            for room in [1, 4, 100] {
                let (seen, framing) = whole(CHUNKED, body, cut, room);
                assert_eq!(seen, b"hello many\r\nworlds", "{cut} {room}");
                assert!(framing.is_over(), "{cut} {room}");
            }
        }
    }

    #[test]
    fn a_body_has_its_length_and_no_more() {
        let (seen, framing) = whole(Framing::of(BodyMode::LengthDelimited(5)), b"hello!!", 2, 3);
        assert_eq!((&seen[..], framing.is_over()), (&b"hello"[..], true));
        assert!(Framing::of(BodyMode::NoBody).is_over());
        let (seen, framing) = whole(Framing::of(BodyMode::CloseDelimited), b"hello!!", 2, 3);
        assert_eq!((&seen[..], framing.is_over()), (&b"hello!!"[..], false));
        assert!(framing.may_close());
    }

    #[test]
    fn the_connection_may_end_behind_the_last_chunk_but_not_before_it() {
        for (body, may_close) in [
            ("1\r\na\r\n0\r\n", true),
            ("1\r\na\r\n", false),
            ("1\r\n", false),
        ] {
            let (_, framing) = whole(CHUNKED, body.as_bytes(), 1, 9);
            assert_eq!(
                (framing.is_over(), framing.may_close()),
                (false, may_close),
                "{body}"
            );
        }
    }

    #[test]
    fn bytes_that_are_no_chunks_are_errors() {
        for (body, error) in [
            ("x\r\n", "chunk length cannot be read as a number"),
            ("\r\n", "chunk length cannot be read as a number"),
            ("1\r\nab\r\n", "chunk expected crlf as next character"),
            (
                "000000000000000000001\r\n",
                "chunk expected crlf as next character",
            ),
        ] {
            let said = CHUNKED.clone().read(body.as_bytes(), &mut [0; 9]);
            assert_eq!(said.expect_err(body).to_string(), error, "{body}");
        }
        let said = CHUNKED.clone().read(b"\xff\r\n", &mut [0; 9]);
        assert_eq!(
            said.expect_err("no text").to_string(),
            "chunk length is not ascii"
        );
    }
}
