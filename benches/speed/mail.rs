//! The mail of the benchmark: contacts by number, a newsletter of 2 KiB, a notification of our own Postfix.
//!
//! Contacts below [`SUPPRESSED`] are in the store; all others look the same and are not. Subscribers are those of
//! the part `campaign`.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many contacts are suppressed: numbers 0 to this.
pub const SUPPRESSED: u64 = 1_000_000;
/// One recipient in this many is suppressed.
pub const ONE_IN: u64 = 50;
/// Where bounces come to.
pub const RETURN_PATH_DOMAIN: &str = "bounces.bench.example";

const FIRST: [&str; 16] = [
    "anna", "bert", "carla", "dmitri", "elif", "farid", "greta", "hugo", "ines", "jonas", "karin", "luc", "maria",
    "nils", "olga", "pavel",
];
const LAST: [&str; 16] = [
    "becker", "costa", "dubois", "eriksen", "fischer", "garcia", "horvat", "ivanov", "jansen", "kowalski", "larsen",
    "moreau", "novak", "okafor", "petrov", "rossi",
];

/// Writes the address of a contact, `greta.novak123456@mail77.example`, with no brackets.
pub fn push_contact(out: &mut Vec<u8>, number: u64) {
    push_name(out, number);
    write!(out, "@mail{}.example", number % 211).expect("a Vec takes all");
}

/// Writes the address of a subscriber, with no brackets. They have more domains: of each, deliveries are asked for
/// five times without an answer, and nobody answers here.
pub fn push_subscriber(out: &mut Vec<u8>, number: u64) {
    push_name(out, number);
    write!(out, "@post{}.example", number % 10_007).expect("a Vec takes all");
}

fn push_name(out: &mut Vec<u8>, number: u64) {
    let first = FIRST[(number % 16) as usize];
    let last = LAST[(number / 16 % 16) as usize];
    write!(out, "{first}.{last}{number}").expect("a Vec takes all");
}

/// Numbers that repeat from run to run and look random (xorshift64*).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

/// A recipient as Postfix tells it.
pub struct Recipient<'a> {
    /// `{rcpt_addr}`: lower case, bare.
    pub address: &'a [u8],
    /// The argument of RCPT as the client wrote it, with its NUL.
    pub argument: &'a [u8],
    /// Whether the milter is to find it in the store: suppressed, or in the part `campaign` with an open streak.
    pub on_record: bool,
}

/// One newsletter, rewritten for every send: envelope, 15 header fields, a body; 2 KiB in all.
pub struct Letter {
    mail_arguments: &'static [u8],
    campaign: String,
    queue_id: Vec<u8>,
    message_id: Vec<u8>,
    text: Vec<u8>,
    /// Where in `text` each recipient's address and argument begin and end.
    places: Vec<(usize, usize, usize, bool)>,
    body: Vec<u8>,
    dice: Dice,
    thread: u64,
    sent: u64,
    drawn: u64,
}

const MAIL_ARGUMENTS: &[u8] = b"<news@shop.bench.example>\0SIZE=2048\0BODY=8BITMIME\0";
/// As [`MAIL_ARGUMENTS`], with a sender in [`RETURN_PATH_DOMAIN`].
const RETURN_PATH_ARGUMENTS: &[u8] = b"<news@bounces.bench.example>\0SIZE=2048\0BODY=8BITMIME\0";

/// All fields but Message-ID, which is told in its place after `Subject`.
const CAMPAIGN_FIELD: &str = "X-Campaign-ID";
const FIELDS: [(&str, &str); 14] = [
    ("Date", "Sun, 22 Nov 2026 09:30:00 +0100"),
    ("From", "\"Bench Shop\" <news@shop.bench.example>"),
    ("To", "Our readers <readers@shop.bench.example>"),
    ("Reply-To", "service@shop.bench.example"),
    ("Subject", "=?utf-8?Q?Winter_offers:_warm_gloves,_good_books_and_a_caf=C3=A9?="),
    ("MIME-Version", "1.0"),
    ("Content-Type", "text/plain; charset=utf-8; format=flowed"),
    ("Content-Transfer-Encoding", "quoted-printable"),
    ("List-ID", "Winter newsletter <winter.news.shop.bench.example>"),
    ("List-Unsubscribe", "<https://shop.bench.example/u/7f3a9c>,\n\t<mailto:leave@shop.bench.example>"),
    ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    (CAMPAIGN_FIELD, "winter-2026-47"),
    ("Feedback-ID", "winter-2026-47:shop:news:bench"),
    ("X-Mailer", "Bench Shop Mailer 4.2"),
];
const MESSAGE_ID_AFTER: usize = 5;

impl Letter {
    /// A letter for one sending thread; `seed` makes its draw of recipients differ from other threads'.
    pub fn new(seed: u64) -> Letter {
        let header: usize = FIELDS.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>() + 60;
        let mut body = Vec::new();
        while body.len() + header + 74 < 2048 {
            body.extend_from_slice(b"Dear reader, this is one of the lines that a winter newsletter is made of.\r\n");
        }
        Letter {
            mail_arguments: MAIL_ARGUMENTS,
            campaign: "winter-2026-47".to_owned(),
            queue_id: Vec::new(),
            message_id: Vec::new(),
            text: Vec::new(),
            places: Vec::new(),
            body,
            dice: Dice::new(seed),
            thread: seed,
            sent: 0,
            drawn: seed % ONE_IN,
        }
    }

    /// The same for one of many campaigns, whose bounces come to us.
    pub fn of_campaign(seed: u64, campaign: String) -> Letter {
        Letter { mail_arguments: RETURN_PATH_ARGUMENTS, campaign, ..Letter::new(seed) }
    }

    /// Draws new recipients and takes new ids. Exactly one recipient in [`ONE_IN`] is suppressed.
    pub fn renew(&mut self, recipients: usize) {
        self.take_ids();
        for _ in 0..recipients {
            self.drawn += 1;
            let suppressed = self.drawn.is_multiple_of(ONE_IN);
            let contact = self.dice.below(SUPPRESSED) + if suppressed { 0 } else { SUPPRESSED };
            self.add(contact, push_contact, suppressed);
        }
    }

    /// Takes these subscribers for recipients, and new ids.
    pub fn renew_for(&mut self, subscribers: impl Iterator<Item = u64>, on_record: impl Fn(u64) -> bool) {
        self.take_ids();
        subscribers.for_each(|number| self.add(number, push_subscriber, on_record(number)));
    }

    fn take_ids(&mut self) {
        self.sent += 1;
        self.queue_id.clear();
        write!(self.queue_id, "{:05X}{:06X}", self.thread & 0xf_ffff, self.sent & 0xff_ffff).expect("a Vec takes all");
        self.message_id.clear();
        write!(self.message_id, "<winter-2026-47.{:x}.{:x}.{}@shop.bench.example>", self.thread, self.sent, run_id())
            .expect("a Vec takes all");
        self.text.clear();
        self.places.clear();
    }

    fn add(&mut self, number: u64, push: fn(&mut Vec<u8>, u64), on_record: bool) {
        let start = self.text.len();
        push(&mut self.text, number);
        let middle = self.text.len();
        self.text.push(b'<');
        self.text.extend_from_within(start..middle);
        if number.is_multiple_of(10) {
            // Some lists keep addresses as people typed them.
            self.text[middle + 1].make_ascii_uppercase();
        }
        self.text.extend_from_slice(b">\0");
        self.places.push((start, middle, self.text.len(), on_record));
    }

    pub fn queue_id(&self) -> &[u8] {
        &self.queue_id
    }

    pub fn sender(&self) -> &[u8] {
        let end = self.mail_arguments.iter().position(|&octet| octet == b'>').expect("written with its brackets");
        &self.mail_arguments[1..end]
    }

    pub fn mail_arguments(&self) -> &[u8] {
        self.mail_arguments
    }

    pub fn recipients(&self) -> impl Iterator<Item = Recipient<'_>> {
        self.places.iter().map(|&(start, middle, end, on_record)| Recipient {
            address: &self.text[start..middle],
            argument: &self.text[middle..end],
            on_record,
        })
    }

    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let field = |&(name, value): &(&'static str, &'static str)| {
            (name.as_bytes(), if name == CAMPAIGN_FIELD { self.campaign.as_bytes() } else { value.as_bytes() })
        };
        let (before, behind) = FIELDS.split_at(MESSAGE_ID_AFTER);
        let message_id = std::iter::once((b"Message-ID".as_slice(), self.message_id.as_slice()));
        before.iter().map(field).chain(message_id).chain(behind.iter().map(field))
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Header and body as a file with LF, for smtp-source.
    pub fn to_text(&self) -> String {
        let fields = self
            .headers()
            .map(|(name, value)| format!("{}: {}\n", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
        format!("{}\n{}", fields.collect::<String>(), String::from_utf8_lossy(&self.body).replace("\r\n", "\n"))
    }
}

/// Differs between two runs on the same store, so that no Message-ID comes twice.
fn run_id() -> u32 {
    std::process::id()
}

/// A notification as bounce(8) writes it: one recipient refused with 550 5.1.1, its message returned.
pub struct Notification {
    queue_id: Vec<u8>,
    contact: Vec<u8>,
    recipient_argument: Vec<u8>,
    headers: Vec<(&'static [u8], Vec<u8>)>,
    body: Vec<u8>,
}

/// Contacts that bounce are numbered from here, so that none is suppressed before.
static NEXT_BOUNCE: AtomicU64 = AtomicU64::new(10 * SUPPRESSED);

impl Notification {
    /// A notification about a contact that nobody has heard of.
    pub fn next() -> Notification {
        let number = NEXT_BOUNCE.fetch_add(1, Ordering::Relaxed);
        let mut contact = Vec::new();
        push_contact(&mut contact, number);
        let address = String::from_utf8_lossy(&contact).into_owned();
        let queue_id = format!("B{:010X}", number & 0xff_ffff_ffff);
        let original = format!("A{:010X}", number & 0xff_ffff_ffff);
        let boundary = format!("{original}.1795305008/mx.bench.example");
        let returned: String = FIELDS.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        let body = format!(
            "This is a MIME-encapsulated message.\n\n--{boundary}\nContent-Description: Notification\n\
             Content-Type: text/plain; charset=us-ascii\n\n\
             This is the mail system at host mx.bench.example.\n\n\
             The message could not be delivered to one recipient; it is attached.\n\n\
             <{address}>: host mx.mail.example[192.0.2.25] said: 550 5.1.1\n    <{address}>: Recipient address \
             rejected: User unknown (in reply to RCPT TO\n    command)\n\n--{boundary}\n\
             Content-Description: Delivery report\nContent-Type: message/delivery-status\n\n\
             Reporting-MTA: dns; mx.bench.example\nX-Postfix-Queue-ID: {original}\n\
             X-Postfix-Sender: rfc822; bounce@{RETURN_PATH_DOMAIN}\n\
             Arrival-Date: Sun, 22 Nov 2026 09:30:00 +0100 (CET)\n\n\
             Final-Recipient: rfc822; {address}\nOriginal-Recipient: rfc822;{address}\nAction: failed\n\
             Status: 5.1.1\nRemote-MTA: dns; mx.mail.example\n\
             Diagnostic-Code: smtp; 550 5.1.1 <{address}>: Recipient address rejected:\n    User unknown\n\n\
             --{boundary}\nContent-Description: Undelivered Message\nContent-Type: message/rfc822\n\n\
             Return-Path: <bounce@{RETURN_PATH_DOMAIN}>\n\
             Received: from app.bench.example (unknown [127.0.0.1])\n\tby mx.bench.example (Postfix) with ESMTP \
             id {original}\n\tfor <{address}>; Sun, 22 Nov 2026 09:30:00 +0100 (CET)\n\
             Message-ID: <bounce.{number}.{}@shop.bench.example>\n{returned}\nDear reader.\n\n--{boundary}--\n",
            run_id(),
        );
        let headers = vec![
            (b"Date".as_slice(), b"Sun, 22 Nov 2026 09:30:02 +0100 (CET)".to_vec()),
            (b"From", b"Mail Delivery System <MAILER-DAEMON@bench.example>".to_vec()),
            (b"Subject", b"Undelivered Mail Returned to Sender".to_vec()),
            (b"To", format!("bounce@{RETURN_PATH_DOMAIN}").into_bytes()),
            (b"Auto-Submitted", b"auto-replied".to_vec()),
            (b"MIME-Version", b"1.0".to_vec()),
            (
                b"Content-Type",
                format!("multipart/report; report-type=delivery-status;\n\tboundary=\"{boundary}\"").into_bytes(),
            ),
            (b"Message-Id", format!("<20261122083002.{queue_id}@mx.bench.example>").into_bytes()),
        ];
        Notification {
            queue_id: queue_id.into_bytes(),
            contact,
            recipient_argument: format!("bounce@{RETURN_PATH_DOMAIN}\0").into_bytes(),
            headers,
            body: body.replace('\n', "\r\n").into_bytes(),
        }
    }

    pub fn queue_id(&self) -> &[u8] {
        &self.queue_id
    }

    /// The contact it is about.
    pub fn contact(&self) -> &[u8] {
        &self.contact
    }

    /// The return path it goes to, bare, as cleanup tells it.
    pub fn recipient(&self) -> &[u8] {
        self.recipient_argument.strip_suffix(b"\0").expect("written with its NUL in next")
    }

    pub fn recipient_argument(&self) -> &[u8] {
        &self.recipient_argument
    }

    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.headers.iter().map(|(name, value)| (*name, value.as_slice()))
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }
}
