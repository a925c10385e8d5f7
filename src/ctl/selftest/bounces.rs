//! The bounces: Postfix itself writes the notification, and shows it to the milter if `internal_mail_filter_classes` says
//! so.

use super::board::Told;
use super::events::Events;
use super::message::{CAMPAIGN, address, message_id};
use super::simulator::Arrived;
use super::steps::{Sent, Test, response_of, summary};
use super::{Failure, trouble};
use crate::admin::wire::word;
use crate::classify::{BounceType, Category};
use crate::ctl::postfix::{has_bounce, quoted, with_last};
use crate::policy::{Authority, Event, State};
use crate::report::Kind;

impl Test<'_> {
    /// The hard bounce: Postfix's notification about it is read, and the contact is off.
    pub(super) fn bounced(&mut self, sent: &Sent, events: &mut Events<'_>) -> Result<Told, Failure> {
        let expected = "Postfix's notification is read: 5.1.1, hard, rejected, authority local or signed";
        let Some(event) = self.response("bounce", Kind::Bounce, sent.deadline, events)? else {
            return Ok(self.not_read(expected, sent));
        };
        let seen = response_of(&event).map(summary).unwrap_or_default();
        let fits = response_of(&event).is_some_and(|response| {
            response.category == Some(Category::Rejected)
                && response.bounce_type == Some(BounceType::Hard)
                && response.code.is_some_and(|code| code.to_string() == "5.1.1")
        });
        if let Some(told) = self.unbelieved("bounce", &event, &[Authority::Local, Authority::Signed], expected) {
            return Ok(told);
        }
        let state = self.contact("bounce")?.map(|contact| contact.state);
        let is_off = state == Some(State::Bounced) || !self.ready.setup.suppresses_at_once();
        let state = state.map_or_else(|| "unknown".to_owned(), |state| word(&state));
        if !fits || !is_off {
            let cause = "a rule of your own, in [rules] directory or [policy], judges it otherwise";
            let look = vec![format!("backstopctl explain {}", address("bounce"))];
            return Ok(trouble(&format!("{expected}; then bounced"), format!("{seen}; {state}"), cause, look));
        }
        Ok(Told::Fine(format!("the notification is read: {seen}; the contact is {state}")))
    }

    /// The soft bounce, in the same notification.
    pub(super) fn soft(&mut self, sent: &Sent, events: &mut Events<'_>) -> Result<Told, Failure> {
        let expected = "5.2.2, soft, transient: one does not suppress";
        let Some(event) = self.response("soft", Kind::Bounce, sent.deadline, events)? else {
            return Ok(self.not_read(expected, sent));
        };
        let fits = response_of(&event).is_some_and(|response| {
            response.category == Some(Category::Transient) && response.bounce_type == Some(BounceType::Soft)
        });
        let seen = response_of(&event).map(summary).unwrap_or_default();
        let state = self.contact("soft")?.map_or_else(|| "unknown".to_owned(), |contact| word(&contact.state));
        if !fits {
            let look = vec![format!("backstopctl explain {}", address("soft"))];
            return Ok(trouble(expected, seen, "a rule of your own in [rules] directory judges it otherwise", look));
        }
        Ok(Told::Fine(format!("the mailbox is full: {seen}; the contact is {state}")))
    }

    /// Trouble if a response is not believed as it must be, or names another campaign.
    pub(super) fn unbelieved(&self, contact: &str, event: &Event, want: &[Authority], expected: &str) -> Option<Told> {
        let response = response_of(event)?;
        let is_ours = response.campaign.as_ref().is_none_or(|campaign| campaign.0 == CAMPAIGN);
        if want.contains(&response.authority) && is_ours {
            return None;
        }
        let cause = match response.authority {
            Authority::Unverified => "the send is not in the ledger: the milter did not see the message go out",
            _ if !is_ours => "another header field of the message names the campaign: [outbound] campaign_headers",
            _ => "the signed return path: does the daemon have its keys, and was it reloaded since?",
        };
        let look = vec![format!("backstopctl explain {}", address(contact)), "backstopctl keys list".to_owned()];
        Some(trouble(expected, summary(response), cause, look))
    }

    /// Trouble: the notification was not read, and why as Postfix's configuration tells it.
    fn not_read(&self, expected: &str, sent: &Sent) -> Told {
        let named = message_id(&self.ready.run, "campaign");
        let about_us = |arrived: &Arrived| String::from_utf8_lossy(&arrived.message).contains(&named);
        let passed = self.ready.simulator.arrived("return").iter().any(about_us);
        let seen = match passed {
            true => "the notification passed, and backstopd did not read it",
            false => "no notification of Postfix came",
        };
        let postfix = &self.ready.postfix;
        let classes = postfix.value("internal_mail_filter_classes").unwrap_or_default();
        if has_bounce(&classes) {
            let look = vec!["backstopctl postfix check".to_owned(), postfix.log_line(&sent.queue_id)];
            return trouble(expected, seen, self.not_asked("non_smtpd_milters"), look);
        }
        let cause = format!(
            "internal_mail_filter_classes is \"{classes}\", without bounce: Postfix shows its notifications to no milter"
        );
        let all = quoted(&format!("internal_mail_filter_classes = {}", with_last(&classes, "bounce")));
        let look =
            vec![postfix.command_line("postconf", &format!("-e {all}")), postfix.command_line("postfix", "reload")];
        trouble(expected, seen, cause, look)
    }
}
