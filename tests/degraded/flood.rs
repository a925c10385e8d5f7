//! A client of the milter that connects and connects, and never finishes a word.

use crate::rig::{PATIENCE, RETURN_PATH, Rig, newsletter, within};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// As `[milter] connections` has it by default.
const PLACES: usize = 1000;
/// The beginning of a packet of a megabyte, which does not come.
const BEGINNING: &[u8] = &[0, 0x0f, 0xff, 0xff, b'B', 1, 2, 3];

fn memory_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel tells");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// Connects so often; every other connection begins a packet.
fn stuck(rig: &Rig, connections: usize) -> Vec<UnixStream> {
    let connect = |number: usize| {
        let mut stream = UnixStream::connect(rig.daemon.milter_socket()).expect("the kernel queues them");
        if number % 2 == 1 {
            let _ = stream.write_all(BEGINNING); // closed already, for want of a place
        }
        stream
    };
    (0..connections).map(connect).collect()
}

fn is_closed(stream: &mut UnixStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a socket takes a time-out");
    !matches!(stream.read(&mut [0; 16]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn connections_that_are_stuck_are_bounded_let_others_through_and_are_closed() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard limit it may be raised");
    let flood = 3 * PLACES;
    if hard < flood as u64 + 500 {
        println!("SKIPPED: {hard} open files are too few for a flood");
        return;
    }
    let rig = Rig::start();
    rig.daemon.suppress("ann@good.test");
    let before = memory_kib(rig.daemon.id());

    let mut some = stuck(&rig, PLACES * 9 / 10);
    rig.send_campaign("c1", &["ann@good.test", "bob@good.test"]);
    assert_eq!(rig.sink.recipients(), ["bob@good.test"], "there is a place for others");

    let mut more = stuck(&rig, flood);
    let status = rig.daemon.ask(&["status"]);
    let open = status["milter"]["connections"].as_u64().expect("a number");
    assert!(open <= PLACES as u64, "{open} are open");
    let grown = memory_kib(rig.daemon.id()).saturating_sub(before);
    assert!(grown < 64 << 10, "grew by {grown} KiB");
    assert!(rig.daemon.alerts().contains(&"milter-connections".to_owned()), "{:?}", rig.daemon.alerts());

    // Nobody hangs up; those that are stuck lose their places all the same, and mail that was put off goes through.
    within(PATIENCE, || {
        let reply = rig.client().send(RETURN_PATH, &["ann@good.test", "cat@good.test"], &newsletter("c2", "hello"));
        if reply.accepted() { Ok(()) } else { Err(format!("{reply:?}")) }
    });
    within(PATIENCE, || {
        let left = some.iter_mut().chain(&mut more).map(is_closed).filter(|closed| !closed).count();
        if left == 0 { Ok(()) } else { Err(format!("{left} are open still")) }
    });
    rig.wait_until_idle();
    assert_eq!(rig.sink.recipients(), ["bob@good.test", "cat@good.test"]);
    let (lines, counted) = (rig.daemon.lines("event=over-limit").len(), rig.daemon.lines("left_out").len());
    assert!(lines <= 400, "{lines} lines of {} connections", PLACES + flood);
    println!("{lines} lines, {counted} of them for others");
    let counters = rig.daemon.ask(&["status"])["counters"]["over-limit"].as_u64().expect("a number");
    assert!(counters >= lines as u64, "{counters}");
}
