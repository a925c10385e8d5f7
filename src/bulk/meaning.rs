//! What a row of a list says of its subject, in our words.
//!
//! | said | category | type | reason |
//! |---|---|---|---|
//! | bounce | rejected, or invalid where the code says so | hard | by the code, else `hard-bounce` |
//! | block | blocked | soft | by the code, else `blocked` |
//! | soft bounce | transient | soft | by the code, else `soft-bounce` |
//! | invalid address | rejected; invalid where the words blame the domain | hard | `address-syntax`, `domain-unknown` |
//! | complaint | complaint | | `spam-complaint` |
//! | unsubscribed | | | `unsubscribed` |
//! | put there by hand | | | `manual` |
//!
//! No rule judges the words; an enhanced status code among them is taken.

use super::CATEGORIES;
use super::format::{Column, Format, plain};
use super::when;
use crate::classify::{BounceCode, BounceType, Category, code, status};
use crate::mail::ListId;
use jiff::Timestamp;

/// Octets of a note.
const NOTE_BYTES: usize = 500;
/// Octets of a reason.
const REASON_BYTES: usize = 64;
/// RFC 5322 §2.1.1: no line of a header is longer.
const LIST_ID_BYTES: usize = 998;

/// What a row says beside its subject.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub category: Option<Category>,
    pub bounce_type: Option<BounceType>,
    pub code: Option<BounceCode>,
    pub reason: Option<String>,
    pub note: Option<String>,
    pub since: Option<Timestamp>,
    pub list: Option<ListId>,
}

/// What senders distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Bounce,
    SoftBounce,
    Block,
    Invalid,
    Complaint,
    Unsubscribed,
    Manual,
    /// May be mailed.
    Fine,
}

/// Reads a row, whose fields `get` gives. `None` if it says that the contact may be mailed.
///
/// # Errors
/// What is wrong, naming the column and what would do.
pub(super) fn read<'a>(format: Format, get: impl Fn(Column) -> &'a str) -> Result<Option<Said>, String> {
    let mut since = get(Column::Since);
    let mut words = get(Column::Words);
    let mut list = get(Column::List);
    let verdict = match format {
        Format::Plain => return Ok(Some(Said::default())),
        Format::NdJson | Format::Csv => return read_ours(get),
        Format::SendGridBounces | Format::SendGridBlocks | Format::SendGridInvalid => {
            words = get(Column::Reason);
            match format {
                Format::SendGridBlocks => Verdict::Block,
                Format::SendGridInvalid => Verdict::Invalid,
                _ => Verdict::Bounce,
            }
        }
        Format::MailgunBounces => Verdict::Bounce,
        Format::SendGridSpamReports | Format::MailgunComplaints => Verdict::Complaint,
        Format::SendGridUnsubscribes => Verdict::Unsubscribed,
        Format::MailgunUnsubscribes => {
            let tags = get(Column::Tags);
            if tags.contains([',', ';', ' ']) {
                words = tags;
            } else {
                list = tags;
            }
            Verdict::Unsubscribed
        }
        Format::AmazonSes => match plain(get(Column::Reason)).as_str() {
            "bounce" => Verdict::Bounce,
            "complaint" => Verdict::Complaint,
            _ => return Err(wrong("reason", get(Column::Reason), "BOUNCE or COMPLAINT")),
        },
        Format::Postmark => match (plain(get(Column::Reason)).as_str(), plain(get(Column::Source)).as_str()) {
            ("hardbounce", _) => Verdict::Bounce,
            ("spamcomplaint", _) => Verdict::Complaint,
            ("manualsuppression", "recipient") => Verdict::Unsubscribed,
            ("manualsuppression", _) => Verdict::Manual,
            _ => {
                let wanted = "HardBounce, SpamComplaint or ManualSuppression";
                return Err(wrong("suppression reason", get(Column::Reason), wanted));
            }
        },
        Format::SparkPost => {
            since = Some(since).filter(|since| !since.is_empty()).unwrap_or(get(Column::Updated));
            let flags = [get(Column::Transactional), get(Column::NonTransactional)];
            let cleared = flags.iter().any(|flag| !flag.is_empty())
                && flags.iter().all(|flag| flag.is_empty() || flag.eq_ignore_ascii_case("false") || *flag == "0");
            match plain(get(Column::Source)).as_str() {
                _ if cleared => Verdict::Fine,
                "bouncerule" => Verdict::Bounce,
                "spamcomplaint" => Verdict::Complaint,
                "listunsubscribe" | "unsubscribelink" => Verdict::Unsubscribed,
                _ => Verdict::Manual,
            }
        }
        Format::Listmonk => {
            since = Some(get(Column::Updated)).filter(|updated| !updated.is_empty()).unwrap_or(since);
            match plain(get(Column::Status)).as_str() {
                "blocklisted" | "blacklisted" | "disabled" => Verdict::Manual,
                "enabled" => Verdict::Fine,
                _ => return Err(wrong("status", get(Column::Status), "blocklisted, disabled or enabled")),
            }
        }
        // One soft bounce is no reason to listmonk either.
        Format::ListmonkBounces => match plain(get(Column::Type)).as_str() {
            "hard" => Verdict::Bounce,
            "complaint" => Verdict::Complaint,
            "soft" => Verdict::Fine,
            _ => return Err(wrong("type", get(Column::Type), "hard, soft or complaint")),
        },
        Format::Mailchimp => match (get(Column::CleanTime), get(Column::CleanTitle), get(Column::UnsubTime)) {
            ("", "", "") if get(Column::UnsubWords).is_empty() => Verdict::Fine,
            ("", "", unsubscribed) => {
                (since, words) = (unsubscribed, get(Column::UnsubWords));
                Verdict::Unsubscribed
            }
            (cleaned, title, _) => {
                (since, words) = (cleaned, title);
                Verdict::Bounce
            }
        },
    };
    if verdict == Verdict::Fine {
        return Ok(None);
    }
    let code = match format {
        Format::SendGridBounces | Format::SendGridBlocks => read_code(get(Column::Status), words),
        Format::MailgunBounces => read_code(get(Column::Code), words),
        Format::SparkPost | Format::ListmonkBounces if verdict == Verdict::Bounce => read_code("", words),
        _ => None,
    };
    let said = said(verdict, code, words);
    Ok(Some(Said { note: note(words), since: read_since(since)?, list: read_list(list)?, ..said }))
}

/// Our own exports and CSV that somebody made: a word is ours, or one that senders commonly use.
fn read_ours<'a>(get: impl Fn(Column) -> &'a str) -> Result<Option<Said>, String> {
    let (reason, kind) = (get(Column::Reason), get(Column::Type));
    let words = Some(get(Column::Words)).filter(|words| !words.is_empty());
    let status = get(Column::Status);
    let bounce_type = match plain(kind).as_str() {
        "hard" => Some(BounceType::Hard),
        "soft" => Some(BounceType::Soft),
        "" => None,
        _ if verdict(kind).is_some() => None,
        _ => return Err(wrong("type", kind, "hard or soft")),
    };
    // Status, type, reason: whichever says it first. Nothing said is nothing known.
    let verdict = verdict(status).or(verdict(kind)).or(verdict(reason));
    let category = match get(Column::Category) {
        "" => None,
        category => match read_category(category) {
            Some(category) => Some(category),
            None => return Err(wrong("category", category, &categories())),
        },
    };
    let code = match get(Column::Code) {
        "" => read_code(status, words.unwrap_or(reason)),
        code => read_code(code, words.unwrap_or(reason)),
    };
    if verdict == Some(Verdict::Fine) {
        return Ok(None);
    }
    let said = match verdict {
        Some(verdict) if category.is_none() => said(verdict, code, words.unwrap_or(reason)),
        _ => Said { category, bounce_type, code, ..Said::default() },
    };
    let word = is_word(reason) && (category.is_some() || self::verdict(reason).is_none());
    let since = Some(get(Column::Since)).filter(|since| !since.is_empty()).unwrap_or(get(Column::Updated));
    Ok(Some(Said {
        bounce_type: bounce_type.or(said.bounce_type),
        reason: if word { Some(reason.to_owned()) } else { said.reason },
        note: note(words.unwrap_or(if is_word(reason) || self::verdict(reason).is_some() { "" } else { reason })),
        since: read_since(since)?,
        list: read_list(get(Column::List))?,
        ..said
    }))
}

/// The words senders have for it.
fn verdict(word: &str) -> Option<Verdict> {
    Some(match plain(word).as_str() {
        "bounce" | "bounced" | "hardbounce" | "hard" | "hardbounced" | "permanent" | "permanentbounce" | "cleaned" => {
            Verdict::Bounce
        }
        "softbounce" | "soft" | "softbounced" | "temporary" => Verdict::SoftBounce,
        "block" | "blocked" => Verdict::Block,
        "invalid" | "invalidemail" | "invalidaddress" => Verdict::Invalid,
        "complaint" | "complained" | "spam" | "spamcomplaint" | "spamreport" | "abuse" => Verdict::Complaint,
        "unsubscribe" | "unsubscribed" | "unsub" | "optout" | "optedout" | "listunsubscribe" => Verdict::Unsubscribed,
        "manual" | "manualblock" | "manualsuppression" | "blocklist" | "blocklisted" | "blacklist" | "blacklisted" => {
            Verdict::Manual
        }
        "active" | "subscribed" | "enabled" | "confirmed" => Verdict::Fine,
        _ => return None,
    })
}

fn said(verdict: Verdict, code: Option<BounceCode>, words: &str) -> Said {
    let row = code.filter(|code| status::telling(*code)).map(code::entry);
    let by_code = |category, bounce_type, word: &'static str| {
        let row = row.filter(|row| row.category == category);
        let reason = row.map_or(word, |row| row.reason);
        (Some(category), Some(bounce_type), Some(reason))
    };
    let domain_is_wrong = row.is_some_and(|row| row.category == Category::Invalid);
    let (category, bounce_type, reason) = match verdict {
        Verdict::Bounce if domain_is_wrong => by_code(Category::Invalid, BounceType::Hard, "domain-unknown"),
        Verdict::Bounce => by_code(Category::Rejected, BounceType::Hard, "hard-bounce"),
        Verdict::SoftBounce => by_code(Category::Transient, BounceType::Soft, "soft-bounce"),
        Verdict::Block => by_code(Category::Blocked, BounceType::Soft, "blocked"),
        Verdict::Invalid if words.to_ascii_lowercase().contains("domain") => {
            by_code(Category::Invalid, BounceType::Hard, "domain-unknown")
        }
        Verdict::Invalid => by_code(Category::Rejected, BounceType::Hard, "address-syntax"),
        Verdict::Complaint => (Some(Category::Complaint), None, Some("spam-complaint")),
        Verdict::Unsubscribed => (None, None, Some("unsubscribed")),
        Verdict::Manual => (None, None, Some("manual")),
        Verdict::Fine => (None, None, None),
    };
    Said { category, bounce_type, code, reason: reason.map(str::to_owned), ..Said::default() }
}

/// The code of the field made for it, unless it only tells the class and the words tell more.
fn read_code(field: &str, words: &str) -> Option<BounceCode> {
    let own = BounceCode::try_from(field.to_owned()).ok().or_else(|| status::read_status(field));
    match own {
        Some(own) if status::telling(own) => Some(own),
        own => status::codes_in(words).best().or(own),
    }
}

fn read_category(word: &str) -> Option<Category> {
    CATEGORIES.into_iter().find(|category| word.eq_ignore_ascii_case(category.as_str()))
}

fn categories() -> String {
    CATEGORIES.map(Category::as_str).join(", ")
}

fn read_since(text: &str) -> Result<Option<Timestamp>, String> {
    match text {
        "" => Ok(None),
        text => when::read(text).map(Some).ok_or_else(|| wrong("time", text, when::WANTED)),
    }
}

/// `system` and `*` are all mail.
fn read_list(text: &str) -> Result<Option<ListId>, String> {
    let id = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
    if id.is_empty() || id == "*" || id.eq_ignore_ascii_case("system") {
        return Ok(None);
    }
    if id.len() > LIST_ID_BYTES || id.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(wrong("list", text, "\"system\" or the id of one list, as in its List-ID"));
    }
    Ok(Some(ListId(id.to_lowercase())))
}

/// Words on one line, cut.
fn note(words: &str) -> Option<String> {
    let mut note = String::new();
    for word in words.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !note.is_empty() {
            note.push(' ');
        }
        note.push_str(word);
        if note.len() > NOTE_BYTES {
            note.truncate(note.floor_char_boundary(NOTE_BYTES));
            break;
        }
    }
    Some(note).filter(|note| !note.is_empty())
}

/// One word in the style of our reasons.
fn is_word(text: &str) -> bool {
    (1..=REASON_BYTES).contains(&text.len())
        && text.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-')
}

fn wrong(column: &str, value: &str, wanted: &str) -> String {
    let value = value.get(..value.floor_char_boundary(80)).unwrap_or_default().escape_debug();
    format!("{column}: \"{value}\" cannot be used; write {}", wanted.trim_start_matches("write "))
}
