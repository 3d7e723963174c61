//! A map from the names of blocks, which are hashes already and are not hashed again.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub type BlockMap<T> = HashMap<u64, T, BuildHasherDefault<AsIs>>;

/// Passes a key through: block hashes are mixed already.
#[derive(Default)]
pub struct AsIs(u64);

impl Hasher for AsIs {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 keys are hashed");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
