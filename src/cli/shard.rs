//! `--shard`, and what launchers of processes say about it in the environment.

use super::args::Args;
use crate::error::{Error, Result};
use crate::plan::shard::Shard;
use crate::units::parse_count;

/// A launcher's variables: the index of a process, its first index, and the number of processes.
struct Launcher {
    index: &'static str,
    first: u64,
    /// `None`: the launcher does not tell the number.
    of: Option<&'static str>,
}

const LAUNCHERS: [Launcher; 6] = [
    Launcher {
        index: "SLURM_PROCID",
        first: 0,
        of: Some("SLURM_NTASKS"),
    },
    Launcher {
        index: "OMPI_COMM_WORLD_RANK",
        first: 0,
        of: Some("OMPI_COMM_WORLD_SIZE"),
    },
    Launcher {
        index: "PMI_RANK",
        first: 0,
        of: Some("PMI_SIZE"),
    },
    Launcher {
        index: "RANK",
        first: 0,
        of: Some("WORLD_SIZE"),
    },
    // An Indexed Job of Kubernetes.
    Launcher {
        index: "JOB_COMPLETION_INDEX",
        first: 0,
        of: None,
    },
    // GNU parallel.
    Launcher {
        index: "PARALLEL_SEQ",
        first: 1,
        of: None,
    },
];

/// The number of shards, where the launcher does not tell it.
const SHARDS: &str = "TMESH_SHARDS";

/// Returns the shard that this process is, and its source in words; `None` without `--shard`, whatever the environment
/// says: serving pods have variables of launchers too.
///
/// # Errors
/// Fails when the option or the environment names no shard, when two sources disagree, and without what all shards must
/// share: the seed and the nonce.
pub fn parse(args: &Args) -> Result<Option<(Shard, String)>> {
    args.only_with(&[("--shards", "--shard")])?;
    let Some(text) = args.text("--shard") else {
        return Ok(None);
    };
    let what = format!("--shard {text}");
    let number = args.value("--shards", parse_count)?;
    let found = match &*text {
        "auto" => of_environment(&|name| std::env::var(name).ok(), number),
        text => Shard::parse(text).map(|shard| (shard, "--shard".to_string())),
    };
    let (shard, source) = found.map_err(|why| Error::input(&what, why))?;
    if let Some(of) = number.filter(|&of| of != shard.of) {
        let why = format!("--shards says {of}, but {source} says {}", shard.of);
        return Err(Error::input(what, why));
    }
    for flag in ["--seed", "--nonce"] {
        if !args.has(flag) {
            let why = format!("only with {flag}, which makes all shards plan the same requests");
            let next = "Give all of them the same two, such as --seed 1 --nonce morning";
            return Err(Error::input(what, why).next(next));
        }
    }
    Ok(Some((shard, source)))
}

/// Checks a pass that only time ends: every shard must have a request in flight. `what` is the option with the number of
/// requests in flight.
///
/// # Errors
/// Fails when there are more shards than requests in flight.
pub fn check_in_flight(shard: Option<Shard>, what: &str, in_flight: u64) -> Result<()> {
    match shard {
        Some(Shard { of, .. }) if of > in_flight => {
            let why = format!("fewer requests in flight than the {of} shards");
            Err(Error::input(what, why).next("Ask for at least as many, or for fewer shards."))
        }
        _ => Ok(()),
    }
}

/// Returns the shard that the variables of launchers name, and these variables. `number` is the number of shards that
/// the user named.
fn of_environment(
    variable: &dyn Fn(&str) -> Option<String>,
    number: Option<u64>,
) -> std::result::Result<(Shard, String), String> {
    let count = |name: &str| -> std::result::Result<Option<u64>, String> {
        let value = variable(name).filter(|value| !value.is_empty());
        let parsed = value.map(|value| {
            let not_one = |_| format!("{name} is {value}, which is no whole number");
            parse_count(&value).map_err(not_one)
        });
        parsed.transpose()
    };
    let mut found: Option<(Shard, String)> = None;
    for Launcher { index, first, of } in LAUNCHERS {
        let Some(of_process) = count(index)? else {
            continue;
        };
        let told = of.map(count).transpose()?.flatten();
        let (of, named) = match (of, told, number, count(SHARDS)?) {
            (Some(of), Some(told), ..) => (told, of),
            (_, _, Some(number), _) => (number, "--shards"),
            (_, _, None, Some(number)) => (number, SHARDS),
            _ => {
                return Err(format!(
                    "{index} does not tell the number of shards; want --shards N or {SHARDS}"
                ));
            }
        };
        let from_0 = of_process
            .checked_sub(first)
            .ok_or_else(|| format!("{index} is {of_process}, but counts from {first}"))?;
        let shard = Shard::new(from_0, of).map_err(|why| format!("{index}, {named}: {why}"))?;
        let source = format!("{index} and {named}");
        match &found {
            Some((other, by)) if *other != shard => {
                return Err(format!(
                    "{by} say {}/{}, but {source} say {}/{}; want the one that is right as --shard I/N",
                    other.index, other.of, shard.index, shard.of
                ));
            }
            Some(_) => {}
            None => found = Some((shard, source)),
        }
    }
    found.ok_or_else(|| {
        let names: Vec<&str> = LAUNCHERS.iter().map(|launcher| launcher.index).collect();
        format!(
            "no launcher says which shard this is: none of {} is set",
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::flags::LOAD;
    use super::*;

    fn auto(
        variables: &[(&str, &str)],
        number: Option<u64>,
    ) -> std::result::Result<String, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(one, _)| *one == name);
            found.map(|(_, value)| value.to_string())
        };
        let found = of_environment(&variable, number);
        found.map(|(shard, source)| format!("{}/{} by {source}", shard.index, shard.of))
    }

    #[test]
    fn each_launcher_names_its_shard() {
        for (variables, number, wanted) in [
            (
                &[("SLURM_PROCID", "2"), ("SLURM_NTASKS", "4")][..],
                None,
                "2/4 by SLURM_PROCID and SLURM_NTASKS",
            ),
            (
                &[("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "2")],
                None,
                "0/2 by OMPI_COMM_WORLD_RANK and OMPI_COMM_WORLD_SIZE",
            ),
            (
                &[("PMI_RANK", "1"), ("PMI_SIZE", "2")],
                None,
                "1/2 by PMI_RANK and PMI_SIZE",
            ),
            (
                &[("RANK", "7"), ("WORLD_SIZE", "8")],
                None,
                "7/8 by RANK and WORLD_SIZE",
            ),
            (
                &[("JOB_COMPLETION_INDEX", "3")],
                Some(4),
                "3/4 by JOB_COMPLETION_INDEX and --shards",
            ),
            (
                &[("JOB_COMPLETION_INDEX", "3"), ("TMESH_SHARDS", "4")],
                None,
                "3/4 by JOB_COMPLETION_INDEX and TMESH_SHARDS",
            ),
            // GNU parallel counts from 1.
            (
                &[("PARALLEL_SEQ", "4")],
                Some(4),
                "3/4 by PARALLEL_SEQ and --shards",
            ),
            // Two that agree.
            (
                &[
                    ("SLURM_PROCID", "2"),
                    ("SLURM_NTASKS", "4"),
                    ("PMI_RANK", "2"),
                    ("PMI_SIZE", "4"),
                ],
                None,
                "2/4 by SLURM_PROCID and SLURM_NTASKS",
            ),
        ] {
            assert_eq!(auto(variables, number).as_deref(), Ok(wanted));
        }
    }

    #[test]
    fn an_environment_that_does_not_tell_is_an_error() {
        for (variables, number, start) in [
            (&[][..], Some(4), "no launcher says which shard this is: "),
            (
                &[("JOB_COMPLETION_INDEX", "3")],
                None,
                "JOB_COMPLETION_INDEX does not tell the number of shards; want --shards N or TMESH_SHARDS",
            ),
            (
                &[
                    ("RANK", "0"),
                    ("WORLD_SIZE", "8"),
                    ("SLURM_PROCID", "1"),
                    ("SLURM_NTASKS", "8"),
                ],
                None,
                "SLURM_PROCID and SLURM_NTASKS say 1/8, but RANK and WORLD_SIZE say 0/8; ",
            ),
            (
                &[("PARALLEL_SEQ", "0")],
                Some(4),
                "PARALLEL_SEQ is 0, but counts from 1",
            ),
            (
                &[("PARALLEL_SEQ", "5")],
                Some(4),
                "PARALLEL_SEQ, --shards: shards count from 0; the last of 4 is 3/4",
            ),
            (
                &[("RANK", "one"), ("WORLD_SIZE", "8")],
                None,
                "RANK is one, which is no whole number",
            ),
        ] {
            let why = auto(variables, number).expect_err(start);
            assert!(why.starts_with(start), "{why}");
        }
    }

    #[test]
    fn a_shard_needs_what_all_shards_must_share() {
        let shard = |words: &str| {
            let words = words.split(' ').map(str::to_string).collect();
            let parsed = Args::new(&LOAD, words).and_then(|args| parse(&args));
            parsed.map_err(|error| error.to_string())
        };
        let whole = shard("--shard 1/2 --seed 1 --nonce n").expect("a shard");
        let one_of_two = Shard { index: 1, of: 2 };
        assert_eq!(whole, Some((one_of_two, "--shard".to_string())));
        for (words, start) in [
            (
                "--shard 1/2 --seed 1",
                "[ERROR] --shard 1/2: only with --nonce, ",
            ),
            (
                "--shard 1/2 --nonce n",
                "[ERROR] --shard 1/2: only with --seed, ",
            ),
            (
                "--shard 1/2 --shards 3 --seed 1 --nonce n",
                "[ERROR] --shard 1/2: --shards says 3, but --shard says 2",
            ),
            ("--shards 3", "[ERROR] --shards: only with --shard"),
            ("--shard 2/2", "[ERROR] --shard 2/2: shards count from 0"),
        ] {
            let error = shard(words).expect_err(words);
            assert!(error.starts_with(start), "{error}");
        }
    }
}
