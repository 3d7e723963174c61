//! Writes the events of all streams when they are due, in one thread.
//!
//! A thread a stream that sleeps until each of its events costs a switch of threads an event. Here the streams
//! wait in one map by absolute due time. A connection's thread leaves its stream to the pacing thread and waits
//! until the stream is over: all events are written, the client has hung up, or the server stops. When the pacing
//! thread comes late, it wakes the stream's own thread, which writes what is due and waits again. Nothing but the
//! wait for the next due time blocks the pacing thread.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::stream::Stream;
use crate::units::Epoch;

/// The delay up to which a stream is still written by the pacing thread.
///
/// To be later is to be short of CPU, in which one thread has only one thread's share: threads of their own
/// get the streams more of it.
const MAX_LATE_NS: u64 = 5_000_000;

/// A stream that the pacing thread writes and, when that is late, the connection's own.
struct Paced {
    /// The number of its request.
    id: u64,
    /// `None` once its own thread has taken it back.
    stream: Mutex<Option<Stream>>,
    /// Wakes its own thread. A channel, because that yields before it sleeps: a thread that has slept is run at
    /// once when woken, and the pacing thread, short of CPU already, would lose its turn with each one it wakes.
    wake: Sender<()>,
}

/// The streams that wait, by the time at which each goes on and by the number of its request.
type Waiting = BTreeMap<(u64, u64), Arc<Paced>>;

/// Messages of the connections to the pacing thread.
struct Inbox {
    /// Streams that the pacing thread has not seen yet.
    arrived: Waiting,
    /// Until when the pacing thread sleeps; 0 if it does not.
    sleeps_until_ns: u64,
    is_stopping: bool,
}

/// The pacing thread's side (`run`) and the connections' (`pace`).
pub struct Pacer {
    epoch: Epoch,
    inbox: Mutex<Inbox>,
    /// A condition variable, because a channel of crossbeam spins and yields before it sleeps: here before almost
    /// every event.
    changed: Condvar,
}

impl Pacer {
    pub fn new(epoch: Epoch) -> Pacer {
        Pacer {
            epoch,
            inbox: Mutex::new(Inbox {
                arrived: Waiting::new(),
                sleeps_until_ns: 0,
                is_stopping: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Has the events of a stream written; returns it when it is over.
    pub fn pace(&self, mut stream: Stream) -> Stream {
        stream.write_due(self.epoch); // What waits for nothing needs no other thread.
        let Some(next_ns) = stream.next_ns() else {
            return stream;
        };
        let mut inbox = self.inbox();
        if inbox.is_stopping {
            stream.abort();
            return stream;
        }
        let (wake, woken) = bounded(1);
        let paced = Arc::new(Paced {
            id: stream.script.plan.id,
            stream: Mutex::new(Some(stream)),
            wake,
        });
        let key = (next_ns, paced.id);
        inbox.arrived.insert(key, Arc::clone(&paced));
        let is_first = next_ns < inbox.sleeps_until_ns;
        drop(inbox);
        if is_first {
            self.changed.notify_one();
        }
        loop {
            woken.recv().expect("`paced` holds the sender");
            if let Some(stream) = paced.catch_up(self.epoch) {
                return stream;
            }
        }
    }

    /// Paces until `stop` is called; the streams that are not over then are aborted.
    pub fn run(&self) {
        let mut waiting = Waiting::new();
        while self.wait(&mut waiting) {
            if let Some((_, paced)) = waiting.pop_first()
                && let Some(next_ns) = paced.advance(self.epoch.now_ns())
            {
                waiting.insert((next_ns, paced.id), paced);
            }
        }
        waiting.into_values().for_each(|paced| paced.abort());
    }

    pub fn stop(&self) {
        self.inbox().is_stopping = true;
        self.changed.notify_one();
    }

    /// Takes in what arrives, and returns true once a stream is to go on; false when the server stops.
    fn wait(&self, waiting: &mut Waiting) -> bool {
        let mut inbox = self.inbox();
        loop {
            waiting.append(&mut inbox.arrived);
            if inbox.is_stopping {
                return false;
            }
            let first_ns = waiting.first_key_value().map_or(u64::MAX, |(key, _)| key.0);
            let left_ns = first_ns.saturating_sub(self.epoch.now_ns());
            if left_ns == 0 {
                return true;
            }
            inbox.sleeps_until_ns = first_ns;
            let left = Duration::from_nanos(left_ns);
            let woken = self.changed.wait_timeout(inbox, left);
            inbox = woken.expect("no holder panics").0;
            inbox.sleeps_until_ns = 0;
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().expect("no holder panics")
    }
}

impl Paced {
    /// The pacing thread's turn; returns when the next one is, `None` if the stream is over.
    fn advance(&self, now_ns: u64) -> Option<u64> {
        // Nothing that becomes due until then is too late then.
        let soon_ns = now_ns + MAX_LATE_NS;
        let Ok(mut slot) = self.stream.try_lock() else {
            return Some(soon_ns); // Its own thread is writing.
        };
        let stream = slot.as_mut()?;
        let next_ns = stream.next_ns()?;
        if now_ns.saturating_sub(next_ns) > MAX_LATE_NS {
            let due_ns = stream.script.plan.due_after(now_ns);
            drop(slot); // Or its own thread would wake to wait for it.
            self.wake();
            return Some(due_ns.map_or(soon_ns, |due_ns| due_ns.min(soon_ns)));
        }
        if next_ns <= now_ns {
            stream.advance(now_ns);
        }
        let next_ns = stream.next_ns();
        drop(slot);
        if next_ns.is_none() {
            self.wake();
        }
        next_ns
    }

    /// The turn of its own thread: writes what is due, and takes the stream back if it is over.
    fn catch_up(&self, epoch: Epoch) -> Option<Stream> {
        let mut slot = self.stream.lock().expect("no holder panics");
        let stream = slot.as_mut()?;
        stream.write_due(epoch);
        match stream.next_ns() {
            Some(_) => None,
            None => slot.take(),
        }
    }

    fn abort(&self) {
        if let Some(stream) = &mut *self.stream.lock().expect("no holder panics") {
            stream.abort();
        }
        self.wake();
    }

    fn wake(&self) {
        let _ = self.wake.try_send(()); // Full: it has been woken already.
    }
}
