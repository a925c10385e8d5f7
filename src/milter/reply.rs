//! What we answer.

use std::borrow::Cow;

/// A 4xx or 5xx SMTP reply with enhanced code and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpReply {
    /// 400 to 599.
    pub code: u16,
    /// Enhanced code; its class is that of `code`.
    pub enhanced: (u8, u16, u16),
    /// One line or several.
    pub text: Cow<'static, str>,
}

/// A reply without changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Go on.
    Continue,
    /// Take the message (or session) without asking further.
    Accept,
    /// 5xx.
    Reject,
    /// 4xx.
    Tempfail,
    /// Take it and drop it.
    Discard,
    /// No more of these events.
    Skip,
    /// Still working.
    Progress,
    /// A reply of our own.
    ReplyCode(SmtpReply),
}

/// A change to the message, at its end only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Adds a recipient.
    AddRecipient(Vec<u8>),
    /// Adds a recipient with ESMTP arguments (`NOTIFY=`, `ORCPT=`).
    AddRecipientWith(Vec<u8>, Vec<u8>),
    /// Deletes a recipient, by its form as received.
    DeleteRecipient(Vec<u8>),
    /// Changes the reverse path, with ESMTP arguments (`RET=`, `ENVID=`).
    ChangeSender(Vec<u8>, Option<Vec<u8>>),
    /// Adds a field at the end of the header.
    AddHeader(Vec<u8>, Vec<u8>),
    /// Inserts a field at a place from 0.
    InsertHeader(u32, Vec<u8>, Vec<u8>),
    /// Changes the n-th field of that name, from 1; an empty value deletes it.
    ChangeHeader(u32, Vec<u8>, Vec<u8>),
    /// Puts the message on hold.
    Quarantine(Vec<u8>),
}
