//! `GET /metrics`: what Prometheus asks for. backstop-metrics(7) describes every name; a test compares the two.
//!
//! The text is written by `text`, which is shorter than the code that would register our atomics with a client
//! library, and the measurements themselves are plain atomics in fixed places ([`measure`]).

mod process;
mod text;

use super::answer::{Refusal, blocking};
use super::routes::App;
use super::status::{ALERTS, open_alerts};
use crate::classify::provider::OTHER;
use crate::classify::{Category, Class};
use crate::hooks::HookStatus;
use crate::inbound::watch;
use crate::ops::event::{self, measure};
use crate::outbound::Mode;
use crate::policy::Authority;
use crate::report::Kind;
use crate::store;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use std::sync::Arc;
use text::{Text, Type};

const NANOSECONDS: f64 = 1e9;

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    let text = blocking(move || Ok(written(&app))).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

fn written(app: &App) -> String {
    let mut text = Text::default();
    the_daemon(&mut text, app);
    milter(&mut text, app.daemon.milter_connections());
    recipients(&mut text);
    responses(&mut text);
    watched(&mut text, app.service.watch().figures(Timestamp::now()));
    store(&mut text, &app.service.store().figures());
    hooks(&mut text, &app.daemon.hooks().map(|hooks| hooks.status(Timestamp::now())).unwrap_or_default());
    process::tell(&mut text);
    text.into_string()
}

fn the_daemon(text: &mut Text, app: &App) {
    let mut family = text.family("backstop_build_info", Type::Gauge, "Always 1; the version is a label.");
    family.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    let shadow = app.service.in_force().mode == Mode::Shadow;
    let help = "1 while mode is shadow: recipients are judged, and no mail is changed.";
    text.one("backstop_shadow_mode", Type::Gauge, help, u8::from(shadow));
    let (config, counters) = (app.daemon.config_state(), event::counters());
    let open = open_alerts(app.daemon.as_ref(), app.service.watch(), None);
    let mut family = text.family("backstop_alert", Type::Gauge, "1 while status tells this alert.");
    for name in ALERTS {
        family.sample(&[("name", name)], u8::from(open.iter().any(|alert| alert.code == name)));
    }
    let reloaded = u8::from(config.reload_error.is_none());
    let help = "0 while an older configuration serves, because the file cannot be used.";
    text.one("backstop_config_last_reload_successful", Type::Gauge, help, reloaded);
    let (name, help) =
        ("backstop_config_last_reload_success_timestamp_seconds", "When the configuration in force was read.");
    text.one(name, Type::Gauge, help, config.loaded_at.as_second());
    let mut family = text.family("backstop_events_total", Type::Counter, "Events logged, by name.");
    for (name, count) in &counters {
        family.sample(&[("event", name)], count);
    }
}

fn milter(text: &mut Text, connections: usize) {
    text.one("backstop_milter_connections", Type::Gauge, "Milter connections open.", connections);
    let (name, help) = ("backstop_milter_connections_accepted_total", "Milter connections accepted.");
    text.one(name, Type::Counter, help, measure::MILTER_CONNECTIONS.get());
    let help = "Time that Postfix waited for a stage of the milter.";
    let mut family = text.family("backstop_milter_stage_seconds", Type::Histogram, help);
    for (stage, told) in measure::stages() {
        family.distribution(&[("stage", stage)], &told, NANOSECONDS);
    }
    let help = "Time from MAIL to the answer at the end of a message, most of it spent by the client.";
    let mut family = text.family("backstop_milter_message_seconds", Type::Histogram, help);
    family.distribution(&[], &measure::whole_messages(), NANOSECONDS);
    let help = "Messages decided on, by what they were to us and how they ended.";
    let mut family = text.family("backstop_messages_total", Type::Counter, help);
    for (handling, verdict, count) in measure::messages() {
        family.sample(&[("handling", handling), ("verdict", verdict)], count);
    }
}

fn recipients(text: &mut Text) {
    let (name, help) = ("backstop_recipients_screened_total", "Recipients of outgoing mail that were judged.");
    text.one(name, Type::Counter, help, measure::recipients_screened());
    let help = "Recipients taken off outgoing mail; in shadow mode, that would have been.";
    let mut family = text.family("backstop_recipients_skipped_total", Type::Counter, help);
    for (reason, shadow, count) in measure::recipients_skipped() {
        family.sample(&[("reason", reason), ("mode", if shadow { "shadow" } else { "enforce" })], count);
    }
    let help = "Recipients let out on screened mail, by the mailbox provider of their domain.";
    let mut family = text.family("backstop_recipients_sent_total", Type::Counter, help);
    // Most hosts never meet most of them.
    let told = measure::providers().zip(measure::recipients_sent());
    for (provider, count) in told.filter(|(provider, count)| *count > 0 || *provider == OTHER) {
        family.sample(&[("provider", provider)], count);
    }
}

fn responses(text: &mut Text) {
    let help = "Responses recorded, by what they say.";
    let mut family = text.family("backstop_responses_total", Type::Counter, help);
    for (kind, category, count) in measure::responses() {
        if count > 0 || is_usual(kind, category) {
            let class = category.map_or(Class::Feedback, Category::class);
            let category = category.map_or("none", Category::as_str);
            let labels = [("class", class_word(class)), ("kind", kind.as_str()), ("category", category)];
            family.sample(&labels, count);
        }
    }
    let (hard, soft) = measure::bounces();
    let mut family = text.family("backstop_bounces_total", Type::Counter, "Bounces recorded, by their type.");
    family.sample(&[("type", "hard")], hard);
    family.sample(&[("type", "soft")], soft);
    let help = "Responses recorded, by how far they are believed.";
    let mut family = text.family("backstop_responses_by_authority_total", Type::Counter, help);
    for (kind, authority, count) in measure::responses_by_authority() {
        if count > 0 || matches!(kind, Kind::Bounce | Kind::Complaint) && authority != Authority::Operator {
            family.sample(&[("authority", authority.as_str()), ("kind", kind.as_str())], count);
        }
    }
    let help = "Responses recorded, by the mailbox provider of the contact's domain.";
    let mut family = text.family("backstop_responses_by_provider_total", Type::Counter, help);
    let told = measure::providers().zip(measure::recipients_sent()).zip(measure::responses_by_provider());
    for ((provider, sent), counts) in told {
        // With bounces and complaints told as 0 from the first message on, the first of them is an increase.
        let met = provider == OTHER || sent > 0 || counts.iter().any(|count| *count > 0);
        for (kind, count) in measure::KINDS.iter().zip(counts).filter(|_| met) {
            if count > 0 || matches!(kind, Kind::Bounce | Kind::Complaint) {
                family.sample(&[("provider", provider), ("kind", kind.as_str())], count);
            }
        }
    }
}

/// What is told from the start, as 0: else the first of it would be no increase.
fn is_usual(kind: Kind, category: Option<Category>) -> bool {
    match (kind, category) {
        (Kind::Bounce, Some(category)) => category != Category::Complaint,
        (Kind::Complaint | Kind::OptOut, category) => category == Some(Category::Complaint),
        (Kind::Delivered | Kind::Autoreply | Kind::NotSpam, category) => category.is_none(),
        (Kind::Bounce, None) | (Kind::Delayed | Kind::Other, _) => false,
    }
}

fn class_word(class: Class) -> &'static str {
    match class {
        Class::Skip => "skip",
        Class::Bounce => "bounce",
        Class::Feedback => "feedback",
    }
}

fn watched(text: &mut Text, told: watch::Figures) {
    let figures = [
        ("backstop_sent_recipients_week", "Recipients of screened mail within seven days.", told.sent),
        ("backstop_return_path_silent", "1 while mail goes out and nothing comes back.", u64::from(told.silent)),
        ("backstop_unmatched_complaints_day", "Complaints within a day that match no send of ours.", told.unmatched),
        ("backstop_complaints_waiting", "Complaints whose signature could not be checked lately.", told.waiting),
    ];
    for (name, help, value) in figures {
        text.one(name, Type::Gauge, help, value);
    }
}

/// The figures of each hook; their names are bounded in number and letters by the configuration.
fn hooks(text: &mut Text, hooks: &[HookStatus]) {
    type Figure = (&'static str, Type, &'static str, fn(&HookStatus) -> u64);
    let figures: [Figure; 4] = [
        ("backstop_hook_delivered_total", Type::Counter, "Notices that the hook took.", |hook| hook.delivered),
        ("backstop_hook_failed_total", Type::Counter, "Attempts that the hook did not take.", |hook| hook.failed),
        ("backstop_hook_given_up_total", Type::Counter, "Notices that the hook is not told any more.", |hook| {
            hook.given_up
        }),
        ("backstop_hook_lag_seconds", Type::Gauge, "Age of the notice that waits; 0 where none does.", |hook| {
            hook.lag_secs
        }),
    ];
    for (name, kind, help, figure) in figures {
        let mut family = text.family(name, kind, help);
        for hook in hooks {
            family.sample(&[("hook", &hook.name)], figure(hook));
        }
    }
}

fn store(text: &mut Text, figures: &store::Figures) {
    let gauges = [
        ("backstop_store_events", "Events on record.", figures.events),
        ("backstop_store_contacts", "Contacts with a record.", figures.contacts),
        ("backstop_store_waiting_writes", "Writes waiting.", figures.waiting),
        ("backstop_store_disk_bytes", "Size of the store on disk.", figures.disk_bytes),
        ("backstop_store_writable", "0 after a write that failed, until one succeeds.", measure::is_writable().into()),
    ];
    for (name, help, value) in gauges {
        text.one(name, Type::Gauge, help, value);
    }
    let help = "Time in which a batch of events became durable.";
    let mut family = text.family("backstop_store_commit_seconds", Type::Histogram, help);
    family.distribution(&[], &measure::commits(), NANOSECONDS);
    let help = "Operations that shared one flush.";
    let mut family = text.family("backstop_store_commit_operations", Type::Histogram, help);
    family.distribution(&[], &measure::commit_operations(), 1.0);
    let (name, help) = ("backstop_store_commit_failures_total", "Writes that failed.");
    text.one(name, Type::Counter, help, measure::commit_failures());
    let (name, help) = ("backstop_ledger_messages_total", "Outgoing messages that the send ledger was told of.");
    text.one(name, Type::Counter, help, measure::LEDGER_MESSAGES.get());
}
