//! Plans what to send: sessions of turns, and their texts. It knows no sockets and no results.

pub mod arrival;
pub mod calibration;
pub mod convert;
pub mod counted;
pub mod dataset;
pub mod dialogue;
pub mod fixed;
pub mod groups;
pub mod hf_config;
mod json;
pub mod lengths;
pub mod models;
pub mod perfect;
pub mod prompt;
mod random;
pub mod repeat;
pub mod requests;
pub mod shard;
pub mod sizing;
pub mod tiling;
pub mod trace;
mod turn;

use self::dialogue::Walk;
pub use self::turn::{Message, Prompt, Reply, Role, Turn, escape};
use crate::sample::Side;

/// One job of a worker: turns that are sent one after the other.
#[derive(Debug)]
pub enum Session {
    /// A request that depends on no other; `None` after it was taken.
    Single(Option<Turn>),
    /// Turns that do not depend on the replies.
    Turns(std::vec::IntoIter<Turn>),
    Dialogue(Walk),
}

impl Session {
    pub fn single(turn: Turn) -> Session {
        Session::Single(Some(turn))
    }

    /// Returns the side of a comparison that it belongs to.
    pub fn side(&self) -> Option<Side> {
        match self {
            Session::Single(turn) => turn.as_ref()?.labels.side,
            Session::Turns(_) | Session::Dialogue(_) => None,
        }
    }

    /// Returns its number in the plan, where it has one whatever the order of the plan.
    pub fn number(&self) -> Option<u64> {
        match self {
            Session::Single(_) | Session::Turns(_) => None,
            Session::Dialogue(walk) => Some(walk.number()),
        }
    }

    /// Returns the number of its requests that are still to be taken, without controls.
    pub fn requests(&self) -> u64 {
        let count = |turns: &[Turn]| {
            let planned = turns.iter().filter(|turn| !turn.labels.is_control);
            planned.count() as u64
        };
        match self {
            Session::Single(turn) => count(turn.as_slice()),
            Session::Turns(turns) => count(turns.as_slice()),
            Session::Dialogue(walk) => walk.ids().end - walk.ids().start,
        }
    }

    /// Returns an id above those of its requests.
    pub fn end_id(&self) -> u64 {
        match self {
            Session::Single(turn) => turn.as_ref().map_or(0, |turn| turn.id + 1),
            Session::Turns(turns) => turns.as_slice().last().map_or(0, |turn| turn.id + 1),
            Session::Dialogue(walk) => walk.ids().end,
        }
    }

    /// Returns the next turn, made from the reply to the previous one; `None` at the end.
    pub fn next(&mut self, reply: Option<Reply>) -> Option<Turn> {
        match self {
            Session::Single(turn) => turn.take(),
            Session::Turns(turns) => turns.next(),
            Session::Dialogue(walk) => walk.next(reply),
        }
    }
}
