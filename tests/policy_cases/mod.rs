//! What SPEC 6 says of profiles, false bounces, reactivation, imports, and why.

mod explained;
mod false_bounces;
mod imports;
mod profiles;
mod reactivation;
