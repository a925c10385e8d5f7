//! `backstopctl report --html`, looked at in a browser (SPEC 8): that it works, that it is readable, and that
//! hostile mail stays text. With BACKSTOP_PICTURES=DIR the pictures are kept there, to be looked at.

#[path = "report_html/chromium.rs"]
mod chromium;
#[path = "report_html/daemon.rs"]
mod daemon;

use backstop::admin::wire_campaigns::CampaignAnswer;
use backstop::admin::wire_reports::{DayRow, Figures, ProviderRow};
use backstop::classify::{BounceType, Category};
use backstop::mail::ListId;
use backstop::report::Campaign;
use chromium::Chromium;
use daemon::{Told, page, report};
use jiff::ToSpan;
use jiff::civil::date;
use serde_json::{Value, json};

/// Texts as an attacker writes them into a reply, a name, an address.
const HOSTILE: [&str; 7] = [
    "</script><script>window.hacked=1</script>",
    "<!--<script>",
    "<img src=x onerror=window.hacked=1>",
    "\"><svg onload=window.hacked=1>",
    "a\u{2028}b\u{2029}c\u{202e}d\u{1b}[2J",
    "]]>@rows@ @script@ ${window.hacked=1} {{x}}",
    "\\u003cscript\\u003e'`--!>",
];

fn row(number: usize, change: impl FnOnce(&mut Value)) -> String {
    let mut row = json!({
        "address": format!("reader.{number:05}@example.org"),
        "at": format!("2026-11-{:02}T{:02}:{:02}:07.25Z", 1 + number % 14, number % 24, number % 60),
        "class": "bounce", "kind": "bounce", "category": "rejected", "type": "hard", "code": "5.1.1",
        "reason": "user-unknown", "fault": "recipient", "authority": "matched", "list": "news.example.com",
        "retracted": false, "description": "bad destination mailbox address",
        "diagnostic": format!("smtp; 550 5.1.1 <reader.{number:05}@example.org>: Recipient address rejected: User unknown"),
        "event": format!("{number:032x}"),
    });
    change(&mut row);
    row.to_string()
}

/// As many rows as came back in life: of several kinds, with replies from none to very long.
fn rows(number: usize) -> Vec<String> {
    let one = |number| match number % 10 {
        0..4 => row(number, |_| {}),
        4 | 5 => row(number, |row| {
            row["type"] = "soft".into();
            row["code"] = "4.2.2".into();
            row["category"] = "transient".into();
            row["reason"] = "mailbox-full".into();
            row["description"] = "account over quota".into();
            row["diagnostic"] = "smtp; 452 4.2.2 The recipient's inbox is out of storage space. Please direct the \
                recipient to https://support.example/mail/?p=OverQuotaTemp 41be03b00d2f7-b6f\u{a0}si3182764a12.412 - gsmtp"
                .into();
            row["retracted"] = (number % 40 == 5).into();
        }),
        6 => row(number, |row| {
            row["address"] = format!("a-very-long-local-part-of-more-than-forty-characters.{number}@mail.subsidiary.of-a-company-with-a-long-name.example").into();
            row["code"] = "5.7.1".into();
            row["category"] = "blocked".into();
            row["reason"] = "ip-blocklisted".into();
            row["description"] = "delivery not authorised, message refused".into();
            row["diagnostic"] = format!(
                "smtp; 550 5.7.1 {}",
                "Service unavailable, Client host [192.0.2.25] blocked using a list; ".repeat(40)
            )
            .into();
        }),
        7 => row(number, |row| {
            for field in ["category", "type", "code", "reason", "diagnostic"] {
                row[field] = Value::Null;
            }
            row["class"] = "feedback".into();
            row["kind"] = "complaint".into();
            row["authority"] = "authenticated".into();
            row["description"] = "reported as spam".into();
        }),
        8 => row(number, |row| {
            for field in ["category", "type", "code", "authority", "diagnostic", "description"] {
                row[field] = Value::Null;
            }
            row["class"] = "skip".into();
            row["kind"] = "other".into();
            row["reason"] = "suppressed".into();
        }),
        _ => row(number, |row| {
            row["code"] = "9.1.1".into();
            row["category"] = "unknown".into();
            row["diagnostic"] = format!("x-unix; {}", "x".repeat(900)).into();
        }),
    };
    (0..number).map(one).collect()
}

fn campaign(id: &str) -> CampaignAnswer {
    CampaignAnswer::nothing(Campaign(id.to_owned()))
}

/// The report of a campaign that went well enough: 14 days, providers with long names.
fn lively() -> CampaignAnswer {
    let mut report = campaign("spring-sale-2026-wave-2");
    report.lists.insert(ListId("news.example.com".to_owned()));
    report.first_at = "2026-11-01T06:00:00Z".parse().ok();
    report.last_at = "2026-11-14T21:12:00Z".parse().ok();
    for (category, bounce_type, times) in [
        (Category::Rejected, BounceType::Hard, 1900),
        (Category::Transient, BounceType::Soft, 812),
        (Category::Blocked, BounceType::Hard, 340),
        (Category::Unknown, BounceType::Hard, 1),
    ] {
        (0..times).for_each(|_| report.count_bounce(category, Some(bounce_type)));
    }
    (0..1204).for_each(|_| report.count_skip("suppressed"));
    (0..33).for_each(|_| report.count_skip("blocklist"));
    (report.complaints, report.opt_outs, report.autoreplies, report.not_spam) = (39, 87, 1412, 2);
    (report.delivered, report.delayed, report.retracted, report.unverified) = (24_004, 310, 44, 12);
    (report.contacts, report.skipped.shadow) = (31_007, 7);
    report.of_sent(98_796);
    let provider = |provider: &str, sent, hard, soft, complaints| ProviderRow {
        provider: provider.to_owned(),
        figures: Figures { sent, bounces: hard + soft, hard, soft, complaints, ..Figures::default() }.with_rates(),
    };
    report.by_provider = vec![
        provider("google", 41_210, 610, 402, 16),
        provider("microsoft", 22_118, 980, 190, 0),
        provider("yahoo", 12_400, 222, 110, 21),
        provider("mail.subsidiary.of-a-company-with-a-very-long-name-indeed.example", 8400, 310, 60, 1),
        provider("orange", 6100, 96, 31, 1),
        provider("gmx", 5200, 20, 12, 0),
        provider("example.edu", 900, 3, 6, 0),
        provider("no-bounces-at-all.example", 740, 0, 0, 0),
        provider("other", 1728, 0, 1, 0),
    ];
    let sends = [71_000u64, 20_100, 7_600, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let hards = [1800u64, 320, 60, 31, 12, 6, 5, 0, 2, 0, 3, 1, 0, 1];
    for (day, (sent, hard)) in sends.into_iter().zip(hards).enumerate() {
        let (soft, complaints, opt_outs) = (hard / 3 + day as u64 % 3, [9, 14, 7, 3, 2, 0, 1][day % 7], hard / 40);
        let figures = Figures { sent, bounces: hard + soft, hard, soft, complaints, opt_outs, ..Figures::default() };
        // Days without anything are left out.
        if !figures.is_empty() {
            let day = date(2026, 11, 1).saturating_add((day as i64).days());
            report.by_day.push(DayRow { day, figures: figures.with_rates() });
        }
    }
    report
}

/// All of them sent on one day, and nothing came back from anybody.
fn untroubled() -> CampaignAnswer {
    let mut report = campaign("untroubled");
    report.first_at = "2026-11-01T06:00:00Z".parse().ok();
    report.last_at = report.first_at;
    report.of_sent(12_000);
    let figures = Figures { sent: 12_000, ..Figures::default() }.with_rates();
    report.by_provider = vec![ProviderRow { provider: "google".to_owned(), figures }];
    report.by_day = vec![DayRow { day: date(2026, 11, 1), figures }];
    report
}

/// Beyond every threshold, over many months.
fn terrible() -> CampaignAnswer {
    let mut report = campaign("bought-list");
    (0..420).for_each(|_| report.count_bounce(Category::Rejected, Some(BounceType::Hard)));
    report.count_bounce(Category::Unknown, None);
    report.complaints = 9;
    report.of_sent(1000);
    for week in 0..40 {
        let figures = Figures { bounces: 11, hard: 10, complaints: week % 2, sent: 25, ..Figures::default() };
        let day = date(2026, 1, 1).saturating_add((week as i64 * 7).days());
        report.by_day.push(DayRow { day, figures });
    }
    report
}

fn hostile() -> (CampaignAnswer, Vec<String>) {
    let mut report = campaign(&HOSTILE.join(" "));
    report.lists.insert(ListId(HOSTILE[0].to_owned()));
    report.count_skip(HOSTILE[2]);
    let figures = Figures { sent: 1, bounces: 1, hard: 1, ..Figures::default() };
    report.by_provider = vec![ProviderRow { provider: HOSTILE[3].to_owned(), figures }];
    let one = |(number, text): (usize, &&str)| {
        row(number, |row| {
            for field in ["address", "reason", "description", "diagnostic"] {
                row[field] = (*text).into();
            }
        })
    };
    (report, HOSTILE.iter().enumerate().map(one).collect())
}

fn told(report: CampaignAnswer, rows: Vec<String>) -> Told {
    Told { report, rows, breaks_off: false }
}

/// What a script finds of the rows shown: the first cells, as text.
fn column(chromium: &mut Chromium, column: usize) -> Vec<String> {
    let script =
        format!("Array.from(document.querySelectorAll('#responses tbody tr'), row => row.cells[{column}].textContent)");
    serde_json::from_value(chromium.evaluate(&script)).expect("texts")
}

fn status(chromium: &mut Chromium) -> String {
    chromium.evaluate("document.getElementById('status').textContent").as_str().expect("text").to_owned()
}

fn search(chromium: &mut Chromium, words: &str) {
    chromium.evaluate("document.getElementById('search').focus(); document.getElementById('search').select()");
    if words.is_empty() {
        chromium
            .ask("Input.dispatchKeyEvent", json!({"type": "keyDown", "key": "Delete", "windowsVirtualKeyCode": 46}));
    } else {
        chromium.ask("Input.insertText", json!({"text": words}));
    }
    chromium.evaluate("new Promise(done => setTimeout(done, 300))");
}

/// Clicks where the button is, as a person does.
fn click(chromium: &mut Chromium, selector: &str) {
    let script = format!(
        "(() => {{ const node = document.querySelector({selector:?}); node.scrollIntoView({{block: 'center'}}); \
         const box = node.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
    );
    let at = chromium.evaluate(&script);
    for kind in ["mousePressed", "mouseReleased"] {
        let event = json!({"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1});
        chromium.ask("Input.dispatchMouseEvent", event);
    }
}

/// Text that stands out too little from what is behind it (WCAG 2.1, 1.4.3), and what sticks out of the window.
const UNREADABLE: &str = r#"(() => {
  const parts = (color) => color.match(/[\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = parts(color).slice(0, 3).map(c => c / 255).map(c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const color = getComputedStyle(node).backgroundColor;
      if ((parts(color)[3] ?? 1) > 0) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  const found = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = Array.from(node.childNodes).some(child => child.nodeType === 3 && child.data.trim());
    const box = node.getBoundingClientRect();
    if (!own || box.width === 0 || node.closest('script, style, .away')) continue;
    const style = getComputedStyle(node);
    const ink = node.closest('svg') ? style.fill : style.color;
    const [a, b] = [light(ink), light(behind(node))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) found.push(`${node.tagName}.${node.className} ${ink} on ${behind(node)}: ${node.textContent.slice(0, 40)}`);
  }
  for (const drawn of document.querySelectorAll('svg')) {
    let before = null;
    for (const label of drawn.querySelectorAll('text[text-anchor=middle]')) {
      const box = label.getBoundingClientRect();
      if (before && box.left < before.right + 2) found.push(`${label.textContent} is written over the label before it`);
      before = box;
    }
  }
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) found.push(`${wide} px wide in a window of ${innerWidth}`);
  return Array.from(new Set(found)).slice(0, 20);
})()"#;

#[test]
fn a_person_sorts_searches_and_turns_pages() {
    if !chromium::there() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = page(told(lively(), rows(3000)), directory.path());
    let mut chromium = Chromium::start();
    chromium.screen(1280, false);

    // What stands there without scripts, and what the script makes of it, read the same.
    chromium.scripts(false);
    chromium.open(&file);
    assert_eq!(column(&mut chromium, 0).len(), 500);
    let first = "Array.from(document.querySelectorAll('#responses tbody tr')).slice(0, 100).map(row => row.outerHTML)";
    let without = chromium.evaluate(first);
    let text = chromium.evaluate("document.body.innerText");
    let text = text.as_str().expect("text");
    assert!(text.contains("These are the first 500 of 3,000 rows. All of them: backstopctl report"), "{text}");
    assert!(!text.contains("Search"), "{text}");
    chromium.picture("without-scripts");
    chromium.scripts(true);
    chromium.open(&file);
    assert_eq!(chromium.evaluate(first), without);
    assert_eq!(status(&mut chromium), "Rows 1 to 100 of 3,000");

    for (head, ascending, descending) in [
        (1, "reader.00000@example.org", "reader.02999@example.org"),
        (2, "2026-11-01 00:00", "2026-11-14 23:"),
        (3, "4.2.2", "9.1.1"),
        (4, "hard", "soft"),
        (6, "bounce", "skip"),
        (7, "blocked", "unknown"),
        (10, "retracted", "retracted"), // the empty ones last, both ways
    ] {
        let button = format!("#responses thead th:nth-child({head}) button");
        let sorted = |chromium: &mut Chromium| {
            let sort =
                format!("document.querySelector('#responses thead th:nth-child({head})').getAttribute('aria-sort')");
            (chromium.evaluate(&sort), column(chromium, head - 1)[0].clone())
        };
        click(&mut chromium, &button);
        let (sort, shown) = sorted(&mut chromium);
        if head == 1 {
            assert!(shown.starts_with("a-very-long-local-part"), "{shown}");
        } else {
            assert!(sort == "ascending" && shown.starts_with(ascending), "{head}: {sort} {shown}");
        }
        click(&mut chromium, &button);
        let (sort, shown) = sorted(&mut chromium);
        assert!(sort == "descending" && shown.starts_with(descending), "{head}: {sort} {shown}");
        assert_eq!(chromium.evaluate("document.querySelectorAll('[aria-sort]').length"), 1);
    }

    search(&mut chromium, "TRANSIENT retracted");
    assert_eq!(status(&mut chromium), "Rows 1 to 75 of 75 found among 3,000");
    assert!(column(&mut chromium, 6).iter().all(|category| category == "transient"));
    search(&mut chromium, "nobody has this");
    assert_eq!(status(&mut chromium), "No row found among 3,000");
    search(&mut chromium, "");
    assert_eq!(status(&mut chromium), "Rows 1 to 100 of 3,000");

    click(&mut chromium, "#on");
    assert_eq!(status(&mut chromium), "Rows 101 to 200 of 3,000");
    click(&mut chromium, "#last");
    click(&mut chromium, "#on"); // leads nowhere
    assert_eq!(status(&mut chromium), "Rows 2,901 to 3,000 of 3,000");
    chromium.evaluate("{ const size = document.getElementById('size'); size.value = '1000'; size.dispatchEvent(new Event('change')) }");
    assert_eq!(status(&mut chromium), "Rows 2,001 to 3,000 of 3,000");
    click(&mut chromium, "#first");
    assert_eq!(column(&mut chromium, 0).len(), 1000);
    assert_eq!(chromium.complaints, Vec::<String>::new());
}

#[test]
fn the_page_is_readable_on_a_desk_on_a_phone_in_the_dark_and_on_paper() {
    if !chromium::there() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut chromium = Chromium::start();
    for (name, report, rows) in [
        ("lively", lively(), rows(3000)),
        ("untroubled", untroubled(), Vec::new()),
        ("terrible", terrible(), rows(12)),
        ("nothing", campaign("nothing"), Vec::new()),
    ] {
        let file = page(told(report, rows), directory.path());
        for (width, dark, kind) in
            [(1280, false, "desk"), (1280, true, "dark"), (390, false, "phone"), (390, true, "phone-dark")]
        {
            chromium.screen(width, dark);
            chromium.open(&file);
            chromium.picture(&format!("{name}-{kind}"));
            assert_eq!(chromium.evaluate(UNREADABLE), json!([]), "{name}, {kind}");
        }
        assert!(chromium.print(name) > 1000);
        assert_eq!(chromium.complaints, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn what_hostile_mail_says_is_only_text() {
    let directory = tempfile::tempdir().expect("a directory");
    let (report, rows) = hostile();
    let file = page(told(report, rows), directory.path());
    let html = std::fs::read_to_string(&file).expect("UTF-8");
    // One for the data, one for the script: whatever reads it, without a browser too.
    assert_eq!((html.matches("<script").count(), html.matches("</script").count()), (2, 2));
    for text in ["<img", "<svg onload", "<!--<", "\u{2028}", "\u{202e}", "\u{1b}"] {
        assert!(!html.contains(text), "{text:?}");
    }
    if !chromium::there() {
        return;
    }
    let mut chromium = Chromium::start();
    chromium.screen(1280, false);
    for scripts in [false, true] {
        chromium.scripts(scripts);
        chromium.open(&file);
        chromium.picture(&format!("hostile-{scripts}"));
        assert_eq!(chromium.evaluate("typeof window.hacked"), "undefined");
        assert_eq!(chromium.evaluate("document.querySelectorAll('img, [onload], [onerror]').length"), 0);
        let shown = column(&mut chromium, 0);
        assert_eq!(shown.len(), HOSTILE.len());
        for text in &HOSTILE[..4] {
            assert!(shown.iter().any(|cell| cell == text), "{text}: {shown:?}");
        }
    }
    assert_eq!(chromium.complaints, Vec::<String>::new());
    // The policy would stop what got through all the same.
    chromium.evaluate("{ const script = document.createElement('script'); script.text = 'window.hacked = 1'; document.body.append(script) }");
    assert_eq!(chromium.evaluate("typeof window.hacked"), "undefined");
    assert!(
        chromium.complaints.iter().any(|said| said.contains("Content Security Policy")),
        "{:?}",
        chromium.complaints
    );
}

#[test]
fn fifty_thousand_rows_are_searched_and_sorted_while_one_waits() {
    if !chromium::there() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = page(told(lively(), rows(50_000)), directory.path());
    let mut chromium = Chromium::start();
    chromium.screen(1280, false);
    let begun = std::time::Instant::now();
    chromium.open(&file);
    assert_eq!(status(&mut chromium), "Rows 1 to 100 of 50,000");
    click(&mut chromium, "#responses thead th:nth-child(5) button");
    search(&mut chromium, "49999");
    assert_eq!(status(&mut chromium), "Rows 1 to 1 of 1 found among 50,000");
    let taken = begun.elapsed();
    println!("{} octets, opened, sorted and searched in {taken:?}", file.metadata().expect("there").len());
    assert!(taken.as_secs() < 30, "{taken:?}");
    // Only what is shown is in the document.
    assert!(chromium.evaluate("document.querySelectorAll('*').length").as_u64() < Some(5000));
    assert_eq!(chromium.complaints, Vec::<String>::new());
}

#[test]
fn a_page_holds_no_more_rows_than_a_browser_does_and_says_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let short = row(1, |row| row["diagnostic"] = Value::Null);
    let output = report(told(lively(), vec![short; 100_001]), directory.path(), "page.html");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the first 100,000 of 100,001 rows"), "{said}");
    let html = std::fs::read_to_string(directory.path().join("page.html")).expect("UTF-8");
    assert!(html.contains("The page holds the first 100,000 of 100,001 rows"));
    let data = html.split_once("id=\"rows\">").expect("data").1.split_once("</script>").expect("its end").0;
    assert_eq!(serde_json::from_str::<Vec<Value>>(data).expect("JSON").len(), 100_000);
}

#[test]
fn a_report_that_breaks_off_leaves_no_half_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("page.html");
    std::fs::write(&file, "the page of yesterday").expect("written");
    let output = report(Told { report: lively(), rows: rows(1000), breaks_off: true }, directory.path(), "page.html");
    assert_eq!(output.status.code(), Some(69), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "the page of yesterday");
    let left: Vec<String> = std::fs::read_dir(directory.path())
        .expect("there")
        .map(|entry| entry.expect("there").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".part"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_minus_sign_is_standard_output() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = report(told(lively(), rows(3)), directory.path(), "-");
    let html = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>\n"), "{html}");
    assert!(!directory.path().join("-").exists());
}
