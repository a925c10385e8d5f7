//! What the daemon records of the test's contacts, as it is recorded.

use super::message::address;
use crate::ctl::client::{Body, Client, encoded};
use crate::ctl::exit::Failure;
use crate::ctl::output::read;
use crate::policy::{Event, EventId};

/// Events of the test's contacts since the test began.
pub struct Events<'a> {
    client: &'a Client,
    behind: EventId,
    seen: Vec<Event>,
}

impl<'a> Events<'a> {
    /// What is recorded behind this event.
    pub fn behind(client: &'a Client, event: EventId) -> Events<'a> {
        Events { client, behind: event, seen: Vec::new() }
    }

    /// Asks what is new, and gives the first event of the contact with this local part that fits.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub fn find(&mut self, local_part: &str, fits: impl Fn(&Event) -> bool) -> Result<Option<&Event>, Failure> {
        let target = format!("/v1/events?follow=false&since={}", encoded(&self.behind.to_string()));
        let (seen, behind) = (&mut self.seen, &mut self.behind);
        self.client.follow(&target, Body::Lines, |line| {
            let event: Event = read(line)?;
            *behind = event.id.max(*behind);
            if event.address.as_ref().is_some_and(|a| a.domain() == crate::mail::SELFTEST_DOMAIN) {
                seen.push(event);
            }
            Ok(())
        })?;
        let contact = address(local_part);
        let is_contact = |event: &&Event| event.address.as_ref().is_some_and(|a| a.as_str() == contact);
        Ok(self.seen.iter().filter(is_contact).find(|event| fits(event)))
    }
}
