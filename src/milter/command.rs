//! What the MTA says.

/// One command, borrowing from the packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// To be completed by the milter work.
    Placeholder(&'a [u8]),
}
