//! Sessions that follow another session's reply: they are held until it ends, then they are due.

use std::collections::{BTreeMap, HashMap};

use crate::plan::Session;

/// A session and the due time of its first turn, in nanoseconds after the first session's.
///
/// A session that follows a reply is due at that time or at the end of the reply, whichever is later, even if the reply
/// failed.
pub struct Due {
    pub due_ns: u64,
    /// `None`: it follows no reply, and no session follows its own.
    pub order: Option<Order>,
    pub session: Session,
}

/// The place of a session in a chain of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// The session's own number, from 0.
    pub place: u64,
    /// The place whose reply it follows, which is lower than its own.
    pub after: Option<u64>,
}

/// The replies that have ended, and the sessions that wait for others.
#[derive(Default)]
pub(super) struct Replies {
    /// When the reply of each place ended; 0: not yet.
    ended_ns: Vec<u64>,
    /// Waiting sessions, by the place that they follow.
    held: HashMap<u64, Vec<Due>>,
    /// Sessions that may be sent, by due time and place.
    freed: BTreeMap<(u64, u64), Due>,
}

impl Replies {
    /// Keeps a session whose reply has not ended; otherwise returns it, due when the reply ended if that is later.
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

    /// Records the end of a place's reply.
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

    /// Returns whether a session waits for the end of a reply.
    pub fn is_awaited(&self) -> bool {
        !self.held.is_empty()
    }

    /// Returns whether the first freed session is due before `next`.
    pub fn is_first(&self, next: Option<&Due>) -> bool {
        let first_ns = self.first_due_ns();
        first_ns.is_some_and(|first_ns| next.is_none_or(|next| first_ns <= next.due_ns))
    }

    pub fn first_due_ns(&self) -> Option<u64> {
        self.freed.first_key_value().map(|((due_ns, _), _)| *due_ns)
    }

    /// Takes the first freed session.
    pub fn pop(&mut self) -> Option<Due> {
        self.freed.pop_first().map(|(_, due)| due)
    }
}
