//! Points of groups over something other than time: rotations, levels of concurrency, latency.

use super::colour::{class, line_class};
use super::plot::{Axis, Plot, largest};
use super::series::{Point, Trend};

/// The room beyond the largest value.
const ROOM: f64 = 1.05;
/// An axis is logarithmic if its end is this many times the smallest value, of which a limit is one; the y axis only if
/// it has a limit.
const WIDE: f64 = 10.0;

/// Draws the points with the lines through them, and the limits.
pub fn draw(of: &Trend) -> Plot {
    let points = || of.lines.iter().flat_map(|(_, points)| points);
    let limit = of.limits.iter().map(|(limit, _)| *limit);
    let xs = points().map(|point| point.x).chain(limit);
    let end = largest(xs.clone()) * ROOM;
    let least = xs.reduce(f64::min).unwrap_or(0.0);
    let x = match (least > 0.0 && end > least * WIDE, of.is_whole) {
        (true, _) => Axis::logarithmic(of.x, least * 0.8, end),
        (false, true) => Axis::whole(of.x, end),
        (false, false) => Axis::new(of.x, end),
    };
    let mut plot = Plot::new(of.title, x, y_axis(of));
    for (limit, name) in &of.limits {
        plot.limit(*limit, name);
    }
    for (level, name) in &of.levels {
        plot.level(*level, name, 4.0);
    }
    for (at, (name, points)) in of.lines.iter().enumerate() {
        if of.is_scattered {
            break;
        }
        let (style, word) = line_class(at);
        plot.line(&style, points.iter().map(|point| (point.x, point.y)));
        if of.lines.len() > 1 {
            plot.key.push((style, format!("{name} ({word} line)")));
        }
    }
    for Point { x, y, group } in points() {
        plot.mark(&class(*group), *x, *y);
    }
    let key = of.key.iter();
    plot.key
        .extend(key.map(|(group, text)| (class(*group), text.clone())));
    plot.note.clone_from(&of.note);
    plot
}

/// Returns the y axis, which has room for the limits on it.
fn y_axis(of: &Trend) -> Axis {
    if let Some(end) = of.y_max {
        return Axis::new(of.y, end);
    }
    let points = of.lines.iter().flat_map(|(_, points)| points);
    let levels = of.levels.iter().map(|(level, _)| *level);
    let ys = points.map(|point| point.y).chain(levels);
    let end = largest(ys.clone()) * ROOM;
    let least = ys.reduce(f64::min).unwrap_or(0.0);
    match !of.levels.is_empty() && least > 0.0 && end > least * WIDE {
        true => Axis::logarithmic(of.y, least * 0.8, end),
        false => Axis::new(of.y, end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(limit: f64) -> Plot {
        let point = |x, y, group| Point { x, y, group };
        draw(&Trend {
            lines: vec![
                (
                    "a".to_string(),
                    vec![point(100.0, 10.0, 0), point(200.0, 20.0, 1)],
                ),
                ("b".to_string(), vec![point(100.0, 5.0, 2)]),
            ],
            limits: vec![(limit, "SLO".to_string())],
            key: vec![(0, "one".to_string())],
            note: "A note.".to_string(),
            ..Trend::default()
        })
    }

    #[test]
    fn points_have_the_colours_of_their_groups_and_lines_none() {
        // The axes end at 210 and 21, and go from 50 to 374 and from 200 to 32: 100 is at 204.3, 10 at 120.
        let plot = drawn(150.0);
        let svg = plot.svg();
        for part in [
            r#"<path class="line all" d="M204.3 120.0L358.6 40.0"/>"#,
            r#"<circle class="mark c0" cx="204.3" cy="120.0""#,
            r#"<circle class="mark c2" cx="204.3" cy="160.0""#,
            r#"<path class="limit" d="M281.4 32V200"/>"#,
        ] {
            assert!(svg.contains(part), "{part}\n{svg}");
        }
        let key = [
            ("all", "a (solid line)"),
            ("all d", "b (dashed line)"),
            ("c0", "one"),
        ];
        let key = key.map(|(class, text)| (class.to_string(), text.to_string()));
        assert_eq!(plot.key, key);
        assert_eq!(plot.note, "A note.");
    }

    #[test]
    fn a_limit_that_is_far_away_makes_the_axis_logarithmic() {
        // The axis goes from 80 to 2100: ln(1000 / 80) / ln(2100 / 80) of it is the tick at 1000, 50 + 0.7729 * 324.
        let svg = drawn(2000.0).svg();
        for part in ["logarithmic", "M300.4 32V200", "SLO</text>"] {
            assert!(svg.contains(part), "{part}\n{svg}");
        }
    }

    #[test]
    fn a_limit_across_has_room_on_the_y_axis() {
        let point = |y| Point {
            x: 1.0,
            y,
            group: 0,
        };
        let drawn = |ys: [f64; 2], y_max| {
            let trend = Trend {
                y: "ms",
                y_max,
                lines: vec![(String::new(), ys.map(point).to_vec())],
                levels: vec![(40.0, "SLO")],
                ..Trend::default()
            };
            draw(&trend).svg()
        };
        // The axis ends at 42, and goes from 200 to 32: 40 is at 200 - 40 / 42 * 168.
        let svg = drawn([10.0, 20.0], None);
        assert!(
            svg.contains(r#"<path class="level" d="M50 40.0H374"/>"#),
            "{svg}"
        );
        assert!(!svg.contains("logarithmic"), "{svg}");
        // From 32 to 840: ln(40 / 32) / ln(840 / 32) of 168 is 11.5.
        let svg = drawn([40.0, 800.0], None);
        assert!(
            svg.contains(r#"<path class="level" d="M50 188.5H374"/>"#),
            "{svg}"
        );
        assert!(svg.contains(">ms, logarithmic<"), "{svg}");
        let svg = drawn([1.0, 80.0], Some(100.0));
        assert!(
            svg.contains(r#"<path class="level" d="M50 132.8H374"/>"#),
            "{svg}"
        );
    }
}
