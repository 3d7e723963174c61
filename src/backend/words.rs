//! A command line as text: splits it into words and fills in their placeholders.

use std::str::Chars;

/// Splits a text into words as a POSIX shell does: blanks, `'…'`, `"…"` and backslashes. Nothing is expanded, and
/// operators are text.
///
/// # Errors
/// Fails on a quote that is not closed, and on a backslash at the end.
pub fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    // `None` between words; an empty pair of quotes is a word.
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    let no_end = || "a backslash with nothing behind it".to_string();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' | '"' => quoted(c, &mut chars, word.get_or_insert_default())?,
            '\\' => match chars.next().ok_or_else(no_end)? {
                // The line is continued.
                '\n' => {}
                escaped => word.get_or_insert_default().push(escaped),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Reads up to the closing quote; the opening one has been read.
fn quoted(quote: char, chars: &mut Chars, word: &mut String) -> Result<(), String> {
    let no_end = || format!("a {quote} that is not closed");
    loop {
        match chars.next().ok_or_else(no_end)? {
            c if c == quote => return Ok(()),
            '\\' if quote == '"' => match chars.next().ok_or_else(no_end)? {
                '\n' => {}
                c if matches!(c, '$' | '`' | '"' | '\\') => word.push(c),
                // In double quotes a backslash before any other character is text.
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

/// Returns the word with its placeholders filled in, but not those in the values; `None` when it needs a model and
/// there is none.
pub fn fill(word: &str, model: Option<&str>, port: &str) -> Option<String> {
    let mut filled = String::new();
    let mut rest = word;
    while let Some(brace) = rest.find('{') {
        filled.push_str(&rest[..brace]);
        rest = &rest[brace..];
        if let Some(behind) = rest.strip_prefix("{model}") {
            filled.push_str(model?);
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix("{port}") {
            filled.push_str(port);
            rest = behind;
        } else {
            filled.push('{');
            rest = &rest[1..];
        }
    }
    filled.push_str(rest);
    Some(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        // The expected words are from `printf '<%s>' …` in dash.
        for (text, wanted) in [
            ("", &[][..]),
            (" \t\n ", &[]),
            ("a  b\tc\nd", &["a", "b", "c", "d"]),
            ("'a b' \"c d\"", &["a b", "c d"]),
            ("a'b'\"c\"d", &["abcd"]),
            ("'' \"\" a''", &["", "", "a"]),
            (r"a\ b \'c\' \\", &["a b", "'c'", r"\"]),
            (r"'a\' b", &[r"a\", "b"]),
            (r#""a\"b\\c\$d\`e\f""#, &[r#"a"b\c$d`e\f"#]),
            (r#"'"' "'""#, &["\"", "'"]),
            ("a\\\nb \"c\\\nd\" \\\n e", &["ab", "cd", "e"]),
            ("'a\nb'", &["a\nb"]),
            ("--é=ü", &["--é=ü"]),
        ] {
            assert_eq!(split(text).expect(text), wanted, "{text:?}");
        }
        // A shell would expand or execute these.
        let text = "$HOME *.rs a|b ~ #x >y";
        let wanted = ["$HOME", "*.rs", "a|b", "~", "#x", ">y"];
        assert_eq!(split(text).expect(text), wanted);
        for (text, why) in [
            ("a 'b", "a ' that is not closed"),
            ("a \"b", "a \" that is not closed"),
            (r#"a "b\"#, "a \" that is not closed"),
            ("a \\", "a backslash with nothing behind it"),
        ] {
            assert_eq!(split(text), Err(why.to_string()), "{text:?}");
        }
    }

    #[test]
    fn places_are_filled_once_and_a_model_is_needed_only_for_its_place() {
        for (word, wanted) in [
            ("{model}", "{port}"),
            ("--at={port}/{model}{port}", "--at=80/{port}80"),
            ("{{port}} {} {models} {", "{80} {} {models} {"),
        ] {
            let filled = fill(word, Some("{port}"), "80");
            assert_eq!(filled.as_deref(), Some(wanted), "{word}");
        }
        assert_eq!(fill("{model}", None, "80"), None);
        assert_eq!(fill("{port}", None, "80").as_deref(), Some("80"));
    }
}
