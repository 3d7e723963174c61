//! The fixed workloads: a few requests of set lengths, each with a text of its own.

use super::calibration::Calibration;
use super::prompt::Writer;
use super::{Prompt, Session, Turn, escape};
use crate::sample::{Labels, Workload};

/// One fixed workload: its requests, and how many are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    pub workload: Workload,
    pub requests: u64,
    /// Requests in flight at once.
    pub in_flight: u64,
}

const SHORT: Fixed = Fixed::new(Workload::Short, 5, 1);
const LONG: Fixed = Fixed::new(Workload::Long, 3, 1);
const STRESS: Fixed = Fixed::new(Workload::Stress, 10, 10);

/// Returns the workloads of a name on the command line; `None`: no such name.
pub fn named(name: &str) -> Option<&'static [Fixed]> {
    match name {
        "year1" => Some(&[SHORT, LONG, STRESS]),
        "short" => Some(&[SHORT]),
        "long" => Some(&[LONG]),
        "stress" => Some(&[STRESS]),
        _ => None,
    }
}

impl Fixed {
    const fn new(workload: Workload, requests: u64, in_flight: u64) -> Fixed {
        Fixed {
            workload,
            requests,
            in_flight,
        }
    }

    /// Returns its requests, numbered from `first_id`; no two of a run begin alike.
    pub fn sessions(
        self,
        first_id: u64,
        writer: &Writer,
        calibration: &Calibration,
    ) -> impl Iterator<Item = Session> {
        let tokens = self.workload.tokens();
        let words = calibration.words_of(tokens);
        let writer = writer.clone();
        (first_id..first_id.saturating_add(self.requests)).map(move |id| {
            let labels = Labels {
                workload: Some(self.workload),
                concurrency: Some(self.in_flight),
                wanted_prompt_tokens: Some(tokens),
                wanted_output_tokens: Some(tokens),
                ..Labels::default()
            };
            let prompt = Prompt::Text(vec![escape(&writer.context(id, words))]);
            Session::single(Turn::alone(id, labels, prompt, Some(tokens)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_one_workload_or_for_all_in_order() {
        let shapes = |name| {
            let fixed = named(name).expect(name).iter();
            let shapes = fixed.map(|f| (f.workload.tokens(), f.requests, f.in_flight));
            shapes.collect::<Vec<_>>()
        };
        let (short, long, stress) = ((128, 5, 1), (200, 3, 1), (256, 10, 10));
        assert_eq!(shapes("year1"), [short, long, stress]);
        assert_eq!(shapes("short"), [short]);
        assert_eq!(shapes("long"), [long]);
        assert_eq!(shapes("stress"), [stress]);
        assert!(named("year2").is_none());
    }

    #[test]
    fn requests_have_the_words_that_make_the_tokens_and_begin_unlike_each_other() {
        // Two tokens a word and three more: 128 tokens are 62.5 words, rounded up.
        let calibration = Calibration::fit((10, 23), (20, 43)).expect("a rising line");
        let writer = Writer::new(1, "n");
        let mut firsts = std::collections::HashSet::new();
        for (id, mut session) in (7..).zip(SHORT.sessions(7, &writer, &calibration)) {
            let turn = session.next(None).expect("one turn");
            assert_eq!((turn.id, turn.max_tokens), (id, Some(128)));
            assert_eq!(turn.labels.workload, Some(Workload::Short));
            let Prompt::Text(texts) = &turn.prompt else {
                panic!("a text");
            };
            let words: Vec<&str> = texts[0].split(' ').collect();
            assert_eq!(words.len(), 63);
            assert!(firsts.insert(words[0].to_string()));
            assert!(session.next(None).is_none());
        }
        assert_eq!(firsts.len(), 5);
    }
}
