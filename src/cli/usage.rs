//! A command's usage as a text, which help, parsing and "did you mean" read.
//!
//! A line of the text is an option, `-o, --output FILE  (marks) help [default]`, or a heading. Two spaces precede the
//! help. The marks, separated by commas, are the bool fields of `Flag`.

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// The long name as typed, such as `--endpoint`.
    pub name: &'static str,
    /// The short name, such as `-o`; empty if there is none.
    pub short: &'static str,
    /// The name of the value in help; empty for a switch.
    pub value: &'static str,
    /// The explanation of the option, with its default in brackets at the end.
    pub help: &'static str,
    /// The option may be given more than once.
    pub repeats: bool,
    /// The option takes several values: `5 10 20`, `5,10,20`, or the option again.
    pub list: bool,
    /// Messages never show the value.
    pub secret: bool,
    /// The option takes two values, which are not split at commas.
    pub pair: bool,
    /// The value is the command line of another program, which may begin with dashes.
    pub words: bool,
}

impl Flag {
    /// Parses the line of an option. A test checks each line of each command.
    pub fn parse(line: &'static str) -> Flag {
        let (form, rest) = line.split_once("  ").unwrap_or((line, ""));
        let rest = rest.trim_start();
        let marked = rest
            .strip_prefix('(')
            .and_then(|rest| rest.split_once(") "));
        let (marks, help) = marked.unwrap_or(("", rest));
        let has = |mark| marks.split(", ").any(|one| one == mark);
        let (short, form) = form.split_once(", ").unwrap_or(("", form));
        let (name, value) = form.split_once(' ').unwrap_or((form, ""));
        Flag {
            name,
            short,
            value,
            help,
            repeats: has("repeats"),
            list: has("list"),
            secret: has("secret"),
            pair: has("pair"),
            words: has("words"),
        }
    }
}

/// A line of the text.
pub enum Line {
    Heading(&'static str),
    Flag(Flag),
}

/// A command's usage: its help, and the words that it accepts.
pub struct Usage {
    /// The name, one word or two: `check client`.
    pub name: &'static str,
    /// The name in help of its word without dashes; empty if it takes none. It ends in `…` if it takes several.
    pub operand: &'static str,
    pub about: &'static str,
    /// The text of its options, in consecutive parts.
    pub options: &'static [&'static str],
    pub examples: &'static [&'static str],
}

impl Usage {
    /// Returns how many words without dashes it takes.
    pub fn most_operands(&self) -> usize {
        match self.operand {
            "" => 0,
            several if several.ends_with('…') => usize::MAX,
            _ => 1,
        }
    }

    pub fn lines(&self) -> impl Iterator<Item = Line> {
        let lines = self.options.iter().flat_map(|part| part.lines());
        let lines = lines.map(str::trim).filter(|line| !line.is_empty());
        lines.map(|line| match line {
            line if line.starts_with('-') => Line::Flag(Flag::parse(line)),
            line => Line::Heading(line),
        })
    }

    pub fn flags(&self) -> impl Iterator<Item = Flag> {
        self.lines().filter_map(|line| match line {
            Line::Flag(flag) => Some(flag),
            Line::Heading(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_short_name_a_name_a_value_marks_and_help() {
        let flag = Flag::parse("-o, --output 'A: B'  (secret, repeats) where to; twice [a, b]");
        let words = (flag.short, flag.name, flag.value, flag.help);
        assert_eq!(
            words,
            ("-o", "--output", "'A: B'", "where to; twice [a, b]")
        );
        assert!(flag.secret && flag.repeats && !(flag.list || flag.pair || flag.words));
        let flag = Flag::parse("--on      a switch (of two)");
        let words = (flag.short, flag.name, flag.value, flag.help);
        assert_eq!(words, ("", "--on", "", "a switch (of two)"));
    }
}
