//! The whole way with a real Postfix: what goes out, what comes back, what the next campaign does about it, and
//! what happens while something is broken. Each test has a Postfix and a backstopd of its own.
//!
//! Needs what `scripts/install-deps` installs, and root or a user namespace (`common/rig.rs`).

#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/dns.rs"]
mod dns;
#[path = "common/rig.rs"]
mod rig;
#[path = "common/smtp.rs"]
mod smtp;

#[path = "postfix/attaching.rs"]
mod attaching;
#[path = "postfix/coming_back.rs"]
mod coming_back;
#[path = "postfix/complaints.rs"]
mod complaints;
#[path = "postfix/evidence.rs"]
mod evidence;
#[path = "postfix/going_out.rs"]
mod going_out;
#[path = "postfix/left_alone.rs"]
mod left_alone;
#[path = "postfix/signed.rs"]
mod signed;
#[path = "postfix/skipped.rs"]
mod skipped;
#[path = "postfix/trouble.rs"]
mod trouble;
