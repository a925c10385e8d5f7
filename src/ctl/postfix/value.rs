//! Values of main.cf: lists whose elements stand between blanks and commas, an element in braces being one
//! (postconf(5)); and how a command is written so that a shell takes it as it stands.

use std::ops::Range;

fn separates(letter: char) -> bool {
    letter.is_ascii_whitespace() || letter == ','
}

fn places(value: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let (mut depth, mut start) = (0usize, None);
    for (at, letter) in value.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && separates(letter) {
            found.extend(start.take().map(|start| start..at));
        } else if start.is_none() {
            start = Some(at);
        }
    }
    found.extend(start.map(|start| start..value.len()));
    found
}

/// The elements of a list.
pub fn elements(value: &str) -> Vec<&str> {
    places(value).into_iter().map(|place| &value[place]).collect()
}

/// The list with an element in front.
pub fn with_first(element: &str, value: &str) -> String {
    if value.trim().is_empty() { element.to_owned() } else { format!("{element}, {value}") }
}

/// The list with an element at its end.
pub fn with_last(value: &str, element: &str) -> String {
    if value.trim().is_empty() { element.to_owned() } else { format!("{value}, {element}") }
}

/// The list without these elements; what stands between the others stays as it was, so that this undoes
/// [`with_first`] and [`with_last`] exactly. `None` if there are none.
pub fn without(value: &str, goes: impl Fn(&str) -> bool) -> Option<String> {
    let places = places(value);
    let stays: Vec<bool> = places.iter().map(|place| !goes(&value[place.clone()])).collect();
    if stays.iter().all(|stays| *stays) {
        return None;
    }
    let mut left = String::new();
    let mut last: Option<usize> = None;
    for (number, place) in places.iter().enumerate().filter(|(number, _)| stays[*number]) {
        if let Some(last) = last {
            // There is one behind it: this one, or what goes.
            left.push_str(&value[places[last].end..places[last + 1].start]);
        }
        left.push_str(&value[place.clone()]);
        last = Some(number);
    }
    Some(left)
}

/// The same list without a blank in it: `postconf -P` takes no other value.
pub fn compact(value: &str) -> String {
    let list: Vec<String> = elements(value)
        .into_iter()
        .map(|element| match element.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
            Some(inner) => match inner.split_once('=') {
                // `{ name = value }`
                Some((name, value)) if !name.trim().contains(|letter| separates(letter) || letter == '{') => {
                    format!("{{{}={}}}", name.trim(), compact(value))
                }
                _ => format!("{{{}}}", compact(inner)),
            },
            None => element.to_owned(),
        })
        .collect();
    list.join(",")
}

/// The value with `$name`, `${name}` and `$(name)` replaced. What is more than that stays as it is.
pub fn expanded(value: &str, known: &impl Fn(&str) -> Option<String>) -> String {
    expanded_to(value, known, 8)
}

fn expanded_to(value: &str, known: &impl Fn(&str) -> Option<String>, depth: u8) -> String {
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, behind)) = rest.split_once('$') {
        text.push_str(before);
        let of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let bare = behind.strip_prefix(['{', '(']).unwrap_or(behind);
        let length = bare.find(|letter| !of_name(letter)).unwrap_or(bare.len());
        let (name, after) = bare.split_at(length);
        let after = if bare.len() == behind.len() { Some(after) } else { after.strip_prefix(['}', ')']) };
        match after {
            Some(after) if !name.is_empty() && depth > 0 => {
                text.push_str(&expanded_to(&known(name).unwrap_or_default(), known, depth - 1));
                rest = after;
            }
            _ => {
                text.push('$');
                rest = behind;
            }
        }
    }
    text + rest
}

/// A word as sh(1) takes it, quoted where it must be.
pub fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=@%+,".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A time of Postfix in seconds, `30s`, `5d`; a bare number counts in `unit`.
pub fn seconds(value: &str, unit: char) -> Option<u64> {
    let value = value.trim();
    let (number, unit) = match value.chars().last()? {
        last if last.is_ascii_digit() => (value, unit),
        last => (&value[..value.len() - last.len_utf8()], last),
    };
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_in_braces_is_one() {
        for (value, want) in [
            ("", &[][..]),
            (" , ", &[]),
            ("a, b\tc,d", &["a", "b", "c", "d"]),
            ("{ unix:a, x=y }, inet:b:1", &["{ unix:a, x=y }", "inet:b:1"]),
            ("hash:/a inline:{ { k = v }, l=w }", &["hash:/a", "inline:{ { k = v }, l=w }"]),
            ("} a", &["}", "a"]),
            ("{ open", &["{ open"]),
        ] {
            assert_eq!(elements(value), want, "{value}");
        }
    }

    #[test]
    fn what_was_put_in_is_taken_out_exactly() {
        for value in ["", "unix:a", "unix:a,unix:b", "unix:a  unix:b,  { inet:c:1, x=y }", "$smtpd_milters"] {
            let ours = |element: &str| element.contains("ours");
            assert_eq!(without(value, ours), None, "{value}");
            for put in [with_first("{ unix:ours, x=y }", value), with_last(value, "inline:{ ours=1 }")] {
                assert_eq!(without(&put, ours).as_deref(), Some(value), "{put}");
            }
        }
        for (value, want) in [("a, ours  b", "a, b"), ("ours ours, a", "a"), ("a ours, ours", "a"), ("ours", "")] {
            assert_eq!(without(value, |element| element == "ours").as_deref(), Some(want), "{value}");
        }
    }

    #[test]
    fn a_compact_list_has_no_blank_and_the_same_elements() {
        for (value, want) in [
            ("{ unix:a/b.sock, default_action=accept }, inet:c:1", "{unix:a/b.sock,default_action=accept},inet:c:1"),
            ("unix:a unix:b", "unix:a,unix:b"),
            ("{ unix:a, { macro = v w } }", "{unix:a,{macro=v,w}}"),
            ("", ""),
        ] {
            assert_eq!(compact(value), want);
        }
    }

    #[test]
    fn names_are_replaced_and_what_is_not_understood_stays() {
        let known = |name: &str| match name {
            "a" => Some("unix:a, $b".to_owned()),
            "b" => Some("unix:b".to_owned()),
            "loop" => Some("$loop".to_owned()),
            _ => None,
        };
        for (value, want) in [
            ("$a", "unix:a, unix:b"),
            ("${b}x$(b)", "unix:bxunix:b"),
            ("$none.", "."),
            ("${a?yes}", "${a?yes}"),
            ("$$b", "$unix:b"),
            ("$loop", "$loop"),
        ] {
            assert_eq!(expanded(value, &known), want, "{value}");
        }
    }

    #[test]
    fn a_shell_gets_back_what_was_quoted() {
        let words = ["", "plain-word=1", "a b", "it's", "$x `y` \"z\" \\", "{ a, b }", "'"];
        let line = format!("printf '%s\\n' {}", words.map(quoted).join(" "));
        let output = std::process::Command::new("sh").args(["-c", &line]).output().expect("a shell");
        assert_eq!(String::from_utf8_lossy(&output.stdout), words.map(|word| format!("{word}\n")).concat());
    }

    #[test]
    fn a_time_has_its_unit_or_the_one_of_its_parameter() {
        for (value, want) in [("30s", Some(30)), ("5d", Some(432_000)), ("2", Some(172_800)), ("x", None), ("", None)] {
            assert_eq!(seconds(value, 'd'), want, "{value}");
        }
        assert_eq!(seconds("99999999999999999999w", 's'), None);
    }
}
