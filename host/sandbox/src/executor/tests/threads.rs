use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use super::super::{Capacity, Control, End, Executor, Terms, Turn, cpu};
use super::{MS, TURN, capacity, with_quota};
use crate::lane::{Lane, LaneLimits, Priority};
use crate::outcome::{Refused, Scope};

/// Longer than any of these tests takes.
const LONG: Duration = Duration::from_mins(5);

/// Guests on threads, and somebody to wait for them.
struct Machine {
    executor: Executor,
    runtime: Runtime,
    /// How often guests have been interrupted.
    interrupts: Arc<AtomicUsize>,
}

impl Machine {
    fn new(capacity: Capacity) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build().expect("a runtime");
        let interrupts = Arc::new(AtomicUsize::new(0));
        let interrupt = {
            let interrupts = Arc::clone(&interrupts);
            move || {
                interrupts.fetch_add(1, Ordering::Relaxed);
            }
        };
        let executor = Executor::start(capacity, runtime.handle(), interrupt).expect("threads");
        Self { executor, runtime, interrupts }
    }

    /// Has a guest run, and returns its end.
    fn spawn<F, G, T>(
        &self,
        lane: &Lane,
        priority: Priority,
        limit: Duration,
        guest: F,
    ) -> tokio::task::JoinHandle<End<T>>
    where
        F: FnOnce(Arc<Control>) -> G + 'static,
        G: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let terms = Terms { lane, priority, limit, patience: LONG };
        let guest = |control| {
            let guest = guest(control);
            async { (guest.await, ()) }
        };
        match self.executor.run_request(terms, guest) {
            Ok(end) => self.runtime.spawn(end),
            Err(refused) => self.runtime.spawn(async move { End::Refused(refused) }),
        }
    }

    fn live<G, T>(
        &self,
        lane: &Lane,
        guest: impl FnOnce(Arc<Control>) -> G + 'static,
    ) -> tokio::task::JoinHandle<End<T>>
    where
        G: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        self.spawn(lane, Priority::Live, LONG, guest)
    }

    /// Waits for an end, but not for ever.
    fn end<T: Send + 'static>(&self, end: tokio::task::JoinHandle<End<T>>) -> End<T> {
        self.runtime.block_on(async { timeout(LONG, end).await }).expect("it ends").expect("nothing panics")
    }
}

/// Waits until something is so.
#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LONG, "{what}");
        std::thread::sleep(MS);
    }
}

fn is_idle(lane: &Lane) -> bool {
    let usage = lane.usage();
    (usage.running, usage.waiting) == (0, 0)
}

/// Computes for so much CPU time.
fn compute(time: Duration) {
    let start = cpu::now();
    while cpu::now().saturating_sub(start) < time {
        std::hint::spin_loop();
    }
}

/// What a guest does at a tick.
async fn tick(control: &Control) {
    if control.turn_over() == Turn::Yield {
        let mut yielded = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// Computes for so many turns.
async fn spin(control: Arc<Control>, turns: usize, turn: Duration) {
    for _ in 0..turns {
        compute(turn);
        tick(&control).await;
    }
}

/// Computes until it is stopped.
async fn spin_for_ever(control: Arc<Control>) {
    loop {
        compute(MS);
        tick(&control).await;
    }
}

#[test]
fn a_lane_is_charged_for_what_its_guests_compute_and_no_other_is() {
    let machine = Machine::new(Capacity { threads: 2, ..capacity(8, 8) });
    let (one, other) = (machine.executor.lane(LaneLimits::default()), machine.executor.lane(LaneLimits::default()));
    let mut last = Duration::ZERO;
    for round in 1..=3 {
        let ends = [40, 10].map(|turns| machine.live(&one, move |control| spin(control, turns, MS)));
        for end in ends {
            assert!(matches!(machine.end(end), End::Done(())));
        }
        eventually("its guests are gone", || is_idle(&one));
        let used = one.usage().cpu.saturating_sub(last);
        assert!((50 * MS..70 * MS).contains(&used), "{used:?} in round {round}");
        last = one.usage().cpu;
    }
    assert_eq!(other.usage().cpu, Duration::ZERO);
}

#[test]
fn destroying_a_guest_is_charged_for_as_well() {
    struct Instance;
    impl Drop for Instance {
        fn drop(&mut self) {
            compute(20 * MS);
        }
    }
    let machine = Machine::new(capacity(8, 8));
    let lane = machine.executor.lane(LaneLimits::default());
    let terms = Terms { lane: &lane, priority: Priority::Live, limit: LONG, patience: LONG };
    let end = machine.executor.run_request(terms, |_| async { ((), Instance) }).expect("the machine is idle");
    assert!(matches!(machine.runtime.block_on(end), End::Done(())));
    eventually("the instance is gone", || is_idle(&lane));
    assert!(lane.usage().cpu >= 20 * MS, "{:?}", lane.usage());
}

#[test]
fn what_a_guest_computes_is_charged_for_while_it_runs() {
    let machine = Machine::new(capacity(8, 8));
    let lane = machine.executor.lane(LaneLimits::default());
    let end = machine.live(&lane, spin_for_ever);
    eventually("it is charged", || lane.usage().cpu > 20 * MS);
    assert_eq!(lane.usage().running, 1);
    end.abort();
    eventually("it is gone", || is_idle(&lane));
}

#[test]
fn a_tick_ends_a_turn_that_is_over_and_not_one_that_has_just_begun() {
    let machine = Machine::new(capacity(8, 8));
    let lane = machine.executor.lane(LaneLimits::default());
    let (others_wait, wait) = std::sync::mpsc::channel();
    let guest = machine.live(&lane, move |control| async move {
        wait.recv().expect("it is told");
        let at_the_beginning = control.turn_over();
        compute(TURN);
        (at_the_beginning, control.turn_over())
    });
    let other = machine.live(&lane, |_| async {});
    others_wait.send(()).expect("it waits");
    let ended = machine.end(guest);
    assert!(matches!(ended, End::Done((Turn::Continue, Turn::Yield))), "{ended:?}");
    assert!(matches!(machine.end(other), End::Done(())));
}

#[test]
fn a_request_interrupts_the_guests_of_another_lane_if_no_thread_is_free_and_not_those_of_its_own() {
    let machine = Machine::new(Capacity { turn: LONG, ..capacity(8, 8) });
    let (busy, idle) = (machine.executor.lane(LaneLimits::default()), machine.executor.lane(LaneLimits::default()));
    assert!(matches!(machine.end(machine.live(&idle, |_| async {})), End::Done(())));
    let short_is_done = Arc::new(AtomicBool::new(false));
    let (interrupts, seen) = (Arc::clone(&machine.interrupts), Arc::clone(&short_is_done));
    let long = machine.live(&busy, |control| async move {
        while interrupts.load(Ordering::Relaxed) == 0 {
            compute(MS);
        }
        tick(&control).await;
        seen.load(Ordering::Relaxed)
    });
    eventually("it runs", || busy.usage().running == 1);
    // Longer than it is undisturbed.
    std::thread::sleep(5 * MS);
    let next = machine.live(&busy, |_| async {});
    assert_eq!(machine.interrupts.load(Ordering::Relaxed), 0, "one of its own lane waits");
    let short = machine.live(&idle, |_| async move { short_is_done.store(true, Ordering::Relaxed) });
    assert!(matches!(machine.end(short), End::Done(())));
    assert!(matches!(machine.end(long), End::Done(true)), "it made way, and had the rest of its turn");
    assert!(matches!(machine.end(next), End::Done(())));
}

#[test]
fn a_request_interrupts_a_guest_of_its_own_lane_once_that_has_had_its_turn() {
    let turn = Duration::from_secs(2);
    let machine = Machine::new(Capacity { turn, ..capacity(8, 8) });
    let lane = machine.executor.lane(LaneLimits::default());
    let interrupts = Arc::clone(&machine.interrupts);
    let long = machine.live(&lane, |control| async move {
        while interrupts.load(Ordering::Relaxed) == 0 {
            compute(MS);
        }
        tick(&control).await;
    });
    eventually("it runs", || lane.usage().running == 1);
    std::thread::sleep(5 * MS);
    let before = machine.live(&lane, |_| async {});
    assert_eq!(machine.interrupts.load(Ordering::Relaxed), 0, "it has not had its turn");
    std::thread::sleep(turn);
    let after = machine.live(&lane, |_| async {});
    assert_eq!(machine.interrupts.load(Ordering::Relaxed), 1);
    for guest in [long, before, after] {
        assert!(matches!(machine.end(guest), End::Done(())));
    }
}

#[test]
fn a_request_has_its_turn_at_the_next_tick_though_another_lane_offers_a_hundred() {
    let machine = Machine::new(capacity(1000, 1000));
    let (greedy, modest) = (machine.executor.lane(LaneLimits::default()), machine.executor.lane(LaneLimits::default()));
    let turns = Arc::new(AtomicUsize::new(0));
    let crowd: Vec<_> = (0..100)
        .map(|_| {
            let turns = Arc::clone(&turns);
            machine.live(&greedy, |control| async move {
                loop {
                    turns.fetch_add(1, Ordering::Relaxed);
                    compute(MS);
                    tick(&control).await;
                }
            })
        })
        .collect();
    for _ in 0..20 {
        // Some time for the others, so that this lane is within its part.
        let begin = turns.load(Ordering::Relaxed);
        eventually("the others run", || turns.load(Ordering::Relaxed) > begin + 5);
        let (at_start, seen) = (turns.load(Ordering::Relaxed), Arc::clone(&turns));
        let end = machine.live(&modest, |_| async move { seen.load(Ordering::Relaxed) });
        let End::Done(at_turn) = machine.end(end) else { panic!("it ends by itself") };
        // This thread may have been put aside between looking and asking, but hardly for as long as a hundred turns take.
        assert!(at_turn - at_start < 50, "{} turns went before it", at_turn - at_start);
    }
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
    eventually("they are stopped", || is_idle(&greedy));
}

#[test]
fn a_lane_uses_no_more_than_its_quota_and_leaves_the_rest_to_others() {
    let machine = Machine::new(Capacity { threads: 2, ..capacity(8, 8) });
    let limited = machine.executor.lane(with_quota(100 * MS, 10 * MS));
    let other = machine.executor.lane(LaneLimits::default());
    let ends: Vec<_> = [&limited, &limited, &other].into_iter().map(|lane| machine.live(lane, spin_for_ever)).collect();
    let start = Instant::now();
    std::thread::sleep(Duration::from_secs(1));
    let (used, others, elapsed) = (limited.usage().cpu, other.usage().cpu, start.elapsed());
    // A burst, and a turn for each thread.
    let allowed = elapsed / 10 + 10 * MS + 2 * TURN;
    assert!(used <= allowed, "{used:?} of {allowed:?}");
    assert!(used >= elapsed / 20, "{used:?} in {elapsed:?}: it is run each time that it has CPU time again");
    assert!(others > used, "{others:?} and {used:?}");
    ends.iter().for_each(tokio::task::JoinHandle::abort);
    eventually("they are stopped", || is_idle(&limited) && is_idle(&other));
}

#[test]
fn a_thread_wakes_when_a_lane_has_cpu_time_again() {
    let machine = Machine::new(Capacity { threads: 2, ..capacity(8, 8) });
    let lane = machine.executor.lane(with_quota(50 * MS, Duration::ZERO));
    let start = Instant::now();
    // The second one comes while the lane owes, and no thread is awake.
    let owing = machine.live(&lane, |_| async { compute(10 * MS) });
    assert!(matches!(machine.end(owing), End::Done(())));
    eventually("it is gone", || is_idle(&lane));
    assert!(lane.usage().throttled.is_some_and(|wait| wait > 100 * MS), "{:?}", lane.usage());
    let waiting = machine.live(&lane, |control| spin(control, 1, MS));
    assert!(matches!(machine.end(waiting), End::Done(())));
    assert!(start.elapsed() >= 200 * MS, "{:?}", start.elapsed());
}

#[test]
fn limits_that_change_hold_for_requests_that_wait_already() {
    let machine = Machine::new(capacity(8, 8));
    for limits in [with_quota(Duration::ZERO, Duration::ZERO), LaneLimits { running: 0, ..LaneLimits::default() }] {
        let lane = machine.executor.lane(limits);
        let end = machine.live(&lane, |control| spin(control, 3, MS));
        std::thread::sleep(50 * MS);
        assert!(!end.is_finished());
        lane.set_limits(LaneLimits::default());
        assert!(matches!(machine.end(end), End::Done(())));
    }
}

#[test]
fn a_deadline_is_kept_while_the_lane_owes() {
    let machine = Machine::new(capacity(8, 8));
    let lane = machine.executor.lane(with_quota(Duration::ZERO, Duration::ZERO));
    let end = machine.spawn(&lane, Priority::Live, 100 * MS, spin_for_ever);
    let End::Deadline { limit, started } = machine.end(end) else { panic!("it is stopped") };
    assert_eq!(limit, 100 * MS);
    assert!(started.elapsed() >= limit);
    eventually("it is gone", || is_idle(&lane));
}

#[test]
fn a_request_that_is_pushed_out_is_told_so() {
    let machine = Machine::new(capacity(1, 2));
    let (greedy, modest) = (machine.executor.lane(LaneLimits::default()), machine.executor.lane(LaneLimits::default()));
    let running = machine.live(&greedy, spin_for_ever);
    eventually("it runs", || greedy.usage().running == 1);
    let [old, young] = [(); 2].map(|()| machine.live(&greedy, |control| spin(control, 1, MS)));
    let other = machine.live(&modest, |control| spin(control, 1, MS));
    let busy = Refused::Busy { scope: Scope::Machine, running: 1, waiting: 2 };
    let end = machine.end(young);
    assert!(matches!(end, End::Refused(refused) if refused == busy), "{end:?}");
    running.abort();
    assert!(matches!(machine.end(old), End::Done(())));
    assert!(matches!(machine.end(other), End::Done(())));
}

#[test]
fn a_background_guest_gives_its_place_to_a_live_one_even_while_it_sleeps() {
    let machine = Machine::new(capacity(1, 1));
    let lane = machine.executor.lane(LaneLimits::default());
    let asleep = machine.spawn(&lane, Priority::Background, LONG, |_| async { sleep(LONG).await });
    eventually("it runs", || lane.usage().running == 1);
    let live = machine.live(&lane, |control| spin(control, 1, MS));
    assert!(matches!(machine.end(live), End::Done(())));
    assert!(matches!(machine.end(asleep), End::Refused(Refused::Busy { scope: Scope::Machine, .. })));
    // An end is told before the place is free, and a guest in the background does not wait for one.
    eventually("the live one is gone", || is_idle(&lane));

    let spinning = machine.spawn(&lane, Priority::Background, LONG, spin_for_ever);
    eventually("it runs", || lane.usage().running == 1);
    let live = machine.live(&lane, |control| spin(control, 1, MS));
    assert!(matches!(machine.end(live), End::Done(())));
    assert!(matches!(machine.end(spinning), End::Refused(Refused::Busy { .. })));
}

#[test]
fn a_sandbox_that_ends_does_not_wait_for_lanes_that_owe() {
    let machine = Machine::new(Capacity { threads: 2, ..capacity(8, 8) });
    let lane = machine.executor.lane(with_quota(Duration::ZERO, Duration::ZERO));
    let ends = [(); 3].map(|()| machine.live(&lane, spin_for_ever));
    eventually("it owes", || lane.usage().throttled.is_some());
    let Machine { executor, runtime, .. } = machine;
    drop(executor);
    for end in ends {
        let end = runtime.block_on(end).expect("nothing panics");
        assert!(matches!(end, End::Failed | End::Deadline { .. }), "{end:?}");
    }
    assert!(is_idle(&lane));
}

#[test]
fn what_waits_when_the_sandbox_stops_is_finished() {
    let machine = Machine::new(capacity(1, 8));
    let lane = machine.executor.lane(with_quota(500 * MS, Duration::ZERO));
    let ends = [(); 3].map(|()| machine.live(&lane, |control| spin(control, 4, MS)));
    machine.executor.stop();
    for end in ends {
        assert!(matches!(machine.end(end), End::Done(())));
    }
    let refused = machine.end(machine.live(&lane, |control| spin(control, 1, MS)));
    assert!(matches!(refused, End::Refused(Refused::Stopping)), "{refused:?}");
}

/// What a guest of the test below does.
#[derive(Debug, Clone, Copy)]
enum Does {
    Compute(usize),
    Sleep(u64),
    Panic,
}

fn does() -> impl Strategy<Value = Does> {
    prop_oneof![
        6 => (0..4_usize).prop_map(Does::Compute),
        3 => (0..4_u64).prop_map(Does::Sleep),
        1 => Just(Does::Panic),
    ]
}

/// Counts guests that are there.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn on_threads_no_guest_is_lost_whatever_happens_to_it(
        guests in prop::collection::vec((does(), 0..3_usize, any::<bool>(), prop::option::weighted(0.2, 0..3_u64)), 1..60),
        threads in 1..4_usize,
        running in 1..5_usize,
    ) {
        let machine = Machine::new(Capacity { threads, ..capacity(running, 10) });
        let limits =
            [LaneLimits::default(), LaneLimits { running: 1, ..LaneLimits::default() }, with_quota(300 * MS, MS)];
        let lanes = limits.map(|limits| machine.executor.lane(limits));
        let alive = Arc::new(AtomicUsize::new(0));
        let mut ends = Vec::new();
        for (does, lane, background, abort_after) in guests {
            let priority = if background { Priority::Background } else { Priority::Live };
            let is_alive = Alive::new(&alive);
            let end = machine.spawn(&lanes[lane], priority, 50 * MS, move |control| async move {
                let _is_alive = is_alive;
                match does {
                    Does::Compute(turns) => spin(control, turns, MS).await,
                    Does::Sleep(ms) => sleep(Duration::from_millis(ms)).await,
                    Does::Panic => std::panic::resume_unwind(Box::new("as asked")),
                }
            });
            if let Some(ms) = abort_after {
                std::thread::sleep(Duration::from_millis(ms));
                end.abort();
            } else {
                ends.push((does, end));
            }
        }
        for (does, end) in ends {
            let end = machine.end(end);
            let panicked = matches!(does, Does::Panic);
            prop_assert!(matches!(end, End::Failed) <= panicked, "{end:?} of {does:?}");
            prop_assert!(!(panicked && matches!(end, End::Done(()))));
        }
        eventually("all are gone", || lanes.iter().all(is_idle));
        prop_assert_eq!(machine.executor.load(), (0, 0));
        prop_assert_eq!(alive.load(Ordering::Relaxed), 0);
        machine.executor.queues.lock().schedule.assert_empty();
    }
}
