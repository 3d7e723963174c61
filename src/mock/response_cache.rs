//! The response cache of `/generate`: which prompts have been answered, in exact LRU order.
//!
//! It stands before the engine. A request is looked up when it has been read; an answer is taken in when it has
//! been written to its end, its last bytes apart, so a client that has its answer finds it here. Two requests
//! at once for one prompt are therefore both misses. What has not been answered as planned (a fault, a client
//! that hung up) is not taken in. `/reset_prefix_cache` leaves it as it is. Knows no time and no text.

use std::collections::{BTreeMap, HashMap};

/// The fields by which two requests are the same. Each counts exactly as it was sent; a field that was not sent is a
/// value of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// FNV-1a 64 of the prompt's bytes.
    pub prompt_hash: u64,
    pub prompt_bytes: usize,
    pub max_tokens: Option<i64>,
    /// The bits of an f64, 0 for -0.
    pub temperature_bits: Option<u64>,
}

/// The part of an answer that is held. Its words follow from the prompt, so this is enough to say it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub output_tokens: usize,
    pub ends_itself: bool,
}

/// An exact LRU over requests; about 150 bytes each.
pub struct ResponseCache {
    /// The capacity in answers; 0 holds none.
    capacity: usize,
    /// The number of uses so far.
    uses: u64,
    /// The answers that are held, each with the number of its last use.
    answers: HashMap<Key, (u64, Stored)>,
    by_use: BTreeMap<u64, Key>,
}

impl ResponseCache {
    pub fn new(capacity: usize) -> ResponseCache {
        ResponseCache {
            capacity,
            uses: 0,
            answers: HashMap::new(),
            by_use: BTreeMap::new(),
        }
    }

    /// The answer to `key`, which becomes the newest; `None` if it is not held.
    pub fn recall(&mut self, key: &Key) -> Option<Stored> {
        let (_, stored) = *self.answers.get(key)?;
        self.store(*key, stored);
        Some(stored)
    }

    /// Takes in an answer as the newest; what is held for its key goes, else the oldest where there is no room.
    pub fn store(&mut self, key: Key, stored: Stored) {
        if self.capacity == 0 {
            return;
        }
        self.uses += 1;
        if let Some((use_before, _)) = self.answers.insert(key, (self.uses, stored)) {
            self.by_use.remove(&use_before);
        }
        self.by_use.insert(self.uses, key);
        if self.answers.len() > self.capacity
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.answers.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(prompt_hash: u64) -> Key {
        Key {
            prompt_hash,
            prompt_bytes: 1,
            max_tokens: Some(4),
            temperature_bits: None,
        }
    }

    fn stored(output_tokens: usize) -> Stored {
        Stored {
            output_tokens,
            ends_itself: false,
        }
    }

    #[test]
    fn what_was_used_least_lately_goes_first() {
        let mut cache = ResponseCache::new(2);
        cache.store(key(1), stored(1));
        cache.store(key(2), stored(2)); // newest first: 2 1
        assert_eq!(cache.recall(&key(1)), Some(stored(1))); // 1 2
        cache.store(key(3), stored(3)); // 3 1
        assert_eq!(cache.recall(&key(2)), None);
        cache.store(key(1), stored(9)); // 1 3
        cache.store(key(4), stored(4)); // 4 1
        assert_eq!(cache.recall(&key(3)), None);
        assert_eq!(cache.recall(&key(1)), Some(stored(9)));
        assert_eq!((cache.answers.len(), cache.by_use.len()), (2, 2));
    }

    #[test]
    fn a_miss_changes_nothing_and_without_capacity_all_are_misses() {
        let mut cache = ResponseCache::new(1);
        cache.store(key(1), stored(1));
        assert_eq!(cache.recall(&key(2)), None);
        assert_eq!(cache.recall(&key(1)), Some(stored(1)));
        let mut none = ResponseCache::new(0);
        none.store(key(1), stored(1));
        assert_eq!(none.recall(&key(1)), None);
    }
}
