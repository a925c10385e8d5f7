//! What a person would read of an HTML part, as lines of text: for formats that are described by their lines.

/// Tags that begin a line, and end one.
const LINES: [&str; 15] =
    ["br", "p", "div", "tr", "li", "ul", "h1", "h2", "h3", "h4", "table", "pre", "title", "blockquote", "hr"];

/// Entities that bounces use: marks, and the letters of European languages.
const ENTITIES: [(&str, char); 34] = [
    ("nbsp", ' '),
    ("lt", '<'),
    ("gt", '>'),
    ("amp", '&'),
    ("quot", '"'),
    ("apos", '\''),
    ("rsquo", '’'),
    ("lsquo", '‘'),
    ("laquo", '«'),
    ("raquo", '»'),
    ("auml", 'ä'),
    ("ouml", 'ö'),
    ("uuml", 'ü'),
    ("Auml", 'Ä'),
    ("Ouml", 'Ö'),
    ("Uuml", 'Ü'),
    ("szlig", 'ß'),
    ("agrave", 'à'),
    ("egrave", 'è'),
    ("ugrave", 'ù'),
    ("ograve", 'ò'),
    ("eacute", 'é'),
    ("Eacute", 'É'),
    ("aacute", 'á'),
    ("iacute", 'í'),
    ("oacute", 'ó'),
    ("uacute", 'ú'),
    ("ecirc", 'ê'),
    ("ocirc", 'ô'),
    ("ccedil", 'ç'),
    ("atilde", 'ã'),
    ("otilde", 'õ'),
    ("ntilde", 'ñ'),
    ("aring", 'å'),
];

/// HTML as text. Lines are those of the tags; the source's own count within `pre`, and where no tag makes a
/// line: then it is plain text under a wrong name.
pub(super) fn to_text(html: &str) -> String {
    let mut text = Text { letters: String::with_capacity(html.len() / 2), blank: true };
    let mut verbatim = usize::from(!has_lines(html));
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        text.push(&rest[..open], verbatim > 0);
        rest = &rest[open..];
        if rest.starts_with("<!--") {
            rest = rest.find("-->").map_or("", |end| &rest[end + 3..]);
            continue;
        }
        let Some(close) = rest.find('>') else { break };
        let (tag, behind) = (&rest[1..close], &rest[close + 1..]);
        let (name, opens) = name_of(tag);
        if tag.contains('@') && !tag.contains(['=', ' ']) {
            // Not a tag: an address in brackets that was not written as an entity.
            text.push(&rest[..=close], verbatim > 0);
        }
        rest = match (&*name, opens) {
            ("style" | "script", true) => &behind[find_end_tag(behind, &name)..],
            _ => behind,
        };
        match (&*name, opens) {
            ("pre", true) => verbatim += 1,
            ("pre", false) => verbatim = verbatim.saturating_sub(1),
            ("td", _) => text.push(" ", false),
            _ => {}
        }
        if LINES.contains(&&*name) {
            text.end_line();
        }
    }
    text.push(rest, verbatim > 0);
    text.letters
}

/// Text as far as it was read.
struct Text {
    letters: String,
    /// Blanks of the source that follow would be too many.
    blank: bool,
}

impl Text {
    fn push(&mut self, source: &str, verbatim: bool) {
        let mut rest = source;
        while let Some(letter) = rest.chars().next() {
            let (letter, length) = match letter {
                '&' => entity(rest).unwrap_or(('&', 1)),
                _ => (letter, letter.len_utf8()),
            };
            let is_blank = length == 1 && letter.is_ascii_whitespace();
            if !is_blank || verbatim {
                self.letters.push(letter);
            } else if !self.blank {
                self.letters.push(' ');
            }
            self.blank = is_blank;
            rest = &rest[length..];
        }
    }

    fn end_line(&mut self) {
        self.letters.push('\n');
        self.blank = true;
    }
}

fn has_lines(html: &str) -> bool {
    html.match_indices('<').any(|(place, _)| {
        let tag = html[place + 1..].split(['>', '<']).next().unwrap_or_default();
        LINES.contains(&&*name_of(tag).0)
    })
}

/// The name of a tag in lower case, and whether it opens.
fn name_of(tag: &str) -> (String, bool) {
    let name = tag.trim_start_matches('/');
    let length = name.bytes().take(12).take_while(u8::is_ascii_alphanumeric).count();
    (name[..length].to_ascii_lowercase(), !tag.starts_with('/'))
}

/// The entity at the front of a text, and its length.
fn entity(text: &str) -> Option<(char, usize)> {
    let end = text.bytes().take(10).position(|octet| octet == b';')?;
    let name = &text[1..end];
    let letter = match name.strip_prefix('#') {
        Some(number) => {
            let value = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            char::from_u32(value.ok()?).map(|letter| if letter == '\u{a0}' { ' ' } else { letter })?
        }
        None => ENTITIES.iter().find(|(known, _)| *known == name)?.1,
    };
    Some((letter, end + 1))
}

fn find_end_tag(html: &str, name: &str) -> usize {
    let is_end = |place: usize| {
        let tag = html.as_bytes().get(place + 2..place + 2 + name.len());
        tag.is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
    };
    html.match_indices("</").map(|(place, _)| place).find(|place| is_end(*place)).unwrap_or(html.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_that_a_browser_would_show() {
        for (html, want) in [
            ("<p>One\nand two</p>three", "\nOne and two\nthree"),
            ("a<br>\r\n  b", "a\nb"),
            ("<pre>a\n b</pre>", "\na\n b\n"),
            ("no tag\nof a line <b>here</b>", "no tag\nof a line here"),
            ("<div>&nbsp;&nbsp;&lt;joe@example.net&gt;</div>", "\n  <joe@example.net>\n"),
            (
                "<div><joe@example.net> &eacute;t&#233; &#x41; &unknown; & so</div>",
                "\n<joe@example.net> été A &unknown; & so\n",
            ),
            ("<html><style>p { x: '<' }</style><p>seen</p><!-- not > seen --><p>too</p>", "\nseen\n\ntoo\n"),
            ("<script>never closed <p>hidden", ""),
            ("<p>cut <b", "\ncut <b"),
            ("&", "&"),
        ] {
            assert_eq!(to_text(html), want, "{html}");
        }
    }
}
