//! Text for man(7) and mdoc(7).

use super::source::kebab;

/// A sentence or more, as in a doc comment, for man(7): each sentence on a line of its own, what stands in
/// backquotes in italics, the names of types plain, references to our own specification left out.
pub fn prose(text: &str) -> String {
    let mut out = String::new();
    for (number, piece) in plain(text).split('`').enumerate() {
        match number % 2 {
            0 => out.push_str(&escaped(piece)),
            _ => out.push_str(&format!("\\fI{}\\fR", literal(&in_json(piece)))),
        }
    }
    lines(&out)
}

/// The word that is told for a variant, where one is meant: `imported` for `What::Imported`.
fn in_json(name: &str) -> String {
    name.rsplit_once("::").map_or(name.to_owned(), |(_, variant)| kebab(variant))
}

/// The same for mdoc(7), where what stands in backquotes is told apart by quotes.
pub fn mdoc(text: &str) -> String {
    lines(&escaped(&plain(text).replace('`', "'")))
}

/// A word that is typed as it stands: with hyphens that stay hyphens.
pub fn literal(text: &str) -> String {
    escaped(text).replace('-', "\\-")
}

/// What [`literal`] and [`prose`] did, undone: for examples that are taken out of a page.
#[allow(dead_code, reason = "the generator takes nothing out of pages; the tests do")]
pub fn unescaped(line: &str) -> String {
    line.replace("\\&", "").replace("\\-", "-").replace("\\e", "\\")
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e")
}

/// Without links, and without what refers to the specification.
fn plain(text: &str) -> String {
    let mut text = text.replace("[`", "`").replace("`]", "`");
    while let Some(place) = text.find(" (SPEC ") {
        let end = text[place..].find(')').map_or(text.len(), |end| place + end + 1);
        text.replace_range(place..end, "");
    }
    text
}

/// A sentence a line; none of them begins like a request.
fn lines(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let ends = rest.match_indices(". ").find(|(place, _)| {
            let next = rest[place + 2..].trim_start_matches("\\fI").chars().next();
            next.is_some_and(char::is_uppercase)
        });
        let (line, tail) = ends.map_or((rest, ""), |(place, _)| (&rest[..=place], &rest[place + 2..]));
        if line.starts_with(['.', '\'']) {
            out.push_str("\\&");
        }
        out.push_str(line);
        out.push('\n');
        rest = tail.trim_start();
    }
    out
}
