//! Drives a probe: an iterator over its requests, which waits for the reply to one before it asks for the next.

use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;

use super::tally::Tally;
use super::texts::Texts;
use crate::cli::connect::Opened;
use crate::cli::counters::{Counters, EVERY};
use crate::cli::feedback::Feedback;
use crate::cli::reset::reset;
use crate::cli::side::SideUrl;
use crate::cli::step::Step;
use crate::experiment::probe::lab::Request;
use crate::experiment::probe::{Ask, Name, Probe};
use crate::load::stop::Stop;
use crate::plan::Session;
use crate::report::layout::probe as layout;
use crate::stats::facts::ToldFigures;
use crate::stats::probe::Findings;
use crate::units::{counted, rounded};

/// Sends the requests of a probe, and tells it of the replies.
pub struct Driver<'a> {
    probe: Probe,
    texts: Texts,
    counters: &'a Counters,
    /// The route that empties the cache, if the user named one.
    reset: Option<&'a SideUrl>,
    opened: &'a Opened,
    stop: Stop,
    /// Whether the requests of the current pass go out with the other key.
    pub is_other_key: bool,
    feedback: Feedback,
    is_in_flight: bool,
    /// A request that the next pass sends.
    held: Option<Request>,
    next_id: u64,
    tally: Tally,
    /// Who else used the server in a pass that has ended.
    others: Option<String>,
    /// Steps whose lines were printed.
    told: usize,
}

impl<'a> Driver<'a> {
    /// Makes a driver that has sent nothing.
    pub fn new(
        probe: Probe,
        texts: Texts,
        counters: &'a Counters,
        reset: Option<&'a SideUrl>,
        (opened, stop): (&'a Opened, &Stop),
    ) -> Driver<'a> {
        Driver {
            probe,
            texts,
            counters,
            reset,
            opened,
            stop: stop.clone(),
            is_other_key: false,
            feedback: Feedback::new(stop),
            is_in_flight: false,
            held: None,
            next_id: 0,
            tally: Tally::default(),
            others: None,
            told: 0,
        }
    }

    /// Returns the next pass, which sends what this driver asks for with one key.
    pub fn pass(&self) -> Step<'a> {
        Step {
            counters: Some((self.counters, Some(EVERY))),
            ..self.feedback.step(1)
        }
    }

    /// Ends a pass, with what the server's counters tell of it and why it ended. Returns whether another one follows,
    /// with the other key.
    pub fn end_pass(&mut self, told: &ToldFigures, why: &str) -> bool {
        let others = self.tally.end_pass(told);
        let is_stopped = self.stop.is_set();
        if let Some(why) = others.as_deref().or(is_stopped.then_some(why)) {
            self.probe.stop(why);
            self.held = None;
        }
        self.others = self.others.take().or(others);
        self.note_steps();
        self.is_other_key = match &self.held {
            Some(request) => request.is_other_key,
            None => return false,
        };
        true
    }

    /// Returns what was found, and the lines that were not printed yet.
    pub fn finish(self) -> (Findings, String) {
        let mut findings = self.probe.findings().clone();
        if findings.stopped.is_none() {
            findings.stopped = self.others;
        }
        // The server's counters would have the hits of others, or not all of ours.
        if findings.stopped.is_none() {
            self.tally.compare(&mut findings);
        }
        (findings, self.feedback.rest())
    }

    /// Waits for the reply to the request in flight, and hands it on. Returns false if the run was stopped.
    fn take_reply(&mut self) -> bool {
        if !std::mem::take(&mut self.is_in_flight) {
            return true;
        }
        let Some(sample) = self.feedback.wait() else {
            return false;
        };
        self.tally.add(&sample);
        self.probe.tell(&sample);
        if self.tally.is_look_due()
            && let Some((counted, until_ns)) = self.counters.prompt_tokens()
            && let Some(why) = self.tally.others(counted, until_ns)
        {
            self.probe.stop(&why);
        }
        true
    }

    /// Makes the lines of steps that have ended, and the status line.
    fn note_steps(&mut self) {
        let findings = self.probe.findings();
        let feedback = &self.feedback;
        for step in &findings.steps[self.told..] {
            feedback.print(&layout::line(step));
        }
        self.told = findings.steps.len();
        let cost = &findings.cost;
        let step = self.probe.step().map_or("the end", Name::name);
        let (requests, tokens) = (
            counted(cost.requests, "request"),
            rounded(cost.prompt_tokens),
        );
        feedback.show(format!("Probe, {step}: {requests}, {tokens} prompt tokens"));
    }

    /// Waits; returns false if the run was stopped.
    fn wait(&self, time: Duration) -> bool {
        self.stop.woken().recv_timeout(time) == Err(RecvTimeoutError::Timeout)
    }

    fn reset(&mut self) {
        let emptied = match self.reset {
            Some(url) => reset(url, self.opened, &self.stop)
                .map_err(|why| format!("--reset-cache-url {}: {why}", url.shown)),
            None => Err("there is no --reset-cache-url".to_string()),
        };
        if let Err(why) = emptied {
            self.probe.stop(&why);
        }
    }

    fn session(&mut self, request: &Request) -> Session {
        let id = self.next_id;
        self.next_id += 1;
        self.is_in_flight = true;
        Session::single(self.texts.turn(id, request))
    }
}

impl Iterator for Driver<'_> {
    type Item = Session;

    fn next(&mut self) -> Option<Session> {
        if !self.take_reply() {
            return None;
        }
        loop {
            let held = self.held.take().map(Ask::Send);
            let ask = held.or_else(|| self.probe.next());
            self.note_steps();
            match ask? {
                Ask::Send(request) if request.is_other_key != self.is_other_key => {
                    self.held = Some(request);
                    return None;
                }
                Ask::Send(request) => return Some(self.session(&request)),
                Ask::Wait(time) if self.wait(time) => {}
                Ask::Wait(_) => return None,
                Ask::Reset => self.reset(),
            }
        }
    }
}
