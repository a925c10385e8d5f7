//! The JSON shapes, shared with `backstopctl` and the fixtures.
