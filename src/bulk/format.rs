//! Which forms lists come in, and how a form is told from the first line.

use super::record::Fields;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// The form of a list. Columns may be separated by `,`, `;` or a tab, and their names are compared without case,
/// blanks, `_` and `-`. Where a first line alone cannot tell two forms apart, the caller names the one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("enum" = Format::ALL))]
pub enum Format {
    /// One subject a line; blank lines and what stands behind `#` are passed over, `Name <joe@example.org>` is read.
    Plain,
    /// One JSON object a line: ours, or any whose names are those of a CSV below.
    NdJson,
    /// A header with a column for the address, and any of category, type, code, reason, since, list: ours, too.
    Csv,
    /// SendGrid's bounces: status, reason, email, created.
    SendGridBounces,
    /// SendGrid's blocks, which have the columns of its bounces, so they are only read where they are named.
    /// SendGrid itself goes on mailing these addresses; imported as blocked, soft.
    SendGridBlocks,
    /// SendGrid's spam reports: email, ip, created.
    SendGridSpamReports,
    /// SendGrid's unsubscribes, global or of a group: email, created.
    SendGridUnsubscribes,
    /// SendGrid's invalid addresses: reason, email, created.
    SendGridInvalid,
    /// Mailgun's bounces: address, code, error, created_at.
    MailgunBounces,
    /// Mailgun's complaints: address, created_at.
    MailgunComplaints,
    /// Mailgun's unsubscribes: address, tag or tags, created_at. One tag is taken for a list, `*` and several
    /// for all mail.
    MailgunUnsubscribes,
    /// Amazon SES: EmailAddress, Reason (BOUNCE, COMPLAINT), LastUpdateTime; or address and reason without a header.
    AmazonSes,
    /// Postmark: EmailAddress, SuppressionReason, Origin, CreatedAt.
    Postmark,
    /// SparkPost, now Bird: recipient, type or the two flags, source, description, created, updated, list_id.
    SparkPost,
    /// listmonk's subscribers: uuid, email, name, attributes, status, created_at, updated_at.
    Listmonk,
    /// listmonk's bounces: email, type (hard, soft, complaint), source, meta, created_at, by whatever means taken
    /// out of its table or API.
    ListmonkBounces,
    /// Mailchimp's audience export: Email Address, and UNSUB_TIME or CLEAN_TIME with what belongs to them.
    Mailchimp,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 17] = [
        Format::Plain,
        Format::NdJson,
        Format::Csv,
        Format::SendGridBounces,
        Format::SendGridBlocks,
        Format::SendGridSpamReports,
        Format::SendGridUnsubscribes,
        Format::SendGridInvalid,
        Format::MailgunBounces,
        Format::MailgunComplaints,
        Format::MailgunUnsubscribes,
        Format::AmazonSes,
        Format::Postmark,
        Format::SparkPost,
        Format::Listmonk,
        Format::ListmonkBounces,
        Format::Mailchimp,
    ];

    /// The word for it on the command line and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Plain => "plain",
            Format::NdJson => "ndjson",
            Format::Csv => "csv",
            Format::SendGridBounces => "sendgrid-bounces",
            Format::SendGridBlocks => "sendgrid-blocks",
            Format::SendGridSpamReports => "sendgrid-spam-reports",
            Format::SendGridUnsubscribes => "sendgrid-unsubscribes",
            Format::SendGridInvalid => "sendgrid-invalid",
            Format::MailgunBounces => "mailgun-bounces",
            Format::MailgunComplaints => "mailgun-complaints",
            Format::MailgunUnsubscribes => "mailgun-unsubscribes",
            Format::AmazonSes => "amazon-ses",
            Format::Postmark => "postmark",
            Format::SparkPost => "sparkpost",
            Format::Listmonk => "listmonk",
            Format::ListmonkBounces => "listmonk-bounces",
            Format::Mailchimp => "mailchimp",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Format, String> {
        Format::ALL.into_iter().find(|format| format.as_str() == text).ok_or_else(|| {
            let words: Vec<&str> = Format::ALL.iter().map(|format| format.as_str()).collect();
            format!("\"{text}\" is no format of a list; it is one of {}", words.join(", "))
        })
    }
}

impl TryFrom<String> for Format {
    type Error = String;
    fn try_from(text: String) -> Result<Format, String> {
        text.parse()
    }
}

impl From<Format> for String {
    fn from(format: Format) -> String {
        format.as_str().to_owned()
    }
}

/// What the formats have in their columns. One name serves all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Address,
    Category,
    Type,
    Code,
    Reason,
    Words,
    Status,
    Source,
    Since,
    Updated,
    List,
    Tags,
    Transactional,
    NonTransactional,
    UnsubTime,
    UnsubWords,
    CleanTime,
    CleanTitle,
}

/// How many there are.
const COLUMNS: usize = Column::CleanTitle as usize + 1;

/// The column that a name stands for, and how willingly it is taken: of `email` and `address` in one header the
/// latter is where somebody lives.
fn column(name: &str) -> Option<(Column, u8)> {
    let column = match plain(name).as_str() {
        "email" | "emailaddress" => return Some((Column::Address, 4)),
        "recipient" | "recipientaddress" | "recipientemail" | "subscriberemail" | "contactemail" => {
            return Some((Column::Address, 3));
        }
        "mail" | "mailaddress" | "emailadresse" | "mailadresse" | "adressemail" | "correo" => {
            return Some((Column::Address, 3));
        }
        "address" => return Some((Column::Address, 2)),
        "hash" | "emailhash" | "domain" | "subject" => return Some((Column::Address, 1)),
        "category" => Column::Category,
        "type" | "bouncetype" => Column::Type,
        "code" | "bouncecode" => Column::Code,
        "reason" | "suppressionreason" => Column::Reason,
        "error" | "description" | "note" | "detail" | "details" | "diagnostic" | "diagnosticcode" | "meta" => {
            Column::Words
        }
        "status" => Column::Status,
        "source" | "origin" => Column::Source,
        "since" | "created" | "createdat" | "lastupdatetime" | "date" | "time" | "timestamp" => Column::Since,
        "updated" | "updatedat" => Column::Updated,
        "list" | "listid" | "scope" => Column::List,
        "tag" | "tags" => Column::Tags,
        "transactional" => Column::Transactional,
        "nontransactional" => Column::NonTransactional,
        "unsubtime" => Column::UnsubTime,
        "unsubreason" | "unsubcampaigntitle" => Column::UnsubWords,
        "cleantime" => Column::CleanTime,
        "cleancampaigntitle" => Column::CleanTitle,
        _ => return None,
    };
    Some((column, 1))
}

/// A name or word without case, blanks, `_` and `-`.
pub(super) fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, ' ' | '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// Where in a record each column stands.
#[derive(Clone, Copy, Default)]
pub(super) struct Places {
    places: [Option<usize>; COLUMNS],
    known: u32,
}

impl Places {
    /// Finds the columns among the names of a header or an object; of two alike the first counts.
    pub fn find<'a>(names: impl Iterator<Item = &'a str>) -> Places {
        let mut found = Places::default();
        let mut ranks = [0; COLUMNS];
        for (place, name) in names.enumerate() {
            match column(name) {
                Some((column, rank)) if rank > ranks[column as usize] => {
                    (ranks[column as usize], found.places[column as usize]) = (rank, Some(place));
                }
                Some(_) => {}
                None => found.known |= mark(&plain(name)),
            }
        }
        found
    }

    pub fn of(&self, column: Column) -> Option<usize> {
        self.places[column as usize]
    }

    fn has(&self, column: Column) -> bool {
        self.of(column).is_some()
    }

    /// The format these columns belong to.
    pub fn format(&self, names: &[&str]) -> Format {
        let named = |name: &str| names.iter().any(|known| plain(known) == name);
        let has = |column| self.has(column);
        if named("emailaddress") && (has(Column::UnsubTime) || has(Column::CleanTime) || self.known & MAILCHIMP != 0) {
            Format::Mailchimp
        } else if named("suppressionreason") {
            Format::Postmark
        } else if named("emailaddress") && named("reason") {
            Format::AmazonSes
        } else if named("email") && has(Column::Status) && self.known & LISTMONK == LISTMONK {
            Format::Listmonk
        } else if named("email") && has(Column::Type) && has(Column::Source) && named("createdat") {
            Format::ListmonkBounces
        } else if named("recipient") && (has(Column::Type) || has(Column::NonTransactional) || has(Column::Source)) {
            Format::SparkPost
        } else if named("address") && named("createdat") && !has(Column::Category) && !has(Column::List) {
            match (has(Column::Words) || has(Column::Code), has(Column::Tags)) {
                (true, _) => Format::MailgunBounces,
                (false, true) => Format::MailgunUnsubscribes,
                (false, false) => Format::MailgunComplaints,
            }
        } else if named("email") && named("created") && !has(Column::Category) && !has(Column::Type) {
            match (has(Column::Status), has(Column::Reason), self.known & IP != 0) {
                (true, _, _) => Format::SendGridBounces,
                (false, true, _) => Format::SendGridInvalid,
                (false, false, true) => Format::SendGridSpamReports,
                (false, false, false) => Format::SendGridUnsubscribes,
            }
        } else {
            Format::Csv
        }
    }
}

const MAILCHIMP: u32 = 1;
const LISTMONK: u32 = 2 | 4;
const IP: u32 = 8;

/// Names that only tell formats apart.
fn mark(name: &str) -> u32 {
    match name {
        "leid" | "euid" | "memberrating" | "optintime" | "confirmtime" => MAILCHIMP,
        "uuid" => 2,
        "attributes" => 4,
        "ip" => IP,
        _ => 0,
    }
}

/// What the first line of a list tells.
pub(super) enum First {
    /// A header, and what separates its names.
    Header { format: Format, delimiter: u8, places: Box<Places> },
    /// An entry already.
    Entry { format: Format, delimiter: u8 },
    /// Neither: why.
    Useless(&'static str),
}

/// Of what is from which list, an import would make one.
pub(super) const EXPORT_OF_ALL: &str =
    "an export of all, for other programs; import an export of suppressions, of the blocklist, of the Robinson list";

/// Looks at the first line that is not blank; `format` is what the caller knows already.
pub(super) fn first(line: &str, format: Option<Format>) -> First {
    let line = line.trim();
    match format {
        Some(format @ (Format::Plain | Format::NdJson)) => return First::Entry { format, delimiter: b',' },
        None if line == "{" => return First::Useless("JSON is read with one whole object a line (jq -c)"),
        None if line.starts_with('{') => return First::Entry { format: Format::NdJson, delimiter: b',' },
        None if line.starts_with('[') => {
            return First::Useless("a JSON array; write one object a line instead (jq -c '.[]')");
        }
        None | Some(_) => {}
    }
    let mut fields = Fields::default();
    let mut most = 1;
    for delimiter in [b',', b';', b'\t'] {
        fields.clear();
        if fields.split(line, delimiter, false) {
            continue;
        }
        let names: Vec<&str> = fields.iter().collect();
        let places = Places::find(names.iter().copied());
        if names.first() == Some(&"what") && names.contains(&"scope") && names.contains(&"event") {
            return First::Useless(EXPORT_OF_ALL);
        }
        if places.has(Column::Address) {
            let format = format.unwrap_or_else(|| places.format(&names));
            return First::Header { format, delimiter, places: Box::new(places) };
        }
        if let [address, reason] = names[..]
            && address.contains('@')
            && ["bounce", "complaint"].contains(&plain(reason).as_str())
            && format.is_none_or(|format| format == Format::AmazonSes)
        {
            return First::Entry { format: Format::AmazonSes, delimiter };
        }
        most = most.max(fields.len());
    }
    match format {
        None if most == 1 || line.contains('@') => First::Entry { format: Format::Plain, delimiter: b',' },
        None | Some(_) => First::Useless("no column of the header is called email, address or recipient"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_reads_back_as_written() {
        for format in Format::ALL {
            assert_eq!(format.as_str().parse(), Ok(format));
        }
        assert!("excel".parse::<Format>().is_err_and(|problem| problem.contains("sendgrid-blocks")));
    }

    #[test]
    fn the_first_line_tells_the_format() {
        for (line, want) in [
            ("joe@example.org", Some("plain")),
            ("Joe <joe@example.org>, ", Some("plain")),
            ("{\"address\": \"joe@example.org\"}", Some("ndjson")),
            ("email", Some("csv")),
            ("E-Mail;Name", Some("csv")),
            ("address,scope,category,type,code,reason,since,until,campaign,event", Some("csv")),
            ("status,reason,email,created", Some("sendgrid-bounces")),
            ("reason,email,created", Some("sendgrid-invalid")),
            ("email,ip,created", Some("sendgrid-spam-reports")),
            ("email,created", Some("sendgrid-unsubscribes")),
            ("address,code,error,created_at", Some("mailgun-bounces")),
            ("address,created_at", Some("mailgun-complaints")),
            ("address,tags,created_at", Some("mailgun-unsubscribes")),
            ("EmailAddress,Reason,LastUpdateTime", Some("amazon-ses")),
            ("joe@example.org,BOUNCE", Some("amazon-ses")),
            ("\"EmailAddress\",\"SuppressionReason\",\"Origin\",\"CreatedAt\"", Some("postmark")),
            ("recipient\ttype\tsource\tdescription", Some("sparkpost")),
            ("recipient,transactional,non_transactional", Some("sparkpost")),
            ("uuid,email,name,attributes,status,created_at,updated_at", Some("listmonk")),
            ("id,email,type,source,meta,created_at", Some("listmonk-bounces")),
            ("Email Address,First Name,Address,MEMBER_RATING,UNSUB_TIME,LEID", Some("mailchimp")),
            ("[", None),
            ("{", None),
            ("name,street", None),
        ] {
            let told = match first(line, None) {
                First::Header { format, .. } | First::Entry { format, .. } => Some(format.as_str()),
                First::Useless(_) => None,
            };
            assert_eq!(told, want, "{line}");
        }
    }

    #[test]
    fn of_two_columns_the_one_that_holds_mail_addresses_is_taken() {
        let places = Places::find(["Address", "Email Address", "email"].into_iter());
        assert_eq!(places.of(Column::Address), Some(1));
    }
}
