//! The daemon: options and exit codes. What it does is in `backstop::ops::daemon`.

use backstop::ops::config::Config;
use backstop::ops::daemon::{self, Failure, Prepared, explain};
use backstop::ops::options::Options;
use backstop::ops::{logging, privileges};
use backstop::store::Store;
use clap::Parser;
use std::process::ExitCode;
use std::time::Duration;

const EX_USAGE: u8 = 64;

/// glibc's threads wait for each other or keep what they once had; .cargo/config.toml has the settings.
#[global_allocator]
static HEAP: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            // Fails when standard output is closed; there is nobody to tell then.
            let _ = error.print();
            return if error.use_stderr() { EX_USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("backstopd: {}", explain(&failure));
            failure.exit_code().into()
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    if options.tell_peers {
        logging::start();
        return daemon::tell_peers(options.allow_root);
    }
    let config = Config::read(&options.config)?;
    if options.check_config {
        daemon::in_force(&config)?;
        daemon::address_key(&config)?;
        println!("{}: can be used", options.config.display());
        return Ok(());
    }
    logging::start();
    if options.rebuild {
        if let Some(unprivileged) = privileges::whom(&config.process, options.allow_root)? {
            unprivileged.become_for_good()?;
        }
        privileges::set_umask();
        return rebuild(&config);
    }
    // Before there is a second thread: what a thread gives up, the others keep.
    let prepared = Prepared::new(&options.config, config, options.allow_root)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::System)?;
    let served = runtime.block_on(daemon::run(prepared));
    // Whatever still hangs in a blocking call does not hold the end up.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

fn rebuild(config: &Config) -> Result<(), Failure> {
    let store = Store::open(&config.store)?;
    let mut told = 0;
    let contacts = store.rebuild(&mut |events| {
        if events >= told + 100_000 {
            told = events;
            eprintln!("backstopd: {events} events read");
        }
    })?;
    store.close()?;
    println!("{}: {contacts} contact records made anew", config.store.path.display());
    Ok(())
}
