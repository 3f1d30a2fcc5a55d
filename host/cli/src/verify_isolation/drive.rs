//! Sends requests to a scanner, ends them in all ways there are, and looks for what they have left behind.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use scorebox_sandbox::{
    Deployment, Fault, LogLevel, LogSink, LogStream, NoLog, Outcome, Piece, Request, Run, Sandbox, Streamed,
};
use tokio::runtime::Runtime;

use super::pool;
use super::report::{Control, Section};
use super::secret::Secrets;

/// Clients beside those that the sandbox runs at the same time: some always wait, so that places are used again at once.
const WAITING: usize = 4;
/// How often all is quiet, and the host looks at the pool, at least where there are many requests. It takes a tenth of a
/// second each time, twice in a round.
const ROUNDS: u64 = 25;
/// Requests of a round, at least and at most.
const FEWEST: u64 = 50;
const MOST: u64 = 50_000;
/// Requests of the control.
const CONTROL: u64 = 8;
/// How long instances may take to be destroyed.
const PATIENCE: Duration = Duration::from_mins(1);
/// What a request is called that was stopped at its deadline.
const STOPPED: &str = "stopped at its deadline";
/// Unexpected ends that are told in words.
const TOLD: usize = 5;

/// How a request is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Answer,
    Trap,
    Fault,
    OutOfMemory,
    Deadline,
    /// Its client goes away while it runs, after the first piece of a stream.
    Aborted,
    /// Nobody knows.
    Any,
}

impl Ending {
    /// Whether a request that is to end so may end like `other`.
    fn allows(self, other: Self) -> bool {
        self == other || self == Self::Any
    }
}

/// What is asked of a scanner.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ask {
    /// Whatever is the turn of this number.
    Any,
    /// To answer.
    Answer,
    /// To begin a stream, and to wait with a secret in hand until the client goes away.
    Hold,
}

/// A request, as far as it matters.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub(super) body: Vec<u8>,
    pub(super) headers: Vec<(String, Vec<u8>)>,
}

/// What a scanner reports.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Bytes that it looked at.
    pub(super) scanned: u64,
    /// Secrets of earlier requests, by where they were.
    pub(super) found: Vec<(String, u64)>,
    /// Values that are not what `init` left, and no secret.
    pub(super) stale: u64,
    /// Places in which it has planted its secret.
    pub(super) planted: u64,
}

/// What scores, looks, and leaves something behind.
pub(super) trait Scanner: std::fmt::Debug + Send + Sync {
    /// The request of this number, with its secret, and how it is going to end; `None` for what it cannot do.
    fn request(&self, secrets: &Secrets, number: u64, ask: Ask) -> Option<(Input, Ending)>;
    /// Reads its answer.
    fn report(&self, body: &[u8]) -> Result<Findings, String>;
}

/// What is driven.
pub(super) struct Drive<'a> {
    pub(super) sandbox: &'a Sandbox,
    /// Requests that the sandbox runs at the same time.
    pub(super) running: usize,
    pub(super) secrets: Arc<Secrets>,
    pub(super) scanner: Arc<dyn Scanner>,
    /// Requests go to these in turn.
    pub(super) deployments: Vec<Deployment>,
    /// These are asked to hold their instances, in turn.
    pub(super) held: Vec<Deployment>,
    /// The next number. No two requests of a run have the same.
    pub(super) next: &'a AtomicU64,
}

/// What has come of some requests.
#[derive(Debug, Default)]
struct Tally {
    served: u64,
    ends: BTreeMap<&'static str, u64>,
    findings: BTreeMap<String, u64>,
    scanned: u64,
    stale: u64,
    planted: u64,
    unexpected: Vec<String>,
}

impl Tally {
    fn end(&mut self, name: &'static str) {
        self.served += 1;
        *self.ends.entry(name).or_default() += 1;
    }

    /// On a machine that is too busy the deadline of a request can be over before it has its instance: then it has not been
    /// served. Takes those that have no instance out of those that were stopped at their deadline; all others must have one.
    fn never_begun(&mut self, instances: u64) -> u64 {
        let stopped = self.ends.entry(STOPPED).or_default();
        let without = self.served.saturating_sub(instances).min(*stopped);
        *stopped -= without;
        if without > 0 {
            self.ends.insert("stopped before it had an instance, and not counted", without);
        }
        without
    }

    fn found(&mut self, place: &str, times: u64) {
        if times > 0 {
            *self.findings.entry(place.to_owned()).or_default() += times;
        }
    }

    fn unexpected(&mut self, what: String) {
        if self.unexpected.len() < TOLD {
            self.unexpected.push(what);
        }
    }

    fn add(&mut self, findings: Findings) {
        self.scanned += findings.scanned;
        self.stale += findings.stale;
        self.planted += findings.planted;
        for (place, times) in findings.found {
            self.found(&place, times);
        }
    }

    fn merge(&mut self, other: Self) {
        self.served += other.served;
        self.scanned += other.scanned;
        self.stale += other.stale;
        self.planted += other.planted;
        for (name, times) in other.ends {
            *self.ends.entry(name).or_default() += times;
        }
        for (place, times) in other.findings {
            self.found(&place, times);
        }
        for what in other.unexpected {
            self.unexpected(what);
        }
    }
}

/// Looks for secrets of other requests in what a scorer logs.
struct Log {
    number: u64,
    secrets: Arc<Secrets>,
    found: AtomicU64,
}

impl LogSink for Log {
    fn write(&self, _: LogStream, _: LogLevel, logger: &str, text: &str) {
        let found =
            others(&self.secrets, logger.as_bytes(), self.number) + others(&self.secrets, text.as_bytes(), self.number);
        self.found.fetch_add(found, Ordering::Relaxed);
    }
}

/// How many secrets there are in `bytes` that are not of this request.
fn others(secrets: &Secrets, bytes: &[u8], own: u64) -> u64 {
    let mut found = 0;
    secrets.find(bytes, |_, number| found += u64::from(number != own));
    found
}

impl Drive<'_> {
    /// Sends `requests` requests, and the control.
    pub(super) fn run(&self, name: &str, requests: u64, progress: &dyn Fn(u64)) -> Result<Section, String> {
        let begin = Instant::now();
        let created_before = self.sandbox.instances().created;
        let mut section = Section { name: name.to_owned(), ..Section::default() };
        let mut names: Vec<_> = self.deployments.iter().chain(&self.held).map(|deployment| &deployment.name).collect();
        names.sort_unstable();
        names.dedup();
        section.deployments = names.len() as u64;
        let mut tally = Tally::default();
        let mut images = BTreeMap::new();
        let rounds = ROUNDS.min(requests.div_ceil(FEWEST)).max(requests / MOST);
        for round in 0..rounds {
            self.hold(round, &mut tally, &mut section)?;
            self.look_at_images(&mut images, &mut section)?;
            self.abort_at_once(&mut tally)?;
            let upto = requests * (round + 1) / rounds;
            self.send(upto.saturating_sub(tally.served), &mut tally)?;
            self.look_at_pool(&mut section)?;
            self.look_at_images(&mut images, &mut section)?;
            progress(tally.served);
        }
        section.instances_created = self.sandbox.instances().created - created_before;
        section.requests = tally.served - tally.never_begun(section.instances_created);
        section.slots = self.sandbox.pool().map_or(0, |pool| u64::from(pool.memory_slots));
        section.slots_reused = section.instances_created.saturating_sub(section.slots);
        section.ends = tally.ends.into_iter().map(|(name, times)| (name.to_owned(), times)).collect();
        section.secrets_planted = tally.planted;
        section.bytes_scanned_by_guests = tally.scanned;
        section.stale_values = tally.stale;
        section.unexpected = tally.unexpected;
        for (place, times) in tally.findings {
            *section.secrets_found.entry(place).or_default() += times;
        }
        section.control = self.control()?;
        section.seconds = begin.elapsed().as_secs_f64();
        Ok(section)
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The deployment whose turn it is. Two requests that follow one another go to different ones.
    fn deployment(&self, number: u64) -> &Deployment {
        &self.deployments[(number % self.deployments.len() as u64) as usize]
    }

    /// Sends so many requests, over as many clients as the sandbox can run and some more.
    fn send(&self, requests: u64, tally: &mut Tally) -> Result<(), String> {
        let left = AtomicU64::new(requests);
        let clients = (self.running + WAITING).min(usize::try_from(requests).unwrap_or(usize::MAX));
        let tallies = thread::scope(|scope| {
            let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
            let client = move || {
                let runtime = waiting()?;
                let mut tally = Tally::default();
                while take() {
                    let number = self.number();
                    if let Some((input, ending)) = self.scanner.request(&self.secrets, number, Ask::Any) {
                        runtime.block_on(self.one(number, input, ending, &mut tally));
                    }
                }
                Ok(tally)
            };
            let clients: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
            join(clients)
        })?;
        for other in tallies {
            tally.merge(other);
        }
        self.quiet()
    }

    /// Sends one request, and sorts how it ended.
    async fn one(&self, number: u64, input: Input, ending: Ending, tally: &mut Tally) {
        let log = Arc::new(Log { number, secrets: Arc::clone(&self.secrets), found: AtomicU64::new(0) });
        let run = self.sandbox.run(self.deployment(number), request(number, input), log.clone()).await;
        match run.outcome {
            Outcome::Stream(mut streamed) => {
                if self.first_piece(number, &mut streamed, tally).await {
                    // Some are gone at once, others while the guest waits for them.
                    if number.is_multiple_of(2) {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    drop(streamed);
                    tally.end("aborted");
                    if !ending.allows(Ending::Aborted) {
                        tally.unexpected(format!("request {number}: a stream, where it was to be {ending:?}"));
                    }
                }
            }
            outcome => self.ended(number, outcome, ending, tally),
        }
        tally.found("log", log.found.load(Ordering::Relaxed));
    }

    /// Reads the report that a stream begins with. Whether there was one.
    async fn first_piece(&self, number: u64, streamed: &mut Streamed, tally: &mut Tally) -> bool {
        match std::future::poll_fn(|cx| streamed.poll_next(cx)).await {
            Piece::Body(report) => {
                self.answered(number, &report, tally);
                true
            }
            Piece::End(Run { outcome, .. }) => {
                self.ended(number, outcome, Ending::Aborted, tally);
                false
            }
        }
    }

    fn answered(&self, number: u64, body: &[u8], tally: &mut Tally) {
        tally.found("responses", others(&self.secrets, body, number));
        match self.scanner.report(body) {
            Ok(findings) => tally.add(findings),
            Err(why) => tally.unexpected(format!("request {number}: {why}")),
        }
    }

    fn ended(&self, number: u64, outcome: Outcome, ending: Ending, tally: &mut Tally) {
        let how = match outcome {
            Outcome::Response(response) => {
                for (name, value) in &response.headers {
                    tally.found("responses", others(&self.secrets, name.as_bytes(), number));
                    tally.found("responses", others(&self.secrets, value, number));
                }
                self.answered(number, &response.body, tally);
                tally.end("answered");
                // Who has found something, or was not let, answers whatever was asked.
                (!ending.allows(Ending::Answer) && tally.findings.is_empty() && tally.stale == 0)
                    .then(|| "answered".to_owned())
            }
            Outcome::Fault(fault) => {
                let text = fault_text(&fault);
                tally.found("responses", others(&self.secrets, text.as_bytes(), number));
                tally.end("failed");
                (!ending.allows(Ending::Fault)).then(|| format!("failed: {text}"))
            }
            Outcome::Trap(trap) => {
                tally.end("trapped");
                (!ending.allows(Ending::Trap)).then(|| format!("trapped: {}", trap.reason))
            }
            Outcome::OutOfMemory { .. } => {
                tally.end("out of memory");
                (!ending.allows(Ending::OutOfMemory)).then(|| "out of memory".to_owned())
            }
            // On a machine that is busy, that can be the end of any.
            Outcome::Deadline(_) => {
                tally.end(STOPPED);
                None
            }
            Outcome::Stream(_) => Some("a stream".to_owned()),
            Outcome::Refused(refused) => Some(refused.to_string()),
        };
        if let Some(how) = how {
            tally.unexpected(format!("request {number}: {how}, where it was to be {ending:?}"));
        }
    }

    /// Has one deployment fill all places at the same time with instances that wait; looks at the pool, where their secrets
    /// must be found; and has all clients go away.
    fn hold(&self, round: u64, tally: &mut Tally, section: &mut Section) -> Result<(), String> {
        let Some(deployment) = self.held.get((round % self.held.len().max(1) as u64) as usize) else { return Ok(()) };
        let numbers: Vec<_> = (0..self.running).map(|_| self.number()).collect();
        let (held, go) = (Barrier::new(self.running + 1), Barrier::new(self.running + 1));
        let (tallies, search) = thread::scope(|scope| {
            let clients: Vec<_> = numbers
                .iter()
                .map(|number| {
                    scope.spawn(|| {
                        let mut tally = Tally::default();
                        let streamed =
                            waiting().map(|runtime| runtime.block_on(self.one_held(deployment, *number, &mut tally)));
                        held.wait();
                        go.wait();
                        if streamed?.is_some() {
                            tally.end("aborted");
                        }
                        Ok(tally)
                    })
                })
                .collect();
            held.wait();
            let search = self.sandbox.pool().map(|pool| pool::search(pool, &self.secrets));
            go.wait();
            (join(clients), search)
        });
        for other in tallies? {
            tally.merge(other);
        }
        if let Some(search) = search {
            let search = search.map_err(|error| format!("cannot look at the pool: {error}"))?;
            let own = search.found.iter().filter(|number| numbers.contains(number)).count() as u64;
            // What else there is of a secret, without its number, is on the stacks of these as well.
            section.secrets_of_live_instances_found += own;
            section.bytes_scanned_by_host += search.bytes;
            section.searches_of_pool += 1;
        }
        self.quiet()
    }

    async fn one_held(&self, deployment: &Deployment, number: u64, tally: &mut Tally) -> Option<Streamed> {
        let (input, _) = self.scanner.request(&self.secrets, number, Ask::Hold)?;
        let run = self.sandbox.run(deployment, request(number, input), Arc::new(NoLog)).await;
        match run.outcome {
            Outcome::Stream(mut streamed) => self.first_piece(number, &mut streamed, tally).await.then_some(streamed),
            outcome => {
                self.ended(number, outcome, Ending::Aborted, tally);
                None
            }
        }
    }

    /// Has clients go away at some moment, whatever the scorer is doing. An instance may not have been made by then, and then
    /// no request has been served.
    fn abort_at_once(&self, tally: &mut Tally) -> Result<(), String> {
        let runtime = waiting()?;
        for turn in 0..4 {
            let number = self.number();
            let Some((input, _)) = self.scanner.request(&self.secrets, number, Ask::Answer) else { return Ok(()) };
            let before = self.sandbox.instances().created;
            let run = self.sandbox.run(self.deployment(number), request(number, input), Arc::new(NoLog));
            let ended = runtime.block_on(async { tokio::time::timeout(Duration::from_millis(turn), run).await });
            self.quiet()?;
            match ended {
                Ok(run) => self.ended(number, run.outcome, Ending::Any, tally),
                Err(_) if self.sandbox.instances().created > before => tally.end("aborted"),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Waits until all instances are destroyed.
    fn quiet(&self) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            let load = self.sandbox.load();
            let instances = self.sandbox.instances();
            if load.running == 0 && load.waiting == 0 && instances.created == instances.destroyed {
                return Ok(());
            }
            if begin.elapsed() > PATIENCE {
                return Err(format!("instances are still there after {PATIENCE:?}: {load:?}, {instances:?}"));
            }
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Looks at the pool when there is no instance: there must be no secret at all.
    fn look_at_pool(&self, section: &mut Section) -> Result<(), String> {
        let Some(pool) = self.sandbox.pool() else { return Ok(()) };
        let search = pool::search(pool, &self.secrets).map_err(|error| format!("cannot look at the pool: {error}"))?;
        section.found("pool", search.found.len() as u64);
        section.bytes_scanned_by_host += search.bytes;
        section.searches_of_pool += 1;
        Ok(())
    }

    /// Counts places in which there is another image than when they were last looked at.
    fn look_at_images(&self, before: &mut BTreeMap<u64, String>, section: &mut Section) -> Result<(), String> {
        let Some(pool) = self.sandbox.pool() else { return Ok(()) };
        let images = pool::images(pool).map_err(|error| format!("cannot look at the pool: {error}"))?;
        for (address, image) in images {
            if before.insert(address, image.clone()).is_some_and(|before| before != image) {
                section.slots_given_to_another_deployment += 1;
            }
        }
        Ok(())
    }

    /// Sends a few requests to one and the same instance. All but the first must find something, and so must the host after
    /// all but the last.
    fn control(&self) -> Result<Control, String> {
        let numbers: Vec<_> = (0..CONTROL).map(|_| self.number()).collect();
        let requests = numbers
            .iter()
            .filter_map(|number| Some(request(*number, self.scanner.request(&self.secrets, *number, Ask::Answer)?.0)))
            .collect();
        let control = Arc::new(Mutex::new(Control { requests: CONTROL, ..Control::default() }));
        let after_each = {
            let (control, secrets, scanner) =
                (Arc::clone(&control), Arc::clone(&self.secrets), Arc::clone(&self.scanner));
            let pool = self.sandbox.pool().cloned();
            let mut numbers = numbers.into_iter();
            move |outcome| {
                let mut control = control.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(number) = numbers.next() else { return };
                let mut seen = |body: &[u8]| {
                    control.secrets_found_by_guests += others(&secrets, body, number);
                    if let Ok(findings) = scanner.report(body) {
                        control.secrets_found_by_guests += findings.found.iter().map(|(_, times)| times).sum::<u64>();
                        control.stale_values += findings.stale;
                    }
                };
                match outcome {
                    Outcome::Response(response) => seen(&response.body),
                    Outcome::Fault(fault) => seen(fault_text(&fault).as_bytes()),
                    other => {
                        control.ended = Some(format!("{other:?}"));
                        return;
                    }
                }
                // The request has ended, so whatever is there now is there for the next one.
                if numbers.len() > 0
                    && let Some(Ok(search)) = pool.as_ref().map(|pool| pool::search(pool, &secrets))
                {
                    control.secrets_found_by_host += search.found.len() as u64;
                }
            }
        };
        self.sandbox.run_all_in_one_instance(self.deployment(0), requests, Arc::new(NoLog), after_each);
        self.quiet()?;
        let control = control.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(control.clone())
    }
}

fn fault_text(fault: &Fault) -> String {
    match fault {
        Fault::BadInput(message) | Fault::UnsupportedInput(message) => message.clone(),
        Fault::Failed(exception) | Fault::TimedOut(exception) | Fault::Unencodable(exception) => {
            format!("{}: {}\n{}", exception.kind, exception.message, exception.traceback)
        }
    }
}

fn join<T>(clients: Vec<thread::ScopedJoinHandle<'_, Result<T, String>>>) -> Result<Vec<T>, String> {
    clients.into_iter().map(|client| client.join().map_err(|_| "a client failed".to_owned())?).collect()
}

/// What a client waits on.
fn waiting() -> Result<Runtime, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| format!("cannot wait for answers: {error}"))
}

fn request(number: u64, input: Input) -> Request {
    Request {
        id: format!("canary-{number}"),
        client_request_id: None,
        method: "POST".to_owned(),
        scheme: "http".to_owned(),
        path: "/score".to_owned(),
        query: None,
        headers: input.headers,
        client_address: "127.0.0.1".to_owned(),
        body: input.body,
    }
}
