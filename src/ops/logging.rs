//! Where log lines go: standard error, one line an event; or the journal, with a field for each value.

use super::event::{LogEvent, say};
use super::journal::Journal;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts the log. `RUST_LOG` chooses the level, `info` by default. Where standard error is the journal, entries go
/// there with their fields; lines for any other that sets `JOURNAL_STREAM` carry no time of their own.
pub fn start() {
    let (filter, refused) = match std::env::var("RUST_LOG") {
        Ok(wanted) if !wanted.is_empty() => match EnvFilter::try_new(&wanted) {
            Ok(filter) => (filter, None),
            Err(error) => (EnvFilter::new("info"), Some(format!("RUST_LOG: {error}; info is used"))),
        },
        _ => (EnvFilter::new("info"), None),
    };
    if let Some(journal) = Journal::of_standard_error() {
        let _ = tracing_subscriber::registry().with(filter).with(journal).try_init();
        return finish(refused);
    }
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(ansi);
    // A second start in one process keeps the first; tests do that.
    let _ = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => log.without_time().try_init(),
        None => log.try_init(),
    };
    finish(refused);
}

fn finish(refused: Option<String>) {
    if let Some(refused) = refused {
        tracing::warn!("{refused}");
    }
    log_panics();
}

/// A panic is one line in the log, and in the counters.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "-".to_owned(), ToString::to_string);
        let problem = panic.payload_as_str().unwrap_or("no words");
        say(&LogEvent::Panic { place: &place, problem });
    }));
}
