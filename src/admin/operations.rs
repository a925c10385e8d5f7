//! Every request of the admin socket (SPEC 12), a line for each. Whoever adds one adds a line here: the router, who
//! may ask, and `/v1/openapi.json` follow from it.

use super::given::MOST;
use super::operation::{Operation, Parameter, Value, delete, get, post, put};
use super::wire::*;
use super::wire_campaigns::{CampaignAnswer, CampaignResponse, CampaignResponsesAnswer};
use super::wire_policy::PolicyAnswer;
use super::wire_reports::{CampaignRow, CampaignsAnswer, DayRow, DaysAnswer, ProviderRow, ProvidersAnswer};
use super::{
    activity, attributes, backup, batches, campaigns, confirm, contacts, erasure, events, explain, export, hooks,
    imports, lists, mails, metrics, openapi, policy, reports, status, suppressions,
};
use crate::classify::Category;
use crate::hooks::{HookStatus, SkipAnswer, TestAnswer};
use crate::policy::{CATEGORIES, Event};
use crate::store::stats::Stats;
use schemars::json_schema;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Every request, in the order of the specification.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        get("/v1/status", status::status, "How the daemon is").answers::<Status>(),
        get("/v1/contacts/{address}", contacts::show, "How a contact stands, and on what evidence")
            .answers::<ContactAnswer>()
            .refuses(&[404]),
        get("/v1/contacts/{address}/explain", explain::get, "Why a contact may or may not be mailed")
            .takes(&[&LIST, &CAMPAIGN])
            .answers::<ExplainAnswer>()
            .refuses(&[404]),
        post("/v1/contacts/{address}/suppress", contacts::suppress, "Keep campaign mail from a contact")
            .takes(&[&DRY_RUN])
            .reads::<ChangeRequest>()
            .answers::<ChangeAnswer>()
            .refuses(&[409]),
        post("/v1/contacts/{address}/reactivate", contacts::reactivate, "Let a contact be mailed again")
            .takes(&[&DRY_RUN])
            .reads::<ChangeRequest>()
            .answers::<ChangeAnswer>()
            .refuses(&[404]),
        put("/v1/contacts/{address}/attributes", attributes::put, "Replace what is known of a contact")
            .takes(&[&DRY_RUN, &WHY])
            .reads::<BTreeMap<String, AttributeValue>>()
            .answers::<AttributesAnswer>()
            .refuses(&[409]),
        put("/v1/contacts/{address}/limit", attributes::put_limit, "A contact's own message limit; null for none")
            .takes(&[&DRY_RUN, &WHY])
            .reads::<Option<ContactLimit>>()
            .answers::<LimitAnswer>()
            .refuses(&[409]),
        delete("/v1/contacts/{address}", erasure::erase, "Erase a person's data; the address stays blocked")
            .takes(&[&KEEP_HASH, &DRY_RUN])
            .reads::<ReasonRequest>()
            .answers::<EraseAnswer>(),
        post("/v1/check", contacts::check, "Which of these addresses must not be mailed")
            .only_asks()
            .takes(&[&LIST])
            .reads::<Vec<String>>()
            .answers::<Vec<CheckAnswer>>(),
        get("/v1/suppressions", suppressions::list, "Everybody who is suppressed, in order of address")
            .takes(&[&SCOPE, &CATEGORY, &DOMAIN, &SINCE, &UNTIL, &CURSOR, &LIMIT])
            .lists::<SuppressionsAnswer, ListedSuppression>(),
        get("/v1/blocklist", lists::blocklist, "Addresses and domains that get no campaign mail")
            .takes(&[&DOMAIN, &SINCE, &UNTIL, &CURSOR, &LIMIT])
            .lists::<ListAnswer, ListEntry>(),
        put("/v1/blocklist", lists::add_blocklist, "Put entries on the blocklist")
            .takes(&[&DRY_RUN])
            .reads::<ListChangeRequest>()
            .answers::<ListChangeAnswer>(),
        delete("/v1/blocklist", lists::remove_blocklist, "Take entries off the blocklist")
            .takes(&[&DRY_RUN])
            .reads::<ListChangeRequest>()
            .answers::<ListChangeAnswer>(),
        get("/v1/robinson", lists::robinson, "People who want no advertising: addresses and hashes")
            .takes(&[&DOMAIN, &SINCE, &UNTIL, &CURSOR, &LIMIT])
            .lists::<ListAnswer, ListEntry>(),
        put("/v1/robinson", lists::add_robinson, "Put entries on the Robinson list")
            .takes(&[&DRY_RUN])
            .reads::<ListChangeRequest>()
            .answers::<ListChangeAnswer>(),
        delete("/v1/robinson", lists::remove_robinson, "Take entries off the Robinson list")
            .takes(&[&DRY_RUN])
            .reads::<ListChangeRequest>()
            .answers::<ListChangeAnswer>(),
        post("/v1/import", imports::import, "Bring a list along")
            .takes(&[&IMPORT_LIST, &FORMAT, &SOURCE, &DRY_RUN, &REASON])
            .reads_list()
            .answers_lines::<ImportLine>()
            .refuses(&[409]),
        get("/v1/export", export::export, "Everything that keeps mail from somebody, for other programs")
            .takes(&[&WHAT, &HASHED, &SALT])
            .lists_rows::<export::Exported>(),
        get("/v1/batches", batches::list, "Every import, oldest first")
            .takes(&[&SINCE, &UNTIL, &CURSOR, &LIMIT])
            .lists::<BatchesAnswer, BatchAnswer>(),
        post("/v1/batches/{batch}/revert", batches::revert, "Take an import back, whole")
            .takes(&[&DRY_RUN])
            .reads::<ReasonRequest>()
            .answers_lines::<RevertLine>()
            .refuses(&[404, 409]),
        post("/v1/activity", activity::post, "Signs of life: opened, clicked, replied, bought")
            .takes(&[&DRY_RUN, &WHY])
            .reads::<OneOrMany<ActivityRequest>>()
            .answers::<ActivityAnswer>(),
        get("/v1/campaigns", reports::campaigns, "What each campaign did, the latest first")
            .takes(&[&SINCE, &UNTIL, &CURSOR, &LIMIT])
            .lists::<CampaignsAnswer, CampaignRow>(),
        get("/v1/campaigns/{campaign}", campaigns::report, "What a campaign did, in figures")
            .answers::<CampaignAnswer>()
            .refuses(&[404]),
        get("/v1/campaigns/{campaign}/responses", campaigns::responses, "What came back from each contact")
            .takes(&[&CURSOR, &LIMIT])
            .lists::<CampaignResponsesAnswer, CampaignResponse>()
            .refuses(&[404]),
        get("/v1/report/providers", reports::providers, "What all campaigns did at each mailbox provider")
            .takes(&[&SINCE, &UNTIL])
            .lists::<ProvidersAnswer, ProviderRow>(),
        get("/v1/report/days", reports::days, "What all campaigns did on each day")
            .takes(&[&SINCE, &UNTIL])
            .lists::<DaysAnswer, DayRow>(),
        get("/v1/events", events::events, "What happened, oldest first; NDJSON where nothing is said")
            .takes(&[&EVENTS_SINCE, &UNTIL, &FOLLOW, &CURSOR, &LIMIT])
            .lists_rows::<Event>()
            .answers::<EventsAnswer>(),
        post("/v1/events/{event}/void", batches::void, "Undo one event")
            .takes(&[&DRY_RUN])
            .reads::<ReasonRequest>()
            .answers::<VoidAnswer>()
            .refuses(&[404, 409]),
        post("/v1/events/{event}/confirm", confirm::one, "Vouch for a response that nothing vouched for")
            .takes(&[&DRY_RUN])
            .reads::<ReasonRequest>()
            .answers::<ConfirmAnswer>()
            .refuses(&[404, 409]),
        post("/v1/confirm", confirm::many, "Vouch for many responses")
            .takes(&[&DRY_RUN])
            .reads::<ConfirmRequest>()
            .answers_lines::<ConfirmLine>()
            .refuses(&[409]),
        post("/v1/classify", mails::classify, "What a mail says, and of whom; stores nothing")
            .only_asks()
            .reads_mail()
            .answers::<Classified>(),
        post("/v1/ingest", mails::ingest, "Take a mail as if it had arrived on the return path")
            .takes(&[&AT, &WHY])
            .reads_mail()
            .answers::<IngestAnswer>(),
        get("/v1/policy", policy::show, "How many bounces suppress, and for how long").answers::<PolicyAnswer>(),
        get("/v1/hooks", hooks::list, "Who is told what happened, and whether that works").answers::<Vec<HookStatus>>(),
        post("/v1/hooks/{hook}/test", hooks::test, "Tell a hook something now").answers::<TestAnswer>().refuses(&[404]),
        post("/v1/hooks/{hook}/skip", hooks::skip, "Give up the notice that waits")
            .takes(&[&DRY_RUN])
            .reads::<ReasonRequest>()
            .answers::<SkipAnswer>()
            .refuses(&[404]),
        post("/v1/rebuild", events::rebuild, "Make every contact record anew from the events")
            .takes(&[&DRY_RUN, &WHY])
            .answers_lines::<RebuildProgress>()
            .refuses(&[409]),
        post("/v1/compact", erasure::compact, "Write the store anew, without what was erased or removed")
            .takes(&[&DRY_RUN, &WHY])
            .answers_lines::<CompactLine>()
            .refuses(&[409]),
        post("/v1/backup", backup::backup, "A consistent copy while serving, for backstopctl db restore")
            .takes(&[&WHY])
            .or("application/octet-stream", "Checked by its own end; without that it is none.", |_| json_schema!({}))
            .refuses(&[409]),
        get("/v1/db", backup::stats, "How much of what is in the store").answers_lines::<Stats>().refuses(&[409]),
        get("/v1/openapi.json", openapi::show, "This description").answers::<BTreeMap<String, Json>>(),
        get("/metrics", metrics::metrics, "The counters, for Prometheus").answers_text("text/plain"),
    ]
}

/// What stands in the braces of a path.
pub(super) fn path_parameter(name: &str) -> &'static Parameter {
    const KNOWN: [Parameter; 5] = [
        Parameter { name: "address", says: "The contact, percent-encoded.", value: Value::Address },
        Parameter { name: "batch", says: "The batch, as an import tells it.", value: Value::Event },
        Parameter { name: "campaign", says: "The campaign's id, percent-encoded.", value: Value::Text },
        Parameter { name: "event", says: "The event.", value: Value::Event },
        Parameter { name: "hook", says: "The hook's name.", value: Value::Text },
    ];
    static PARAMETERS: [Parameter; 5] = KNOWN;
    PARAMETERS.iter().find(|parameter| parameter.name == name).expect("each name in braces is known: see the tests")
}

static AT: Parameter = Parameter { name: "at", says: "When it came back, if not now.", value: Value::Time };
static CAMPAIGN: Parameter = Parameter {
    name: "campaign",
    says: "For mail of the list of this campaign, where the contact's record names it.",
    value: Value::Text,
};
static CATEGORY: Parameter =
    Parameter { name: "category", says: "Only of this category.", value: Value::OneOf(categories) };
static CURSOR: Parameter = Parameter { name: "cursor", says: "`next` of the page before.", value: Value::Text };
static DOMAIN: Parameter =
    Parameter { name: "domain", says: "Only of this domain.", value: Value::Like("example.org") };
static DRY_RUN: Parameter =
    Parameter { name: "dry_run", says: "Say what would change, and change nothing.", value: Value::Flag };
static EVENTS_SINCE: Parameter = Parameter {
    name: "since",
    says: "From this time on, or behind this event. With `follow` and without `since`: from now on.",
    value: Value::TimeOrEvent,
};
static FOLLOW: Parameter =
    Parameter { name: "follow", says: "Wait for what happens next; the answer has no end.", value: Value::Flag };
static FORMAT: Parameter = Parameter {
    name: "format",
    says: "The format of the list, where its first line does not tell.",
    value: Value::OneOf(formats),
};
static HASHED: Parameter = Parameter {
    name: "hashed",
    says: "Hashes instead of addresses.",
    value: Value::OneOf(|| vec!["sha256", "sha1", "md5"]),
};
static IMPORT_LIST: Parameter = Parameter {
    name: "list",
    says: "Where it goes; suppressions if nothing is said.",
    value: Value::OneOf(|| vec!["suppressions", "blocklist", "robinson"]),
};
static KEEP_HASH: Parameter =
    Parameter { name: "keep_hash", says: "`false`: keep not even what blocks the address.", value: Value::Flag };
static LIMIT: Parameter = Parameter { name: "limit", says: "At most so many.", value: Value::Number { most: MOST } };
static LIST: Parameter =
    Parameter { name: "list", says: "For mail of this list.", value: Value::Like("news.example.com") };
static REASON: Parameter = Parameter { name: "reason", says: "Why; kept with the batch.", value: Value::Text };
static SALT: Parameter =
    Parameter { name: "salt", says: "Stands before each address that is hashed, with sha256.", value: Value::Text };
static SCOPE: Parameter =
    Parameter { name: "scope", says: "`system`, or the id of one list.", value: Value::Like("system") };
static SINCE: Parameter = Parameter { name: "since", says: "Since this time.", value: Value::Time };
static SOURCE: Parameter =
    Parameter { name: "source", says: "Where the list comes from: a file's name.", value: Value::Text };
static UNTIL: Parameter = Parameter { name: "until", says: "Before this time.", value: Value::Time };
static WHAT: Parameter = Parameter {
    name: "what",
    says: "What is exported; suppressions if nothing is said.",
    value: Value::OneOf(|| vec!["suppressions", "blocklist", "robinson", "all"]),
};

static WHY: Parameter =
    Parameter { name: "reason", says: "Why; kept with the event, or in the log.", value: Value::Text };

fn categories() -> Vec<&'static str> {
    CATEGORIES.into_iter().map(Category::as_str).collect()
}

fn formats() -> Vec<&'static str> {
    crate::bulk::Format::ALL.into_iter().map(crate::bulk::Format::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_braces_of_a_path_is_known() {
        for operation in operations() {
            for name in operation.path_names() {
                assert_eq!(path_parameter(name).name, name, "{}", operation.path);
            }
        }
    }
}
