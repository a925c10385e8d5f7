//! What asks `backstopctl` to end: Ctrl-C, SIGTERM, a terminal that goes. For who has something to clear away first.

use std::io;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// From here on does this at each such signal, on a thread of its own, instead of ending. It is given the exit status that
/// the signal stands for.
///
/// # Errors
/// Signals cannot be caught.
pub fn at_signals(act: impl Fn(i32) + Send + Sync + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let act = Arc::new(act);
    for kind in [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()] {
        let (mut signal, act) = (signal(kind)?, act.clone());
        runtime.spawn(async move {
            while signal.recv().await.is_some() {
                act(128 + kind.as_raw_value());
            }
        });
    }
    drop(entered);
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    Ok(())
}
