//! The threads that run guests, and who runs when.
//!
//! Guests have threads of their own, so that no guest delays those who accept connections, answer health checks or
//! serve metrics. A guest runs until it is done or until the next tick of the epoch, when it yields if anybody waits who
//! may run.
//!
//! Who is next is decided in this order:
//! 1. *Ended early*: guests that are past their deadline or whose client is gone, of all lanes. They are not run again but
//!    destroyed, so a deadline is kept however many guests spin.
//! 2. *The lane* that has used the least CPU time for its weight, of those that may run a live guest. That is start-time
//!    fair queueing: each lane has a clock, which goes on by the CPU time that it uses, divided by its weight. A lane that
//!    had nothing to run begins where the others are, so it neither has saved up time nor has to wait.
//! 3. *Within the lane*, fresh requests, which wait for their first turn: most are done in less than one. But when one
//!    turn's time has been spent on them, the next turn is for a guest that has used up one before, so that neither
//!    starves the other.
//! 4. *Background* guests, chosen in the same way, when no live guest can run.
//!
//! A lane may not run while its CPU quota is overdrawn, and not start a guest while as many run as are allowed, of the lane
//! or of all. The last places to run are for lanes of which nothing runs, where there is more than one lane: so a lane
//! whose guests keep their places for long does not keep others from starting.
//!
//! Who may wait: each lane has its own limit, and there is one for all. When as many wait as may, a request takes the place
//! of the youngest of the lane that waits with most, if that lane waits with at least two more: so it does not matter to
//! the others how many a lane offers, nor whether they wait for the machine or for the lane's own limits.
//!
//! CPU time is measured with the clock of the guest's thread, at each tick and at the end of each turn. A look at it takes
//! some 400 ns, so there is none at the beginning of a turn, unless the thread has waited: choosing a guest is charged to it.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_task::Task;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use crate::lane::{Lane, LaneLimits, LaneUsage, Priority};
use crate::memory;
use crate::outcome::Refused;
use schedule::{Entry, Schedule};

pub(crate) use schedule::LaneId;

mod bucket;
mod cpu;
mod schedule;
#[cfg(test)]
mod tests;

/// How long a thread looks for work before it sleeps.
const SHORT_SEARCH: Duration = Duration::from_micros(30);
/// The same where the last one that had none got some within [`SOON`]: from clients that send one request after the other,
/// to wake a thread would take longer than a request.
const LONG_SEARCH: Duration = Duration::from_micros(150);
/// Twice as long as it would be if no thread had to be woken.
const SOON: Duration = Duration::from_micros(300);

/// How much may run and wait at the same time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    /// Threads that run guests.
    pub(crate) threads: usize,
    /// Guests that have been started and are not destroyed yet.
    pub(crate) running: usize,
    /// Guests that have not been started.
    pub(crate) waiting: usize,
    /// How long a guest runs before it has to let others run, and up to three quarters of it longer, until the next tick.
    pub(crate) turn: Duration,
}

/// What the threads, the guest and its client share about one guest.
#[derive(Debug)]
pub(crate) struct Control {
    lane: Lane,
    priority: Priority,
    /// Whether it is a request, and not the host's own.
    refusable: bool,
    limit: Duration,
    started: OnceLock<Instant>,
    /// Whether its first turn is over.
    resumed: AtomicBool,
    cancelled: AtomicBool,
    /// Set when it has lost its place, before or after its start.
    refused: OnceLock<Refused>,
    yielded: AtomicBool,
    /// When this turn began, in nanoseconds after its start.
    turn_began: AtomicU64,
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
    fn new(lane: Lane, priority: Priority, refusable: bool, limit: Duration) -> Arc<Self> {
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
            turn_began: AtomicU64::new(0),
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
        // A tick may come as soon as the turn has begun, where the guest before has ended by itself.
        let yields = if self.priority == Priority::Live && self.has_turn_left(state.schedule.turn(), now) {
            state.schedule.must_yield_at_once(self, now)
        } else {
            state.schedule.must_yield(self, now)
        };
        let turn = if yields { Turn::Yield } else { Turn::Continue };
        queues.wake(&mut state, now);
        drop(state);
        self.yielded.store(turn == Turn::Yield, Ordering::Relaxed);
        turn
    }

    fn begin_turn(&self, now: Instant) {
        let began = self.started.get().map_or(Duration::ZERO, |start| now.saturating_duration_since(*start));
        self.turn_began.store(began.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Whether most of its turn is still to come. One that began with a tick has none left at the next, though that may be a
    /// little early.
    fn has_turn_left(&self, turn: Duration, now: Instant) -> bool {
        let Some(start) = self.started.get() else { return false };
        let began = *start + Duration::from_nanos(self.turn_began.load(Ordering::Relaxed));
        now.saturating_duration_since(began) < turn * 3 / 4
    }

    fn ended_early(&self, now: Instant) -> bool {
        self.cancelled.load(Ordering::Relaxed)
            || self.lane.queues().aborted.load(Ordering::Relaxed)
            || self.refused.get().is_some()
            || self.deadline().is_some_and(|deadline| now >= deadline)
    }

    /// When it has to be done; `None` while it has not been started.
    fn deadline(&self) -> Option<Instant> {
        self.started.get().map(|start| *start + self.limit)
    }

    /// Tells it from all others that are there.
    fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

struct State {
    schedule: Schedule,
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
}

/// What the threads wait for.
pub(crate) struct Queues {
    state: Mutex<State>,
    available: Condvar,
    /// Counts what could give a thread work, to be read without the lock.
    events: AtomicUsize,
    /// Set when all guests have to be destroyed.
    aborted: AtomicBool,
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queues").finish_non_exhaustive()
    }
}

// Guests hold their lanes, and the last to let go of a lane takes the lock. So whatever holds a guest is dropped without it.
impl Queues {
    fn new(capacity: Capacity) -> Arc<Self> {
        let state = State {
            schedule: Schedule::new(capacity),
            sleeping: 0,
            searching: false,
            search: SHORT_SEARCH,
            pushed: Instant::now(),
            alarm: None,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            available: Condvar::new(),
            events: AtomicUsize::new(0),
            aborted: AtomicBool::new(false),
        })
    }

    /// Nobody's, of no threads.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Arc<Self> {
        Self::new(Capacity { threads: 0, running: 1, waiting: 0, turn: Duration::ZERO })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a guest that can run into the queue where it belongs.
    fn push(&self, entry: Entry) {
        let now = Instant::now();
        let mut state = self.lock();
        state.schedule.push(entry, now);
        state.pushed = now;
        self.events.fetch_add(1, Ordering::Relaxed);
        self.wake(&mut state, now);
    }

    /// The same for a new request, unless it is refused. Another may be refused in its place.
    fn submit(&self, entry: Entry, patience: Duration) -> Result<(), Refused> {
        let now = Instant::now();
        let mut state = self.lock();
        let pushed_out = state.schedule.make_room(&entry.control, patience, now)?;
        state.schedule.push(entry, now);
        state.pushed = now;
        self.events.fetch_add(1, Ordering::Relaxed);
        self.wake(&mut state, now);
        drop(state);
        drop(pushed_out);
        Ok(())
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
    fn wake(&self, state: &mut State, now: Instant) {
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
    fn next(&self) -> Option<Entry> {
        let mut waits_since = None;
        let mut state = self.lock();
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
            std::hint::spin_loop();
        }
    }

    /// Charges a guest's lane for what its thread has done since the last time.
    fn charge(&self, control: &Control) {
        let (cpu, now) = (cpu::lap(), Instant::now());
        let mut state = self.lock();
        state.schedule.charge(control, cpu, now);
        self.wake(&mut state, now);
    }

    /// Takes note that a started guest is destroyed.
    fn destroyed(&self, control: &Control) {
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
    fn withdraw(&self, control: &Control) -> bool {
        self.remove(|schedule| schedule.withdraw(control))
    }

    /// Has a guest destroyed now, if it waits for its turn.
    fn end_early(&self, control: &Control) {
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
    fn work(&self) {
        while let Some(entry) = self.next() {
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

/// Runs guests, in turns, on threads of their own.
#[derive(Debug)]
pub(crate) struct Executor {
    queues: Arc<Queues>,
    /// The lane of those who name none.
    lane: Lane,
    timers: tokio::runtime::Handle,
    threads: Vec<JoinHandle<()>>,
}

/// How a guest ended, as far as the executor can tell.
#[derive(Debug)]
pub(crate) enum End<T> {
    /// It ended by itself.
    Done(T),
    /// It was past its deadline, and has been stopped.
    Deadline {
        /// What it was given.
        limit: Duration,
        /// When it had its first turn.
        started: Instant,
    },
    /// It has lost its place: before its start, or, in the background, at any time.
    Refused(Refused),
    /// The host failed in running it.
    Failed,
}

impl Executor {
    /// Starts the threads. `timers` drives the clocks that guests wait for.
    pub(crate) fn start(capacity: Capacity, timers: &tokio::runtime::Handle) -> std::io::Result<Self> {
        let queues = Queues::new(capacity);
        let lane = Lane::register(&queues, LaneLimits::default());
        let threads = (0..capacity.threads.max(1))
            .map(|number| {
                let queues = Arc::clone(&queues);
                let timers = timers.clone();
                std::thread::Builder::new().name(format!("guest-{number}")).spawn(move || {
                    let _timers = timers.enter();
                    queues.work();
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { queues, lane, timers: timers.clone(), threads })
    }

    /// Makes a lane.
    pub(crate) fn lane(&self, limits: LaneLimits) -> Lane {
        Lane::register(&self.queues, limits)
    }

    /// The lane of those who name none.
    pub(crate) fn default_lane(&self) -> &Lane {
        &self.lane
    }

    /// Guests that have been started and are not destroyed yet, and guests that wait to be started.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.queues.lock();
        (state.schedule.running(), state.schedule.waiting())
    }

    /// Whether one more live request of this lane, which would wait for its start as long as `patience`, would be refused
    /// now.
    pub(crate) fn admits(&self, lane: &Lane, patience: Duration) -> Result<(), Refused> {
        self.queues.lock().schedule.admits(lane.id(), Priority::Live, patience, Instant::now()).map(|_| ())
    }

    /// Runs `guest`, which gets its control, for at most `limit` from its first turn on, however many others wait. The
    /// second value of the guest's result is what remains to be dropped after the first has been handed over: the
    /// instance.
    ///
    /// It is the host's own: it is not refused. Dropping the returned future stops the guest.
    pub(crate) fn run<F, G, T, R>(
        &self,
        limit: Duration,
        guest: F,
    ) -> impl Future<Output = End<T>> + Send + use<F, G, T, R>
    where
        F: FnOnce(Arc<Control>) -> G,
        G: Future<Output = (T, R)> + Send + 'static,
        T: Send + 'static,
        R: Send + 'static,
    {
        let control = Control::new(self.lane.clone(), Priority::Live, false, limit);
        let (entry, running) = prepare(control, guest);
        self.queues.push(entry);
        running.end()
    }

    /// The same for a request of a lane, unless it is refused.
    pub(crate) fn run_request<F, G, T, R>(
        &self,
        request: Terms<'_>,
        guest: F,
    ) -> Result<impl Future<Output = End<T>> + Send + use<F, G, T, R>, Refused>
    where
        F: FnOnce(Arc<Control>) -> G,
        G: Future<Output = (T, R)> + Send + 'static,
        T: Send + 'static,
        R: Send + 'static,
    {
        let Terms { lane, priority, limit, patience } = request;
        assert!(Arc::ptr_eq(lane.queues(), &self.queues), "the lane is one of this sandbox");
        let (entry, running) = prepare(Control::new(lane.clone(), priority, true, limit), guest);
        self.queues.submit(entry, patience)?;
        // Whoever awaits this may have no clock.
        let _timers = self.timers.enter();
        Ok(running.end_if_started_within(tokio::time::sleep(patience)))
    }

    /// Takes no more guests, and lets the threads end when those that run are done.
    pub(crate) fn stop(&self) {
        self.queues.lock().schedule.stop();
        self.queues.available.notify_all();
    }
}

impl Drop for Executor {
    /// Destroys all guests, those that run at the next tick of the epoch, and ends the threads.
    fn drop(&mut self) {
        self.queues.aborted.store(true, Ordering::Relaxed);
        let not_started = {
            let mut state = self.queues.lock();
            state.schedule.stop();
            state.schedule.end_all()
        };
        drop(not_started);
        self.queues.available.notify_all();
        let this = std::thread::current().id();
        for thread in self.threads.drain(..) {
            // The last owner may be a guest's own thread, which cannot wait for itself.
            if thread.thread().id() != this {
                let _ = thread.join();
            }
        }
    }
}

/// On what terms a request runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// Whose limits hold.
    pub(crate) lane: &'a Lane,
    /// Whether it goes before others.
    pub(crate) priority: Priority,
    /// How long it may take from its first turn on.
    pub(crate) limit: Duration,
    /// How long it may wait for that.
    pub(crate) patience: Duration,
}

/// Makes a guest ready to be run.
fn prepare<F, G, T, R>(control: Arc<Control>, guest: F) -> (Entry, Running<T>)
where
    F: FnOnce(Arc<Control>) -> G,
    G: Future<Output = (T, R)> + Send + 'static,
    T: Send + 'static,
    R: Send + 'static,
{
    let (done, result) = oneshot::channel();
    let supervised = Supervised {
        guest: Some(Box::pin(guest(Arc::clone(&control)))),
        done: Some(done),
        timer: None,
        control: Arc::clone(&control),
    };
    let schedule = {
        let control = Arc::clone(&control);
        move |runnable| control.lane.queues().push(Entry { runnable, control: Arc::clone(&control) })
    };
    let (runnable, task) = async_task::spawn(supervised, schedule);
    (Entry { runnable, control: Arc::clone(&control) }, Running { stop: Stop { task: Some(task), control }, result })
}

/// The client's side of a guest.
struct Running<T> {
    stop: Stop,
    result: oneshot::Receiver<End<T>>,
}

impl<T> Running<T> {
    /// Waits for its end.
    async fn end(mut self) -> End<T> {
        let end = (&mut self.result).await.unwrap_or(End::Failed);
        self.stop.detach();
        end
    }

    /// The same, if it is started before `wait` is over.
    async fn end_if_started_within(mut self, wait: Sleep) -> End<T> {
        tokio::select! {
            biased;
            end = &mut self.result => {
                self.stop.detach();
                return end.unwrap_or(End::Failed);
            }
            () = wait => {}
        }
        let control = &self.stop.control;
        if control.lane.queues().withdraw(control) {
            return End::Refused(Refused::WaitedTooLong);
        }
        self.end().await
    }
}

/// Stops a guest when dropped.
struct Stop {
    task: Option<Task<()>>,
    control: Arc<Control>,
}

impl Stop {
    /// Lets the guest end by itself.
    fn detach(mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            self.control.cancelled.store(true, Ordering::Relaxed);
            // Schedules the guest once more if it sleeps, to be destroyed on its own thread.
            drop(task);
            self.control.lane.queues().end_early(&self.control);
        }
    }
}

/// A guest with its deadline.
struct Supervised<G, T> {
    guest: Option<Pin<Box<G>>>,
    done: Option<oneshot::Sender<End<T>>>,
    /// Set while the guest waits for something other than its turn.
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    control: Arc<Control>,
}

impl<G, T> Supervised<G, T> {
    fn end(&mut self, end: End<T>) {
        if let Some(done) = self.done.take() {
            // Whoever asked may be gone.
            let _ = done.send(end);
        }
    }
}

impl<G, T, R> Future for Supervised<G, T>
where
    G: Future<Output = (T, R)>,
    Self: Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(guest) = this.guest.as_mut() else { return Poll::Ready(()) };
        let now = Instant::now();
        if this.control.ended_early(now) {
            let started = this.control.started.get().copied().unwrap_or_else(Instant::now);
            let deadline = End::Deadline { limit: this.control.limit, started };
            this.end(this.control.refused.get().map_or(deadline, |refused| End::Refused(*refused)));
            this.guest = None;
            return Poll::Ready(());
        }
        this.control.yielded.store(false, Ordering::Relaxed);
        this.control.begin_turn(now);
        let _turn = memory::Turn::begin();
        match guest.as_mut().poll(cx) {
            Poll::Ready((value, rest)) => {
                this.end(End::Done(value));
                drop(rest);
                this.guest = None;
                Poll::Ready(())
            }
            Poll::Pending => {
                if !this.control.yielded.load(Ordering::Relaxed)
                    && let Some(deadline) = this.control.deadline()
                {
                    let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
                    if timer.as_mut().poll(cx).is_ready() {
                        cx.waker().wake_by_ref();
                    }
                }
                this.control.lane.queues().charge(&this.control);
                Poll::Pending
            }
        }
    }
}

impl<G, T> Drop for Supervised<G, T> {
    fn drop(&mut self) {
        // The instance goes first: its place is free only after that.
        self.guest = None;
        if let Some(refused) = self.control.refused.get() {
            self.end(End::Refused(*refused));
        }
        if self.control.started.get().is_some() {
            self.control.lane.queues().destroyed(&self.control);
        }
    }
}
