//! `tmesh-cli explain`: what a figure is, from the catalogue of all figures.

use crate::cli::args::Args;
use crate::cli::flags::did_you_mean;
use crate::cli::terminal::print;
use crate::error::{Error, Result};
use crate::stats::catalog::{Definition, FIGURES, find};

/// Runs the command; the exit code.
pub fn run(args: &Args) -> Result<u8> {
    let name = args.operand()?;
    let figure = find(name).ok_or_else(|| unknown(name))?;
    print(&explained(figure.definition))?;
    Ok(0)
}

fn unknown(name: &str) -> Error {
    let keys: Vec<&str> = FIGURES.iter().map(|figure| figure.key).collect();
    let near = did_you_mean(name, keys.iter().copied());
    let next = near.unwrap_or_else(|| format!("There are: {}", keys.join(", ")));
    Error::input(name, "no such figure").next(next)
}

fn explained(figure: &Definition) -> String {
    let Definition {
        key,
        label,
        unit,
        source,
        absent,
        definition,
        formula,
    } = figure;
    format!(
        "{label} ({key}), {unit}\n{definition}\nFormula: {formula}\nSource: {source}\nAbsent when: {absent}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_explained_in_five_lines() {
        let ttft = find("ttft_p50_ms").expect("a figure");
        let wanted = "TTFT (ttft), ms\n\
            Time to first token, reasoning included; in an open loop it counts from the scheduled time.\n\
            Formula: t_first - t_send, or t_first - t_due in an open loop\n\
            Source: requests\n\
            Absent when: no request succeeded with a streamed reply\n";
        assert_eq!(explained(ttft.definition), wanted);
    }

    #[test]
    fn a_name_that_is_none_gets_the_nearest_one() {
        let error = unknown("eror_rate").to_string();
        let wanted = "[ERROR] eror_rate: no such figure\nDid you mean error_rate?";
        assert_eq!(error, wanted);
    }
}
