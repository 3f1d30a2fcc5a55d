//! A lane's CPU time against its quota.

use std::time::{Duration, Instant};

use crate::lane::CpuQuota;

/// Nanoseconds of a second, and parts of a nanosecond in which credit is counted: so no refill is rounded.
const BILLION: i128 = 1_000_000_000;

/// Longer than any process lives.
const FOREVER: Duration = Duration::from_hours(24 * 365 * 100);

/// A token bucket, whose tokens are CPU time. It can be overdrawn, since what a turn costs is known when it is over.
#[derive(Debug)]
pub(super) struct Bucket {
    quota: CpuQuota,
    /// In billionths of a nanosecond.
    credit: i128,
    /// When `credit` was right.
    filled: Instant,
}

impl Bucket {
    pub(super) fn full(quota: CpuQuota, now: Instant) -> Self {
        Self { quota, credit: parts(quota.burst), filled: now }
    }

    /// Takes what has been used.
    pub(super) fn spend(&mut self, cpu: Duration, now: Instant) {
        self.fill(now);
        self.credit = self.credit.saturating_sub(parts(cpu));
    }

    /// Goes on with another quota. What is owed stays owed.
    pub(super) fn change(&mut self, quota: CpuQuota, now: Instant) {
        self.fill(now);
        self.quota = quota;
        self.credit = self.credit.min(parts(quota.burst));
    }

    /// When it is not overdrawn any more; `None` if it is not overdrawn, as of the last use.
    pub(super) fn overdrawn_until(&self) -> Option<Instant> {
        (self.credit < 0).then(|| {
            let wait = match self.quota.per_second.as_nanos() {
                0 => FOREVER,
                per_nanosecond => {
                    let nanoseconds = self.credit.unsigned_abs().div_ceil(per_nanosecond);
                    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)).min(FOREVER)
                }
            };
            self.filled + wait
        })
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled);
        // A second of the quota is that many nanoseconds in a billion, so as many billionths in each.
        let gained = elapsed.as_nanos().cast_signed().saturating_mul(self.quota.per_second.as_nanos().cast_signed());
        self.credit = self.credit.saturating_add(gained).min(parts(self.quota.burst));
        self.filled = self.filled.max(now);
    }
}

fn parts(time: Duration) -> i128 {
    time.as_nanos().cast_signed().saturating_mul(BILLION)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn quota(per_second: Duration, burst: Duration) -> CpuQuota {
        CpuQuota { per_second, burst }
    }

    #[test]
    fn it_is_overdrawn_until_the_quota_has_made_up_for_it() {
        let start = Instant::now();
        let mut bucket = Bucket::full(quota(100 * MS, 20 * MS), start);
        bucket.spend(20 * MS, start);
        assert_eq!(bucket.overdrawn_until(), None, "it is empty, but nothing is owed");
        bucket.spend(5 * MS, start);
        assert_eq!(bucket.overdrawn_until(), Some(start + 50 * MS));
        bucket.spend(5 * MS, start + 20 * MS);
        assert_eq!(bucket.overdrawn_until(), Some(start + 100 * MS));
    }

    #[test]
    fn no_more_is_saved_up_than_the_burst() {
        let start = Instant::now();
        let mut bucket = Bucket::full(quota(100 * MS, 20 * MS), start);
        bucket.spend(21 * MS, start + Duration::from_hours(1));
        assert_eq!(bucket.overdrawn_until(), Some(start + Duration::from_hours(1) + 10 * MS));
    }

    #[test]
    fn another_quota_holds_from_now_on_and_the_debt_stays() {
        let start = Instant::now();
        let mut bucket = Bucket::full(quota(100 * MS, Duration::ZERO), start);
        bucket.spend(10 * MS, start);
        bucket.change(quota(1000 * MS, MS), start + 50 * MS);
        assert_eq!(bucket.overdrawn_until(), Some(start + 55 * MS));
        bucket.change(quota(Duration::ZERO, MS), start + 50 * MS);
        assert_eq!(bucket.overdrawn_until(), Some(start + 50 * MS + FOREVER));
    }

    #[test]
    fn the_largest_quota_and_the_longest_time_do_not_overflow() {
        let start = Instant::now();
        let mut bucket = Bucket::full(quota(Duration::MAX, Duration::MAX), start);
        bucket.spend(Duration::MAX, start);
        bucket.spend(Duration::MAX, start + FOREVER);
        bucket.change(quota(Duration::from_nanos(1), Duration::ZERO), start + FOREVER);
        assert!(bucket.overdrawn_until() <= Some(start + 2 * FOREVER));
    }

    proptest! {
        #[test]
        fn no_more_is_used_than_the_burst_the_quota_and_one_turn(
            per_second in 0..2_000_000_000_u64,
            burst in 0..50_000_000_u64,
            turns in prop::collection::vec((0..5_000_000_u64, 0..10_000_000_u64), 1..200),
        ) {
            let start = Instant::now();
            let quota = quota(Duration::from_nanos(per_second), Duration::from_nanos(burst));
            let mut bucket = Bucket::full(quota, start);
            let mut now = start;
            let mut used = 0_u128;
            for (turn, pause) in turns {
                now += Duration::from_nanos(pause);
                if bucket.overdrawn_until().is_some_and(|until| until > now) {
                    continue;
                }
                let allowed = u128::from(burst) + (now - start).as_nanos() * u128::from(per_second) / 1_000_000_000;
                prop_assert!(used <= allowed + 1, "{used} ns of {allowed} ns are used and it may run");
                bucket.spend(Duration::from_nanos(turn), now);
                used += u128::from(turn);
            }
        }
    }
}
