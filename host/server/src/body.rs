//! Reading request bodies, within limits on their size, their time, and the memory of all of them together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::settings::BodyLimits;

/// Bytes beyond the limit that are read and forgotten, so that the client gets to see the answer.
const DISCARD: u64 = 4 * 1024 * 1024;
/// How long that may take.
const DISCARD_TIME: Duration = Duration::from_secs(2);
/// Bytes that are set aside for a body that says to be larger, until they have come.
const RESERVE: u64 = 1024 * 1024;

/// The memory that all bodies share, of requests and of answers.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    left: AtomicU64,
}

impl BodyBudget {
    pub(crate) fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(bytes) })
    }
}

/// A body's part of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<BodyBudget>,
    taken: u64,
}

/// An answer that is charged for until the last piece of it has been taken.
struct Charged {
    bytes: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Charges the budget for a copy of a body, until the share is dropped.
pub(crate) fn charge(bytes: u64, budget: &Arc<BodyBudget>) -> Result<Share, Error> {
    let mut share = Share { budget: Arc::clone(budget), taken: 0 };
    share.take(bytes)?;
    Ok(share)
}

/// An answer as it is sent. The budget is charged for it until the client has taken it.
pub(crate) fn answer(bytes: Vec<u8>, budget: &Arc<BodyBudget>) -> Result<Bytes, Error> {
    let share = charge(bytes.len() as u64, budget)?;
    Ok(Bytes::from_owner(Charged { bytes, _share: share }))
}

impl Share {
    fn take(&mut self, bytes: u64) -> Result<(), Error> {
        let less = |left: u64| left.checked_sub(bytes);
        match self.budget.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => {
                self.taken += bytes;
                Ok(())
            }
            Err(_) => Err(Error::BodyBudget),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.taken, Ordering::Relaxed);
    }
}

/// Reads a body to its end. The budget is charged for it until its share is dropped.
///
/// The pieces are parts of the connection's buffer. They are copied here, and then no more until the body is put into the
/// scorer's memory.
pub(crate) async fn read(
    mut body: Body,
    headers: &HeaderMap,
    limits: &BodyLimits,
    budget: &Arc<BodyBudget>,
) -> Result<(Vec<u8>, Share), Error> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limits.max) {
        if !headers.contains_key(header::EXPECT) {
            discard(&mut body).await;
        }
        return Err(Error::BodyTooLarge(limits.max));
    }
    let mut share = Share { budget: Arc::clone(budget), taken: 0 };
    let start = Instant::now();
    let mut received = 0_u64;
    let mut bytes = Vec::new();
    loop {
        let deadline = start + limits.timeout + Duration::from_secs(received / BodyLimits::MIN_RATE);
        let frame = match timeout_at(deadline, body.frame()).await {
            Err(_) => return Err(Error::BodyTimeout),
            Ok(None) => break,
            Ok(Some(Err(error))) => {
                tracing::debug!("a request body broke off: {error}");
                return Err(Error::BodyBroken);
            }
            Ok(Some(Ok(frame))) => frame,
        };
        // Trailers are of no use to a scorer.
        let Ok(data) = frame.into_data() else { continue };
        received += data.len() as u64;
        if received > limits.max {
            discard(&mut body).await;
            return Err(Error::BodyTooLarge(limits.max));
        }
        share.take(data.len() as u64)?;
        make_room(&mut bytes, data.len(), declared.unwrap_or(0));
        bytes.extend_from_slice(&data);
    }
    Ok((bytes, share))
}

/// Makes room for the next piece of a body that says to have `declared` bytes: for all of them when it has kept to that for
/// [`RESERVE`], so that a large body is not copied again and again as it grows.
fn make_room(bytes: &mut Vec<u8>, piece: usize, declared: u64) {
    if bytes.capacity() - bytes.len() >= piece {
        return;
    }
    let expected = if bytes.len() as u64 >= RESERVE { declared } else { declared.min(RESERVE) };
    let rest = (expected as usize).saturating_sub(bytes.len());
    // Where the system has no such piece of address space, the body grows as it comes.
    if rest < piece || bytes.try_reserve_exact(rest).is_err() {
        bytes.reserve(piece);
    }
}

/// Reads on for a while, and forgets what comes.
async fn discard(body: &mut Body) {
    let deadline = Instant::now() + DISCARD_TIME;
    let mut left = DISCARD;
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await {
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(max: u64) -> BodyLimits {
        BodyLimits { max, ..BodyLimits::default() }
    }

    fn chunks(parts: &[&'static str]) -> Body {
        let parts: Vec<_> =
            parts.iter().map(|part| Ok::<_, std::io::Error>(Bytes::from_static(part.as_bytes()))).collect();
        Body::from_stream(tokio_stream(parts))
    }

    /// A stream of what is there already.
    fn tokio_stream<T: Unpin + Send + 'static>(items: Vec<T>) -> impl futures_core::Stream<Item = T> + Send {
        struct Items<T>(std::vec::IntoIter<T>);
        impl<T: Unpin> futures_core::Stream for Items<T> {
            type Item = T;
            fn poll_next(
                mut self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<T>> {
                std::task::Poll::Ready(self.0.next())
            }
        }
        Items(items.into_iter())
    }

    #[tokio::test]
    async fn pieces_are_joined_and_the_budget_is_given_back() {
        let budget = BodyBudget::new(10);
        let (body, share) = read(chunks(&["ab", "cd", "e"]), &HeaderMap::new(), &limits(5), &budget).await.unwrap();
        assert_eq!(body, b"abcde");
        assert_eq!(budget.left.load(Ordering::Relaxed), 5);
        drop(share);
        assert_eq!(budget.left.load(Ordering::Relaxed), 10);
    }

    #[test]
    fn room_is_made_for_what_is_announced_when_some_of_it_has_come() {
        let mut bytes = Vec::new();
        let (piece, declared) = (1 << 16, 50 << 20);
        let mut capacities = Vec::new();
        while (bytes.len() as u64) < declared {
            make_room(&mut bytes, piece, declared);
            bytes.resize(bytes.len() + piece, 0);
            capacities.push(bytes.capacity() as u64);
        }
        capacities.dedup();
        assert_eq!(capacities, [RESERVE, declared]);
        // It says less than it sends.
        make_room(&mut bytes, piece, declared);
        assert!(bytes.capacity() >= bytes.len() + piece);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_declared_or_not() {
        let budget = BodyBudget::new(10);
        let error = read(chunks(&["abc", "def"]), &HeaderMap::new(), &limits(5), &budget).await.unwrap_err();
        assert!(matches!(error, Error::BodyTooLarge(5)));
        let declared = HeaderMap::from_iter([(CONTENT_LENGTH, "6".parse().unwrap())]);
        let error = read(chunks(&["abcdef"]), &declared, &limits(5), &budget).await.unwrap_err();
        assert!(matches!(error, Error::BodyTooLarge(5)));
        assert_eq!(budget.left.load(Ordering::Relaxed), 10);
    }

    #[tokio::test]
    async fn bodies_share_a_budget() {
        let budget = BodyBudget::new(5);
        let _held = read(chunks(&["abc"]), &HeaderMap::new(), &limits(5), &budget).await.unwrap();
        let error = read(chunks(&["abc"]), &HeaderMap::new(), &limits(5), &budget).await.unwrap_err();
        assert!(matches!(error, Error::BodyBudget));
    }

    #[test]
    fn an_answer_is_charged_for_until_the_last_of_it_is_dropped() {
        let budget = BodyBudget::new(5);
        let mut bytes = answer(b"abcd".to_vec(), &budget).unwrap();
        let piece = bytes.split_to(1);
        assert!(matches!(answer(b"ab".to_vec(), &budget), Err(Error::BodyBudget)));
        drop(bytes);
        assert_eq!(budget.left.load(Ordering::Relaxed), 1);
        drop(piece);
        assert_eq!(budget.left.load(Ordering::Relaxed), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_ends() {
        let body = Body::from_stream(Never);
        let error = read(body, &HeaderMap::new(), &limits(5), &BodyBudget::new(5)).await.unwrap_err();
        assert!(matches!(error, Error::BodyTimeout));
    }

    proptest! {
        #[test]
        fn bodies_never_have_more_than_their_budget_and_give_all_of_it_back(
            total in 0..1000_u64,
            steps in prop::collection::vec((0..4_usize, prop_oneof![4 => 0..600_u64, 1 => Just(u64::MAX)], any::<bool>()), 0..40),
        ) {
            let budget = BodyBudget::new(total);
            let share = || Share { budget: Arc::clone(&budget), taken: 0 };
            let mut shares = [share(), share(), share(), share()];
            let mut taken = [0_u64; 4];
            for (index, bytes, ends) in steps {
                let left = total - taken.iter().sum::<u64>();
                prop_assert_eq!(shares[index].take(bytes).is_ok(), bytes <= left);
                if bytes <= left {
                    taken[index] += bytes;
                }
                if ends {
                    shares[index] = share();
                    taken[index] = 0;
                }
                prop_assert_eq!(budget.left.load(Ordering::Relaxed), total - taken.iter().sum::<u64>());
            }
            drop(shares);
            prop_assert_eq!(budget.left.load(Ordering::Relaxed), total);
        }
    }

    struct Never;

    impl futures_core::Stream for Never {
        type Item = Result<Bytes, std::io::Error>;
        fn poll_next(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            std::task::Poll::Pending
        }
    }
}
