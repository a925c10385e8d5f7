//! Which campaign and list a message belongs to, by its header: outgoing mail and returned messages alike
//! (`[outbound] campaign_headers`).

use crate::mail::Headers;
use serde::{Deserialize, Serialize};

/// The id of one send-out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Campaign(pub String);

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
        let _ = headers;
        todo!()
    }

    /// The campaign's id: the first of the fields that carries one. `Feedback-ID` gives its first
    /// colon-separated field; `List-ID`, `List-Unsubscribe` and `Precedence` name no campaign.
    pub fn campaign(&self, headers: &Headers) -> Option<Campaign> {
        let _ = headers;
        todo!()
    }
}
