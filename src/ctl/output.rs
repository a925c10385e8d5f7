//! Standard output: JSON lines or text, and an error instead of a panic when nobody reads any more.

use super::exit::{Exit, Failure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{BufWriter, IsTerminal, Stdout, Write};

/// Where answers go.
pub struct Output {
    json: bool,
    out: BufWriter<Stdout>,
}

impl Output {
    /// Standard output, for JSON if asked for.
    pub fn new(json: bool) -> Output {
        Output { json, out: BufWriter::new(std::io::stdout()) }
    }

    /// Whether JSON was asked for.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Whether a person reads.
    pub fn is_terminal(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    /// Prints a line of text.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.out, "{text}")?;
        Ok(())
    }

    /// Prints an object on one line.
    pub fn object<T: Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        let json = serde_json::to_string(value).map_err(|error| Failure::new(Exit::Output, error.to_string()))?;
        self.line(&json)
    }

    /// Prints JSON as the daemon wrote it, on one line.
    pub fn raw(&mut self, json: &[u8]) -> Result<(), Failure> {
        self.out.write_all(json.trim_ascii_end())?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// Prints octets as they are.
    pub fn octets(&mut self, octets: &[u8]) -> Result<(), Failure> {
        self.out.write_all(octets)?;
        Ok(())
    }

    /// Hands on what waits in the buffer.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush()?;
        Ok(())
    }
}

/// Reads an answer of the daemon.
pub fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(json).map_err(|error| {
        let message = format!("the answer of backstopd cannot be read; is it of another version? ({error})");
        Failure::new(Exit::Unavailable, message)
    })
}
