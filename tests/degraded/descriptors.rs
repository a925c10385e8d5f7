//! The daemon may not open any more files.

use crate::rig::{PATIENCE, RETURN_PATH, Rig, newsletter, within};
use std::fs;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

/// Sets how many files a process may open.
fn limit_files(process: u32, files: &str) {
    let limited = Command::new("prlimit").args(["--pid", &process.to_string(), &format!("--nofile={files}")]).status();
    assert!(limited.expect("prlimit(1), of util-linux, runs").success());
}

fn open_files(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).expect("it runs").count()
}

/// Time on a processor so far, of its own and of the kernel for it.
fn busy(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("a name in parentheses").1.split(' ').collect();
    let ticks = |place: usize| fields[place].parse::<u64>().expect("ticks");
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

#[test]
fn without_descriptors_open_sessions_go_on_nothing_spins_and_new_ones_are_served_when_there_are_some() {
    let rig = Rig::start();
    rig.daemon.suppress("ann@good.test");
    let mut session = rig.client();
    assert!(session.send(RETURN_PATH, &["ann@good.test", "bob@good.test"], &newsletter("c1", "one")).accepted());
    let process = rig.daemon.id();
    let hard_limit = fs::read_to_string(format!("/proc/{process}/limits")).expect("it runs");
    let hard_limit = hard_limit.lines().find(|line| line.starts_with("Max open files")).expect("the kernel tells");
    let hard_limit = hard_limit.split_whitespace().nth(4).expect("soft, hard").to_owned();
    limit_files(process, &format!("{}:{hard_limit}", open_files(process) + 2));
    let waiting: Vec<UnixStream> =
        (0..20).map(|_| UnixStream::connect(rig.daemon.milter_socket()).expect("the kernel queues them")).collect();
    within(PATIENCE, || match rig.daemon.lines("event=over-limit").len() {
        0 => Err("nothing is said of descriptors".to_owned()),
        _ => Ok(()),
    });
    let (since, before) = (Instant::now(), busy(process));
    assert!(session.send(RETURN_PATH, &["ann@good.test", "cat@good.test"], &newsletter("c2", "two")).accepted());
    std::thread::sleep(Duration::from_secs(2)); // what is measured is a share of this time, however long it takes
    let (spent, elapsed) = (busy(process) - before, since.elapsed());
    assert!(spent < elapsed / 3, "{spent:?} of {elapsed:?} on a processor, with nothing to do");
    let lines = rig.daemon.lines("cannot accept");
    let most = 2 + 2 * since.elapsed().as_secs() as usize / 10;
    assert!(lines.len() <= most && lines[0].contains("Too many open files"), "{lines:?}");

    limit_files(process, &format!("{hard_limit}:{hard_limit}"));
    drop(waiting);
    within(PATIENCE, || {
        let reply = rig.client().send(RETURN_PATH, &["ann@good.test", "dan@good.test"], &newsletter("c3", "three"));
        if reply.accepted() { Ok(()) } else { Err(format!("{reply:?}")) }
    });
    let alerts = rig.daemon.alerts();
    assert!(alerts.contains(&"descriptors".to_owned()), "told for a minute: {alerts:?}");
    rig.wait_until_idle();
    assert_eq!(rig.sink.recipients(), ["bob@good.test", "cat@good.test", "dan@good.test"], "all were screened");
}

#[test]
fn milter_connections_leave_descriptors_for_the_store_and_the_admin_socket() {
    let mut rig = Rig::start();
    rig.daemon.stop();
    rig.daemon.start_through(&["prlimit", "--nofile=128:128"]);
    rig.daemon.start();
    let lines = rig.daemon.lines("event=over-limit");
    assert!(lines.iter().any(|line| line.contains("of 128 open files 64 can be spared")), "{lines:?}");
    rig.daemon.suppress("ann@good.test");
    let crowd: Vec<UnixStream> =
        (0..200).map(|_| UnixStream::connect(rig.daemon.milter_socket()).expect("the kernel queues them")).collect();
    within(PATIENCE, || {
        let alerts = rig.daemon.alerts();
        let told = alerts.contains(&"milter-connections".to_owned());
        if told { Ok(()) } else { Err(format!("{alerts:?}")) }
    });
    rig.daemon.suppress("bob@good.test");
    assert!(!rig.daemon.alerts().contains(&"descriptors".to_owned()), "there was one for everybody");
    drop(crowd);
    within(PATIENCE, || {
        let recipients = ["ann@good.test", "bob@good.test", "cat@good.test"];
        let reply = rig.client().send(RETURN_PATH, &recipients, &newsletter("c1", "hello"));
        if reply.accepted() { Ok(()) } else { Err(format!("{reply:?}")) }
    });
    rig.wait_until_idle();
    assert_eq!(rig.sink.recipients(), ["cat@good.test"]);
}
