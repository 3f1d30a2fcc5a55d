//! The threads that run guests, and who runs when.
//!
//! Guests have threads of their own, so that no guest delays those who accept connections, answer health checks or
//! serve metrics. A guest runs until it is done or until the next tick of the epoch, when it yields if anybody waits who
//! may run. Who comes meanwhile and goes before it does not wait for that: the epoch is advanced at once, and the guest has
//! the rest of its turn later.
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
//! Who makes way before its turn is over: a guest for one of a lane that has used less; and one that has used up a turn, and
//! runs because no fresh request of its lane could, for the next fresh one. So short requests wait neither for the long ones
//! of others nor for those of their own lane. A fresh guest has its first [`control::UNDISTURBED`] in any case.
//!
//! CPU time is measured with the clock of the guest's thread, at each tick and at the end of each turn. A look at it takes
//! some 400 ns, so there is none at the beginning of a turn, unless the thread has waited: choosing a guest is charged to it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_task::Task;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use crate::lane::{Lane, LaneLimits, Priority};
use crate::memory;
use crate::outcome::Refused;
use schedule::Entry;

pub(crate) use control::{Control, Turn};
pub(crate) use queues::Queues;
pub(crate) use schedule::LaneId;

mod bucket;
mod control;
mod cpu;
mod queues;
mod schedule;
#[cfg(test)]
mod tests;

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
    /// What is added to the niceness of the threads.
    pub(crate) nice: u8,
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
    /// Starts the threads. `timers` drives the clocks that guests wait for; `interrupt` has every guest that runs call
    /// [`Control::turn_over`] as soon as it can.
    pub(crate) fn start(
        capacity: Capacity,
        timers: &tokio::runtime::Handle,
        interrupt: impl Fn() + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let capacity = Capacity { threads: capacity.threads.max(1), ..capacity };
        let queues = Queues::new(capacity, interrupt);
        let lane = Lane::register(&queues, LaneLimits::default());
        let threads = (0..capacity.threads)
            .map(|number| {
                let queues = Arc::clone(&queues);
                let timers = timers.clone();
                std::thread::Builder::new().name(format!("guest-{number}")).spawn(move || {
                    be_nicer(capacity.nice);
                    let _timers = timers.enter();
                    queues.work(number);
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { queues, lane, timers: timers.clone(), threads })
    }

    /// The guests that can run.
    pub(crate) fn queues(&self) -> &Arc<Queues> {
        &self.queues
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

/// Has the system prefer other threads to the calling one.
fn be_nicer(by: u8) {
    if by == 0 {
        return;
    }
    // Elsewhere the whole process would be.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(by.into()) {
        tracing::warn!("the niceness of a thread that runs scorers cannot be raised by {by}: {error}");
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
