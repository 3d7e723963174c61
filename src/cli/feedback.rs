//! The way back from the replies of an experiment to the state machine that decides what is sent next, and the text
//! that it shows meanwhile.

use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, select, unbounded};

use super::step::Step;
use super::terminal::is_printed;
use crate::collect::{Extent, Tell};
use crate::load::stop::{Reason, Stop};
use crate::lock::lock;
use crate::sample::Sample;
use crate::tty::StatusLine;

pub struct Feedback {
    tell: Sender<Sample>,
    ended: Receiver<Sample>,
    shown: Arc<Mutex<Shown>>,
    stop: Stop,
}

/// The text that the collector shows.
#[derive(Default)]
struct Shown {
    /// Lines that are not printed yet.
    lines: String,
    status: String,
}

impl Feedback {
    pub fn new(stop: &Stop) -> Feedback {
        let (tell, ended) = unbounded();
        Feedback {
            tell,
            ended,
            shown: Arc::default(),
            stop: stop.clone(),
        }
    }

    /// Returns a pass whose samples come back here, and which shows the text.
    pub fn step<'a>(&self, in_flight: u64) -> Step<'a> {
        let tell = self.tell.clone();
        Step {
            on_sample: Box::new(move |sample| {
                // After the end of the run nobody waits for samples.
                let _ = tell.send(sample.clone());
                Ok(())
            }),
            tell: Some(self.shows()),
            ..Step::new(String::new(), Extent::Requests(u64::MAX), in_flight)
        }
    }

    fn shows<'a>(&self) -> Tell<'a> {
        let (shown, stop) = (Arc::clone(&self.shown), self.stop.clone());
        Box::new(move |status: &mut StatusLine| {
            let (lines, text) = {
                let mut shown = lock(&shown);
                (std::mem::take(&mut shown.lines), shown.status.clone())
            };
            if !lines.is_empty() {
                status.clear();
                if !is_printed(&lines).unwrap_or(false) {
                    stop.request(Reason::Closed);
                }
            }
            status.show(|| text);
        })
    }

    /// Waits for the next reply; `None`: the run was stopped.
    pub fn wait(&self) -> Option<Sample> {
        let sample = select! {
            recv(self.ended) -> sample => sample.ok(),
            recv(self.stop.woken()) -> _ => None,
        };
        sample.filter(|_| !self.stop.is_set())
    }

    /// Returns the replies that have come and were not taken.
    pub fn come(&self) -> impl Iterator<Item = Sample> + use<'_> {
        self.ended.try_iter()
    }

    /// Adds a line of results, with its line break.
    pub fn print(&self, line: &str) {
        lock(&self.shown).lines += line;
    }

    /// Sets the text of the status line.
    pub fn show(&self, status: String) {
        lock(&self.shown).status = status;
    }

    /// Takes the lines that were not printed.
    pub fn rest(&self) -> String {
        std::mem::take(&mut lock(&self.shown).lines)
    }
}
