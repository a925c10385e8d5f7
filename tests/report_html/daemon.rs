//! A stand-in for the daemon: two answers over a socket, so that a test says what a report holds.

use backstop::admin::wire_campaigns::CampaignAnswer;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The report, its rows, and whether the rows break off in the middle.
pub struct Told {
    pub report: CampaignAnswer,
    pub rows: Vec<String>,
    pub breaks_off: bool,
}

/// Runs `backstopctl report CAMPAIGN --html FILE` against a daemon that tells this.
pub fn report(told: Told, directory: &Path, file: &str) -> Output {
    let socket = directory.join("told.sock");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).expect("the socket is free");
    let campaign = told.report.campaign.0.clone();
    let daemon = std::thread::spawn(move || {
        // One connection for each request.
        for stream in listener.incoming().take(2) {
            let mut stream = stream.expect("a client");
            let mut lines = BufReader::new(stream.try_clone().expect("cloned")).lines();
            let request = lines.next().expect("a request").expect("a request");
            while !lines.next().expect("headers").expect("headers").is_empty() {}
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").expect("listened to");
            let mut piece = |text: &str| write!(stream, "{:x}\r\n{text}\r\n", text.len());
            if !request.contains("/responses ") {
                piece(&serde_json::to_string(&told.report).expect("an object")).expect("listened to");
                piece("").expect("listened to");
                continue;
            }
            for rows in told.rows.chunks(100) {
                if piece(&(rows.join("\n") + "\n")).is_err() {
                    return;
                }
            }
            if !told.breaks_off {
                piece("").expect("listened to");
            }
        }
    });
    let output = Command::new(env!("CARGO_BIN_EXE_backstopctl"))
        .arg("--socket")
        .arg(&socket)
        .args(["report", "--html", file, "--", &campaign])
        .current_dir(directory)
        .output()
        .expect("the program starts");
    daemon.join().expect("it answered");
    output
}

/// The page of such a report.
pub fn page(told: Told, directory: &Path) -> PathBuf {
    let output = report(told, directory, "page.html");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    directory.join("page.html")
}
