//! Tells a program: JSON on its standard input, no shell, a clean environment, a process group of its own.
//!
//! It has taken the notice when it exits with 0. One that is not done in time is killed with all its group, and so is
//! one whose hook is stopped.

use super::Notice;
use super::worker::{SAID_BYTES, Trouble};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::Command;

/// Where programs look for others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a program said is read for so long after its end: its children may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Kills a group unless its program has ended by itself.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Fails when nobody is left in it, which is as well.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Runs a program with a notice. The caller bounds the time; dropped, it kills.
///
/// # Errors
/// What the program said, or why it could not be started.
pub(super) async fn run(command: &[String], notice: &Notice, mut body: Vec<u8>) -> Result<(), Trouble> {
    let Some((program, arguments)) = command.split_first() else { return Err(Trouble::new("there is no program")) };
    body.push(b'\n');
    let not_started = |error: std::io::Error| Trouble::new(format!("{program}: {error}"));
    // Both streams in one pipe, as a terminal would show them.
    let (said, says) = std::io::pipe().map_err(not_started)?;
    let says_too = says.try_clone().map_err(not_started)?;
    let mut said = pipe::Receiver::from_owned_fd(said.into()).map_err(not_started)?;
    let mut child = {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("BACKSTOP_EVENT_ID", &notice.id)
            .env("BACKSTOP_EVENT_TYPE", notice.occasion.as_str())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(says)
            .stderr(says_too)
            .process_group(0)
            .kill_on_drop(true);
        // Our ends of its output close with the command, so that it ends when the program's do.
        command.spawn().map_err(not_started)?
    };
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let write = async move {
        // A program that does not read all of it may have its reasons; its exit status tells.
        let _ = stdin.write_all(&body).await;
    };
    let mut words = Vec::new();
    let ended = {
        let read = async {
            let mut piece = [0; 1024];
            // Read to its end, so that nobody who says much waits for us; kept as far as the log takes it.
            while let Ok(octets @ 1..) = said.read(&mut piece).await {
                let room = SAID_BYTES.saturating_sub(words.len()).min(octets);
                words.extend_from_slice(&piece[..room]);
            }
        };
        let (mut read, mut write) = (std::pin::pin!(read), std::pin::pin!(write));
        let (mut reads, mut writes) = (true, true);
        loop {
            tokio::select! {
                ended = child.wait() => {
                    if reads {
                        let _ = tokio::time::timeout(LAST_WORDS, &mut read).await;
                    }
                    break ended;
                }
                () = &mut read, if reads => reads = false,
                () = &mut write, if writes => writes = false,
            }
        }
    };
    let status = ended.map_err(|error| Trouble::new(format!("{program}: {error}")))?;
    // What it left running in the background is its own affair.
    group.0 = None;
    if status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&words);
    let words = words.trim();
    Err(Trouble::new(if words.is_empty() { status.to_string() } else { format!("{status}: {words}") }))
}

#[cfg(test)]
mod tests {
    use super::super::Occasion;
    use super::*;
    use jiff::Timestamp;
    use std::time::Instant;

    async fn shell(script: &str) -> Result<(), Trouble> {
        let notice = Notice::new("h", Occasion::Test, "test-1".to_owned(), Timestamp::UNIX_EPOCH);
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        run(&command, &notice, b"{\"a\":1}".to_vec()).await
    }

    #[tokio::test]
    async fn it_reads_the_notice_and_has_a_clean_environment() {
        assert_eq!(shell("read -r line && test \"$line\" = '{\"a\":1}'").await, Ok(()));
        assert_eq!(shell("test \"$BACKSTOP_EVENT_ID $BACKSTOP_EVENT_TYPE\" = 'test-1 test'").await, Ok(()));
        let told =
            shell("env | grep -v '^PWD=\\|^SHLVL=\\|^_=\\|^OLDPWD=' | cut -d= -f1 | sort | tr '\\n' ' '; exit 3");
        let problem = told.await.expect_err("it exits with 3").problem;
        assert_eq!(problem, "exit status: 3: BACKSTOP_EVENT_ID BACKSTOP_EVENT_TYPE PATH");
    }

    #[tokio::test]
    async fn what_it_says_is_told_when_it_fails_and_is_never_too_much() {
        let problem = shell("echo out; echo err >&2; exit 1").await.expect_err("it fails").problem;
        assert!(problem.ends_with("out\nerr"), "{problem}");
        let problem = shell("yes | head -c 1000000; exit 1").await.expect_err("it fails").problem;
        assert!(problem.len() < SAID_BYTES + 100, "{}", problem.len());
        assert_eq!(shell("exec >&- 2>&-; cat > /dev/null").await, Ok(()));
        let large = vec![b'x'; 1 << 20];
        let notice = Notice::new("h", Occasion::Test, "test-1".to_owned(), Timestamp::UNIX_EPOCH);
        assert_eq!(run(&["/bin/true".to_owned()], &notice, large).await, Ok(()), "it need not read");
        let missing = run(&["/nonexistent/program".to_owned()], &notice, Vec::new()).await;
        assert!(missing.expect_err("there is none").problem.starts_with("/nonexistent/program: "));
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let script = format!("sleep 300 & echo $! > {}; wait", file.display());
        let started = Instant::now();
        assert!(tokio::time::timeout(Duration::from_millis(700), shell(&script)).await.is_err());
        let child: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        // A zombie may stay where nobody collects orphans; it does not sleep any more.
        let gone = || {
            std::fs::read_to_string(format!("/proc/{child}/stat"))
                .map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z')))
        };
        while !gone() {
            assert!(started.elapsed() < Duration::from_secs(10), "{child} runs on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn what_it_leaves_in_the_background_holds_nobody_up() {
        let started = Instant::now();
        assert_eq!(shell("sleep 5 & exit 0").await, Ok(()));
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    }
}
