//! Any octets as an address: its normal form is the normal form of itself.
#![no_main]

use backstop::mail::{Address, ReversePath};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let _ = ReversePath::parse(octets);
    if let Ok(address) = Address::parse_bytes(octets) {
        assert_eq!(Address::parse(address.as_str()).as_ref(), Ok(&address));
        assert_eq!(format!("{}@{}", address.local_part(), address.domain()), address.as_str());
    }
});
