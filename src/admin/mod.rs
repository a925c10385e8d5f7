//! The operator's door: HTTP/1.1 and JSON over a Unix socket (SPEC 9, 12).

pub mod routes;
pub mod server;
pub mod wire;
