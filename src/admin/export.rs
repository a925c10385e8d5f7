//! Everything that keeps mail from somebody, for other programs: `backstopctl import` reads it again.

use super::answer::{Format, Parameters, Refusal, csv_line};
use super::given::LIMIT;
use super::listing::Row as _;
use super::routes::{App, turn};
use super::stream::{self, Broken, Pieces};
use super::wire::{HashedRow, ListRow, ListedSuppression, word};
use crate::bulk::{HashKind, HashedAddress, Subject, digest};
use crate::classify::Category;
use crate::mail::Address;
use crate::policy::{OperatorList, Policy, fold};
use crate::store::Store;
use crate::store::lists::ListedEntry;
use axum::extract::{Request, State};
use axum::response::Response;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

const LIST_HEAD: &str = "subject,since\r\n";
const HASHED_HEAD: &str = "subject,scope,category,type,code,since\r\n";

/// What is exported.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Suppressions,
    List(OperatorList),
    /// Each line says in `what` which it is from: for other programs, no import reads it.
    All,
}

/// What is put in the place of an address.
struct Hashed {
    kind: HashKind,
    salt: Option<String>,
}

/// `GET /v1/export?what=&hashed=&salt=`: NDJSON, or CSV by `Accept`.
pub(super) async fn export(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let query = Parameters::read(&request, &["what", "hashed", "salt"])?;
    let csv = Format::of_rows(request.headers())? == Format::Csv;
    let wanted = query.parse("what", |text| match text {
        "suppressions" => Ok(Wanted::Suppressions),
        "blocklist" => Ok(Wanted::List(OperatorList::Blocklist)),
        "robinson" => Ok(Wanted::List(OperatorList::Robinson)),
        "all" => Ok(Wanted::All),
        _ => Err("suppressions, blocklist, robinson or all is wanted".to_owned()),
    })?;
    let wanted = wanted.unwrap_or(Wanted::Suppressions);
    let hashed = read_hashed(&query)?;
    let place = turn(&app.lists, "the writing of 16 long lists")?;
    let (store, policy) = (app.service.store().clone(), app.service.in_force().policy.clone());
    let content_type = if csv { "text/csv; charset=utf-8" } else { "application/x-ndjson" };
    Ok(stream::list(content_type, place, move |pieces| {
        let mut export = Export { store, csv, wanted, hashed, pieces };
        export.head()?;
        if matches!(wanted, Wanted::Suppressions | Wanted::All) {
            export.suppressions(&policy, Timestamp::now())?;
        }
        for list in [OperatorList::Blocklist, OperatorList::Robinson] {
            if wanted == Wanted::All || wanted == Wanted::List(list) {
                export.list(list)?;
            }
        }
        Ok(())
    }))
}

fn read_hashed(query: &Parameters) -> Result<Option<Hashed>, Refusal> {
    let kind = query.parse("hashed", |text| match text {
        "sha256" => Ok(HashKind::Sha256),
        "sha1" => Ok(HashKind::Sha1),
        "md5" => Ok(HashKind::Md5),
        _ => Err("sha256, sha1 or md5 is wanted".to_owned()),
    })?;
    match (kind, query.get("salt")) {
        (None, Some(_)) => Err(Refusal::value("`salt` goes with `hashed=sha256`")),
        (Some(HashKind::Sha1 | HashKind::Md5), Some(_)) => {
            Err(Refusal::value("`salt` goes with `hashed=sha256` only; an import reads no other"))
        }
        (None, None) => Ok(None),
        (Some(kind), salt) => {
            let salt = salt.map(str::to_owned);
            let sample = HashedAddress { kind, salt: salt.clone(), digest: vec![0; kind.size()] };
            match sample.to_string().parse::<Subject>() {
                Ok(Subject::Hash(read)) if read == sample => Ok(Some(Hashed { kind, salt })),
                Ok(_) | Err(_) => Err(Refusal::value("`salt` is short and printable, without blanks, `:` and `%`")),
            }
        }
    }
}

struct Export<'a> {
    store: Store,
    csv: bool,
    wanted: Wanted,
    hashed: Option<Hashed>,
    pieces: &'a mut Pieces,
}

/// A line of the answer.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "tells only how the three kinds of line look")]
pub(super) enum Exported {
    Suppression(Row<ListedSuppression>),
    Hashed(Row<HashedRow>),
    Entry(Row<ListRow>),
}

/// A line, and where it is from where that is wanted.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Exported{T}")]
pub(super) struct Row<T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'static str>,
    #[serde(flatten)]
    row: T,
}

impl Export<'_> {
    fn head(&mut self) -> Result<(), Broken> {
        if !self.csv {
            return Ok(());
        }
        let what = if self.wanted == Wanted::All { "what," } else { "" };
        let head = match (&self.hashed, self.wanted) {
            (Some(_), _) => HASHED_HEAD,
            (None, Wanted::List(_)) => LIST_HEAD,
            (None, Wanted::Suppressions | Wanted::All) => ListedSuppression::CSV_HEAD,
        };
        self.pieces.write(format!("{what}{head}").as_bytes())
    }

    fn suppressions(&mut self, policy: &Policy, now: Timestamp) -> Result<(), Broken> {
        let mut cursor: Option<String> = None;
        loop {
            let page = self.store.contacts_on_record(cursor.as_deref(), LIMIT)?;
            for (address, contact) in page.entries {
                for suppression in fold(&contact, policy, contact.present(now)).suppressions {
                    let listed = ListedSuppression { address: address.clone(), suppression: (&suppression).into() };
                    match self.hashed.as_ref().map(|hashed| hashed.of(&address)) {
                        None => self.row("suppression", &listed, || listed.csv())?,
                        Some(subject) => {
                            let row = HashedRow {
                                subject,
                                scope: listed.suppression.scope,
                                category: suppression.category,
                                bounce_type: suppression.bounce_type,
                                code: suppression.code,
                                since: suppression.since,
                            };
                            self.row("suppression", &row, || hashed_csv(&row))?;
                        }
                    }
                }
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn list(&mut self, list: OperatorList) -> Result<(), Broken> {
        let mut cursor: Option<String> = None;
        loop {
            let page = self.store.list_entries(list, cursor.as_deref(), LIMIT)?;
            for ListedEntry { entry, since, .. } in page.entries {
                match &self.hashed {
                    None => {
                        let all = self.wanted == Wanted::All;
                        let row = ListRow { subject: entry, since };
                        self.row(list.as_str(), &row, || list_csv(&row, all))?;
                    }
                    Some(hashed) => {
                        let subject = match entry.parse() {
                            Ok(Subject::Address(address)) => hashed.of(&address),
                            // A domain is nobody's, and a hash is one already.
                            Ok(Subject::Domain(_) | Subject::Hash(_)) | Err(_) => entry,
                        };
                        let scope = "system".to_owned();
                        let row = HashedRow { subject, scope, category: None, bounce_type: None, code: None, since };
                        self.row(list.as_str(), &row, || hashed_csv(&row))?;
                    }
                }
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn row<T: Serialize>(&mut self, what: &'static str, row: &T, csv: impl FnOnce() -> String) -> Result<(), Broken> {
        let what = Some(what).filter(|_| self.wanted == Wanted::All);
        if !self.csv {
            return self.pieces.line(&Row { what, row });
        }
        if let Some(what) = what {
            self.pieces.write(format!("{what},").as_bytes())?;
        }
        self.pieces.write(csv().as_bytes())
    }
}

impl Hashed {
    fn of(&self, address: &Address) -> String {
        let digest = digest(self.kind, self.salt.as_deref(), address).to_vec();
        HashedAddress { kind: self.kind, salt: self.salt.clone(), digest }.to_string()
    }
}

/// Among suppressions, a list's entry has their columns.
fn list_csv(row: &ListRow, all: bool) -> String {
    let since = row.since.to_string();
    if all {
        csv_line(&[&row.subject, "system", "", "", "", "", &since, "", "", ""])
    } else {
        csv_line(&[&row.subject, &since])
    }
}

fn hashed_csv(row: &HashedRow) -> String {
    csv_line(&[
        &row.subject,
        &row.scope,
        row.category.map_or("", Category::as_str),
        &row.bounce_type.as_ref().map(word).unwrap_or_default(),
        &row.code.map(|code| code.to_string()).unwrap_or_default(),
        &row.since.to_string(),
    ])
}
