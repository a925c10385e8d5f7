//! Which facts belong to one campaign, and when that was sent.

use super::contact::{Fact, FactKind};
use crate::report::Campaign;
use jiff::Timestamp;

/// What counts as one campaign: the name, or for mail that names none the day (UTC) it was sent, else came back.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SendOut<'a> {
    Named(&'a Campaign),
    Day(i64),
}

impl<'a> SendOut<'a> {
    pub fn of(fact: &'a Fact) -> Option<SendOut<'a>> {
        let campaign = match &fact.what {
            FactKind::Response(response) => &response.campaign,
            FactKind::Sent { campaign, .. } | FactKind::Activity { campaign, .. } => campaign,
            _ => return None,
        };
        let day = || SendOut::Day(sent_at(fact).unwrap_or(fact.at).as_second().div_euclid(86_400));
        Some(campaign.as_ref().map_or_else(day, SendOut::Named))
    }
}

/// When the message was sent, where known; never later than what came back.
pub(super) fn sent_at(fact: &Fact) -> Option<Timestamp> {
    match &fact.what {
        FactKind::Response(response) => response.sent_at.map(|sent| sent.min(fact.at)),
        FactKind::Sent { .. } => Some(fact.at),
        _ => None,
    }
}
