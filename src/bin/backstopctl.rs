//! The client: see [`backstop::ctl`] and backstopctl(1).

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(backstop::ctl::run(std::env::args_os()) as u8)
}
