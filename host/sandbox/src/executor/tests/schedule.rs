use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::schedule::{Entry, Schedule};
use super::super::{Control, Queues};
use super::{MS, TURN, capacity, weighing, with_quota};
use crate::lane::{Lane, LaneLimits, Priority};
use crate::outcome::{Refused, Scope};

/// Longer than any of these tests goes on.
const LONG: Duration = Duration::from_hours(1000);

/// A machine without threads, whose time is made up.
struct Machine {
    queues: Arc<Queues>,
    now: Instant,
}

impl Machine {
    fn new(running: usize, waiting: usize) -> Self {
        Self { queues: Queues::new(capacity(running, waiting), || ()), now: Instant::now() }
    }

    fn lane(&self, limits: LaneLimits) -> Lane {
        Lane::register(&self.queues, limits)
    }

    fn schedule<T>(&self, f: impl FnOnce(&mut Schedule) -> T) -> T {
        let result = f(&mut self.queues.lock().schedule);
        self.queues.lock().schedule.check();
        result
    }

    fn submit_as(&self, lane: &Lane, priority: Priority, limit: Duration) -> Result<Arc<Control>, Refused> {
        let control = Control::new(lane.clone(), priority, true, limit);
        let entry = entry(&control);
        let pushed_out = self.schedule(|schedule| schedule.make_room(&control, LONG, self.now))?;
        drop(pushed_out);
        self.schedule(|schedule| schedule.push(entry, self.now));
        Ok(control)
    }

    fn submit(&self, lane: &Lane) -> Arc<Control> {
        self.submit_as(lane, Priority::Live, LONG).expect("it is admitted")
    }

    fn choose(&self) -> Option<Arc<Control>> {
        self.schedule(|schedule| schedule.choose(self.now)).map(|entry| entry.control)
    }

    /// Lets a guest that has been chosen run, and charges for it.
    fn run(&mut self, control: &Control, cpu: Duration) {
        self.now += cpu;
        self.schedule(|schedule| schedule.charge(control, cpu, self.now));
    }

    /// Puts a guest back that has more to do.
    fn resume(&self, control: &Arc<Control>) {
        let entry = entry(control);
        self.schedule(|schedule| schedule.push(entry, self.now));
    }

    /// The same in the middle of its turn, if it has to make way.
    fn interrupt(&self, control: &Arc<Control>) -> bool {
        let makes_way = self.schedule(|schedule| schedule.makes_way(control));
        if makes_way {
            control.interrupted.store(true, Ordering::Relaxed);
            self.resume(control);
        }
        makes_way
    }

    fn destroy(&self, control: &Control) {
        drop(self.schedule(|schedule| schedule.destroyed(control, Duration::ZERO, self.now)));
    }

    /// Runs the next guest for one turn, after which it has more to do.
    fn turn(&mut self, cpu: Duration) -> Option<Arc<Control>> {
        let control = self.choose()?;
        self.run(&control, cpu);
        self.resume(&control);
        Some(control)
    }

    /// How many turns of each of two lanes there are in so many.
    fn turns(&mut self, turns: usize, lanes: [&Lane; 2]) -> [usize; 2] {
        let mut counts = [0; 2];
        for _ in 0..turns {
            let control = self.turn(TURN).expect("somebody has work");
            counts[lanes.iter().position(|lane| lane.id() == control.lane.id()).expect("one of the two")] += 1;
        }
        counts
    }
}

fn entry(control: &Arc<Control>) -> Entry {
    let (runnable, task) = async_task::spawn(async {}, |_| {});
    task.detach();
    Entry { runnable, control: Arc::clone(control) }
}

fn same(one: &Arc<Control>, other: &Arc<Control>) -> bool {
    Arc::ptr_eq(one, other)
}

#[test]
fn a_lane_that_offers_a_hundred_times_as_much_delays_another_by_one_turn() {
    let mut machine = Machine::new(1000, 1000);
    let (greedy, modest) = (machine.lane(LaneLimits::default()), machine.lane(LaneLimits::default()));
    for _ in 0..100 {
        machine.submit(&greedy);
    }
    machine.turns(1000, [&greedy, &modest]);
    for _ in 0..100 {
        // It comes while one of the others runs, and has its turn after that.
        let running = machine.choose().expect("there is work");
        let request = machine.submit(&modest);
        assert!(machine.schedule(|schedule| schedule.must_yield(&running, machine.now)));
        machine.run(&running, TURN);
        machine.resume(&running);
        let next = machine.choose().expect("there is work");
        assert!(same(&next, &request), "another turn of the greedy lane");
        machine.run(&next, MS);
        machine.destroy(&next);
        // It asks again before it would get more than its part.
        machine.turns(1, [&greedy, &modest]);
    }
}

#[test]
fn cpu_time_goes_to_lanes_by_their_weights_however_much_they_offer() {
    let mut machine = Machine::new(1000, 1000);
    let (heavy, light) = (machine.lane(weighing(3)), machine.lane(weighing(1)));
    for _ in 0..5 {
        machine.submit(&heavy);
    }
    for _ in 0..500 {
        machine.submit(&light);
    }
    assert_eq!(machine.turns(4000, [&heavy, &light]), [3000, 1000]);
    light.set_limits(weighing(9));
    assert_eq!(machine.turns(1200, [&heavy, &light]), [300, 900]);
}

#[test]
fn a_lane_that_had_no_work_has_neither_saved_up_time_nor_to_wait() {
    let mut machine = Machine::new(1000, 1000);
    let (busy, idle) = (machine.lane(LaneLimits::default()), machine.lane(LaneLimits::default()));
    machine.submit(&busy);
    machine.turns(10_000, [&busy, &idle]);
    machine.submit(&idle);
    let [_, first] = machine.turns(2, [&busy, &idle]);
    assert_eq!(first, 1, "it has its turn at once");
    assert_eq!(machine.turns(1000, [&busy, &idle]), [500, 500], "and no more than its part from then on");
}

#[test]
fn a_guest_that_goes_on_because_nobody_waits_does_not_pay_for_it_later() {
    let mut machine = Machine::new(10, 10);
    let (busy, idle) = (machine.lane(LaneLimits::default()), machine.lane(LaneLimits::default()));
    machine.submit(&busy);
    let running = machine.choose().expect("there is work");
    for _ in 0..1000 {
        machine.run(&running, TURN);
        assert!(!machine.schedule(|schedule| schedule.must_yield(&running, machine.now)));
    }
    machine.submit(&idle);
    machine.run(&running, TURN);
    assert!(machine.schedule(|schedule| schedule.must_yield(&running, machine.now)));
    machine.resume(&running);
    assert_eq!(machine.turns(100, [&busy, &idle]), [50, 50]);
}

#[test]
fn a_guest_makes_way_for_a_lane_that_has_used_less_and_has_the_rest_of_its_turn_later() {
    let mut machine = Machine::new(10, 10);
    let (busy, idle) = (machine.lane(LaneLimits::default()), machine.lane(LaneLimits::default()));
    let (long, next) = (machine.submit(&busy), machine.submit(&busy));
    assert!(same(&machine.choose().expect("there is work"), &long));
    machine.run(&long, MS);
    assert!(!machine.interrupt(&long), "only its own lane waits");
    let short = machine.submit(&idle);
    machine.run(&long, MS);
    assert!(machine.interrupt(&long));
    assert!(same(&machine.choose().expect("there is work"), &short));
    machine.run(&short, MS / 2);
    assert!(!machine.interrupt(&short), "its lane has used less");
    machine.destroy(&short);
    for expected in [&long, &next] {
        let chosen = machine.choose().expect("there is work");
        assert!(same(&chosen, expected), "it has the rest of its turn before the next of its lane has the first");
        machine.run(&chosen, MS);
        machine.destroy(&chosen);
    }
    machine.schedule(|schedule| schedule.assert_empty());
}

#[test]
fn a_guest_that_fills_in_makes_way_for_a_fresh_one_and_one_whose_turn_it_is_does_not() {
    let mut machine = Machine::new(10, 10);
    let lane = machine.lane(LaneLimits::default());
    let long = machine.submit(&lane);
    machine.turn(TURN);
    assert!(same(&machine.choose().expect("there is work"), &long));
    let fresh = [(); 2].map(|()| machine.submit(&lane));
    machine.run(&long, MS);
    assert!(machine.interrupt(&long), "it had no need to wait");
    assert!(same(&machine.turn(TURN).expect("there is work"), &fresh[0]));
    assert!(same(&machine.choose().expect("there is work"), &long), "after one turn's time of fresh ones");
    machine.run(&long, MS);
    assert!(!machine.interrupt(&long));
    machine.resume(&long);
    assert!(same(&machine.choose().expect("there is work"), &fresh[1]));
}

#[test]
fn a_guest_that_went_on_because_nobody_waited_owes_its_lane_no_turn_and_is_owed_none() {
    let mut machine = Machine::new(10, 10);
    let lane = machine.lane(LaneLimits::default());
    let long = machine.submit(&lane);
    assert!(same(&machine.choose().expect("there is work"), &long));
    machine.run(&long, TURN * 3 / 2);
    assert!(!machine.schedule(|schedule| schedule.must_yield(&long, machine.now)));
    machine.run(&long, TURN);
    let fresh = machine.submit(&lane);
    assert!(machine.schedule(|schedule| schedule.must_yield(&long, machine.now)));
    machine.resume(&long);
    assert!(same(&machine.choose().expect("there is work"), &fresh), "the other has had more than its turn");
}

#[test]
fn a_look_at_a_turn_that_is_not_over_takes_nothing_from_those_who_wait() {
    let mut machine = Machine::new(10, 10);
    let lanes = [4, 1].map(|weight| machine.lane(weighing(weight)));
    for lane in &lanes {
        machine.submit(lane);
    }
    for _ in 0..1000 {
        let control = machine.choose().expect("both have work");
        for _ in 0..5 {
            machine.run(&control, TURN / 5);
            assert!(!machine.schedule(|schedule| schedule.must_yield_at_once(&control, machine.now)));
        }
        machine.resume(&control);
    }
    let [much, little] = lanes.map(|lane| lane.usage().cpu);
    assert_eq!([much, little], [TURN * 800, TURN * 200]);
}

#[test]
fn a_lane_that_waited_for_a_place_has_not_saved_up_time() {
    let mut machine = Machine::new(2, 100);
    let lanes = [(); 3].map(|()| machine.lane(LaneLimits::default()));
    let [one, other, third] = &lanes;
    let first = machine.submit(one);
    machine.submit(other);
    assert_eq!(machine.turns(1000, [one, other]), [500, 500]);
    machine.submit(third);
    assert_eq!(machine.turns(1000, [one, other]), [500, 500], "there is no place for the third");
    machine.schedule(|schedule| assert!(schedule.end_early(&first).is_none()));
    assert!(same(&machine.choose().expect("it is destroyed"), &first));
    machine.destroy(&first);
    assert_eq!(machine.turns(100, [other, third]), [50, 50]);
}

#[test]
fn the_last_places_are_for_lanes_of_which_nothing_runs() {
    let mut machine = Machine::new(16, 1000);
    let greedy = machine.lane(LaneLimits::default());
    for _ in 0..20 {
        machine.submit(&greedy);
    }
    let modest: Vec<_> = (0..3).map(|_| machine.lane(LaneLimits::default())).collect();
    for _ in 0..1000 {
        machine.turn(TURN);
    }
    assert_eq!(greedy.usage().running, 14);
    for lane in &modest {
        machine.submit(lane);
        machine.submit(lane);
    }
    for _ in 0..1000 {
        machine.turn(TURN);
    }
    assert_eq!(modest.iter().map(|lane| lane.usage().running).collect::<Vec<_>>(), [1, 1, 0], "no more than there are");
    assert_eq!(greedy.usage().running, 14);
}

#[test]
fn one_lane_alone_has_all_places() {
    let mut machine = Machine::new(16, 1000);
    let lane = machine.lane(LaneLimits::default());
    for _ in 0..20 {
        machine.submit(&lane);
    }
    for _ in 0..100 {
        machine.turn(TURN);
    }
    assert_eq!(lane.usage().running, 16);
}

#[test]
fn no_more_run_and_wait_than_the_lane_may() {
    let mut machine = Machine::new(100, 100);
    let lane = machine.lane(LaneLimits { running: 2, waiting: 3, ..LaneLimits::default() });
    let other = machine.lane(LaneLimits::default());
    for _ in 0..5 {
        machine.submit(&lane);
    }
    let refused = machine.submit_as(&lane, Priority::Live, LONG).expect_err("it is one too many");
    assert_eq!(refused, Refused::Busy { scope: Scope::Lane, running: 0, waiting: 5 });
    machine.submit(&other);
    for _ in 0..20 {
        machine.turn(TURN);
    }
    let usage = lane.usage();
    assert_eq!((usage.running, usage.waiting), (2, 3));
    let refused = machine.submit_as(&lane, Priority::Live, LONG).expect_err("it is one too many");
    assert_eq!(refused, Refused::Busy { scope: Scope::Lane, running: 2, waiting: 3 });
    // The limits change while requests run.
    machine.schedule(|schedule| {
        schedule.set_limits(lane.id(), LaneLimits { running: 4, waiting: 3, ..LaneLimits::default() }, machine.now);
    });
    for _ in 0..20 {
        machine.turn(TURN);
    }
    let usage = lane.usage();
    assert_eq!((usage.running, usage.waiting), (4, 1));
}

#[test]
fn when_the_queue_is_full_the_youngest_of_the_lane_that_waits_with_most_has_to_go() {
    let machine = Machine::new(0, 5);
    let (greedy, modest) = (machine.lane(LaneLimits::default()), machine.lane(LaneLimits::default()));
    let crowd: Vec<_> = (0..5).map(|_| machine.submit(&greedy)).collect();
    let busy = Refused::Busy { scope: Scope::Machine, running: 0, waiting: 5 };
    assert_eq!(machine.submit_as(&greedy, Priority::Live, LONG).err(), Some(busy));
    for youngest in [4, 3] {
        assert!(machine.schedule(|schedule| schedule.admits(modest.id(), Priority::Live, LONG, machine.now)).is_ok());
        machine.submit(&modest);
        assert_eq!(crowd[youngest].refused.get(), Some(&busy));
    }
    assert_eq!(machine.submit_as(&modest, Priority::Live, LONG).err(), Some(busy), "it would wait with most itself");
    assert_eq!((greedy.usage().waiting, modest.usage().waiting), (3, 2));
    assert!(crowd[..3].iter().all(|control| control.refused.get().is_none()));
}

#[test]
fn requests_that_wait_for_their_own_lane_take_no_place_of_others() {
    let machine = Machine::new(2, 4);
    let narrow = machine.lane(LaneLimits { running: 1, ..LaneLimits::default() });
    let other = machine.lane(LaneLimits::default());
    let running = machine.submit(&narrow);
    assert!(same(&machine.choose().expect("it starts"), &running));
    while machine.submit_as(&narrow, Priority::Live, LONG).is_ok() {}
    assert_eq!(machine.queues.lock().schedule.waiting(), 5, "the queue is full, though there is a place to run");
    let request = machine.submit(&other);
    assert!(same(&machine.choose().expect("it starts"), &request));
}

#[test]
fn the_hosts_own_guests_are_not_pushed_out() {
    let machine = Machine::new(0, 2);
    let (host, other) = (machine.lane(LaneLimits::default()), machine.lane(LaneLimits::default()));
    for _ in 0..3 {
        machine.resume(&Control::new(host.clone(), Priority::Live, false, LONG));
    }
    assert!(machine.submit_as(&other, Priority::Live, LONG).is_err());
    assert_eq!(host.usage().waiting, 3);
}

#[test]
fn a_lane_gets_its_quota_of_cpu_time_and_the_others_the_rest() {
    let mut machine = Machine::new(100, 100);
    let limited = machine.lane(with_quota(100 * MS, 20 * MS));
    let other = machine.lane(LaneLimits::default());
    for lane in [&limited, &limited, &other] {
        machine.submit(lane);
    }
    let [turns, others] = machine.turns(2000, [&limited, &other]);
    // Ten seconds.
    assert!((204..=205).contains(&turns), "{turns} turns of 5 ms in 10 s");
    assert_eq!(turns + others, 2000);
    assert_eq!(limited.usage().cpu, TURN * u32::try_from(turns).expect("few"));
}

#[test]
fn alone_a_lane_waits_for_its_quota_all_the_same() {
    let mut machine = Machine::new(100, 100);
    let lane = machine.lane(with_quota(100 * MS, Duration::ZERO));
    let request = machine.submit(&lane);
    assert!(same(&machine.choose().expect("nothing is owed"), &request));
    machine.run(&request, TURN);
    assert!(machine.schedule(|schedule| schedule.must_yield(&request, machine.now)), "it has used up its quota");
    machine.resume(&request);
    machine.submit(&lane);
    assert!(machine.choose().is_none(), "neither the old nor the new one may run");
    assert_eq!(machine.schedule(|schedule| schedule.next_event()), Some(machine.now + 50 * MS));
    assert!(!machine.schedule(|schedule| schedule.has_work(Priority::Background, machine.now)));
    machine.now += 49 * MS;
    assert!(machine.choose().is_none());
    machine.now += MS;
    assert!(machine.schedule(|schedule| schedule.has_work(Priority::Background, machine.now)));
    assert!(machine.choose().is_some());
}

#[test]
fn another_quota_holds_at_once() {
    let mut machine = Machine::new(100, 100);
    let lane = machine.lane(with_quota(Duration::ZERO, Duration::ZERO));
    machine.submit(&lane);
    machine.turn(TURN);
    machine.now += Duration::from_hours(1);
    assert!(machine.choose().is_none(), "there is never any more");
    let now = machine.now;
    machine.schedule(|schedule| schedule.set_limits(lane.id(), with_quota(1000 * MS, MS), now));
    assert_eq!(machine.schedule(|schedule| schedule.next_event()), Some(now + TURN), "what is owed is owed still");
    machine.schedule(|schedule| schedule.set_limits(lane.id(), LaneLimits::default(), now));
    assert!(machine.choose().is_some());
}

#[test]
fn a_request_is_refused_if_the_debt_is_not_made_up_for_while_it_may_wait() {
    let mut machine = Machine::new(100, 100);
    let lane = machine.lane(with_quota(10 * MS, Duration::ZERO));
    machine.submit(&lane);
    machine.turn(TURN);
    let admits =
        |patience| machine.schedule(|schedule| schedule.admits(lane.id(), Priority::Live, patience, machine.now));
    assert_eq!(admits(500 * MS), Ok(None));
    assert_eq!(admits(499 * MS), Err(Refused::CpuSpent { after: 500 * MS }));
}

#[test]
fn whoever_has_ended_early_is_destroyed_first_whatever_its_lane_owes() {
    let mut machine = Machine::new(100, 100);
    let poor = machine.lane(with_quota(Duration::ZERO, Duration::ZERO));
    let other = machine.lane(LaneLimits::default());
    let late = machine.submit_as(&poor, Priority::Live, 100 * MS).expect("it is admitted");
    let unwanted = machine.submit(&poor);
    for guest in [&late, &unwanted] {
        assert!(same(&machine.choose().expect("nothing is owed"), guest));
    }
    for guest in [&late, &unwanted] {
        machine.run(guest, TURN);
        machine.resume(guest);
    }
    machine.submit(&other);
    machine.turn(TURN);
    unwanted.cancelled.store(true, Ordering::Relaxed);
    machine.schedule(|schedule| assert!(schedule.end_early(&unwanted).is_none()));
    assert!(same(&machine.choose().expect("it is destroyed"), &unwanted));
    machine.destroy(&unwanted);
    assert_eq!(machine.schedule(|schedule| schedule.next_event()), late.deadline());
    machine.now = late.deadline().expect("it has started");
    assert!(machine.schedule(|schedule| schedule.has_work(Priority::Live, machine.now)));
    assert!(same(&machine.choose().expect("it is destroyed"), &late));
}

#[test]
fn the_background_runs_when_nothing_else_of_any_lane_can() {
    let mut machine = Machine::new(100, 100);
    let (one, other) = (machine.lane(LaneLimits::default()), machine.lane(with_quota(100 * MS, Duration::ZERO)));
    let background = machine.submit_as(&one, Priority::Background, LONG).expect("the machine is idle");
    let live = machine.submit(&other);
    assert!(same(&machine.choose().expect("there is work"), &live));
    assert!(machine.schedule(|schedule| !schedule.must_yield(&live, machine.now)), "not for the background");
    machine.run(&live, TURN);
    machine.resume(&live);
    // The live one's lane has to wait for its quota.
    assert!(same(&machine.choose().expect("there is work"), &background));
    machine.run(&background, MS);
    assert!(machine.schedule(|schedule| !schedule.must_yield(&background, machine.now)));
    machine.submit(&one);
    assert!(machine.schedule(|schedule| schedule.must_yield(&background, machine.now)));
    assert_eq!(one.usage().cpu, MS, "it is charged as others are");
}

#[test]
fn the_background_is_refused_unless_it_could_start_at_once() {
    let machine = Machine::new(3, 100);
    let lane = machine.lane(LaneLimits { running: 2, ..LaneLimits::default() });
    let other = machine.lane(LaneLimits::default());
    let submit = |lane: &Lane| machine.submit_as(lane, Priority::Background, LONG);
    // One place of three is kept for lanes of which nothing runs.
    assert!(submit(&other).is_ok());
    assert!(submit(&lane).is_ok());
    assert_eq!(submit(&lane).err(), Some(Refused::Busy { scope: Scope::Machine, running: 0, waiting: 2 }));
    while machine.choose().is_some() {}
    assert_eq!(submit(&lane).err(), Some(Refused::Busy { scope: Scope::Machine, running: 2, waiting: 0 }));
    let narrow = machine.lane(LaneLimits { running: 0, ..LaneLimits::default() });
    assert_eq!(submit(&narrow).err(), Some(Refused::Busy { scope: Scope::Lane, running: 0, waiting: 0 }));
}

#[test]
fn the_background_loses_its_place_to_a_live_request_that_needs_it() {
    let mut machine = Machine::new(3, 100);
    let (one, other) =
        (machine.lane(LaneLimits::default()), machine.lane(LaneLimits { running: 1, ..LaneLimits::default() }));
    // The lane's own limit, and then the machine's.
    for (lane, lives, scope) in [(&other, 1, Scope::Lane), (&one, 3, Scope::Machine)] {
        let background = machine.submit_as(lane, Priority::Background, LONG).expect("the machine is idle");
        assert!(same(&machine.choose().expect("there is work"), &background));
        machine.run(&background, TURN);
        machine.resume(&background);
        let live: Vec<_> = (0..lives).map(|_| machine.submit(lane)).collect();
        let mut started = Vec::new();
        loop {
            let evicted = machine.schedule(|schedule| schedule.evict(machine.now)).is_some();
            assert!(machine.schedule(|schedule| schedule.evict(machine.now)).is_none(), "one is enough");
            let Some(next) = machine.choose() else { break };
            assert_eq!(same(&next, &background), evicted, "who has to go goes first");
            if evicted {
                let found = background.refused.get();
                assert!(matches!(found, Some(Refused::Busy { scope: s, .. }) if *s == scope), "{found:?}");
                machine.destroy(&background);
            } else {
                started.push(next);
            }
        }
        assert!(background.refused.get().is_some());
        assert!(started.iter().zip(&live).all(|(started, live)| same(started, live)));
        for control in &started {
            machine.destroy(control);
        }
        while let Some(next) = machine.choose() {
            machine.destroy(&next);
        }
    }
}

#[test]
fn nothing_is_admitted_while_the_machine_stops() {
    let machine = Machine::new(1, 1);
    let lane = machine.lane(LaneLimits::default());
    let request = machine.submit(&lane);
    machine.schedule(Schedule::stop);
    assert_eq!(machine.submit_as(&lane, Priority::Live, LONG).err(), Some(Refused::Stopping));
    assert!(!machine.schedule(|schedule| schedule.is_over()), "one waits");
    assert!(same(&machine.choose().expect("it is run"), &request));
    assert!(!machine.schedule(|schedule| schedule.is_over()), "one runs");
    machine.destroy(&request);
    assert!(machine.schedule(|schedule| schedule.is_over()));
}

/// How guests were chosen while there was one lane only.
#[derive(Default)]
struct OneLane {
    ended_early: VecDeque<usize>,
    fresh: VecDeque<usize>,
    resumed: VecDeque<usize>,
    running: usize,
    spent_on_fresh: Duration,
}

impl OneLane {
    /// The next guest, and whether it is a fresh one.
    fn choose(&mut self, places: usize) -> Option<(usize, bool)> {
        if let Some(guest) = self.ended_early.pop_front() {
            return Some((guest, false));
        }
        if self.spent_on_fresh >= TURN
            && let Some(guest) = self.resumed.pop_front()
        {
            return Some((guest, false));
        }
        if self.running < places
            && let Some(guest) = self.fresh.pop_front()
        {
            self.running += 1;
            return Some((guest, true));
        }
        self.resumed.pop_front().map(|guest| (guest, false))
    }

    fn ran(&mut self, fresh: bool, cpu: Duration) {
        if !fresh {
            self.spent_on_fresh = Duration::ZERO;
        } else if !self.resumed.is_empty() {
            self.spent_on_fresh += cpu;
        }
    }
}

proptest! {
    #[test]
    fn in_one_lane_the_order_is_fresh_ones_first_and_after_a_turns_time_one_that_had_a_turn(
        places in 1..6_usize,
        steps in prop::collection::vec((0..3_usize, 1..8_u32, any::<bool>(), 0..20_usize), 1..100),
    ) {
        let mut machine = Machine::new(places, 1000);
        let lane = machine.lane(LaneLimits::default());
        let mut model = OneLane::default();
        let mut guests: Vec<Arc<Control>> = Vec::new();
        for (arrivals, ms, ends, cancelled) in steps {
            for _ in 0..arrivals {
                model.fresh.push_back(guests.len());
                guests.push(machine.submit(&lane));
            }
            if let Some(guest) = model.resumed.remove(cancelled) {
                model.ended_early.push_back(guest);
                guests[guest].cancelled.store(true, Ordering::Relaxed);
                machine.schedule(|schedule| assert!(schedule.end_early(&guests[guest]).is_none()));
            }
            let expected = model.choose(places);
            let chosen = machine.choose();
            prop_assert_eq!(chosen.is_some(), expected.is_some());
            let (Some(control), Some((guest, fresh))) = (chosen, expected) else { continue };
            prop_assert!(same(&control, &guests[guest]));
            machine.run(&control, MS * ms);
            model.ran(fresh, MS * ms);
            if ends || control.cancelled.load(Ordering::Relaxed) {
                machine.destroy(&control);
                model.running -= 1;
            } else {
                machine.resume(&control);
                model.resumed.push_back(guest);
            }
        }
    }

    #[test]
    fn no_request_is_refused_while_its_lane_waits_with_less_than_its_part(
        waiting in 1..40_usize,
        lanes in 1..6_usize,
        requests in prop::collection::vec(0..6_usize, 0..300),
    ) {
        let machine = Machine::new(0, waiting);
        let lanes: Vec<_> = (0..lanes).map(|_| machine.lane(LaneLimits::default())).collect();
        let part = waiting / lanes.len();
        let mut submitted = vec![0; lanes.len()];
        for request in requests {
            // The first lane offers as much as all others.
            let lane = request.checked_sub(lanes.len()).map_or(request, |_| 0);
            submitted[lane] += 1;
            let _ = machine.submit_as(&lanes[lane], Priority::Live, LONG);
            for (lane, submitted) in lanes.iter().zip(&submitted) {
                prop_assert!(lane.usage().waiting >= part.min(*submitted));
            }
            let all: usize = lanes.iter().map(|lane| lane.usage().waiting).sum();
            prop_assert_eq!(all, waiting.min(submitted.iter().sum()));
        }
    }

    #[test]
    fn lanes_with_work_never_differ_by_more_than_a_turn(
        weights in prop::collection::vec(1..20_u32, 2..6),
        costs in prop::collection::vec(1..50_u32, 1..400),
    ) {
        let mut machine = Machine::new(1000, 1000);
        let lanes: Vec<_> = weights.iter().map(|weight| machine.lane(weighing(*weight))).collect();
        for (lane, count) in lanes.iter().zip([1, 50, 2, 9, 4]) {
            for _ in 0..count {
                machine.submit(lane);
            }
        }
        for cost in costs {
            machine.turn(MS * cost / 10);
            let shares = lanes.iter().zip(&weights).map(|(lane, weight)| lane.usage().cpu / *weight);
            let (least, most) = (shares.clone().min().expect("lanes"), shares.max().expect("lanes"));
            prop_assert!(most <= least + TURN, "{most:?} and {least:?}");
        }
    }

    #[test]
    fn no_guest_is_lost_and_all_counts_come_back_to_zero(
        places in 0..5_usize,
        queue in 0..8_usize,
        steps in prop::collection::vec((0..10_usize, 0..3_usize, 0..12_u64), 1..200),
    ) {
        let mut machine = Machine::new(places, queue);
        let limits = [
            LaneLimits::default(),
            LaneLimits { running: 1, waiting: 3, ..LaneLimits::default() },
            with_quota(200 * MS, 3 * MS),
        ];
        let lanes = limits.map(|limits| machine.lane(limits));
        // Guests that are somewhere: in a queue, or on a thread.
        let mut alive: Vec<Arc<Control>> = Vec::new();
        let mut on_threads: Vec<Arc<Control>> = Vec::new();
        let gone = |alive: &mut Vec<Arc<Control>>, control: &Arc<Control>| {
            let place = alive.iter().position(|other| same(other, control)).expect("it ends once");
            alive.swap_remove(place);
        };
        for (step, lane, number) in steps {
            match step {
                0..=2 => {
                    let priority = if number % 4 == 0 { Priority::Background } else { Priority::Live };
                    let limit = MS * u32::try_from(number).expect("small") * 10;
                    if let Ok(control) = machine.submit_as(&lanes[lane], priority, limit) {
                        alive.push(control);
                    }
                    // One that was pushed out is gone; one that was stopped is destroyed later.
                    alive.retain(|control| control.refused.get().is_none() || control.started.get().is_some());
                }
                3..=5 => {
                    machine.schedule(|schedule| schedule.evict(machine.now));
                    let Some(control) = machine.choose() else { continue };
                    prop_assert!(alive.iter().any(|other| same(other, &control)));
                    prop_assert!(!on_threads.iter().any(|other| same(other, &control)), "it is on two threads");
                    on_threads.push(control);
                    prop_assert!(machine.schedule(|schedule| schedule.running()) <= places);
                }
                6 | 7 => {
                    let Some(control) = on_threads.pop() else { continue };
                    machine.run(&control, MS * u32::try_from(number).expect("small"));
                    if step == 6 && !control.ended_early(machine.now) {
                        control.interrupted.store(number % 3 == 0, Ordering::Relaxed);
                        machine.resume(&control);
                    } else {
                        machine.destroy(&control);
                        gone(&mut alive, &control);
                    }
                }
                8 => {
                    let Some(control) = alive.get(usize::try_from(number).expect("small")).cloned() else { continue };
                    control.cancelled.store(true, Ordering::Relaxed);
                    if machine.schedule(|schedule| schedule.end_early(&control)).is_some() {
                        gone(&mut alive, &control);
                    }
                }
                _ => {
                    let limits = limits[usize::try_from(number).expect("small") % 3];
                    machine.schedule(|schedule| schedule.set_limits(lanes[lane].id(), limits, machine.now));
                }
            }
        }
        // The rest: all limits are lifted, and everybody ends in one turn.
        for lane in &lanes {
            machine.schedule(|schedule| schedule.set_limits(lane.id(), LaneLimits::default(), machine.now));
        }
        for control in on_threads {
            machine.destroy(&control);
            gone(&mut alive, &control);
        }
        while let Some(control) = machine.choose() {
            machine.destroy(&control);
            gone(&mut alive, &control);
        }
        if places == 0 {
            alive.retain(|control| machine.schedule(|schedule| schedule.withdraw(control)).is_none());
        }
        prop_assert!(alive.is_empty(), "{alive:?}");
        prop_assert_eq!(machine.schedule(|schedule| (schedule.running(), schedule.waiting())), (0, 0));
        for lane in &lanes {
            prop_assert_eq!((lane.usage().running, lane.usage().waiting), (0, 0));
        }
        machine.schedule(|schedule| schedule.assert_empty());
    }
}
