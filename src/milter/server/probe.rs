//! Looks whether the server still serves: opens a milter connection to each acceptor, past its listener, and has a
//! message begun on it, as Postfix would.

use super::handover::HandedOver;
use crate::milter::negotiation::POSTFIX_OFFERS;
use crate::milter::packet::PREFIX;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

/// What an acceptor is given besides what it accepts.
#[derive(Debug)]
pub(super) enum Given {
    /// A connection that only looks.
    Probe(DuplexStream),
    /// A connection that another process began.
    Resumed(HandedOver),
}

/// Looks whether a server still serves.
#[derive(Clone, Debug)]
pub struct Prober {
    acceptors: Vec<mpsc::Sender<Given>>,
}

/// A negotiation, MAIL, and the good-byes.
const SAYS: [&[u8]; 4] = [POSTFIX_OFFERS, b"M<>\0", b"A", b"Q"];

impl Prober {
    pub(super) fn new(acceptors: Vec<mpsc::Sender<Given>>) -> Prober {
        Prober { acceptors }
    }

    /// Returns when every acceptor has served a connection: whether each answered. Waits for as long as one does
    /// not; the caller gives up when it likes.
    pub async fn serves(&self) -> bool {
        for acceptor in &self.acceptors {
            if !answers(acceptor).await {
                return false;
            }
        }
        true
    }
}

async fn answers(acceptor: &mpsc::Sender<Given>) -> bool {
    let (mut ours, theirs) = tokio::io::duplex(4096);
    let said = SAYS.iter().flat_map(|packet| [&(packet.len() as u32).to_be_bytes()[..], packet].concat());
    let said: Vec<u8> = said.collect();
    if acceptor.send(Given::Probe(theirs)).await.is_err() || ours.write_all(&said).await.is_err() {
        return false;
    }
    let mut answer = Vec::new();
    ours.read_to_end(&mut answer).await.is_ok() && answer.get(PREFIX) == Some(&b'O')
}
