//! `tmesh-cli report`: renders saved samples as a table, JSON, CSV, Markdown or an HTML page.

#[cfg(test)]
mod fuzz;
mod input;

use std::path::Path;

use crate::cli::args::Args;
use crate::cli::output;
use crate::cli::terminal::{print, stdout_screen};
use crate::error::{Error, Result};
use crate::file::is_stdout;
use crate::report::document::Document;
use crate::report::text::Screen;
use crate::report::{csv, html, json, markdown, text};

const INPUT: &str = "./benchmark_results/benchmark_summary.json";

/// Makes a report's text, for a screen of this width if that matters.
type Render = fn(&Document, Screen) -> String;

const FORMATS: [(&str, Render); 5] = [
    ("table", text::render),
    ("json", |document, _| json::render(document)),
    ("csv", |document, _| csv::render(document)),
    ("markdown", |document, _| markdown::render(document)),
    ("html", |document, _| html::render(document)),
];

fn format(name: &str) -> std::result::Result<Render, &'static str> {
    let known = FORMATS.iter().find(|(known, _)| *known == name);
    let known = known.map(|(_, render)| *render);
    known.ok_or("want table, json, csv, markdown or html")
}

/// Runs the command and returns the exit code.
pub fn run(args: &Args) -> Result<u8> {
    let input = args.text("--input").unwrap_or_else(|| INPUT.to_string());
    let render = args.value("--format", format)?.unwrap_or(text::render);
    let output = args.text("--output");
    let output = output.filter(|path| !is_stdout(path.as_ref()));
    let document = input::load(&input)?;
    if let Some(path) = &output {
        output::check_earlier(&format!("--output {path}"), path.as_ref())?;
    }
    let screen = Screen {
        width: stdout_screen().width.filter(|_| output.is_none()),
        ..stdout_screen()
    };
    let text = render(&document, screen);
    match output {
        None => print(&text)?,
        Some(path) => {
            let written = output::replace(Path::new(&path), text.as_bytes());
            written.map_err(|error| Error::missed(format!("--output {path}"), error))?;
            note!("{path}: {} bytes", text.len());
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::explain::explained;
    use crate::report::document::Block;
    use crate::report::golden::check;

    const VERSION: &str = env!("CARGO_PKG_VERSION");

    /// Renders the fixed samples of a replay, not for a terminal.
    fn rendered(format: &str) -> String {
        rendered_of("replay", format)
    }

    fn rendered_of(command: &str, name: &str) -> String {
        format(name).expect("a format")(&document_of(command), Screen::FILE)
    }

    fn document_of(command: &str) -> Document {
        let path = format!(
            "{}/tests/data/report/{command}.jsonl",
            env!("CARGO_MANIFEST_DIR")
        );
        input::load(&path).expect("samples")
    }

    #[test]
    fn reports_fit_terminals_of_any_width() {
        for command in ["benchmark", "load", "load_sweep", "replay", "run"] {
            let document = document_of(command);
            for width in [60, 80, 200] {
                let screen = Screen {
                    width: Some(width),
                    ..Screen::FILE
                };
                let text = text::render(&document, screen);
                for line in crate::tty::fitting(&text, Some(width)).lines() {
                    let is_one_word = line.trim().split(' ').count() == 1;
                    let columns = line.chars().count();
                    assert!(columns <= width || is_one_word, "{width}: {line}");
                }
                // Tables are laid out, not folded: their last column stays with its row.
                let heads = text
                    .lines()
                    .filter(|line| line.starts_with("Milliseconds "));
                assert!(heads.clone().all(|line| line.chars().count() <= width));
            }
        }
    }

    #[test]
    fn golden_report_table() {
        check("report_table.txt", &rendered("table"));
    }

    #[test]
    fn golden_report_json() {
        let text = rendered("json");
        let text = text.replacen(VERSION, "VERSION", 1);
        check("report.json", &text);
    }

    #[test]
    fn golden_report_markdown() {
        let text = rendered("markdown");
        check("report.md", &text.replace(VERSION, "VERSION"));
    }

    #[test]
    fn golden_report_html() {
        let text = rendered("html");
        check("report.html", &text.replace(VERSION, "VERSION"));
    }

    #[test]
    fn golden_report_run() {
        for (format, name) in [
            ("table", "report_run_table.txt"),
            ("json", "report_run.json"),
            ("markdown", "report_run.md"),
            ("html", "report_run.html"),
        ] {
            let text = rendered_of("run", format);
            check(name, &text.replace(VERSION, "VERSION"));
        }
    }

    #[test]
    fn golden_report_load() {
        for (format, name) in [
            ("table", "report_load_table.txt"),
            ("json", "report_load.json"),
            ("markdown", "report_load.md"),
            ("html", "report_load.html"),
        ] {
            let text = rendered_of("load", format);
            check(name, &text.replace(VERSION, "VERSION"));
        }
    }

    #[test]
    fn golden_report_load_sweep() {
        for (format, name) in [
            ("table", "report_load_sweep_table.txt"),
            ("markdown", "report_load_sweep.md"),
        ] {
            let text = rendered_of("load_sweep", format);
            check(name, &text.replace(VERSION, "VERSION"));
        }
    }

    #[test]
    fn every_label_of_a_report_can_be_explained() {
        // Heads of tables, statistics, names of passes and of failures.
        const NO_FIGURES: &str = "Figure|Value|Of|Kind|Count|Where|The first|Metric|Workload|seconds|Seconds|\
            Milliseconds|Times in ms|Avg|P50|P90|P95|P99|Min|Max|p50|p90|p99|max|Stddev|n|Ended|http|\
            timeout_first_token|short_input|long_input|stress_test|concurrency 1|concurrency 4|\
            Round 2 against round 1|First rotation (cold)|Later rotations (warm)|Output tokens counted by";
        let figures = |label: &str| NO_FIGURES.split('|').all(|no_figure| no_figure != label);
        let mut unknown = Vec::new();
        for command in ["benchmark", "load", "load_sweep", "replay", "run"] {
            let document = document_of(command);
            let blocks = document.sections.iter().flat_map(|section| &section.blocks);
            let mut labels: Vec<String> = document
                .key_figures
                .iter()
                .map(|pair| pair.name.clone())
                .collect();
            for (_, block) in blocks {
                match block {
                    Block::Pairs(pairs) => {
                        labels.extend(pairs.iter().map(|pair| pair.name.clone()));
                    }
                    Block::Table(table) => {
                        let heads = table.columns.iter().map(|(name, _)| name.to_string());
                        let names = table
                            .rows
                            .iter()
                            .filter_map(|row| Some(row.first()?.to_string()));
                        labels.extend(heads.chain(names));
                    }
                    _ => {}
                }
            }
            let labels = labels.into_iter().filter(|label| figures(label));
            let labels = labels.filter(|label| explained(label).is_err());
            unknown.extend(labels.map(|label| format!("{command}: {label}")));
        }
        assert_eq!(unknown, [""; 0]);
    }

    #[test]
    fn text_of_a_server_or_a_user_is_not_markup() {
        let page = rendered("html");
        let reason = "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; | `y`";
        assert!(page.contains(reason), "{page}");
        let title = "<title>tmesh-cli replay: a&lt;b&gt;|{{body}}</title>";
        assert!(page.contains(title), "{page}");
        let markdown = rendered("markdown");
        let reason = r#"&lt;script&gt;alert("x")&lt;/script&gt; &amp; \| \`y\`"#;
        assert!(markdown.contains(reason), "{markdown}");
        for text in [page, markdown] {
            assert!(!text.to_lowercase().contains("<script"), "{text}");
        }
    }

    #[test]
    fn the_page_needs_nothing_else() {
        let page = rendered("html");
        for part in [
            "src=", "href=", "url(", "@import", "<link", "<script", "<iframe",
        ] {
            assert!(!page.contains(part), "{part}");
        }
    }
}
