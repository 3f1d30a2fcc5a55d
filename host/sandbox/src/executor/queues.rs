//! The guests that can run, and the threads that take them.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::control::Control;
use super::schedule::{Entry, LaneId, Schedule};
use super::{Capacity, cpu};
use crate::lane::{LaneLimits, LaneUsage, Priority};
use crate::outcome::Refused;

/// How long a thread looks for work before it sleeps.
const SHORT_SEARCH: Duration = Duration::from_micros(30);
/// The same where the last one that had none got some within [`SOON`]: from clients that send one request after the other,
/// to wake a thread would take longer than a request.
const LONG_SEARCH: Duration = Duration::from_micros(150);
/// Twice as long as it would be if no thread had to be woken.
const SOON: Duration = Duration::from_micros(300);

pub(super) struct State {
    pub(super) schedule: Schedule,
    /// Threads that wait to be woken.
    sleeping: usize,
    /// Whether a thread is looking for work, or has been woken to. One is enough: it wakes the next if there is more.
    searching: bool,
    /// How long the next one looks.
    search: Duration,
    /// When a guest was last put into a queue.
    pushed: Instant,
    /// When a sleeping thread wakes by itself; `None` if none does, or it is not known.
    alarm: Option<Instant>,
    /// Whose turn it is on each thread.
    turns: Box<[Option<OnThread>]>,
}

/// A guest that has a turn.
struct OnThread {
    lane: LaneId,
    /// Whether it makes way for guests of its own lane, too.
    for_its_own: bool,
    /// When it will have had enough of its turn to be interrupted.
    undisturbed_until: Instant,
    /// When its turn is over. It goes on where nobody waits, and then makes way for everybody.
    over_at: Instant,
}

impl OnThread {
    fn makes_way_for_its_own(&self, now: Instant) -> bool {
        self.for_its_own || now >= self.over_at
    }
}

/// What the threads wait for.
pub(crate) struct Queues {
    state: Mutex<State>,
    pub(super) available: Condvar,
    /// Has every guest that runs decide whether its turn is over.
    interrupt: Box<dyn Fn() + Send + Sync>,
    /// Counts what could give a thread work, to be read without the lock.
    events: AtomicUsize,
    /// Set when all guests have to be destroyed.
    pub(super) aborted: AtomicBool,
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queues").finish_non_exhaustive()
    }
}

// Guests hold their lanes, and the last to let go of a lane takes the lock. So whatever holds a guest is dropped without it.
impl Queues {
    pub(super) fn new(capacity: Capacity, interrupt: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        let state = State {
            schedule: Schedule::new(capacity),
            sleeping: 0,
            searching: false,
            search: SHORT_SEARCH,
            pushed: Instant::now(),
            alarm: None,
            turns: (0..capacity.threads).map(|_| None).collect(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            available: Condvar::new(),
            interrupt: Box::new(interrupt),
            events: AtomicUsize::new(0),
            aborted: AtomicBool::new(false),
        })
    }

    /// Nobody's, of no threads.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Arc<Self> {
        Self::new(Capacity { threads: 0, running: 1, waiting: 0, turn: Duration::ZERO, nice: 0 }, || ())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a guest that can run into the queue where it belongs.
    pub(super) fn push(&self, entry: Entry) {
        let now = Instant::now();
        let mut state = self.lock();
        self.add(&mut state, entry, now);
    }

    fn add(&self, state: &mut State, entry: Entry, now: Instant) {
        let Control { lane, priority, started, .. } = &*entry.control;
        let (lane, fresh) = (lane.id(), *priority == Priority::Live && started.get().is_none());
        state.schedule.push(entry, now);
        state.pushed = now;
        self.events.fetch_add(1, Ordering::Relaxed);
        self.wake(state, now);
        if fresh {
            self.make_way(state, lane, now);
        }
    }

    /// The same for a new request, unless it is refused. Another may be refused in its place.
    pub(super) fn submit(&self, entry: Entry, patience: Duration) -> Result<(), Refused> {
        let now = Instant::now();
        let mut state = self.lock();
        let pushed_out = state.schedule.make_room(&entry.control, patience, now)?;
        self.add(&mut state, entry, now);
        drop(state);
        drop(pushed_out);
        Ok(())
    }

    /// Interrupts those who have a turn, each of which then decides for itself, if no thread is free for a fresh guest of this
    /// lane and one of them may have to make way: else it would wait for the next tick.
    fn make_way(&self, state: &State, lane: LaneId, now: Instant) {
        let may_make_way =
            |turn: &OnThread| now >= turn.undisturbed_until && (turn.lane != lane || turn.makes_way_for_its_own(now));
        if state.sleeping == 0 && !state.searching && state.turns.iter().flatten().any(may_make_way) {
            (self.interrupt)();
        }
    }

    /// Whether a guest in its first turn waits for which one that has a turn may have to make way: it came when that one was
    /// not to be disturbed, or had not begun to listen; or its lane had used more then, as far as was known.
    pub(crate) fn is_anybody_kept_waiting(&self) -> bool {
        let (state, now) = (self.lock(), Instant::now());
        state.turns.iter().flatten().any(|turn| {
            let (own, other) = state.schedule.keeps_waiting(turn.lane);
            other || own && turn.makes_way_for_its_own(now)
        })
    }

    pub(crate) fn add_lane(&self, limits: LaneLimits) -> LaneId {
        self.lock().schedule.add_lane(limits, Instant::now())
    }

    pub(crate) fn remove_lane(&self, lane: LaneId) {
        self.lock().schedule.remove_lane(lane);
    }

    pub(crate) fn usage(&self, lane: LaneId) -> LaneUsage {
        self.lock().schedule.usage(lane, Instant::now())
    }

    pub(crate) fn set_limits(&self, lane: LaneId, limits: LaneLimits) {
        let now = Instant::now();
        let mut state = self.lock();
        state.schedule.set_limits(lane, limits, now);
        self.events.fetch_add(1, Ordering::Relaxed);
        self.wake(&mut state, now);
    }

    /// Wakes a thread to look for work, or to know when there will be some. Not if one is looking already: waking costs more
    /// than most guests.
    pub(super) fn wake(&self, state: &mut State, now: Instant) {
        if state.sleeping == 0 || state.searching {
            return;
        }
        let early = |event| state.alarm.is_none_or(|alarm| event < alarm);
        if state.schedule.has_work(Priority::Background, now) || state.schedule.next_event().is_some_and(early) {
            state.searching = true;
            self.available.notify_one();
        }
    }

    /// Takes the next guest; waits for one. `None` when the threads have to end.
    fn next(&self, thread: usize) -> Option<Entry> {
        let mut waits_since = None;
        let mut state = self.lock();
        state.turns[thread] = None;
        let mut searching = false;
        loop {
            let now = Instant::now();
            if let Some(waker) = state.schedule.evict(now) {
                drop(state);
                waker.wake();
                state = self.lock();
            }
            if let Some(entry) = state.schedule.choose(now) {
                if searching {
                    state.searching = false;
                }
                if let Some(since) = waits_since {
                    let soon = state.pushed.saturating_duration_since(since) < SOON;
                    state.search = if soon { LONG_SEARCH } else { SHORT_SEARCH };
                }
                let control = &entry.control;
                state.turns[thread] = Some(OnThread {
                    lane: control.lane.id(),
                    for_its_own: control.fills_in.load(Ordering::Relaxed) || control.priority == Priority::Background,
                    undisturbed_until: now + control.undisturbed_for(),
                    over_at: now + control.rest_of(state.schedule.turn()),
                });
                self.wake(&mut state, now);
                drop(state);
                if waits_since.is_some() {
                    // What the thread has done since its last guest is nobody's.
                    cpu::lap();
                }
                return Some(entry);
            }
            if state.schedule.is_over() {
                return None;
            }
            waits_since.get_or_insert(now);
            if !searching && !state.searching {
                searching = true;
                state.searching = true;
                let (events, search) = (self.events.load(Ordering::Relaxed), state.search);
                drop(state);
                self.look_for_a_while(events, search);
                state = self.lock();
                continue;
            }
            if searching {
                state.searching = false;
            }
            state = self.sleep(state);
            // Whoever woke this thread has said so in `searching`; after the end was announced nobody has.
            searching = state.searching;
        }
    }

    /// Waits to be woken, or for what happens by itself.
    fn sleep<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let event = state.schedule.next_event();
        state.sleeping += 1;
        state = match event {
            Some(event) => {
                state.alarm = Some(state.alarm.map_or(event, |alarm| alarm.min(event)));
                let wait = event.saturating_duration_since(Instant::now());
                self.available.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.available.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        state.sleeping -= 1;
        // It may have been this thread's.
        state.alarm = None;
        state
    }

    /// Waits for work without sleeping: while requests come one after the other, falling asleep and being woken would be
    /// most of what they take.
    fn look_for_a_while(&self, events: usize, search: Duration) {
        let start = Instant::now();
        while self.events.load(Ordering::Relaxed) == events && start.elapsed() < search {
            // Whoever is to bring the work may wait for this core.
            std::thread::yield_now();
        }
    }

    /// Charges a guest's lane for what its thread has done since the last time.
    pub(super) fn charge(&self, control: &Control) {
        let (cpu, now) = (cpu::lap(), Instant::now());
        let mut state = self.lock();
        state.schedule.charge(control, cpu, now);
        self.wake(&mut state, now);
    }

    /// Takes note that a started guest is destroyed.
    pub(super) fn destroyed(&self, control: &Control) {
        let (cpu, now) = (cpu::lap(), Instant::now());
        let mut state = self.lock();
        let dropped = state.schedule.destroyed(control, cpu, now);
        // A thread that destroys a guest looks for the next one itself; only the end has to be told to the others.
        if state.schedule.is_over() {
            self.available.notify_all();
        }
        drop(state);
        drop(dropped);
    }

    /// Takes a guest that has not been started out of the queue, and says whether there is such a one.
    pub(super) fn withdraw(&self, control: &Control) -> bool {
        self.remove(|schedule| schedule.withdraw(control))
    }

    /// Has a guest destroyed now, if it waits for its turn.
    pub(super) fn end_early(&self, control: &Control) {
        self.remove(|schedule| schedule.end_early(control));
    }

    fn remove(&self, guest: impl FnOnce(&mut Schedule) -> Option<Entry>) -> bool {
        let mut state = self.lock();
        let removed = guest(&mut state.schedule);
        if state.schedule.is_over() {
            self.available.notify_all();
        }
        self.wake(&mut state, Instant::now());
        drop(state);
        removed.is_some()
    }

    /// What a thread does all its life.
    pub(super) fn work(&self, thread: usize) {
        while let Some(entry) = self.next(thread) {
            // A defect of the host in one request must not end the thread; whoever waits for the guest is told by the
            // channel that closes.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| entry.runnable.run())) {
                tracing::error!("a request failed inside the sandbox: {}", panic_text(panic.as_ref()));
            }
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown panic")
}
