//! The terminal: raw mode and the alternate screen, given back whatever happens; lines with their styles, written
//! in one piece.
//!
//! The few control sequences below (ECMA-48, and what xterm and tmux add) are all that is needed; a library for
//! terminals would bring a dozen more crates for them.

use crate::ctl::exit::{Exit, Failure};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

/// Alternate screen, no cursor, no wrapping.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[0m\x1b[?1049l";
/// A frame is shown when it is whole, where the terminal knows how (mode 2026).
const BEGIN_FRAME: &str = "\x1b[?2026h\x1b[H";
const END_FRAME: &str = "\x1b[J\x1b[?2026l";

/// How the terminal was, as long as it is ours.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As text does.
    Plain,
    /// Less important.
    Dim,
    /// More important.
    Bold,
    /// The line at the top.
    Title,
    /// All well; what goes out.
    Green,
    /// What is kept back.
    Yellow,
    /// What comes back.
    Cyan,
    /// Bounces.
    Magenta,
    /// Trouble.
    Red,
}

impl Style {
    /// Its parameter of SGR; with `colours` off, weight only.
    fn parameter(self, colours: bool) -> &'static str {
        match self {
            Style::Plain => "0",
            Style::Dim => "2",
            Style::Bold => "1",
            Style::Title => "1;7",
            Style::Red if !colours => "1",
            _ if !colours => "0",
            Style::Green => "32",
            Style::Yellow => "33",
            Style::Cyan => "36",
            Style::Magenta => "35",
            Style::Red => "1;31",
        }
    }
}

/// A line of pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(Vec<(Style, String)>);

impl Line {
    /// A line of one piece.
    pub fn of(style: Style, text: impl Into<String>) -> Line {
        Line::default().and(style, text)
    }

    /// With another piece.
    pub fn and(mut self, style: Style, text: impl Into<String>) -> Line {
        self.0.push((style, text.into()));
        self
    }

    /// Columns it takes.
    pub fn width(&self) -> usize {
        self.0.iter().flat_map(|(_, text)| text.chars()).map(columns).sum()
    }

    /// The same, no wider than so many columns.
    fn cut(&self, most: usize) -> Line {
        let mut left = most;
        let mut pieces = Vec::with_capacity(self.0.len());
        for (style, text) in &self.0 {
            let fits = |c: &char| {
                let fits = columns(*c) <= left;
                left = if fits { left - columns(*c) } else { 0 };
                fits
            };
            pieces.push((*style, text.chars().take_while(fits).collect()));
        }
        Line(pieces)
    }

    /// As text.
    pub fn plain(&self, most: usize) -> String {
        let text: String = self.cut(most).0.into_iter().map(|(_, text)| text).collect();
        text.trim_end().to_owned()
    }
}

/// Columns a character takes: ideographs and emoji two, marks that stand on others none. Close enough; whatever
/// is wrong is cut at the edge.
fn columns(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x200b..=0x200d | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x2_0000..=0x3_fffd => 2,
        _ => 1,
    }
}

/// The terminal, ours until this is dropped.
pub struct Screen {
    colours: bool,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// [`Exit::Usage`] where there is none.
    pub fn take() -> Result<Screen, Failure> {
        let refused = |problem: &str| {
            Failure::new(Exit::Usage, format!("top needs a terminal ({problem}); --once prints one frame anywhere"))
        };
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Err(refused("standard input or output is none"));
        }
        let before = tcgetattr(io::stdin()).map_err(|error| refused(&error.to_string()))?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let screen = Screen { colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) };
        // A fault is told on the screen that stays, not on the one that goes.
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |fault| {
            give_back();
            told(fault);
        }));
        tcsetattr(io::stdin(), OptionalActions::Drain, &raw).map_err(|error| refused(&error.to_string()))?;
        io::stdout().write_all(ENTER.as_bytes())?;
        Ok(screen)
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        size().unwrap_or((80, 24))
    }

    /// Shows a frame.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn show(&self, lines: &[Line], (width, height): (usize, usize)) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(written(lines, width, height, self.colours).as_bytes())?;
        out.flush()?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Puts the terminal back as it was, once.
fn give_back() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let mut out = io::stdout().lock();
        // A terminal that is gone needs nothing any more.
        let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

/// Columns and rows of the terminal on standard output, if it is one.
pub fn size() -> Option<(usize, usize)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

fn written(lines: &[Line], width: usize, height: usize, colours: bool) -> String {
    let mut out = String::from(BEGIN_FRAME);
    for (row, line) in lines.iter().take(height).enumerate() {
        if row > 0 {
            out.push_str("\r\n");
        }
        for (style, text) in &line.cut(width).0 {
            out.push_str(&format!("\x1b[0;{}m{text}", style.parameter(colours)));
        }
        out.push_str("\x1b[0m\x1b[K");
    }
    out.push_str(END_FRAME);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_at_the_edge_by_columns() {
        let line = Line::of(Style::Plain, "ab漢字").and(Style::Red, "cd");
        assert_eq!(line.width(), 8);
        for (most, want) in [(8, "ab漢字cd"), (7, "ab漢字c"), (5, "ab漢"), (4, "ab漢"), (0, "")] {
            assert_eq!(line.plain(most), want, "{most}");
        }
    }

    #[test]
    fn a_frame_never_has_more_rows_than_the_terminal() {
        let lines = vec![Line::of(Style::Red, "x"); 9];
        let text = written(&lines, 80, 3, true);
        assert_eq!(text.matches("\r\n").count(), 2);
        assert!(text.contains("\x1b[0;1;31mx"));
        assert!(!written(&lines, 80, 3, false).contains("31m"), "NO_COLOR");
    }
}
