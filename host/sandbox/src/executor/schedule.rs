//! Who runs next, and who may wait. No threads and no clocks: it is told the time.

use std::array;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::{Duration, Instant};

use async_task::Runnable;
use slab::Slab;

use super::bucket::Bucket;
use super::{Capacity, Control};
use crate::lane::{LaneLimits, LaneUsage, Priority};
use crate::outcome::{Refused, Scope};

/// A lane's number. It is given again when the lane is gone.
pub(crate) type LaneId = usize;

/// A lane's virtual time: CPU time divided by weight, in parts of a nanosecond of which there are 2^32.
type Clock = u128;

/// One of this many places to run is kept for lanes of which nothing runs.
const PLACES_FOR_EACH_RESERVED: usize = 8;

const PRIORITIES: [Priority; 2] = [Priority::Live, Priority::Background];

/// What a lane's next guest needs.
#[derive(Debug, Clone, Copy)]
enum Need {
    /// Another turn.
    Turn,
    /// The rest of its first turn.
    Rest,
    /// A place, the first of its lane.
    FirstPlace,
    /// A place, one more of its lane.
    Place,
}

const NEEDS: [Need; 4] = [Need::Turn, Need::Rest, Need::FirstPlace, Need::Place];

/// What guests need that are in their first turn.
const FIRST_TURN: [Need; 3] = [Need::Rest, Need::FirstPlace, Need::Place];

/// Sets of `Schedule::ready`.
const SETS: usize = PRIORITIES.len() * NEEDS.len();

/// Which of them is meant.
fn set(priority: Priority, need: Need) -> usize {
    priority as usize * NEEDS.len() + need as usize
}

/// A guest that can run now.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) runnable: Runnable,
    pub(super) control: Arc<Control>,
}

/// A background guest that has been started.
pub(super) struct Background {
    control: Arc<Control>,
    waker: Waker,
}

impl Background {
    fn is_leaving(&self) -> bool {
        self.control.refused.get().is_some()
    }
}

/// A lane's guests of one priority that can run.
#[derive(Default)]
struct Guests {
    /// They wait for their first turn.
    fresh: VecDeque<Entry>,
    /// They wait for the rest of their first turn.
    interrupted: VecDeque<Entry>,
    /// They have used up a turn.
    resumed: VecDeque<Entry>,
    /// CPU time of first turns since one of the others had one, or was destroyed.
    spent_on_fresh: Duration,
}

struct LaneState {
    limits: LaneLimits,
    guests: [Guests; 2],
    /// Started and not destroyed yet, by priority.
    running: [usize; 2],
    cpu: Duration,
    clock: Clock,
    bucket: Option<Bucket>,
    /// Set while the bucket is overdrawn; may have passed.
    overdrawn_until: Option<Instant>,
    standing: Standing,
}

/// In which of the schedule's sets a lane is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Standing {
    clock: Clock,
    ready: [bool; SETS],
    throttled: Option<Instant>,
    crowd: Option<usize>,
}

impl LaneState {
    fn running(&self) -> usize {
        self.running.iter().sum()
    }

    /// Not started yet, by priority.
    fn waiting(&self) -> [usize; 2] {
        PRIORITIES.map(|priority| self.guests[priority as usize].fresh.len())
    }

    fn is_throttled(&self, now: Instant) -> bool {
        self.overdrawn_until.is_some_and(|until| until > now)
    }

    /// Where it belongs; `alone` where there is no other lane, to which it would make a difference.
    fn standing(&self, alone: bool) -> Standing {
        let mut ready = [false; SETS];
        for priority in PRIORITIES {
            let guests = &self.guests[priority as usize];
            ready[set(priority, Need::Turn)] = !guests.resumed.is_empty();
            ready[set(priority, Need::Rest)] = !guests.interrupted.is_empty();
            if !guests.fresh.is_empty() && self.running() < self.limits.running {
                let need = if self.running() == 0 && !alone { Need::FirstPlace } else { Need::Place };
                ready[set(priority, need)] = true;
            }
        }
        let throttled = self.overdrawn_until.filter(|_| ready.contains(&true));
        if throttled.is_some() {
            ready = [false; SETS];
        }
        // Nobody pushes out a lane's only request.
        let crowd = Some(self.waiting()[Priority::Live as usize]).filter(|waiting| *waiting > 1 && !alone);
        Standing { clock: self.clock, ready, throttled, crowd }
    }
}

/// All guests that can run, by their lanes.
pub(super) struct Schedule {
    capacity: Capacity,
    lanes: Slab<LaneState>,
    /// Guests that are not run again but destroyed.
    ended_early: VecDeque<Entry>,
    /// Lanes that have a guest to run, by what that needs, in order of their clocks.
    ready: [BTreeSet<(Clock, LaneId)>; SETS],
    /// Lanes that have a guest to run but no CPU time, by when they have some.
    throttled: BTreeSet<(Instant, LaneId)>,
    /// Guests that have used up a turn, by their deadlines.
    deadlines: BTreeSet<(Instant, LaneId, usize)>,
    /// Lanes with more than one live request that waits, by how many.
    crowds: BTreeSet<(usize, LaneId)>,
    /// Oldest first.
    background: Vec<Background>,
    /// The clock of the lane that ran last.
    clock: Clock,
    /// Started and not destroyed yet, by priority.
    running: [usize; 2],
    /// Not started yet, by priority.
    waiting: [usize; 2],
    stopping: bool,
}

impl Schedule {
    pub(super) fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            lanes: Slab::new(),
            ended_early: VecDeque::new(),
            ready: array::from_fn(|_| BTreeSet::new()),
            throttled: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            crowds: BTreeSet::new(),
            background: Vec::new(),
            clock: 0,
            running: [0; 2],
            waiting: [0; 2],
            stopping: false,
        }
    }

    pub(super) fn add_lane(&mut self, limits: LaneLimits, now: Instant) -> LaneId {
        let id = self.lanes.insert(LaneState {
            limits,
            guests: Default::default(),
            running: [0; 2],
            cpu: Duration::ZERO,
            clock: 0,
            bucket: limits.cpu.map(|quota| Bucket::full(quota, now)),
            overdrawn_until: None,
            standing: Standing::default(),
        });
        self.settle_one_of_two();
        id
    }

    /// Forgets a lane that has no guests any more.
    pub(super) fn remove_lane(&mut self, id: LaneId) {
        self.lanes.remove(id);
        self.settle_one_of_two();
    }

    /// Puts the lane that was or is alone where it now belongs.
    fn settle_one_of_two(&mut self) {
        if self.lanes.len() <= 2 {
            let ids: Vec<_> = self.lanes.iter().map(|(id, _)| id).collect();
            for id in ids {
                self.settle(id);
            }
        }
    }

    pub(super) fn set_limits(&mut self, id: LaneId, limits: LaneLimits, now: Instant) {
        let lane = &mut self.lanes[id];
        lane.limits = limits;
        lane.bucket = match (lane.bucket.take(), limits.cpu) {
            (Some(mut bucket), Some(quota)) => {
                bucket.change(quota, now);
                Some(bucket)
            }
            (None, Some(quota)) => Some(Bucket::full(quota, now)),
            (_, None) => None,
        };
        lane.overdrawn_until = lane.bucket.as_ref().and_then(Bucket::overdrawn_until);
        self.settle(id);
    }

    pub(super) fn usage(&self, id: LaneId, now: Instant) -> LaneUsage {
        let lane = &self.lanes[id];
        LaneUsage {
            running: lane.running(),
            waiting: lane.waiting().iter().sum(),
            cpu: lane.cpu,
            throttled: lane
                .overdrawn_until
                .map(|until| until.saturating_duration_since(now))
                .filter(|wait| !wait.is_zero()),
        }
    }

    /// Guests that have been started and are not destroyed yet.
    pub(super) fn running(&self) -> usize {
        self.running.iter().sum()
    }

    /// Guests that have not been started.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.iter().sum()
    }

    pub(super) fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether no guest is left, and none will come.
    pub(super) fn is_over(&self) -> bool {
        self.stopping && self.running() == 0 && self.waiting() == 0
    }

    /// Whether one more request of a lane would be refused, which is ready to wait for its start as long as `patience`.
    /// Returns the lane of which a request has to go instead, if one has to.
    pub(super) fn admits(
        &self,
        id: LaneId,
        priority: Priority,
        patience: Duration,
        now: Instant,
    ) -> Result<Option<LaneId>, Refused> {
        if self.stopping {
            return Err(Refused::Stopping);
        }
        let lane = &self.lanes[id];
        let background = priority == Priority::Background;
        let patience = if background { Duration::ZERO } else { patience };
        let after = lane.overdrawn_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        if after > patience {
            return Err(Refused::CpuSpent { after });
        }
        // Background guests do not count against live ones: they are stopped when their places are needed.
        let counted =
            |counts: &[usize; 2]| if background { counts.iter().sum() } else { counts[Priority::Live as usize] };
        let may_wait = |waiting: usize| if background { 0 } else { waiting };

        let (running, waiting) = (counted(&lane.running), counted(&lane.waiting()));
        let free = lane.limits.running.saturating_sub(running);
        if waiting >= may_wait(lane.limits.waiting).saturating_add(free) {
            return Err(Refused::Busy { scope: Scope::Lane, running, waiting });
        }

        let (all_running, all_waiting) = (counted(&self.running), counted(&self.waiting));
        let reserve = if background { self.reserve() } else { 0 };
        let free = self.capacity.running.saturating_sub(all_running + reserve);
        if all_waiting < may_wait(self.capacity.waiting).saturating_add(free) {
            return Ok(None);
        }
        match self.crowds.last() {
            Some((crowd, from)) if !background && *crowd > waiting + 1 => Ok(Some(*from)),
            _ => Err(Refused::Busy { scope: Scope::Machine, running: all_running, waiting: all_waiting }),
        }
    }

    /// Admits a request or refuses it. Returns one that is refused in its place, to be dropped without the lock.
    pub(super) fn make_room(
        &mut self,
        control: &Control,
        patience: Duration,
        now: Instant,
    ) -> Result<Option<Entry>, Refused> {
        let Some(crowd) = self.admits(control.lane.id(), control.priority, patience, now)? else { return Ok(None) };
        let refused = Refused::Busy { scope: Scope::Machine, running: self.running(), waiting: self.waiting() };
        let fresh = &mut self.lanes[crowd].guests[Priority::Live as usize].fresh;
        let youngest = fresh.iter().rposition(|entry| entry.control.refusable).ok_or(refused)?;
        let pushed_out = fresh.remove(youngest);
        self.waiting[Priority::Live as usize] -= 1;
        self.settle(crowd);
        if let Some(entry) = &pushed_out {
            entry.control.refused.get_or_init(|| refused);
        }
        Ok(pushed_out)
    }

    /// Puts a guest that can run into the queue where it belongs.
    pub(super) fn push(&mut self, entry: Entry, now: Instant) {
        if entry.control.ended_early(now) {
            self.ended_early.push_back(entry);
            return;
        }
        let (id, priority) = (entry.control.lane.id(), entry.control.priority as usize);
        let guests = &mut self.lanes[id].guests[priority];
        if let Some(deadline) = entry.control.deadline() {
            self.deadlines.insert((deadline, id, entry.control.id()));
            let interrupted = entry.control.interrupted.swap(false, Ordering::Relaxed);
            match (interrupted, entry.control.resumed.fetch_or(!interrupted, Ordering::Relaxed)) {
                (true, false) => guests.interrupted.push_front(entry),
                (true, true) => guests.resumed.push_front(entry),
                (false, _) => guests.resumed.push_back(entry),
            }
        } else {
            self.waiting[priority] += 1;
            guests.fresh.push_back(entry);
        }
        self.settle(id);
    }

    /// Takes the guest that is to run next.
    pub(super) fn choose(&mut self, now: Instant) -> Option<Entry> {
        if let Some(&(deadline, lane, guest)) = self.deadlines.first()
            && deadline <= now
        {
            let late = self.take_resumed(lane, guest, deadline);
            self.ended_early.extend(late);
        }
        if let Some(entry) = self.ended_early.pop_front() {
            let Control { lane, priority, .. } = &*entry.control;
            self.lanes[lane.id()].guests[*priority as usize].spent_on_fresh = Duration::ZERO;
            return Some(entry);
        }
        while let Some(&(until, id)) = self.throttled.first()
            && until <= now
        {
            self.lanes[id].overdrawn_until = None;
            self.settle(id);
        }
        PRIORITIES.into_iter().find_map(|priority| {
            let id = self.first(priority)?;
            self.ran(id);
            self.take_from(id, priority, now)
        })
    }

    /// The lane of this priority whose turn it is.
    fn first(&self, priority: Priority) -> Option<LaneId> {
        NEEDS.into_iter().filter_map(|need| self.first_in_need(priority, need)).min().map(|(_, id)| *id)
    }

    /// The lane that has used the least, of those with a guest in this need that can run, and its clock.
    fn first_in_need(&self, priority: Priority, need: Need) -> Option<&(Clock, LaneId)> {
        self.ready[set(priority, need)].first().filter(|_| self.has_place(priority, need))
    }

    /// Whether a live guest waits in its first turn that could run: one of this lane, or one of another.
    pub(super) fn keeps_waiting(&self, lane: LaneId) -> (bool, bool) {
        let waiting = |own: bool| {
            FIRST_TURN.into_iter().any(|need| {
                self.has_place(Priority::Live, need)
                    && self.ready[set(Priority::Live, need)].iter().any(|(_, id)| (*id == lane) == own)
            })
        };
        (waiting(true), waiting(false))
    }

    /// Takes a lane's next guest.
    fn take_from(&mut self, id: LaneId, priority: Priority, now: Instant) -> Option<Entry> {
        let standing = self.lanes[id].standing;
        let starts = [Need::FirstPlace, Need::Place]
            .into_iter()
            .any(|need| standing.ready[set(priority, need)] && self.has_place(priority, need));
        let lane = &mut self.lanes[id];
        let guests = &mut lane.guests[priority as usize];
        let resumed_first = guests.spent_on_fresh >= self.capacity.turn && !guests.resumed.is_empty();
        let entry = if !guests.interrupted.is_empty() && !resumed_first {
            let entry = guests.interrupted.pop_front()?;
            self.has_turn(&entry, id);
            entry
        } else if starts && !resumed_first {
            let entry = guests.fresh.pop_front()?;
            entry.control.started.get_or_init(|| now);
            lane.running[priority as usize] += 1;
            self.running[priority as usize] += 1;
            self.waiting[priority as usize] -= 1;
            if priority == Priority::Background {
                self.background.push(Background { control: Arc::clone(&entry.control), waker: entry.runnable.waker() });
            }
            entry
        } else {
            let entry = guests.resumed.pop_front()?;
            guests.spent_on_fresh = Duration::ZERO;
            let fills_in = !starts && guests.interrupted.is_empty();
            entry.control.fills_in.store(fills_in, Ordering::Relaxed);
            self.has_turn(&entry, id);
            entry
        };
        self.settle(id);
        Some(entry)
    }

    /// Takes note that a guest does not wait any more.
    fn has_turn(&mut self, entry: &Entry, id: LaneId) {
        if let Some(deadline) = entry.control.deadline() {
            self.deadlines.remove(&(deadline, id, entry.control.id()));
        }
    }

    /// Places that only lanes get of which nothing runs. None where there is one lane only.
    fn reserve(&self) -> usize {
        let running = self.capacity.running;
        if self.lanes.len() > 1 {
            (running / PLACES_FOR_EACH_RESERVED).max(1).min(running.saturating_sub(1))
        } else {
            0
        }
    }

    fn has_place(&self, priority: Priority, need: Need) -> bool {
        let free = self.capacity.running.saturating_sub(self.running());
        self.suffices(free, priority, need)
    }

    /// Whether so many free places are enough.
    fn suffices(&self, free: usize, priority: Priority, need: Need) -> bool {
        match need {
            Need::Turn | Need::Rest => true,
            Need::FirstPlace if priority == Priority::Live => free > 0,
            Need::FirstPlace | Need::Place => free > self.reserve(),
        }
    }

    /// Takes note that the lane runs: others begin there, if they are behind.
    fn ran(&mut self, id: LaneId) {
        let lane = &mut self.lanes[id];
        // A lane that had no work, or waited for a place or for its quota, has nothing to make up for.
        lane.clock = lane.clock.max(self.clock);
        self.clock = lane.clock;
    }

    /// Charges a guest's lane.
    pub(super) fn charge(&mut self, control: &Control, cpu: Duration, now: Instant) {
        self.count(control, cpu, now);
        self.settle(control.lane.id());
    }

    fn count(&mut self, control: &Control, cpu: Duration, now: Instant) {
        let lane = &mut self.lanes[control.lane.id()];
        lane.cpu += cpu;
        lane.clock += (cpu.as_nanos() << 32) / u128::from(lane.limits.weight.get());
        let guests = &mut lane.guests[control.priority as usize];
        // Where nobody waits who has had a turn, nothing is owed for it.
        if !control.resumed.load(Ordering::Relaxed) && !guests.resumed.is_empty() {
            guests.spent_on_fresh += cpu;
        }
        if let Some(bucket) = &mut lane.bucket {
            bucket.spend(cpu, now);
            lane.overdrawn_until = bucket.overdrawn_until();
        }
    }

    /// Decides about a guest that has used up a turn, and has been charged for it: whether it has to let others run.
    pub(super) fn must_yield(&mut self, control: &Control, now: Instant) -> bool {
        let id = control.lane.id();
        let yields = control.ended_early(now)
            || self.lanes[id].overdrawn_until.is_some()
            || self.has_work(control.priority, now);
        if !yields {
            self.ran(id);
        }
        yields
    }

    /// How long a turn is.
    pub(super) fn turn(&self) -> Duration {
        self.capacity.turn
    }

    /// The same for one whose turn is not over: whether it has ended early, or has to make place for what cannot wait. That its
    /// lane goes on says nothing of the others, which are owed as much as before.
    pub(super) fn must_yield_at_once(&self, control: &Control, now: Instant) -> bool {
        let lane = &self.lanes[control.lane.id()];
        control.ended_early(now) || lane.overdrawn_until.is_some() || self.cannot_wait(now)
    }

    /// Decides about a guest whose turn is not over, and which has been charged for it: whether somebody else goes before it.
    /// That is a guest of a lane which has used less; or a fresh one of its own lane, if it fills in.
    pub(super) fn makes_way(&self, control: &Control) -> bool {
        let own = control.lane.id();
        let first = FIRST_TURN.into_iter().filter_map(|need| self.first_in_need(Priority::Live, need)).min();
        let Some((clock, id)) = first else { return false };
        let lane = &self.lanes[own];
        if *id != own {
            // It would begin where the others are.
            return lane.clock > self.clock.max(*clock);
        }
        let spent_on_fresh = lane.guests[Priority::Live as usize].spent_on_fresh;
        control.fills_in.load(Ordering::Relaxed) && spent_on_fresh < self.capacity.turn
    }

    /// Whether there are guests to be destroyed, or to be found.
    fn cannot_wait(&self, now: Instant) -> bool {
        !self.ended_early.is_empty()
            || self.deadlines.first().is_some_and(|(deadline, ..)| *deadline <= now)
            || self.throttled.first().is_some_and(|(until, _)| *until <= now)
            || self.to_evict(now).is_some()
    }

    /// Whether there is something to do which goes before, or takes turns with, guests of this priority.
    pub(super) fn has_work(&self, priority: Priority, now: Instant) -> bool {
        self.cannot_wait(now)
            || self.first(Priority::Live).is_some()
            || (priority == Priority::Background && self.first(Priority::Background).is_some())
    }

    /// When there will be something to do though nobody asks for it: CPU time for a lane, or a deadline that has passed.
    pub(super) fn next_event(&self) -> Option<Instant> {
        let refill = self.throttled.first().map(|(until, _)| *until);
        let deadline = self.deadlines.first().map(|(deadline, ..)| *deadline);
        refill.into_iter().chain(deadline).min()
    }

    /// Stops the youngest background guest that has a place which a live one needs. Its waker is to be called without
    /// the lock.
    pub(super) fn evict(&mut self, now: Instant) -> Option<Waker> {
        let (place, scope) = self.to_evict(now)?;
        let Background { control, waker } = &self.background[place];
        let (control, waker) = (Arc::clone(control), waker.clone());
        control.refused.get_or_init(|| Refused::Busy { scope, running: self.running(), waiting: self.waiting() });
        self.end_early(&control);
        Some(waker)
    }

    /// Where in `background` that guest is, and whose place is needed.
    fn to_evict(&self, now: Instant) -> Option<(usize, Scope)> {
        if self.background.is_empty() {
            return None;
        }
        let leaving = self.background.iter().filter(|guest| guest.is_leaving()).count();
        let free = (self.capacity.running + leaving).saturating_sub(self.running());
        let machine_is_full = [Need::FirstPlace, Need::Place].into_iter().any(|need| {
            !self.ready[set(Priority::Live, need)].is_empty() && !self.suffices(free, Priority::Live, need)
        });
        self.background.iter().enumerate().rev().filter(|(_, guest)| !guest.is_leaving()).find_map(|(place, guest)| {
            let lane_is_full = || self.lane_is_full(guest.control.lane.id(), now).then_some((place, Scope::Lane));
            if machine_is_full { Some((place, Scope::Machine)) } else { lane_is_full() }
        })
    }

    /// Whether a live request of the lane waits for a place that a background one has.
    fn lane_is_full(&self, id: LaneId, now: Instant) -> bool {
        let lane = &self.lanes[id];
        let leaving =
            self.background.iter().filter(|guest| guest.is_leaving() && guest.control.lane.id() == id).count();
        lane.waiting()[Priority::Live as usize] > 0
            && !lane.is_throttled(now)
            && lane.running() - leaving >= lane.limits.running
    }

    /// Has a guest destroyed that is past its deadline or not wanted any more. Returns one that has not been started, to
    /// be dropped without the lock.
    pub(super) fn end_early(&mut self, control: &Control) -> Option<Entry> {
        if let Some(deadline) = control.deadline() {
            let resumed = self.take_resumed(control.lane.id(), control.id(), deadline);
            self.ended_early.extend(resumed);
            return None;
        }
        self.withdraw(control)
    }

    /// Takes a guest that has not been started out of its queue.
    pub(super) fn withdraw(&mut self, control: &Control) -> Option<Entry> {
        let id = control.lane.id();
        let fresh = &mut self.lanes[id].guests[control.priority as usize].fresh;
        let place = fresh.iter().position(|entry| entry.control.id() == control.id())?;
        let entry = fresh.remove(place);
        self.waiting[control.priority as usize] -= 1;
        self.settle(id);
        entry
    }

    fn take_resumed(&mut self, id: LaneId, guest: usize, deadline: Instant) -> Option<Entry> {
        if !self.deadlines.remove(&(deadline, id, guest)) {
            return None;
        }
        let entry = self.lanes[id].guests.iter_mut().find_map(|guests| {
            [&mut guests.interrupted, &mut guests.resumed].into_iter().find_map(|waiting| {
                let place = waiting.iter().position(|entry| entry.control.id() == guest)?;
                waiting.remove(place)
            })
        });
        self.settle(id);
        entry
    }

    /// Takes note that a started guest is destroyed, and charges for that. Returns what is to be dropped without the lock.
    #[must_use]
    pub(super) fn destroyed(&mut self, control: &Control, cpu: Duration, now: Instant) -> Option<Background> {
        self.count(control, cpu, now);
        let (id, priority) = (control.lane.id(), control.priority as usize);
        self.running[priority] -= 1;
        self.lanes[id].running[priority] -= 1;
        self.settle(id);
        let place = self.background.iter().position(|guest| guest.control.id() == control.id());
        place.map(|place| self.background.remove(place))
    }

    /// Has all guests destroyed. Returns those that have not been started, to be dropped without the lock.
    pub(super) fn end_all(&mut self) -> Vec<Entry> {
        let mut not_started = Vec::new();
        let lanes: Vec<_> = self.lanes.iter().map(|(id, _)| id).collect();
        for id in lanes {
            for guests in &mut self.lanes[id].guests {
                not_started.extend(guests.fresh.drain(..));
                self.ended_early.extend(guests.interrupted.drain(..));
                self.ended_early.extend(guests.resumed.drain(..));
            }
            self.settle(id);
        }
        self.waiting = [0; 2];
        self.deadlines.clear();
        not_started
    }

    /// Puts a lane where it belongs, after a change.
    fn settle(&mut self, id: LaneId) {
        let alone = self.lanes.len() == 1;
        let lane = &mut self.lanes[id];
        let old = lane.standing;
        let new = lane.standing(alone);
        if new == old {
            return;
        }
        lane.standing = new;
        let moved = old.clock != new.clock;
        for (place, set) in self.ready.iter_mut().enumerate() {
            let (was, is) = (old.ready[place], new.ready[place]);
            if was && (!is || moved) {
                set.remove(&(old.clock, id));
            }
            if is && (!was || moved) {
                set.insert((new.clock, id));
            }
        }
        replace(&mut self.throttled, old.throttled, new.throttled, id);
        replace(&mut self.crowds, old.crowd, new.crowd, id);
    }
}

/// Moves a lane within a set.
fn replace<K: Ord + Copy>(set: &mut BTreeSet<(K, LaneId)>, old: Option<K>, new: Option<K>, id: LaneId) {
    if old == new {
        return;
    }
    if let Some(old) = old {
        set.remove(&(old, id));
    }
    if let Some(new) = new {
        set.insert((new, id));
    }
}

#[cfg(test)]
impl Schedule {
    /// Asserts that every lane is where it belongs, and that the counts are right.
    pub(super) fn check(&self) {
        let mut ready: [BTreeSet<(Clock, LaneId)>; SETS] = array::from_fn(|_| BTreeSet::new());
        let (mut throttled, mut crowds, mut deadlines) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let (mut running, mut waiting) = ([0; 2], [0; 2]);
        for (id, lane) in &self.lanes {
            let standing = lane.standing(self.lanes.len() == 1);
            assert_eq!(standing, lane.standing, "lane {id}");
            for (set, _) in ready.iter_mut().zip(standing.ready).filter(|(_, is_ready)| *is_ready) {
                set.insert((standing.clock, id));
            }
            throttled.extend(standing.throttled.map(|until| (until, id)));
            crowds.extend(standing.crowd.map(|crowd| (crowd, id)));
            for priority in [0, 1] {
                running[priority] += lane.running[priority];
                waiting[priority] += lane.guests[priority].fresh.len();
                deadlines.extend(
                    lane.guests[priority]
                        .resumed
                        .iter()
                        .chain(&lane.guests[priority].interrupted)
                        .filter_map(|entry| Some((entry.control.deadline()?, id, entry.control.id()))),
                );
            }
        }
        assert_eq!(ready, self.ready);
        assert_eq!(
            (throttled, crowds, deadlines),
            (self.throttled.clone(), self.crowds.clone(), self.deadlines.clone())
        );
        assert_eq!((running, waiting), (self.running, self.waiting));
        assert_eq!(self.background.len(), running[Priority::Background as usize]);
    }

    /// Asserts that no guest is in any queue.
    pub(super) fn assert_empty(&self) {
        self.check();
        assert!(self.ended_early.is_empty());
        assert!(self.ready.iter().all(BTreeSet::is_empty));
        assert!(self.throttled.is_empty() && self.crowds.is_empty() && self.deadlines.is_empty());
    }
}
