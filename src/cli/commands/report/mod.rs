//! `tmesh-cli report`: saved results as a table, JSON, Markdown or a page.

#[cfg(test)]
mod fuzz;
mod input;

use std::fs;

use crate::cli::args::Args;
use crate::cli::{print, terminal_width};
use crate::collect::replace;
use crate::error::{Error, Result};
use crate::report::render::{Format, Screen, render};

const INPUT: &str = "./benchmark_results/benchmark_summary.json";

/// Runs the command; the exit code.
pub fn run(mut args: Args) -> Result<u8> {
    let input = args.text("--input")?.unwrap_or_else(|| INPUT.to_string());
    let format = args.value("--format", Format::parse)?;
    let format = format.unwrap_or(Format::Table);
    let output = args.text("--output")?;
    let loaded = input::load(&input)?;
    if let Some(path) = &output
        && let Ok(path) = fs::canonicalize(path)
        && loaded.read.contains(&path)
    {
        let what = format!("--output {}", path.display());
        return Err(Error::input(what, "the report is made from this file"));
    }
    let screen = Screen {
        width: stdout_screen().width.filter(|_| output.is_none()),
        ..stdout_screen()
    };
    let text = match (format, loaded.json) {
        (Format::Json, Some(text)) => text,
        _ => render(&loaded.report, format, screen)
            .map_err(|_| Error::missed("report", "could not be made; this is a bug"))?,
    };
    match output {
        None => print(&text)?,
        Some(path) => {
            let written = replace(&path, text.as_bytes());
            written.map_err(|error| Error::missed(format!("--output {path}"), error))?;
            eprintln!("{path}: {} bytes", text.len());
        }
    }
    Ok(0)
}

/// What a table on stdout goes to.
pub fn stdout_screen() -> Screen {
    Screen {
        width: terminal_width(std::io::stdout()),
        is_utf8: is_utf8(|name| std::env::var(name).ok()),
    }
}

/// Whether the locale is one of UTF-8: the first variable that is set and not empty decides.
fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter();
    let mut set = names.filter_map(variable).filter(|value| !value.is_empty());
    let locale = set.next().unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::golden::check;

    const VERSION: &str = env!("CARGO_PKG_VERSION");

    /// The fixed samples of a replay in a format, for a reader without a terminal.
    fn rendered(format: Format) -> String {
        rendered_of("replay", format)
    }

    fn rendered_of(command: &str, format: Format) -> String {
        let path = format!(
            "{}/tests/data/report/{command}.jsonl",
            env!("CARGO_MANIFEST_DIR")
        );
        let report = input::load(&path).expect("samples").report;
        let screen = Screen {
            width: None,
            is_utf8: true,
        };
        render(&report, format, screen).expect("a String takes all")
    }

    #[test]
    fn golden_report_table() {
        check("report_table.txt", &rendered(Format::Table));
    }

    #[test]
    fn golden_report_json() {
        let text = rendered(Format::Json);
        let text = text.replacen(VERSION, "VERSION", 1);
        check("report.json", &text);
    }

    #[test]
    fn golden_report_markdown() {
        let text = rendered(Format::Markdown);
        check("report.md", &text.replace(VERSION, "VERSION"));
    }

    #[test]
    fn golden_report_html() {
        let text = rendered(Format::Html);
        check("report.html", &text.replace(VERSION, "VERSION"));
    }

    #[test]
    fn golden_report_run() {
        for (format, name) in [
            (Format::Table, "report_run_table.txt"),
            (Format::Json, "report_run.json"),
            (Format::Markdown, "report_run.md"),
            (Format::Html, "report_run.html"),
        ] {
            let text = rendered_of("run", format);
            check(name, &text.replace(VERSION, "VERSION"));
        }
    }

    #[test]
    fn golden_report_load() {
        for (format, name) in [
            (Format::Table, "report_load_table.txt"),
            (Format::Json, "report_load.json"),
            (Format::Markdown, "report_load.md"),
            (Format::Html, "report_load.html"),
        ] {
            let text = rendered_of("load", format);
            check(name, &text.replace(VERSION, "VERSION"));
        }
    }

    #[test]
    fn golden_report_load_sweep() {
        for (format, name) in [
            (Format::Table, "report_load_sweep_table.txt"),
            (Format::Markdown, "report_load_sweep.md"),
        ] {
            let text = rendered_of("load_sweep", format);
            check(name, &text.replace(VERSION, "VERSION"));
        }
    }

    #[test]
    fn a_result_of_load_gives_the_table_of_its_samples() {
        for command in ["load", "load_sweep"] {
            let name = format!("tmesh-load-{command}-{}.json", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::write(&path, rendered_of(command, Format::Json)).expect("a temporary file");
            let loaded = input::load(&path.to_string_lossy());
            fs::remove_file(&path).expect("it is there");
            let screen = Screen {
                width: None,
                is_utf8: true,
            };
            let report = loaded.expect("a result").report;
            let text = render(&report, Format::Table, screen).expect("a String takes all");
            let (figures, notes) = text
                .split_once("\nNote: ")
                .expect("no samples, says a note");
            assert!(notes.contains("The input has no samples"), "{notes}");
            let of_samples = rendered_of(command, Format::Table);
            assert!(
                of_samples.starts_with(figures.trim_end()),
                "{figures}\n---\n{of_samples}"
            );
        }
    }

    #[test]
    fn what_a_server_or_a_user_wrote_is_no_markup() {
        let page = rendered(Format::Html);
        let reason = "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; | `y`";
        assert!(page.contains(reason), "{page}");
        let title = "<title>tmesh-cli replay: a&lt;b&gt;|{{body}}</title>";
        assert!(page.contains(title), "{page}");
        let markdown = rendered(Format::Markdown);
        let reason = r#"&lt;script&gt;alert("x")&lt;/script&gt; &amp; \| \`y\`"#;
        assert!(markdown.contains(reason), "{markdown}");
        for text in [page, markdown] {
            assert!(!text.to_lowercase().contains("<script"), "{text}");
        }
    }

    #[test]
    fn the_page_needs_nothing_else() {
        let page = rendered(Format::Html);
        for part in [
            "src=", "href=", "url(", "@import", "<link", "<script", "<iframe",
        ] {
            assert!(!page.contains(part), "{part}");
        }
    }

    #[test]
    fn the_first_variable_that_is_set_decides_the_locale() {
        for (set, wanted) in [
            (&[("LANG", "en_US.UTF-8")][..], true),
            (&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")], false),
            (
                &[("LC_ALL", ""), ("LC_CTYPE", "C.utf8"), ("LANG", "C")],
                true,
            ),
            (&[], false),
        ] {
            let variable = |name: &str| {
                let found = set.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| value.to_string())
            };
            assert_eq!(is_utf8(variable), wanted, "{set:?}");
        }
    }
}
