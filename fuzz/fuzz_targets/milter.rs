//! Any octets as what the MTA sends: cut into packets, read as commands, stepped through a session.
#![no_main]

use backstop::milter::command::Command;
use backstop::milter::packet::Cutter;
use backstop::milter::{Choose, Conclusion, ForwardPath, Interest, Limits, Session, SmtpReply, Step, Transaction, Wanted};
use libfuzzer_sys::fuzz_target;

struct ByCount;

impl Choose for ByCount {
    fn interest(&self, transaction: &Transaction) -> Interest {
        match transaction.recipients.len() % 3 {
            0 => Interest::Idle,
            1 => Interest::Screening,
            _ => Interest::Inspecting,
        }
    }

    fn refuse(&self, _: &Transaction, recipient: &ForwardPath) -> Option<SmtpReply> {
        let refuse = recipient.argument.first() == Some(&b'!');
        refuse.then(|| SmtpReply { code: 550, enhanced: (5, 7, 1), text: "no % no".into() })
    }
}

fuzz_target!(|octets: &[u8]| {
    let wanted = Wanted { answer_recipients: true, change_sender: true, change_headers: true, add_recipients: true, helo: true };
    let limits = Limits { packet_bytes: 4096, headers: 20, header_bytes: 2000, body_bytes: 2000, recipients: 10 };
    let mut session = Session::new(wanted, limits);
    let mut cutter = Cutter::new(4096);
    let (mut rest, mut out) = (octets, Vec::new());
    while !rest.is_empty() {
        let space = cutter.space();
        let count = space.len().min(rest.len());
        space[..count].copy_from_slice(&rest[..count]);
        rest = &rest[count..];
        cutter.filled(count);
        while let Ok(Some(packet)) = cutter.next_packet() {
            let Ok(command) = Command::read(packet) else { return };
            match session.step(command, &ByCount, &mut out) {
                Ok(Step::Conclude(_)) => {
                    let transaction = session.transaction();
                    assert!(transaction.recipients.len() <= 10 && transaction.body.len() <= 2000);
                    session.conclude(&Conclusion::pass(), &mut out);
                }
                Ok(Step::Continue) => {}
                Ok(Step::Quit) | Err(_) => return,
            }
        }
        if count == 0 {
            return;
        }
    }
});
