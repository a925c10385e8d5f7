//! `make man`: writes the generated parts of the pages in `man/` anew, in place. What stands around them is
//! written by hand. `tests/manual.rs` tells when this has to run.

mod pages;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut exit = ExitCode::SUCCESS;
    for name in pages::PAGES {
        let file = pages::root().join("man").join(name);
        let done = std::fs::read_to_string(&file).map_err(|error| error.to_string()).and_then(|text| {
            let written = pages::rewritten(name, &text)?;
            if written != text {
                std::fs::write(&file, written).map_err(|error| error.to_string())?;
                println!("man/{name}: written anew");
            }
            Ok(())
        });
        if let Err(problem) = done {
            eprintln!("man/{name}: {problem}");
            exit = ExitCode::FAILURE;
        }
    }
    exit
}
