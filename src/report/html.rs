//! The HTML report: one file that needs nothing else, and no script.

use std::fmt::{self, Write};

use super::charts::{self, Chart};
use super::saved::Report;
use super::sections::{self, Block};
use super::steers;

/// Characters of a title that a browser can show.
const TITLE: usize = 65;
/// Its marks stand for the title, cut and whole, and for what follows.
const PAGE: &str = include_str!("page.html");

/// Writes the whole page.
pub fn report(out: &mut String, report: &Report) -> fmt::Result {
    let title = sections::title(report);
    let short = match title.char_indices().nth(TITLE) {
        Some((end, _)) => escaped(&format!("{}…", &title[..end])),
        None => escaped(&title),
    };
    let title = escaped(&title);
    let mut body = String::new();
    for remark in sections::remarks(report) {
        writeln!(body, "<p class=\"remark\">{}</p>", escaped(&remark))?;
    }
    let charts = charts::all(report);
    if !charts.is_empty() {
        body.push_str("<section class=\"charts\">\n<h2>Charts</h2>\n");
        for chart in &charts {
            figure(&mut body, chart)?;
        }
        body.push_str("</section>\n");
    }
    for section in sections::all(report)? {
        writeln!(body, "<section>\n<h2>{}</h2>", escaped(&section.title))?;
        for block in &section.blocks {
            write_block(&mut body, block)?;
        }
        body.push_str("</section>\n");
    }
    // What is put in is not looked at again.
    let (before, after) = PAGE.split_once("{{body}}").ok_or(fmt::Error)?;
    let (head, before) = before.split_once("{{short}}").ok_or(fmt::Error)?;
    let (middle, before) = before.split_once("{{title}}").ok_or(fmt::Error)?;
    write!(out, "{head}{short}{middle}{title}{before}{body}{after}")
}

fn figure(out: &mut String, chart: &Chart) -> fmt::Result {
    writeln!(
        out,
        "<figure>\n<figcaption>{}</figcaption>\n{}<ul class=\"key\">",
        escaped(chart.title),
        chart.svg
    )?;
    for (class, text) in &chart.key {
        let text = escaped(text);
        writeln!(out, "<li><span class=\"dot {class}\"></span>{text}</li>")?;
    }
    writeln!(out, "</ul>")?;
    if !chart.note.is_empty() {
        writeln!(out, "<p>{}</p>", escaped(&chart.note))?;
    }
    writeln!(out, "</figure>")
}

fn write_block(out: &mut String, block: &Block) -> fmt::Result {
    match block {
        Block::Table {
            head,
            rows,
            has_numbers,
        } => {
            let numbers = if *has_numbers {
                " class=\"numbers\""
            } else {
                ""
            };
            writeln!(out, "<div class=\"scroll\"><table{numbers}>\n<thead><tr>")?;
            for cell in head {
                write!(out, "<th scope=\"col\">{}</th>", escaped(cell))?;
            }
            writeln!(out, "</tr></thead>\n<tbody>")?;
            for row in rows {
                for (at, cell) in row.iter().enumerate() {
                    let cell = escaped(cell);
                    match at {
                        0 => write!(out, "<tr><th scope=\"row\">{cell}</th>")?,
                        _ => write!(out, "<td>{cell}</td>")?,
                    }
                }
                writeln!(out, "</tr>")?;
            }
            writeln!(out, "</tbody></table></div>")
        }
        Block::List(items) => {
            writeln!(out, "<ul>")?;
            for item in items {
                writeln!(out, "<li>{}</li>", escaped(item))?;
            }
            writeln!(out, "</ul>")
        }
    }
}

/// Text that is no markup, in an element or in an attribute.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Of these HTML allows only those that turn text around.
            c if steers(c) && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::saved::Samples;
    use crate::sample::{FailKind, Failure, Labels, Sample};

    #[test]
    fn ten_thousand_requests_make_a_page_below_300_kb() {
        let mut rng = fastrand::Rng::with_seed(4);
        let samples = (0..10_000).map(|k| {
            let send_ns = k * 50_000_000 + rng.u64(..50_000_000);
            let first_ns = send_ns + rng.u64(100_000_000..3_000_000_000);
            let gaps_us: Vec<u32> = (0..99).map(|_| rng.u32(..60_000)).collect();
            let last_ns = first_ns + gaps_us.iter().map(|&us| u64::from(us) * 1000).sum::<u64>();
            let fails = rng.u32(..5) == 0;
            Sample {
                labels: Labels {
                    rotation: Some(k / 1000),
                    ..Labels::default()
                },
                failure: fails.then(|| Failure::new(FailKind::Truncated, "cut off")),
                t_send_ns: send_ns,
                t_first_ns: Some(first_ns),
                t_last_ns: Some(last_ns),
                t_end_ns: last_ns,
                completion_tokens: Some(100),
                token_events: 100,
                gaps_us,
                ..Sample::default()
            }
        });
        let saved = Samples {
            about: serde_json::json!({"command": "benchmark"}),
            samples: samples.collect(),
            vitals: Vec::new(),
            metrics: Vec::new(),
            workloads: Vec::new(),
            points: Vec::new(),
        };
        let mut page = String::new();
        report(&mut page, &Report::of_benchmark(saved, None)).expect("a String takes all");
        assert!(page.len() < 300_000, "{} bytes", page.len());
        for wanted in ["Thinned out: ", "Of the failures one in "] {
            assert!(page.contains(wanted), "{wanted}");
        }
    }

    #[test]
    fn text_is_no_markup() {
        let text = "<script>alert('a' & \"b\")</script>\u{0}\u{202e}\n";
        let wanted =
            "&lt;script&gt;alert(&#39;a&#39; &amp; &quot;b&quot;)&lt;/script&gt;\u{fffd}\u{fffd}\n";
        assert_eq!(escaped(text), wanted);
    }
}
