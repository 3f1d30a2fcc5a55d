//! What is known of one guest while it waits, runs and ends, and what it has to do at a tick.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::cpu;
use crate::lane::{Lane, Priority};
use crate::outcome::Refused;

/// How much of its first turn a guest has, whoever comes: most are done in less, and to change guests is not free.
pub(super) const UNDISTURBED: Duration = Duration::from_micros(100);

/// What the threads, the guest and its client share about one guest.
#[derive(Debug)]
pub(crate) struct Control {
    pub(super) lane: Lane,
    pub(super) priority: Priority,
    /// Whether it is a request, and not the host's own.
    pub(super) refusable: bool,
    pub(super) limit: Duration,
    pub(super) started: OnceLock<Instant>,
    /// Whether its first turn is over.
    pub(super) resumed: AtomicBool,
    pub(super) cancelled: AtomicBool,
    /// Set when it has lost its place, before or after its start.
    pub(super) refused: OnceLock<Refused>,
    pub(super) yielded: AtomicBool,
    /// Whether it runs because no fresh one of its lane could, and lets the next one go before it.
    pub(super) fills_in: AtomicBool,
    /// Set when it makes way though its turn is not over, until it waits for the rest.
    pub(super) interrupted: AtomicBool,
    /// When this turn began, in nanoseconds after its start. Earlier by what it had of the turn before it was interrupted.
    turn_began: AtomicU64,
    /// What it had of the turn in which it was interrupted, in nanoseconds.
    turn_used: AtomicU64,
}

/// What a guest has to do at a tick of the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Go on: nobody else wants to run.
    Continue,
    /// Let others run, or be destroyed.
    Yield,
}

impl Control {
    pub(super) fn new(lane: Lane, priority: Priority, refusable: bool, limit: Duration) -> Arc<Self> {
        Arc::new(Self {
            lane,
            priority,
            refusable,
            limit,
            started: OnceLock::new(),
            resumed: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            refused: OnceLock::new(),
            yielded: AtomicBool::new(false),
            fills_in: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            turn_began: AtomicU64::new(0),
            turn_used: AtomicU64::new(0),
        })
    }

    /// Whose guest it is.
    pub(crate) fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Whether it goes before others.
    pub(crate) fn priority(&self) -> Priority {
        self.priority
    }

    /// Decides at a tick of the epoch whether the guest goes on. To be called on the thread that runs it.
    pub(crate) fn turn_over(&self) -> Turn {
        let queues = self.lane.queues();
        let (cpu, now) = (cpu::lap(), Instant::now());
        let mut state = queues.lock();
        state.schedule.charge(self, cpu, now);
        // This may be a tick that comes as soon as the turn has begun, where the guest before has ended by itself; or no tick,
        // but somebody who may go before.
        let had = self.turn_age(now);
        let yields = if self.priority == Priority::Live && had < state.schedule.turn() * 3 / 4 {
            let interrupted = had >= self.undisturbed_for() && state.schedule.makes_way(self);
            if interrupted {
                self.interrupted.store(true, Ordering::Relaxed);
                self.turn_used.store(had.as_nanos() as u64, Ordering::Relaxed);
            }
            interrupted || state.schedule.must_yield_at_once(self, now)
        } else {
            state.schedule.must_yield(self, now)
        };
        let turn = if yields { Turn::Yield } else { Turn::Continue };
        queues.wake(&mut state, now);
        drop(state);
        self.yielded.store(turn == Turn::Yield, Ordering::Relaxed);
        turn
    }

    pub(super) fn begin_turn(&self, now: Instant) {
        let began = self.started.get().map_or(Duration::ZERO, |start| now.saturating_duration_since(*start));
        let used = self.turn_used.swap(0, Ordering::Relaxed);
        self.turn_began.store((began.as_nanos() as u64).saturating_sub(used), Ordering::Relaxed);
    }

    /// How much it has of its turn when it gets it now, of a whole one of this length.
    pub(super) fn rest_of(&self, turn: Duration) -> Duration {
        turn.saturating_sub(Duration::from_nanos(self.turn_used.load(Ordering::Relaxed)))
    }

    /// For how long it is not to be interrupted when it gets its turn now.
    pub(super) fn undisturbed_for(&self) -> Duration {
        if self.resumed.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        UNDISTURBED.saturating_sub(Duration::from_nanos(self.turn_used.load(Ordering::Relaxed)))
    }

    /// How much it has had of its turn.
    fn turn_age(&self, now: Instant) -> Duration {
        let start = self.started.get().copied().unwrap_or(now);
        let began = start + Duration::from_nanos(self.turn_began.load(Ordering::Relaxed));
        now.saturating_duration_since(began)
    }

    pub(super) fn ended_early(&self, now: Instant) -> bool {
        self.cancelled.load(Ordering::Relaxed)
            || self.lane.queues().aborted.load(Ordering::Relaxed)
            || self.refused.get().is_some()
            || self.deadline().is_some_and(|deadline| now >= deadline)
    }

    /// When it has to be done; `None` while it has not been started.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.started.get().map(|start| *start + self.limit)
    }

    /// Tells it from all others that are there.
    pub(super) fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}
