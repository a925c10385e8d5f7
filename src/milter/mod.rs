//! The milter protocol, version 6, as Postfix speaks it: `packet` cuts the stream, `command` reads what the
//! MTA says, `reply` writes what we answer, `negotiation` agrees on what is said at all, `macros` keeps the
//! MTA's variables, `transaction` what is known of a message, `session` is the state machine without socket
//! or clock, `server` the I/O around it.

pub mod command;
pub mod listen;
pub mod macros;
pub mod negotiation;
pub mod packet;
pub mod reply;
pub mod server;
pub mod session;
pub mod transaction;

pub use command::Command;
pub use listen::ListenAddress;
pub use macros::Macros;
pub use negotiation::Wanted;
pub use reply::{Edit, Reply, SmtpReply};
pub use session::{Choose, Conclusion, Interest, Session, Step, Verdict};
pub use transaction::{ForwardPath, Limits, Peer, Transaction};
