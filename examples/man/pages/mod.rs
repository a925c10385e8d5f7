//! What is generated in each page of `man/`, and from what: the command line as clap knows it, the keys of
//! `backstop.toml` and the file that shows them, and the descriptions that stand beside log events, stored events,
//! rule keys, words and codes in the source. Descriptions are read from the source (`source`), so each is written
//! once, where the thing itself is; a new one needs nothing here.
//!
//! `examples/man` writes the pages, `tests/manual.rs` compares them.

mod blocks;
mod commands;
mod events;
mod keys;
pub mod roff;
pub mod source;
mod vocabulary;

use std::path::{Path, PathBuf};

/// The pages with generated parts.
pub const PAGES: [&str; 5] =
    ["backstopctl.1", "backstopd.8", "backstop.toml.5", "backstop-rules.5", "backstop-events.7"];

/// Where the source is.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The page as it must be.
///
/// # Errors
/// What is missing in it, such as a marker.
pub fn rewritten(page: &str, text: &str) -> Result<String, String> {
    let put = |text: &str, name: &str, content: String| blocks::put(text, name, &content);
    match page {
        "backstopctl.1" => {
            let text = put(text, "synopsis", commands::synopsis())?;
            commands::completed(&text)
        }
        "backstopd.8" => put(text, "options", commands::options_of_the_daemon()),
        "backstop.toml.5" => keys::rewritten(text),
        "backstop-rules.5" => {
            let text = put(text, "rule keys", vocabulary::rule_keys()?)?;
            let text = put(&text, "rule samples", vocabulary::keys("src/classify/rule.rs", "Sample")?)?;
            let text = put(&text, "dialect keys", vocabulary::dialect_keys()?)?;
            let text = put(&text, "categories", vocabulary::words("src/classify/mod.rs", "Category")?)?;
            let text = put(&text, "faults", vocabulary::words("src/classify/mod.rs", "Fault")?)?;
            let text = put(&text, "reasons", vocabulary::reasons())?;
            put(&text, "codes", vocabulary::codes())
        }
        "backstop-events.7" => {
            let text = put(text, "log events", events::logged()?)?;
            let text = put(&text, "stored events", events::stored()?)?;
            let text = put(&text, "response", vocabulary::fields("src/policy/contact.rs", "Response")?)?;
            let text = put(&text, "evidence", vocabulary::fields("src/policy/event.rs", "Evidence")?)?;
            let text = put(&text, "imported", vocabulary::fields("src/policy/event.rs", "ImportedEntry")?)?;
            let text = put(&text, "kinds", vocabulary::words("src/report/mod.rs", "Kind")?)?;
            let text = put(&text, "authorities", vocabulary::words("src/policy/contact.rs", "Authority")?)?;
            put(&text, "skip reasons", vocabulary::words("src/policy/contact.rs", "SkipReason")?)
        }
        _ => Err("no part of it is generated".to_owned()),
    }
}
