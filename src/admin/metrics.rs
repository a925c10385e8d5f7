//! `GET /metrics`: the counters as Prometheus reads them (text format 0.0.4).

use super::routes::App;
use crate::ops::event;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let figures = app.service.store().figures();
    let watched = app.service.watch().figures(Timestamp::now());
    let gauges = [
        ("backstop_uptime_seconds", "Seconds since the daemon started.", app.started.elapsed().as_secs()),
        ("backstop_milter_connections", "Milter connections open.", app.daemon.milter_connections() as u64),
        ("backstop_store_events", "Events on record.", figures.events),
        ("backstop_store_contacts", "Contacts with a record.", figures.contacts),
        ("backstop_store_waiting", "Writes waiting.", figures.waiting),
        ("backstop_store_disk_bytes", "Octets on disk.", figures.disk_bytes),
        ("backstop_sent_recipients_week", "Recipients of campaign mail within seven days.", watched.sent),
        ("backstop_return_path_silent", "1 while mail goes out and nothing comes back.", u64::from(watched.silent)),
        ("backstop_unmatched_complaints_day", "Complaints within a day that match no send of ours.", watched.unmatched),
        ("backstop_complaints_waiting", "Complaints whose signature could not be checked lately.", watched.waiting),
    ];
    let text = written(&event::counters(), &event::responses_by_authority(), &gauges);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn written(counters: &BTreeMap<String, u64>, authorities: &[(&str, u64)], gauges: &[(&str, &str, u64)]) -> String {
    let mut text = String::new();
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        writeln!(text, "{arguments}").expect("writing to a string does not fail");
    };
    line(format_args!("# HELP backstop_events_total Events logged, by kind."));
    line(format_args!("# TYPE backstop_events_total counter"));
    for (name, count) in counters {
        line(format_args!("backstop_events_total{{event=\"{name}\"}} {count}"));
    }
    line(format_args!("# HELP backstop_responses_total Responses recorded, by how far they are believed."));
    line(format_args!("# TYPE backstop_responses_total counter"));
    for (authority, count) in authorities {
        line(format_args!("backstop_responses_total{{authority=\"{authority}\"}} {count}"));
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
            written(&counters, &[("local", 2)], &[("backstop_x", "X.", 7)]),
            "# HELP backstop_events_total Events logged, by kind.\n\
             # TYPE backstop_events_total counter\n\
             backstop_events_total{event=\"skip\"} 3\n\
             # HELP backstop_responses_total Responses recorded, by how far they are believed.\n\
             # TYPE backstop_responses_total counter\n\
             backstop_responses_total{authority=\"local\"} 2\n\
             # HELP backstop_x X.\n# TYPE backstop_x gauge\nbackstop_x 7\n"
        );
    }
}
