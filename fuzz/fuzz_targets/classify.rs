//! Any text as the words of a server: whatever it says, it gets a judgement, and the same one again.
#![no_main]

use backstop::classify::{Rules, classify, status};
use backstop::report::{Action, Recipient};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static RULES: LazyLock<Rules> = LazyLock::new(Rules::compiled_in);

fuzz_target!(|words: (&str, &str, bool)| {
    let (status_field, diagnostic, delayed) = words;
    let _ = status::read_status(status_field);
    let recipient = Recipient {
        address: None,
        original_recipient: None,
        final_recipient: None,
        action: if delayed { Action::Delayed } else { Action::Failed },
        status: Some(status_field.to_owned()),
        diagnostic_type: Some("smtp".to_owned()),
        diagnostic_code: Some(diagnostic.to_owned()),
        remote_mta: None,
        will_retry_until: None,
    };
    assert_eq!(classify(&recipient, "rfc3464", &RULES), classify(&recipient, "rfc3464", &RULES));
});
