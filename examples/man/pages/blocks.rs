//! Parts of a page between two comments: `.\" begin generated: NAME` and `.\" end generated`.

/// Puts `content` between the comments of that name.
pub fn put(text: &str, name: &str, content: &str) -> Result<String, String> {
    let begin = format!(".\\\" begin generated: {name}\n");
    let end = ".\\\" end generated\n";
    let missing = |what: &str| format!("the line {} is missing", what.trim_end());
    let (head, rest) = text.split_once(&begin).ok_or_else(|| missing(&begin))?;
    let tail = rest.find(end).ok_or_else(|| missing(end))?;
    Ok(format!("{head}{begin}{content}{}", &rest[tail..]))
}
