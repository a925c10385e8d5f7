//! The store's disk is full, and has room again.

use crate::rig::{Options, PATIENCE, RETURN_PATH, Rig, newsletter, notification, within};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A rig whose store has a small file system of its own.
struct Small {
    rig: Rig,
    store: PathBuf,
}

impl Small {
    /// None without the right to mount one.
    fn start(config: &'static str) -> Option<Small> {
        // Postfix tries what was deferred again, and remembers who was refused.
        let postfix = &["maximal_queue_lifetime = 1d", "bounce_queue_lifetime = 1d"];
        let mut rig = Rig::with(Options { postfix, config, daemon_runs: false, ..Options::default() });
        let store = rig.daemon.store();
        std::fs::create_dir(&store).expect("our own directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=32m,mode=700", "tmpfs"]).arg(&store);
        if !mount.status().is_ok_and(|status| status.success()) {
            println!("SKIPPED: a tmpfs cannot be mounted here");
            return None;
        }
        rig.daemon.start();
        Some(Small { rig, store })
    }

    /// Leaves room for less than the store wants to spare.
    fn fill(&self) {
        let filler = File::create(self.filler()).expect("there is room for a name");
        let mut octets = free(&self.store).saturating_sub(1 << 20) as i64;
        while fallocate(&filler, FallocateFlags::empty(), 0, octets).is_err() {
            octets -= 1 << 18;
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.filler()).expect("it was made");
    }

    fn filler(&self) -> PathBuf {
        self.store.join("filler")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        self.rig.daemon.kill();
        let _ = Command::new("umount").arg("-l").arg(&self.store).status();
    }
}

fn free(path: &Path) -> u64 {
    let system = statvfs(path).expect("it is mounted");
    system.blocks_available() as u64 * system.fragment_size() as u64
}

#[test]
fn with_a_full_disk_reports_wait_mail_is_screened_by_what_is_known_and_all_comes_in_when_there_is_room() {
    let Some(small) = Small::start("[return_path]\ndomains = [\"bounces.test\"]\n") else { return };
    let rig = &small.rig;
    rig.daemon.suppress("ann@good.test");
    rig.send_campaign("c1", &["zoe@good.test"]);

    small.fill();
    let report = notification("zoe@good.test", "hello.c1@shop.test", "5.1.1", "550 5.1.1 no such user");
    let reply = rig.client_from("198.51.100.7").send("", &[RETURN_PATH], &report);
    assert!((400..500).contains(&reply.code), "not acknowledged: {reply:?}");
    rig.send(RETURN_PATH, &["ann@good.test", "bob@hard.test", "cat@good.test"], &newsletter("c2", "hello"));
    assert_eq!(rig.sink.wait_for(2)[1].forward_paths, ["cat@good.test"], "screened");
    rig.wait_for_log(&["bounce failed"]);
    let refused = rig.daemon.ctl(&["suppress", "dan@good.test", "--reason", "asked by telephone"]);
    let said = crate::daemon::said(&refused);
    assert!(!refused.status.success() && said.contains("the disk is full"), "{said}");
    let lines = rig.daemon.lines("event=operator-failed");
    assert!(lines.len() == 1 && lines[0].contains("the disk is full"), "{lines:?}");
    assert!(!lines[0].contains("dan@good.test"), "the path as it is in the table: {lines:?}");
    let list = rig.daemon.log().with_file_name("list.csv");
    std::fs::write(&list, "eve@good.test\n").expect("our own directory");
    let imported = rig.daemon.ctl(&["import", list.to_str().expect("our own name")]);
    assert!(!imported.status.success(), "{}", crate::daemon::said(&imported));
    within(PATIENCE, || match rig.daemon.lines("event=operator-failed").len() {
        2 => Ok(()),
        count => Err(format!("an import that fails is told, too: {count} lines")),
    });
    let alerts = rig.daemon.alerts();
    assert!(["store-not-writable", "tempfail"].iter().all(|code| alerts.iter().any(|a| a == code)), "{alerts:?}");

    small.make_room();
    within(PATIENCE, || {
        let reply = rig.client_from("198.51.100.7").send("", &[RETURN_PATH], &report);
        if reply.accepted() { Ok(()) } else { Err(format!("{reply:?}")) }
    });
    rig.wait_until_idle();
    for contact in ["zoe@good.test", "bob@hard.test"] {
        assert_eq!(rig.daemon.responses(contact).len(), 1, "{contact}: once on record");
        assert_eq!(rig.daemon.state(contact), "bounced", "{contact}");
    }
    assert_eq!(rig.daemon.wait_for_events("skip", 1)[0]["address"], "ann@good.test", "written down after all");
    assert_eq!(rig.mailbox("bounces").len(), 0);
    rig.daemon.suppress("dan@good.test");
    assert_eq!(rig.sink.messages().len(), 2, "nobody got a message twice");
    let alerts = rig.daemon.alerts();
    assert!(!alerts.contains(&"store-not-writable".to_owned()), "{alerts:?}");
}
