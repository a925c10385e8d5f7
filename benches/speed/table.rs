//! Tables in Markdown, and their place in `benches/README.md`.

use anyhow::{Context, Result};
use std::fmt;
use std::fs;
use std::path::Path;

/// A table whose columns are as wide as they need to be, numbers to the right.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Table {
        Table { rows: vec![head.iter().map(|&title| title.to_owned()).collect()] }
    }

    pub fn row(&mut self, values: &[String]) {
        eprintln!("  {}", values.join("  "));
        self.rows.push(values.to_vec());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| self.rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        for (place, row) in self.rows.iter().enumerate() {
            for (value, &width) in row.iter().zip(&widths) {
                write!(f, "| {value:>width$} ")?;
            }
            writeln!(f, "|")?;
            if place == 0 {
                for &width in &widths {
                    write!(f, "|{:->1$}", ":", width + 2)?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// The middle value; of an even number the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

/// `2.13x`.
pub fn ratio(value: f64, beside: f64) -> String {
    format!("{:.2}x", value / beside)
}

/// When, and on how many processors of which kind.
pub fn environment() -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([':', '\t', ' ']);
    format!("{}, {processors} processors, {model}\n\n", jiff::Timestamp::now().strftime("%F"))
}

const BEGIN: &str = "<!-- results: written by benches/run --write -->\n";
const END: &str = "<!-- end of results -->\n";

/// Puts the report between the two marks of the file.
pub fn keep(report: &str, readme: &Path) -> Result<()> {
    let text = fs::read_to_string(readme)?;
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("{}: no mark {BEGIN}", readme.display()))?;
    let (_, behind) = rest.split_once(END).with_context(|| format!("{}: no mark {END}", readme.display()))?;
    fs::write(readme, format!("{before}{BEGIN}\n{report}{END}{behind}"))?;
    Ok(())
}
