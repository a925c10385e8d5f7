//! How the daemon is.

use super::answer::{Parameters, Refusal, blocking, json};
use super::routes::App;
use super::server::{ConfigState, Daemon};
use super::wire::{Alert, LastEvent, MilterFigures, Status, StoreFigures};
use crate::hooks::Raised;
use crate::inbound::Watch;
use crate::ops::event::{self, measure, strain};
use crate::policy::EventId;
use crate::store::{Store, StoreError};
use axum::extract::{Request, State};
use axum::response::Response;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How far back the last events are looked for, each step as far as [`LOOKED_AT`] events reach.
const LOOK_BACK: [Duration; 5] = [
    Duration::from_secs(60),
    Duration::from_secs(3600),
    Duration::from_secs(86_400),
    Duration::from_secs(7 * 86_400),
    Duration::from_secs(30 * 86_400),
];
const LOOKED_AT: usize = 2000;

/// `GET /v1/status`.
pub(super) async fn status(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    let store = app.service.store().clone();
    let (figures, last_events) =
        // A store that cannot be read must not keep anybody from the alert that says so.
        blocking(move || Ok((store.figures(), last_events(&store, Timestamp::now()).unwrap_or_default()))).await?;
    let config = app.daemon.config_state();
    let counters = event::counters();
    Ok(json(&Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: app.service.in_force().mode,
        uptime_secs: app.started.elapsed().as_secs(),
        alerts: open_alerts(app.daemon.as_ref(), app.service.watch(), None),
        counters,
        last_events,
        config,
        release: app.daemon.last_release(),
        store: StoreFigures {
            events: figures.events,
            contacts: figures.contacts,
            waiting: figures.waiting,
            disk_bytes: figures.disk_bytes,
        },
        milter: MilterFigures { connections: app.daemon.milter_connections() },
    }))
}

/// The last event of each kind. The store tells events oldest first, so it is asked for the last minute, then
/// the last hour, and so on, until a step holds more than is worth reading. Under load an answer may so be
/// older than the last event of its kind, by less than the shortest step that was full.
fn last_events(store: &Store, now: Timestamp) -> Result<BTreeMap<String, LastEvent>, StoreError> {
    let mut last: BTreeMap<String, LastEvent> = BTreeMap::new();
    for step in LOOK_BACK {
        let from = now.checked_sub(step).unwrap_or(Timestamp::UNIX_EPOCH);
        let events = store.events_after(Some(EventId::new(from, 0, 0)), LOOKED_AT)?;
        let full = events.len() == LOOKED_AT;
        for event in events {
            let name = event.what.name();
            let known = last.get(name).is_some_and(|known| known.event >= event.id);
            if !known {
                last.insert(name.to_owned(), LastEvent { at: event.at, event: event.id, address: event.address });
            }
        }
        if full {
            break;
        }
    }
    Ok(last)
}

/// The code of every alert, whether it is open or not.
pub(super) const ALERTS: [&str; 14] = [
    "config-not-reloaded",
    "store-not-writable",
    "store-damaged",
    "descriptors",
    "milter-connections",
    "clock-jumped",
    "undecided",
    "tempfail",
    "unrecorded",
    "replay",
    "complaints-unmatched",
    "return-path-silent",
    "hook-failing",
    "peers-unknown",
];

/// What somebody should look at now; without what would say that the hook which asks fails.
pub fn open_alerts(daemon: &dyn Daemon, watch: &Watch, asking: Option<&str>) -> Vec<Alert> {
    let mut alerts = alerts(&daemon.config_state(), measure::is_writable(), &event::counters(), watch);
    let failing = daemon.hooks().and_then(|hooks| hooks.failing(asking, Timestamp::now()));
    alerts.extend(failing.map(|Raised { code, message }| Alert { code, message }));
    alerts
}

fn alerts(config: &ConfigState, writable: bool, counters: &BTreeMap<String, u64>, watch: &Watch) -> Vec<Alert> {
    let mut alerts = Vec::new();
    let mut alert = |code: &str, message: String| alerts.push(Alert { code: code.to_owned(), message });
    if let Some(error) = &config.reload_error {
        alert("config-not-reloaded", format!("the old configuration serves: {error}"));
    }
    if !writable {
        let message = "nothing can be recorded: the last write to the store failed; is there room on its disk?";
        alert("store-not-writable", message.to_owned());
    }
    for (code, message) in strain::now() {
        alert(code, message);
    }
    for (name, what) in [
        ("undecided", "outgoing messages could not be decided on and went as `[outbound] on_error` says"),
        ("tempfail", "reports could not be recorded or checked and were asked to come again"),
        ("unrecorded", "skips or sends could not be written down"),
    ] {
        if let Some(count @ 1..) = counters.get(name) {
            alert(name, format!("since the start {count} {what}; the log says why"));
        }
    }
    alerts.extend(watch.alerts(Timestamp::now()).into_iter().map(|(code, message)| {
        let code = code.to_owned();
        Alert { code, message }
    }));
    debug_assert!(alerts.iter().all(|alert| ALERTS.contains(&alert.code.as_str())), "each is in the table");
    alerts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(reload_error: Option<&str>) -> ConfigState {
        let loaded_at = Timestamp::UNIX_EPOCH;
        ConfigState { file: "backstop.toml".into(), loaded_at, reload_error: reload_error.map(str::to_owned) }
    }

    #[test]
    fn all_well_is_no_alert() {
        let counters = BTreeMap::from([("bounce".to_owned(), 9), ("undecided".to_owned(), 0)]);
        assert_eq!(alerts(&config(None), true, &counters, &Watch::default()), []);
    }

    #[test]
    fn a_failed_reload_a_full_disk_and_undecided_mail_are_alerts() {
        let counters = BTreeMap::from([("undecided".to_owned(), 3)]);
        let alerts = alerts(&config(Some("line 3: mode")), false, &counters, &Watch::default());
        let codes: Vec<&str> = alerts.iter().map(|alert| alert.code.as_str()).collect();
        assert_eq!(codes, ["config-not-reloaded", "store-not-writable", "undecided"]);
        assert!(alerts[0].message.contains("line 3: mode"));
        assert!(alerts[2].message.contains('3'));
    }
}
