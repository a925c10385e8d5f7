//! Starts and ends the milters under load. Each ends when its value is dropped.

use crate::load::Expected;
use crate::mail::RETURN_PATH_DOMAIN;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A milter that runs.
pub struct Target {
    pub name: &'static str,
    pub socket: PathBuf,
    pub expected: Expected,
    child: Child,
}

/// Longest wait for a milter to listen, and for one to end by itself.
const START_WITHIN: Duration = Duration::from_secs(60);
const END_WITHIN: Duration = Duration::from_secs(15);

impl Target {
    /// Starts one of `benches/c`; `program` is the compiled file.
    pub fn c_milter(name: &'static str, program: &Path, sockets: &Path) -> Result<Target> {
        let socket = sockets.join(format!("{name}.sock"));
        let mut command = Command::new(program);
        command.arg(format!("unix:{}", socket.display()));
        Target::start(name, command, socket, sockets, Expected::Nothing)
    }

    /// Starts backstopd on a store; `more` is added to its configuration.
    pub fn backstopd(name: &'static str, store: &Path, sockets: &Path, more: &str) -> Result<Target> {
        let socket = sockets.join(format!("{name}.sock"));
        let configuration = sockets.join(format!("{name}.toml"));
        let text = format!(
            "[milter]\nlisten = [\"unix:{}\"]\n[admin]\nsocket = \"{}\"\n[store]\npath = \"{}\"\n\
             [return_path]\ndomains = [\"{RETURN_PATH_DOMAIN}\"]\n{more}\n",
            socket.display(),
            sockets.join(format!("{name}-admin.sock")).display(),
            store.display()
        );
        fs::write(&configuration, text)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstopd"));
        command.args(["--allow-root", "--config"]).arg(&configuration);
        Target::start(name, command, socket, sockets, Expected::Deletions)
    }

    fn start(
        name: &'static str,
        mut command: Command,
        socket: PathBuf,
        sockets: &Path,
        expected: Expected,
    ) -> Result<Target> {
        // A log line costs here what it costs beside a journal: one write.
        let log_path = sockets.join(format!("{name}.log"));
        let log = File::create(&log_path)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        // `benches/run` ends what this names, should we be killed.
        fs::write(sockets.join(format!("{name}.pid")), child.id().to_string())?;
        let mut target = Target { name, socket, expected, child };
        let begin = Instant::now();
        while UnixStream::connect(&target.socket).is_err() {
            if let Some(status) = target.child.try_wait()? {
                bail!("{name} ended at once, {status}:\n{}", fs::read_to_string(log_path)?);
            }
            if begin.elapsed() > START_WITHIN {
                bail!("{name} does not listen on {}", target.socket.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // Postfix connects as its own user.
        fs::set_permissions(&target.socket, Permissions::from_mode(0o666))?;
        Ok(target)
    }

    /// Resident memory now, in kB, and its peak.
    pub fn resident_kb(&self) -> Result<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line in status")?;
            line.trim_end_matches("kB").trim().parse::<u64>().context("no number in status")
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }

    /// Lets all its threads run on these processors only.
    pub fn confine(&self, processors: &CpuSet) -> Result<()> {
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let number = thread?.file_name().to_string_lossy().parse()?;
            let set = sched_setaffinity(rustix::thread::Pid::from_raw(number), processors);
            // A thread may end between the listing and this.
            set.or_else(|problem| if problem == rustix::io::Errno::SRCH { Ok(()) } else { Err(problem) })?;
        }
        Ok(())
    }

    /// Processor time used so far, its own and the system's for it.
    pub fn processor_time(&self) -> Result<Duration> {
        processor_time_of(self.child.id())
    }

    /// Ends it without a chance to tidy up, as a power cut would.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// Processor time that a process has used so far.
pub fn processor_time_of(process: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Behind the name in brackets, which may hold anything: utime and stime are the 12th and 13th field.
    let fields = stat.rsplit_once(')').context("no name in stat")?.1.split_whitespace().skip(11).take(2);
    let ticks = fields.map(str::parse::<u64>).sum::<Result<u64, _>>().context("no number in stat")?;
    Ok(Duration::from_millis(ticks * 10)) // USER_HZ is 100 on all that Debian runs on
}

impl Drop for Target {
    fn drop(&mut self) {
        // Nobody is left to be told when these fail; the last resort is SIGKILL.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let begin = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && begin.elapsed() < END_WITHIN {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
