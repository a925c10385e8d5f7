//! backstopd and the machine: the units, socket activation, what it tells the service manager, restarts and reloads
//! under load through a real Postfix, and how it gives root up.
//!
//! Needs what `scripts/install-deps` installs. What cannot be tried on this machine says so on standard error, in
//! capitals.

#[path = "common/daemon.rs"]
#[allow(dead_code, reason = "of what tests share, this one needs a part")]
mod daemon;
#[path = "common/rig.rs"]
#[allow(dead_code, reason = "of what tests share, this one needs a part")]
mod rig;
#[path = "common/smtp.rs"]
#[allow(dead_code, reason = "of what tests share, this one needs a part")]
mod smtp;

#[path = "systemd/load.rs"]
mod load;
#[path = "systemd/manager.rs"]
mod manager;
#[path = "systemd/peers.rs"]
mod peers;
#[path = "systemd/privileges.rs"]
mod privileges;
#[path = "systemd/units.rs"]
mod units;

use std::process::{Child, Command};

/// A process that is killed with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a program is there; says loudly if it is not.
fn there_is(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|ran| ran.status.success());
    if !found {
        eprintln!("SKIPPED: {program} is missing; scripts/install-deps installs it (package systemd)");
    }
    found
}
