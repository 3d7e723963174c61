//! The text of a /metrics page, in Prometheus' format or OpenMetrics, parsed without copies.
//!
//! Types and samples are taken from a page; help texts, timestamps and exemplars are skipped. A line that
//! is not understood is counted, and the rest of the page is read.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use crate::units::steers;

#[cfg(test)]
mod fuzz;

/// How many characters of a line an error repeats at most.
const SHOWN_CHARS: usize = 40;

/// The type of a family by its `# TYPE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Counter,
    /// Gauges, and OpenMetrics' info and stateset.
    Gauge,
    Histogram,
    Summary,
    /// `untyped`, `unknown`, no `# TYPE`, and types that this program does not know.
    Untyped,
}

impl Type {
    fn parse(word: &str) -> Type {
        match word {
            "counter" => Type::Counter,
            "gauge" | "info" | "stateset" => Type::Gauge,
            "histogram" => Type::Histogram,
            "summary" => Type::Summary,
            _ => Type::Untyped,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
            Type::Summary => "summary",
            Type::Untyped => "untyped",
        }
    }
}

/// One line with a value.
#[derive(Debug, Clone, Copy)]
pub struct MetricSample<'a> {
    /// The name; a quoted one is as between its quotes.
    pub name: &'a str,
    pub labels: Labels<'a>,
    /// The value; NaN and infinities are kept.
    pub value: f64,
}

/// The checked text between the braces; empty without braces.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a>(&'a str);

impl<'a> Labels<'a> {
    /// Returns names and values in the page's order, with escapes resolved.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
        let mut rest = self.0;
        let items = std::iter::from_fn(move || {
            // `parse` has walked the same way without an error.
            let (item, after) = next_item(rest).ok()??;
            rest = after;
            Some(item)
        });
        items.filter_map(|item| match item {
            Item::Label(name, value) => Some((name, unescape(value))),
            Item::MetricName(_) => None,
        })
    }

    /// The text on the page, without the braces.
    pub fn text(self) -> &'a str {
        self.0
    }
}

/// A page, in the order of its lines.
#[derive(Debug, Default)]
pub struct Exposition<'a> {
    /// Types by family: OpenMetrics' counter `foo` has the sample `foo_total`.
    pub types: HashMap<&'a str, Type>,
    pub samples: Vec<MetricSample<'a>>,
    /// The lines that were not understood; `None`: every line was.
    pub skipped: Option<Skipped>,
}

/// The lines of a page that were not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    pub lines: u64,
    /// The line number of the first one, and what is wrong with it.
    pub first: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = &self.first;
        match self.lines {
            1 => write!(f, "1 line was not understood: {first}"),
            lines => write!(f, "{lines} lines were not understood, the first: {first}"),
        }
    }
}

impl<'a> Exposition<'a> {
    /// Takes in one line, given without the blanks around it.
    fn take(&mut self, line: &'a str) -> Result<(), String> {
        if let Some(comment) = line.strip_prefix('#') {
            self.types.extend(type_line(comment)?);
        } else if !line.is_empty() {
            self.samples.push(sample(line)?);
        }
        Ok(())
    }

    /// Returns the type of the family that a sample's name belongs to, and whether the family has exactly that name.
    pub fn type_of(&self, name: &str) -> (Type, bool) {
        if let Some(known) = self.types.get(name) {
            return (*known, true);
        }
        for (suffix, types) in [
            ("_total", &[Type::Counter][..]),
            ("_created", &[Type::Counter, Type::Histogram, Type::Summary]),
            ("_count", &[Type::Histogram, Type::Summary]),
            ("_sum", &[Type::Histogram, Type::Summary]),
            ("_bucket", &[Type::Histogram]),
        ] {
            let family = name.strip_suffix(suffix);
            if let Some(known) = family.and_then(|family| self.types.get(family))
                && types.contains(known)
            {
                return (*known, false);
            }
        }
        (Type::Untyped, false)
    }
}

/// Reads a whole page; linear in its length.
///
/// # Errors
/// When no line is a sample and one is not understood: what the page is, or what is wrong with the first such line. An
/// empty page is an error too.
pub fn parse(text: &str) -> Result<Exposition<'_>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let body = text.trim_start();
    let at = 1 + text[..text.len() - body.len()].matches('\n').count();
    let start = body.as_bytes().first();
    match start {
        None => return Err("an empty page".to_string()),
        Some(b'<') => return Err(format!("line {at}: HTML or XML, not metrics")),
        Some(_) => {}
    }
    let mut page = Exposition::default();
    for (line, number) in text.lines().zip(1u64..) {
        if let Err(why) = page.take(line.trim_matches(blank)) {
            let first = || format!("line {number}: {why}");
            let none = || Skipped {
                lines: 0,
                first: first(),
            };
            page.skipped.get_or_insert_with(none).lines += 1;
        }
    }
    match &page.skipped {
        Some(skipped) if page.samples.is_empty() => Err(match start {
            // A quoted name stands behind a brace, too.
            Some(b'{' | b'[') => format!("line {at}: JSON, not metrics"),
            _ if skipped.lines == 1 => skipped.first.clone(),
            _ => format!("no metrics: {skipped}"),
        }),
        _ => Ok(page),
    }
}

fn blank(c: char) -> bool {
    // A CR too: `lines` takes off only the one before the LF.
    matches!(c, ' ' | '\t' | '\r')
}

/// Returns family and type if the comment is a `# TYPE`.
fn type_line(comment: &str) -> Result<Option<(&str, Type)>, String> {
    let comment = comment.trim_start_matches(blank);
    let rest = comment.strip_prefix("TYPE");
    let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with(blank)) else {
        return Ok(None);
    };
    let rest = rest.trim_start_matches(blank);
    let (family, kind) = match rest.starts_with('"') {
        true => quoted_name(rest)?,
        false => rest.split_once(blank).unwrap_or((rest, "")),
    };
    match kind.split(blank).find(|word| !word.is_empty()) {
        Some(kind) if !family.is_empty() => Ok(Some((family, Type::parse(kind)))),
        _ => Err("# TYPE without a name and a type".to_string()),
    }
}

/// `name{labels} value [timestamp] [# exemplar]`, blanks around it taken off; a quoted name stands among the labels.
fn sample(line: &str) -> Result<MetricSample<'_>, String> {
    let (name, rest) = split_name(line);
    if name.is_empty() && !line.starts_with('{') {
        return Err(format!("no metric name in {}", shown(line)));
    }
    let (quoted, labels, rest) = match rest.trim_start_matches(blank).strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None if rest.starts_with(blank) => (None, Labels(""), rest),
        None if rest.is_empty() => return Err(format!("{}: no value", shown(name))),
        None => return Err(format!("not a metric name: {}", shown(line))),
    };
    let name = match quoted {
        None if name.is_empty() => return Err(format!("no metric name in {}", shown(line))),
        None => name,
        Some(quoted) if name.is_empty() => quoted,
        Some(quoted) => return Err(format!("{}: another name, {}", shown(name), shown(quoted))),
    };
    let value = value(rest).map_err(|why| format!("{}: {why}", shown(name)))?;
    Ok(MetricSample {
        name,
        labels,
        value,
    })
}

/// Parses the text behind name and labels: a value, perhaps a timestamp and an exemplar.
fn value(rest: &str) -> Result<f64, String> {
    // Neither a value nor a timestamp has a `#`.
    let (numbers, exemplar) = match rest.split_once('#') {
        Some((numbers, exemplar)) => (numbers, Some(exemplar.trim_start_matches(blank))),
        None => (rest, None),
    };
    if exemplar.is_some_and(|exemplar| !exemplar.starts_with('{')) {
        return Err("text after the value".to_string());
    }
    let mut words = numbers.split(blank).filter(|word| !word.is_empty());
    let word = words.next().ok_or("no value")?;
    let value = number(word).ok_or_else(|| format!("{} is not a number", shown(word)))?;
    if let Some(stamp) = words.next()
        && number(stamp).is_none()
    {
        return Err(format!("{} is not a timestamp", shown(stamp)));
    }
    match words.next() {
        Some(more) => Err(format!("{} after the timestamp", shown(more))),
        None => Ok(value),
    }
}

fn number(word: &str) -> Option<f64> {
    // Takes NaN, +Inf, -Inf, Inf and exponents too.
    word.parse().ok()
}

/// Splits off a metric's name (letters, digits, `_`, `:`, no digit first; empty: there is none).
pub fn split_name(text: &str) -> (&str, &str) {
    let end = text
        .bytes()
        .position(|b| !(b.is_ascii_alphanumeric() || b == b'_' || b == b':'))
        .unwrap_or(text.len());
    match text.as_bytes().first() {
        Some(first) if first.is_ascii_digit() => ("", text),
        _ => text.split_at(end),
    }
}

/// Checks labels up to the closing brace. Returns the quoted metric name among them, if there is one, the text before
/// the brace, and the text behind it.
pub fn labels(inside: &str) -> Result<(Option<&str>, Labels<'_>, &str), String> {
    let (mut rest, mut name) = (inside, None);
    while let Some((item, after)) = next_item(rest)? {
        rest = after;
        if let Item::MetricName(quoted) = item
            && let Some(first) = name.replace(quoted)
        {
            return Err(format!("{}: another name, {}", shown(first), shown(quoted)));
        }
    }
    let end = inside.len() - rest.trim_start_matches(blank).len();
    // `next_item` says `None` at the brace only.
    Ok((name, Labels(&inside[..end]), &inside[end + 1..]))
}

/// An item between two commas in braces.
enum Item<'a> {
    /// A metric's name in quotes, as UTF-8 names are written.
    MetricName(&'a str),
    /// A label: its name, and its value as written between the quotes.
    Label(&'a str, &'a str),
}

/// Splits off an item and its comma; `None` at the brace or the text's end.
fn next_item(text: &str) -> Result<Option<(Item<'_>, &str)>, String> {
    let text = text.trim_start_matches(blank);
    if text.is_empty() {
        return Err("labels without their closing brace".to_string());
    }
    if text.starts_with('}') {
        return Ok(None);
    }
    let is_quoted = text.starts_with('"');
    let (name, rest) = match is_quoted {
        true => quoted_name(text)?,
        false => split_name(text),
    };
    if name.is_empty() {
        return Err(format!("not a label name: {}", shown(text)));
    }
    let rest = rest.trim_start_matches(blank);
    let (item, after) = match rest.strip_prefix('=') {
        None if is_quoted => (Item::MetricName(name), rest),
        value => {
            let value = value.map(|rest| rest.trim_start_matches(blank));
            let Some(value) = value.filter(|value| value.starts_with('"')) else {
                return Err(format!("label {}: want =\"value\"", shown(name)));
            };
            let (value, after) =
                quoted(value).map_err(|_| format!("label {}: no closing quote", shown(name)))?;
            (Item::Label(name, value), after.trim_start_matches(blank))
        }
    };
    match after.strip_prefix(',') {
        Some(after) => Ok(Some((item, after))),
        None if after.starts_with('}') || after.is_empty() => Ok(Some((item, after))),
        None => Err(format!("label {}: no comma after it", shown(name))),
    }
}

/// Splits a text that begins with a quote at the closing one.
fn quoted(text: &str) -> Result<(&str, &str), String> {
    let inside = &text[1..];
    let end =
        closing_quote(inside).ok_or_else(|| format!("no closing quote in {}", shown(text)))?;
    Ok((&inside[..end], &inside[end + 1..]))
}

/// Splits off a quoted name.
fn quoted_name(text: &str) -> Result<(&str, &str), String> {
    let (name, rest) = quoted(text)?;
    // They could steer the terminal that the name is printed to.
    match name.contains(steers) {
        true => Err(format!("control characters in {}", shown(name))),
        false => Ok((name, rest)),
    }
}

/// Returns the position of the first quote without a backslash before it.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

/// Resolves `\\`, `\"` and `\n`; any other backslash stands for itself.
fn unescape(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, chars.clone().next()) {
            ('\\', Some('n')) => plain.push('\n'),
            ('\\', Some(escaped @ ('\\' | '"'))) => plain.push(escaped),
            _ => {
                plain.push(c);
                continue;
            }
        }
        chars.next();
    }
    Cow::Owned(plain)
}

/// The start of a server's text, fit for a terminal.
fn shown(text: &str) -> String {
    let mut chars = text.chars();
    let clean = |c: char| if steers(c) { ' ' } else { c };
    let start: String = chars.by_ref().take(SHOWN_CHARS).map(clean).collect();
    let more = if chars.next().is_some() { "…" } else { "" };
    format!("\"{start}{more}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read<'a> = (&'a str, Vec<(String, String)>, f64);

    /// Name, labels and value of each sample.
    fn samples(text: &str) -> Vec<Read<'_>> {
        let page = parse(text).expect(text);
        let owned = |labels: Labels| -> Vec<(String, String)> {
            let pairs = labels.iter();
            pairs
                .map(|(name, value)| (name.to_string(), value.into_owned()))
                .collect()
        };
        let samples = page.samples.iter();
        samples
            .map(|sample| (sample.name, owned(sample.labels), sample.value))
            .collect()
    }

    fn one(line: &str) -> Read<'_> {
        let mut all = samples(line);
        assert_eq!(all.len(), 1, "{line}");
        all.remove(0)
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = pairs.iter();
        owned
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    #[test]
    fn values_are_numbers_of_every_form() {
        for (text, value) in [
            ("a 1", 1.0),
            ("a\t-2.5", -2.5),
            ("a 4.569321472e+09", 4_569_321_472.0),
            ("a 1E-3", 0.001),
            ("a .5", 0.5),
            ("a +Inf", f64::INFINITY),
            ("a Inf", f64::INFINITY),
            ("a -Inf", f64::NEG_INFINITY),
            ("  a  1  ", 1.0),
            ("a 1 1395066363000", 1.0),
            ("a 1 -3.5", 1.0),
            ("a{} 1", 1.0),
            ("a{}1", 1.0),
            ("a {} 1", 1.0),
            ("a 1 # {trace_id=\"x\"} 0.67 1.5", 1.0),
            ("a 1 1.5 # {} 0.67", 1.0),
            ("a:b_9 1\r", 1.0),
        ] {
            let (_, labels, read) = one(text);
            assert_eq!((labels.len(), read), (0, value), "{text}");
        }
        assert!(one("a NaN").2.is_nan());
    }

    #[test]
    fn labels_keep_what_looks_like_syntax_and_lose_their_escapes() {
        for (text, labels) in [
            (r#"a{b="c"} 1"#, &[("b", "c")][..]),
            (r#"a{b="c",} 1"#, &[("b", "c")]),
            (r#"a{ b = "c" , d = "" } 1"#, &[("b", "c"), ("d", "")]),
            (
                r#"a{b="} # {x",le="+Inf"} 1"#,
                &[("b", "} # {x"), ("le", "+Inf")],
            ),
            (
                r#"a{b="\\",c="\"",d="x\ny"} 1"#,
                &[("b", "\\"), ("c", "\""), ("d", "x\ny")],
            ),
            (r#"a{b="C:\DIR\\n"} 1"#, &[("b", r"C:\DIR\n")]),
            (r#"a{b="é,☃"} 1"#, &[("b", "é,☃")]),
        ] {
            assert_eq!(one(text).1, pairs(labels), "{text}");
        }
    }

    #[test]
    fn comments_blank_lines_and_both_line_ends_are_taken() {
        let text = "# HELP a Not a type: TYPE a gauge\r\n# TYPE a counter\r\na 1\r\n\r\n\
                    #TYPE b gauge\n# a remark\n#\n\n  # TYPE c histogram\nb 2\n# UNIT b s\n# EOF\n";
        let page = parse(text).expect("a page");
        let named: Vec<_> = page.samples.iter().map(|s| (s.name, s.value)).collect();
        assert_eq!(named, [("a", 1.0), ("b", 2.0)]);
        assert_eq!(page.types["a"], Type::Counter);
        assert_eq!(page.types["b"], Type::Gauge);
        assert_eq!(page.types["c"], Type::Histogram);
        assert_eq!(page.types.len(), 3);
        assert_eq!(parse("# EOF").expect("an empty one").samples.len(), 0);
    }

    #[test]
    fn a_sample_has_the_type_of_its_family() {
        let page = parse(
            "# TYPE foo counter\n# TYPE h histogram\n# TYPE s summary\n# TYPE g gauge\n\
             # TYPE odd_total histogram\n# TYPE new strange\n# TYPE x_sum gauge\n# TYPE x summary\n",
        )
        .expect("a page");
        for (name, kind, is_family) in [
            ("foo", Type::Counter, true),
            ("foo_total", Type::Counter, false),
            ("foo_created", Type::Counter, false),
            ("foo_count", Type::Untyped, false),
            ("h_bucket", Type::Histogram, false),
            ("h_count", Type::Histogram, false),
            ("h_sum", Type::Histogram, false),
            ("h_total", Type::Untyped, false),
            ("s", Type::Summary, true),
            ("s_sum", Type::Summary, false),
            ("s_bucket", Type::Untyped, false),
            ("g_sum", Type::Untyped, false),
            // vLLM has a histogram of such a name.
            ("odd_total_count", Type::Histogram, false),
            ("new", Type::Untyped, true),
            ("x_sum", Type::Gauge, true),
            ("nowhere", Type::Untyped, false),
        ] {
            assert_eq!(page.type_of(name), (kind, is_family), "{name}");
        }
    }

    #[test]
    fn a_page_without_a_sample_is_an_error_that_names_its_first_line() {
        for (text, why) in [
            ("", "an empty page"),
            ("\n \r\n", "an empty page"),
            ("<!doctype html>\n<p>", "line 1: HTML or XML, not metrics"),
            ("\n\n<html>", "line 3: HTML or XML, not metrics"),
            ("{\"status\":\"ok\"}", "line 1: JSON, not metrics"),
            (
                "\n{\n \"a\": 1,\n \"b\": [\"c\", true]\n}",
                "line 2: JSON, not metrics",
            ),
            ("[1]", "line 1: JSON, not metrics"),
            ("Not Found", "line 1: \"Not\": \"Found\" is not a number"),
            (
                "# TYPE a counter\nupstream is\n\ndown",
                "no metrics: 2 lines were not understood, the first: line 2: \"upstream\": \"is\" is not a number",
            ),
        ] {
            assert_eq!(parse(text).err().as_deref(), Some(why), "{text:?}");
        }
    }

    #[test]
    fn a_line_that_is_not_understood_costs_that_line_and_is_named() {
        for (line, why) in [
            ("1b 2", "no metric name in \"1b 2\""),
            ("9lives_total 3", "no metric name in \"9lives_total 3\""),
            ("a", "\"a\": no value"),
            ("a{b=\"c\"}", "\"a\": no value"),
            ("a{b=\"c\"} ", "\"a\": no value"),
            ("a{b=\"c\"} <nil>", "\"a\": \"<nil>\" is not a number"),
            ("a{b=\"c\"", "labels without their closing brace"),
            ("a{b=\"c} 1", "label \"b\": no closing quote"),
            ("a{b=c} 1", "label \"b\": want =\"value\""),
            ("a{b} 1", "label \"b\": want =\"value\""),
            ("a{b=\"c\" d=\"e\"} 1", "label \"b\": no comma after it"),
            ("a{,} 1", "not a label name: \",} 1\""),
            ("a-b 1", "not a metric name: \"a-b 1\""),
            ("cpu.load 3", "not a metric name: \"cpu.load 3\""),
            ("a 1 noon", "\"a\": \"noon\" is not a timestamp"),
            ("a 1 2 3", "\"a\": \"3\" after the timestamp"),
            ("a 1 # remark", "\"a\": text after the value"),
            ("a 0x10", "\"a\": \"0x10\" is not a number"),
            ("a 0x1p-3", "\"a\": \"0x1p-3\" is not a number"),
            ("a 1_000", "\"a\": \"1_000\" is not a number"),
            ("a 1,5", "\"a\": \"1,5\" is not a number"),
            ("# TYPE a", "# TYPE without a name and a type"),
            ("# TYPE \"a b\"", "# TYPE without a name and a type"),
            ("# TYPE \"a gauge", "no closing quote in \"\"a gauge\""),
            ("a \x1b[31m", "\"a\": \" [31m\" is not a number"),
            // A native histogram.
            (
                "nh {count:24,sum:100,schema:0} 1",
                "label \"count:24\": want =\"value\"",
            ),
            ("{} 1", "no metric name in \"{} 1\""),
            ("{b=\"c\"} 1", "no metric name in \"{b=\"c\"} 1\""),
            ("{\"\",b=\"c\"} 1", "not a label name: \"\"\",b=\"c\"} 1\""),
            ("{\"a.b\" 1", "label \"a.b\": no comma after it"),
            ("{\"a.b", "no closing quote in \"\"a.b\""),
            ("{\"a\x1b[31m\"} 1", "control characters in \"a [31m\""),
            ("{\"a.b\",\"c.d\"} 1", "\"a.b\": another name, \"c.d\""),
            ("a{\"a.b\"} 1", "\"a\": another name, \"a.b\""),
        ] {
            let text = format!("up 1\n{line}\nvllm:x{{a=\"b\"}} 2\n");
            let page = parse(&text).expect(line);
            let values: Vec<f64> = page.samples.iter().map(|sample| sample.value).collect();
            assert_eq!(values, [1.0, 2.0], "{line}");
            let skipped = page.skipped.expect(line);
            let wanted = format!("1 line was not understood: line 2: {why}");
            assert_eq!(skipped.to_string(), wanted, "{line}");
        }
        let page = parse("a\nb\nc 1\n\nd\n").expect("a page");
        let wanted = "3 lines were not understood, the first: line 1: \"a\": no value";
        assert_eq!(page.skipped.expect("three").to_string(), wanted);
        let long = format!("a {}", "é".repeat(100));
        let why = parse(&long).expect_err("no number");
        assert_eq!(
            why,
            format!("line 1: \"a\": \"{}…\" is not a number", "é".repeat(40))
        );
    }

    #[test]
    fn names_in_quotes_are_those_of_metrics_labels_and_families() {
        let text = "{\"http.server.duration\",route=\"/v1\"} 3\n\
                    # TYPE \"http.server.duration\" gauge\n\
                    # TYPE \"two words\" counter\n\
                    { \"two words\" } 4 # {\"trace.id\"=\"q\"} 0.5\n\
                    app_info{\"service.name\"=\"x\", b = \"{\\\"c\\\"}\"} 1\n\
                    {le=\"1\",\"größe-in-b\"} 5 1700000000\n";
        let page = parse(text).expect("a page");
        assert_eq!(page.skipped, None);
        assert_eq!(
            samples(text),
            [
                ("http.server.duration", pairs(&[("route", "/v1")]), 3.0),
                ("two words", pairs(&[]), 4.0),
                (
                    "app_info",
                    pairs(&[("service.name", "x"), ("b", "{\"c\"}")]),
                    1.0
                ),
                ("größe-in-b", pairs(&[("le", "1")]), 5.0),
            ]
        );
        assert_eq!(page.types["http.server.duration"], Type::Gauge);
        assert_eq!(page.type_of("two words"), (Type::Counter, true));
    }

    /// The example of the text format's documentation, whole.
    const DOCUMENTED: &str = r##"# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric from before the epoch:
something_weird{problem="division by zero"} +Inf -3982045

# A histogram, which has a pretty complex representation in the text format:
# HELP http_request_duration_seconds A histogram of the request duration.
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="0.05"} 24054
http_request_duration_seconds_bucket{le="+Inf"} 144320
http_request_duration_seconds_sum 53423
http_request_duration_seconds_count 144320

# TYPE rpc_duration_seconds summary
rpc_duration_seconds{quantile="0.01"} 3102
rpc_duration_seconds_sum 1.7560473e+07
rpc_duration_seconds_count 2693
"##;

    #[test]
    fn the_page_of_the_documentation_is_read_whole() {
        let code = |code| pairs(&[("method", "post"), ("code", code)]);
        let access = pairs(&[
            ("path", r"C:\DIR\FILE.TXT"),
            ("error", "Cannot find file:\n\"FILE.TXT\""),
        ]);
        let wanted = [
            ("http_requests_total", code("200"), 1027.0),
            ("http_requests_total", code("400"), 3.0),
            ("msdos_file_access_time_seconds", access, 1_458_255_915.0),
            ("metric_without_timestamp_and_labels", pairs(&[]), 12.47),
            (
                "something_weird",
                pairs(&[("problem", "division by zero")]),
                f64::INFINITY,
            ),
            (
                "http_request_duration_seconds_bucket",
                pairs(&[("le", "0.05")]),
                24_054.0,
            ),
            (
                "http_request_duration_seconds_bucket",
                pairs(&[("le", "+Inf")]),
                144_320.0,
            ),
            ("http_request_duration_seconds_sum", pairs(&[]), 53_423.0),
            ("http_request_duration_seconds_count", pairs(&[]), 144_320.0),
            (
                "rpc_duration_seconds",
                pairs(&[("quantile", "0.01")]),
                3102.0,
            ),
            ("rpc_duration_seconds_sum", pairs(&[]), 17_560_473.0),
            ("rpc_duration_seconds_count", pairs(&[]), 2693.0),
        ];
        assert_eq!(samples(DOCUMENTED), wanted);
        let page = parse(DOCUMENTED).expect("a page");
        for (name, kind) in [
            ("http_requests_total", Type::Counter),
            ("http_request_duration_seconds_bucket", Type::Histogram),
            ("rpc_duration_seconds_count", Type::Summary),
            ("something_weird", Type::Untyped),
        ] {
            assert_eq!(page.type_of(name).0, kind, "{name}");
        }
    }

    #[test]
    fn openmetrics_adds_units_exemplars_and_an_end() {
        let page = "# TYPE foo histogram\n# UNIT foo seconds\n# HELP foo \\n \\\\ \\\"\n\
                    foo_bucket{le=\"0.01\"} 0\n\
                    foo_bucket{le=\"0.1\"} 8 # {} 0.054\n\
                    foo_bucket{le=\"1.0\"} 11 1.5 # {trace_id=\"KOO5S4vxi0o\"} 0.67\n\
                    foo_bucket{le=\"+Inf\"} 17 # {trace_id=\"oHg5SJYRHA0\"} 9.8 1520879607.789\n\
                    foo_count 17\nfoo_sum 324789.3\nfoo_created 1520430000.123\n\
                    # TYPE version info\nversion_info{v=\"1.0\"} 1\n# EOF\n";
        let read = parse(page).expect("a page");
        let values: Vec<f64> = read.samples.iter().map(|sample| sample.value).collect();
        let wanted = [
            0.0,
            8.0,
            11.0,
            17.0,
            17.0,
            324_789.3,
            1_520_430_000.123,
            1.0,
        ];
        assert_eq!(values, wanted);
        assert_eq!(read.type_of("foo_created").0, Type::Histogram);
        assert_eq!(read.types["version"], Type::Gauge);
    }
}
