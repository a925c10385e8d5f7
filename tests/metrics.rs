//! `/metrics` of a running daemon beside the manual, the alert rules and the dashboard that ship with it: each name,
//! label and value one of them knows, the others know too.

#[path = "common/daemon.rs"]
#[allow(dead_code)]
mod daemon;
#[path = "common/mta.rs"]
#[allow(dead_code)]
mod mta;
#[path = "common/rig.rs"]
#[allow(dead_code)]
mod rig;
#[path = "common/smtp.rs"]
#[allow(dead_code)]
mod smtp;

use daemon::Daemon;
use mta::{Mta, Origin, POSTFIX};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

/// The families that were told: of each its type, and its labels with their values.
type Families = BTreeMap<String, (String, BTreeMap<String, BTreeSet<String>>)>;

const RULES: &str = include_str!("../config/prometheus-alerts.yml");
const DASHBOARD: &str = include_str!("../config/grafana-dashboard.json");

/// The text a daemon tells that has just started.
static TEXT: LazyLock<String> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory");
    let mut daemon = Daemon::prepare(directory.path(), &directory.path().join("milter.sock"), "");
    daemon.start();
    let text = metrics_of(&daemon);
    daemon.stop();
    text
});

fn metrics_of(daemon: &Daemon) -> String {
    let mut stream = UnixStream::connect(daemon.admin_socket()).expect("it serves");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("UTF-8");
    let (head, text) = answer.split_once("\r\n\r\n").expect("a header and a body");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
    text.to_owned()
}

fn families() -> Families {
    let mut families = Families::new();
    let label = Regex::new(r#"(\w+)="([^"]*)""#).expect("a literal");
    for line in TEXT.lines() {
        if let Some(told) = line.strip_prefix("# TYPE ") {
            let (name, kind) = told.split_once(' ').expect("a name and a type");
            let known = families.insert(name.to_owned(), (kind.to_owned(), BTreeMap::new()));
            assert!(known.is_none(), "{name} is told twice");
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').expect("a series and a value");
            assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
            let name = series.split('{').next().expect("split gives a first piece");
            let (_, labels) = families.get_mut(base(name)).unwrap_or_else(|| panic!("no type before {line}"));
            for found in label.captures_iter(series) {
                labels.entry(found[1].to_owned()).or_default().insert(found[2].to_owned());
            }
        }
    }
    assert!(families.len() > 30, "{}", *TEXT);
    families
}

/// The name of the family that a series belongs to.
fn base(name: &str) -> &str {
    let suffix = ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| name.strip_suffix(suffix));
    suffix.unwrap_or(name)
}

/// Labels that Prometheus itself puts on a series, and `le` of a histogram.
fn is_given(label: &str) -> bool {
    ["job", "instance", "le"].contains(&label)
}

/// Checks an expression: every metric in it is told, with these labels and these values. Gives the metrics.
fn check_expression(expression: &str, families: &Families) -> BTreeSet<String> {
    let selector = Regex::new(r"\b((?:backstop|process)_\w+)(?:\{([^}]*)\})?").expect("a literal");
    let matcher = Regex::new(r#"(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)""#).expect("a literal");
    let grouping = Regex::new(r"\b(?:by|without|on)\s*\(([^)]*)\)").expect("a literal");
    let mut metrics = BTreeSet::new();
    let mut labels = BTreeSet::new();
    for found in selector.captures_iter(expression) {
        let (_, known) = families.get(base(&found[1])).unwrap_or_else(|| panic!("{}: in {expression}", &found[1]));
        metrics.insert(base(&found[1]).to_owned());
        labels.extend(known.keys().map(String::as_str));
        for matched in matcher.captures_iter(found.get(2).map_or("", |inside| inside.as_str())) {
            if is_given(&matched[1]) {
                continue;
            }
            let values = known.get(&matched[1]).unwrap_or_else(|| panic!("label {}: in {expression}", &matched[1]));
            for value in matched[3].split('|') {
                assert!(values.contains(value), "{}=\"{value}\": in {expression}", &matched[1]);
            }
        }
    }
    for group in grouping.captures_iter(expression) {
        for label in group[1].split(',').map(str::trim) {
            assert!(is_given(label) || labels.contains(label), "by {label}: in {expression}");
        }
    }
    metrics
}

#[test]
fn every_metric_is_in_the_manual_with_its_labels_and_the_manual_knows_no_other() {
    let manual = include_str!("../man/backstop-metrics.7").replace("\\-", "-");
    let italic = Regex::new(r"\\fI(\w+)\\fR").expect("a literal");
    let mut described: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for entry in manual.split("\n.TP\n").skip(1) {
        let entry = entry.split("\n.SH ").next().expect("a first piece").split("\n.PP").next().expect("a first piece");
        let (head, text) = entry.split_once('\n').expect("a name and a text");
        let first = text.lines().next().unwrap_or_default();
        let labels = italic.captures_iter(first).map(|found| found[1].to_owned());
        described.insert(head.strip_prefix(".B ").expect("a name in bold"), labels.collect());
    }
    for (name, (_, labels)) in &families() {
        let told: BTreeSet<String> = labels.keys().filter(|label| *label != "le").cloned().collect();
        let described = described.remove(name.as_str());
        assert_eq!(described.as_ref(), Some(&told), "backstop-metrics(7): {name} and its labels");
    }
    assert!(described.is_empty(), "backstop-metrics(7) knows metrics that nobody tells: {described:?}");
}

#[test]
fn every_alert_of_status_is_in_the_manual() {
    let manual = include_str!("../man/backstop-metrics.7").replace("\\-", "-");
    let entry = manual.split("\n.B backstop_alert\n").nth(1).and_then(|rest| rest.split("\n.TP\n").next());
    let entry = entry.expect("an entry backstop_alert");
    let families = families();
    let names = &families["backstop_alert"].1["name"];
    assert!(names.len() >= 7);
    for name in names {
        assert!(entry.contains(&format!(".BR {name} ")), "backstop-metrics(7): alert {name}");
    }
}

#[test]
fn names_have_units_and_kinds_as_prometheus_wants_them() {
    for (name, (kind, labels)) in families() {
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        assert_eq!(labels.contains_key("le"), kind == "histogram", "{name} is a {kind}");
        assert!(!["_ms", "_millis", "_kb", "_mib"].iter().any(|unit| name.contains(unit)), "{name}");
        assert!(TEXT.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
}

#[test]
fn alert_rules_name_only_what_is_told() {
    let families = families();
    let mut metrics = BTreeSet::new();
    let mut expressions = 0;
    // An expression goes on over lines that are indented deeper.
    let mut lines = RULES.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(expression) = line.trim_start().strip_prefix("expr: ") else { continue };
        let mut expression = expression.to_owned();
        while let Some(more) = lines.next_if(|more| more.starts_with("          ")) {
            expression.push_str(more);
        }
        metrics.extend(check_expression(&expression, &families));
        expressions += 1;
    }
    assert!(expressions >= 14 && metrics.len() >= 7, "{expressions} {metrics:?}");
}

#[test]
fn the_dashboard_names_only_what_is_told() {
    let families = families();
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let legend = Regex::new(r"\{\{(\w+)\}\}").expect("a literal");
    let mut metrics = BTreeSet::new();
    for target in dashboard["panels"].as_array().expect("panels").iter().filter_map(|panel| panel["targets"].as_array())
    {
        for target in target {
            let expression = target["expr"].as_str().expect("an expression");
            let named = check_expression(expression, &families);
            assert!(!named.is_empty(), "{expression}");
            for label in legend.captures_iter(target["legendFormat"].as_str().expect("a legend")) {
                let known = named.iter().any(|name| families[name].1.contains_key(&label[1]));
                assert!(known, "{{{{{}}}}}: legend of {expression}", &label[1]);
            }
            metrics.extend(named);
        }
    }
    assert!(metrics.len() >= 15, "{metrics:?}");
    let more = [&dashboard["templating"], &dashboard["annotations"]];
    for (place, text) in more.into_iter().map(ToString::to_string).enumerate() {
        let text = text.replace("\\\"", "\"");
        assert!(!check_expression(&text, &families).is_empty(), "{place}");
    }
}

#[test]
fn a_message_is_measured_on_its_way() {
    let directory = tempfile::tempdir().expect("a directory");
    let milter = directory.path().join("milter.sock");
    let mut daemon = Daemon::prepare(directory.path(), &milter, "");
    daemon.start();
    daemon.suppress("never@example.net");
    let mut mta = Mta::new(UnixStream::connect(&milter).expect("the milter serves"), Origin::Smtp);
    mta.negotiate(POSTFIX).expect("version 6");
    mta.event(b'C', b"client.test\x004\x9c\xb0127.0.0.1\0").expect("taken");
    mta.mail("<news@example.com>", &[]).expect("taken");
    for recipient in ["<joe@gmail.com>", "<never@example.net>", "<ann@example.net>"] {
        mta.rcpt(recipient, &[]).expect("taken");
    }
    mta.header(b"X-Campaign-ID", b" spring").expect("taken");
    mta.event(b'N', b"").expect("taken");
    mta.end_of_message().expect("an answer");
    let text = metrics_of(&daemon);
    for line in [
        "backstop_milter_stage_seconds_count{stage=\"mail\"} 1",
        "backstop_milter_stage_seconds_count{stage=\"rcpt\"} 3",
        "backstop_milter_stage_seconds_count{stage=\"eom_screen\"} 1",
        "backstop_milter_stage_seconds_bucket{stage=\"eom_screen\",le=\"+Inf\"} 1",
        "backstop_milter_stage_seconds_count{stage=\"eom_inspect\"} 0",
        "backstop_milter_message_seconds_count 1",
        "backstop_messages_total{handling=\"screen\",verdict=\"changed\"} 1",
        "backstop_messages_total{handling=\"pass\",verdict=\"untouched\"} 0",
        "backstop_recipients_screened_total 3",
        "backstop_recipients_skipped_total{reason=\"suppressed\",mode=\"enforce\"} 1",
        "backstop_recipients_sent_total{provider=\"google\"} 1",
        "backstop_recipients_sent_total{provider=\"other\"} 1",
        "backstop_responses_by_provider_total{provider=\"google\",kind=\"bounce\"} 0",
        "backstop_milter_connections 1",
        "backstop_store_writable 1",
        "backstop_ledger_messages_total 1",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}\n{text}");
    }
    assert!(text.contains("\nbackstop_store_commit_seconds_count "));
    assert!(!text.contains("\nbackstop_store_commit_seconds_count 0\n"), "a person's word was made durable");
    assert!(!text.contains("example.net") && !text.contains("spring"), "nothing of a mail is a label");
    daemon.stop();
}

/// Runs promtool(1); none where there is none.
fn promtool(arguments: &[&str], input: &str) -> Option<Output> {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("promtool(1) is not installed (Debian: prometheus): not run: {arguments:?}");
            return None;
        }
        Err(error) => panic!("promtool: {error}"),
    };
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    Some(child.wait_with_output().expect("it ends"))
}

#[test]
fn promtool_accepts_the_metrics_and_the_rules_and_the_rules_do_what_they_say() {
    for (arguments, input) in [
        (&["check", "metrics"][..], TEXT.as_str()),
        (&["check", "rules", "config/prometheus-alerts.yml"], ""),
        (&["test", "rules", "tests/metrics/alerts-test.yml"], ""),
    ] {
        let Some(output) = promtool(arguments, input) else { return };
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "promtool {arguments:?}:\n{said}");
        assert!(arguments[1] != "metrics" || said.trim().is_empty(), "promtool {arguments:?}:\n{said}");
    }
}
