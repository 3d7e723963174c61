//! The end of a comparison: its report, its files, and the exit code.

use super::options::Options;
use crate::cli::output;
use crate::cli::terminal::{print_last, stdout_screen};
use crate::cli::verdict::Ending;
use crate::collect::Log;
use crate::error::Result;
use crate::report::layout::compare as layout;
use crate::report::layout::report::Report;
use crate::report::text;
use crate::stats::compare::{Findings, Verdict};

/// Prints the report, writes the files, and returns the end of the run: a side that is slower misses a limit.
pub fn finish(
    report: &mut Report,
    log: &mut Log,
    findings: &Findings,
    options: &Options,
) -> Result<Ending> {
    report.found(findings);
    let document = layout::document(report);
    output::result(log, options.output.as_ref(), &document.data);
    if let Some(path) = &options.summary {
        let text = layout::summary(report);
        output::write(log, "--summary", path.as_ref(), &text);
    }
    print_last(&format!("\n{}", text::render(&document, stdout_screen())))?;
    let is_unclear = findings.verdict == Verdict::Unclear;
    let why = match findings.verdict {
        Verdict::Slower => Some("compare"),
        Verdict::Unclear if options.unclear == 1 => Some("--unclear fail"),
        Verdict::Unclear | Verdict::Same | Verdict::Faster => None,
    };
    let missed = why.map(|option| (option.to_string(), layout::sentence(&report.findings)));
    Ok(Ending {
        missed: missed.into_iter().collect(),
        is_unclear: is_unclear && options.unclear == 3,
        ..Ending::default()
    })
}
