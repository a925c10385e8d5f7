//! The page around the rows: `page.html` with its slots filled, and each row as markup and as JSON.

use super::charts;
use super::text::{self, BOUNCES, COMPLAINTS, count, html};
use crate::admin::wire::word;
use crate::admin::wire_campaigns::{CampaignAnswer, CampaignResponse};
use crate::ctl::table::clean;
use crate::ctl::when;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The columns: class of the cell, head. The first is the head of its row.
const COLUMNS: [(&str, &str); 10] = [
    ("", "Contact"),
    ("at", "Date (UTC)"),
    ("", "Code"),
    ("", "Type"),
    ("said", "Description"),
    ("", "Kind"),
    ("", "Category"),
    ("", "Reason"),
    ("", "Authority"),
    ("", "Retracted"),
];
/// Characters of a reply that are shown; the whole of it is in the CSV.
const REPLY: usize = 2000;
/// Characters of any other cell.
const CELL: usize = 400;

/// What stands before the rows and behind them.
pub struct Around {
    /// Up to the body of the table.
    pub before: String,
    /// From its end on.
    pub behind: String,
}

/// The page of a report, made at `now`.
pub fn around(report: &CampaignAnswer, now: Timestamp) -> Around {
    let slot = |name: &str| match name {
        "style-hash" => hash(STYLE),
        "script-hash" => hash(SCRIPT),
        "style" => STYLE.to_owned(),
        "script" => SCRIPT.to_owned(),
        "version" => env!("CARGO_PKG_VERSION").to_owned(),
        "campaign" => html(&text::cut(&report.campaign.0, CELL)),
        "facts" => facts(report, now),
        "rates" => {
            charts::rate("Complaints", report.complaints, report.sent, COMPLAINTS)
                + &charts::rate("Bounces", report.bounces.total, report.sent, BOUNCES)
        }
        "totals" => totals(report),
        "days" => charts::days(&report.by_day),
        "providers" => charts::providers(&report.by_provider),
        "categories" => charts::categories(report),
        "heads" => heads(),
        other => unreachable!("page.html has no slot {other}"),
    };
    let (before, behind) = PAGE.split_once("@rows@").expect("page.html has a place for the rows");
    Around { before: filled(before, slot), behind: filled(behind, slot) }
}

/// Fills the slots in one pass: what is put into one is never read for slots.
fn filled(template: &str, slot: impl Fn(&str) -> String) -> String {
    let pieces = template.split('@').enumerate();
    pieces.map(|(place, piece)| if place % 2 == 0 { piece.to_owned() } else { slot(piece) }).collect()
}

/// The source of an inline style or script in a Content-Security-Policy (CSP 3 §2.3.1).
fn hash(content: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut base64 = String::new();
    for three in Sha256::digest(content).chunks(3) {
        let bits = three.iter().fold(0u32, |bits, octet| bits << 8 | u32::from(*octet)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            base64.push(if place > three.len() { '=' } else { char::from(digit) });
        }
    }
    format!("sha256-{base64}")
}

fn facts(report: &CampaignAnswer, now: Timestamp) -> String {
    let lists: Vec<String> = report.lists.iter().map(|list| html(&list.0)).collect();
    let period = match (report.first_at, report.last_at) {
        (Some(first), Some(last)) => format!("{} to {} UTC", when::shown(first), when::shown(last)),
        _ => String::new(),
    };
    let name = if lists.len() == 1 { "List" } else { "Lists" };
    [(name, lists.join(", ")), ("Period", period), ("Made", format!("{} UTC", when::shown(now)))]
        .into_iter()
        .filter(|(_, fact)| !fact.is_empty())
        .map(|(name, fact)| format!("<dt>{name}</dt><dd>{fact}</dd>"))
        .collect()
}

fn totals(report: &CampaignAnswer) -> String {
    let bounces = &report.bounces;
    let untyped = match bounces.total.saturating_sub(bounces.hard + bounces.soft) {
        0 => String::new(),
        untyped => format!(", {} of unknown type", count(untyped)),
    };
    let types = format!("{} hard, {} soft{untyped}", count(bounces.hard), count(bounces.soft));
    let shadow = match report.skipped.shadow {
        0 => String::new(),
        shadow => format!("{} more in shadow mode, not taken off", count(shadow)),
    };
    let unless = |number: u64, words: &str| if number == 0 { String::new() } else { words.to_owned() };
    let figures: [(&str, u64, String); 12] = [
        ("Sent", report.sent, if report.sent == 0 { "none is known" } else { "" }.to_owned()),
        ("Never sent", report.skipped.total, shadow),
        ("Bounces", bounces.total, if bounces.total == 0 { String::new() } else { types }),
        ("Complaints", report.complaints, String::new()),
        ("Opt-outs", report.opt_outs, String::new()),
        ("Automatic replies", report.autoreplies, String::new()),
        ("Reported as not spam", report.not_spam, String::new()),
        ("Reported as delivered", report.delivered, String::new()),
        ("Reported as delayed", report.delayed, String::new()),
        ("Retracted", report.retracted, unless(report.retracted, "bounces of contacts that proved alive")),
        ("Unverified", report.unverified, unless(report.unverified, "not counted: nothing vouches for them")),
        ("Contacts", report.contacts, unless(report.contacts, "with anything of this")),
    ];
    let one = |(name, number, more): (&str, u64, String)| {
        let more = if more.is_empty() { more } else { format!("<dd class=\"more\">{more}</dd>") };
        format!("<div><dt>{name}</dt><dd class=\"figure\">{}</dd>{more}</div>", count(number))
    };
    figures.into_iter().map(one).collect()
}

fn heads() -> String {
    let one = |(class, head): &(&str, &str)| {
        format!("<th role=\"columnheader\" scope=\"col\"{}>{head}</th>", class_of(class))
    };
    COLUMNS.iter().map(one).collect()
}

fn class_of(class: &str) -> String {
    if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") }
}

/// A row: a cell for each column, then the words of the reply.
pub struct Row([String; COLUMNS.len() + 1]);

impl Row {
    /// The row of a response.
    pub fn of(response: &CampaignResponse) -> Row {
        let fit = |text: Option<&str>, most: usize| text::cut(&clean(text.unwrap_or_default()), most);
        // What Backstop itself took off has no report, so nobody to believe.
        let own_skip = response.authority.is_none();
        Row([
            fit(Some(&response.address), CELL),
            response.at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            response.code.map(|code| code.to_string()).unwrap_or_default(),
            response.bounce_type.map_or("", |bounce_type| bounce_type.as_str()).to_owned(),
            fit(response.description.as_deref(), CELL),
            if own_skip { "skip".to_owned() } else { word(&response.kind) },
            response.category.map_or("", |category| category.as_str()).to_owned(),
            fit(response.reason.as_deref(), CELL),
            response.authority.map_or("", |authority| authority.as_str()).to_owned(),
            if response.retracted { "retracted" } else { "" }.to_owned(),
            fit(response.diagnostic.as_deref(), REPLY),
        ])
    }

    /// The row for readers without scripts, as `page.js` makes it.
    pub fn html(&self) -> String {
        let mut row = String::from("<tr role=\"row\">");
        for ((class, head), cell) in COLUMNS.iter().zip(&self.0) {
            let shown = match *class {
                "said" => self.said(),
                "at" => html(cell.get(..16).unwrap_or(cell)),
                _ => html(cell),
            };
            row += &if *head == COLUMNS[0].1 {
                format!("<th role=\"rowheader\" scope=\"row\">{shown}</th>")
            } else {
                format!("<td role=\"cell\" data-label=\"{head}\"{}>{shown}</td>", class_of(class))
            };
        }
        row + "</tr>\n"
    }

    fn said(&self) -> String {
        let (description, reply) = (&self.0[4], &self.0[COLUMNS.len()]);
        match (description.is_empty() && reply.is_empty(), reply.is_empty()) {
            (true, _) => String::new(),
            (_, true) => format!("<div>{}</div>", html(description)),
            (_, false) => format!(
                "<div>{}<details class=\"reply\"><summary>{}</summary></details></div>",
                html(description),
                html(reply)
            ),
        }
    }

    /// The row for `page.js`.
    pub fn json(&self) -> String {
        text::json(&self.0.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Campaign;

    #[test]
    fn a_campaigns_name_is_never_read_as_a_slot_or_as_markup() {
        let name = "@script@</title><script>alert(1)</script>";
        let page = around(&CampaignAnswer::nothing(Campaign(name.to_owned())), Timestamp::UNIX_EPOCH);
        assert!(page.before.contains("<h1>@script@&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;</h1>"));
        assert_eq!(page.before.matches("<script").count() + page.behind.matches("<script").count(), 1);
    }

    #[test]
    fn style_and_script_have_the_hashes_that_the_policy_names() {
        // Of the empty text, as in RFC 6234 and every table of hashes.
        assert_eq!(hash(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        let page = around(&CampaignAnswer::nothing(Campaign("77".to_owned())), Timestamp::UNIX_EPOCH);
        let policy = format!("style-src '{}'; script-src '{}'", hash(STYLE), hash(SCRIPT));
        assert!(page.before.contains(&policy), "{}", page.before);
        assert!(page.before.contains(&format!("<style>{STYLE}</style>")));
        assert!(page.behind.contains(&format!("<script>{SCRIPT}</script>")));
        // Hashes are of what the parser sees: no carriage return, and nothing that ends the element early.
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</") && !SCRIPT.contains("<!--"));
    }

    #[test]
    fn every_figure_of_nothing_at_all_is_shown_as_nothing() {
        let page = around(&CampaignAnswer::nothing(Campaign("77".to_owned())), Timestamp::UNIX_EPOCH).before;
        for words in ["Not known", "Nothing came back", "No provider is on record", "No day is on record"] {
            assert!(page.contains(words), "{words}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf%"));
    }
}
