//! Controls: requests beside the workload that send a text twice in a row. They are in no figure; they show whether the
//! server hits a text that it has just seen.

use super::{Session, Turn};
use crate::sample::Labels;

/// Texts that are repeated at once, each in two requests.
pub const REPEATED: u64 = 4;

/// Returns these controls as a session, numbered from `first_id`.
pub fn session(controls: impl Iterator<Item = Turn>, first_id: u64) -> Session {
    let turns = controls.zip(first_id..);
    let turns: Vec<Turn> = turns.map(|(turn, id)| Turn { id, ..turn }).collect();
    Session::Turns(turns.into_iter())
}

/// Returns the controls of the first few of these requests, whose texts were sent before.
pub fn at_once(turns: impl Iterator<Item = Turn>, first_id: u64) -> Session {
    let turns = turns.take(REPEATED as usize);
    session(turns.flat_map(|turn| pair(&turn, true)), first_id)
}

/// Makes two controls of one request, whose text was sent before or not. Both have the id of the request.
pub fn pair(turn: &Turn, was_sent: bool) -> [Turn; 2] {
    [0, 1].map(|number| Turn {
        labels: Labels {
            turn: Some(number),
            repeat: Some(was_sent || number > 0),
            is_control: true,
            ..turn.labels.clone()
        },
        keeps_reply: false,
        ..turn.clone()
    })
}
