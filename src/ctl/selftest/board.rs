//! Shows each step as it ends: a line with a tick for a person, an object for a program.

use crate::ctl::chart::Style;
use crate::ctl::exit::Failure;
use crate::ctl::output::Output;
use crate::ctl::table::clean;
use serde::Serialize;
use std::time::Instant;

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Ok,
    Failed,
    Skipped,
}

/// What a step that failed tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// What was expected.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// The likely cause.
    pub cause: String,
    /// Where to look further: commands, lines of the mail log.
    pub look: Vec<String>,
}

/// What came of a step, in words: fine, not tried and why, or trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// All fine.
    Fine(String),
    /// Not tried, or nothing to be seen, for this reason.
    Skipped(String),
    /// Not as it must be.
    Trouble(Box<Trouble>),
}

#[derive(Serialize)]
struct Line<'a> {
    step: &'a str,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(flatten)]
    trouble: Option<&'a Trouble>,
    millis: u128,
}

#[derive(Serialize)]
struct Last<'a> {
    run: &'a str,
    ok: usize,
    failed: usize,
    skipped: usize,
}

/// Where steps are shown, and counted.
pub struct Board<'a> {
    out: &'a mut Output,
    style: Style,
    since: Instant,
    counts: [usize; 3],
}

impl<'a> Board<'a> {
    /// A board with nothing on it.
    pub fn new(out: &'a mut Output) -> Board<'a> {
        let style = Style::of(out);
        Board { out, style, since: Instant::now(), counts: [0; 3] }
    }

    /// Shows a step that has ended; the next begins.
    pub fn show(&mut self, step: &str, told: &Told) -> Result<(), Failure> {
        let millis = self.since.elapsed().as_millis();
        self.since = Instant::now();
        let (outcome, text, trouble) = match told {
            Told::Fine(text) => (Outcome::Ok, Some(text.as_str()), None),
            Told::Skipped(text) => (Outcome::Skipped, Some(text.as_str()), None),
            Told::Trouble(trouble) => (Outcome::Failed, None, Some(&**trouble)),
        };
        self.counts[outcome as usize] += 1;
        if self.out.json() {
            self.out.object(&Line { step, outcome, text, trouble, millis })?;
        } else {
            for line in lines(&self.style, step, told, millis) {
                self.out.line(&line)?;
            }
        }
        // Somebody waits for each step.
        self.out.flush()
    }

    /// Whether any step failed.
    pub fn has_failed(&self) -> bool {
        self.counts[Outcome::Failed as usize] > 0
    }

    /// Shows what all came to.
    pub fn end(&mut self, run: &str) -> Result<(), Failure> {
        let [ok, failed, skipped] = self.counts;
        if self.out.json() {
            self.out.object(&Last { run, ok, failed, skipped })?;
        } else {
            let more = if skipped > 0 { format!(", {skipped} not tried") } else { String::new() };
            self.out.line(&format!("{ok} steps as they must be, {failed} not{more}; run {run}"))?;
        }
        self.out.flush()
    }
}

/// The lines of one step for a person.
fn lines(style: &Style, step: &str, told: &Told, millis: u128) -> Vec<String> {
    let mark = |sign: &'static str, plain: &'static str, colour: u8| {
        let sign = if style.utf8 { sign } else { plain };
        if style.colour { format!("\x1b[{colour}m{sign}\x1b[0m") } else { sign.to_owned() }
    };
    let time = format!("({}.{} s)", millis / 1000, millis % 1000 / 100);
    match told {
        Told::Fine(text) => {
            let tick = mark("✓", "ok", 32);
            vec![format!("{tick} {step}: {} {time}", clean(text))]
        }
        Told::Skipped(text) => vec![format!("- {step}: {}", clean(text))],
        Told::Trouble(trouble) => {
            let cross = mark("✗", "FAILED", 31);
            let mut lines = vec![format!("{cross} {step} {time}")];
            let told = [("expected", &trouble.expected), ("seen", &trouble.seen), ("likely", &trouble.cause)];
            for (name, text) in told.into_iter().filter(|(_, text)| !text.is_empty()) {
                lines.push(format!("    {name}: {}", clean(text)));
            }
            lines.extend(trouble.look.iter().map(|look| format!("    look: {}", clean(look))));
            lines
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_a_line_and_trouble_says_what_was_expected() {
        let style = |utf8| Style { utf8, colour: false, width: 80 };
        let fine = Told::Fine("a\u{1b}b".to_owned());
        let shown = lines(&style(true), "route", &fine, 1234);
        assert!(shown[0].starts_with("✓ route: a") && shown[0].ends_with(" (1.2 s)"), "{shown:?}");
        assert!(!shown[0].contains('\u{1b}'), "no text of others reaches the terminal as it is");
        assert!(lines(&style(false), "route", &fine, 0)[0].starts_with("ok route: "));
        let trouble = Trouble { expected: "x".into(), seen: "y".into(), cause: String::new(), look: vec!["z".into()] };
        let shown = lines(&style(false), "route", &Told::Trouble(Box::new(trouble)), 60_050);
        assert_eq!(shown, ["FAILED route (60.0 s)", "    expected: x", "    seen: y", "    look: z"]);
        assert_eq!(lines(&style(true), "mode", &Told::Skipped("why".into()), 5), ["- mode: why"]);
    }
}
