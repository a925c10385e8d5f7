//! Tests of addresses: the normal form, and what has none.

use super::*;
use proptest::prelude::*;

#[test]
fn what_means_one_mailbox_has_one_normal_form() {
    for (written, want) in [
        ("joe@example.org", "joe@example.org"),
        ("<Joe.User@Example.ORG>", "joe.user@example.org"),
        (" < joe@example.org > ", "joe@example.org"),
        ("<@relay.example,@other.example:joe@example.org>", "joe@example.org"),
        ("@relay.example: joe@example.org", "joe@example.org"),
        ("joe@example.org.", "joe@example.org"),
        ("\"joe\"@example.org", "joe@example.org"),
        ("\"j\\oe\"@example.org", "joe@example.org"),
        ("j\\oe@example.org", "joe@example.org"),
        ("\"joe\".user@example.org", "joe.user@example.org"),
        ("\"Joe User\"@example.org", "\"joe user\"@example.org"),
        ("joe\\ user@example.org", "\"joe user\"@example.org"),
        ("\"joe@home\"@example.org", "\"joe@home\"@example.org"),
        ("\"a\\\"b\\\\c\"@example.org", "\"a\\\"b\\\\c\"@example.org"),
        ("\"joe..user.\"@example.org", "joe..user.@example.org"),
        ("joe+tag@example.org", "joe+tag@example.org"), // nothing is folded away
        ("host!joe@example.org", "host!joe@example.org"), // a bang path neither
        ("joe%inner@example.org", "joe%inner@example.org"), // nor the percent hack
        ("x@BÜCHER.example", "x@xn--bcher-kva.example"),
        ("x@bu\u{308}cher.example", "x@xn--bcher-kva.example"),
        ("x@XN--BCHER-KVA.example", "x@xn--bcher-kva.example"),
        ("x@例え。テスト。", "x@xn--r8jz45g.xn--zckzah"),
        ("GRÜSSE@example.org", "grüsse@example.org"),
        ("gru\u{308}sse@example.org", "grüsse@example.org"),
        ("joe@[127.0.0.1]", "joe@[127.0.0.1]"),
        ("joe@[IPv6:2001:DB8:0::1]", "joe@[ipv6:2001:db8::1]"),
        ("joe@localhost", "joe@localhost"),
        ("joe@_srv.example", "joe@_srv.example"),
    ] {
        let address = Address::parse(written).unwrap_or_else(|error| panic!("{written}: {error}"));
        assert_eq!(address.as_str(), want, "{written}");
        assert_eq!(Address::parse_bytes(written.as_bytes()), Ok(address), "{written}");
    }
}

#[test]
fn what_names_no_mailbox_says_which_half_is_wrong() {
    let (long_local, long_label) = (format!("{}@example.org", "x".repeat(256)), format!("x@{}", "y".repeat(64)));
    let long_domain = format!("x@{}example", "abcdefg.".repeat(32));
    let long = "x".repeat(100_000);
    type Variant = fn(String) -> AddressError;
    let no_domain: Variant = AddressError::NoDomain;
    let local_part: Variant = AddressError::LocalPart;
    let domain: Variant = AddressError::Domain;
    for (written, variant) in [
        ("postmaster", no_domain),
        ("<postmaster>", no_domain),
        ("\"joe@example.org\"", no_domain),
        ("\"joe@example.org", no_domain),
        ("{{email}}", no_domain),
        ("@example.org", local_part),
        ("\"\"@example.org", local_part),
        ("joe user@example.org", local_part),
        ("joe,user@example.org", local_part),
        ("joe@home@example.org", local_part),
        ("Joe <joe@example.org", local_part),
        ("\"joe\u{7}\"@example.org", local_part),
        ("joe\"x y\"z q@example.org", local_part),
        (&long_local, local_part),
        (&long, local_part),
        ("joe@", domain),
        ("joe@.", domain),
        ("joe@a..b", domain),
        ("joe@.example", domain),
        ("joe@exa mple.org", domain),
        ("joe@example.org>", domain),
        ("joe@{{domain}}", domain),
        ("joe@[127.0.0.1", domain),
        ("joe@[127.0.0.256]", domain),
        ("joe@[IPv6:zz]", domain),
        ("joe@[]", domain),
        ("joe@ex＠mple.org", domain),
        (&long_label, domain),
        (&long_domain, domain),
    ] {
        let error = Address::parse(written).expect_err(written);
        assert_eq!(error, variant(excerpt(written)), "{written}");
    }
    for empty in ["", " ", "<>", "< >"] {
        assert_eq!(Address::parse(empty), Err(AddressError::Empty), "{empty:?}");
    }
}

#[test]
fn octets_that_are_no_utf8_name_no_mailbox() {
    assert!(matches!(Address::parse_bytes(b"gr\xfc\xdfe@example.org"), Err(AddressError::LocalPart(_))));
    assert!(matches!(Address::parse_bytes(&[b'x'; 1 << 20]), Err(AddressError::LocalPart(_))));
}

#[test]
fn an_address_knows_its_halves() {
    let address = Address::parse("\"joe@home\"@Example.org").unwrap();
    assert_eq!((address.local_part(), address.domain()), ("\"joe@home\"", "example.org"));
    assert_eq!(serde_json::to_string(&address).unwrap(), r#""\"joe@home\"@example.org""#);
    assert!(serde_json::from_str::<Address>("\"nobody\"").is_err());
}

#[test]
fn a_reverse_path_is_null_or_a_mailbox() {
    for null in ["", "<>", " <> "] {
        assert_eq!(ReversePath::parse(null.as_bytes()), Ok(ReversePath::Null), "{null:?}");
    }
    let joe = Address::parse("joe@example.org").unwrap();
    assert_eq!(ReversePath::parse(b"<Joe@example.org>"), Ok(ReversePath::Mailbox(joe)));
    assert!(ReversePath::parse(b"<joe>").is_err());
}

proptest! {
    #[test]
    fn the_normal_form_of_a_normal_form_is_itself(
        local in "[a-zA-Z0-9.+äÖßİΣσẞé\u{308}\u{301}\u{212b}Ⱥ\"\\\\ @-]{1,12}",
        domain in "([a-zA-Z0-9äÖßΣéİ。_-]{1,8}[.]?){1,3}",
    ) {
        if let Ok(address) = Address::parse(&format!("{local}@{domain}")) {
            prop_assert_eq!(Address::parse(address.as_str()), Ok(address.clone()));
            prop_assert_eq!(Address::parse(&format!("<{address}>")), Ok(address));
        }
    }

    #[test]
    fn a_quoted_local_part_survives_its_normal_form(content in "\\PC{1,12}") {
        let quoted = content.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(address) = Address::parse(&format!("\"{quoted}\"@example.org")) {
            prop_assert_eq!(Address::parse(address.as_str()), Ok(address));
        }
    }

    #[test]
    fn any_text_and_any_octets_are_answered(text in "\\PC*", octets: Vec<u8>) {
        if let Ok(address) = Address::parse(&text) {
            prop_assert_eq!(Address::parse(address.as_str()), Ok(address));
        }
        let _ = Address::parse_bytes(&octets);
        let _ = ReversePath::parse(&octets);
    }
}
