//! Application Insights' ingestion service: batches for it, and what its answers mean.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::batch::{self, Batch};
use crate::client::Answer;
use crate::envelope::{self, Sender};
use crate::item::Item;
use crate::outbox::{self, Protocol, Verdict};

/// Items as batches: JSON arrays, not compressed, as Azure ML's inference server 1.5.1 sends them.
pub(crate) fn batches(sender: &Sender, items: &[Item]) -> Vec<Batch> {
    let items: Vec<Vec<u8>> = items.iter().map(|item| envelope::encode(sender, item)).collect();
    let bytes: Vec<usize> = items.iter().map(Vec::len).collect();
    let batch = |items: &[Vec<u8>]| {
        let body = [b"[", &*items.join(&b','), b"]"].concat();
        Batch::new(items.len(), "application/json", None, body.into())
    };
    batch::split(&bytes).into_iter().map(|range| batch(&items[range])).collect()
}

/// The answer to a batch.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Track {
    items_received: usize,
    items_accepted: usize,
    #[serde(default)]
    errors: Vec<ItemError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemError {
    /// The item's place in the batch.
    index: usize,
    status_code: u16,
}

/// What the service's answers mean.
#[derive(Debug)]
pub(crate) struct Breeze;

impl Protocol for Breeze {
    fn verdict(&self, answer: &Answer) -> Verdict {
        let track = serde_json::from_slice::<Track>(&answer.body).ok();
        match (answer.status.as_u16(), track) {
            (206, Some(track)) => partly(&track),
            // Some of it may have been taken all the same.
            (500, Some(track)) if track.items_accepted > 0 && !track.errors.is_empty() => partly(&track),
            (200..=299, _) => Verdict::Taken { refused: 0 },
            (status, _) if is_later(status) => Verdict::Later,
            _ => Verdict::Refused,
        }
    }
}

fn partly(track: &Track) -> Verdict {
    // An item is sent again once, however often it is named.
    let again: BTreeSet<usize> =
        track.errors.iter().filter(|error| is_later(error.status_code)).map(|error| error.index).collect();
    let again: Vec<usize> = again.into_iter().collect();
    let refused = track.items_received.saturating_sub(track.items_accepted).saturating_sub(again.len());
    if again.is_empty() { Verdict::Taken { refused } } else { Verdict::Partly { again, refused } }
}

/// 439 is the service's own: too many items over a longer time.
fn is_later(status: u16) -> bool {
    status == 439 || http::StatusCode::from_u16(status).is_ok_and(outbox::may_pass)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn verdict(status: u16, body: &str) -> Verdict {
        let answer =
            Answer { status: StatusCode::from_u16(status).unwrap(), retry_after: None, body: body.as_bytes().to_vec() };
        Breeze.verdict(&answer)
    }

    #[test]
    fn each_status_is_taken_later_or_never() {
        assert_eq!(verdict(200, ""), Verdict::Taken { refused: 0 });
        assert_eq!(verdict(206, "no json"), Verdict::Taken { refused: 0 });
        for status in [408, 429, 439, 500, 502, 503, 504, 599] {
            assert_eq!(verdict(status, "{}"), Verdict::Later, "{status}");
        }
        for status in [301, 400, 401, 402, 403, 404, 413] {
            assert_eq!(verdict(status, "{}"), Verdict::Refused, "{status}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_has_a_meaning(status in 100_u16..600, body: Vec<u8>, numbers: (usize, usize, usize, u16)) {
            let (received, accepted, index, code) = numbers;
            let errors = format!(r#"[{{"index":{index},"statusCode":{code}}}]"#);
            let json = format!(r#"{{"itemsReceived":{received},"itemsAccepted":{accepted},"errors":{errors}}}"#);
            for body in [body, json.into_bytes()] {
                let answer = Answer { status: StatusCode::from_u16(status).unwrap(), retry_after: None, body };
                if let Verdict::Partly { again, .. } = Breeze.verdict(&answer) {
                    let batch = Batch::new(1, "application/json", None, Bytes::from_static(b"[1]"));
                    prop_assert_eq!(batch.only(&again).is_some(), again == [0]);
                }
            }
        }

        #[test]
        fn a_batch_never_grows(errors in vec((0_usize..4, prop_oneof![Just(400), Just(500)]), 1..20)) {
            let json = |(index, code): &(usize, u16)| format!(r#"{{"index":{index},"statusCode":{code}}}"#);
            let errors: Vec<String> = errors.iter().map(json).collect();
            let errors = errors.join(",");
            let body = format!(r#"{{"itemsReceived":4,"itemsAccepted":0,"errors":[{errors}]}}"#);
            if let Verdict::Partly { again, refused } = verdict(206, &body) {
                let batch = Batch::new(4, "application/json", None, Bytes::from_static(b"[0,1,2,3]"));
                let rest = batch.only(&again).unwrap();
                prop_assert!(rest.items + refused <= 4 && rest.body.len() <= batch.body.len());
                prop_assert!(again.is_sorted_by(|first, second| first < second));
            }
        }
    }

    #[test]
    fn items_are_told_apart() {
        let body = r#"{"itemsReceived":4,"itemsAccepted":1,"errors":[{"index":0,"statusCode":400,"message":"m"},
            {"index":2,"statusCode":500},{"index":3,"statusCode":439}]}"#;
        let partly = || Verdict::Partly { again: vec![2, 3], refused: 1 };
        assert_eq!(verdict(206, body), partly());
        assert_eq!(verdict(500, body), partly());
        let never = r#"{"itemsReceived":2,"itemsAccepted":1,"errors":[{"index":0,"statusCode":400}]}"#;
        assert_eq!(verdict(206, never), Verdict::Taken { refused: 1 });
        assert_eq!(verdict(206, r#"{"itemsReceived":1,"itemsAccepted":1}"#), Verdict::Taken { refused: 0 });
    }
}
