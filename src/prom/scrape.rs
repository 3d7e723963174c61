//! Scrapes: a page is fetched, stamped and read, on request or by a thread on a schedule.

use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::change::Observation;
use super::parse::parse;
use super::series::Wanted;
use crate::client::http::Small;
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::units::{Epoch, nanoseconds};

/// Limit of the last scrape of a run that was stopped, in total.
const STOPPED_WAIT: Duration = Duration::from_millis(250);

/// One /metrics page and the names wanted from it.
pub struct Scraper {
    small: Small,
    url: String,
    wanted: Wanted,
    epoch: Epoch,
}

impl Scraper {
    /// `epoch`: what the observations' stamps count from, as those of the requests.
    pub fn new(small: Small, url: String, wanted: Wanted, epoch: Epoch) -> Scraper {
        Scraper {
            small,
            url,
            wanted,
            epoch,
        }
    }

    /// Scrapes once; takes at most 20 s.
    ///
    /// # Errors
    /// The reason why there is no observation: out of reach, a status that is not 2xx, no metrics.
    pub fn scrape(&self) -> std::result::Result<Observation, String> {
        let t_begin_ns = self.epoch.now_ns();
        let text = fetch(&self.small, &self.url)?;
        let t_end_ns = self.epoch.now_ns();
        Ok(Observation {
            t_begin_ns,
            t_end_ns,
            values: self.wanted.read(&parse(&text)?),
        })
    }
}

/// Fetches the text of a page.
///
/// # Errors
/// The kind of the failure and its reason, or the status.
pub fn fetch(small: &Small, url: &str) -> std::result::Result<String, String> {
    let page = small.get(url).map_err(|failure| failure.to_string())?;
    match page.status {
        200..300 => Ok(page.text),
        status => Err(format!("HTTP status {status}")),
    }
}

/// The observations of all scrapes of a run. Scrapes wait for one another, so that observations do not overlap.
pub struct Recorder {
    scraper: Mutex<Scraper>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub observations: Vec<Observation>,
    /// Scrapes that failed, and why the first of them did.
    pub errors: u64,
    pub first_error: Option<String>,
}

impl Recorder {
    pub fn new(scraper: Scraper) -> Arc<Recorder> {
        Arc::new(Recorder {
            scraper: Mutex::new(scraper),
            seen: Mutex::default(),
        })
    }

    /// Scrapes and keeps the observation, or counts the error. Returns when that is done.
    pub fn scrape_now(&self) {
        let scraper = lock(&self.scraper);
        let observed = scraper.scrape();
        // Still under the scraper's lock: observations come in the order of time.
        let mut seen = self.seen();
        match observed {
            Ok(observation) => seen.observations.push(observation),
            Err(why) => {
                seen.errors += 1;
                seen.first_error.get_or_insert(why);
            }
        }
    }

    /// Makes the scrape after the last request. If the user is waiting for the end of the run, a page that hangs is not
    /// waited for.
    pub fn scrape_last(self: &Arc<Recorder>, is_stopped: bool) {
        if !is_stopped {
            return self.scrape_now();
        }
        let recorder = Arc::clone(self);
        let (told, done) = bounded::<()>(0);
        thread::spawn(move || {
            recorder.scrape_now();
            drop(told);
        });
        let _ = done.recv_timeout(STOPPED_WAIT);
    }

    /// Returns the observations so far. Scrapes wait while the guard is held.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

/// Scrapes every `interval` from now on, until the returned sender is dropped or sends: the first is due after
/// one interval. A scrape under way is finished.
///
/// Due times are absolute. Those that pass while a scrape takes its time are left out.
///
/// # Errors
/// When the system refuses the thread.
pub fn start(recorder: Arc<Recorder>, interval: Duration) -> Result<Sender<()>> {
    let (end, ended) = bounded(1);
    let epoch = lock(&recorder.scraper).epoch;
    let started = thread::Builder::new()
        .name("scraper".to_string())
        .spawn(move || run(&recorder, epoch, nanoseconds(interval).max(1), &ended));
    started.map_err(|e| Error::input("scraper thread", e))?;
    Ok(end)
}

fn run(recorder: &Recorder, epoch: Epoch, interval_ns: u64, ended: &Receiver<()>) {
    let mut due_ns = epoch.now_ns() + interval_ns;
    while ended.recv_deadline(epoch.instant(due_ns)) == Err(RecvTimeoutError::Timeout) {
        recorder.scrape_now();
        due_ns = next_due(due_ns, interval_ns, epoch.now_ns());
    }
}

/// Returns the first due time after now.
fn next_due(due_ns: u64, interval_ns: u64, now_ns: u64) -> u64 {
    due_ns + interval_ns * (now_ns.saturating_sub(due_ns) / interval_ns + 1)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};

    use super::super::change::beside;
    use super::super::selector::Selector;
    use super::super::series::Reading;
    use super::*;
    use crate::client::http::Link;
    use crate::client::wire::Timeouts;

    const MS: u64 = 1_000_000;

    /// Answers the n-th request, from 1 on, with the status and body of `answer`, after `delay`.
    fn serve(
        delay: Duration,
        answer: impl Fn(u64) -> (u16, String) + Send + 'static,
    ) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            for (stream, n) in listener.incoming().flatten().zip(1..) {
                let mut stream = stream;
                // The head of a GET comes in one piece on loopback.
                let _ = stream.read(&mut [0; 4096]);
                thread::sleep(delay);
                let (status, body) = answer(n);
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
                );
            }
        });
        addr
    }

    fn scraper(addr: SocketAddr) -> Scraper {
        let second = Duration::from_secs(1);
        let epoch = Epoch::start();
        let link = Link::bare(vec![addr], Timeouts::all(second), epoch);
        let selector = Selector::parse("c_total").expect("a name");
        let wanted = Wanted::new(vec![selector]);
        Scraper::new(
            Small::new(link),
            format!("http://{addr}/metrics"),
            wanted,
            epoch,
        )
    }

    fn counting(delay: Duration) -> SocketAddr {
        serve(delay, |n| (200, format!("c_total {n}\n")))
    }

    #[test]
    fn a_scrape_is_stamped_around_its_page() {
        let scraper = scraper(counting(Duration::from_millis(20)));
        let first = scraper.scrape().expect("a page");
        let second = scraper.scrape().expect("a page");
        assert!(first.t_end_ns - first.t_begin_ns >= 20 * MS);
        assert!(second.t_begin_ns >= first.t_end_ns);
        assert_eq!(first.values, [Reading::Counter(Some(1.0))]);
        assert_eq!(second.values, [Reading::Counter(Some(2.0))]);
    }

    #[test]
    fn what_is_no_page_of_metrics_says_why() {
        for (status, body, why) in [
            (404, "Not Found", "HTTP status 404"),
            (302, "", "HTTP status 302"),
            (200, "<html>", "line 1: HTML or XML, not metrics"),
            (200, "", "an empty page"),
            (
                200,
                "# EOF\nc_total x\n",
                "line 2: \"c_total\": \"x\" is not a number",
            ),
        ] {
            let addr = serve(Duration::ZERO, move |_| (status, body.to_string()));
            assert_eq!(scraper(addr).scrape(), Err(why.to_string()));
        }
        let closed = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = closed.local_addr().expect("it is bound");
        drop(closed);
        let why = scraper(addr).scrape().expect_err("nobody listens");
        assert!(why.starts_with("connect: "), "{why}");
    }

    #[test]
    fn errors_are_counted_and_the_first_is_kept() {
        let addr = serve(Duration::ZERO, |n| match n {
            2 => (500, String::new()),
            3 => (200, "oops".to_string()),
            n => (200, format!("c_total {n}\n")),
        });
        let recorder = Recorder::new(scraper(addr));
        for _ in 0..4 {
            recorder.scrape_now();
        }
        let seen = recorder.seen();
        assert_eq!((seen.observations.len(), seen.errors), (2, 2));
        assert_eq!(seen.first_error.as_deref(), Some("HTTP status 500"));
        // The pages 1 and 4.
        let change = beside(&seen.observations, 0, u64::MAX / 2, u64::MAX);
        assert_eq!(change, None, "nothing after");
        let first_end_ns = seen.observations[0].t_end_ns;
        let change = beside(&seen.observations, 0, first_end_ns, first_end_ns + 1);
        assert_eq!(change, Some(3.0));
    }

    #[test]
    fn the_thread_scrapes_on_its_schedule_until_its_end_and_never_over_another_scrape() {
        let recorder = Recorder::new(scraper(counting(Duration::from_millis(2))));
        let start_ns = lock(&recorder.scraper).epoch.now_ns();
        let end = start(Arc::clone(&recorder), Duration::from_millis(20)).expect("a thread");
        let epoch = lock(&recorder.scraper).epoch;
        let others = [0; 4].map(|_| {
            let recorder = Arc::clone(&recorder);
            thread::spawn(move || recorder.scrape_now())
        });
        let waits = bounded::<()>(0);
        // Long enough for four due times.
        let _ = waits.1.recv_deadline(epoch.instant(start_ns + 90 * MS));
        drop(end);
        for other in others {
            other.join().expect("no panic");
        }
        // A scrape under way at the end is finished; it holds the lock.
        let _ = waits.1.recv_timeout(Duration::from_millis(60));
        let observations = recorder.seen().observations.clone();
        let elapsed_ns = epoch.now_ns() - start_ns;
        let by_thread = observations.len() as u64 - 4;
        assert!(
            by_thread >= 1 && by_thread <= elapsed_ns / (20 * MS),
            "{by_thread}"
        );
        for pair in observations.windows(2) {
            assert!(pair[0].t_end_ns <= pair[1].t_begin_ns);
        }
        let _ = waits.1.recv_timeout(Duration::from_millis(60));
        let later = recorder.seen().observations.len();
        assert_eq!(later, observations.len(), "it has ended");
    }

    #[test]
    fn due_times_that_pass_during_a_scrape_are_left_out() {
        for (now_ms, next_ms) in [(1000, 2000), (1999, 2000), (2000, 3000), (5500, 6000)] {
            assert_eq!(next_due(1000, 1000, now_ms), next_ms, "{now_ms}");
        }
    }
}
