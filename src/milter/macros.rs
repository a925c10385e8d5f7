//! The MTA's variables.

/// The values told so far, the newest stage first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Macros {}

impl Macros {
    /// The value of a variable by its name as the protocol writes it: `i`, `{rcpt_addr}`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let _ = name;
        todo!()
    }
}
