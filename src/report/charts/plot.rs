//! One chart as inline SVG: axes with ticks, lines and dots. Knows nothing of what it shows.

use std::fmt::Write;

/// The drawing is this wide; at 400 px of screen one unit is a pixel.
const WIDTH: f64 = 400.0;
const LEFT: f64 = 50.0;
/// Beside it stand names of levels.
const RIGHT: f64 = 374.0;
const TOP: f64 = 32.0;
/// Below the plot: numbers and the label of the axis.
const FOOT: f64 = 40.0;

pub struct Axis {
    pub label: &'static str,
    /// Above 0.
    pub max: f64,
    /// Where a logarithmic axis begins; the other kind begins at 0.
    min: Option<f64>,
}

impl Axis {
    /// `max` is where the largest value goes; without one above 0 the axis ends at 1.
    pub fn new(label: &'static str, max: f64) -> Axis {
        let max = if max > 0.0 && max.is_finite() {
            max
        } else {
            1.0
        };
        let min = None;
        Axis { label, max, min }
    }

    /// Equal steps are equal ratios. `min` is above 0; six decades below `max` are enough.
    pub fn logarithmic(label: &'static str, min: f64, max: f64) -> Axis {
        let axis = Axis::new(label, max);
        let min = Some(min.clamp(axis.max / 1e6, axis.max / 2.0));
        Axis { min, ..axis }
    }

    /// Where the value lies, 0..=1; what is outside is on the edge.
    fn share(&self, value: f64) -> f64 {
        let share = match self.min {
            None => value / self.max,
            Some(min) => (value / min).ln() / (self.max / min).ln(),
        };
        share.clamp(0.0, 1.0)
    }

    /// Round numbers, each with its text.
    fn ticks(&self) -> Vec<(f64, String)> {
        match self.min {
            None => self.even_ticks(),
            Some(min) => self.logarithmic_ticks(min),
        }
    }

    /// From 0, about five.
    fn even_ticks(&self) -> Vec<(f64, String)> {
        let raw = self.max / 5.0;
        let power = raw.log10().floor();
        let unit = 10_f64.powi(power as i32);
        let factors = [1.0, 2.0, 5.0, 10.0];
        let factor = factors
            .into_iter()
            .find(|factor| factor * unit >= raw * 0.999);
        let factor = factor.unwrap_or(10.0);
        let step = factor * unit;
        let count = (self.max / step + 1e-9).floor() as usize;
        let decimals = if factor < 10.0 { -power } else { -power - 1.0 };
        let decimals = decimals.clamp(0.0, 9.0) as usize;
        let ticks = (0..=count).map(|k| k as f64 * step);
        ticks
            .map(|tick| (tick, format!("{tick:.decimals$}")))
            .collect()
    }

    /// Powers of ten, and where there is room for them numbers in between.
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
            (tick, format!("{tick:.decimals$}"))
        });
        let fits = |(tick, _): &(f64, String)| (min * 0.999..=self.max * 1.001).contains(tick);
        ticks.filter(fits).collect()
    }
}

/// What is drawn, in the units of its axes.
pub struct Plot {
    x: Axis,
    y: Axis,
    bottom: f64,
    body: String,
    shows_y: bool,
}

impl Plot {
    pub fn new(x: Axis, y: Axis) -> Plot {
        Plot {
            x,
            y,
            bottom: TOP + 168.0,
            body: String::new(),
            shows_y: true,
        }
    }

    /// With `rows` lines of their own in place of a y axis.
    pub fn of_rows(x: Axis, rows: usize) -> Plot {
        Plot {
            bottom: TOP + 34.0 * rows as f64,
            shows_y: false,
            ..Plot::new(x, Axis::new("", rows as f64))
        }
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let x = LEFT + self.x.share(x) * (RIGHT - LEFT);
        let y = self.bottom - self.y.share(y) * (self.bottom - TOP);
        (x, y)
    }

    /// A line through the points.
    pub fn line(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let mut path = String::new();
        for (x, y) in points {
            let (x, y) = self.at(x, y);
            let to = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{to}{x:.1} {y:.1}");
        }
        self.path("line", class, &path);
    }

    /// A dot for each of the points.
    pub fn dots(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        self.shapes("dots", class, "h0", points);
    }

    /// A cross for each of them.
    pub fn crosses(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        self.shapes("cross", class, "m-3-3l6 6m0-6l-6 6", points);
    }

    fn shapes(
        &mut self,
        kind: &str,
        class: &str,
        shape: &str,
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

    /// A filled mark.
    pub fn mark(&mut self, class: &str, x: f64, y: f64) {
        let (x, y) = self.at(x, y);
        let _ = writeln!(
            self.body,
            r#"<circle class="mark {class}" cx="{x:.1}" cy="{y:.1}" r="3.5"/>"#
        );
    }

    /// A line across the whole plot, with its name at its right end, so much lower than the line.
    pub fn level(&mut self, y: f64, name: &str, lower: f64) {
        let (_, at) = self.at(0.0, y);
        let (x, text) = (RIGHT + 3.0, at + lower);
        let _ = writeln!(
            self.body,
            r#"<path class="level" d="M{LEFT} {at:.1}H{RIGHT}"/><text x="{x}" y="{text:.1}">{name}</text>"#
        );
    }

    /// The name of a row, above its line. `name` is escaped.
    pub fn row_name(&mut self, y: f64, name: &str) {
        let (x, y) = self.at(0.0, y);
        let (x, y) = (x + 3.0, y - 8.0);
        let _ = writeln!(self.body, r#"<text x="{x:.1}" y="{y:.1}">{name}</text>"#);
    }

    /// The whole drawing; `title`, which is escaped, is for those who cannot see it.
    pub fn svg(&self, title: &str) -> String {
        let (bottom, height) = (self.bottom, self.bottom + FOOT);
        let mut out =
            format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\"><title>{title}</title>\n");
        for (tick, text) in self.x.ticks() {
            let (x, _) = self.at(tick, 0.0);
            let y = bottom + 17.0;
            let _ = writeln!(
                out,
                r#"<path class="grid" d="M{x:.1} {TOP}V{bottom}"/><text class="x" x="{x:.1}" y="{y}">{text}</text>"#
            );
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
        let scale = self.x.min.map_or("", |_| ", logarithmic");
        let _ = writeln!(
            out,
            r#"<text class="x" x="{middle}" y="{foot}">{}{scale}</text><text x="2" y="12">{}</text>"#,
            self.x.label, self.y.label
        );
        out + &self.body + "</svg>\n"
    }
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
    }

    #[test]
    fn a_decade_of_a_logarithmic_axis_is_as_long_as_the_next() {
        // From 1 to 100, at 50 and 374: 10 is in the middle; 0 is not on it and stands at the edge.
        let mut plot = Plot::new(Axis::logarithmic("ms", 1.0, 100.0), Axis::new("%", 4.0));
        plot.line("c0", [(0.0, 0.0), (1.0, 0.0), (10.0, 2.0), (100.0, 4.0)]);
        let wanted = r#"<path class="line c0" d="M50.0 200.0L50.0 200.0L212.0 116.0L374.0 32.0"/>"#;
        assert_eq!(plot.body.trim_end(), wanted);
        assert!(plot.svg("t").contains(">ms, logarithmic<"));
    }

    #[test]
    fn points_lie_between_the_axes_and_those_outside_on_their_edge() {
        let mut plot = Plot::new(Axis::new("s", 10.0), Axis::new("ms", 4.0));
        plot.line("c0", [(0.0, 0.0), (5.0, 2.0), (20.0, 9.0)]);
        let wanted = r#"<path class="line c0" d="M50.0 200.0L212.0 116.0L374.0 32.0"/>"#;
        assert_eq!(plot.body.trim_end(), wanted);
    }
}
