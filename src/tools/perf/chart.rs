//! Draws one chart as SVG for a page of HTML.
//!
//! The colours are classes of the page, so that the same picture is readable in light and in dark. `plotters` draws
//! fixed colours only, and would become a dependency of the binary.

use std::fmt::Write;

use crate::tools::tune::svg::escaped;

/// The size and the margins, in units of the view box.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 44.0;
/// The largest number of points that have a dot each.
const DOTS_MAX: usize = 40;
/// The number of colours on the page.
const COLOURS: usize = 4;

/// One axis.
pub struct Axis {
    pub name: &'static str,
    pub is_logarithmic: bool,
    /// The text of a tick.
    pub format: fn(f64) -> String,
}

/// A named line.
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// A chart of lines and bars.
pub struct Chart {
    pub title: &'static str,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
    /// From, to, and height.
    pub bars: Vec<(f64, f64, f64)>,
    /// A vertical line with a name.
    pub mark: Option<(f64, &'static str)>,
}

/// The range of an axis, and its ticks.
struct Scale {
    is_logarithmic: bool,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Scale {
    fn of(axis: &Axis, values: impl Iterator<Item = f64>) -> Scale {
        let values = values.filter(|value| value.is_finite() && (*value > 0.0 || !axis.is_logarithmic));
        let (least, most) = values.fold((f64::MAX, f64::MIN), |(least, most), v| (least.min(v), most.max(v)));
        if axis.is_logarithmic { Scale::logarithmic(least, most) } else { Scale::linear(most) }
    }

    /// From 0, with about five ticks.
    fn linear(most: f64) -> Scale {
        let most = if most > 0.0 { most } else { 1.0 };
        let power = 10f64.powf((most / 5.0).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
        let step = steps.into_iter().find(|step| most / step <= 6.0).unwrap_or(10.0 * power);
        let count = (most / step).ceil();
        let ticks = (0..=count as usize).map(|tick| tick as f64 * step).collect();
        Scale { is_logarithmic: false, from: 0.0, to: count * step, ticks }
    }

    /// Between numbers of the series 1, 2, 5. With more than two decades, only powers of ten are ticks.
    fn logarithmic(least: f64, most: f64) -> Scale {
        let (least, most) = if least <= most { (least, most) } else { (1.0, 10.0) };
        let first = least.log10().floor() as i32;
        let last = most.log10().ceil() as i32;
        let series: Vec<f64> =
            (first..=last).flat_map(|power| [1.0, 2.0, 5.0].map(|one| one * 10f64.powi(power))).collect();
        let margin = 1.0 + 1e-9;
        let from = series.iter().copied().rfind(|one| *one <= least * margin).unwrap_or(least);
        let to = series.iter().copied().find(|one| *one * margin >= most && *one > from).unwrap_or(from * 10.0);
        let is_wide = to / from > 100.0;
        let is_power = |one: f64| (one.log10() - one.log10().round()).abs() < 1e-6;
        let ticks = series.into_iter().filter(|one| (from..=to).contains(one) && (!is_wide || is_power(*one)));
        Scale { is_logarithmic: true, from, to, ticks: ticks.collect() }
    }

    /// The place of a value: 0 at the start, 1 at the end.
    fn place(&self, value: f64) -> f64 {
        let place = if self.is_logarithmic {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        place.clamp(0.0, 1.0)
    }
}

impl Chart {
    /// An `svg` element.
    pub fn draw(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| line.points.iter().copied());
        let edges = self.bars.iter().flat_map(|bar| [bar.0, bar.1]);
        let xs = Scale::of(&self.x, points().map(|point| point.0).chain(edges));
        let ys = Scale::of(&self.y, points().map(|point| point.1).chain(self.bars.iter().map(|bar| bar.2)));
        let x = |value: f64| LEFT + xs.place(value) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - ys.place(value) * (HEIGHT - TOP - BOTTOM);
        let title = escaped(self.title);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n\
             <title>{title}</title>\n"
        );
        let mut line = |arguments: std::fmt::Arguments<'_>| {
            let _ = writeln!(svg, "{arguments}");
        };
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for &tick in &ys.ticks {
            let (at, words) = (y(tick), escaped(&(self.y.format)(tick)));
            line(format_args!("<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>"));
            line(format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{words}</text>",
                LEFT - 6.0,
                at + 4.0
            ));
        }
        for &tick in &xs.ticks {
            let (at, words) = (x(tick), escaped(&(self.x.format)(tick)));
            line(format_args!("<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>"));
            line(format_args!("<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{words}</text>", bottom + 16.0));
        }
        let (x_name, y_name) = (escaped(self.x.name), escaped(self.y.name));
        line(format_args!(
            "<text class=\"axis\" x=\"{right}\" y=\"{}\" text-anchor=\"end\">{x_name}</text>",
            HEIGHT - 8.0
        ));
        line(format_args!("<text class=\"axis\" x=\"4\" y=\"14\">{y_name}</text>"));
        for &(from, to, height) in &self.bars {
            let (left, top) = (x(from), y(height));
            let (width, height) = ((x(to) - left - 1.0).max(1.0), (bottom - top).max(1.0));
            let top = bottom - height;
            line(format_args!(
                "<rect class=\"bar\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
            ));
        }
        if let Some((at, name)) = &self.mark {
            let (at, name) = (x(*at), escaped(name));
            line(format_args!("<path class=\"mark\" d=\"M{at:.1} {TOP}V{bottom}\"/>"));
            line(format_args!(
                "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
                at - 5.0,
                TOP + 12.0
            ));
        }
        for (number, Line { name, points }) in self.lines.iter().enumerate() {
            let colour = number % COLOURS;
            let places: Vec<String> =
                points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
            line(format_args!("<polyline class=\"line c{colour}\" points=\"{}\"/>", places.join(" ")));
            for &(at, value) in points.iter().filter(|_| points.len() <= DOTS_MAX) {
                line(format_args!(
                    "<circle class=\"dot c{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
                    x(at),
                    y(value)
                ));
            }
            let at = right - 90.0 * (self.lines.len() - number) as f64;
            line(format_args!("<path class=\"line c{colour}\" d=\"M{at} 10h16\"/>"));
            line(format_args!("<text x=\"{}\" y=\"14\">{}</text>", at + 21.0, escaped(name)));
        }
        svg.push_str("</svg>\n");
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: f64) -> String {
        value.to_string()
    }

    #[test]
    fn ticks_are_round_numbers_around_the_values() {
        let linear = Scale::linear(23.0);
        assert_eq!(linear.ticks, [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]);
        let narrow = Scale::logarithmic(130.0, 900.0);
        assert_eq!((narrow.from, narrow.to), (100.0, 1000.0));
        assert_eq!(narrow.ticks, [100.0, 200.0, 500.0, 1000.0]);
        let wide = Scale::logarithmic(3.0, 40_000.0);
        assert_eq!((wide.from, wide.to), (2.0, 50_000.0));
        assert_eq!(wide.ticks, [10.0, 100.0, 1000.0, 10_000.0]);
        let equal = Scale::logarithmic(100.0, 100.0);
        assert_eq!((equal.from, equal.to), (100.0, 200.0));
        assert_eq!((narrow.place(100.0), narrow.place(1000.0), narrow.place(0.0)), (0.0, 1.0, 0.0));
    }

    #[test]
    fn a_chart_has_all_its_lines_bars_and_names() {
        let axis = |name, is_logarithmic| Axis { name, is_logarithmic, format: number };
        let line = |name: &str| Line { name: name.into(), points: vec![(1.0, 10.0), (2.0, 1000.0)] };
        let chart = Chart {
            title: "A < B",
            x: axis("seconds", false),
            y: axis("us", true),
            lines: vec![line("p50"), line("p<99>")],
            bars: vec![(0.0, 1.0, 20.0)],
            mark: Some((1.5, "knee")),
        };
        let svg = chart.draw();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 4);
        assert_eq!(svg.matches("<rect").count(), 1);
        for text in ["A &lt; B", "p&lt;99&gt;", ">seconds<", ">us<", ">knee<"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        let empty = Chart { lines: vec![], bars: vec![], mark: None, ..chart };
        assert!(!empty.draw().contains("NaN"), "a chart without values");
    }
}
