//! Whether the greedy answer to a prompt is the same when it comes from the cache.

use super::lab::{Lab, Prompt, Reading, Request};
use super::step::{Answer, Ask, Step};
use crate::stats::probe::Findings;

const PROMPTS: usize = 3;
const OUTPUT_TOKENS: u64 = 8;
/// How often a prompt is repeated whose first repeat is answered as the new prompt was, and one where it was not: if all
/// repeats agree with each other, the server gives the same answer to the same request, but not from the cache.
const REPEATS: usize = 1;
const DOUBTFUL_REPEATS: usize = 5;

/// The machine that compares answers.
#[derive(Debug, Default)]
pub struct Machine {
    asked: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    prompt: Prompt,
    cold: Option<u64>,
    warm: Vec<Option<u64>>,
    is_sent: bool,
}

/// The finding of the answers to one prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Same,
    /// All repeats have one answer, the new prompt has another one.
    Differs,
    /// Repeats differ from each other.
    Random,
    /// Answers were not kept, or too few came.
    Unknown,
}

impl Asked {
    fn is_done(&self) -> bool {
        let is_doubtful = self.warm.first().is_some_and(|warm| *warm != self.cold);
        let most = match is_doubtful {
            true => DOUBTFUL_REPEATS,
            false => REPEATS,
        };
        self.warm.len() >= most
    }

    fn outcome(&self) -> Outcome {
        let Some(first) = self.warm.first().filter(|_| self.is_done()) else {
            return Outcome::Unknown;
        };
        match self.warm.iter().all(|warm| warm == first) {
            _ if self.cold.is_none() || self.warm.contains(&None) => Outcome::Unknown,
            false => Outcome::Random,
            true if *first == self.cold => Outcome::Same,
            true => Outcome::Differs,
        }
    }
}

impl Step for Machine {
    fn next(&mut self, lab: &mut Lab) -> Option<Ask> {
        if self.asked.last().is_none_or(Asked::is_done) {
            if self.asked.len() >= PROMPTS {
                return None;
            }
            self.asked.push(Asked {
                prompt: lab.new_prompt(lab.shortest_tokens),
                cold: None,
                warm: Vec::new(),
                is_sent: false,
            });
        }
        let asked = self.asked.last()?;
        Some(Ask::Send(Request {
            output_tokens: OUTPUT_TOKENS,
            ..Request::new(asked.prompt)
        }))
    }

    fn tell(&mut self, lab: &mut Lab, request: &Request, reading: &Reading) {
        let Some(asked) = self.asked.last_mut() else {
            return;
        };
        let text = request.prompt.text;
        match asked.is_sent {
            true => {
                lab.repeated(text, reading);
                asked.warm.push(reading.answer);
            }
            false => {
                lab.wrote(text, reading);
                asked.cold = reading.answer;
                asked.is_sent = true;
            }
        }
    }

    fn conclude(&mut self, _: &mut Lab, findings: &mut Findings) -> Answer {
        let outcomes: Vec<Outcome> = self.asked.iter().map(Asked::outcome).collect();
        let count = |outcome| outcomes.iter().filter(|&&own| own == outcome).count();
        let (all, differ) = (outcomes.len(), count(Outcome::Differs));
        let (same_answer, words) = match () {
            () if count(Outcome::Random) > 0 => (
                None,
                "the server gives different answers to the same request".to_string(),
            ),
            () if count(Outcome::Unknown) > 0 || all == 0 => {
                (None, "no answers to compare".to_string())
            }
            () if differ > 0 => (
                Some(false),
                format!("an answer from the cache differs from the cold one: {differ} of {all}"),
            ),
            () => (
                Some(true),
                format!("{all} of {all} answers are the same cold and warm"),
            ),
        };
        findings.same_answer = same_answer;
        Answer {
            words,
            is_clear: same_answer.is_some(),
            is_lie: same_answer == Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::odd::{Odd, Text};
    use super::*;

    #[test]
    fn answers_from_the_cache_are_compared_with_cold_ones() {
        let cases = [
            (
                Text::Greedy,
                Some(true),
                "3 of 3 answers are the same cold and warm",
                6,
            ),
            (
                Text::Corrupt,
                Some(false),
                "an answer from the cache differs from the cold one: 3 of 3",
                18,
            ),
            (
                Text::Random,
                None,
                "the server gives different answers to the same request",
                18,
            ),
            (Text::None, None, "no answers to compare", 6),
        ];
        for (text, same_answer, words, requests) in cases {
            let mut server = Odd::new(16, 1);
            server.text = text;
            let (mut lab, mut findings) = (Lab::new(512), Findings::default());
            let answer = server.ask(&mut Machine::default(), &mut lab, &mut findings);
            assert_eq!((findings.same_answer, &*answer.words), (same_answer, words));
            assert_eq!(answer.is_lie, same_answer == Some(false));
            assert_eq!(answer.is_clear, same_answer.is_some());
            assert_eq!(server.requests, requests);
        }
    }

    #[test]
    fn a_server_with_two_answers_is_seldom_accused() {
        // A prompt looks corrupt when all five repeats have the answer that the new prompt did not have: 1 in 32. One in
        // two looks the same. Accused: (1/2 + 1/32)³ − (1/2)³ = 2.5 %.
        let mut accused = 0;
        for seed in 0..1000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut lab, mut findings) = (Lab::new(512), Findings::default());
            let (mut machine, mut server) = (Machine::default(), Odd::new(16, seed));
            while let Some(Ask::Send(request)) = machine.next(&mut lab) {
                let mut reading = server.send(&request);
                reading.answer = Some(rng.u64(0..2));
                machine.tell(&mut lab, &request, &reading);
            }
            machine.conclude(&mut lab, &mut findings);
            accused += u32::from(findings.same_answer == Some(false));
        }
        assert!(accused <= 40, "{accused} of 1000");
    }
}
