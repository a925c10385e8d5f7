//! One connection: reads packets, steps the session, writes what it answers.
//!
//! One read may bring many packets: all of them are taken, then one write answers them. The buffers live as
//! long as the connection.

use super::handover::Opening;
use super::{Judge, Settings, Stop};
use crate::milter::command::{Command, CommandError};
use crate::milter::packet::{Cutter, PacketError};
use crate::milter::session::SessionError;
use crate::milter::{Choose, Conclusion, ForwardPath, Interest, Reply, Session, SmtpReply, Step, Transaction, Verdict};
use crate::ops::event::measure::{self, Ending, Stage};
use crate::ops::event::{LogEvent, say};
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

/// How often a decision that takes long is said to be under way; each word of it restarts Postfix's
/// `milter_content_timeout` (300 s unless set lower).
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// How long a connection between messages may be silent while the server stops. An SMTP session that is busy
/// says MAIL sooner; one that idles would be waited for in vain.
const QUIET_WHILE_STOPPING: Duration = Duration::from_millis(500);

/// How long a connection may take over its first packet, and over the rest of one that it began. Postfix negotiates as soon
/// as it has connected, and writes a packet in one go: whoever is slower is stuck, and holds a place that others want.
const PROMPTLY: Duration = Duration::from_secs(15);

/// Answers kept for reuse; a longer one, with thousands of deletions, is given back.
const KEPT_OUT: usize = 64 << 10;

/// A connection about to be served.
pub struct Connection<J> {
    settings: Arc<Settings>,
    judge: Arc<J>,
    stop: watch::Receiver<Stop>,
}

/// How a connection ended in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is over.
    Closed,
    /// It goes on, in another process.
    HandOver,
}

/// Why a connection ended without a good-bye.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Packet(#[from] PacketError),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("the MTA closed the connection inside a packet")]
    CutShort,
    #[error("nothing was heard from the MTA for {0:?}")]
    Idle(Duration),
    #[error("the MTA took no answer for {0:?}")]
    Stuck(Duration),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Chooses for what comes outside of a message.
struct Nobody;

/// One connection being served.
struct Conversation<'a, J: Judge, S> {
    stream: S,
    judge: &'a J,
    settings: &'a Settings,
    session: Session,
    opening: Opening,
    chooser: Option<J::Chooser>,
    /// When the message in hand began.
    begun: Option<Instant>,
    out: Vec<u8>,
    heard: Instant,
    /// One timer for the whole connection: it is looked at when it fires, not set anew for every read.
    silence: Pin<Box<Sleep>>,
    stop: &'a mut watch::Receiver<Stop>,
    /// Since when the server stops.
    stopping: Option<Instant>,
    /// The first packet, or the rest of one, is due.
    due: bool,
}

impl<J: Judge> Connection<J> {
    /// A connection about to be served.
    pub fn new(settings: Arc<Settings>, judge: Arc<J>, stop: watch::Receiver<Stop>) -> Connection<J> {
        Connection { settings, judge, stop }
    }

    /// Serves it to its end, or until it is to be handed over: then gives it back with how it began. One that another
    /// process began has its opening.
    pub async fn serve<S>(mut self, stream: S, opening: Option<Opening>) -> Option<(S, Opening)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let opening = opening.unwrap_or_else(|| Opening::new(self.judge.wanted()));
        let heard = Instant::now();
        let mut conversation = Conversation {
            stream,
            judge: &*self.judge,
            settings: &self.settings,
            session: Session::new(opening.wanted(), self.settings.limits.clone()),
            opening,
            chooser: None,
            begun: None,
            out: Vec::with_capacity(1024),
            heard,
            silence: Box::pin(sleep_until(heard + self.settings.idle_timeout.min(PROMPTLY))),
            stop: &mut self.stop,
            stopping: None,
            due: true,
        };
        let ended = match conversation.repeat_opening() {
            Ok(()) => conversation.run().await,
            Err(problem) => Err(problem),
        };
        match ended {
            Ok(End::Closed) => None,
            Ok(End::HandOver) => Some((conversation.stream, conversation.opening)),
            Err(problem) => {
                let queue_id = conversation.session.transaction().queue_id();
                match problem {
                    Broken::Idle(_) | Broken::Packet(PacketError::TooLong { .. }) => {
                        say(&LogEvent::OverLimit { queue_id, limit: &problem.to_string() });
                    }
                    _ => say(&LogEvent::ProtocolError { queue_id, problem: &problem.to_string() }),
                }
                None
            }
        }
    }
}

impl<J: Judge, S: AsyncRead + AsyncWrite + Unpin> Conversation<'_, J, S> {
    /// Brings the session to where another process left it. What it answers was sent by that one.
    fn repeat_opening(&mut self) -> Result<(), Broken> {
        let opening = self.opening.clone();
        for packet in opening.packets() {
            self.step(Command::read(packet)?)?;
        }
        self.out.clear();
        Ok(())
    }

    async fn run(&mut self) -> Result<End, Broken> {
        let mut cutter = Cutter::new(self.settings.limits.packet_bytes);
        // One that another process handed over has spoken to that.
        let mut first = self.opening.packets().next().is_none();
        loop {
            while let Some(packet) = cutter.next_packet()? {
                first = false;
                let command = Command::read(packet)?;
                self.opening.note(packet, self.session.is_between_messages());
                match self.step(command)? {
                    Step::Continue => {}
                    Step::Conclude(interest) => self.conclude(interest).await?,
                    Step::Quit => return self.flush().await.map(|()| End::Closed),
                }
            }
            self.flush().await?;
            self.due = first || cutter.is_inside_packet();
            let may_go = !cutter.is_inside_packet();
            match self.hear(cutter.space(), may_go).await? {
                None => return Ok(End::HandOver),
                Some(0) if cutter.is_inside_packet() => return Err(Broken::CutShort),
                // Postfix says good-bye, but a process of its may also be killed: then there is nobody to answer.
                Some(0) => return Ok(End::Closed),
                Some(count) => cutter.filled(count),
            }
        }
    }

    /// Reads as soon as there is something to read. Returns 0 when the connection is over: closed by the MTA, or by
    /// us while the server stops; nothing when it is to be handed over, which takes that nothing of a packet is here
    /// (`may_go`).
    async fn hear(&mut self, space: &mut [u8], may_go: bool) -> Result<Option<usize>, Broken> {
        if self.stopping.is_some() || self.due {
            self.watch_silence();
        }
        loop {
            if self.stopping.is_some() && may_go && self.is_to_be_handed_over() {
                return Ok(None);
            }
            tokio::select! {
                biased;
                // An error means that the server was dropped.
                _ = self.stop.changed(), if self.stopping.is_none() => {
                    self.heard = Instant::now();
                    self.stopping = Some(self.heard);
                    self.watch_silence();
                }
                read = self.stream.read(space) => {
                    self.heard = Instant::now();
                    return Ok(Some(read?));
                }
                () = self.silence.as_mut() => {
                    if Instant::now() < self.patience_ends() {
                        self.watch_silence();
                    } else if self.stopping.is_some() {
                        return Ok(Some(0));
                    } else {
                        return Err(Broken::Idle(self.idle_patience()));
                    }
                }
            }
        }
    }

    fn watch_silence(&mut self) {
        let until = self.patience_ends();
        self.silence.as_mut().reset(until);
    }

    fn patience_ends(&self) -> Instant {
        let idle = self.heard + self.idle_patience();
        let Some(since) = self.stopping else { return idle };
        let drained = since + self.settings.drain_timeout;
        let quiet = if self.session.is_between_messages() { self.heard + QUIET_WHILE_STOPPING } else { drained };
        quiet.min(drained).min(idle)
    }

    fn idle_patience(&self) -> Duration {
        let idle_timeout = self.settings.idle_timeout;
        if self.due { PROMPTLY.min(idle_timeout) } else { idle_timeout }
    }

    fn is_to_be_handed_over(&self) -> bool {
        *self.stop.borrow() == Stop::HandOver && self.session.is_between_messages() && self.opening.is_whole()
    }

    fn step(&mut self, command: Command<'_>) -> Result<Step, SessionError> {
        let stage = match command {
            Command::Mail(..) => Some(Stage::Mail),
            Command::Rcpt(..) => Some(Stage::Rcpt),
            _ => None,
        };
        let since = stage.map(|_| Instant::now());
        if stage == Some(Stage::Mail) {
            self.begun = since;
            self.chooser = Some(self.judge.begin());
        }
        let chooser: &dyn Choose = self.chooser.as_ref().map_or(&Nobody, |chooser| chooser);
        let step = self.session.step(command, chooser, &mut self.out);
        if let (Some(stage), Some(since)) = (stage, since) {
            measure::stage(stage, since.elapsed());
        }
        step
    }

    async fn conclude(&mut self, interest: Interest) -> Result<(), Broken> {
        let since = Instant::now();
        let conclusion = self.decide(interest).await?;
        let whole = self.begun.take().map(|begun| begun.elapsed());
        measure::message(stage_of(interest), ending_of(&conclusion), since.elapsed(), whole);
        let is_changed = !conclusion.edits.is_empty();
        let queue_id = is_changed.then(|| self.session.transaction().queue_id().to_owned());
        let left_out = self.session.conclude(&conclusion, &mut self.out);
        if left_out > 0 {
            let problem = format!("{left_out} changes left out: the MTA did not agree to such at the negotiation");
            say(&LogEvent::ProtocolError { queue_id: queue_id.as_deref().unwrap_or("-"), problem: &problem });
        }
        Ok(())
    }

    async fn decide(&mut self, interest: Interest) -> Result<Conclusion, Broken> {
        let chooser = self.chooser.take().unwrap_or_else(|| self.judge.begin());
        let transaction = self.session.transaction();
        let decision = async { self.judge.conclude(chooser, interest, transaction).await };
        let mut decision = pin!(contain_panic(decision));
        let mut overdue = pin!(sleep(self.settings.decision_timeout));
        let mut drained = pin!(drained(self.stop.clone(), self.stopping, self.settings.drain_timeout));
        loop {
            tokio::select! {
                biased;
                conclusion = decision.as_mut() => {
                    return Ok(conclusion.unwrap_or_else(|| self.judge.overdue(interest, transaction)));
                }
                () = overdue.as_mut() => return Ok(self.judge.overdue(interest, transaction)),
                () = drained.as_mut() => return Ok(self.judge.overdue(interest, transaction)),
                () = sleep(PROGRESS_EVERY) => {
                    Reply::Progress.write(&mut self.out);
                    send(&mut self.stream, &mut self.out, self.settings.idle_timeout).await?;
                }
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        if self.out.is_empty() {
            return Ok(());
        }
        send(&mut self.stream, &mut self.out, self.settings.idle_timeout).await
    }
}

/// Waits until the server has been stopping for the drain time.
async fn drained(mut stop: watch::Receiver<Stop>, stopping: Option<Instant>, drain_timeout: Duration) {
    if stopping.is_none() && stop.wait_for(|stop| *stop != Stop::No).await.is_err() {
        return std::future::pending().await;
    }
    sleep_until(stopping.unwrap_or_else(Instant::now) + drain_timeout).await;
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, out: &mut Vec<u8>, patience: Duration) -> Result<(), Broken> {
    timeout(patience, stream.write_all(out)).await.map_err(|_| Broken::Stuck(patience))??;
    out.clear();
    out.shrink_to(KEPT_OUT);
    Ok(())
}

fn stage_of(interest: Interest) -> Stage {
    match interest {
        Interest::Idle => Stage::EomPass,
        Interest::Screening => Stage::EomScreen,
        Interest::Inspecting => Stage::EomInspect,
    }
}

fn ending_of(conclusion: &Conclusion) -> Ending {
    match conclusion.verdict {
        Verdict::Continue if conclusion.edits.is_empty() => Ending::Untouched,
        Verdict::Continue => Ending::Changed,
        Verdict::Discard => Ending::Discard,
        Verdict::Tempfail => Ending::Tempfail,
        Verdict::Refuse(_) => Ending::Refuse,
    }
}

/// The output of a future; `None` if it panics. The panic hook has told of it by then.
async fn contain_panic<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(None),
    })
    .await
}

impl Choose for Nobody {
    fn interest(&self, _: &Transaction) -> Interest {
        Interest::Idle
    }

    fn refuse(&self, _: &Transaction, _: &ForwardPath) -> Option<SmtpReply> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::milter::negotiation::POSTFIX_OFFERS as OFFER;
    use crate::milter::{Edit, Limits, Verdict, Wanted};
    use std::sync::Mutex;
    use std::task::Context;
    use tokio::io::ReadBuf;

    /// A stream that gives all there is at once, and keeps every write apart.
    struct Tape {
        told: Vec<u8>,
        writes: Arc<Mutex<Vec<Vec<u8>>>>,
    }

    impl AsyncRead for Tape {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let count = self.told.len().min(buffer.remaining());
            buffer.put_slice(&self.told.drain(..count).collect::<Vec<_>>());
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Tape {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
            self.writes.lock().unwrap().push(octets.to_vec());
            Poll::Ready(Ok(octets.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    struct DeleteAll;

    impl Choose for DeleteAll {
        fn interest(&self, _: &Transaction) -> Interest {
            Interest::Screening
        }

        fn refuse(&self, _: &Transaction, _: &ForwardPath) -> Option<SmtpReply> {
            None
        }
    }

    impl Judge for DeleteAll {
        type Chooser = DeleteAll;

        fn wanted(&self) -> Wanted {
            Wanted {
                answer_recipients: false,
                change_sender: false,
                change_headers: false,
                add_recipients: false,
                helo: false,
            }
        }

        fn begin(&self) -> DeleteAll {
            DeleteAll
        }

        async fn conclude(&self, _: DeleteAll, _: Interest, transaction: &Transaction) -> Conclusion {
            let delete = |recipient: &ForwardPath| Edit::DeleteRecipient(recipient.argument.clone());
            Conclusion { edits: transaction.recipients.iter().map(delete).collect(), verdict: Verdict::Continue }
        }

        fn overdue(&self, _: Interest, _: &Transaction) -> Conclusion {
            Conclusion::pass()
        }
    }

    async fn writes_for(packets: &[&[u8]]) -> Vec<Vec<u8>> {
        let told = packets.iter().flat_map(|data| [&(data.len() as u32).to_be_bytes()[..], data].concat()).collect();
        let timeout = Duration::from_secs(10);
        let settings = Settings {
            listen: Vec::new(),
            connections: 1,
            idle_timeout: timeout,
            decision_timeout: timeout,
            drain_timeout: timeout,
            limits: Limits::default(),
            access: crate::milter::server::SocketAccess::default(),
        };
        let (_keep, stop) = watch::channel(Stop::No);
        let writes = Arc::new(Mutex::new(Vec::new()));
        let tape = Tape { told, writes: writes.clone() };
        Connection::new(Arc::new(settings), Arc::new(DeleteAll), stop).serve(tape, None).await;
        std::mem::take(&mut writes.lock().unwrap())
    }

    #[tokio::test]
    async fn all_edits_and_the_verdict_leave_in_one_write_with_whatever_one_read_asked_for() {
        let writes = writes_for(&[OFFER, b"M<a@b>\0", b"R<x@y>\0", b"R<z@y>\0", b"Btext", b"E", b"A", b"Q"]).await;
        assert_eq!(writes.len(), 1, "{writes:?}");
        let end = b"\0\0\0\x01s\0\0\0\x07-<x@y>\0\0\0\0\x07-<z@y>\0\0\0\0\x01c";
        assert!(writes[0].ends_with(end), "{}", writes[0].escape_ascii());
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_answered_with_no_write_at_all() {
        let writes = writes_for(&[OFFER, b"Ch\0U", b"M<a@b>\0", b"R<x@y>\0", b"LA\0 b\0", b"A", b"Q"]).await;
        assert_eq!(writes.len(), 1);
        assert_eq!(writes[0][4], b'O');
    }
}
