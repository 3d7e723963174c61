//! Plans what to send: sessions of turns, and the texts in them. Knows nothing of sockets or results.

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
pub mod sizing;
pub mod tiling;
pub mod trace;
mod turn;

use self::dialogue::Walk;
pub use self::turn::{Message, Prompt, Reply, Role, Turn, escape};

/// One job of a worker: turns that go out one after the other.
#[derive(Debug)]
pub enum Session {
    /// A request that depends on no other; `None` once it was taken.
    Single(Option<Turn>),
    Dialogue(Walk),
}

impl Session {
    pub fn single(turn: Turn) -> Session {
        Session::Single(Some(turn))
    }

    /// The next turn, built from the reply to the one before; `None` at the end.
    pub fn next(&mut self, reply: Option<Reply>) -> Option<Turn> {
        match self {
            Session::Single(turn) => turn.take(),
            Session::Dialogue(walk) => walk.next(reply),
        }
    }
}
