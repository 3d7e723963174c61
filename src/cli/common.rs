//! The options that several commands share beside the connection: `--seed`, `--nonce`, `--slo-file`, `--shard`,
//! `--start-at`.

use super::args::Args;
use super::{shard, slo, start};
use crate::error::Result;
use crate::load::start::Start;
use crate::plan::shard::Shard;
use crate::stats::goodput::Slo;
use crate::units::parse_count;

#[derive(Debug, Clone, Default)]
pub struct Common {
    /// The seed; 0 if none is given.
    pub seed: u64,
    /// The beginning of all texts: the given one, else one made for this run. `None`: texts are sent as they are.
    pub nonce: Option<String>,
    /// Whether the nonce was made for this run, so that no cache can hold its texts.
    pub is_nonce_fresh: bool,
    /// `None`: no file of limits is given, or the command does not take one.
    pub slo: Option<Slo>,
    /// The file of the limits, as typed.
    pub slo_file: Option<String>,
    /// The part of the run that this process is, and how that is known; `None`: it is the whole run.
    pub shard: Option<(Shard, String)>,
    /// `None`: the run starts when all is ready.
    pub start: Option<Start>,
}

impl Common {
    pub fn shard(&self) -> Option<Shard> {
        self.shard.as_ref().map(|(shard, _)| *shard)
    }

    /// Takes the shared options out of `args`; options that the command does not have count as not given.
    ///
    /// # Errors
    /// Fails when one of them is wrong.
    pub fn parse(args: &Args) -> Result<Common> {
        Ok(Common {
            seed: args.value("--seed", parse_count)?.unwrap_or(0),
            is_nonce_fresh: args.text("--nonce").is_none(),
            nonce: Some(args.text("--nonce").unwrap_or_else(fresh_nonce)),
            slo: args
                .text("--slo-file")
                .as_deref()
                .map(slo::read)
                .transpose()?,
            slo_file: args.text("--slo-file"),
            shard: shard::parse(args)?,
            start: start::parse(args)?,
        })
    }
}

/// Returns a nonce that no other run is likely to have.
pub fn fresh_nonce() -> String {
    format!("{:08x}", fastrand::u32(..))
}

#[cfg(test)]
mod tests {
    use super::super::flags::{LOAD, REPORT};
    use super::super::usage::Usage;
    use super::*;

    fn common(usage: &'static Usage, words: &[&str]) -> Result<Common> {
        let words = words.iter().map(|word| word.to_string()).collect();
        Common::parse(&Args::new(usage, words)?)
    }

    #[test]
    fn the_shared_options_are_as_given_or_their_defaults() {
        let given = common(&LOAD, &["--seed", "7", "--nonce=old"]).expect("valid");
        assert_eq!((given.seed, given.nonce.as_deref()), (7, Some("old")));
        for usage in [&LOAD, &REPORT] {
            let none = common(usage, &[]).expect("valid");
            assert_eq!(none.seed, 0);
            assert!(none.slo.is_none());
            let fresh = none.nonce.expect("a fresh one");
            let is_hex = |c: char| c.is_ascii_hexdigit() && !c.is_ascii_uppercase();
            assert!(fresh.len() == 8 && fresh.chars().all(is_hex), "{fresh}");
        }
    }

    #[test]
    fn a_malformed_slo_and_a_malformed_seed_are_errors() {
        for (words, start) in [
            (
                ["--slo-file", "/nowhere/slo.yaml"],
                "[ERROR] --slo-file /nowhere/slo.yaml: cannot read: ",
            ),
            (["--seed", "x"], "[ERROR] --seed x: "),
        ] {
            let error = common(&LOAD, &words).expect_err("an error").to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
