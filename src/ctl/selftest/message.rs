//! The messages of a self-test: what is sent, and what the simulator sends back for it.

use super::simulator::{MARK, header_of};
use crate::mail::SELFTEST_DOMAIN;
use jiff::Timestamp;

/// The campaign of every self-test.
pub const CAMPAIGN: &str = "backstop-selftest";
/// The list of every self-test.
pub const LIST: &str = "list.backstop-selftest.invalid";

/// One of the test's addresses.
pub fn address(local_part: &str) -> String {
    format!("{local_part}@{SELFTEST_DOMAIN}")
}

/// The Message-ID of a message of a run, without its angle brackets.
pub fn message_id(run: &str, name: &str) -> String {
    format!("{name}.{run}@{SELFTEST_DOMAIN}")
}

/// A campaign message; `campaign_field` is the header field by which Backstop is to know it as one.
pub fn campaign(run: &str, name: &str, to: &str, campaign_field: &str) -> Vec<u8> {
    let value = match campaign_field.to_ascii_lowercase().as_str() {
        "precedence" => "bulk".to_owned(),
        "list-unsubscribe" => format!("<mailto:{}>", address("return")),
        _ => CAMPAIGN.to_owned(),
    };
    let head = head(run, name, &address("return"), to, "Self-test of Backstop");
    let marks = match campaign_field.to_ascii_lowercase().as_str() {
        "list-id" => format!("List-ID: <{LIST}>\r\n"),
        _ => format!("List-ID: <{LIST}>\r\n{campaign_field}: {value}\r\n"),
    };
    format!("{head}{marks}\r\nSent by backstopctl selftest. It goes to an address that does not exist.\r\n")
        .into_bytes()
}

/// A complaint in the abuse reporting format (RFC 5965) about a message as it was delivered.
pub fn complaint(run: &str, reverse_path: &str, delivered: &[u8]) -> Vec<u8> {
    let head = head(run, "report", &address("complaint"), reverse_path, "Self-test of Backstop: a complaint");
    let about = address("complaint");
    let mut message = format!(
        "{head}Content-Type: multipart/report; report-type=feedback-report; boundary=\"=_{run}\"\r\n\r\n\
         --=_{run}\r\nContent-Type: text/plain\r\n\r\nA complaint that backstopctl selftest made up.\r\n\r\n\
         --=_{run}\r\nContent-Type: message/feedback-report\r\n\r\n\
         Feedback-Type: abuse\r\nUser-Agent: backstopctl-selftest/1\r\nVersion: 1\r\n\
         Original-Mail-From: <{reverse_path}>\r\nOriginal-Rcpt-To: <{about}>\r\n\r\n\
         --=_{run}\r\nContent-Type: text/rfc822-headers\r\n\r\n"
    )
    .into_bytes();
    message.extend_from_slice(header_of(delivered));
    message.extend_from_slice(format!("\r\n--=_{run}--\r\n").as_bytes());
    message
}

/// An automatic reply (RFC 3834) to a message as it was delivered.
pub fn automatic_reply(run: &str, reverse_path: &str, answered: &str) -> Vec<u8> {
    let head = head(run, "reply", &address("ooto"), reverse_path, "Auto: Self-test of Backstop");
    let fields = format!("In-Reply-To: <{answered}>\r\nReferences: <{answered}>\r\nAuto-Submitted: auto-replied\r\n");
    format!("{head}{fields}Content-Type: text/plain\r\n\r\nOut of the office, says backstopctl selftest.\r\n")
        .into_bytes()
}

fn head(run: &str, name: &str, from: &str, to: &str, subject: &str) -> String {
    let date = jiff::fmt::rfc2822::to_string(&Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC)).unwrap_or_default();
    let message_id = message_id(run, name);
    format!(
        "From: Backstop self-test <{from}>\r\nTo: <{to}>\r\nSubject: {subject}\r\nDate: {date}\r\n\
         Message-ID: <{message_id}>\r\n{MARK}: {run}\r\nMIME-Version: 1.0\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Limits, Message};
    use crate::report::{self, CampaignHeaders, Dialects, Kind};

    fn kind_of(raw: &[u8]) -> Kind {
        let message = Message::read(raw, &Limits::default());
        let read = report::read(&message, &Dialects::compiled_in());
        read.expect("whole").map_or(Kind::Other, |report| report.kind)
    }

    #[test]
    fn backstop_reads_them_as_what_they_are() {
        let field = "X-Backstop-Campaign";
        let sent = campaign("77", "complaint", "complaint@backstop-selftest.invalid", field);
        assert_eq!(kind_of(&sent), Kind::Other);
        assert_eq!(kind_of(&complaint("77", "back@bounces.test", &sent)), Kind::Complaint);
        assert_eq!(kind_of(&automatic_reply("77", "back@bounces.test", "m@b.invalid")), Kind::Autoreply);
    }

    #[test]
    fn whatever_field_marks_campaigns_marks_the_test() {
        for name in CampaignHeaders::default().names {
            let raw = campaign("77", "a", "bounce@backstop-selftest.invalid", &name);
            let message = Message::read(&raw, &Limits::default());
            let only = CampaignHeaders { names: vec![name.clone()] };
            assert!(only.mark(&message.headers), "{name}");
        }
    }
}
