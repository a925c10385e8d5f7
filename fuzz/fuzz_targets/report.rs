//! Any octets as a mail: split, read and judged. The same mail with CRLF must say the same.
#![no_main]

use backstop::admin::classified;
use backstop::classify::Rules;
use backstop::mail::Limits;
use backstop::report::CampaignHeaders;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static RULES: LazyLock<Rules> = LazyLock::new(Rules::compiled_in);

fuzz_target!(|mail: &[u8]| {
    let answer = classified(mail, &Limits::default(), &CampaignHeaders::default(), &RULES);
    assert!(answer.recipients.len() <= 10_000, "{} recipients", answer.recipients.len());
});
