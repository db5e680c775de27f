//! The two plots of perf/: throughput relative to Kafka, and latency percentiles.

use std::path::Path;

use plotters::prelude::*;

use super::figures::Row;
use super::{Metric, Side};

const COLOURS: [RGBColor; 3] = [RGBColor(150, 150, 150), RGBColor(214, 137, 16), RGBColor(20, 110, 180)];
const SIZE: (u32, u32) = (900, 420);

/// Writes `latency.svg` and `throughput.svg`.
pub fn write(directory: &Path, rows: &[Row]) {
    for row in rows {
        if row.title.starts_with("2,000 requests/s") && row.title.ends_with(", 1 partition") {
            latency(&directory.join("latency.svg"), row).expect("perf/ is writable");
        }
    }
    throughput(&directory.join("throughput.svg"), rows).expect("perf/ is writable");
}

/// Latency by percentile at a fixed rate. The latency axis is logarithmic.
fn latency(path: &Path, row: &Row) -> Result<(), Box<dyn std::error::Error>> {
    const POINTS: [(Metric, &str); 4] =
        [(Metric::P50, "p50"), (Metric::P90, "p90"), (Metric::P99, "p99"), (Metric::P999, "p99.9")];
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(format!("{}: latency, us", row.title), ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(0f64..3.2, (10f64..10_000_000.0).log_scale())?;
    let name = |x: &f64| POINTS.get(x.round() as usize).map_or(String::new(), |(_, name)| name.to_string());
    chart.configure_mesh().x_labels(4).x_label_formatter(&name).draw()?;
    for (side, colour) in Side::ALL.into_iter().zip(COLOURS) {
        let Some(figures) = row.figures.get(&side) else { continue };
        let points = POINTS.iter().enumerate().filter_map(|(x, (metric, _))| Some((x as f64, *figures.get(metric)?)));
        let points: Vec<_> = points.collect();
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)).point_size(4))?
            .label(side.title())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(3)));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).border_style(BLACK).draw()?;
    root.present()?;
    Ok(())
}

/// Tidemill's throughput in multiples of Kafka's, row by row.
fn throughput(path: &Path, rows: &[Row]) -> Result<(), Box<dyn std::error::Error>> {
    let ratio = |row: &Row, against: Side| {
        let metric = *row.shown.first()?;
        let is_rate = matches!(metric, Metric::MegabytesPerSecond | Metric::RequestsPerSecond);
        let of = |side| row.figures.get(&side)?.get(&metric).copied();
        is_rate.then_some(of(Side::Tidemill)? / of(against)?)
    };
    let rows: Vec<&Row> = rows.iter().filter(|row| ratio(row, Side::Kafka).is_some()).collect();
    let most = rows.iter().flat_map(|row| [ratio(row, Side::Kafka), ratio(row, Side::KafkaFlushed)]).flatten();
    let most = most.fold(2.0, f64::max) * 1.3;
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Tidemill's throughput in multiples of Kafka's", ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(30)
        .y_label_area_size(430)
        .build_cartesian_2d((0.5f64..most).log_scale(), 0f64..rows.len().max(1) as f64)?;
    let name = |y: &f64| match (rows.len() as f64 - 0.5 - y).round() {
        at if at >= 0.0 && (y.fract() - 0.5).abs() < 0.01 => {
            rows.get(at as usize).map_or("", |row| row.title).to_string()
        }
        _ => String::new(),
    };
    chart.configure_mesh().disable_y_mesh().y_labels(2 * rows.len() + 1).y_label_formatter(&name).draw()?;
    for (number, (against, colour)) in [Side::Kafka, Side::KafkaFlushed].into_iter().zip(COLOURS).enumerate() {
        let bars = rows.iter().enumerate().filter_map(|(at, row)| {
            let top = rows.len() as f64 - at as f64 - 0.15 - 0.35 * number as f64;
            Some(Rectangle::new([(0.5, top), (ratio(row, against)?, top - 0.33)], colour.filled()))
        });
        chart
            .draw_series(bars)?
            .label(format!("against {}", against.title()))
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::LowerRight).border_style(BLACK).draw()?;
    root.present()?;
    Ok(())
}
