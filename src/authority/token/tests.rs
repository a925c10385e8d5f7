use super::*;
use proptest::prelude::*;

const MAX_AGE: u16 = 35;

fn secret() -> Secret {
    Secret::new(&[7; 32])
}

fn now() -> Timestamp {
    "2026-11-22T06:00:00Z".parse().expect("a literal time")
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

fn joe() -> Address {
    Address::parse("joe@example.org").expect("an address")
}

fn read(text: &str, now: Timestamp) -> Result<Token, TokenError> {
    let secret = secret();
    Token::read(text, |key| (key == 3).then_some(&secret), now, MAX_AGE)
}

#[test]
fn a_token_has_forty_characters_and_is_read_as_it_was_made() {
    for token in [Token::for_recipient(3, &secret(), now(), [9; 8], &joe()), Token::for_message(3, now(), [0xff; 8])] {
        let text = token.write(&secret());
        assert_eq!(text.len(), LENGTH);
        assert!(text.chars().all(is_of_a_token) && text == text.to_lowercase(), "{text}");
        assert_eq!(read(&text, now()), Ok(token));
        assert_eq!(read(&text.to_uppercase(), now()), Ok(token), "letter case is lost on the way");
    }
}

#[test]
fn a_token_for_a_recipient_is_nobody_elses() {
    let token = Token::for_recipient(3, &secret(), now(), [9; 8], &joe());
    assert!(token.names(&secret(), &joe()));
    assert!(token.names(&secret(), &Address::parse("JOE@Example.Org").expect("the same contact")));
    for other in ["ann@example.org", "joe@example.com", "joe+1@example.org"] {
        assert!(!token.names(&secret(), &Address::parse(other).expect("an address")), "{other}");
    }
    assert!(!token.names(&Secret::new(&[8; 32]), &joe()), "by another key");
    assert!(!Token::for_message(3, now(), [9; 8]).names(&secret(), &joe()), "a message's token names nobody");
    let next = Token::for_recipient(3, &secret(), now(), [10; 8], &joe());
    assert_ne!(token.tag, next.tag, "two tokens do not show that they are for the same person");
}

#[test]
fn each_way_to_be_invalid_has_its_reason() {
    let token = Token::for_recipient(3, &secret(), now(), [9; 8], &joe());
    let text = token.write(&secret());
    for (text, at, want) in [
        (text.clone(), now() + days(35), Ok(token)),
        (text.clone(), now() + days(36), Err(TokenError::Expired(36))),
        (text.clone(), now() - days(1), Ok(token)),
        (text.clone(), now() - days(2), Err(TokenError::Future)),
        (text[..39].to_owned(), now(), Err(TokenError::Malformed)),
        (format!("{text}a"), now(), Err(TokenError::Malformed)),
        (format!(" {}", &text[1..]), now(), Err(TokenError::Malformed)),
        (text.replace(&text[20..21], "1"), now(), Err(TokenError::Malformed)),
        (String::new(), now(), Err(TokenError::Malformed)),
        ("ä".repeat(20), now(), Err(TokenError::Malformed)),
        ("a".repeat(40), now(), Err(TokenError::Malformed)),
        (Token { key: 4, ..token }.write(&secret()), now(), Err(TokenError::UnknownKey(4))),
        (token.write(&Secret::new(&[8; 32])), now(), Err(TokenError::Altered)),
    ] {
        assert_eq!(read(&text, at), want, "{text} at {at}");
    }
}

#[test]
fn a_secret_is_not_shown() {
    assert_eq!(format!("{:?}", secret()), "Secret(..)");
}

proptest! {
    #[test]
    fn any_one_changed_character_is_refused(place in 0..LENGTH, other in 0..32_usize, reference: [u8; 8]) {
        let text = Token::for_recipient(3, &secret(), now(), reference, &joe()).write(&secret());
        let mut changed = text.clone().into_bytes();
        prop_assume!(changed[place] != ALPHABET[other]);
        changed[place] = ALPHABET[other];
        let changed = String::from_utf8(changed).expect("ASCII");
        prop_assert!(read(&changed, now()).is_err(), "{text} {changed}");
    }

    #[test]
    fn letter_case_never_matters(upper: u64, reference: [u8; 8]) {
        let token = Token::for_message(3, now(), reference);
        let mixed = |(place, letter): (usize, char)| {
            if upper >> place & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
        };
        let text: String = token.write(&secret()).chars().enumerate().map(mixed).collect();
        prop_assert_eq!(read(&text, now()), Ok(token));
    }

    #[test]
    fn a_token_that_is_cut_off_is_refused(length in 0..LENGTH, reference: [u8; 8]) {
        let text = Token::for_message(3, now(), reference).write(&secret());
        prop_assert_eq!(read(&text[..length], now()), Err(TokenError::Malformed));
    }

    #[test]
    fn any_text_is_answered_without_a_panic(text: String) {
        prop_assert!(read(&text, now()).is_err());
    }
}
