//! How a command is used, as a text: help, parsing and "did you mean" read it.
//!
//! A line of the text is an option, `-o, --output FILE  (marks) help [default]`, or a heading. Two spaces stand in
//! front of the help. The marks, with a comma between two, are the fields of `Flag` that hold a bool.

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// The long name as typed, such as `--endpoint`.
    pub name: &'static str,
    /// The short name, such as `-o`; empty: the option has none.
    pub short: &'static str,
    /// What its value is called in help; empty for a switch.
    pub value: &'static str,
    /// What the option does, with its default in brackets at the end.
    pub help: &'static str,
    /// The option may be given more than once.
    pub repeats: bool,
    /// The option takes several values: `5 10 20`, `5,10,20`, or the option again.
    pub list: bool,
    /// The value is never shown again.
    pub secret: bool,
    /// The option takes two values, each as it stands.
    pub pair: bool,
    /// The value is the command line of another program, which may begin with dashes.
    pub words: bool,
}

impl Flag {
    /// Takes the line of an option apart. A test checks each line of each command.
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

/// How a command is used: what help shows of it, and what it takes.
pub struct Usage {
    /// One word, or two: `check client`.
    pub name: &'static str,
    /// What its one word without dashes is called in help; empty: it takes none.
    pub operand: &'static str,
    pub about: &'static str,
    /// The text of its options, in parts that follow one another.
    pub options: &'static [&'static str],
    pub examples: &'static [&'static str],
}

impl Usage {
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
