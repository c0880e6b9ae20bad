//! A soak as one plot: memory, descriptors, store and times over the requests, a line for each world.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::soak::{Sample, Soak};

/// Size of the plot in pixels.
const SIZE: (u32, u32) = (1_120, 720);

/// Height of the letters in pixels. The library draws them smaller than they are called, by this factor.
const LETTERS: f64 = 12.0 * 1.24;
const TITLES: f64 = 14.0 * 1.24;
const HEADING: f64 = 18.0 * 1.24;
const FONT: &str = "system-ui, sans-serif";

/// Colours of the worlds, which differ for those who see few colours too, and of what is around them.
const WORLDS: [RGBColor; 4] = [
    RGBColor(0, 90, 181),
    RGBColor(220, 80, 30),
    RGBColor(20, 140, 100),
    RGBColor(130, 80, 160),
];
const INK: RGBColor = RGBColor(34, 38, 46);
const SOFT: RGBColor = RGBColor(98, 106, 120);
const LINE: RGBColor = RGBColor(221, 225, 231);

type Value = fn(&Sample) -> Option<f64>;

/// One of the diagrams: its title, and its values with whether their line is broken.
struct Diagram {
    title: &'static str,
    values: &'static [(Value, bool)],
}

const DIAGRAMS: [Diagram; 4] = [
    Diagram {
        title: "Resident memory of host and clients, MiB",
        values: &[(|one| Some(whole(one.resident_kib?) / 1_024.0), false)],
    },
    Diagram {
        title: "Open file descriptors of host and clients",
        values: &[(|one| Some(whole(one.descriptors?)), false)],
    },
    Diagram {
        title: "File of the key-value store, MiB",
        values: &[(
            |one| Some(whole(one.store_bytes?) / (1_024.0 * 1_024.0)),
            false,
        )],
    },
    Diagram {
        title: "Time of an answer, milliseconds: p50, and p99 broken",
        values: &[
            (|one| Some(one.microseconds.p50 / 1_000.0), false),
            (|one| Some(one.microseconds.p99 / 1_000.0), true),
        ],
    },
];

/// The plot as an SVG file.
///
/// # Errors
/// What the library reports.
pub fn svg(soaked: &[Soak]) -> Result<String> {
    let mut svg = String::new();
    draw(&mut svg, soaked).map_err(|error| anyhow!("drawing a plot: {error}"))?;
    Ok(svg)
}

type Failed = Box<dyn std::error::Error>;

fn draw(svg: &mut String, soaked: &[Soak]) -> Result<(), Failed> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (head, body) = area.margin(16, 12, 20, 20).split_vertically(64);
    heading(&head, soaked)?;
    for (area, diagram) in body.split_evenly((2, 2)).iter().zip(&DIAGRAMS) {
        draw_diagram(area, diagram, soaked)?;
    }
    area.present()?;
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What it is, and which line is which world.
fn heading(area: &Area<'_>, soaked: &[Soak]) -> Result<(), Failed> {
    let requests = soaked.iter().map(|one| one.requests).max().unwrap_or(0);
    let title = format!(
        "Keylet {}: {} requests of all kinds in each world, every answer judged",
        env!("CARGO_PKG_VERSION"),
        crate::report::grouped(requests)
    );
    area.draw_text(&title, &(FONT, HEADING).into_font().color(&INK), (4, 0))?;
    let mut x = 4;
    for (one, colour) in soaked.iter().zip(WORLDS.iter().cycle()) {
        area.draw(&PathElement::new(
            vec![(x, 42), (x + 22, 42)],
            colour.stroke_width(3),
        ))?;
        let text = format!("{}, {:.0} a second", one.setup, one.per_second);
        let letters = (FONT, LETTERS).into_font().color(&INK);
        let left = letters.pos(Pos::new(HPos::Left, VPos::Center));
        area.draw_text(&text, &left, (x + 30, 42))?;
        x += 230;
    }
    Ok(())
}

fn draw_diagram(area: &Area<'_>, diagram: &Diagram, soaked: &[Soak]) -> Result<(), Failed> {
    let values = soaked.iter().flat_map(|one| &one.samples);
    let values =
        values.flat_map(|sample| diagram.values.iter().filter_map(|(value, _)| value(sample)));
    let highest = values.fold(0.0, f64::max).max(1.0) * 1.12;
    let requests = soaked.iter().map(|one| one.requests).max().unwrap_or(1);
    let letters = (FONT, LETTERS).into_font().color(&SOFT);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .caption(diagram.title, (FONT, TITLES).into_font().color(&INK))
        .x_label_area_size(26)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..whole(requests), 0.0..highest)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(6)
        .y_labels(5)
        .x_label_formatter(&|requests| short(*requests))
        .y_label_formatter(&|number| short(*number))
        .axis_style(LINE)
        .bold_line_style(LINE)
        .light_line_style(TRANSPARENT)
        .label_style(letters)
        .draw()?;
    for (one, colour) in soaked.iter().zip(WORLDS.iter().cycle()) {
        for (value, is_broken) in diagram.values {
            let points = one.samples.iter().filter_map(|sample| {
                let y = value(sample)?;
                Some((whole(sample.requests), y))
            });
            let points: Vec<(f64, f64)> = points.collect();
            if points.is_empty() {
                continue;
            }
            match is_broken {
                false => chart.draw_series([PathElement::new(points, colour.stroke_width(2))])?,
                true => chart.draw_series([DashedPathElement::new(
                    points,
                    5,
                    4,
                    colour.stroke_width(1),
                )])?,
            };
        }
    }
    Ok(())
}

/// A number as the axis has it. Those that are shown are far below 2^52.
#[expect(
    clippy::cast_precision_loss,
    reason = "a plot shows three digits of it"
)]
fn whole(number: u64) -> f64 {
    number as f64
}

/// A number in a few letters.
fn short(number: f64) -> String {
    match number {
        1_000_000.0.. => format!("{} M", number / 1e6),
        10_000.0.. => format!("{} k", number / 1e3),
        _ => format!("{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Times;

    #[test]
    fn a_plot_has_a_line_for_each_value_of_each_world_that_has_it() {
        let sample = |requests: u64, store_bytes: Option<u64>| Sample {
            requests,
            seconds: 1.0,
            resident_kib: Some(40_000),
            descriptors: Some(30),
            store_bytes,
            instance_bytes: 1_310_720,
            microseconds: Times {
                least: 100.0,
                p50: 900.0,
                p99: 4_000.0,
            },
        };
        let soak = |setup, store_bytes| Soak {
            setup,
            requests: 1_000,
            per_second: 500.0,
            answered: Vec::new(),
            samples: vec![sample(500, store_bytes), sample(1_000, store_bytes)],
        };
        let svg = svg(&[soak("wasip2", Some(70_000)), soak("wasi", None)]).unwrap();
        let lines = |colour: &str| {
            let lines = svg.split("<polyline").skip(1);
            lines.filter(|line| line.contains(colour)).count()
        };
        // Of the legend, memory, descriptors, store and p50; the broken line has many.
        assert!(lines("#005AB5") > 5, "{svg}");
        assert!(lines("#DC501E") > 4 && lines("#DC501E") < lines("#005AB5"));
        for text in ["wasip2, 500 a second", "MiB", "1,000 requests"] {
            assert!(svg.contains(text), "{text}");
        }
    }
}
