//! `backstopctl top`: how it goes, now.
//!
//! Four threads tell one loop what they see: the daemon's figures, its events, keys, signals. The loop keeps a
//! [`View`] and draws it. Without a daemon it says so and goes on trying.

mod figures;
mod frame;
mod screen;

use super::arguments::TopArguments;
use super::client::{Body, Client, encoded};
use super::events::{details, kind};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use crate::admin::wire::Status;
use crate::policy::{Event, EventId};
use figures::{COURSES, Course, Figures, Metrics};
use frame::{Told, View};
use jiff::Timestamp;
use screen::Screen;
use serde_json::json;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// How often the daemon may be asked, in seconds.
const INTERVALS: [u64; 6] = [1, 2, 5, 10, 30, 60];
/// Shortest time between two frames.
const FRAME: Duration = Duration::from_millis(50);
/// Wait before asking for events again.
const RETRY: Duration = Duration::from_secs(1);
/// Events kept.
const EVENTS: usize = 200;
/// What may wait to be looked at.
const WAITING: usize = 256;
/// What `--once` draws on where there is no terminal.
const PAPER: (usize, usize) = (100, 40);

/// What a thread saw.
enum News {
    /// The daemon's figures: its status, the text of its metrics, when.
    Figures(Box<Status>, String, Instant),
    /// It does not answer.
    Trouble(Failure),
    /// Something happened.
    Event(Told),
    /// A key.
    Key(u8),
    /// The window has another size.
    Resized,
    /// It is time to go.
    End,
}

/// `backstopctl top`.
pub fn top(socket: PathBuf, asked: &TopArguments, out: &mut Output) -> Result<Exit, Failure> {
    let interval = Duration::from_secs(asked.interval);
    if out.json() || asked.once {
        return told(socket, interval, asked.once, out);
    }
    let screen = Screen::take()?;
    let (tell, news) = sync_channel(WAITING);
    let (faster, intervals) = channel();
    watch_figures(socket.clone(), interval, intervals, tell.clone());
    watch_events(socket, tell.clone());
    watch_signals(tell.clone())?;
    watch_keys(tell);
    let ended = draw(&screen, interval, &news, &faster);
    drop(screen);
    match ended {
        // The terminal is gone, and so is who looked at it.
        Err(Failure::Because { exit: Exit::Output, .. }) => Ok(Exit::Yes),
        ended => ended.map(|()| Exit::Yes),
    }
}

/// Draws until somebody has seen enough.
fn draw(
    screen: &Screen,
    interval: Duration,
    news: &Receiver<News>,
    intervals: &Sender<Duration>,
) -> Result<(), Failure> {
    let mut view = View { interval, ..View::default() };
    // What is shown while it is paused.
    let mut frozen: Option<View> = None;
    let (mut due, mut drawn) = (true, Instant::now());
    loop {
        let wait = if due { FRAME.saturating_sub(drawn.elapsed()) } else { Duration::from_secs(3600) };
        match news.recv_timeout(wait) {
            Ok(News::Key(b'q' | b'Q' | 0x03 | 0x04) | News::End) | Err(RecvTimeoutError::Disconnected) => {
                return Ok(());
            }
            Ok(News::Key(b'p' | b'P' | b' ')) => {
                frozen = if frozen.is_some() { None } else { Some(View { paused: true, ..view.clone() }) };
                due = true;
            }
            Ok(News::Key(key @ (b'+' | b'=' | b'-' | b'_'))) => {
                view.interval = step(view.interval, matches!(key, b'+' | b'='));
                if let Some(frozen) = &mut frozen {
                    frozen.interval = view.interval;
                }
                let _ = intervals.send(view.interval);
                due = true;
            }
            Ok(News::Key(_)) => {}
            Ok(News::Resized) => due = true,
            Ok(told) => {
                take(&mut view, told)?;
                due |= frozen.is_none();
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if due && drawn.elapsed() >= FRAME {
            let size = screen.size();
            screen.show(&frame::frame(frozen.as_ref().unwrap_or(&view), Timestamp::now(), size), size)?;
            (due, drawn) = (false, Instant::now());
        }
    }
}

/// The next longer or shorter interval.
fn step(interval: Duration, longer: bool) -> Duration {
    let seconds = interval.as_secs();
    let next = if longer {
        INTERVALS.into_iter().find(|known| *known > seconds)
    } else {
        INTERVALS.into_iter().rev().find(|known| *known < seconds)
    };
    next.map_or(interval, Duration::from_secs)
}

/// Adds to what is known.
///
/// # Errors
/// The daemon's refusal, where asking again would not help.
fn take(view: &mut View, news: News) -> Result<(), Failure> {
    match news {
        News::Figures(status, metrics, at) => {
            if view.events.is_empty() {
                view.events.extend(last_events(&status));
            }
            view.figures.take(*status, &Metrics::read(&metrics), at);
            view.trouble = None;
        }
        News::Trouble(Failure::Because { exit: Exit::Permission, message }) => {
            return Err(Failure::new(Exit::Permission, message));
        }
        News::Trouble(Failure::Because { message, .. }) => view.trouble = Some(message),
        News::Event(told) => {
            if view.events.iter().all(|known| known.id != told.id) {
                if view.events.len() == EVENTS {
                    view.events.pop_front();
                }
                view.events.push_back(told);
            }
        }
        News::Trouble(Failure::ReaderGone) | News::Key(_) | News::Resized | News::End => {}
    }
    Ok(())
}

/// The last event of each kind, for as long as none was seen: oldest first.
fn last_events(status: &Status) -> Vec<Told> {
    let mut events: Vec<Told> = status
        .last_events
        .iter()
        .map(|(name, last)| Told {
            id: last.event,
            at: last.at,
            kind: name.clone(),
            address: last.address.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            details: format!("on {}, the last of its kind", last.at.strftime("%Y-%m-%d")),
        })
        .collect();
    events.sort_by_key(|told| told.id);
    events
}

fn told_of(event: &Event) -> Told {
    let words = details(&event.what).into_iter().filter(|(name, _)| *name != "entries");
    Told {
        id: event.id,
        at: event.at,
        kind: kind(&event.what).to_owned(),
        address: event.address.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        details: words.map(|(_, value)| value).collect::<Vec<_>>().join("  "),
    }
}

fn ask(client: &Client) -> Result<News, Failure> {
    let status = read(&client.ask("/v1/status", Body::None)?)?;
    let metrics = client.ask("/metrics", Body::None)?;
    Ok(News::Figures(Box::new(status), String::from_utf8_lossy(&metrics).into_owned(), Instant::now()))
}

fn watch_figures(socket: PathBuf, mut interval: Duration, intervals: Receiver<Duration>, tell: SyncSender<News>) {
    std::thread::spawn(move || {
        loop {
            let since = Instant::now();
            let news = Client::new(socket.clone()).and_then(|client| ask(&client)).unwrap_or_else(News::Trouble);
            if tell.send(news).is_err() {
                return;
            }
            match intervals.recv_timeout(interval.saturating_sub(since.elapsed())) {
                Ok(other) => interval = other,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    });
}

fn watch_events(socket: PathBuf, tell: SyncSender<News>) {
    std::thread::spawn(move || {
        let mut after = None;
        while follow(&socket, &mut after, &tell).is_some() {
            std::thread::sleep(RETRY);
        }
    });
}

/// Hands on events until the daemon ends, whose absence `watch_figures` tells. None when nobody listens any more.
fn follow(socket: &Path, after: &mut Option<EventId>, tell: &SyncSender<News>) -> Option<()> {
    let Ok(client) = Client::new(socket.to_owned()) else { return Some(()) };
    let since = after.map(|id| encoded(&id.to_string())).unwrap_or_default();
    let followed = client.follow(&format!("/v1/events?since={since}&follow=true"), Body::None, |line| {
        // What another version writes is not worth an end.
        let Ok(event) = read::<Event>(line) else { return Ok(()) };
        *after = Some(event.id);
        tell.send(News::Event(told_of(&event))).map_err(|_| Failure::ReaderGone)
    });
    if matches!(followed, Err(Failure::ReaderGone)) { None } else { Some(()) }
}

fn watch_keys(tell: SyncSender<News>) {
    std::thread::spawn(move || {
        for key in std::io::stdin().lock().bytes().map_while(Result::ok) {
            if tell.send(News::Key(key)).is_err() {
                return;
            }
        }
        let _ = tell.send(News::End);
    });
}

fn watch_signals(tell: SyncSender<News>) -> Result<(), Failure> {
    let refused = |error: std::io::Error| Failure::new(Exit::Unavailable, format!("cannot start: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
    let listen = |kind| {
        let _entered = runtime.enter();
        signal(kind).map_err(refused)
    };
    let (mut resized, mut hung_up) = (listen(SignalKind::window_change())?, listen(SignalKind::hangup())?);
    let (mut ended, mut interrupted) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                let news = tokio::select! {
                    _ = resized.recv() => News::Resized,
                    _ = hung_up.recv() => News::End,
                    _ = ended.recv() => News::End,
                    _ = interrupted.recv() => News::End,
                };
                if tell.send(news).is_err() {
                    return;
                }
            }
        });
    });
    Ok(())
}

/// Without a terminal: one frame, or JSON, one object for each time the daemon is asked. A rate needs two of them.
fn told(socket: PathBuf, interval: Duration, once: bool, out: &mut Output) -> Result<Exit, Failure> {
    let client = Client::new(socket)?;
    let mut view = View { interval, ..View::default() };
    take(&mut view, ask(&client)?)?;
    loop {
        std::thread::sleep(interval);
        take(&mut view, ask(&client)?)?;
        if out.json() {
            out.object(&object(&view.figures))?;
        } else {
            let size = screen::size().unwrap_or(PAPER);
            frame::once(&view, Timestamp::now(), size).iter().try_for_each(|line| out.line(line))?;
        }
        out.flush()?;
        if once {
            return Ok(Exit::Yes);
        }
    }
}

fn object(figures: &Figures) -> serde_json::Value {
    let course = |course: Course| {
        let pace = figures.pace(course);
        json!({
            "per_second": (pace.per_second * 1000.0).round() / 1000.0,
            "last_minute": pace.last_minute,
            "since_start": pace.since_start,
        })
    };
    let [sent, skipped, came_back, bounced, complained] = COURSES.map(course);
    let status = figures.status.as_ref();
    json!({
        "at": Timestamp::now(),
        "sent": sent,
        "skipped": skipped,
        "came_back": came_back,
        "bounced": bounced,
        "complained": complained,
        "alerts": status.map(|status| &status.alerts),
        "store": status.map(|status| &status.store),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_go_by_steps_and_end_at_both_ends() {
        for (from, longer, want) in
            [(1, true, 2), (2, false, 1), (1, false, 1), (60, true, 60), (7, true, 10), (7, false, 5)]
        {
            let got = step(Duration::from_secs(from), longer);
            assert_eq!(got, Duration::from_secs(want), "{from} {longer}");
        }
    }

    #[test]
    fn events_are_kept_once_and_only_the_last() {
        let mut view = View::default();
        for number in (0..EVENTS as u128 + 10).flat_map(|number| [number, number]) {
            let (id, at, kind) = (EventId(number), Timestamp::UNIX_EPOCH, "skip".to_owned());
            let told = Told { id, at, kind, address: String::new(), details: String::new() };
            assert!(take(&mut view, News::Event(told)).is_ok());
        }
        assert_eq!(view.events.len(), EVENTS);
        assert_eq!(view.events.back().map(|told| told.id), Some(EventId(EVENTS as u128 + 9)));
    }

    #[test]
    fn a_daemon_that_refuses_is_not_asked_again() {
        let mut view = View::default();
        let trouble = |exit| News::Trouble(Failure::new(exit, "no"));
        assert!(take(&mut view, trouble(Exit::Unavailable)).is_ok());
        assert_eq!(view.trouble.as_deref(), Some("no"));
        assert!(take(&mut view, trouble(Exit::Permission)).is_err());
    }
}
