//! Columns, aligned; and text of strangers made fit for a terminal.

/// Text as it may stand on a terminal, on one line: control characters, line breaks, and the marks that turn
/// the direction of writing become a question mark. Diagnostics come from strangers.
pub fn clean(text: &str) -> String {
    let hostile = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
    };
    text.trim()
        .chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if hostile(c) {
                '?'
            } else {
                c
            }
        })
        .collect()
}

/// Cells wider than this are in no line with the others: one long id must not pull all rows apart.
const WIDEST: usize = 48;

/// Rows of cells under a head, each column as wide as its widest cell; the last is not filled up. A cell
/// without text is shown as `-`. A very long one is whole, and moves only what follows in its own row.
pub fn aligned(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| shown(cell)).collect()).collect();
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            let own = cell.chars().count();
            *width = if own > WIDEST { *width } else { own.max(*width) };
        }
    }
    std::iter::once(&head)
        .chain(&rows)
        .map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

fn shown(cell: &str) -> String {
    let cell = clean(cell);
    if cell.is_empty() { "-".to_owned() } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows =
            [vec!["a".to_owned(), "long cell".to_owned(), "x".to_owned()], vec!["bcd".to_owned(), String::new()]];
        assert_eq!(aligned(&["H", "I", "J"], &rows), ["H    I          J", "a    long cell  x", "bcd  -"]);
    }

    #[test]
    fn one_long_cell_moves_only_its_own_row() {
        let long = "L".repeat(255);
        let rows = [vec![long.clone(), "x".to_owned()], vec!["short".to_owned(), "y".to_owned()]];
        assert_eq!(aligned(&["H", "I"], &rows), ["H      I".to_owned(), format!("{long}  x"), "short  y".to_owned()]);
    }

    #[test]
    fn a_diagnostic_cannot_write_on_the_terminal() {
        for (text, want) in [
            ("550 \u{1b}[2Jgone", "550 ?[2Jgone"),
            ("a\r\nb\tc", "a??b c"),
            ("\u{9b}31m", "?31m"),         // CSI as one C1 character
            ("abc\u{202e}txt", "abc?txt"), // right-to-left override
            ("Zürich", "Zürich"),
        ] {
            assert_eq!(clean(text), want, "{text:?}");
        }
    }
}
