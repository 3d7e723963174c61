//! One pass of a run: what a command asks for, its plan, and its result.

use std::cell::RefCell;
use std::time::Duration;

use super::counters::Counters;
use crate::client::Client;
use crate::collect::{Blocks, Extent, OnSample, Progress, Series, Tell, View};
use crate::error::Result;
use crate::load::open::{Due, Ran};
use crate::load::pool::Shared;
use crate::load::{self, Limit};
use crate::plan::Session;
use crate::plan::shard::{Divider, Shard, divided};
use crate::stats::facts::Facts;
use crate::stats::records::Records;

/// One pass, as a command asks for it.
pub struct Step<'a> {
    /// The beginning of the progress line; empty: no progress line.
    pub label: String,
    pub extent: Extent,
    /// Requests in flight at once.
    pub in_flight: u64,
    pub records: Records,
    /// Requests sent within this time after the first are in no figure; `None`: no request is in any figure.
    pub warmup: Option<Duration>,
    /// Rates are over the duration of the pass, not from the first send to the last end; requests that are in flight at
    /// the end of a duration are cut.
    pub is_window: bool,
    /// Waits for a server that does not answer for as long as it takes.
    pub is_patient: bool,
    /// The server's counters to read during the requests, and the interval; without one they are read after every
    /// request.
    pub counters: Option<(&'a Counters, Option<Duration>)>,
    pub on_sample: OnSample<'a>,
    /// The lines of other series.
    pub series: Series,
    pub blocks: Option<Blocks<'a>>,
    /// Takes the place of the progress line.
    pub tell: Option<Tell<'a>>,
}

/// The plan of a pass.
pub enum Sending<'a> {
    Closed(Box<dyn Iterator<Item = Session> + 'a>),
    Open(Box<dyn Iterator<Item = Due> + 'a>),
}

/// The result of a pass: its requests, and the facts that every command has.
pub struct Sent {
    pub records: Records,
    pub facts: Facts,
    /// Requests that ended, including those that were cut.
    pub ended: u64,
    /// An id above those of its samples.
    pub end_id: u64,
}

impl Sending<'_> {
    pub fn is_open(&self) -> bool {
        matches!(self, Sending::Open(_))
    }

    /// Sends it all, or the part that is the divider's, until it ends, the limit is reached or the run is stopped. `clients`:
    /// those of each side; an open loop has one side. Returns what an open loop tells of itself.
    ///
    /// # Errors
    /// Fails when the system refuses a thread.
    pub fn send(
        self,
        mut clients: Vec<Vec<Client>>,
        shared: Shared,
        limit: Limit,
        divider: &RefCell<Option<Divider>>,
    ) -> Result<Option<Ran>> {
        match self {
            Sending::Closed(plan) => {
                let plan = divided(plan, divider, |divider, session| {
                    divider.takes(session, None)
                });
                load::run(plan, clients, shared, limit).map(|()| None)
            }
            Sending::Open(plan) => {
                let plan = divided(plan, divider, |divider, due: &Due| {
                    let chain = due.order.map(|order| (order.place, order.after));
                    divider.due(due.due_ns);
                    divider.takes(&due.session, chain)
                });
                load::open::run(plan, clients.swap_remove(0), shared, limit.duration()).map(Some)
            }
        }
    }
}

impl Sent {
    /// The end of the window, or of the last request.
    pub fn t_end_ns(&self) -> u64 {
        let Records { list, controls, .. } = &self.records;
        let ends_ns = list.iter().chain(controls).map(|record| record.t_end_ns());
        let window_end_ns = self.facts.window_ns.map(|(_, end_ns)| end_ns);
        window_end_ns.or(ends_ns.max()).unwrap_or_default()
    }
}

impl<'a> Step<'a> {
    pub fn new(label: String, extent: Extent, in_flight: u64) -> Step<'a> {
        Step {
            label,
            extent,
            in_flight,
            records: Records::kept(),
            warmup: Some(Duration::ZERO),
            is_window: false,
            is_patient: false,
            counters: None,
            on_sample: Box::new(|_| Ok(())),
            series: Box::new(Vec::new),
            blocks: None,
            tell: None,
        }
    }

    /// Returns the part of a pass that is a shard's own, and the pass with its own numbers of requests.
    pub fn own_part(self, shard: Option<Shard>, is_open: bool) -> (Option<Shard>, Step<'a>) {
        let part = shard.map(|shard| match is_open {
            // Every process has all threads of an open loop.
            true => shard,
            false => shard.within(self.in_flight),
        });
        let own_in_flight = part
            .filter(|_| !is_open)
            .map(|part| part.part(self.in_flight));
        let own = Step {
            in_flight: own_in_flight.unwrap_or(self.in_flight),
            extent: match (self.extent, part) {
                (Extent::Requests(n), Some(part)) if n < u64::MAX => Extent::Requests(part.part(n)),
                (extent, _) => extent,
            },
            ..self
        };
        (part, own)
    }

    /// Returns the requests in flight at once, and the limit of the load.
    pub fn limits(&self) -> (u64, Limit) {
        match self.extent {
            Extent::Requests(requests) => (self.in_flight.min(requests), Limit::None),
            Extent::Duration(duration) if self.is_window => (self.in_flight, Limit::Cut(duration)),
            Extent::Duration(duration) => (self.in_flight, Limit::Drain(duration)),
        }
    }

    /// Takes what is shown while the requests are sent.
    pub fn view(&mut self) -> View<'a> {
        match (self.blocks.take(), self.tell.take()) {
            (Some(blocks), _) => View::Blocks(blocks),
            (None, Some(tell)) => View::Told(tell),
            (None, None) if !self.label.is_empty() => View::Progress(Progress {
                label: std::mem::take(&mut self.label),
                extent: self.extent,
            }),
            (None, None) => View::Nothing,
        }
    }
}
