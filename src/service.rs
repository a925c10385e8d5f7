//! Chooses for each message, once: idle, screening or inspecting; and answers for it at its end.

use crate::classify::Rules;
use crate::policy::Policy;
use crate::store::Store;
use crate::{inbound, outbound};
use std::sync::{Arc, RwLock};

/// What is in force for one message: made whole by the configuration, replaced whole by a reload.
#[derive(Debug)]
pub struct InForce {
    /// Enforce or shadow.
    pub mode: outbound::Mode,
    /// `[outbound]`.
    pub outbound: outbound::Settings,
    /// `[return_path]`.
    pub inbound: inbound::Settings,
    /// `[policy]` and `[authority]`.
    pub policy: Policy,
    /// The rule set.
    pub rules: Arc<Rules>,
}

/// The service behind the milter and the admin socket.
pub struct Service {
    store: Store,
    in_force: RwLock<Arc<InForce>>,
}

impl Service {
    /// A service over an open store.
    pub fn new(store: Store, in_force: InForce) -> Service {
        Service { store, in_force: RwLock::new(Arc::new(in_force)) }
    }

    /// What is in force now.
    pub fn in_force(&self) -> Arc<InForce> {
        self.in_force.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Puts a new configuration in force; messages already begun keep the old one.
    pub fn replace(&self, in_force: InForce) {
        *self.in_force.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(in_force);
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }
}
