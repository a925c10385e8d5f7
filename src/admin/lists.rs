//! The operator's lists: the blocklist and the Robinson list.

use super::access::Caller;
use super::answer::{Format, Parameters, Refusal, blocking, csv_line, json, read_json};
use super::given::{Span, read_domain, read_limit, read_reason};
use super::listing::{self, Asked, Page, Row};
use super::routes::{App, must_write};
use super::wire::{BadEntry, ListAnswer, ListChangeAnswer, ListChangeRequest, ListEntry, Listing};
use crate::bulk::{HashedAddress, Subject};
use crate::mail::Address;
use crate::ops::event::{self, LogEvent, Touched};
use crate::policy::{OperatorList, What};
use crate::store::lists::ListedEntry;
use crate::store::{NewEvent, Store, StoreError};
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use jiff::Timestamp;
use std::sync::Arc;

/// Entries in one request, and of these recorded at once.
const MOST: usize = 10_000;
const AT_ONCE: usize = 500;

/// `GET /v1/blocklist`.
pub(super) async fn blocklist(app: State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    list(app, OperatorList::Blocklist, request).await
}

/// `GET /v1/robinson`.
pub(super) async fn robinson(app: State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    list(app, OperatorList::Robinson, request).await
}

/// `PUT /v1/blocklist`.
pub(super) async fn add_blocklist(
    app: State<Arc<App>>,
    caller: Extension<Caller>,
    request: Request,
) -> Result<Response, Refusal> {
    change(app, must_write(caller)?, OperatorList::Blocklist, Action::Add, request).await
}

/// `DELETE /v1/blocklist`.
pub(super) async fn remove_blocklist(
    app: State<Arc<App>>,
    caller: Extension<Caller>,
    request: Request,
) -> Result<Response, Refusal> {
    change(app, must_write(caller)?, OperatorList::Blocklist, Action::Remove, request).await
}

/// `PUT /v1/robinson`.
pub(super) async fn add_robinson(
    app: State<Arc<App>>,
    caller: Extension<Caller>,
    request: Request,
) -> Result<Response, Refusal> {
    change(app, must_write(caller)?, OperatorList::Robinson, Action::Add, request).await
}

/// `DELETE /v1/robinson`.
pub(super) async fn remove_robinson(
    app: State<Arc<App>>,
    caller: Extension<Caller>,
    request: Request,
) -> Result<Response, Refusal> {
    change(app, must_write(caller)?, OperatorList::Robinson, Action::Remove, request).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Add,
    Remove,
}

/// Which entries are listed.
struct Filter {
    domain: Option<String>,
    span: Span,
}

async fn list(State(app): State<Arc<App>>, list: OperatorList, request: Request) -> Result<Response, Refusal> {
    let query = Parameters::read(&request, &["domain", "since", "until", "cursor", "limit"])?;
    let format = Format::wanted(request.headers())?;
    let filter = Filter { domain: query.parse("domain", read_domain)?, span: Span::of(&query)? };
    let cursor = query.parse("cursor", |text| read_entry(text, list))?.map(String::from);
    let asked = Asked { format, cursor, limit: read_limit(&query)? };
    let store = app.service.store().clone();
    let read = move |cursor: Option<&str>, limit| page(&store, list, &filter, cursor, limit);
    listing::list(&app, asked, read, |entries, next| ListAnswer { entries, next }).await
}

fn page(
    store: &Store,
    list: OperatorList,
    filter: &Filter,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<ListEntry>, StoreError> {
    let (mut found, mut cursor) = (Vec::new(), cursor.map(str::to_owned));
    loop {
        let read = store.list_entries(list, cursor.as_deref(), limit - found.len())?;
        let admitted = read.entries.into_iter().map(ListEntry::from).filter(|entry| filter.admits(entry));
        found.extend(admitted);
        cursor = read.next;
        if found.len() == limit || cursor.is_none() {
            return Ok((found, cursor));
        }
    }
}

impl Filter {
    fn admits(&self, entry: &ListEntry) -> bool {
        let Some(domain) = &self.domain else { return self.span.holds(entry.since) };
        let of_domain = match entry.entry.parse() {
            Ok(Subject::Address(address)) => address.domain() == domain,
            Ok(Subject::Domain(listed)) => listed.trim_start_matches('.') == domain,
            Ok(Subject::Hash(_)) | Err(_) => false,
        };
        of_domain && self.span.holds(entry.since)
    }
}

impl Row for ListEntry {
    const CSV_HEAD: &'static str = "entry,since,event,batch\r\n";

    fn csv(&self) -> String {
        let batch = self.batch.map(|batch| batch.to_string()).unwrap_or_default();
        csv_line(&[&self.entry, &self.since.to_string(), &self.event.to_string(), &batch])
    }
}

async fn change(
    State(app): State<Arc<App>>,
    caller: Caller,
    list: OperatorList,
    action: Action,
    request: Request,
) -> Result<Response, Refusal> {
    let dry_run = Parameters::read(&request, &["dry_run"])?.flag("dry_run")?;
    let asked: ListChangeRequest = read_json(request).await?;
    let reason = read_reason(&asked.reason)?;
    if !(1..=MOST).contains(&asked.entries.len()) {
        return Err(Refusal::value(format!("`entries`: from 1 to {MOST} of them are wanted")));
    }
    let (mut subjects, mut bad) = (Vec::new(), Vec::new());
    for entry in asked.entries {
        match read_entry(&entry, list).and_then(|subject| not_erased(app.service.store(), subject)) {
            Ok(subject) => subjects.push(subject),
            Err(problem) => bad.push(BadEntry { entry, problem }),
        }
    }
    if let (true, Some(first)) = (subjects.is_empty(), bad.first()) {
        return Err(Refusal::value(format!("`entries`: \"{}\": {}", first.entry, first.problem)));
    }
    subjects.sort_unstable_by(|one, other| one.text().cmp(&other.text()));
    subjects.dedup();
    let all = subjects.len() as u64;
    let store = app.service.store().clone();
    let touched = blocking(move || {
        let mut touched = Vec::new();
        for subject in subjects {
            if is_on(&store, list, &subject)? == (action == Action::Remove) {
                touched.push(subject);
            }
        }
        Ok(touched)
    });
    let touched = touched.await?;
    let changed = touched.len() as u64;
    let (word, logged) = action.words(list);
    if !dry_run && changed > 0 {
        let at = Timestamp::now();
        let new = |subject: &Subject| {
            let address = if let Subject::Address(address) = subject { Some(address.clone()) } else { None };
            let (entry, reason, uid) = (subject.to_string(), reason.clone(), caller.uid);
            let what = match action {
                Action::Add => What::ListAdd { list, entry, reason, uid },
                Action::Remove => What::ListRemove { list, entry, reason, uid },
            };
            NewEvent { at, address, queue_id: None, what, content_key: None }
        };
        for some in touched.chunks(AT_ONCE) {
            app.service.store().record(some.iter().map(new).collect()).await?;
        }
        let on = Touched::Many(changed);
        event::say(&LogEvent::Operator { action: logged, on, uid: caller.uid, reason: &reason });
    }
    let unchanged = all - changed;
    Ok(json(&ListChangeAnswer { list, action: word.to_owned(), dry_run, changed, unchanged, bad }))
}

impl Action {
    /// The word for it in the answer and in the log.
    fn words(self, list: OperatorList) -> (&'static str, &'static str) {
        match (self, list) {
            (Action::Add, OperatorList::Blocklist) => ("add", "blocklist-add"),
            (Action::Add, OperatorList::Robinson) => ("add", "robinson-add"),
            (Action::Remove, OperatorList::Blocklist) => ("remove", "blocklist-remove"),
            (Action::Remove, OperatorList::Robinson) => ("remove", "robinson-remove"),
        }
    }
}

fn read_entry(text: &str, list: OperatorList) -> Result<Subject, String> {
    let subject: Subject = text.parse().map_err(|error: crate::bulk::SubjectError| error.to_string())?;
    match (list, &subject) {
        (OperatorList::Blocklist, Subject::Hash(_)) => {
            Err("a hash; the blocklist takes addresses and domains, the Robinson list takes hashes".to_owned())
        }
        (OperatorList::Robinson, Subject::Domain(_)) => {
            Err("a domain; the Robinson list takes addresses and hashes, the blocklist takes domains".to_owned())
        }
        (OperatorList::Blocklist, Subject::Address(_) | Subject::Domain(_))
        | (OperatorList::Robinson, Subject::Address(_) | Subject::Hash(_)) => Ok(subject),
    }
}

fn not_erased(store: &Store, subject: Subject) -> Result<Subject, String> {
    match &subject {
        Subject::Address(address) if store.is_erased(address) => {
            Err("it was erased and stays blocked; nothing is kept of it before it is reactivated".to_owned())
        }
        Subject::Address(_) | Subject::Domain(_) | Subject::Hash(_) => Ok(subject),
    }
}

/// Whether an entry is on a list, by just this entry.
fn is_on(store: &Store, list: OperatorList, subject: &Subject) -> Result<bool, StoreError> {
    let text = subject.text();
    let by_address = |address: &Address| -> Result<bool, StoreError> {
        Ok(store.listed_by(address)?.iter().any(|(on, listed)| *on == list && listed.entry == text))
    };
    match subject {
        Subject::Address(address) => by_address(address),
        Subject::Domain(domain) => {
            let below = if domain.starts_with('.') { "a" } else { "" };
            // Somebody there; a domain too long for that is on no list, as nobody is.
            Address::parse(&format!("postmaster@{below}{domain}")).map_or(Ok(false), |address| by_address(&address))
        }
        Subject::Hash(hashed) => {
            let before = just_before(hashed).to_string();
            let page = store.list_entries(list, Some(&before), 1)?;
            Ok(page.entries.first().is_some_and(|found| found.entry == text))
        }
    }
}

/// The hash that is one less; the list is in their order.
fn just_before(hashed: &HashedAddress) -> HashedAddress {
    let mut before = hashed.clone();
    for octet in before.digest.iter_mut().rev() {
        let borrow = *octet == 0;
        *octet = octet.wrapping_sub(1);
        if !borrow {
            break;
        }
    }
    before
}

/// By which entries an address is on the lists.
pub(super) fn listings(store: &Store, address: &Address) -> Result<Vec<Listing>, StoreError> {
    let found = store.listed_by(address)?;
    Ok(found.into_iter().map(|(list, entry)| Listing { list, entry: entry.into() }).collect())
}

impl From<ListedEntry> for ListEntry {
    fn from(listed: ListedEntry) -> ListEntry {
        let ListedEntry { entry, since, event, batch } = listed;
        ListEntry { entry, since, event, batch }
    }
}
