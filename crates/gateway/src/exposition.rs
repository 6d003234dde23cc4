//! The text format of Prometheus, version 0.0.4: families of samples, each with its help and its type.

use std::fmt::{Display, Write};

use crate::figures::Buckets;

/// Its media type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text that grows family by family.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// A family of counters.
    pub fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, help, "counter")
    }

    /// A family of gauges.
    pub fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, help, "gauge")
    }

    /// A family of histograms, in seconds.
    pub fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, help, "histogram")
    }

    fn family(&mut self, name: &'static str, help: &str, kind: &str) -> Family<'_> {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { text: &mut self.0, name }
    }

    /// The whole text.
    pub fn text(self) -> String {
        self.0
    }
}

/// The samples of one family.
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    /// One value.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// One histogram: its buckets, its sum in seconds, its count.
    pub fn buckets(&mut self, labels: &[(&str, &str)], buckets: &Buckets) {
        for (end, count) in buckets.cumulated() {
            let end = (end as f64 / 1_000.0).to_string();
            self.line("_bucket", labels, Some(("le", &end)), count);
        }
        self.line("_bucket", labels, Some(("le", "+Inf")), buckets.count());
        self.line("_sum", labels, None, buckets.sum().as_secs_f64());
        self.line("_count", labels, None, buckets.count());
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], last: Option<(&str, &str)>, value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let mut between = '{';
        for (name, value) in labels.iter().copied().chain(last) {
            self.text.push(between);
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(value, self.text);
            self.text.push('"');
            between = ',';
        }
        if between == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

fn escape(value: &str, into: &mut String) {
    for letter in value.chars() {
        match letter {
            '\\' => into.push_str("\\\\"),
            '"' => into.push_str("\\\""),
            '\n' => into.push_str("\\n"),
            other => into.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_family_has_help_type_and_samples_with_escaped_labels() {
        let mut text = Exposition::default();
        let mut family = text.counter("a_total", "Things.");
        family.sample(&[("x", "say \"a\\b\"\n"), ("y", "")], 3);
        text.gauge("b", "One.").sample(&[], 1.5);
        let wanted = "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"say \\\"a\\\\b\\\"\\n\",y=\"\"} 3\n\
                      # HELP b One.\n# TYPE b gauge\nb 1.5\n";
        assert_eq!(text.text(), wanted);
    }

    #[test]
    fn buckets_of_a_histogram_add_up_to_its_count() {
        let mut buckets = Buckets::default();
        for millis in [3, 30, 400_000] {
            buckets.record(Duration::from_millis(millis));
        }
        let mut text = Exposition::default();
        text.histogram("c_seconds", "Long.").buckets(&[("m", "x")], &buckets);
        let text = text.text();
        for line in [
            "c_seconds_bucket{m=\"x\",le=\"0.001\"} 0\n",
            "c_seconds_bucket{m=\"x\",le=\"0.005\"} 1\n",
            "c_seconds_bucket{m=\"x\",le=\"300\"} 2\n",
            "c_seconds_bucket{m=\"x\",le=\"+Inf\"} 3\n",
            "c_seconds_sum{m=\"x\"} 400.033\nc_seconds_count{m=\"x\"} 3\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
