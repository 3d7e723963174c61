//! The tokens that the server counted of the prompts of a batch, for the cache that would have held them all.

use super::prompt::ALIKE_TOKENS;
use crate::sample::{Phase, Sample};

/// Tokens of a block of most engines' caches.
const BLOCK_TOKENS: u64 = 16;

/// The counts of a batch by the places of its requests.
#[derive(Debug, Default)]
pub struct Counted {
    first_id: u64,
    /// Tokens of the prompts of successes; 0: the request failed, or nobody counted.
    tokens: Vec<u32>,
    /// A success has a count.
    is_any: bool,
    /// A count differs from the plan.
    is_off: bool,
    /// A reply reported cached tokens that are no whole blocks: the cache holds single tokens.
    has_single_tokens: bool,
    /// Tokens that the server puts around a text.
    template_tokens: u64,
}

impl Counted {
    /// The counts of a batch whose requests begin with `first_id`.
    pub fn new(first_id: u64, template_tokens: u64) -> Counted {
        Counted {
            first_id,
            template_tokens,
            ..Counted::default()
        }
    }

    /// Takes in a request that has ended.
    pub fn add(&mut self, sample: &Sample) {
        let is_measured = sample.is_success() && sample.phase == Phase::Measured;
        let place = sample.id.checked_sub(self.first_id);
        let place = place.and_then(|place| usize::try_from(place).ok());
        let Some((place, tokens)) = place.zip(sample.prompt_tokens.filter(|_| is_measured)) else {
            return;
        };
        if self.tokens.len() <= place {
            self.tokens.resize(place + 1, 0);
        }
        self.tokens[place] = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.is_any |= tokens > 0;
        let wanted = sample.labels.wanted_prompt_tokens;
        self.is_off |= wanted.is_some_and(|wanted| wanted != tokens);
        let cached = sample.cached_tokens.unwrap_or(0);
        self.has_single_tokens |= !cached.is_multiple_of(BLOCK_TOKENS);
    }

    /// Whether any request has a count.
    pub fn is_any(&self) -> bool {
        self.is_any
    }

    /// The tokens of the request at a place; `None`: it failed, or nobody counted.
    pub fn of(&self, place: usize) -> Option<u64> {
        let tokens = self.tokens.get(place).copied().unwrap_or(0);
        (tokens > 0).then_some(u64::from(tokens))
    }

    /// Tokens of a block of the cache, as far as its hits tell.
    pub fn block_tokens(&self) -> u64 {
        match self.has_single_tokens {
            true => 1,
            false => BLOCK_TOKENS,
        }
    }

    /// The tokens that a prompt begins with as all others do: the template's and, where single tokens count, those
    /// that texts begin with alike by chance.
    pub fn common_tokens(&self) -> u64 {
        match (self.is_any, self.has_single_tokens) {
            (false, _) => 0,
            (true, false) => self.template_tokens,
            (true, true) => self.template_tokens + ALIKE_TOKENS,
        }
    }

    /// The tokens that a prompt has in common with others that share `planned` tokens of it by the plan, at the most.
    ///
    /// Tokens above the plan may all lie in the text that is shared. Where counts differ from the plan, the words of the
    /// shared text may be a few tokens more than those of the others, which a prompt as long as planned hides.
    pub fn shared_tokens(&self, planned: u64, wanted: u64, tokens: u64) -> u64 {
        let hidden = match self.is_off && !self.has_single_tokens {
            true => ALIKE_TOKENS,
            false => 0,
        };
        planned + tokens.saturating_sub(wanted) + self.common_tokens() + hidden
    }
}
