//! What is agreed on at the start of a connection.

/// What we ask for; derived from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// RCPT must be answered (`[outbound] action = "reject"`).
    pub answer_recipients: bool,
    /// The reverse path may be changed (`[authority] sign`).
    pub change_sender: bool,
    /// Header fields may be added, changed or removed.
    pub change_headers: bool,
    /// Recipients may be re-added with NOTIFY.
    pub add_recipients: bool,
}
