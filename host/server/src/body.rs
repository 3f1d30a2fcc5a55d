//! Reading request bodies, within limits on their size, their time, and the memory of all of them together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::sending::Wait;
use crate::settings::BodyLimits;
use crate::tenant;

/// Bytes beyond the limit that are read and forgotten, so that the client gets to see the answer.
const DISCARD: u64 = 4 * 1024 * 1024;
/// How long that may take.
const DISCARD_TIME: Duration = Duration::from_secs(2);
/// Bytes that are set aside for a body that says to be larger, until they have come.
const RESERVE: u64 = 1024 * 1024;

/// The memory that all bodies share, of requests and of answers.
///
/// Tenants share it by dynamic thresholds, as the ports of a switch share its memory (Choudhury and Hahne, 1998, with
/// alpha = 1): none takes more than it leaves free. So one that takes all it can has half, two have a third each when what
/// they had before has been given back, and there is always some for one more.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    /// Bytes that nobody has.
    left: Mutex<u64>,
    /// Whether tenants share it; else there is one scorer, which may have all of it.
    has_tenants: bool,
}

impl BodyBudget {
    pub(crate) fn new(bytes: u64, has_tenants: bool) -> Arc<Self> {
        Arc::new(Self { left: Mutex::new(bytes), has_tenants })
    }

    fn left(&self) -> MutexGuard<'_, u64> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the bodies of one tenant have of the budget.
#[derive(Debug)]
pub(crate) struct Account {
    budget: Arc<BodyBudget>,
    /// Bytes. Changed only by who has locked what is left of the budget.
    taken: AtomicU64,
}

impl Account {
    pub(crate) fn new(budget: &Arc<BodyBudget>) -> Arc<Self> {
        Arc::new(Self { budget: Arc::clone(budget), taken: AtomicU64::new(0) })
    }

    fn take(&self, bytes: u64) -> Result<(), Error> {
        // What is left may be less than what the tenant has, when others have taken some since.
        if bytes == 0 {
            return Ok(());
        }
        let has_tenants = self.budget.has_tenants;
        let mut left = self.budget.left();
        let taken = self.taken.load(Ordering::Relaxed);
        match left.checked_sub(bytes) {
            Some(rest) if !has_tenants || taken + bytes <= rest => {
                *left = rest;
                self.taken.store(taken + bytes, Ordering::Relaxed);
                Ok(())
            }
            // When bodies end is known to nobody.
            _ if has_tenants => Err(Error::Quota { quota: tenant::BODIES, after: Duration::from_secs(1) }),
            _ => Err(Error::BodyBudget),
        }
    }

    fn give_back(&self, bytes: u64) {
        let mut left = self.budget.left();
        *left += bytes;
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A body's part of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    account: Arc<Account>,
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

/// Charges an account for so many bytes, until the share is dropped.
pub(crate) fn charge(bytes: u64, account: &Arc<Account>) -> Result<Share, Error> {
    let mut share = Share::of(account);
    share.take(bytes)?;
    Ok(share)
}

/// An answer as it is sent. The account is charged for it until the client has taken it.
pub(crate) fn answer(bytes: Vec<u8>, account: &Arc<Account>) -> Result<Bytes, Error> {
    let share = charge(bytes.len() as u64, account)?;
    Ok(Bytes::from_owner(Charged { bytes, _share: share }))
}

impl Share {
    /// One with nothing in it.
    fn of(account: &Arc<Account>) -> Self {
        Self { account: Arc::clone(account), taken: 0 }
    }

    fn take(&mut self, bytes: u64) -> Result<(), Error> {
        self.account.take(bytes)?;
        self.taken += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.account.give_back(self.taken);
    }
}

/// Reads a body to its end. The account is charged for it until its share is dropped.
///
/// The pieces are parts of the connection's buffer. They are copied here, and then no more until the body is put into the
/// scorer's memory.
pub(crate) async fn read(
    mut body: Body,
    headers: &HeaderMap,
    limits: &BodyLimits,
    account: &Arc<Account>,
) -> Result<(Vec<u8>, Share), Error> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limits.max) {
        if !headers.contains_key(header::EXPECT) {
            discard(&mut body).await;
        }
        return Err(Error::BodyTooLarge(limits.max));
    }
    let mut share = Share::of(account);
    let mut wait = Wait::default();
    let mut received = 0_u64;
    let mut bytes = Vec::new();
    loop {
        wait.begin(Instant::now());
        let deadline = wait.end(limits.timeout).expect("it has begun");
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
        wait.took(Instant::now(), data.len());
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

    /// The account of the only scorer.
    fn account(total: u64) -> Arc<Account> {
        Account::new(&BodyBudget::new(total, false))
    }

    #[tokio::test]
    async fn pieces_are_joined_and_the_budget_is_given_back() {
        let account = account(10);
        let (body, share) = read(chunks(&["ab", "cd", "e"]), &HeaderMap::new(), &limits(5), &account).await.unwrap();
        assert_eq!(body, b"abcde");
        assert_eq!(*account.budget.left(), 5);
        drop(share);
        assert_eq!(*account.budget.left(), 10);
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
        let account = account(10);
        let error = read(chunks(&["abc", "def"]), &HeaderMap::new(), &limits(5), &account).await.unwrap_err();
        assert!(matches!(error, Error::BodyTooLarge(5)));
        let declared = HeaderMap::from_iter([(CONTENT_LENGTH, "6".parse().unwrap())]);
        let error = read(chunks(&["abcdef"]), &declared, &limits(5), &account).await.unwrap_err();
        assert!(matches!(error, Error::BodyTooLarge(5)));
        assert_eq!(*account.budget.left(), 10);
    }

    #[tokio::test]
    async fn bodies_share_a_budget() {
        let account = account(5);
        let _held = read(chunks(&["abc"]), &HeaderMap::new(), &limits(5), &account).await.unwrap();
        let error = read(chunks(&["abc"]), &HeaderMap::new(), &limits(5), &account).await.unwrap_err();
        assert!(matches!(error, Error::BodyBudget));
    }

    #[test]
    fn who_takes_all_it_can_has_half_of_the_budget_and_two_a_third_each() {
        let budget = BodyBudget::new(600, true);
        let [one, other, third] = [(); 3].map(|()| Account::new(&budget));
        let takes_all = |share: &mut Share| while share.take(1).is_ok() {};
        let mut greedy = Share::of(&one);
        takes_all(&mut greedy);
        assert_eq!(greedy.taken, 300);
        assert!(matches!(charge(1, &one), Err(Error::Quota { quota: tenant::BODIES, .. })));
        let mut second = Share::of(&other);
        takes_all(&mut second);
        assert_eq!(second.taken, 150, "half of what the first one has left free");
        assert_eq!(charge(75, &third).unwrap().taken, 75);
        assert!(answer(Vec::new(), &one).is_ok(), "nothing is not too much");
        // When all has been given back they are equals.
        (greedy, second) = (Share::of(&one), Share::of(&other));
        while greedy.take(1).is_ok() | second.take(1).is_ok() {}
        assert_eq!((greedy.taken, second.taken), (200, 200));
    }

    #[test]
    fn an_answer_is_charged_for_until_the_last_of_it_is_dropped() {
        let account = account(5);
        let mut bytes = answer(b"abcd".to_vec(), &account).unwrap();
        let piece = bytes.split_to(1);
        assert!(matches!(answer(b"ab".to_vec(), &account), Err(Error::BodyBudget)));
        drop(bytes);
        assert_eq!(*account.budget.left(), 1);
        drop(piece);
        assert_eq!(*account.budget.left(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_ends_however_much_came_at_once() {
        let limits = BodyLimits::default();
        for bytes in [0, 10 << 20] {
            let start = Instant::now();
            let body = Body::from_stream(Stalls(vec![b'b'; bytes].into()));
            let error = read(body, &HeaderMap::new(), &limits, &account(limits.max)).await.unwrap_err();
            assert!(matches!(error, Error::BodyTimeout));
            let took = start.elapsed();
            assert!((limits.timeout..limits.timeout + Duration::from_millis(10)).contains(&took), "{took:?}");
        }
    }

    proptest! {
        #[test]
        fn bodies_never_have_more_than_their_budget_and_give_all_of_it_back(
            total in 0..1000_u64,
            has_tenants: bool,
            steps in prop::collection::vec(
                (0..6_usize, prop_oneof![4 => 0..100_u64, 2 => 0..600_u64, 1 => Just(u64::MAX)], any::<bool>()),
                0..60,
            ),
        ) {
            let budget = BodyBudget::new(total, has_tenants);
            // Three tenants with two bodies each.
            let accounts = [(); 3].map(|()| Account::new(&budget));
            let share = |index: usize| Share::of(&accounts[index / 2]);
            let mut shares: Vec<_> = (0..6).map(share).collect();
            let mut taken = [0_u64; 6];
            for (index, bytes, ends) in steps {
                let left = total - taken.iter().sum::<u64>();
                let own = taken[index & !1] + taken[index | 1];
                let fits = bytes <= left && (!has_tenants || own + bytes <= left - bytes);
                let is_taken = shares[index].take(bytes).is_ok();
                prop_assert_eq!(is_taken, fits || bytes == 0);
                if is_taken {
                    taken[index] += bytes;
                }
                if ends {
                    shares[index] = share(index);
                    taken[index] = 0;
                }
                let left = total - taken.iter().sum::<u64>();
                prop_assert_eq!(*budget.left(), left);
                prop_assert!(!has_tenants || total == 0 || left > 0, "there is some for another");
                for (account, taken) in accounts.iter().zip(taken.chunks(2)) {
                    prop_assert_eq!(account.taken.load(Ordering::Relaxed), taken.iter().sum::<u64>());
                    prop_assert!(!has_tenants || account.taken.load(Ordering::Relaxed) <= total / 2);
                }
            }
            drop(shares);
            prop_assert_eq!(*budget.left(), total);
            prop_assert!(accounts.iter().all(|account| account.taken.load(Ordering::Relaxed) == 0));
        }
    }

    /// A body of which this comes at once, and then nothing more.
    struct Stalls(Bytes);

    impl futures_core::Stream for Stalls {
        type Item = Result<Bytes, std::io::Error>;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            let piece = std::mem::take(&mut self.0);
            if piece.is_empty() { std::task::Poll::Pending } else { std::task::Poll::Ready(Some(Ok(piece))) }
        }
    }
}
