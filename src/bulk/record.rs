//! Records of comma-separated values (RFC 4180), one at a time: what `lines` bounds is split here.

/// The fields of one record, unquoted, in one piece of memory that is used again.
#[derive(Default)]
pub struct Fields {
    text: String,
    ends: Vec<usize>,
}

impl Fields {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// One field, without blanks around it; empty where the record is too short to have it.
    pub fn get(&self, place: usize) -> &str {
        let start = if place == 0 { 0 } else { self.ends.get(place - 1).copied().unwrap_or_default() };
        self.ends.get(place).map_or("", |end| self.text[start..*end].trim())
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|place| self.get(place))
    }

    /// Forgets what it holds.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// Splits a line; `open` goes on within the quotes that the last one left open. True if quotes are open at its
    /// end, so that the record goes on in the next line. A quote counts where a field begins; two within quotes are
    /// one; what follows a closing quote is kept.
    pub fn split(&mut self, line: &str, delimiter: u8, open: bool) -> bool {
        let delimiter = char::from(delimiter);
        let (mut rest, mut open) = (line, open);
        if open {
            self.text.push('\n');
        }
        loop {
            if !open && let Some(quoted) = rest.trim_start_matches(' ').strip_prefix('"') {
                (rest, open) = (quoted, true);
            }
            while open {
                let Some((content, behind)) = rest.split_once('"') else {
                    self.text.push_str(rest);
                    return true;
                };
                self.text.push_str(content);
                match behind.strip_prefix('"') {
                    Some(behind) => {
                        self.text.push('"');
                        rest = behind;
                    }
                    None => (rest, open) = (behind, false),
                }
            }
            let end = rest.find(delimiter);
            self.text.push_str(&rest[..end.unwrap_or(rest.len())]);
            self.ends.push(self.text.len());
            match end {
                Some(end) => rest = &rest[end + 1..],
                None => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_split_at_delimiters_outside_quotes() {
        for (record, delimiter, want) in [
            ("a,b,c", b',', Some(&["a", "b", "c"][..])),
            ("a;b,c;", b';', Some(&["a", "b,c", ""])),
            ("a\tb", b'\t', Some(&["a", "b"])),
            ("\"a,b\",c", b',', Some(&["a,b", "c"])),
            ("\"a \"\"b\"\"\nc\",d", b',', Some(&["a \"b\"\nc", "d"])),
            ("a, \"b\" ,c", b',', Some(&["a", "b", "c"])),
            ("5\" disk,b", b',', Some(&["5\" disk", "b"])),
            ("\"a\"b,c", b',', Some(&["ab", "c"])),
            ("\"\",\"\"", b',', Some(&["", ""])),
            ("", b',', Some(&[""])),
            ("a,\"b", b',', None),
            ("a,\"b\"\"", b',', None),
        ] {
            let mut fields = Fields::default();
            let open = record.split('\n').fold(false, |open, line| fields.split(line, delimiter, open));
            assert_eq!(open, want.is_none(), "{record}");
            if let Some(want) = want {
                assert_eq!(fields.iter().collect::<Vec<_>>(), want, "{record}");
                assert_eq!(fields.get(want.len()), "");
            }
        }
    }
}
