//! `tmesh-cli explain`: explains a figure, from the catalogue of all figures.

use crate::cli::args::Args;
use crate::cli::flags::did_you_mean;
use crate::cli::flow::paragraph;
use crate::cli::terminal::print;
use crate::error::{Error, Result};
use crate::report::layout::other_keys;
use crate::stats::catalog::{Definition, FIGURES, find};
use crate::stats::terms::{Term, other_name, terms};

/// Runs the command and returns the exit code.
pub fn run(args: &Args) -> Result<u8> {
    let name = args.operand()?;
    print(&explained(name)?)?;
    Ok(0)
}

/// Returns the page of a figure or a term, under any name that a report uses for it.
///
/// # Errors
/// Fails when nothing has this name.
pub fn explained(name: &str) -> Result<String> {
    let lower = name.trim().to_lowercase();
    let bare = bare(&lower);
    if let Some(figure) = figure(&lower).or_else(|| figure(&bare)) {
        return Ok(page(figure));
    }
    // Reports write the words of a term apart or with hyphens.
    let joined = match &*lower {
        "client" => "client_limited".to_string(),
        name => name.replace([' ', '-'], "_"),
    };
    let term = terms().into_iter().find(|term| term.name == joined);
    let term = term.ok_or_else(|| unknown(name, &lower))?;
    Ok(term_page(&term))
}

/// Returns the figure with this key, label or other name, in lower case.
fn figure(name: &str) -> Option<&'static Definition> {
    let of_key = |key: &str| find(key).map(|figure| figure.definition);
    let other = || {
        let (_, key) = other_keys().find(|(other, _)| *other == name)?;
        of_key(key)
    };
    let labelled = || {
        let mut figures = FIGURES.iter();
        figures.find(|figure| figure.label.to_lowercase() == name)
    };
    let figure = of_key(name).or_else(|| of_key(&name.replace(' ', "_")));
    let figure = figure.or_else(other);
    let figure = figure.or_else(|| of_key(other_name(name)?));
    figure.or_else(labelled)
}

/// Takes unit, statistic, extent and marks from a label or a key: `ttft p50`, `tbt avg (ms)` and `global average ttft`
/// become the name.
fn bare(lower: &str) -> String {
    const BESIDE: [&str; 16] = [
        "avg", "average", "mean", "median", "p50", "p90", "p95", "p99", "min", "max", "stddev",
        "n", "ms", "global", "interval", "*",
    ];
    let spaced = lower.replace('_', " ");
    let (name, _) = spaced.split_once(" (").unwrap_or((&spaced, ""));
    let name = name.split_once(", ").map_or(name, |(name, _)| name);
    let words = name.split_whitespace();
    let words: Vec<&str> = words.filter(|word| !BESIDE.contains(word)).collect();
    words.join(" ")
}

/// Lists names that contain the typed one, or the nearest name, or all of them.
fn unknown(name: &str, lower: &str) -> Error {
    let terms = terms();
    let keys = FIGURES.iter().map(|figure| figure.key);
    let names: Vec<&str> = keys.chain(terms.iter().map(|term| term.name)).collect();
    let holding = names.iter().filter(|known| known.contains(lower)).copied();
    let holding: Vec<&str> = holding.collect();
    let next = match did_you_mean(lower, names.iter().copied()) {
        _ if !lower.is_empty() && !holding.is_empty() => {
            format!("Did you mean one of these? {}", holding.join(", "))
        }
        Some(near) => near,
        None => "Try: tmesh-cli help metrics".to_string(),
    };
    Error::input(name, "no such figure").next(next)
}

fn page(figure: &Definition) -> String {
    let Definition {
        key, label, unit, ..
    } = figure;
    let mut text = format!("{label} ({key}), {unit}\n");
    paragraph(&mut text, &figure.definition);
    for (name, value) in figure.facts() {
        paragraph(&mut text, &format!("{name}: {value}"));
    }
    text
}

fn term_page(term: &Term) -> String {
    let mut text = format!("{}\n", term.name);
    paragraph(&mut text, &term.definition);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_explained_with_its_formula_its_source_and_its_absence() {
        let wanted = "TTFT (ttft), ms\n\
            Time to first token, reasoning included; in an open loop it counts from the\n\
            scheduled time.\n\
            Formula: t_first - t_send, or t_first - t_due in an open loop\n\
            Source: requests\n\
            Absent when: no request succeeded with a streamed reply\n";
        // Keys, a statistic, a key of `run`, a guide's label, in upper or lower case.
        for name in [
            "ttft",
            "ttft_p50_ms",
            "avg_ttft_ms",
            "Global Average TTFT",
            " TTFT",
        ] {
            assert_eq!(explained(name).as_deref(), Ok(wanted), "{name}");
        }
    }

    #[test]
    fn names_that_reports_and_compare_use_are_explained() {
        for (name, wanted) in [
            (
                "achieved concurrency",
                "Concurrency, mean (concurrency_mean), ",
            ),
            ("KV Cache Use", "KV cache use, peak (kv_cache_use_peak), "),
            ("token gap", "Gap (gap), ms\n"),
            ("itl_mean", "ITL (itl), ms\n"),
            (
                "output_throughput",
                "Output tokens/s (throughput_tokens_per_s), ",
            ),
            ("KV cache", "kv_cache\nThe verdict on the prefix cache "),
            ("client-limited", "client_limited\nThe client was so late "),
        ] {
            let page = explained(name).expect(name);
            assert!(page.starts_with(wanted), "{name}: {page}");
        }
        for (_, name) in crate::stats::compare::Name::NAMES {
            assert!(explained(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_term_of_the_formulas_is_explained() {
        let page = explained("t_first").expect("a term");
        let wanted = "t_first\nThe time of the read that brought the first token event.\n";
        assert_eq!(page, wanted);
    }

    #[test]
    fn an_unknown_name_gets_names_that_contain_it_or_the_nearest_one() {
        for (name, next) in [
            ("eror_rate", "Did you mean error_rate?"),
            ("xyzzy", "Try: tmesh-cli help metrics"),
            (
                "evict",
                "Did you mean one of these? total_evict_count, evict_ms",
            ),
        ] {
            let error = explained(name).expect_err(name).to_string();
            assert_eq!(error, format!("[ERROR] {name}: no such figure\n{next}"));
        }
    }
}
