//! Something about the machine is wrong: no room, no descriptors, no DNS, a clock that jumps, octets that changed, a
//! client that floods. Mail flows as configured, the alerts and the log say what is the matter, nothing that was
//! acknowledged is lost, and all is well again when the machine is. With the real daemon, and a real Postfix.
//!
//! The daemon that is killed is in crash.rs, the one that is absent or restarted in postfix/trouble.rs, a crowd on the
//! admin socket while mail flows in admin_hostile.rs.

// postfix.rs uses the rest of them.
#[allow(dead_code)]
#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/dns.rs"]
mod dns;
#[allow(dead_code)]
#[path = "common/rig.rs"]
mod rig;
#[allow(dead_code)]
#[path = "common/smtp.rs"]
mod smtp;

#[path = "degraded/clock.rs"]
mod clock;
#[path = "degraded/descriptors.rs"]
mod descriptors;
#[path = "degraded/disk_full.rs"]
mod disk_full;
#[path = "degraded/dns_dead.rs"]
mod dns_dead;
#[path = "degraded/flood.rs"]
mod flood;
#[path = "degraded/store_corrupt.rs"]
mod store_corrupt;
