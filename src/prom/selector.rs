//! Selectors: a metric's name as the user asks for it, perhaps with labels that its series must have.

use super::parse::{MetricSample, labels, split_name};

/// `name`, `name{label="value",…}` or `{"name in quotes",label="value",…}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// The text as typed.
    pub asked: String,
    pub name: String,
    /// Labels that a series must have, with their values; a series may have more.
    pub labels: Vec<(String, String)>,
}

impl Selector {
    /// # Errors
    /// The reason why the text is no selector; the caller adds the option it came from.
    pub fn parse(text: &str) -> Result<Selector, String> {
        let asked = text.trim();
        let (name, rest) = split_name(asked);
        let no_name = "no metric name; want for example vllm:prompt_tokens_total";
        let (mut quoted, mut owned) = (None, Vec::new());
        if let Some(inside) = rest.strip_prefix('{') {
            let (metric, labels, after) = labels(inside)?;
            if !after.is_empty() {
                return Err("text after the closing brace".to_string());
            }
            quoted = metric;
            let pairs = labels.iter();
            owned.extend(pairs.map(|(label, value)| (label.to_string(), value.into_owned())));
        } else if let Some(odd) = rest.chars().next().filter(|_| !name.is_empty()) {
            return Err(format!(
                "{odd:?} is not part of a metric name; want name, name{{label=\"value\"}} or {{\"any name\"}}"
            ));
        }
        let name = match (name, quoted) {
            ("", None) => return Err(no_name.to_string()),
            ("", Some(quoted)) => quoted,
            (name, None) => name,
            (name, Some(quoted)) => return Err(format!("two names, {name} and {quoted}")),
        };
        Ok(Selector {
            asked: asked.to_string(),
            name: name.to_string(),
            labels: owned,
        })
    }

    /// Returns a selector of another name with the same labels.
    pub fn renamed(&self, name: &str) -> Selector {
        Selector {
            name: name.to_string(),
            ..self.clone()
        }
    }

    /// Returns whether a series of this name has the asked-for labels.
    pub fn takes(&self, sample: &MetricSample) -> bool {
        self.labels.iter().all(|(label, value)| {
            let mut exposed = sample.labels.iter();
            exposed.any(|(name, exposed)| name == label && exposed == *value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<(String, String)> {
        Selector::parse(text).expect(text).labels
    }

    #[test]
    fn a_name_stands_alone_or_with_quoted_labels() {
        let bare = Selector::parse(" vllm:prefix_cache_hits ").expect("a name");
        assert_eq!(bare.name, "vllm:prefix_cache_hits");
        assert_eq!(
            (bare.asked.as_str(), bare.labels.len()),
            ("vllm:prefix_cache_hits", 0)
        );
        let pair = |label: &str, value: &str| (label.to_string(), value.to_string());
        assert_eq!(labels("a{}"), []);
        assert_eq!(labels(r#"a{b="c"}"#), [pair("b", "c")]);
        let two = labels(r#"a{ b = "x,}y" , c="d\"\\e", }"#);
        assert_eq!(two, [pair("b", "x,}y"), pair("c", r#"d"\e"#)]);
        let utf8 = Selector::parse(r#"{"http.server.duration","service.name"="x"}"#);
        let utf8 = utf8.expect("a quoted name");
        assert_eq!(utf8.name, "http.server.duration");
        assert_eq!(utf8.labels, [pair("service.name", "x")]);
    }

    #[test]
    fn what_is_no_selector_says_why() {
        let no_name = "no metric name; want for example vllm:prompt_tokens_total";
        for (text, why) in [
            ("", no_name),
            ("9a", no_name),
            ("{a=\"b\"}", no_name),
            (
                "a-b",
                "'-' is not part of a metric name; want name, name{label=\"value\"} or {\"any name\"}",
            ),
            ("a{b=\"c\"", "labels without their closing brace"),
            ("a{b=\"c\"} 1", "text after the closing brace"),
            ("a{b=\"c\"}{d=\"e\"}", "text after the closing brace"),
            ("a{b=c}", "label \"b\": want =\"value\""),
            ("a{b=~\"c\"}", "label \"b\": want =\"value\""),
            ("a{b!=\"c\"}", "label \"b\": want =\"value\""),
            ("a{b=\"c}", "label \"b\": no closing quote"),
            ("a{b=\"c\" d=\"e\"}", "label \"b\": no comma after it"),
            ("a{1=\"c\"}", "not a label name: \"1=\"c\"}\""),
            ("a{\"b.c\"}", "two names, a and b.c"),
        ] {
            assert_eq!(Selector::parse(text), Err(why.to_string()), "{text}");
        }
    }
}
