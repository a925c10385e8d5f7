//! Which campaign and list a message belongs to, by its header: outgoing mail and returned messages alike
//! (`[outbound] campaign_headers`).

use crate::mail::Headers;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The id of one send-out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Campaign(pub String);

impl Campaign {
    /// A campaign by its id, of which no more is kept than of one in a header.
    pub fn cut(id: &str) -> Campaign {
        Campaign(id[..id.floor_char_boundary(ID_BYTES)].to_owned())
    }
}

/// Octets of an id that are kept.
const ID_BYTES: usize = 255;
/// Fields that mark campaign mail, but hold the same for every campaign of a list.
const NAME_NO_CAMPAIGN: [&str; 3] = ["List-ID", "List-Unsubscribe", "Precedence"];

/// The header fields that mark campaign mail, in the order they are asked for the campaign's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignHeaders {
    /// Field names.
    pub names: Vec<String>,
}

impl Default for CampaignHeaders {
    fn default() -> CampaignHeaders {
        let names =
            ["X-Backstop-Campaign", "X-Campaign-ID", "Feedback-ID", "List-ID", "List-Unsubscribe", "Precedence"];
        CampaignHeaders { names: names.map(str::to_owned).to_vec() }
    }
}

impl CampaignHeaders {
    /// Whether a message with this header is campaign mail: it carries one of the fields; `Precedence` only
    /// with `bulk` or `list`.
    pub fn mark(&self, headers: &Headers) -> bool {
        self.names.iter().any(|name| {
            if name.eq_ignore_ascii_case("Precedence") {
                headers.all(name).any(|value| ["bulk", "list"].iter().any(|bulk| value.eq_ignore_ascii_case(bulk)))
            } else {
                headers.get_raw(name).is_some_and(|value| !value.trim_ascii().is_empty())
            }
        })
    }

    /// The campaign's id: the first of the fields that carries one. `Feedback-ID` gives its first
    /// colon-separated field; `List-ID`, `List-Unsubscribe` and `Precedence` name no campaign.
    pub fn campaign(&self, headers: &Headers) -> Option<Campaign> {
        self.names
            .iter()
            .filter(|name| !NAME_NO_CAMPAIGN.iter().any(|other| name.eq_ignore_ascii_case(other)))
            .find_map(|name| {
                let value = headers.get(name)?;
                let id = if name.eq_ignore_ascii_case("Feedback-ID") {
                    value.split_once(':').map_or(&*value, |(campaign, _)| campaign).trim()
                } else {
                    &value
                };
                // Cut, not refused: that the mail is a campaign's is not in doubt.
                (!id.is_empty()).then(|| Campaign::cut(id))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.push(name.as_bytes(), value.as_bytes());
        }
        headers
    }

    #[test]
    fn campaign_mail_is_told_by_any_of_the_fields() {
        let asked = CampaignHeaders::default();
        for (name, value, want) in [
            ("X-Campaign-ID", " spring", true),
            ("x-backstop-campaign", "spring", true),
            ("Feedback-ID", "spring:customer:mail:sender", true),
            ("List-Id", "<news.example.org>", true),
            ("List-Unsubscribe", "<mailto:leave@example.org>", true),
            ("Precedence", " Bulk", true),
            ("Precedence", "list", true),
            ("Precedence", "first-class", false),
            ("Precedence", "junk", false),
            ("List-Unsubscribe", " ", false),
            ("Subject", "bulk", false),
        ] {
            assert_eq!(asked.mark(&headers(&[(name, value)])), want, "{name}: {value}");
        }
        assert!(!asked.mark(&Headers::new()));
        assert!(!CampaignHeaders { names: Vec::new() }.mark(&headers(&[("Precedence", "bulk")])));
    }

    #[test]
    fn the_campaign_is_the_first_id_in_the_order_of_the_configuration() {
        let asked = CampaignHeaders::default();
        let long = "x".repeat(1000);
        for (fields, want) in [
            (&[("Feedback-ID", "fb:c:m:s"), ("X-Campaign-ID", "spring")][..], Some("spring")),
            (&[("X-Campaign-ID", "spring"), ("X-Backstop-Campaign", "Spring 7")], Some("Spring 7")),
            (&[("X-Campaign-ID", "  "), ("Feedback-ID", " fb : c:m:s")], Some("fb")),
            (&[("Feedback-ID", "alone")], Some("alone")),
            (&[("Feedback-ID", ":c:m:s")], None),
            (&[("List-ID", "<news.example.org>"), ("Precedence", "bulk"), ("List-Unsubscribe", "<x:y>")], None),
            (&[("X-Campaign-ID", "spring\n\tseven")], Some("spring seven")),
            (&[("X-Campaign-ID", &long)], Some(&long[..ID_BYTES])),
        ] {
            assert_eq!(asked.campaign(&headers(fields)), want.map(|id| Campaign(id.to_owned())), "{fields:?}");
        }
        let own = CampaignHeaders { names: vec!["X-Campaign".into()] };
        assert_eq!(own.campaign(&headers(&[("X-CAMPAIGN", "77")])), Some(Campaign("77".into())));
    }

    #[test]
    fn a_long_id_is_asked_for_as_it_stands_in_the_header() {
        let id = "ü".repeat(500);
        let kept = CampaignHeaders::default().campaign(&headers(&[("X-Campaign-ID", &id)]));
        assert_eq!(kept, Some(Campaign::cut(&id)));
        assert_eq!(Campaign::cut(&id).0.len(), 254);
        assert_eq!(Campaign::cut("77").0, "77");
    }
}
