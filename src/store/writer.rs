//! The writer thread.
pub struct Inner {}
