//! One chart as HTML: inline SVG with axes, ticks, lines and dots, a caption and a key. It does not know what the data
//! mean.

use std::fmt::Write;

use crate::units::steers;

/// The width of the drawing in its own units; on a screen of 400 px one unit is a pixel.
const WIDTH: f64 = 400.0;
const LEFT: f64 = 50.0;
/// The right end of the plot; names of levels stand to the right of it.
const RIGHT: f64 = 374.0;
const TOP: f64 = 32.0;
/// The room below the plot for the numbers and the label of the x axis.
const FOOT: f64 = 40.0;

/// The shapes of points, each with its class in page.html and its path.
pub const DOT: (&str, &str) = ("dots", "h0");
pub const CROSS: (&str, &str) = ("cross", "m-3-3l6 6m0-6l-6 6");

/// Ticks from this number on are written in thousands, `100k`, or millions.
const LONG: f64 = 1e5;

pub struct Axis {
    pub label: &'static str,
    /// The end of the axis, above 0.
    pub max: f64,
    /// The smallest step between the ticks of a linear axis.
    least_step: f64,
    /// The start of a logarithmic axis; a linear axis starts at 0.
    min: Option<f64>,
}

impl Axis {
    /// Makes a linear axis from 0 to `max`, the largest value; if that is not above 0, the axis ends at 1.
    pub fn new(label: &'static str, max: f64) -> Axis {
        let is_usable = max > 0.0 && max.is_finite();
        let max = if is_usable { max } else { 1.0 };
        Axis {
            label,
            max,
            least_step: 0.0,
            min: None,
        }
    }

    /// Makes a linear axis of whole numbers.
    pub fn whole(label: &'static str, max: f64) -> Axis {
        Axis {
            least_step: 1.0,
            ..Axis::new(label, max)
        }
    }

    /// Makes a logarithmic axis, on which equal steps are equal ratios. It begins at `min`, but at most six decades
    /// below `max`.
    pub fn logarithmic(label: &'static str, min: f64, max: f64) -> Axis {
        let axis = Axis::new(label, max);
        let min = Some(min.clamp(axis.max / 1e6, axis.max / 2.0));
        Axis { min, ..axis }
    }

    /// Returns the position of a value, 0..=1; values outside lie on the edge.
    fn share(&self, value: f64) -> f64 {
        let share = match self.min {
            None => value / self.max,
            Some(min) => (value / min).ln() / (self.max / min).ln(),
        };
        share.clamp(0.0, 1.0)
    }

    /// Returns the round numbers on the axis, each with its text.
    fn ticks(&self) -> Vec<(f64, String)> {
        match self.min {
            None => self.even_ticks(),
            Some(min) => self.logarithmic_ticks(min),
        }
    }

    /// Returns about five ticks from 0 on.
    fn even_ticks(&self) -> Vec<(f64, String)> {
        let raw = (self.max / 5.0).max(self.least_step);
        let power = raw.log10().floor();
        let unit = 10_f64.powi(power as i32);
        let mut factors = [1.0, 2.0, 5.0].into_iter();
        let factor = factors.find(|factor| factor * unit >= raw * 0.999);
        let factor = factor.unwrap_or(10.0);
        let step = factor * unit;
        let count = (self.max / step + 1e-9).floor() as usize;
        let decimals = if factor < 10.0 { -power } else { -power - 1.0 };
        let decimals = decimals.clamp(0.0, 9.0) as usize;
        let ticks = (0..=count).map(|k| k as f64 * step);
        ticks
            .map(|tick| match self.max < LONG {
                true => (tick, format!("{tick:.decimals$}")),
                false => (tick, shortened(tick)),
            })
            .collect()
    }

    /// Returns powers of ten and, where there is room, numbers between them.
    fn logarithmic_ticks(&self, min: f64) -> Vec<(f64, String)> {
        let decades = (self.max / min).log10();
        let factors = match decades {
            ..2.0 => &[1.0, 2.0, 5.0][..],
            ..3.5 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let powers = min.log10().floor() as i32..=self.max.log10().floor() as i32;
        let ticks = powers.flat_map(|power| factors.iter().map(move |factor| (*factor, power)));
        let ticks = ticks.map(|(factor, power)| {
            let tick = factor * 10_f64.powi(power);
            let decimals = power.min(0).unsigned_abs() as usize;
            match tick < LONG {
                true => (tick, format!("{tick:.decimals$}")),
                false => (tick, shortened(tick)),
            }
        });
        let fits = |(tick, _): &(f64, String)| (min * 0.999..=self.max * 1.001).contains(tick);
        ticks.filter(fits).collect()
    }
}

/// Writes the number of a tick in thousands, or in millions from 100 of these on.
fn shortened(tick: f64) -> String {
    match tick {
        0.0 => "0".to_string(),
        ..1e8 => format!("{:.0}k", tick / 1e3),
        _ => format!("{:.0}M", tick / 1e6),
    }
}

/// Returns the room that half of a text needs.
fn half_width(text: &str) -> f64 {
    3.3 * text.chars().count() as f64
}

/// Returns the largest of the values, or 0 if none is above it.
pub fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, f64::max)
}

/// A chart that is being drawn; positions are in the units of its axes.
pub struct Plot {
    pub title: &'static str,
    /// The class and the text of each group that has been drawn.
    pub key: Vec<(String, String)>,
    /// The text below the key.
    pub note: String,
    x: Axis,
    y: Axis,
    bottom: f64,
    body: String,
    shows_y: bool,
}

impl Plot {
    pub fn new(title: &'static str, x: Axis, y: Axis) -> Plot {
        Plot {
            title,
            key: Vec::new(),
            note: String::new(),
            x,
            y,
            bottom: TOP + 168.0,
            body: String::new(),
            shows_y: true,
        }
    }

    /// Makes a plot with `rows` rows in place of a y axis.
    pub fn of_rows(title: &'static str, x: Axis, rows: usize) -> Plot {
        Plot {
            bottom: TOP + 34.0 * rows as f64,
            shows_y: false,
            ..Plot::new(title, x, Axis::new("", rows as f64))
        }
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let x = LEFT + self.x.share(x) * (RIGHT - LEFT);
        let y = self.bottom - self.y.share(y) * (self.bottom - TOP);
        (x, y)
    }

    /// Draws a line through the points.
    pub fn line(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let mut path = String::new();
        for (x, y) in points {
            let (x, y) = self.at(x, y);
            let to = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{to}{x:.1} {y:.1}");
        }
        self.path("line", class, &path);
    }

    /// Draws the shape at each of the points.
    pub fn shapes(
        &mut self,
        (kind, shape): (&str, &str),
        class: &str,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) {
        let mut path = String::new();
        for (x, y) in points {
            let (x, y) = self.at(x, y);
            let _ = write!(path, "M{x:.1} {y:.1}{shape}");
        }
        self.path(kind, class, &path);
    }

    fn path(&mut self, kind: &str, class: &str, path: &str) {
        if !path.is_empty() {
            let _ = writeln!(self.body, r#"<path class="{kind} {class}" d="{path}"/>"#);
        }
    }

    /// Draws a filled mark.
    pub fn mark(&mut self, class: &str, x: f64, y: f64) {
        let (x, y) = self.at(x, y);
        let _ = writeln!(
            self.body,
            r#"<circle class="mark {class}" cx="{x:.1}" cy="{y:.1}" r="3.5"/>"#
        );
    }

    /// Draws a line across the whole plot, with its name at the right end, `lower` units below the line.
    pub fn level(&mut self, y: f64, name: &str, lower: f64) {
        let (_, at) = self.at(0.0, y);
        let (x, text) = (RIGHT + 3.0, at + lower);
        let _ = writeln!(
            self.body,
            r#"<path class="level" d="M{LEFT} {at:.1}H{RIGHT}"/><text x="{x}" y="{text:.1}">{name}</text>"#
        );
    }

    /// Draws an upright line across the whole plot, where a group begins.
    pub fn begin(&mut self, class: &str, x: f64) {
        let ((x, _), bottom) = (self.at(x, 0.0), self.bottom);
        let _ = writeln!(
            self.body,
            r#"<path class="begin {class}" d="M{x:.1} {TOP}V{bottom}"/>"#
        );
    }

    /// Draws an upright line at a limit, with its name above the plot.
    pub fn limit(&mut self, x: f64, name: &str) {
        let ((x, _), bottom) = (self.at(x, 0.0), self.bottom);
        let half = half_width(name);
        let (middle, y) = (x.clamp(LEFT + half, WIDTH - half), TOP - 5.0);
        let _ = writeln!(
            self.body,
            r#"<path class="limit" d="M{x:.1} {TOP}V{bottom}"/><text class="x" x="{middle:.1}" y="{y}">{}</text>"#,
            escaped(name)
        );
    }

    /// Writes the name of a row above its line.
    pub fn row_name(&mut self, y: f64, name: &str) {
        let (x, y) = self.at(0.0, y);
        let (x, y, name) = (x + 3.0, y - 8.0, escaped(name));
        let _ = writeln!(self.body, r#"<text x="{x:.1}" y="{y:.1}">{name}</text>"#);
    }

    /// Returns the chart as HTML: the drawing with its caption, its key and its note.
    pub fn figure(&self) -> String {
        let (title, svg) = (escaped(self.title), self.svg());
        let key = self.key.iter().map(|(class, text)| {
            let text = escaped(text);
            format!("<li><span class=\"dot {class}\"></span>{text}</li>\n")
        });
        let key: String = key.collect();
        let note = match self.note.as_str() {
            "" => String::new(),
            note => format!("<p>{}</p>\n", escaped(note)),
        };
        format!(
            "<figure>\n<figcaption>{title}</figcaption>\n{svg}<ul class=\"key\">\n{key}</ul>\n{note}</figure>\n"
        )
    }

    /// Returns the drawing as SVG; its title is for readers who cannot see it.
    pub fn svg(&self) -> String {
        let (bottom, height) = (self.bottom, self.bottom + FOOT);
        let title = escaped(self.title);
        let mut out =
            format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\"><title>{title}</title>\n");
        let mut free_from = 0.0;
        for (tick, text) in self.x.ticks() {
            let ((x, _), y) = (self.at(tick, 0.0), bottom + 17.0);
            let _ = write!(out, r#"<path class="grid" d="M{x:.1} {TOP}V{bottom}"/>"#);
            let half = half_width(&text);
            if x - half > free_from {
                free_from = x + half;
                let _ = write!(out, r#"<text class="x" x="{x:.1}" y="{y}">{text}</text>"#);
            }
            out.push('\n');
        }
        for (tick, text) in self.y.ticks().into_iter().filter(|_| self.shows_y) {
            let (_, y) = self.at(0.0, tick);
            let (x, middle) = (LEFT - 5.0, y + 4.0);
            let _ = writeln!(
                out,
                r#"<path class="grid" d="M{LEFT} {y:.1}H{RIGHT}"/><text class="y" x="{x}" y="{middle:.1}">{text}</text>"#
            );
        }
        let (middle, foot) = ((LEFT + RIGHT) / 2.0, height - 7.0);
        let [x, y] = [&self.x, &self.y].map(|axis| match axis.min {
            Some(_) => format!("{}, logarithmic", axis.label),
            None => axis.label.to_string(),
        });
        let _ = writeln!(
            out,
            r#"<text class="x" x="{middle}" y="{foot}">{x}</text><text x="2" y="12">{y}</text>"#
        );
        out + &self.body + "</svg>\n"
    }
}

/// Escapes text so that it is no markup, in an element or in an attribute.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // HTML allows none of the characters that steer a terminal, except those that change the direction of text.
            c if steers(c) && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_that_fit() {
        for (axis, wanted) in [
            (Axis::new("", 100.0), "0 20 40 60 80 100"),
            (Axis::new("", 1.0), "0.0 0.2 0.4 0.6 0.8 1.0"),
            (Axis::new("", 7.3), "0 2 4 6"),
            (Axis::new("", 0.013), "0.000 0.005 0.010"),
            (Axis::new("", 43.0), "0 10 20 30 40"),
            (Axis::logarithmic("", 0.4, 12.0), "0.5 1 2 5 10"),
            (
                Axis::logarithmic("", 4.0, 9300.0),
                "10 30 100 300 1000 3000",
            ),
            (Axis::logarithmic("", 0.01, 100.0), "0.01 0.1 1 10 100"),
            (
                Axis::logarithmic("", 1e-300, 1000.0),
                "0.001 0.01 0.1 1 10 100 1000",
            ),
        ] {
            let ticks = axis.ticks();
            let texts: Vec<&str> = ticks.iter().map(|(_, text)| text.as_str()).collect();
            assert_eq!(texts.join(" "), wanted);
            for (tick, text) in &ticks {
                let read: f64 = text.parse().expect("a number");
                assert!((tick - read).abs() < 1e-9, "{tick} {text}");
            }
        }
        assert_eq!(Axis::new("", 0.0).max, 1.0);
        let texts = |axis: Axis| axis.ticks().into_iter().map(|(_, text)| text);
        for (axis, wanted) in [
            (Axis::new("", 3e5), "0 100k 200k 300k"),
            (Axis::new("", 5e8), "0 100M 200M 300M 400M 500M"),
            (
                Axis::logarithmic("", 5e3, 6e6),
                "10000 30000 100k 300k 1000k 3000k",
            ),
            (Axis::whole("", 2.1), "0 1 2"),
        ] {
            assert_eq!(texts(axis).collect::<Vec<_>>().join(" "), wanted);
        }
    }

    #[test]
    fn a_decade_of_a_logarithmic_axis_is_as_long_as_the_next() {
        // The axis goes from 1 to 100, which are at 50 and 374: 10 is in the middle, and 0 is drawn at the edge.
        let mut plot = Plot::new(
            "t",
            Axis::logarithmic("ms", 1.0, 100.0),
            Axis::new("%", 4.0),
        );
        plot.line("c0", [(0.0, 0.0), (1.0, 0.0), (10.0, 2.0), (100.0, 4.0)]);
        let wanted = r#"<path class="line c0" d="M50.0 200.0L50.0 200.0L212.0 116.0L374.0 32.0"/>"#;
        assert_eq!(plot.body.trim_end(), wanted);
        assert!(plot.svg().contains(">ms, logarithmic<"));
    }

    #[test]
    fn points_lie_between_the_axes_and_those_outside_on_their_edge() {
        let mut plot = Plot::new("t", Axis::new("s", 10.0), Axis::new("ms", 4.0));
        plot.line("c0", [(0.0, 0.0), (5.0, 2.0), (20.0, 9.0)]);
        let wanted = r#"<path class="line c0" d="M50.0 200.0L212.0 116.0L374.0 32.0"/>"#;
        assert_eq!(plot.body.trim_end(), wanted);
    }

    #[test]
    fn text_is_escaped() {
        let text = "<script>alert('a' & \"b\")</script>\u{0}\u{202e}\n";
        let wanted =
            "&lt;script&gt;alert(&#39;a&#39; &amp; &quot;b&quot;)&lt;/script&gt;\u{fffd}\u{fffd}\n";
        assert_eq!(escaped(text), wanted);
    }
}
