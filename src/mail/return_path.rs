//! Which addresses are the return path: where bounces and complaints come to (`[return_path]`).

use super::Address;

/// The domains and address patterns of the return path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReturnPath {
    /// Whole domains, lower-case A-labels.
    pub domains: Vec<String>,
    /// Addresses; `*` stands for anything in a local part.
    pub addresses: Vec<String>,
}

impl ReturnPath {
    /// Whether mail to this address is mail to the return path.
    pub fn covers(&self, address: &Address) -> bool {
        let _ = address;
        todo!()
    }
}
