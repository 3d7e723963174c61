//! Whether a cache holds a number of contexts, as servers with slots do, rather than a number of tokens: of contexts of
//! three times the length it then holds as many.

use super::belief::Capacity;
use super::lab::{Lab, Prompt, Reading, Request};

/// The most contexts of the shortest length in a cache that may have slots: more of them are tokens.
const MOST: f64 = 16.0;
/// Contexts are so many times as long as those that the capacity was found with.
const LONGER: u64 = 3;
/// Slots then hold so many times the tokens of the capacity, at least.
const MORE: f64 = 1.3;
/// The reading ends after so many misses.
const MISSES: u32 = 2;

/// Sends contexts, then reads them again from the last one on, which drives out none that was not read.
#[derive(Debug)]
pub struct Slots {
    capacity_tokens: f64,
    tokens: u64,
    unsent: u32,
    sent: Vec<u64>,
    found: u64,
    found_tokens: f64,
    misses: u32,
}

impl Slots {
    /// Makes the machine for a cache that holds few contexts and for a server that takes longer ones.
    pub fn plan(lab: &Lab, capacity: Capacity) -> Option<Slots> {
        let contexts = (capacity.high / lab.shortest_tokens as f64).ceil();
        let tokens = LONGER * lab.shortest_tokens;
        (contexts <= MOST && tokens <= lab.longest_tokens).then(|| Slots {
            capacity_tokens: capacity.high,
            tokens,
            unsent: contexts as u32 + 1,
            sent: Vec::new(),
            found: 0,
            found_tokens: 0.0,
            misses: 0,
        })
    }

    pub fn next(&mut self, lab: &mut Lab) -> Option<Prompt> {
        if self.unsent > 0 {
            return Some(lab.new_prompt(self.tokens));
        }
        let text = self.sent.pop().filter(|_| self.misses < MISSES)?;
        Some(Prompt::whole(text, self.tokens))
    }

    pub fn tell(&mut self, lab: &mut Lab, request: &Request, reading: &Reading) {
        let text = request.prompt.text;
        if self.unsent > 0 {
            self.unsent -= 1;
            self.sent.push(text);
            lab.wrote(text, reading);
            return;
        }
        let found = lab.found_part(reading, reading.tokens);
        let part = found.map_or(0.0, |(part, _)| part.clamp(0.0, 1.0));
        self.found_tokens += part * reading.tokens as f64;
        match part > 0.5 {
            true => self.found += 1,
            false => self.misses += 1,
        }
        lab.read_again(text, reading);
    }

    /// Returns the number of slots; `None` if what was found fits into the capacity.
    pub fn contexts(&self) -> Option<u64> {
        let is_more = self.found_tokens > MORE * self.capacity_tokens;
        (self.found > 1 && is_more).then_some(self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::capacity;
    use super::super::policy::Order;
    use super::super::simulator::{BASE_S, SECONDS_A_TOKEN, Server};
    use super::super::step::{Ask, Step};
    use super::*;
    use crate::stats::probe::Findings;

    const TOKENS: u64 = 256;

    /// Returns what the capacity step finds out, after controls of so many lengths, whose repeats the cache holds.
    fn found(has_usage: bool, lengths: u64, mut send: impl FnMut(&Prompt) -> Reading) -> Findings {
        let mut lab = Lab::new(100 * TOKENS);
        lab.shortest_tokens = TOKENS;
        (lab.trusts_time, lab.trusts_usage) = (true, has_usage);
        for round in 0..20 {
            let prompt = lab.new_prompt(TOKENS * (1 + round % lengths));
            let reading = send(&prompt);
            lab.wrote(prompt.text, &reading);
            let reading = send(&prompt);
            lab.repeated(prompt.text, &reading);
        }
        let mut machine = capacity::Machine::default();
        while let Some(Ask::Send(request)) = machine.next(&mut lab) {
            let reading = send(&request.prompt);
            machine.tell(&mut lab, &request, &reading);
        }
        let mut findings = Findings::default();
        machine.conclude(&mut lab, &mut findings);
        findings
    }

    #[test]
    fn slots_are_counted_whatever_the_length_of_their_contexts() {
        let (mut right, mut others) = (0, Vec::new());
        for slots in 2..=8 {
            for seed in 0..10 {
                for has_usage in [true, false] {
                    let mut rng = fastrand::Rng::with_seed(seed);
                    let mut held: Vec<u64> = Vec::new();
                    let found = found(has_usage, 4, |prompt| {
                        let is_held = held.contains(&prompt.text);
                        held.retain(|&text| text != prompt.text);
                        held.push(prompt.text);
                        held.drain(..held.len().saturating_sub(slots));
                        let gap_s = SECONDS_A_TOKEN * prompt.tokens as f64;
                        let cold_s = if is_held { 0.0 } else { gap_s };
                        let noise_s = gap_s * 0.1 * (rng.f64() + rng.f64() + rng.f64() - 1.5);
                        Reading {
                            tokens: prompt.tokens,
                            cached: has_usage.then_some(if is_held { prompt.tokens } else { 0 }),
                            ttft_s: BASE_S + cold_s + noise_s,
                            answer: None,
                            sent_s: 0.0,
                        }
                    });
                    let tiers = found.tiers.unwrap_or_default();
                    let contexts: Vec<Option<u64>> =
                        tiers.iter().map(|tier| tier.contexts).collect();
                    match contexts == [Some(slots as u64)] {
                        true => right += 1,
                        false => others.push((slots, has_usage, tiers)),
                    }
                }
            }
        }
        // Of 140.
        assert!(right >= 133, "{right} are right; {others:?}");
    }

    #[test]
    fn a_small_cache_of_tokens_has_no_slots() {
        for order in [Order::Lru, Order::Fifo, Order::Mru, Order::Random] {
            for seed in 0..40 {
                let blocks = 20 + 6 * seed as usize;
                let mut server = Server::new(order, &[blocks], 16, seed);
                server.has_usage = seed % 2 == 0;
                let lengths = (16 * blocks as u64 / TOKENS).min(4);
                let found = found(seed % 2 == 0, lengths, |prompt| server.send(prompt));
                let tiers = found.tiers.unwrap_or_default();
                let slots = tiers.iter().find_map(|tier| tier.contexts);
                assert_eq!(slots, None, "{order:?} of {blocks} blocks");
            }
        }
    }
}
