//! A connection of which the peer closed its half for writing, as `printf ... | socat` does, is still owed its
//! answer; one of which it closed both is not. HTTP's machinery cannot tell the two apart, so it is told to go on, and
//! whoever is really gone is looked for here: a follower of the events would else be noticed with the next event only.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

/// How often a peer that says nothing is looked for.
const LOOK_TIME: Duration = Duration::from_secs(1);

/// A stream that can be watched while it is read and written.
#[derive(Clone)]
pub(super) struct Watched(Arc<UnixStream>);

impl Watched {
    pub fn over(stream: UnixStream) -> Watched {
        Watched(Arc::new(stream))
    }

    /// Waits until the peer has closed both halves.
    pub async fn gone(self) {
        loop {
            tokio::time::sleep(LOOK_TIME).await;
            // Of a Unix socket, POLLHUP is told when both halves are closed, and only then.
            let mut asked = [PollFd::new(self.0.as_fd(), PollFlags::empty())];
            let polled = poll(&mut asked, PollTimeout::ZERO).is_ok();
            if polled && asked[0].revents().is_some_and(|told| told.contains(PollFlags::POLLHUP)) {
                return;
            }
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read(buffer.initialize_unfilled()) {
                Ok(octets) => {
                    buffer.advance(octets);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(octets)])
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(self.0.as_raw_fd(), Shutdown::Write).map_err(Into::into))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match self.0.try_write_vectored(pieces) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}
