//! Draws histograms of latencies as SVG, one panel for each.

use std::fmt::Write;

use super::report::duration;
use crate::config::profile::{BOUNDS_US, Latency};

/// One histogram.
pub struct Panel<'a> {
    pub title: String,
    pub latency: &'a Latency,
}

/// The size of a panel, and its margins, in pixels.
const WIDTH: usize = 250;
const HEIGHT: usize = 120;
const LEFT: usize = 10;
const TOP: usize = 34;
/// The height of the longest bar.
const BARS: usize = 56;
/// The space above the first row.
const HEAD: usize = 30;

/// The panels in rows of `columns`, each with the same logarithmic axis.
pub fn draw(title: &str, panels: &[Panel<'_>], columns: usize) -> String {
    let rows = panels.len().div_ceil(columns.max(1));
    let (width, height) = (WIDTH * columns, HEIGHT * rows + HEAD);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"15\">{}</text>\n",
        escaped(title)
    );
    for (number, panel) in panels.iter().enumerate() {
        let (x, y) = (number % columns * WIDTH, number / columns * HEIGHT + HEAD);
        draw_panel(panel, x, y, &mut svg);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_panel(panel: &Panel<'_>, x: usize, y: usize, svg: &mut String) {
    let Panel { title, latency } = panel;
    let (p50, p99) = (duration(latency.p50_us), duration(latency.p99_us));
    let mut text = |x: usize, y: usize, size: usize, anchor: &str, words: &str| {
        let words = escaped(words);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" text-anchor=\"{anchor}\">{words}</text>");
    };
    text(x + LEFT, y + 12, 11, "start", title);
    text(x + LEFT, y + 26, 11, "start", &format!("p50 {p50}, p99 {p99}"));
    let step = (WIDTH - 2 * LEFT) / latency.histogram.len().max(1);
    let base = y + TOP + BARS;
    let marks = BOUNDS_US.iter().enumerate().filter(|(_, bound)| [10, 100, 1_000, 10_000, 100_000].contains(*bound));
    // A bound is the right edge of its bucket.
    let marks: Vec<(usize, u64)> = marks.map(|(bucket, bound)| (x + LEFT + (bucket + 1) * step, *bound)).collect();
    for (at, bound) in &marks {
        text(*at, base + 15, 9, "middle", &duration(*bound as f64));
    }
    for (at, _) in &marks {
        let bottom = base + 4;
        let _ = writeln!(svg, "<line x1=\"{at}\" y1=\"{base}\" x2=\"{at}\" y2=\"{bottom}\" stroke=\"black\"/>");
    }
    let largest = latency.histogram.iter().max().copied().unwrap_or(1).max(1);
    for (bucket, count) in latency.histogram.iter().enumerate().filter(|(_, count)| **count > 0) {
        // A bar of one pixel shows a bucket that is not empty.
        let height = ((BARS as u64 * count).div_ceil(largest)) as usize;
        let (left, top, width) = (x + LEFT + bucket * step, base - height, step - 1);
        let _ =
            writeln!(svg, "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"#3366aa\"/>");
    }
    let right = x + WIDTH - LEFT;
    let left = x + LEFT;
    let _ = writeln!(svg, "<line x1=\"{left}\" y1=\"{base}\" x2=\"{right}\" y2=\"{base}\" stroke=\"black\"/>");
}

/// The text for the content or an attribute of an element.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::tune::latency::Recorder;

    #[test]
    fn each_bucket_with_operations_is_a_bar() {
        let mut recorder = Recorder::new();
        for us in [3, 60, 70, 80, 3_000] {
            recorder.record(std::time::Duration::from_micros(us));
        }
        let latency = recorder.latency();
        let panels = [1, 2, 3].map(|number| Panel { title: format!("<{number}>"), latency: &latency });
        let svg = draw("R&D", &panels, 2);
        // The background, and three buckets in each panel.
        assert_eq!(svg.matches("<rect").count(), 1 + 3 * 3, "{svg}");
        assert!(svg.contains("height=\"270\"") && svg.contains("R&amp;D") && svg.contains("&lt;3&gt;"), "{svg}");
        assert!(svg.ends_with("</svg>\n"));
    }
}
