//! A store of one million suppressed contacts, made once and copied for each run.

use crate::mail::{SUPPRESSED, push_contact};
use anyhow::{Context, Result};
use backstop::classify::{BounceCode, BounceType, Category, Fault};
use backstop::mail::Address;
use backstop::ops::config::Config;
use backstop::policy::{Authority, Evidence, Response, What};
use backstop::report::{Campaign, Kind};
use backstop::store::schema::SCHEMA;
use backstop::store::{NewEvent, Settings, Store};
use jiff::{Timestamp, ToSpan};
use std::fs;
use std::path::{Path, PathBuf};

/// Contacts beside the million that `smtp-source` can name: `50reader@mail0.example`, `100reader@...`.
pub const READERS: u64 = 1000;

/// How the stores of the benchmark are opened: as by default.
pub fn settings(path: &Path) -> Result<Settings> {
    Ok(Settings { path: path.to_owned(), ..Config::parse(path, "")?.store })
}

/// A hard bounce of a contact, as `inbound` would record it.
pub fn hard_bounce(address: Address, at: Timestamp) -> NewEvent {
    let diagnostic = format!("550 5.1.1 <{address}>: Recipient address rejected: User unknown");
    let response = Response {
        class: Category::Rejected.class(),
        kind: Kind::Bounce,
        category: Some(Category::Rejected),
        bounce_type: Some(BounceType::Hard),
        code: Some(BounceCode { class: 5, subject: 1, detail: 1 }),
        reason: Some("user-unknown".to_owned()),
        fault: Some(Fault::Recipient),
        by_words: true,
        authority: Authority::Local,
        campaign: Some(Campaign("autumn-2026-41".to_owned())),
        list: None,
        sent_at: None,
    };
    let evidence = Evidence {
        description: "bad destination mailbox address".to_owned(),
        diagnostic: Some(diagnostic),
        status: Some("5.1.1".to_owned()),
        rule: Some("code-5.1.1".to_owned()),
        dialect: Some("dsn".to_owned()),
        reporting_mta: Some("mx.bench.example".to_owned()),
        remote_mta: Some("mx.mail.example".to_owned()),
        ..Evidence::default()
    };
    let what = What::Response { response: Box::new(response), evidence: Box::new(evidence) };
    NewEvent { at, address: Some(address), queue_id: Some("4XyZ12abcd".to_owned()), what, content_key: None }
}

/// The address of a contact by its number.
pub fn contact(number: u64) -> Address {
    let mut text = Vec::new();
    push_contact(&mut text, number);
    Address::parse_bytes(&text).expect("push_contact writes plain addresses")
}

/// A fresh copy of the store, `name` in `work`; the original is made if it is not there yet.
pub fn copy(work: &Path, name: &str) -> Result<PathBuf> {
    let original = work.join(format!("million-{SCHEMA}"));
    if !original.exists() {
        eprintln!("making a store of {SUPPRESSED} suppressed contacts, once");
        let unfinished = work.join("million.unfinished");
        remove(&unfinished)?;
        make(&unfinished)?;
        fs::rename(&unfinished, &original)?;
    }
    let copied = work.join(name);
    remove(&copied)?;
    fs::create_dir_all(&copied)?;
    copy_tree(&original, &copied).with_context(|| format!("cannot copy {}", original.display()))?;
    Ok(copied)
}

fn make(path: &Path) -> Result<()> {
    let store = Store::open(&settings(path)?)?;
    let now = Timestamp::now();
    let readers = (1..=READERS).map(|n| format!("{}reader@mail0.example", 50 * n));
    let readers = readers.map(|text| Address::parse(&text).expect("a plain address"));
    let mut addresses: Vec<Address> = (0..SUPPRESSED).map(contact).chain(readers).collect();
    addresses.sort_unstable();
    store.import(addresses.into_iter().zip(0i64..).map(|(address, place)| {
        // Spread over the last 300 days, in an order that has nothing to do with the address.
        let days = (place * 7919 % 300 * 24).hours();
        hard_bounce(address, now.checked_sub(days).unwrap_or(now))
    }))?;
    store.close()?;
    Ok(())
}

/// Removes a directory; one that is not there is no trouble.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Copies a directory, durably.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            // Now, or the system writes it back while the disk is measured.
            fs::File::open(target)?.sync_all()?;
        }
    }
    Ok(())
}
