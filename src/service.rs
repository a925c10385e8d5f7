//! Chooses for each message, once: idle, screening or inspecting; and answers for it at its end.
//!
//! Called by `milter::server` through [`Choose`] and [`Judge`], and by the admin socket for what an operator
//! asks. Trouble never travels further than here: outgoing mail then goes as `[outbound] on_error` says, a
//! report is asked to come again, everything else passes.

use crate::authority::{Envelope, Origin, Signatures, Tokens, queue_name};
use crate::classify::Rules;
use crate::inbound::{self, Arrival, Ground, Ingested, Recognised, Watch};
use crate::mail::{Address, ReversePath};
use crate::milter::server::Judge;
use crate::milter::{Choose, Conclusion, Edit, ForwardPath, Interest, SmtpReply, Transaction, Verdict, Wanted};
use crate::ops::event::{LogEvent, measure, say};
use crate::outbound::asking::Asking;
use crate::outbound::sign::Signed;
use crate::outbound::{
    self, Domains, Mode, OnError, OtherMail, Screening, SendsOnRecord, Skip, SkipAction, edits, screen,
};
use crate::policy::{EventId, Limit, Policy, SkipReason, What, fold};
use crate::report::{Campaign, Dialects, Kind};
use crate::store::{NewEvent, Send, Store, StoreError};
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

/// Counts who was judged, and whose mail goes out; those that come again are counted again.
fn measure_recipients(screening: &Screening, shadow: bool, verdict: &Verdict) {
    measure::screened((screening.skips.len() + screening.stays.len()) as u64);
    if *verdict != Verdict::Tempfail {
        let skipped = screening.skips.iter().filter(|_| shadow).filter_map(|skip| skip.address.as_ref());
        let stay = screening.stays.iter().map(|stays| &stays.address);
        stay.chain(skipped).for_each(|address| measure::sent(address.domain()));
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

impl Begun {
    /// Takes our own words off outgoing mail that is not screened (SPEC 7.2); the rest is left as it is. The ledger
    /// is told of it, so that a notification of our own Postfix about it can be told from one that looks like it.
    fn pass(&self, transaction: &Transaction, now: Timestamp) -> Conclusion {
        if !screen::is_outgoing(transaction, &self.in_force.outbound) {
            return Conclusion::pass();
        }
        self.remember_other(transaction, now);
        let removals = edits::header_removals(transaction);
        let is_changed = !removals.is_empty() && self.in_force.mode == Mode::Enforce;
        if is_changed { Conclusion { edits: removals, verdict: Verdict::Continue } } else { Conclusion::pass() }
    }

    /// Takes recipients that must not be mailed off an outgoing campaign message.
    async fn screen(&self, transaction: &Transaction) -> Conclusion {
        let now = Timestamp::now();
        let InForce { outbound: settings, limits, domains, mode, .. } = &*self.in_force;
        let queue_id = transaction.queue_id();
        let shadow = *mode == Mode::Shadow;
        let mut screening = match outbound::screen(transaction, settings, &self.store, now) {
            Ok(screening) => screening,
            Err(problem) => {
                let edits = if shadow { Vec::new() } else { edits::header_removals(transaction) };
                return self.undecided(queue_id, &problem.to_string(), edits);
            }
        };
        if let Some(domains) = domains {
            screening.check_domains(domains).await;
        }
        let own: Vec<_> = screening.stays.iter().filter_map(|stays| stays.limit).collect();
        if !own.is_empty() {
            self.sends.cover(&own, &self.store, now);
            self.sends.covered(LONGEST_READING).await;
        }
        screening.count(&self.store, limits, self.sends.sends(), shadow, now);
        let InForce { tokens, inbound: inbound::Settings { return_path, .. }, .. } = &*self.in_force;
        let signed = match *mode {
            Mode::Enforce => outbound::sign(transaction, &screening, tokens, settings, return_path, now),
            Mode::Shadow => None,
        };
        let conclusion = self.conclude(transaction, &screening, signed.as_ref(), now);
        if conclusion.verdict == Verdict::Tempfail {
            screening.take_back(self.sends.sends(), now);
        }
        for skip in &screening.skips {
            let argument = &transaction.recipients[skip.recipient].argument;
            self.say_skip(skip, transaction, argument, screening.campaign.as_ref(), shadow);
        }
        measure_recipients(&screening, shadow, &conclusion.verdict);
        self.write_soon(queue_id, screening.events(transaction, shadow, now));
        if settings.ledger {
            screening.message_id.get_or_insert_with(|| queue_name(queue_id));
        }
        if let Some(send) = screening.into_send(shadow, now) {
            self.watch.sent(send.recipients.len() as u64, now);
            let by_token = signed.map(|signed| Send { message_id: signed.ledger_name, ..send.clone() });
            let remembered = self.store.remember_send(send);
            let also = by_token.map_or(Ok(()), |send| self.store.remember_uncounted(send));
            self.say_unrecorded(queue_id, remembered.and(also));
        }
        conclusion
    }

    /// Remembers outgoing mail that is not screened.
    fn remember_other(&self, transaction: &Transaction, now: Timestamp) {
        let recipients: Vec<Address> = transaction
            .recipients
            .iter()
            .filter_map(|recipient| Address::parse_bytes(&recipient.argument).ok())
            .collect();
        if !self.in_force.outbound.ledger || recipients.is_empty() {
            return;
        }
        let queue_id = transaction.queue_id();
        let message_id = transaction.headers.message_id().unwrap_or_else(|| queue_name(queue_id));
        let send = Send { message_id, at: now, campaign: None, list: None, recipients };
        self.say_unrecorded(queue_id, self.store.remember_uncounted(send));
    }

    fn say_unrecorded(&self, queue_id: &str, remembered: Result<(), StoreError>) {
        if let Err(problem) = remembered {
            say(&LogEvent::Unrecorded { queue_id, problem: &problem.to_string() });
        }
    }

    fn conclude(
        &self,
        transaction: &Transaction,
        screening: &Screening,
        signed: Option<&Signed>,
        now: Timestamp,
    ) -> Conclusion {
        if self.in_force.mode == Mode::Shadow {
            return Conclusion::pass();
        }
        let queue_id = transaction.queue_id();
        let deletions = edits::deletions(transaction, screening);
        if let Some(limit) = transaction.over_limit {
            // What lies beyond the limit was not seen; what was seen and is suppressed still comes off, and so do our words.
            let edits = deletions.into_iter().chain(edits::header_removals(transaction)).collect();
            return self.undecided(queue_id, limit, edits);
        }
        if deletions.len() == transaction.recipients.len() && !deletions.is_empty() {
            say(&LogEvent::Discard { queue_id, recipients: deletions.len() });
            return Conclusion { edits: Vec::new(), verdict: Verdict::Discard };
        }
        let mut edits = deletions;
        if signed.is_some() || self.is_told_of_success(transaction) {
            let ask = |address: &Address| self.asking.ask(address.domain(), now);
            edits.extend(edits::readditions(transaction, screening, ask));
        }
        edits.extend(edits::header_removals(transaction));
        edits.extend(signed.into_iter().flat_map(|signed| signed.edits.iter().cloned()));
        Conclusion { edits, verdict: Verdict::Continue }
    }

    /// Whether notifications of this message come to us: else a person would be told of every delivery. With XVERP,
    /// Postfix makes other reverse paths of the one that we see.
    fn is_told_of_success(&self, transaction: &Transaction) -> bool {
        let is_xverp = |parameter: &Vec<u8>| parameter.to_ascii_uppercase().starts_with(b"XVERP");
        match ReversePath::parse(&transaction.reverse_path) {
            Ok(ReversePath::Mailbox(sender)) => {
                self.in_force.inbound.return_path.covers(&sender) && !transaction.parameters.iter().any(is_xverp)
            }
            Ok(ReversePath::Null) | Err(_) => false,
        }
    }

    fn say_skip(
        &self,
        skip: &Skip,
        transaction: &Transaction,
        forward_path: &[u8],
        campaign: Option<&Campaign>,
        shadow: bool,
    ) {
        let (queue_id, limit) = (transaction.queue_id(), skip.limit.as_ref());
        say(&LogEvent::Skip { queue_id, forward_path, reason: skip.reason, limit, campaign, shadow });
    }

    /// The words with which a recipient is refused at RCPT.
    fn refusal(&self, skip: &Skip, now: Timestamp) -> String {
        if skip.reason != SkipReason::Suppressed {
            return format!("recipient is not mailed: {}", skip.reason.as_str());
        }
        let contact = skip.address.as_ref().and_then(|address| self.store.contact(address).ok()?);
        let state = contact.map(|contact| fold(&contact, &self.in_force.policy, now));
        match state.as_ref().and_then(|state| state.suppressed_for(None)) {
            Some(found) => format!("recipient is suppressed: {} [{}]", found.reason, found.event),
            None => "recipient is suppressed".to_owned(),
        }
    }

    /// Reads what came back, and ends it here where it was recognised and configuration says so.
    async fn inspect(&self, transaction: &Transaction) -> Conclusion {
        let queue_id = transaction.queue_id();
        // bounce(8) writes its notifications here. What was received from elsewhere, and handed on by sendmail(1) with
        // the null reverse path, says so.
        let own = is_own_notification(transaction) && transaction.headers.get_raw("Received").is_none();
        let reverse_path = ReversePath::parse(&transaction.reverse_path).ok();
        let origin = match self.envelope(transaction, reverse_path.as_ref()) {
            _ if own => Origin::NonSmtp(transaction.macros.get("j")),
            Some(envelope) => Origin::Smtp(envelope),
            None => Origin::Elsewhere,
        };
        let raw = transaction.to_message();
        let came_to: Vec<&str> = transaction
            .recipients
            .iter()
            .filter(|recipient| self.in_force.is_return_path(recipient))
            .filter_map(|recipient| std::str::from_utf8(&recipient.argument).ok())
            .collect();
        let arrival = Arrival { raw: &raw, at: Timestamp::now(), queue_id, origin, came_to: &came_to };
        let ingested = match inbound::ingest(arrival, self.in_force.ground(&self.watch), &self.store).await {
            Ok(ingested) => ingested,
            Err(problem) => {
                say(&LogEvent::Tempfail { queue_id, problem: &problem.to_string() });
                return Conclusion { edits: Vec::new(), verdict: Verdict::Tempfail };
            }
        };
        if let Some(problem) = &ingested.postponed {
            say(&LogEvent::Tempfail { queue_id, problem });
            return Conclusion { edits: Vec::new(), verdict: Verdict::Tempfail };
        }
        for address in &ingested.delivered {
            self.asking.answered(address.domain());
        }
        if ingested.kind == Kind::Other {
            if ingested.recorded.is_empty() && ingested.known.is_empty() {
                say(&LogEvent::NotAReport { queue_id });
            }
            return Conclusion::pass();
        }
        // A person asks to be left alone and nobody vouches for it, so it changed nothing: somebody has to read it.
        let is_unheard = ingested.kind == Kind::OptOut && !ingested.counts;
        if is_unheard || self.in_force.inbound.recognised == Recognised::Deliver || self.in_force.mode == Mode::Shadow {
            return Conclusion::pass();
        }
        let is_return_path = |recipient: &&ForwardPath| self.in_force.is_return_path(recipient);
        let ours: Vec<_> = transaction.recipients.iter().filter(is_return_path).collect();
        if ours.len() == transaction.recipients.len() && transaction.over_limit.is_none() {
            return Conclusion { edits: Vec::new(), verdict: Verdict::Discard };
        }
        let delete = |recipient: &ForwardPath| Edit::DeleteRecipient(edits::deletable(&recipient.argument));
        Conclusion { edits: ours.into_iter().map(delete).collect(), verdict: Verdict::Continue }
    }

    /// Who handed a message in from outside, and as whom. What a host of our own hands on came from elsewhere.
    fn envelope<'a>(
        &self,
        transaction: &'a Transaction,
        reverse_path: Option<&'a ReversePath>,
    ) -> Option<Envelope<'a>> {
        if screen::is_outgoing(transaction, &self.in_force.outbound) {
            return None;
        }
        let reverse_path = match reverse_path? {
            ReversePath::Null => None,
            ReversePath::Mailbox(address) => Some(address),
        };
        Some(Envelope { client: transaction.peer.address?, helo: &transaction.peer.helo, reverse_path })
    }

    fn undecided(&self, queue_id: &str, problem: &str, edits: Vec<Edit>) -> Conclusion {
        say(&LogEvent::Undecided { queue_id, problem });
        match self.in_force.outbound.on_error {
            OnError::Accept => Conclusion { edits, verdict: Verdict::Continue },
            OnError::Tempfail => Conclusion { edits: Vec::new(), verdict: Verdict::Tempfail },
        }
    }

    fn write_soon(&self, queue_id: &str, events: Vec<NewEvent>) {
        if !events.is_empty() {
            self.say_unrecorded(queue_id, self.store.record_soon(events));
        }
    }
}
