//! `GET /metrics`: the counters as Prometheus reads them (text format 0.0.4).

use super::routes::App;
use crate::ops::event;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let figures = app.service.store().figures();
    let gauges = [
        ("backstop_uptime_seconds", "Seconds since the daemon started.", app.started.elapsed().as_secs()),
        ("backstop_milter_connections", "Milter connections open.", app.daemon.milter_connections() as u64),
        ("backstop_store_events", "Events on record.", figures.events),
        ("backstop_store_contacts", "Contacts with a record.", figures.contacts),
        ("backstop_store_waiting", "Writes waiting.", figures.waiting),
        ("backstop_store_disk_bytes", "Octets on disk.", figures.disk_bytes),
    ];
    let text = written(&event::counters(), &gauges);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn written(counters: &BTreeMap<String, u64>, gauges: &[(&str, &str, u64)]) -> String {
    let mut text = String::new();
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        writeln!(text, "{arguments}").expect("writing to a string does not fail");
    };
    line(format_args!("# HELP backstop_events_total Events logged, by kind."));
    line(format_args!("# TYPE backstop_events_total counter"));
    for (name, count) in counters {
        line(format_args!("backstop_events_total{{event=\"{name}\"}} {count}"));
    }
    for (name, help, value) in gauges {
        line(format_args!("# HELP {name} {help}"));
        line(format_args!("# TYPE {name} gauge"));
        line(format_args!("{name} {value}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_follows_its_type() {
        let counters = BTreeMap::from([("skip".to_owned(), 3)]);
        assert_eq!(
            written(&counters, &[("backstop_x", "X.", 7)]),
            "# HELP backstop_events_total Events logged, by kind.\n\
             # TYPE backstop_events_total counter\n\
             backstop_events_total{event=\"skip\"} 3\n\
             # HELP backstop_x X.\n# TYPE backstop_x gauge\nbackstop_x 7\n"
        );
    }
}
