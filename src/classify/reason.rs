//! The words for the finer reason of a response, and what each means, in our own words. The compiled-in rules
//! and the code table use no others; an operator's rules may.

/// Every reason we use, in alphabetical order, with its description.
pub const REASONS: &[(&str, &str)] = &[
    ("address-ambiguous", "the address fits more than one mailbox"),
    ("address-syntax", "the address is not written correctly"),
    ("attachment", "an attachment is of a kind that is not taken"),
    ("auth-failure", "SPF, DKIM or DMARC did not pass"),
    ("authentication-required", "the server wants a login first"),
    ("configuration", "a system on the way is set up wrongly"),
    ("congestion", "the receiving system or the network is congested"),
    ("connection-lost", "the connection broke before the message was over"),
    ("connection-refused", "the receiving host refused the connection"),
    ("connection-timeout", "the receiving host did not answer in time"),
    ("content", "the content was refused"),
    ("dns-trouble", "the domain could not be looked up"),
    ("domain-blocklisted", "the sender's domain is on a blocklist"),
    ("domain-unknown", "the recipient's domain does not exist"),
    ("expired", "the message waited in the queue until its time was over"),
    ("greylisted", "put off on first sight; a later try is welcome"),
    ("ip-blocklisted", "the sending IP address is on a blocklist"),
    ("list-expansion", "the list behind the address could not be expanded"),
    ("low-reputation", "the sender's reputation with the provider is bad"),
    ("mailbox-disabled", "the account is disabled, suspended or closed"),
    ("mailbox-full", "the mailbox is full"),
    ("mailbox-inactive", "nobody has used the account for long"),
    ("mailbox-moved", "the mailbox has moved"),
    ("mailbox-trouble", "something is wrong with the mailbox"),
    ("message-format", "the message breaks a rule of the mail format"),
    ("message-too-large", "the message is too large"),
    ("no-answer", "the receiving host did not answer"),
    ("none-found", "no bounce code and no known words were found"),
    ("null-mx", "the domain states that it takes no mail"),
    ("owner-changed", "the mailbox or domain belongs to somebody else now"),
    ("policy", "refused by the receiving system's policy"),
    ("protocol-error", "the two servers misunderstood each other"),
    ("rate-limited", "too much mail in a short time"),
    ("recipient-refused", "the recipient or its system takes no mail from this sender"),
    ("relay-denied", "the server that was asked does not serve this recipient"),
    ("reverse-dns", "the sending IP address has no proper reverse DNS name"),
    ("routing-loop", "the message went round in a circle"),
    ("sender-quota", "the sender's own account has used up its sending limit"),
    ("sender-refused", "the sender's address or domain was refused"),
    ("smtputf8", "a server on the way takes no addresses or headers beyond ASCII"),
    ("spam", "taken for spam"),
    ("system-full", "the receiving system has no space left"),
    ("system-trouble", "the receiving system has trouble"),
    ("tls-required", "an encrypted connection is wanted or failed"),
    ("too-many-connections", "too many connections at once"),
    ("too-many-recipients", "too many recipients at once"),
    ("undefined", "no reason was named"),
    ("unreachable", "there was no way to the receiving host"),
    ("unroutable", "no route to the domain could be worked out"),
    ("upstream-suppressed", "a relay did not send: the address is on that relay's own suppression list"),
    ("url-blocklisted", "a link in the message is on a blocklist"),
    ("user-unknown", "there is no such mailbox"),
    ("virus", "taken for a virus or malware"),
];

/// What a reason means; `None` for one that only an operator's rule uses.
pub fn describe(reason: &str) -> Option<&'static str> {
    REASONS.binary_search_by_key(&reason, |&(word, _)| word).ok().map(|place| REASONS[place].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_sorted_so_that_each_is_found() {
        for (reason, description) in REASONS {
            assert_eq!(describe(reason), Some(*description), "{reason}");
        }
        assert_eq!(describe("no-such-reason"), None);
    }
}
