//! The daemon and the machine: configuration, log lines and counters, signals.

pub mod config;
pub mod event;
pub mod signals;
