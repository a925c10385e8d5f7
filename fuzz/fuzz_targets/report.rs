//! Any octets as a mail: split, read by every reader and judged.
#![no_main]

use backstop::admin::classified;
use backstop::classify::Rules;
use backstop::mail::Limits;
use backstop::report::{CampaignHeaders, Dialects};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static DIALECTS: LazyLock<Dialects> = LazyLock::new(Dialects::compiled_in);
static RULES: LazyLock<Rules> = LazyLock::new(Rules::compiled_in);

fuzz_target!(|mail: &[u8]| {
    let answer = classified(mail, &Limits::default(), &CampaignHeaders::default(), &DIALECTS, &RULES);
    assert!(answer.recipients.len() <= 10_000, "{} recipients", answer.recipients.len());
});
