//! What a session keeps of the message in hand.

use super::macros::{Macros, Stage};
use crate::mail::Headers;
use std::net::IpAddr;

/// What a connection may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest packet, its command octet included.
    pub packet_bytes: usize,
    /// Header fields kept of one message.
    pub headers: usize,
    /// Octets of header kept of one message.
    pub header_bytes: usize,
    /// Octets of body kept of one message under inspection; the rest is not kept.
    pub body_bytes: usize,
    /// Recipients kept of one message.
    pub recipients: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            packet_bytes: 1 << 20,
            headers: 1000,
            header_bytes: 256 << 10,
            body_bytes: 4 << 20,
            recipients: 50_000,
        }
    }
}

/// Who connected to Postfix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Host name as Postfix gives it.
    pub host: String,
    /// Address, where it has one.
    pub address: Option<IpAddr>,
    /// Port; 0 for mail that did not come by SMTP.
    pub port: u16,
    /// The argument of its HELO; empty where not told, not asked for, or longer than a domain may be.
    pub helo: String,
}

/// A recipient of the message in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardPath {
    /// The argument of RCPT as received: what a deletion must send back.
    pub argument: Vec<u8>,
    /// ESMTP arguments.
    pub parameters: Vec<Vec<u8>>,
    /// `{rcpt_mailer}`, where told.
    pub mailer: Option<String>,
    /// `{rcpt_addr}`, where told: resolved and lower-cased by smtpd.
    pub address: Option<String>,
}

/// What is known of the message in hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Who connected to Postfix.
    pub peer: Peer,
    /// Postfix's variables, by stage.
    pub macros: Macros,
    /// The argument of MAIL as received: with brackets by SMTP, bare from cleanup(8); empty is null.
    pub reverse_path: Vec<u8>,
    /// ESMTP arguments of MAIL.
    pub parameters: Vec<Vec<u8>>,
    /// Recipients as received, in order.
    pub recipients: Vec<ForwardPath>,
    /// The header; values with the blank behind the colon as it was.
    pub headers: Headers,
    /// The body, as far as kept; empty unless inspecting.
    pub body: Vec<u8>,
    /// A limit that was met, in words: what the message holds beyond it is not here.
    pub over_limit: Option<&'static str>,
}

impl Transaction {
    /// Makes room for the next message; who connected, and what was told of the connection, stays.
    pub(super) fn clear(&mut self) {
        self.macros.forget_from(Stage::Mail);
        self.reverse_path.clear();
        self.parameters.clear();
        self.recipients.clear();
        self.headers = Headers::new();
        // A large body is rare; its memory is not held for the next message.
        self.body = Vec::new();
        self.over_limit = None;
    }

    /// Postfix's queue id (macro `i`), or `-` where not told yet.
    pub fn queue_id(&self) -> &str {
        self.macros.get("i").unwrap_or("-")
    }

    /// The message as far as it was kept, put together again: header, empty line, body. Ahead stands what a
    /// delivery would put there, `Return-Path` (RFC 5321 §4.4): that it is null tells a report's reader much.
    pub fn to_message(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.body.len() + 4096);
        let reverse_path = self.reverse_path.strip_prefix(b"<").unwrap_or(&self.reverse_path);
        let reverse_path = reverse_path.strip_suffix(b">").unwrap_or(reverse_path);
        message.extend_from_slice(&[b"Return-Path: <", reverse_path, b">\r\n"].concat());
        for (name, value) in self.headers.iter() {
            message.extend_from_slice(name);
            message.push(b':');
            message.extend_from_slice(value);
            message.extend_from_slice(b"\r\n");
        }
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(&self.body);
        message
    }

    /// Whether the message did not come by SMTP: sendmail(1), or Postfix itself (POSTFIX-FACTS 4). smtpd
    /// always tells `{mail_mailer}` and hands on the brackets.
    pub fn is_non_smtp(&self) -> bool {
        self.macros.get("{mail_mailer}").is_none() && !self.reverse_path.starts_with(b"<") && self.peer.port == 0
    }
}
