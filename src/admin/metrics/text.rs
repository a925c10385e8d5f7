//! Prometheus' text format 0.0.4.

use crate::ops::event::measure::Distribution;
use std::fmt::{Display, Write};

/// What kind of numbers a family has.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Comes and goes.
    Gauge,
    /// Measurements below bounds.
    Histogram,
}

impl Type {
    fn as_str(self) -> &'static str {
        match self {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        }
    }
}

/// What is written so far.
#[derive(Debug, Default)]
pub struct Text(String);

/// All samples of one name.
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Text {
    /// Begins a family.
    pub fn family(&mut self, name: &'static str, kind: Type, help: &str) -> Family<'_> {
        put(&mut self.0, format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.as_str()));
        Family { text: &mut self.0, name }
    }

    /// A family of one number without labels.
    pub fn one(&mut self, name: &'static str, kind: Type, help: &str, value: impl Display) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// All of it.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// One number. Labels and their values are words of our own: nothing in them is escaped.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, value);
    }

    /// A distribution of what was measured in units of which `per_unit` make one of Prometheus' base units.
    pub fn distribution(&mut self, labels: &[(&str, &str)], told: &Distribution, per_unit: f64) {
        for (bound, count) in &told.below {
            let bound = (*bound as f64 / per_unit).to_string();
            self.line("_bucket", &[labels, &[("le", &bound)]].concat(), count);
        }
        self.line("_bucket", &[labels, &[("le", "+Inf")]].concat(), told.count);
        self.line("_sum", labels, told.sum as f64 / per_unit);
        self.line("_count", labels, told.count);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        put(self.text, format_args!("{}{suffix}", self.name));
        for (place, (name, word)) in labels.iter().enumerate() {
            put(self.text, format_args!("{}{name}=\"{word}\"", if place == 0 { '{' } else { ',' }));
        }
        put(self.text, format_args!("{} {value}\n", if labels.is_empty() { "" } else { "}" }));
    }
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_follows_its_help_and_its_type() {
        let mut text = Text::default();
        let mut family = text.family("x_total", Type::Counter, "Xs.");
        family.sample(&[("a", "b"), ("c", "d")], 3);
        family.sample(&[], 4);
        text.one("y_seconds", Type::Gauge, "Y.", 0.5);
        assert_eq!(
            text.into_string(),
            "# HELP x_total Xs.\n# TYPE x_total counter\nx_total{a=\"b\",c=\"d\"} 3\nx_total 4\n\
             # HELP y_seconds Y.\n# TYPE y_seconds gauge\ny_seconds 0.5\n"
        );
    }

    #[test]
    fn a_distribution_is_told_in_base_units() {
        let mut text = Text::default();
        let told = Distribution { below: vec![(10_000, 1), (1_000_000_000, 3)], count: 4, sum: 2_500_000_000 };
        text.family("t_seconds", Type::Histogram, "T.").distribution(&[("s", "a")], &told, 1e9);
        assert_eq!(
            text.into_string(),
            "# HELP t_seconds T.\n# TYPE t_seconds histogram\n\
             t_seconds_bucket{s=\"a\",le=\"0.00001\"} 1\nt_seconds_bucket{s=\"a\",le=\"1\"} 3\n\
             t_seconds_bucket{s=\"a\",le=\"+Inf\"} 4\nt_seconds_sum{s=\"a\"} 2.5\nt_seconds_count{s=\"a\"} 4\n"
        );
    }
}
