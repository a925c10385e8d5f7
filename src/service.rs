//! Chooses for each message, once: idle, screening or inspecting; and answers for it at its end.
//!
//! Called by `milter::server` through [`Choose`] and [`Judge`], and by the admin socket for what an operator
//! asks. Trouble never travels further than here: outgoing mail then goes as `[outbound] on_error` says, a
//! report is asked to come again, everything else passes.

mod coming_back;
mod outgoing;

use crate::authority::{Signatures, Tokens};
use crate::classify::Rules;
use crate::inbound::{self, Arrival, Ground, Ingested, Watch};
use crate::mail::{Address, ReversePath};
use crate::milter::server::Judge;
use crate::milter::{Choose, Conclusion, ForwardPath, Interest, SmtpReply, Transaction, Verdict, Wanted};
use crate::ops::event::{LogEvent, measure, say};
use crate::outbound::asking::Asking;
use crate::outbound::{self, Domains, Mode, OtherMail, SendsOnRecord, SkipAction, screen};
use crate::policy::{EventId, Limit, Policy, What};
use crate::report::Dialects;
use crate::store::{NewEvent, Store, StoreError};
use jiff::Timestamp;
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// Longest wait, with a message in hand, for the ledger to be read as far back as a contact's own limit looks.
const LONGEST_READING: Duration = Duration::from_secs(5);

/// Events looked at in one step for the last answer.
const LOOKED_AT: usize = 2000;

/// What is in force for one message: made whole by the configuration, replaced whole by a reload.
pub struct InForce {
    /// Enforce or shadow.
    pub mode: Mode,
    /// `[outbound]`.
    pub outbound: outbound::Settings,
    /// `[limits]`.
    pub limits: Vec<Limit>,
    /// Asks the DNS about recipients' domains, where `[outbound] check_domains` wants that.
    pub domains: Option<Arc<Domains>>,
    /// `[return_path]`.
    pub inbound: inbound::Settings,
    /// Checks the signatures of complaints; none where nobody is to be asked.
    pub signatures: Option<Arc<Signatures>>,
    /// `[policy]` and `[authority] accept_unverified`.
    pub policy: Policy,
    /// The rest of `[authority]`: signs what goes out, proves what comes back.
    pub tokens: Arc<Tokens>,
    /// How bounces that follow no standard are read.
    pub dialects: Arc<Dialects>,
    /// The rule set.
    pub rules: Arc<Rules>,
}

/// The service behind the milter and the admin socket.
pub struct Service {
    store: Store,
    in_force: RwLock<Arc<InForce>>,
    sends: Arc<SendsOnRecord>,
    asking: Arc<Asking>,
    watch: Arc<Watch>,
}

/// One message in hand: the configuration that was in force when it began serves it to its end.
pub struct Begun {
    store: Store,
    in_force: Arc<InForce>,
    sends: Arc<SendsOnRecord>,
    asking: Arc<Asking>,
    watch: Arc<Watch>,
}

impl Service {
    /// A service over an open store. What the message limits count is read from the ledger in the background.
    pub fn new(store: Store, in_force: InForce) -> Service {
        let sends = SendsOnRecord::new();
        store.set_policy(&in_force.policy);
        sends.cover(&in_force.limits, &store, Timestamp::now());
        Service {
            store,
            in_force: RwLock::new(Arc::new(in_force)),
            sends,
            asking: Arc::default(),
            watch: Arc::default(),
        }
    }

    /// What is in force now.
    pub fn in_force(&self) -> Arc<InForce> {
        self.in_force.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Puts a new configuration in force; messages already begun keep the old one.
    pub fn replace(&self, in_force: InForce) {
        self.store.set_policy(&in_force.policy);
        self.sends.cover(&in_force.limits, &self.store, Timestamp::now());
        *self.in_force.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(in_force);
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What the message limits count.
    pub fn sends(&self) -> &outbound::Sends {
        self.sends.sends()
    }

    /// Counts sends as far back as a contact's own limit looks; to be called when one is set.
    pub fn cover(&self, limit: Limit) {
        self.sends.cover(&[limit], &self.store, Timestamp::now());
    }

    /// Lets go of the sends that no message limit looks back to any more.
    pub fn expire(&self, now: Timestamp) {
        self.sends.expire(now);
    }

    /// Watches what comes back as a whole.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Tells the watch of what went out and came back before the start. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when that cannot be read; silence is no alert then.
    pub fn look_back(&self, now: Timestamp) -> Result<(), StoreError> {
        let since = now.checked_sub(inbound::watch::SILENCE).unwrap_or(Timestamp::UNIX_EPOCH);
        self.store.sends_since(since, &mut |_, at| self.watch.sent(1, at))?;
        let mut after = Some(EventId::new(since, 0, 0));
        'looking: loop {
            let events = self.store.events_after(after, LOOKED_AT)?;
            let Some(last) = events.last() else { break };
            after = Some(last.id);
            for event in events.iter().filter(|event| matches!(event.what, What::Response { .. })) {
                self.watch.came_back(event.at);
                // An answer of the last days is enough; one of a week ago would soon be too old.
                if now.duration_since(event.at).as_hours() < 24 * 3 {
                    break 'looking;
                }
            }
        }
        self.watch.is_seeded();
        Ok(())
    }

    /// Takes a message as if it had arrived on the return path.
    ///
    /// # Errors
    /// [`StoreError`] when nothing could be recorded.
    pub async fn ingest(&self, arrival: Arrival<'_>) -> Result<Ingested, StoreError> {
        let in_force = self.in_force();
        inbound::ingest(arrival, in_force.ground(&self.watch), &self.store).await
    }
}

impl InForce {
    /// What reports are read and judged by.
    pub fn ground<'a>(&'a self, watch: &'a Watch) -> Ground<'a> {
        Ground {
            limits: &self.inbound.limits,
            campaign_headers: &self.outbound.campaign_headers,
            dialects: &self.dialects,
            rules: &self.rules,
            policy: &self.policy,
            tokens: &self.tokens,
            ledger: self.outbound.ledger,
            signatures: self.signatures.as_deref(),
            watch,
        }
    }

    fn is_return_path(&self, recipient: &ForwardPath) -> bool {
        let covers =
            |address: Result<Address, _>| address.is_ok_and(|address| self.inbound.return_path.covers(&address));
        covers(Address::parse_bytes(&recipient.argument))
            || recipient.address.as_deref().is_some_and(|resolved| covers(Address::parse(resolved)))
    }

    fn is_screened(&self, transaction: &Transaction) -> bool {
        screen::is_outgoing(transaction, &self.outbound)
            && (self.outbound.other_mail == OtherMail::Screen || screen::is_campaign(transaction, &self.outbound))
    }
}

/// Whether this is how bounce(8) hands in a notification: not by SMTP, null reverse path.
fn is_own_notification(transaction: &Transaction) -> bool {
    transaction.is_non_smtp() && is_null(&transaction.reverse_path)
}

fn is_null(reverse_path: &[u8]) -> bool {
    matches!(ReversePath::parse(reverse_path), Ok(ReversePath::Null))
}

impl Choose for Begun {
    /// A notification of our own Postfix is inspected, whatever address it goes to. Campaign mail on its way
    /// out is screened, even with a return path address among its recipients. Mail to the return path is
    /// inspected; the rest is idle.
    fn interest(&self, transaction: &Transaction) -> Interest {
        if is_own_notification(transaction) {
            return Interest::Inspecting;
        }
        let to_return_path = transaction.recipients.iter().filter(|recipient| self.in_force.is_return_path(recipient));
        match to_return_path.count() {
            count if count == transaction.recipients.len() && count > 0 => Interest::Inspecting,
            count if count > 0 && is_null(&transaction.reverse_path) => Interest::Inspecting,
            _ if self.in_force.is_screened(transaction) => Interest::Screening,
            0 => Interest::Idle,
            _ => Interest::Inspecting,
        }
    }

    /// Refuses a recipient that is suppressed system-wide, where no header is needed to know that the mail is
    /// screened. Never on the non-SMTP path: there a refusal at RCPT blocks the maildrop (POSTFIX-FACTS 9).
    fn refuse(&self, transaction: &Transaction, recipient: &ForwardPath) -> Option<SmtpReply> {
        let settings = &self.in_force.outbound;
        let known =
            settings.other_mail == OtherMail::Screen || screen::is_campaign_sender(&transaction.reverse_path, settings);
        if settings.action != SkipAction::Reject
            || self.in_force.mode == Mode::Shadow
            || transaction.is_non_smtp()
            || !known
            || !screen::is_outgoing(transaction, settings)
        {
            return None;
        }
        let now = Timestamp::now();
        // A store that cannot be read is met again at the end of the message, where `on_error` answers for it.
        let skip = screen::system_wide(recipient, settings, &self.store, now).ok()??;
        let queue_id = transaction.queue_id();
        let text = self.refusal(&skip, now);
        measure::screened(1);
        self.say_skip(&skip, transaction, &recipient.argument, None, false);
        let (address, what) = skip.event(recipient, None, None, false);
        let event = NewEvent { at: now, address, queue_id: Some(queue_id.to_owned()), what, content_key: None };
        self.write_soon(queue_id, vec![event]);
        Some(SmtpReply { code: 550, enhanced: (5, 7, 1), text: text.into() })
    }
}

impl Judge for Service {
    type Chooser = Begun;

    fn wanted(&self) -> Wanted {
        let in_force = self.in_force();
        Wanted {
            answer_recipients: in_force.outbound.action == SkipAction::Reject && in_force.mode == Mode::Enforce,
            change_sender: in_force.mode == Mode::Enforce && in_force.tokens.signs(),
            change_headers: in_force.mode == Mode::Enforce,
            add_recipients: in_force.mode == Mode::Enforce && !in_force.inbound.return_path.is_empty(),
            helo: in_force.signatures.as_ref().is_some_and(|signatures| signatures.loops().ask_spf()),
        }
    }

    fn begin(&self) -> Begun {
        Begun {
            store: self.store.clone(),
            in_force: self.in_force(),
            sends: self.sends.clone(),
            asking: self.asking.clone(),
            watch: self.watch.clone(),
        }
    }

    async fn conclude(&self, begun: Begun, interest: Interest, transaction: &Transaction) -> Conclusion {
        match interest {
            Interest::Idle => begun.pass(transaction, Timestamp::now()),
            Interest::Screening => begun.screen(transaction).await,
            Interest::Inspecting => begun.inspect(transaction).await,
        }
    }

    fn overdue(&self, interest: Interest, transaction: &Transaction) -> Conclusion {
        let (queue_id, problem) = (transaction.queue_id(), "no decision within the time for one");
        match interest {
            Interest::Idle => Conclusion::pass(),
            Interest::Screening => self.begin().undecided(queue_id, problem, Vec::new()),
            Interest::Inspecting => {
                say(&LogEvent::Tempfail { queue_id, problem });
                Conclusion { edits: Vec::new(), verdict: Verdict::Tempfail }
            }
        }
    }
}
