//! The colours of charts: the same group has the same one in every chart.

/// The number of colours in page.html.
const COLOURS: usize = 6;
/// The class of what belongs to no group.
pub const WHOLE: &str = "all";
/// The styles of lines, each with its class in page.html.
const STYLES: [(&str, &str); 3] = [("", "solid"), (" d", "dashed"), (" e", "dotted")];

/// Returns the class of a group: a colour, with `d` (dashed) and then `e` (dotted) when all colours have been used.
pub fn class(group: usize) -> String {
    let (style, _) = STYLES[group / COLOURS % 3];
    format!("c{}{style}", group % COLOURS)
}

/// Returns the class of a line that belongs to no group, one of several, and the word for its style.
pub fn line_class(at: usize) -> (String, &'static str) {
    let (style, word) = STYLES[at % 3];
    (format!("{WHOLE}{style}"), word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eighteen_groups_look_different_and_the_page_has_their_styles() {
        let mut classes: Vec<String> = (0..18).map(class).collect();
        classes.sort_unstable();
        classes.dedup();
        assert_eq!(classes.len(), 18, "{classes:?}");
        let page = include_str!("../page.html");
        classes.push(WHOLE.to_string());
        for style in classes.iter().flat_map(|class| class.split(' ')) {
            let (line, colour) = (format!(".line.{style}{{"), format!(".{style}{{--c:"));
            assert!(page.contains(&line) || page.contains(&colour), "{style}");
        }
    }
}
