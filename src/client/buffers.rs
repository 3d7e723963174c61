//! Buffers of a transport: no larger than the requests and replies of its connection need.

use ureq::unversioned::transport::Buffers;

/// Bytes of one write of a long prompt; short ones need less.
const MAX_OUTPUT_BYTES: usize = 64 << 10;
const MIN_OUTPUT_BYTES: usize = 2 << 10;
/// Initial input buffer, enough for a few events; doubled whenever a read fills it, up to the longest head of a reply.
const MIN_INPUT_BYTES: usize = 1 << 10;
const MAX_INPUT_BYTES: usize = 16 << 10;

/// The bytes to be sent and those read; allocated on first use.
#[derive(Default)]
pub struct GrowingBuffers {
    output: Vec<u8>,
    /// Bytes at the start of `output` that wait for more.
    held: usize,
    /// Size of the next output buffer, if that is more than the present one has.
    wanted_output: usize,
    input: Vec<u8>,
    consumed: usize,
    filled: usize,
    /// Whether the last use of the input consumed anything.
    progress: bool,
}

impl GrowingBuffers {
    /// Keeps `amount` bytes back, and makes room for a body of this size, or for its largest piece.
    pub fn hold(&mut self, amount: usize, body_bytes: usize) {
        self.held += amount;
        let wanted = self.held.saturating_add(body_bytes);
        let wanted = wanted.min(self.held + MAX_OUTPUT_BYTES);
        if self.output.len() < wanted {
            // Zeroed memory from the allocator is faster than `resize`, which would also copy what is not held.
            let mut larger = vec![0; wanted];
            larger[..self.held].copy_from_slice(&self.output[..self.held]);
            self.output = larger;
        }
    }

    /// Returns what to send now: what was held back, and `amount` bytes after it.
    pub fn take_output(&mut self, amount: usize) -> &[u8] {
        let amount = std::mem::take(&mut self.held) + amount;
        if amount == self.output.len() {
            // There may be more to come.
            self.wanted_output = (2 * amount).min(MAX_OUTPUT_BYTES);
        }
        &self.output[..amount]
    }

    /// Gives the memory of the output back until the next request: thousands of workers may wait for tokens.
    pub fn free_output(&mut self) {
        self.output = Vec::new();
        self.wanted_output = 0;
    }
}

impl Buffers for GrowingBuffers {
    fn output(&mut self) -> &mut [u8] {
        let wanted = self.wanted_output.max(MIN_OUTPUT_BYTES);
        if self.held == 0 && self.output.len() < wanted {
            self.output = vec![0; wanted];
        }
        &mut self.output[self.held..]
    }

    fn input(&self) -> &[u8] {
        &self.input[self.consumed..self.filled]
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        if self.filled == self.input.len() && self.input.len() < MAX_INPUT_BYTES {
            self.input
                .resize((self.input.len() * 2).max(MIN_INPUT_BYTES), 0);
        }
        if self.consumed == self.filled {
            (self.consumed, self.filled) = (0, 0);
        } else if self.filled > self.input.len() / 2 {
            self.input.copy_within(self.consumed..self.filled, 0);
            self.filled -= self.consumed;
            self.consumed = 0;
        }
        &mut self.input[self.filled..]
    }

    fn input_appended(&mut self, amount: usize) {
        self.filled += amount;
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.consumed += amount;
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.output();
        self.input_append_buf();
        (
            &mut self.input[self.filled..],
            &mut self.output[self.held..],
        )
    }

    fn can_use_input(&self) -> bool {
        self.progress && self.consumed < self.filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_goes_out_with_the_start_of_its_body() {
        let mut buffers = GrowingBuffers::default();
        buffers.output()[..4].copy_from_slice(b"head");
        buffers.hold(4, 100);
        let (_, room) = buffers.tmp_and_output();
        room[..5].copy_from_slice(b" body");
        assert_eq!(buffers.take_output(5), b"head body");
        // Nothing is held any more.
        buffers.output()[..4].copy_from_slice(b"more");
        assert_eq!(buffers.take_output(4), b"more");
    }

    #[test]
    fn the_output_grows_to_the_body_and_no_further_than_its_largest_piece() {
        let mut buffers = GrowingBuffers::default();
        assert_eq!(buffers.output().len(), MIN_OUTPUT_BYTES);
        buffers.hold(200, 1 << 20);
        assert_eq!(buffers.output().len(), MAX_OUTPUT_BYTES);
        buffers.take_output(0);
        buffers.hold(300, 10);
        assert_eq!(buffers.output().len(), 200 + MAX_OUTPUT_BYTES - 300);
    }

    #[test]
    fn an_output_that_was_filled_doubles_up_to_the_largest_piece_until_it_is_freed() {
        let mut buffers = GrowingBuffers::default();
        for kib in [2, 4, 8, 16, 32, 64, 64] {
            assert_eq!(buffers.output().len(), kib << 10);
            buffers.take_output(kib << 10);
        }
        buffers.free_output();
        assert_eq!(buffers.output().len(), 2 << 10);
        buffers.take_output(2047);
        assert_eq!(buffers.output().len(), 2 << 10);
    }

    #[test]
    fn input_that_is_not_taken_yet_stays_in_order_when_room_is_made() {
        let mut buffers = GrowingBuffers::default();
        let mut expected = Vec::new();
        let mut seen = Vec::new();
        // Up to 7,000 bytes in and 5,000 out at a time: the rest is moved to the front again and again.
        for round in 0..6u8 {
            let piece = vec![round; 7000.min(buffers.input_append_buf().len())];
            buffers.input_append_buf()[..piece.len()].copy_from_slice(&piece);
            buffers.input_appended(piece.len());
            expected.extend_from_slice(&piece);
            let taken = buffers.input().len().min(5000);
            seen.extend_from_slice(&buffers.input()[..taken]);
            buffers.input_consume(taken);
        }
        seen.extend_from_slice(buffers.input());
        assert_eq!(seen, expected);
        assert!(buffers.can_use_input());
        buffers.input_consume(0);
        assert!(!buffers.can_use_input(), "it needs more to go on");
    }
}
