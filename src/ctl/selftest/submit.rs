//! Hands a message to Postfix, by SMTP as a newsletter tool does.

use super::stop::{Stop, TICK};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest reply read.
const REPLY_BYTES: u64 = 64 << 10;

/// An SMTP reply (RFC 5321 §4.2), its lines as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The text.
    pub text: String,
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code, self.text)
    }
}

/// What Postfix made of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The queue id; none where it was not taken, or Postfix does not tell.
    pub queue_id: Option<String>,
    /// Recipients that were refused.
    pub refused: Vec<(String, Reply)>,
    /// What was said at last, to the end of the message or what went wrong before.
    pub last: Reply,
}

impl Submitted {
    /// Whether Postfix has it.
    pub fn is_taken(&self) -> bool {
        self.last.code / 100 == 2
    }
}

/// A session with Postfix.
pub struct Session {
    stream: BufReader<super::stop::Reader<TcpStream>>,
    /// What Postfix says of itself.
    pub greeting: Reply,
}

impl Session {
    /// Connects and says EHLO.
    pub fn connect(to: SocketAddr, patience: Duration, stop: &Stop) -> io::Result<Session> {
        let stream = TcpStream::connect_timeout(&to, patience)?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(patience))?;
        let mut stream = BufReader::new(stop.reader(stream, patience));
        let greeting = read_reply(&mut stream)?;
        let mut session = Session { stream, greeting };
        if session.greeting.code == 220 {
            session.say("EHLO localhost")?;
        }
        Ok(session)
    }

    /// Sends a message, whose lines end with CRLF, to those of the recipients that are not refused.
    pub fn send(&mut self, reverse_path: &str, recipients: &[&str], message: &[u8]) -> io::Result<Submitted> {
        let mut refused = Vec::new();
        let mut last = self.say(&format!("MAIL FROM:<{reverse_path}>"))?;
        if last.code / 100 == 2 {
            for recipient in recipients {
                let reply = self.say(&format!("RCPT TO:<{recipient}>"))?;
                if reply.code / 100 != 2 {
                    last = reply.clone();
                    refused.push(((*recipient).to_owned(), reply));
                }
            }
            if refused.len() < recipients.len() {
                last = self.say("DATA")?;
                if last.code == 354 {
                    self.stream.get_mut().get_mut().write_all(&stuffed(message))?;
                    last = read_reply(&mut self.stream)?;
                }
            }
        }
        if last.code / 100 != 2 {
            self.say("RSET")?;
        }
        let queue_id = last.text.rsplit_once("queued as ").map(|(_, id)| id.trim().to_owned());
        let queue_id = queue_id.filter(|id| !id.is_empty() && id.bytes().all(|octet| octet.is_ascii_alphanumeric()));
        Ok(Submitted { queue_id, refused, last })
    }

    /// Ends it in good order.
    pub fn quit(mut self) {
        // Nothing depends on the answer.
        let _ = self.say("QUIT");
    }

    fn say(&mut self, line: &str) -> io::Result<Reply> {
        self.stream.get_mut().get_mut().write_all(format!("{line}\r\n").as_bytes())?;
        read_reply(&mut self.stream)
    }
}

/// Dots doubled (RFC 5321 §4.5.2), and the end.
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(message.len() + 64);
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            octets.push(b'.');
        }
        octets.extend_from_slice(line);
    }
    octets.extend_from_slice(b".\r\n");
    octets
}

fn read_reply(stream: &mut impl BufRead) -> io::Result<Reply> {
    let mut stream = stream.take(REPLY_BYTES);
    let mut texts = Vec::new();
    loop {
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line)?;
        let line = String::from_utf8_lossy(&line);
        let code = line.get(..3).and_then(|digits| digits.parse().ok());
        let Some(code) = code else {
            return Err(io::Error::other(match line.trim() {
                "" => "the connection was closed".to_owned(),
                line => format!("no SMTP reply: {line}"),
            }));
        };
        texts.push(line.get(4..).unwrap_or_default().trim_end().to_owned());
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(Reply { code, text: texts.join(" ") });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read_to_its_last_line_and_no_further() {
        for (text, want) in [
            ("250-a\r\n250-b\r\n250 c\r\n220 d\r\n", Some((250, "a b c"))),
            ("220\r\n", Some((220, ""))),
            ("250-a\r\n", None),
            ("HTTP/1.1 200 OK\r\n", None),
            ("", None),
        ] {
            let reply = read_reply(&mut text.as_bytes()).ok();
            assert_eq!(reply.as_ref().map(|reply| (reply.code, reply.text.as_str())), want, "{text:?}");
        }
    }

    #[test]
    fn a_line_that_begins_with_a_dot_has_two_on_its_way() {
        assert_eq!(stuffed(b"a\r\n.b\r\n..\r\n"), b"a\r\n..b\r\n...\r\n.\r\n");
    }
}
