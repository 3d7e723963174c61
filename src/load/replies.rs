//! Sessions that follow another's reply: held until it has ended, then due.

use std::collections::{BTreeMap, HashMap};

use crate::plan::Session;

/// A session with the time at which its first turn is due, in nanoseconds after the first of all.
///
/// One that follows another's reply is due at the later of that time and the end of that reply, failed or not.
pub struct Due {
    pub due_ns: u64,
    /// `None`: it follows no reply, and nothing follows its own.
    pub order: Option<Order>,
    pub session: Session,
}

/// A place among those that follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Its own number, from 0 on.
    pub place: u64,
    /// The place whose reply it follows, which is below its own.
    pub after: Option<u64>,
}

/// The replies that have ended, and the sessions that wait for others.
#[derive(Default)]
pub(super) struct Replies {
    /// When the reply of each place ended; 0: it has not.
    ended_ns: Vec<u64>,
    /// By the place that they follow.
    held: HashMap<u64, Vec<Due>>,
    /// The sessions whose turn has come, by due time and place.
    freed: BTreeMap<(u64, u64), Due>,
}

impl Replies {
    /// Keeps a session whose reply has not ended; gives back another, due when the reply ended if that is later.
    pub fn hold(&mut self, due: Due) -> Option<Due> {
        let Some(after) = due.order.and_then(|order| order.after) else {
            return Some(due);
        };
        match self.ended_ns.get(after as usize) {
            None | Some(0) => {
                self.held.entry(after).or_default().push(due);
                None
            }
            Some(&ended_ns) => Some(Due {
                due_ns: due.due_ns.max(ended_ns),
                ..due
            }),
        }
    }

    /// The reply of a place has ended.
    pub fn end(&mut self, place: u64, ended_ns: u64) {
        let at = place as usize;
        if self.ended_ns.len() <= at {
            self.ended_ns.resize(at + 1, 0);
        }
        self.ended_ns[at] = ended_ns;
        for due in self.held.remove(&place).unwrap_or_default() {
            let due_ns = due.due_ns.max(ended_ns);
            let own = due.order.map_or(place, |Order { place, .. }| place);
            self.freed.insert((due_ns, own), Due { due_ns, ..due });
        }
    }

    /// Whether a session waits for the end of a reply.
    pub fn is_awaited(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether the first session that was freed is due before `next`.
    pub fn is_first(&self, next: Option<&Due>) -> bool {
        let first_ns = self.first_due_ns();
        first_ns.is_some_and(|first_ns| next.is_none_or(|next| first_ns <= next.due_ns))
    }

    pub fn first_due_ns(&self) -> Option<u64> {
        self.freed.first_key_value().map(|((due_ns, _), _)| *due_ns)
    }

    /// Takes the first session that was freed.
    pub fn pop(&mut self) -> Option<Due> {
        self.freed.pop_first().map(|(_, due)| due)
    }
}
