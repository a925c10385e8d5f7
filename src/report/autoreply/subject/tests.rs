use super::*;

#[test]
fn a_subject_says_what_programs_put_there_in_many_languages() {
    for (subject, want) in [
        ("Automatic reply: Spring sale", Some(Says::Automatic)),
        ("AUTOMATIC  REPLY", Some(Says::Automatic)),
        ("[External] Automatic reply: Spring sale", Some(Says::Automatic)),
        ("Out of Office AutoReply: Spring sale", Some(Says::Automatic)),
        ("Réponse automatique\u{a0}: Soldes", Some(Says::Automatic)),
        ("Abwesenheitsnotiz", Some(Says::Automatic)),
        ("自动回复：春季促销", Some(Says::Automatic)),
        ("Automatic reply settings were changed", Some(Says::Absent)),
        ("Automatic replies: how to", None),
        ("自動返信メール", Some(Says::AbsentOfAnother)),
        ("Out of office", Some(Says::Absent)),
        ("Je suis absent jusqu’au 20 avril", Some(Says::Absent)),
        ("Нет на месте до понедельника", Some(Says::Absent)),
        ("부재중입니다", Some(Says::Absent)),
        ("Afwezigheidsregeling", None), // one word in front of another
        ("Joe User is out of the office.", Some(Says::AbsentOfAnother)),
        ("Re: Spring sale (Automatic Response)", Some(Says::AbsentOfAnother)),
        ("[Auto Reply] Spring sale", Some(Says::AbsentOfAnother)),
        ("Vacation", Some(Says::Perhaps)),
        ("Vacationing in spring", None),
        ("Auto: Spring sale", Some(Says::Perhaps)),
        ("Please confirm your message to Joe", Some(Says::Perhaps)),
        ("Re: Automatic reply: Spring sale", None),
        ("Fwd: Out of office", None),
        ("Spring sale", None),
        ("[]", None),
        ("", None),
    ] {
        assert_eq!(says(subject), want, "{subject}");
    }
}

#[test]
fn the_words_of_the_tables_are_plain_once_each_and_found() {
    for (table, words, ahead) in [
        ("AUTOMATIC", AUTOMATIC, ""),
        ("ABSENT", ABSENT, ""),
        ("OF_ANOTHER", OF_ANOTHER, "joe "),
        ("PERHAPS", PERHAPS, ""),
        ("CONFIRMATION", CONFIRMATION, "joe: "),
    ] {
        for (place, word) in words.iter().enumerate() {
            assert_eq!(plain(word), *word, "{table}");
            assert!(!words[..place].contains(word), "{table}: {word} stands twice");
            assert!(says(&format!("{ahead}{word} x")).is_some(), "{table}: {word} says nothing");
        }
    }
}

#[test]
fn answers_are_told_by_what_mail_programs_put_in_front() {
    for (subject, want) in [
        ("Re: Spring sale", true),
        ("RE : Spring sale", true),
        ("Re[2]: Spring sale", true),
        ("AW: Frühling", true),
        ("回复：春季促销", true),
        ("Spring: sale", false),
        ("Regarding: Spring sale", false),
        ("Spring sale", false),
        ("", false),
    ] {
        assert_eq!(is_reply(subject), want, "{subject}");
    }
}
