//! The client.

fn main() {
    todo!()
}
