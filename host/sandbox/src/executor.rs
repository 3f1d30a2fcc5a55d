//! The threads that run guests, and who runs when.
//!
//! Guests have threads of their own, so that no guest delays those who accept connections, answer health checks or
//! serve metrics. A guest runs until it is done or until the next tick of the epoch, when it yields if anybody waits.
//!
//! Three queues say who is next:
//! 1. *ended early*: guests that are past their deadline or whose client is gone. They are not run again but destroyed,
//!    so a deadline is kept however many guests spin.
//! 2. *fresh*: requests that wait for their first turn. Most are done in less than one turn.
//! 3. *resumed*: guests that have used up a turn.
//!
//! Fresh requests go first, but a thread that has spent one turn's time on them gives the next to a resumed guest, so
//! that neither starves the other.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_task::{Runnable, Task};
use tokio::sync::oneshot;

use crate::outcome::Refused;

/// How long a thread looks for work before it sleeps.
const SEARCH: Duration = Duration::from_micros(30);

/// How much may run and wait at the same time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    /// Threads that run guests.
    pub(crate) threads: usize,
    /// Guests that have been started and are not destroyed yet.
    pub(crate) running: usize,
    /// Guests that have not been started.
    pub(crate) waiting: usize,
    /// How long a guest runs before it has to let others run.
    pub(crate) turn: Duration,
}

/// What the threads, the guest and its client share about one guest.
#[derive(Debug)]
pub(crate) struct Control {
    limit: Duration,
    started: OnceLock<Instant>,
    cancelled: AtomicBool,
    yielded: AtomicBool,
    queues: Arc<Queues>,
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
    /// Decides at a tick of the epoch whether the guest goes on.
    pub(crate) fn turn_over(&self) -> Turn {
        if self.ended_early(Instant::now()) || self.queues.runnable.load(Ordering::Relaxed) > 0 {
            self.yielded.store(true, Ordering::Relaxed);
            Turn::Yield
        } else {
            Turn::Continue
        }
    }

    fn ended_early(&self, now: Instant) -> bool {
        self.cancelled.load(Ordering::Relaxed)
            || self.queues.aborted.load(Ordering::Relaxed)
            || self.started.get().is_some_and(|start| now >= *start + self.limit)
    }
}

/// A guest that can run now.
struct Entry {
    runnable: Runnable,
    control: Arc<Control>,
}

#[derive(Default)]
struct State {
    ended_early: VecDeque<Entry>,
    fresh: VecDeque<Entry>,
    resumed: VecDeque<Entry>,
    running: usize,
    /// Threads that wait to be woken.
    sleeping: usize,
    /// Whether a thread is looking for work, or has been woken to. One is enough: it wakes the next if there is more.
    searching: bool,
    stopping: bool,
}

/// What the threads wait for.
struct Queues {
    capacity: Capacity,
    state: Mutex<State>,
    available: Condvar,
    /// Entries in all queues, to be read without the lock.
    runnable: AtomicUsize,
    /// Set when all guests have to be destroyed.
    aborted: AtomicBool,
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queues").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl Queues {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a guest that can run into the queue where it belongs.
    fn push(&self, entry: Entry) {
        let mut state = self.lock();
        if entry.control.ended_early(Instant::now()) {
            state.ended_early.push_back(entry);
        } else if entry.control.started.get().is_some() {
            state.resumed.push_back(entry);
        } else {
            state.fresh.push_back(entry);
        }
        self.runnable.fetch_add(1, Ordering::Relaxed);
        self.wake_one(&mut state);
    }

    /// Wakes a thread to look for work, unless one is looking already: waking costs more than most guests.
    fn wake_one(&self, state: &mut State) {
        if state.sleeping > 0 && !state.searching {
            state.searching = true;
            self.available.notify_one();
        }
    }

    /// Takes the next guest and says whether it is a fresh one; waits for one. `None` when the threads have to end.
    fn next(&self, resumed_first: bool) -> Option<(Entry, bool)> {
        let mut state = self.lock();
        let mut searching = false;
        loop {
            if let Some(next) = self.choose(&mut state, resumed_first) {
                let left = self.runnable.fetch_sub(1, Ordering::Relaxed) - 1;
                if searching {
                    state.searching = false;
                }
                if left > 0 {
                    self.wake_one(&mut state);
                }
                return Some(next);
            }
            if state.stopping && state.running == 0 {
                return None;
            }
            if !searching && !state.searching {
                searching = true;
                state.searching = true;
                drop(state);
                self.look_for_a_while();
                state = self.lock();
                continue;
            }
            if searching {
                state.searching = false;
            }
            state.sleeping += 1;
            state = self.available.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.sleeping -= 1;
            // Whoever woke this thread has said so in `searching`; after the end was announced nobody has.
            searching = state.searching;
        }
    }

    /// Waits for work without sleeping: while requests come one after the other, falling asleep and being woken would be
    /// most of what they take.
    fn look_for_a_while(&self) {
        let start = Instant::now();
        while self.runnable.load(Ordering::Relaxed) == 0 && start.elapsed() < SEARCH {
            std::hint::spin_loop();
        }
    }

    fn choose(&self, state: &mut State, resumed_first: bool) -> Option<(Entry, bool)> {
        if let Some(entry) = state.ended_early.pop_front() {
            return Some((entry, false));
        }
        let now = Instant::now();
        if let Some(late) = state.resumed.iter().position(|entry| entry.control.ended_early(now)) {
            return state.resumed.remove(late).map(|entry| (entry, false));
        }
        if resumed_first && let Some(entry) = state.resumed.pop_front() {
            return Some((entry, false));
        }
        if state.running < self.capacity.running
            && let Some(entry) = state.fresh.pop_front()
        {
            state.running += 1;
            entry.control.started.get_or_init(|| now);
            return Some((entry, true));
        }
        state.resumed.pop_front().map(|entry| (entry, false))
    }

    /// Takes note that a started guest is destroyed.
    fn destroyed(&self) {
        let mut state = self.lock();
        state.running -= 1;
        // A thread that destroys a guest looks for the next one itself; only the end has to be told to the others.
        if state.stopping {
            self.available.notify_all();
        }
    }

    /// Takes a guest that has not been started out of the queue.
    fn forget(&self, control: &Arc<Control>) {
        let mut state = self.lock();
        if let Some(place) = state.fresh.iter().position(|entry| Arc::ptr_eq(&entry.control, control)) {
            let entry = state.fresh.remove(place);
            self.runnable.fetch_sub(1, Ordering::Relaxed);
            drop(state);
            drop(entry);
        }
    }

    /// What a thread does all its life.
    fn work(&self) {
        let mut spent_on_fresh = Duration::ZERO;
        while let Some((entry, fresh)) = self.next(spent_on_fresh >= self.capacity.turn) {
            let start = Instant::now();
            // A defect of the host in one request must not end the thread; whoever waits for the guest is told by the
            // channel that closes.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| entry.runnable.run())) {
                tracing::error!("a request failed inside the sandbox: {}", panic_text(panic.as_ref()));
            }
            spent_on_fresh = if fresh { spent_on_fresh + start.elapsed() } else { Duration::ZERO };
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
    threads: Vec<JoinHandle<()>>,
}

/// How a guest ended, as far as the executor can tell.
#[derive(Debug)]
pub(crate) enum End<T> {
    /// It ended by itself.
    Done(T),
    /// It was past its deadline, and has been stopped.
    Deadline(Duration),
    /// The host failed in running it.
    Failed,
}

impl Executor {
    /// Starts the threads. `timers` drives the clocks that guests wait for.
    pub(crate) fn start(capacity: Capacity, timers: &tokio::runtime::Handle) -> std::io::Result<Self> {
        let queues = Arc::new(Queues {
            capacity,
            state: Mutex::default(),
            available: Condvar::new(),
            runnable: AtomicUsize::new(0),
            aborted: AtomicBool::new(false),
        });
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
        Ok(Self { queues, threads })
    }

    /// Guests that have been started and are not destroyed yet, and guests that wait to be started.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.queues.lock();
        (state.running, state.fresh.len())
    }

    /// Whether one more guest would be refused now.
    pub(crate) fn admits(&self) -> Result<(), Refused> {
        let state = self.queues.lock();
        if state.stopping {
            return Err(Refused::Stopping);
        }
        let free = self.queues.capacity.running.saturating_sub(state.running);
        if state.fresh.len() >= self.queues.capacity.waiting + free {
            return Err(Refused::Busy { waiting: state.fresh.len() });
        }
        Ok(())
    }

    /// Runs `guest`, which gets its control, for at most `limit` from its first turn on, however many others wait. The
    /// second value of the guest's result is what remains to be dropped after the first has been handed over: the
    /// instance.
    ///
    /// Dropping the returned future stops the guest.
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
        let control = Arc::new(Control {
            limit,
            started: OnceLock::new(),
            cancelled: AtomicBool::new(false),
            yielded: AtomicBool::new(false),
            queues: Arc::clone(&self.queues),
        });
        let (done, result) = oneshot::channel();
        let supervised = Supervised {
            guest: Some(Box::pin(guest(Arc::clone(&control)))),
            done: Some(done),
            timer: None,
            control: Arc::clone(&control),
        };
        let schedule = {
            let control = Arc::clone(&control);
            move |runnable| control.queues.push(Entry { runnable, control: Arc::clone(&control) })
        };
        let (runnable, task) = async_task::spawn(supervised, schedule);
        runnable.schedule();
        let running = Running { task: Some(task), control };
        async move {
            let end = result.await.unwrap_or(End::Failed);
            running.detach();
            end
        }
    }

    /// Takes no more guests, and lets the threads end when those that run are done.
    pub(crate) fn stop(&self) {
        self.queues.lock().stopping = true;
        self.queues.available.notify_all();
    }
}

impl Drop for Executor {
    /// Destroys all guests, those that run at the next tick of the epoch, and ends the threads.
    fn drop(&mut self) {
        self.queues.aborted.store(true, Ordering::Relaxed);
        {
            let mut state = self.queues.lock();
            state.stopping = true;
            for entry in state.fresh.drain(..).collect::<Vec<_>>() {
                self.queues.runnable.fetch_sub(1, Ordering::Relaxed);
                drop(entry);
            }
        }
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

/// The client's side of a guest: stops it when dropped.
struct Running {
    task: Option<Task<()>>,
    control: Arc<Control>,
}

impl Running {
    /// Lets the guest end by itself.
    fn detach(mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            self.control.cancelled.store(true, Ordering::Relaxed);
            // Schedules the guest once more if it sleeps, to be destroyed on its own thread.
            drop(task);
            self.control.queues.forget(&self.control);
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
        if this.control.ended_early(Instant::now()) {
            this.end(End::Deadline(this.control.limit));
            this.guest = None;
            return Poll::Ready(());
        }
        this.control.yielded.store(false, Ordering::Relaxed);
        match guest.as_mut().poll(cx) {
            Poll::Ready((value, rest)) => {
                this.end(End::Done(value));
                drop(rest);
                this.guest = None;
                Poll::Ready(())
            }
            Poll::Pending => {
                if !this.control.yielded.load(Ordering::Relaxed)
                    && let Some(start) = this.control.started.get()
                {
                    let end = *start + this.control.limit;
                    let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end.into())));
                    if timer.as_mut().poll(cx).is_ready() {
                        cx.waker().wake_by_ref();
                    }
                }
                Poll::Pending
            }
        }
    }
}

impl<G, T> Drop for Supervised<G, T> {
    fn drop(&mut self) {
        // The instance goes first: its place is free only after that.
        self.guest = None;
        if self.control.started.get().is_some() {
            self.control.queues.destroyed();
        }
    }
}
