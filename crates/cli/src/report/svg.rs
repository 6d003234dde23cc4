//! Charts over time as SVG text: areas, lines and stacked columns in a frame with axes. Colours are classes of the page.

use std::fmt::Write;

use super::html::escape;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 64.0;
/// The left edge where names stand there.
const LEFT_OF_NAMES: f64 = 200.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;

/// A chart being drawn; x is seconds from the beginning of the run.
pub struct Plot {
    left: f64,
    height: f64,
    seconds: f64,
    most: f64,
    body: String,
}

impl Plot {
    /// A chart of `seconds` from left to right, whose values reach up to `most`.
    pub fn new(height: f64, seconds: f64, most: f64) -> Plot {
        let most = if most > 0.0 { most } else { 1.0 };
        Plot { left: LEFT, height, seconds: seconds.max(0.001), most, body: String::new() }
    }

    /// Lines at round values, with the values in words.
    pub fn scale(mut self, words: impl Fn(f64) -> String) -> Plot {
        let step = round_step(self.most / 5.0);
        let mut value = 0.0;
        while value <= self.most * 1.000_001 {
            let y = self.y(value);
            let _ = write!(self.body, "<path class=\"grid\" d=\"M{:.1} {y:.1}H{:.1}\"/>", self.left, WIDTH - RIGHT);
            let _ = write!(
                self.body,
                "<text class=\"y\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                self.left - 8.0,
                y + 4.0,
                escape(&words(value))
            );
            value += step;
        }
        self
    }

    /// A line through points; it breaks where there is none.
    pub fn line(mut self, points: &[(f64, Option<f64>)], class: &str) -> Plot {
        let mut path = String::new();
        let mut pen_up = true;
        for &(second, value) in points {
            if let Some(value) = value {
                let _ = write!(path, "{}{:.1} {:.1}", if pen_up { 'M' } else { 'L' }, self.x(second), self.y(value));
            }
            pen_up = value.is_none();
        }
        let _ = write!(self.body, "<path class=\"line {class}\" d=\"{path}\"/>");
        self
    }

    /// The area below a line.
    pub fn area(mut self, points: &[(f64, f64)], class: &str) -> Plot {
        if let (Some(first), Some(last)) = (points.first(), points.last()) {
            let mut path = format!("M{:.1} {:.1}", self.x(first.0), self.y(0.0));
            for &(second, value) in points {
                let _ = write!(path, "L{:.1} {:.1}", self.x(second), self.y(value));
            }
            let _ = write!(self.body, "<path class=\"area {class}\" d=\"{path}L{:.1} {:.1}Z\"/>", self.x(last.0), self.y(0.0));
        }
        self
    }

    /// Values on top of each other between two instants, each with its class; `words` show when pointed at.
    pub fn column(&mut self, from: f64, to: f64, parts: &[(f64, &str)], words: &str) {
        let (x, mut below) = (self.x(from), 0.0);
        let width = (self.x(to) - x).max(0.5);
        let _ = write!(self.body, "<g><title>{}</title>", escape(words));
        for &(value, class) in parts.iter().filter(|(value, _)| *value > 0.0) {
            let (top, bottom) = (self.y(below + value), self.y(below));
            let height = (bottom - top).max(0.0);
            let _ = write!(
                self.body,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
            );
            below += value;
        }
        self.body.push_str("</g>");
    }

    /// The whole chart, with a time axis; `name` is read out where it cannot be seen.
    pub fn finish(mut self, name: &str) -> String {
        let step = time_step(self.seconds / 8.0);
        let mut second = 0.0;
        while second <= self.seconds {
            let (x, y) = (self.x(second), self.height - BOTTOM);
            let _ = write!(self.body, "<path class=\"tick\" d=\"M{x:.1} {y:.1}v4\"/>");
            let _ = write!(self.body, "<text class=\"x\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>", y + 18.0, time(second));
            second += step;
        }
        let Plot { height, body, .. } = self;
        format!(
            "<div class=\"wide\"><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">{body}</svg></div>",
            escape(name)
        )
    }

    fn x(&self, second: f64) -> f64 {
        self.left + (second / self.seconds).clamp(0.0, 1.0) * (WIDTH - self.left - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value / self.most).clamp(0.0, 1.0);
        self.height - BOTTOM - share * (self.height - TOP - BOTTOM)
    }
}

/// A row of coloured stretches with its name at the left.
pub struct Lane {
    /// The name.
    pub name: String,
    /// From, to, class, and words that show when pointed at.
    pub stretches: Vec<(f64, f64, &'static str, String)>,
}

/// Lanes one above the other.
pub fn lanes(seconds: f64, rows: &[Lane], name: &str) -> String {
    const ROW: f64 = 18.0;
    let height = TOP + rows.len() as f64 * ROW + BOTTOM;
    let mut plot = Plot { left: LEFT_OF_NAMES, ..Plot::new(height, seconds, 1.0) };
    for (number, Lane { name: label, stretches }) in rows.iter().enumerate() {
        let y = TOP + number as f64 * ROW;
        let _ = write!(
            plot.body,
            "<text class=\"y\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT_OF_NAMES - 8.0,
            y + 12.0,
            escape(label)
        );
        for (from, to, class, words) in stretches {
            let x = plot.x(*from);
            let width = (plot.x(*to) - x).max(0.5);
            let _ = write!(
                plot.body,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
                y + 1.0,
                ROW - 4.0,
                escape(words)
            );
        }
    }
    plot.finish(name)
}

/// A time since the beginning, in the largest unit that is whole.
pub fn time(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0 => "0".to_string(),
        _ if (seconds - seconds.round()).abs() > 0.001 => format!("{seconds:.1} s"),
        days if days % 86_400 == 0 => format!("{} d", days / 86_400),
        hours if hours % 3_600 == 0 => format!("{} h", hours / 3_600),
        minutes if minutes % 60 == 0 => format!("{} m", minutes / 60),
        seconds => format!("{seconds} s"),
    }
}

/// The next of 1, 2, 5, 10, 20, 50, ... (or their tenths) at or above `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-9).log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= least * 0.999_999);
    factor.unwrap_or(10.0) * power
}

fn time_step(least: f64) -> f64 {
    const STEPS: [f64; 18] = [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 43_200.0,
    ];
    STEPS.into_iter().find(|step| *step >= least).unwrap_or_else(|| (least / 86_400.0).ceil() * 86_400.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn axes_have_round_values() {
        assert_eq!([0.13, 1.0, 3.0, 61.0, 750.0].map(round_step), [0.2, 1.0, 5.0, 100.0, 1000.0]);
        assert_eq!([0.01, 7.5, 40.0, 4_000.0, 100_000.0].map(time_step), [0.1, 10.0, 60.0, 7_200.0, 172_800.0]);
        assert_eq!([0.0, 0.5, 90.0, 120.0, 7_200.0, 86_400.0].map(time), ["0", "0.5 s", "90 s", "2 m", "2 h", "1 d"]);
    }

    #[test]
    fn a_line_breaks_where_there_is_no_value() {
        let plot = Plot::new(100.0, 10.0, 10.0).line(&[(0.0, Some(0.0)), (5.0, None), (10.0, Some(10.0))], "c");
        assert!(plot.body.contains("d=\"M64.0 76.0M948.0 10.0\""), "{}", plot.body);
    }

    #[test]
    fn parts_of_a_column_stand_on_each_other() {
        let mut plot = Plot::new(134.0, 10.0, 10.0);
        plot.column(0.0, 5.0, &[(4.0, "a"), (0.0, "b"), (6.0, "c")], "4 & 6");
        assert!(plot.body.contains("<title>4 &amp; 6</title>"));
        assert!(plot.body.contains("<rect class=\"a\" x=\"64.0\" y=\"70.0\" width=\"442.0\" height=\"40.0\"/>"), "{}", plot.body);
        assert!(plot.body.contains("<rect class=\"c\" x=\"64.0\" y=\"10.0\" width=\"442.0\" height=\"60.0\"/>"), "{}", plot.body);
    }

    #[test]
    fn values_beyond_the_frame_and_an_empty_run_stay_within_it() {
        let svg = Plot::new(100.0, 0.0, 0.0).scale(|value| value.to_string()).line(&[(9.0, Some(9.0))], "c").finish("x");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
