//! One HTTP chunk: framed in the buffer in which its content is made, and sent in as many writes as it takes.

use std::io::Write;

/// What a chunk's size takes at most: eight hexadecimal digits and CRLF.
const SIZE_BYTES: usize = 10;

/// The chunk being sent; its buffer is kept from one to the next.
#[derive(Default)]
pub struct Chunk {
    /// Room for the size, the content, CRLF.
    bytes: Vec<u8>,
    /// Where the bytes start that are still to be sent.
    from: usize,
}

impl Chunk {
    /// Makes the next chunk of what `make` appends; none if that is nothing.
    pub fn fill(&mut self, make: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.clear();
        self.bytes.resize(SIZE_BYTES, 0);
        make(&mut self.bytes);
        let content_bytes = self.bytes.len() - SIZE_BYTES;
        if content_bytes == 0 {
            self.from = SIZE_BYTES;
            return;
        }
        self.bytes.extend_from_slice(b"\r\n");
        let digits = (content_bytes.ilog2() / 4 + 1) as usize;
        self.from = SIZE_BYTES - 2 - digits;
        write!(
            &mut self.bytes[self.from..SIZE_BYTES],
            "{content_bytes:x}\r\n"
        )
        .expect("the digits were counted");
    }

    /// Empty once all is sent.
    pub fn unsent(&self) -> &[u8] {
        &self.bytes[self.from..]
    }

    /// Takes note that this many more bytes of it have been sent.
    pub fn advance(&mut self, bytes: usize) {
        self.from += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_its_size_its_content_and_a_line_end() {
        let mut chunk = Chunk::default();
        for (size, head) in [
            (1, "1\r\n"),
            (15, "f\r\n"),
            (16, "10\r\n"),
            (255, "ff\r\n"),
            (256, "100\r\n"),
            (70_000, "11170\r\n"),
        ] {
            let content = "x".repeat(size);
            chunk.fill(|out| out.extend_from_slice(content.as_bytes()));
            assert_eq!(chunk.unsent(), format!("{head}{content}\r\n").as_bytes());
        }
    }

    #[test]
    fn what_is_sent_is_not_sent_again_and_nothing_makes_no_chunk() {
        let mut chunk = Chunk::default();
        assert_eq!(chunk.unsent(), b"");
        chunk.fill(|out| out.extend_from_slice(b"ab"));
        chunk.advance(4);
        assert_eq!(chunk.unsent(), b"b\r\n");
        chunk.fill(|_| {});
        assert_eq!(chunk.unsent(), b"");
    }
}
