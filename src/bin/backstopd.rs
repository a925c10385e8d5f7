//! The daemon.

fn main() {
    todo!()
}
