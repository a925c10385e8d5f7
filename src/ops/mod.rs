//! The daemon and the machine: configuration, log lines and counters, signals, and the daemon's life from its
//! start to its end.

mod authority_section;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod event;
mod hook_section;
mod journal;
mod keys;
mod line;
pub mod logging;
pub mod options;
mod policy_section;
pub mod privileges;
pub mod release;
pub mod rule_files;
mod sections;
pub mod signals;
pub mod systemd;
pub mod watchdog;
