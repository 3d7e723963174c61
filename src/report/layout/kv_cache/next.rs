//! The next step after the verdict on the KV cache.

use serde_json::Value;

use crate::report::document::Next;
use crate::report::layout::findings::{count, list, option, prompts};
use crate::report::layout::next::{Cycle, ROTATIONS, Server, To};
use crate::stats::kv_cache::{Decision, Reason, Verdict};

/// Contexts of a cycle after a command that has none.
const CONTEXTS: u64 = 20;
/// Requests of a cycle among which `benchmark` sends enough controls for times to tell hits from misses: a pair in 40.
const ENOUGH_REQUESTS: u64 = 640;
/// Prompt tokens that a probe may send to a server on another machine.
const BUDGET: &str = "--budget-tokens 2M";
/// The prompt tokens of a `load` whose prefill is long enough for its times to tell, and the most that one asks for.
const LONG_PROMPT: u64 = 2_000;
const LONGEST_PROMPT: u64 = 8_000;

/// Returns the next step after a verdict.
pub fn next(decision: &Decision, about: &Value) -> Next {
    let run = Run {
        server: Server::of(about),
        about,
    };
    let contexts = run.contexts();
    let (server, options) = (&run.server, &about["options"]);
    match (&decision.reason, decision.verdict) {
        (Reason::ClientLimited, _) => Next::of("tmesh-cli check client".to_string()),
        (Reason::NothingRepeated(_) | Reason::OffOrTooSmall, _) => {
            server.next(run.cycle(contexts.unwrap_or(CONTEXTS), None))
        }
        (Reason::TooFewControls(_), _) => {
            let contexts = contexts.unwrap_or(CONTEXTS).max(1);
            let rotations = ENOUGH_REQUESTS.div_ceil(contexts).max(ROTATIONS);
            server.next(run.cycle_of(contexts, rotations, None))
        }
        (Reason::NotReported(_) | Reason::HitsOfFresh, _) => {
            // Longer prompts take longer to prefill: their times tell more.
            let longer = count(options, "input_length_tokens");
            let longer = longer.map(|tokens| tokens.saturating_mul(4));
            server.next(run.cycle(contexts.unwrap_or(CONTEXTS), longer))
        }
        (_, Verdict::Partly | Verdict::TooSmall) => {
            let half = contexts.map_or(CONTEXTS / 2, |contexts| (contexts / 2).max(1));
            server.next(run.cycle(half, None))
        }
        (_, Verdict::Working) => server.next(run.sweep()),
        (reason, Verdict::Off | Verdict::Unknown) => {
            let mut next = server.next(server.check().or_else(|| run.probe()));
            if decision.verdict == Verdict::Off && matches!(reason, Reason::Hits) {
                let switch = "Switch prefix caching on in the server, then run this again.";
                next.advice.insert(0, switch.to_string());
            }
            next
        }
    }
}

/// A run that has ended, and its server.
struct Run<'a> {
    server: Server,
    about: &'a Value,
}

impl Run<'_> {
    fn contexts(&self) -> Option<u64> {
        count(&self.about["options"], "contexts")
    }

    /// Makes the command that cycles through contexts, as long as this run's unless `input` is given. Where that is
    /// this run itself, a probe tells more; where `benchmark` cannot run, a load with longer prompts.
    fn cycle(&self, contexts: u64, input: Option<u64>) -> Option<String> {
        self.cycle_of(contexts, ROTATIONS, input)
    }

    fn cycle_of(&self, contexts: u64, rotations: u64, input: Option<u64>) -> Option<String> {
        let options = &self.about["options"];
        let own = Cycle {
            contexts: self.contexts().unwrap_or(0),
            rotations: count(options, "rotations").unwrap_or(0),
            input: count(options, "input_length_tokens"),
            output: count(options, "output_length_tokens"),
        };
        let cycle = Cycle {
            contexts,
            rotations,
            input: input.or(own.input),
            ..own
        };
        match self.server.fitting(&cycle) == Some(own) {
            true => self.probe(),
            false => self.server.cycle(&cycle).or_else(|| self.repeats()),
        }
    }

    fn probe(&self) -> Option<String> {
        let probe = self.server.begin(To::Probe)?;
        Some(match self.server.is_mock() {
            true => probe,
            false => format!("{probe} {BUDGET}"),
        })
    }

    /// Makes a load of which half of the requests repeat a long prompt; `None` if this run's were long.
    fn repeats(&self) -> Option<String> {
        let own = &self.about["options"]["prompts"]["input_tokens"];
        let own = own.as_str().and_then(|text| text.parse::<u64>().ok());
        let tokens = own
            .unwrap_or(0)
            .saturating_mul(4)
            .clamp(LONG_PROMPT, LONGEST_PROMPT);
        let load = self.server.begin(To::Load).filter(|_| own < Some(tokens))?;
        Some(format!(
            "{load} --input-tokens {tokens} --repeat-ratio 0.5 --requests 200"
        ))
    }

    /// Makes a sweep over requests in flight. After a sweep, the highest rate is searched if the run had an SLO, else
    /// the size of the cache.
    fn sweep(&self) -> Option<String> {
        let options = &self.about["options"];
        let is_load = self.about["command"] == "load";
        if !is_load || list(&options["concurrency"]).count() < 2 {
            let load = self.server.begin(To::Load)?;
            return Some(format!("{load} --concurrency 1,4,16 --requests 100"));
        }
        if options["slo_file"].is_null() {
            return self.probe();
        }
        let slo = option("--slo-file", &options["slo_file"]);
        let find_rate = self.server.begin(To::FindRate)?;
        Some(format!("{find_rate}{slo}{}", prompts(self.about)))
    }
}
