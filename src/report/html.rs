//! A document as one HTML file that needs no other file and has no script.

use std::fmt::Write;

use super::charts::{self, escaped};
use super::document::{Answer, Document, Pair, Table};
use super::page::{self, PageBlock};

/// The number of characters of a title that a browser can show.
const TITLE: usize = 65;
/// The frame of a page; its marks stand for the shortened title, the whole title and the body.
const PAGE: &str = include_str!("page.html");

/// Writes the whole page.
pub fn render(document: &Document) -> String {
    let title = &document.title;
    let short = match title.char_indices().nth(TITLE) {
        Some((end, _)) => format!("{}…", &title[..end]),
        None => title.clone(),
    };
    // Text that has been put in is not searched for marks again.
    let mark = |text: &'static str, mark| text.split_once(mark).expect("page.html has each mark");
    let (before_short, rest) = mark(PAGE, "{{short}}");
    let (before_title, rest) = mark(rest, "{{title}}");
    let (before_body, after) = mark(rest, "{{body}}");
    let (short, title, body) = (escaped(&short), escaped(title), body(document));
    format!("{before_short}{short}{before_title}{title}{before_body}{body}{after}")
}

fn body(document: &Document) -> String {
    let mut out = String::new();
    pairs(&mut out, "lead", &document.lead);
    if let Some(Answer { sentence, next, .. }) = &document.answer {
        let _ = writeln!(out, "<p class=\"answer\">{}</p>", escaped(sentence));
        for advice in &next.advice {
            let _ = writeln!(out, "<p>{}</p>", escaped(advice));
        }
        if let Some(command) = &next.command {
            let _ = writeln!(out, "<p>Next: <code>{}</code></p>", escaped(command));
        }
    }
    pairs(&mut out, "keys", &document.key_figures);
    for remark in page::remarks(document) {
        let _ = writeln!(out, "<p class=\"remark\">{}</p>", escaped(remark));
    }
    let drawings = charts::draw(&document.charts);
    if !drawings.is_empty() {
        out.push_str("<section class=\"charts\">\n<h2>Charts</h2>\n");
        out.extend(drawings);
        out.push_str("</section>\n");
    }
    for (title, blocks) in page::sections(document) {
        let _ = writeln!(out, "<section>\n<h2>{}</h2>", escaped(title));
        write(&mut out, blocks);
        out.push_str("</section>\n");
    }
    let environment = page::environment(document);
    if !environment.is_empty() {
        out.push_str("<details>\n<summary>Environment</summary>\n");
        write(&mut out, environment);
        out.push_str("</details>\n");
    }
    out
}

/// Writes names with their values as a list of this class, unless there are none.
fn pairs(out: &mut String, class: &str, pairs: &[Pair]) {
    if pairs.is_empty() {
        return;
    }
    let _ = writeln!(out, "<dl class=\"{class}\">");
    for Pair { name, value } in pairs {
        let (name, value) = (escaped(name), escaped(&value.to_string()));
        let _ = writeln!(out, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    out.push_str("</dl>\n");
}

fn write(out: &mut String, blocks: Vec<PageBlock<'_>>) {
    for block in blocks {
        match block {
            PageBlock::Table(of) => table(out, &of),
            PageBlock::List(items) => {
                let items = items.iter();
                let items = items.map(|item| format!("<li>{}</li>\n", escaped(item)));
                out.extend(["<ul>\n", &items.collect::<String>(), "</ul>\n"]);
            }
        }
    }
}

fn table(out: &mut String, table: &Table) {
    let class = match table.is_numeric() {
        true => " class=\"numbers\"",
        false => "",
    };
    let _ = writeln!(out, "<div class=\"scroll\"><table{class}>\n<thead><tr>");
    for (name, _) in &table.columns {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escaped(name));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        for (at, cell) in row.iter().enumerate() {
            let cell = escaped(&cell.to_string());
            let _ = match at {
                0 => write!(out, "<tr><th scope=\"row\">{cell}</th>"),
                _ => write!(out, "<td>{cell}</td>"),
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::charts::{Charts, Requests, Series};
    use crate::sample::{FailKind, Failure, Sample};
    use crate::stats::record::Record;

    #[test]
    fn ten_thousand_requests_make_a_page_below_300_kb() {
        let mut rng = fastrand::Rng::with_seed(4);
        let (mut ttft_ms, mut gaps_ms, mut requests) = (Vec::new(), Vec::new(), Vec::new());
        for k in 0..10_000 {
            let sent_ns = k * 50_000_000 + rng.u64(..50_000_000);
            let ttft_ns = rng.u64(100_000_000..3_000_000_000);
            let gaps_us: Vec<u32> = (0..99).map(|_| rng.u32(..60_000)).collect();
            let answer_ns: u64 = gaps_us.iter().map(|&us| u64::from(us) * 1000).sum();
            let is_success = rng.u32(..5) > 0;
            let (first_ns, last_ns) = (sent_ns + ttft_ns, sent_ns + ttft_ns + answer_ns);
            let failure = Failure::new(FailKind::Http, "");
            requests.push(Record::from(&Sample {
                failure: (!is_success).then_some(failure),
                t_send_ns: sent_ns,
                t_first_ns: Some(first_ns),
                t_last_ns: Some(last_ns),
                t_end_ns: last_ns,
                completion_tokens: Some(100),
                ..Sample::default()
            }));
            ttft_ms.push(ttft_ns as f64 / 1e6);
            gaps_ms.extend(gaps_us.into_iter().map(|us| f64::from(us) / 1e3));
        }
        let distribution = |mut values: Vec<f64>| {
            values.sort_unstable_by(f64::total_cmp);
            let halves = values.split_at(values.len() / 2);
            let series = |of: &[f64]| Series::new("a", of.iter().map(|&value| (value, 1)));
            vec![series(halves.0), series(halves.1)]
        };
        let warm = requests.split_off(1000);
        let group = |records: Vec<Record>| Requests {
            name: "a".to_string(),
            of_pass: records.into(),
            has: |_| true,
        };
        let charts = Charts {
            ttft: distribution(ttft_ms),
            gaps: distribution(gaps_ms),
            requests: vec![group(requests), group(warm)],
            beside: "Beside each other",
            ..Charts::default()
        };
        let page = render(&Document {
            charts: vec![charts],
            ..Document::default()
        });
        assert!(page.len() < 300_000, "{} bytes", page.len());
        for wanted in ["Thinned out: ", "One in "] {
            assert!(page.contains(wanted), "{wanted}");
        }
    }
}
