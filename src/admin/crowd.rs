//! What happens where more connect than are served at once: connections on which nothing is asked give way, so that
//! whoever holds many open and says nothing, or says it octet by octet, keeps nobody waiting for long.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;

/// How long a connection may stay without a request while others wait; so long, too, the last octets of an answer
/// have to be taken.
const PATIENCE: Duration = Duration::from_secs(1);

/// The requests of one connection that are not answered yet, to the last octet.
#[derive(Clone, Default)]
pub(super) struct InHand(Arc<Requests>);

#[derive(Default)]
struct Requests {
    begun: AtomicUsize,
    answered: AtomicUsize,
}

impl InHand {
    /// One more, until what it gives is dropped.
    pub fn one(&self) -> Asked {
        self.0.begun.fetch_add(1, Relaxed);
        Asked(self.0.clone())
    }

    /// Whether anything was asked yet.
    pub fn none_yet(&self) -> bool {
        self.0.begun.load(Relaxed) == 0
    }

    /// Waits until the connection is to give way to others.
    pub async fn give_way(&self, mut crowded: watch::Receiver<bool>) {
        loop {
            if crowded.wait_for(|crowded| *crowded).await.is_err() {
                return std::future::pending().await;
            }
            let answered = self.0.answered.load(Relaxed);
            tokio::time::sleep(PATIENCE).await;
            // None was begun or ended meanwhile, and none is in hand.
            if self.0.begun.load(Relaxed) == answered && *crowded.borrow() {
                return;
            }
        }
    }
}

/// A request that is not answered yet.
pub(super) struct Asked(Arc<Requests>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.answered.fetch_add(1, Relaxed);
    }
}

/// The body of an answer; with its end the request is answered.
pub(super) struct Answering<B> {
    pub body: B,
    pub _asked: Asked,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answering<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
