//! Answers the requests of SPEC 12.
