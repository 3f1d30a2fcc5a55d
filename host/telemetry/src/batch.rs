//! Items as they are sent: the body of a request.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::value::RawValue;

/// Bytes of the items of a batch. One item alone may have more.
const BATCH_BYTES: usize = 1 << 20;

/// Which of the items with so many bytes make a batch together, in their order.
pub(crate) fn split(bytes: &[usize]) -> Vec<Range<usize>> {
    let mut batches: Vec<Range<usize>> = Vec::new();
    let mut sum = 0_usize;
    for (at, bytes) in bytes.iter().enumerate() {
        sum = sum.saturating_add(*bytes);
        match batches.last_mut() {
            Some(batch) if sum <= BATCH_BYTES => batch.end = at + 1,
            _ => {
                batches.push(at..at + 1);
                sum = *bytes;
            }
        }
    }
    batches
}

/// A request's body, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// When it was made: microseconds since 1970.
    pub(crate) created: u64,
    /// How many items it has.
    pub(crate) items: usize,
    pub(crate) content_type: String,
    pub(crate) content_encoding: Option<String>,
    pub(crate) body: Bytes,
}

impl Batch {
    /// A batch made now.
    pub(crate) fn new(items: usize, content_type: &str, content_encoding: Option<&str>, body: Bytes) -> Self {
        Self {
            created: now(),
            items,
            content_type: content_type.to_owned(),
            content_encoding: content_encoding.map(str::to_owned),
            body,
        }
    }

    /// The batch with only those items of its JSON array whose places are given. None when the body is no such array.
    pub(crate) fn only(&self, places: &[usize]) -> Option<Self> {
        let items: Vec<&RawValue> = serde_json::from_slice(&self.body).ok()?;
        let left: Vec<&RawValue> = places.iter().map(|place| items.get(*place).copied()).collect::<Option<_>>()?;
        let body = serde_json::to_vec(&left).ok()?;
        Some(Self { items: left.len(), body: body.into(), ..self.clone() })
    }
}

/// Microseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_split_by_their_bytes_in_their_order() {
        let lengths = |bytes: &[usize]| -> Vec<usize> {
            let batches = split(bytes);
            assert!(batches.iter().flat_map(Clone::clone).eq(0..bytes.len()), "{batches:?}");
            batches.iter().map(ExactSizeIterator::len).collect()
        };
        assert!(lengths(&[]).is_empty());
        assert_eq!(lengths(&[1, 2, 3]), [3]);
        assert_eq!(lengths(&[BATCH_BYTES, 0, 1, BATCH_BYTES - 1]), [2, 2]);
        assert_eq!(lengths(&[1, usize::MAX, usize::MAX, 1, 1]), [1, 1, 1, 2]);
    }

    #[test]
    fn a_batch_can_be_reduced_to_some_of_its_items() {
        let batch = Batch::new(3, "application/json", None, Bytes::from_static(br#"[{"a":1.0},{"b":2},"c"]"#));
        let left = batch.only(&[0, 2]).unwrap();
        assert_eq!((left.items, &left.body[..]), (2, &br#"[{"a":1.0},"c"]"#[..]));
        assert_eq!(left.created, batch.created);
        assert!(batch.only(&[3]).is_none());
        assert!(Batch::new(1, "", None, Bytes::from_static(b"{}")).only(&[0]).is_none());
    }
}
