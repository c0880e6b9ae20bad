//! Plots as SVG for a page: bars that stand on one another.
//!
//! The colours are those of the page, so that a plot follows it into the dark.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Height of a plot in pixels.
const HEIGHT: u32 = 260;

/// Height of the letters in pixels. The library draws them smaller than they are called, by this factor.
const LETTERS: f64 = 12.0 * 1.24;

/// Width of a letter in pixels, at most.
const LETTER: usize = 8;

/// Width of the numbers at the left in pixels.
const NUMBERS: u32 = 52;

/// Width of a bar and what is between it and the next, in units of the axis.
const BAR: i32 = 100;

/// Bars that a plot has room for at least: a single one is not as wide as the plot.
const FEWEST: i32 = 6;

/// Colours that stand for those of the page, which are put in their place.
const LINE: RGBColor = RGBColor(0, 0, 0xf1);
const SOFT: RGBColor = RGBColor(0, 0, 0xf2);

/// Bars that stand on one another.
pub struct Plot<'a> {
    /// What it shows, for who does not see it.
    pub title: &'a str,
    /// What stands below each bar, from the left.
    pub labels: Vec<String>,
    /// The parts of the bars from below, with the variable of the page that is their colour.
    pub parts: Vec<Part>,
}

/// One part of each bar.
pub struct Part {
    /// Its colour, as a variable of the page: `--name`.
    pub colour: String,
    /// Its height in each bar.
    pub heights: Vec<u64>,
}

impl Plot<'_> {
    /// The plot as an SVG element of this width in pixels.
    ///
    /// # Errors
    /// What the library reports.
    pub fn svg(&self, width: u32) -> Result<String> {
        let mut svg = String::new();
        self.draw(&mut svg, width)?;
        for (index, part) in self.parts.iter().enumerate() {
            svg = svg.replace(&written(colour(index)), &format!("var({})", part.colour));
        }
        svg = svg.replace(&written(LINE), "var(--line)");
        svg = svg.replace(&written(SOFT), "var(--soft)");
        let begin = svg.find("<svg ").map(|at| at + "<svg ".len());
        let rest = begin.and_then(|at| svg.get(at..)).unwrap_or_default();
        let title = super::html::escaped(self.title);
        Ok(format!(r#"<svg role="img" aria-label="{title}" {rest}"#))
    }

    fn draw(&self, svg: &mut String, width: u32) -> Result<()> {
        let failed = |error: &dyn std::fmt::Display| anyhow!("drawing a plot: {error}");
        let area = SVGBackend::with_string(svg, (width, HEIGHT)).into_drawing_area();
        let number = i32::try_from(self.labels.len()).unwrap_or(i32::MAX / BAR);
        let room = number.max(FEWEST);
        let sum = |bar| {
            self.parts
                .iter()
                .filter_map(move |part| part.heights.get(bar))
                .sum()
        };
        let highest: u64 = (0..self.labels.len()).map(sum).max().unwrap_or(0).max(1);
        let mut chart = ChartBuilder::on(&area)
            .margin_top(10)
            .margin_right(6)
            .x_label_area_size(24)
            .y_label_area_size(NUMBERS)
            .build_cartesian_2d(0..room * BAR, 0..highest + highest / 20)
            .map_err(|error| failed(&error))?;
        let letters = ("system-ui, sans-serif", LETTERS).into_font().color(&SOFT);
        chart
            .configure_mesh()
            .disable_x_mesh()
            // With none, the library's count of them overflows.
            .x_labels(2)
            .x_label_formatter(&|_| String::new())
            .set_tick_mark_size(LabelAreaPosition::Bottom, 0)
            .y_labels(5)
            .y_label_formatter(&|number| short(*number))
            .axis_style(LINE)
            .bold_line_style(LINE)
            .light_line_style(TRANSPARENT)
            .label_style(letters.clone())
            .draw()
            .map_err(|error| failed(&error))?;

        let mut below = vec![0_u64; self.labels.len()];
        for (index, part) in self.parts.iter().enumerate() {
            let bars = (0..number).zip(&mut below).zip(&part.heights);
            let bars = bars
                .filter(|(_, height)| **height > 0)
                .map(|((bar, below), height)| {
                    let from = *below;
                    *below += height;
                    let gap = BAR / 8;
                    Rectangle::new(
                        [(bar * BAR + gap, from), ((bar + 1) * BAR - gap, *below)],
                        colour(index).filled(),
                    )
                });
            chart.draw_series(bars).map_err(|error| failed(&error))?;
        }

        let letters = letters.pos(Pos::new(HPos::Center, VPos::Top));
        for (bar, label) in (0..number).zip(&self.labels) {
            if usize::try_from(bar).is_ok_and(|bar| bar.is_multiple_of(self.every(width))) {
                let (x, y) = chart.backend_coord(&(bar * BAR + BAR / 2, 0));
                area.draw_text(label, &letters, (x, y + 8))
                    .map_err(|error| failed(&error))?;
            }
        }
        area.present().map_err(|error| failed(&error))
    }

    /// The how manieth label has room.
    fn every(&self, width: u32) -> usize {
        let longest = self.labels.iter().map(|label| label.chars().count()).max();
        let needed = (longest.unwrap_or(0) + 2) * LETTER * self.labels.len();
        let room = usize::try_from(width.saturating_sub(NUMBERS)).unwrap_or(0);
        let every = needed.div_ceil(room.max(1)).max(1);
        // Hours that people look for.
        [1, 2, 3, 4, 6, 12, 24]
            .into_iter()
            .find(|step| *step >= every)
            .unwrap_or(every)
    }
}

/// The colour that stands for that of a part.
fn colour(part: usize) -> RGBColor {
    RGBColor(0, 1, u8::try_from(part).unwrap_or(u8::MAX))
}

/// A colour as the library writes it.
fn written(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// A number in a few letters, such as `1.5 k`.
fn short(number: u64) -> String {
    let (unit, name) = match number {
        0..10_000 => return super::grouped(number),
        10_000..1_000_000 => (1_000, "k"),
        1_000_000..1_000_000_000 => (1_000_000, "M"),
        _ => (1_000_000_000, "G"),
    };
    let tenths = number / (unit / 10);
    match tenths % 10 {
        0 => format!("{} {name}", tenths / 10),
        tenth => format!("{}.{tenth} {name}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_a_bar_for_each_number_in_the_colours_of_the_page() {
        let part = |colour: &str, heights: [u64; 3]| Part {
            colour: colour.to_owned(),
            heights: heights.into(),
        };
        let plot = Plot {
            title: "a \"<title>\"",
            labels: ["00:00", "01:00", "02:00"].map(str::to_owned).into(),
            parts: vec![part("--one", [5, 0, 3]), part("--other", [1, 1, 1])],
        };
        let svg = plot.svg(600).unwrap();
        assert!(svg.starts_with(r#"<svg role="img" aria-label="a &quot;&lt;title&gt;&quot;" "#));
        let bars = |colour: &str| svg.matches(&format!(r#"fill="var({colour})""#)).count();
        assert_eq!((bars("--one"), bars("--other")), (2, 3), "{svg}");
        assert!(!svg.contains(r##"="#0"##), "{svg}");
        assert!(svg.contains("01:00"));
    }

    #[test]
    fn labels_have_room() {
        let plot = |bars: usize| Plot {
            title: "",
            labels: (0..bars).map(|bar| format!("{bar:02}:00")).collect(),
            parts: Vec::new(),
        };
        assert_eq!(plot(3).every(360), 1);
        assert_eq!(plot(24).every(360), 6);
        assert_eq!(plot(24).every(1_100), 2);
        assert!(plot(336).every(360) > 24);
    }

    #[test]
    fn numbers_at_the_axis_are_short() {
        for (number, text) in [
            (0, "0"),
            (9_999, "9,999"),
            (12_500, "12.5 k"),
            (3_000_000, "3 M"),
            (2_400_000_000, "2.4 G"),
        ] {
            assert_eq!(short(number), text);
        }
    }
}
