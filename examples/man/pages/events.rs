//! Log events and stored events.

use super::roff::{literal, prose};
use super::source;
use super::vocabulary::field;
use backstop::ops::event::EVENTS;

/// Every log event: name, level, meaning, and the fields of its line.
pub fn logged() -> Result<String, String> {
    let keys = source::log_keys()?;
    let mut text = String::new();
    for (event, (name, level)) in source::variants("src/ops/event.rs", "LogEvent")?.iter().zip(EVENTS) {
        if event.name != name {
            return Err(format!("EVENTS has {name} where LogEvent has {}", event.ident));
        }
        let keys = keys.get(&event.ident).ok_or_else(|| format!("no line is written for {name}"))?;
        let keys = keys.iter().map(|(key, maybe)| match maybe {
            true => format!("[\\fI{}\\fR]", literal(key)),
            false => format!("\\fI{}\\fR", literal(key)),
        });
        let keys = Some(keys.collect::<Vec<_>>().join(", ")).filter(|keys| !keys.is_empty());
        let level = level.as_str().to_lowercase();
        text.push_str(&format!(".TP\n.BR {} \" ({level})\"\n{}", literal(name), prose(&event.docs)));
        text.push_str(&keys.map_or(String::new(), |keys| format!(".br\nFields: {keys}.\n")));
    }
    Ok(text)
}

/// Every stored event: its word in `event`, meaning, and the fields of its JSON object.
pub fn stored() -> Result<String, String> {
    let mut text = String::new();
    for event in source::variants("src/policy/event.rs", "What")? {
        text.push_str(&format!(".TP\n.B {}\n{}", literal(&event.name), prose(&event.docs)));
        if event.fields.is_empty() {
            continue;
        }
        if event.fields.iter().any(|field| field.flat) {
            text.push_str(&format!("The fields of a {}, below, and:\n", literal(&event.name)));
        }
        let fields = event.fields.iter().filter(|field| !field.flat).map(field);
        text.push_str(&format!(".RS\n{}.RE\n", fields.collect::<String>()));
    }
    Ok(text)
}
