//! What comes back: read, recorded, and ended here where the configuration says so.
//!
//! In: a transaction at its end. Out: discarded, or on its way to whom else it is for; or asked to come again.

use super::{Begun, is_own_notification};
use crate::authority::{Envelope, Origin};
use crate::inbound::{self, Arrival, Recognised};
use crate::mail::ReversePath;
use crate::milter::{Conclusion, Edit, ForwardPath, Transaction, Verdict};
use crate::ops::event::{LogEvent, say};
use crate::outbound::{Mode, edits, screen};
use crate::report::Kind;
use jiff::Timestamp;

impl Begun {
    /// Reads what came back, and ends it here where it was recognised and configuration says so.
    pub(super) async fn inspect(&self, transaction: &Transaction) -> Conclusion {
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
}
