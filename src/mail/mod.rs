//! The nouns of mail, free of anything that is ours: addresses (RFC 5321), header fields (RFC 5322), MIME
//! parts (RFC 2045), and which addresses are the return path. Everything above builds on this module.

pub mod address;
pub mod date;
pub mod header;
pub mod mailbox_list;
pub mod mime;
pub mod return_path;

pub use address::{Address, AddressError, ReversePath};
pub use header::{Headers, ListId, MessageId};
pub use mailbox_list::mailboxes;
pub use mime::{Limits, Message, Part};
pub use return_path::ReturnPath;

/// The domain of `backstopctl selftest`; none of the world's (RFC 2606 §2). Postfix hands its mail to the self-test by
/// LMTP, no DNS knows it, and who puts `.invalid` in place of an address uses another name: its addresses are treated
/// as any out there.
pub const SELFTEST_DOMAIN: &str = "backstop-selftest.invalid";
