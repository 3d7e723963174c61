//! A run in several parts: each of its processes makes the whole plan and sends the sessions that are its own, so that
//! all of them together send what one process would send.

use std::cell::RefCell;
use std::iter;

use super::Session;
use crate::units::parse_count;

/// Most shards of a run.
const MOST: u64 = 4096;
/// The ids of a pass whose plan was not made to its end are followed by those from the next multiple of this number.
const IDS_A_PASS: u64 = 1_000_000_000;

/// One of the parts of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub index: u64,
    /// The number of parts.
    pub of: u64,
}

impl Shard {
    /// Parses `I/N`.
    pub fn parse(text: &str) -> Result<Shard, String> {
        let wrong = || "not a shard; want I/N such as 0/4, the first of four, or auto".to_string();
        let (index, of) = text.split_once('/').ok_or_else(wrong)?;
        let number = |text| parse_count(text).map_err(|_| wrong());
        Shard::new(number(index)?, number(of)?)
    }

    /// # Errors
    /// Fails when the index is not below the number of shards, or there are too many.
    pub fn new(index: u64, of: u64) -> Result<Shard, String> {
        match (index, of) {
            (_, 0) => Err("want at least one shard".to_string()),
            (_, of) if of > MOST => Err(format!("want at most {MOST} shards")),
            (index, of) if index >= of => Err(format!(
                "shards count from 0; the last of {of} is {}/{of}",
                of - 1
            )),
            (index, of) => Ok(Shard { index, of }),
        }
    }

    /// Returns the shard's part in a pass with so many requests in flight. If these are fewer than the shards, only as
    /// many shards take part.
    pub fn within(self, in_flight: u64) -> Shard {
        let of = self.of.min(in_flight).max(1);
        Shard { of, ..self }
    }

    /// Whether the session with this number is the shard's own.
    pub fn takes(self, number: u64) -> bool {
        number % self.of == self.index
    }

    /// Returns how many of the numbers below `whole` are the shard's own. It is the quotient, rounded down or up.
    pub fn part(self, whole: u64) -> u64 {
        match self.index < self.of {
            true => whole / self.of + u64::from(self.index < whole % self.of),
            false => 0,
        }
    }
}

/// Divides the plan of a pass, and counts the requests of every shard.
#[derive(Debug)]
pub struct Divider {
    shard: Shard,
    /// The number of the next session.
    number: u64,
    /// The requests of each shard so far.
    requests: Vec<u64>,
    next_id: u64,
    /// The first and the last due time of the plan so far, in an open loop.
    due_ns: Option<(u64, u64)>,
    /// For each place of a chain, the place with which its chain begins.
    roots: Vec<u64>,
    /// Whether the plan has ended.
    is_whole: bool,
}

impl Divider {
    /// `of_run` is the part of the run, and `shard` the part of this pass.
    pub fn new(of_run: Shard, shard: Shard) -> Divider {
        Divider {
            shard,
            number: 0,
            requests: vec![0; of_run.of as usize],
            next_id: 0,
            due_ns: None,
            roots: Vec::new(),
            is_whole: false,
        }
    }

    /// Whether the next session of the plan is the shard's own. `chain` is its place and the place that it follows: all
    /// sessions of a chain are one shard's.
    pub fn takes(&mut self, session: &Session, chain: Option<(u64, Option<u64>)>) -> bool {
        let number = match chain {
            Some((place, after)) => self.root(place, after),
            // A later round sends the same sessions in another order.
            None => session.number().unwrap_or(self.number),
        };
        self.number += 1;
        let owner = (number % self.shard.of) as usize;
        self.requests[owner] += session.requests();
        self.next_id = self.next_id.max(session.end_id());
        self.shard.takes(number)
    }

    fn root(&mut self, place: u64, after: Option<u64>) -> u64 {
        let before = after.and_then(|after| self.roots.get(after as usize));
        let root = before.copied().unwrap_or(place);
        self.roots.resize(place as usize + 1, root);
        self.roots[place as usize] = root;
        root
    }

    /// Takes in when a session is due.
    pub fn due(&mut self, due_ns: u64) {
        let (first_ns, _) = self.due_ns.unwrap_or((due_ns, due_ns));
        self.due_ns = Some((first_ns, due_ns));
    }

    /// Returns the first and the last due time of the plan so far, in an open loop.
    pub fn due_ns(&self) -> Option<(u64, u64)> {
        self.due_ns
    }

    /// Notes that the plan has ended.
    pub fn end(&mut self) {
        self.is_whole = true;
    }

    /// Returns the requests of each shard; `None` if the plan did not end.
    pub fn requests(&self) -> Option<Vec<u64>> {
        self.is_whole.then(|| self.requests.clone())
    }

    /// Returns the first id of the next pass, the same for all shards.
    pub fn next_id(&self) -> u64 {
        match self.is_whole {
            true => self.next_id,
            false => (self.next_id / IDS_A_PASS + 1) * IDS_A_PASS,
        }
    }
}

/// Returns the part of a plan that is this process's own. `is_own` asks the divider about an item.
pub fn divided<'a, T>(
    plan: impl Iterator<Item = T> + 'a,
    divider: &'a RefCell<Option<Divider>>,
    is_own: impl Fn(&mut Divider, &T) -> bool + 'a,
) -> impl Iterator<Item = T> + 'a {
    let end = iter::from_fn(move || {
        divider.borrow_mut().iter_mut().for_each(Divider::end);
        None
    });
    plan.chain(end).filter(move |item| {
        let mut divider = divider.borrow_mut();
        let divider = divider.as_mut();
        divider.is_none_or(|divider| is_own(divider, item))
    })
}

/// Returns the id of a run that is made from its seed and its nonce, so that its shards share it: FNV-1a in 32 bits.
pub fn run_id(seed: u64, nonce: &str) -> String {
    let bytes = seed.to_le_bytes().into_iter().chain(nonce.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("{hash:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Prompt, Turn};
    use crate::sample::Labels;

    fn session(id: u64) -> Session {
        let prompt = Prompt::Text(Vec::new());
        Session::single(Turn::alone(id, Labels::default(), prompt, None))
    }

    #[test]
    fn a_shard_is_an_index_from_0_and_a_number_of_shards() {
        assert_eq!(Shard::parse("0/4"), Ok(Shard { index: 0, of: 4 }));
        assert_eq!(Shard::parse("3/4"), Ok(Shard { index: 3, of: 4 }));
        for (text, why) in [
            ("4/4", "shards count from 0; the last of 4 is 3/4"),
            ("0/0", "want at least one shard"),
            ("0/5000", "want at most 4096 shards"),
            (
                "1",
                "not a shard; want I/N such as 0/4, the first of four, or auto",
            ),
            (
                "-1/4",
                "not a shard; want I/N such as 0/4, the first of four, or auto",
            ),
        ] {
            assert_eq!(Shard::parse(text), Err(why.to_string()), "{text}");
        }
    }

    #[test]
    fn parts_are_quotients_rounded_down_or_up_and_add_up_to_the_whole() {
        let parts = |whole, of| -> Vec<u64> {
            (0..of)
                .map(|index| Shard { index, of }.part(whole))
                .collect()
        };
        assert_eq!(parts(10, 4), [3, 3, 2, 2]);
        assert_eq!(parts(8, 4), [2, 2, 2, 2]);
        assert_eq!(parts(3, 4), [1, 1, 1, 0]);
    }

    #[test]
    fn with_fewer_in_flight_than_shards_the_last_shards_have_no_part() {
        let part = |index| {
            let shard = Shard { index, of: 4 }.within(2);
            let own: Vec<u64> = (0..6).filter(|&number| shard.takes(number)).collect();
            (own, shard.part(2))
        };
        assert_eq!(part(0), (vec![0, 2, 4], 1));
        assert_eq!(part(1), (vec![1, 3, 5], 1));
        assert_eq!(part(2), (vec![], 0));
        assert_eq!(part(3), (vec![], 0));
    }

    #[test]
    fn shards_take_every_session_once_and_count_the_requests_of_all() {
        let mut taken = vec![Vec::new(); 3];
        for index in 0..3 {
            let shard = Shard { index, of: 3 };
            let mut divider = Divider::new(shard, shard);
            for id in 10..17 {
                if divider.takes(&session(id), None) {
                    taken[index as usize].push(id);
                }
            }
            assert_eq!(divider.requests(), None, "it may go on");
            assert_eq!(divider.next_id(), 1_000_000_000);
            divider.end();
            assert_eq!(divider.requests(), Some(vec![3, 2, 2]));
            assert_eq!(divider.next_id(), 17);
        }
        assert_eq!(taken, [vec![10, 13, 16], vec![11, 14], vec![12, 15]]);
    }

    #[test]
    fn sessions_that_follow_one_another_are_one_shards() {
        let shard = Shard { index: 1, of: 2 };
        let mut divider = Divider::new(shard, shard);
        // 0 <- 2 <- 3 and 1 <- 4; 5 is alone.
        let chains = [None, None, Some(0), Some(2), Some(1), None];
        let own: Vec<u64> = (0..)
            .zip(chains)
            .filter(|&(place, after)| divider.takes(&session(place), Some((place, after))))
            .map(|(place, _)| place)
            .collect();
        assert_eq!(own, [1, 4, 5]);
        divider.end();
        assert_eq!(divider.requests(), Some(vec![3, 3]));
    }

    #[test]
    fn the_id_of_a_run_follows_from_seed_and_nonce() {
        // FNV-1a of eight bytes of 0: the offset basis times the prime, eight times.
        let zeros = (0..8).fold(0x811c_9dc5_u32, |hash, _| hash.wrapping_mul(0x0100_0193));
        assert_eq!(run_id(0, ""), format!("{zeros:08x}"));
        assert_ne!(run_id(0, "a"), run_id(1, "a"));
        assert_ne!(run_id(0, "a"), run_id(0, "b"));
    }
}
