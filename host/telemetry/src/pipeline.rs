//! From the queue to the endpoints.
//!
//! ```text
//! callers ──queue──▶ thread "telemetry" ──batches──▶ outbox ──▶ thread "telemetry-…" ──▶ endpoint
//!                    (encodes)                       (memory, disk)   (one for each endpoint)
//! ```

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Uri;

use crate::batch::Batch;
use crate::breeze::{self, Breeze};
use crate::client::{self, Client};
use crate::disk::{self, Disk};
use crate::envelope::Sender;
use crate::error::StartError;
use crate::item::Item;
use crate::otlp::{Otlp, Signal};
use crate::outbox::{Backoff, Outbox, Protocol};
use crate::own::{self, Warnings};
use crate::signals::{Collector, Records, Spans};
use crate::{AppInsights, Buffer, Config};

/// Items that may wait to be encoded.
const QUEUE_ITEMS: usize = 8192;

/// Bytes of items that may wait to be encoded.
const QUEUE_BYTES: usize = 16 << 20;

/// Items of a batch.
const BATCH_ITEMS: usize = 100;

/// How long a post to Application Insights may take.
const APP_INSIGHTS_TIMEOUT: Duration = Duration::from_secs(10);

/// How long is left for what waits when nobody shuts telemetry down.
const ABANDONED: Duration = Duration::from_secs(5);

/// The longest that a shutdown waits.
const SHUTDOWN_MAX: Duration = Duration::from_hours(1);

/// When things are done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// How long an item waits for others.
    pub(crate) gather: Duration,
    pub(crate) backoff: Backoff,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            gather: Duration::from_secs(5),
            backoff: Backoff { first: Duration::from_secs(1), longest: Duration::from_mins(1) },
        }
    }
}

/// What travels through the queue.
enum Message {
    Item(Box<Item>),
    /// There is a deadline.
    Stop,
}

/// The queue: where items go in, and where they come out.
fn queue() -> (SyncSender<Message>, Receiver<Message>) {
    mpsc::sync_channel(QUEUE_ITEMS)
}

/// The end of the queue where items go in.
#[derive(Debug)]
pub(crate) struct Pipeline {
    queue: SyncSender<Message>,
    bytes: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
    stopping: Arc<AtomicBool>,
    outboxes: Vec<Outbox>,
    /// Disconnected when all threads have ended.
    ended: Mutex<Receiver<()>>,
}

impl Pipeline {
    pub(crate) fn start(config: Config, timing: Timing) -> Result<Self, StartError> {
        let Config { app_insights, otlp, service_name, workspace_name, container_id, buffer } = config;
        let key = app_insights.as_ref().map_or_else(String::new, |settings| settings.key.clone());
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        let sender = Sender { key, host, service_name, workspace_name, container_id };
        let dropped = Arc::new(AtomicU64::new(0));
        let (alive, ended) = mpsc::channel::<()>();
        let signals = |otlp: &Otlp| usize::from(otlp.traces.is_some()) + usize::from(otlp.logs.is_some());
        let count = usize::from(app_insights.is_some()) + otlp.as_ref().map_or(0, signals);
        let buffer = buffer.map(|buffer| Buffer { bytes: buffer.bytes / count.max(1) as u64, ..buffer });
        let mut starter =
            Starter { buffer, backoff: timing.backoff, dropped: &dropped, alive: &alive, outboxes: Vec::new() };
        let encoders = starter.destinations(app_insights.as_ref(), otlp.as_ref(), &sender);
        let outboxes = starter.outboxes;
        let encoders = encoders.inspect_err(|_| outboxes.iter().for_each(Outbox::close))?;

        let (queue, items) = queue();
        let bytes = Arc::new(AtomicUsize::new(0));
        let stopping = Arc::new(AtomicBool::new(false));
        let gatherer = Gatherer {
            items,
            bytes: Arc::clone(&bytes),
            stopping: Arc::clone(&stopping),
            dropped: Arc::clone(&dropped),
            dropped_before: 0,
            warnings: Warnings::default(),
            gather: timing.gather,
            sender,
            encoders,
            outboxes: outboxes.clone(),
        };
        own::spawn("telemetry", move || {
            gatherer.run();
            drop(alive);
        })
        .map_err(StartError::Thread)?;
        Ok(Self { queue, bytes, dropped, stopping, outboxes, ended: Mutex::new(ended) })
    }

    /// Takes an item, or drops it when too much waits. Never waits itself.
    pub(crate) fn push(&self, item: Item) {
        let cost = item.cost();
        let room = |bytes: usize| bytes.checked_add(cost).filter(|bytes| *bytes <= QUEUE_BYTES);
        if self.stopping.load(Ordering::Relaxed)
            || self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.queue.try_send(Message::Item(Box::new(item)))
        {
            self.bytes.fetch_sub(cost, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Sends what waits, until all is sent or the time is up; what is left goes to the disk.
    pub(crate) fn shutdown(&self, within: Duration) {
        let deadline = Instant::now() + within.min(SHUTDOWN_MAX);
        if self.stopping.swap(true, Ordering::SeqCst) {
            return;
        }
        for outbox in &self.outboxes {
            outbox.stop(deadline);
        }
        // When the queue is full, the thread is awake.
        let _ = self.queue.try_send(Message::Stop);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        for outbox in &self.outboxes {
            outbox.end();
        }
    }
}

/// Makes batches of items for one endpoint.
enum Encoder {
    AppInsights,
    Spans(Spans),
    Records(Records),
}

impl Encoder {
    fn batches(&self, sender: &Sender, items: &[Item]) -> Vec<Batch> {
        match self {
            Self::AppInsights => breeze::batches(sender, items),
            Self::Spans(spans) => spans.batches(items),
            Self::Records(records) => records.batches(items),
        }
    }
}

/// An endpoint, as far as it has names.
struct Endpoint<'a> {
    /// The name of its folder and thread.
    id: &'static str,
    /// What the log calls it.
    name: &'static str,
    url: &'a Uri,
    /// Tells it from others for which its folder may have batches.
    identity: String,
}

/// Starts an outbox and a thread for each endpoint.
struct Starter<'a> {
    /// With the bytes for one endpoint.
    buffer: Option<Buffer>,
    backoff: Backoff,
    dropped: &'a Arc<AtomicU64>,
    alive: &'a mpsc::Sender<()>,
    outboxes: Vec<Outbox>,
}

impl Starter<'_> {
    /// The encoders, in the order of the outboxes.
    fn destinations(
        &mut self,
        app_insights: Option<&AppInsights>,
        otlp: Option<&Otlp>,
        sender: &Sender,
    ) -> Result<Vec<Encoder>, StartError> {
        let mut encoders = Vec::new();
        if let Some(AppInsights { key, track }) = app_insights {
            let name = "Application Insights";
            let endpoint =
                Endpoint { id: "application-insights", name, url: track, identity: format!("{track} {key}") };
            let client = Client::new(track.clone(), APP_INSIGHTS_TIMEOUT, None).follow_redirects();
            self.start(&endpoint, client, Breeze)?;
            encoders.push(Encoder::AppInsights);
        }
        let Some(otlp) = otlp else {
            return Ok(encoders);
        };
        if let Some(signal) = &otlp.traces {
            let spans = Spans::new(otlp, signal, sender)?;
            let collector = Collector { encoding: signal.encoding, spans: true };
            self.start_otlp("otlp-traces", "OTLP traces", signal, collector)?;
            encoders.push(Encoder::Spans(spans));
        }
        if let Some(signal) = &otlp.logs {
            let records = Records::new(otlp, signal, sender)?;
            let collector = Collector { encoding: signal.encoding, spans: false };
            self.start_otlp("otlp-logs", "OTLP logs", signal, collector)?;
            encoders.push(Encoder::Records(records));
        }
        Ok(encoders)
    }

    fn start_otlp(
        &mut self,
        id: &'static str,
        name: &'static str,
        signal: &Signal,
        collector: Collector,
    ) -> Result<(), StartError> {
        let certificates = match &signal.certificate {
            Some((variable, path)) => Some(read_certificates(variable, path)?),
            None => None,
        };
        let client = Client::new(signal.url.clone(), signal.timeout, certificates).with_headers(signal.headers.clone());
        let endpoint = Endpoint { id, name, url: &signal.url, identity: signal.url.to_string() };
        self.start(&endpoint, client, collector)
    }

    fn start(&mut self, endpoint: &Endpoint<'_>, client: Client, protocol: impl Protocol) -> Result<(), StartError> {
        let disk = match &self.buffer {
            Some(buffer) => open_disk(buffer, endpoint, self.dropped)?,
            None => None,
        };
        let name = format!("{} at {}", endpoint.name, endpoint.url);
        let outbox = Outbox::new(name, disk, self.backoff, Arc::clone(self.dropped));
        let (sending, alive) = (outbox.clone(), self.alive.clone());
        own::spawn(endpoint.id, move || {
            sending.run(&client, &protocol);
            drop(alive);
        })
        .map_err(StartError::Thread)?;
        self.outboxes.push(outbox);
        Ok(())
    }
}

fn read_certificates(variable: &str, path: &Path) -> Result<Vec<ureq::tls::Certificate<'static>>, StartError> {
    let error = |reason| StartError::Certificate { variable: variable.to_owned(), path: path.to_owned(), reason };
    let pem = std::fs::read(path).map_err(|source| error(source.to_string()))?;
    client::certificates(&pem).map_err(error)
}

fn open_disk(buffer: &Buffer, endpoint: &Endpoint<'_>, dropped: &Arc<AtomicU64>) -> Result<Option<Disk>, StartError> {
    let error = |path: &Path| {
        let path = path.to_owned();
        move |source| StartError::Buffer { path, source }
    };
    // A folder that exists keeps its mode; those within are ours.
    if !buffer.folder.is_dir() {
        disk::create_folder(&buffer.folder).map_err(error(&buffer.folder))?;
    }
    let folder = buffer.folder.join(endpoint.id);
    let disk = Disk::open(folder.clone(), &endpoint.identity, buffer.bytes, Arc::clone(dropped));
    let disk = disk.map_err(error(&folder))?;
    if disk.is_none() {
        tracing::warn!(
            target: "azmlinfsrv",
            "The telemetry buffer {} is used by another process: what cannot be sent is kept in memory only.",
            folder.display()
        );
    }
    Ok(disk)
}

/// The end of the queue where items come out.
struct Gatherer {
    items: Receiver<Message>,
    bytes: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
    dropped: Arc<AtomicU64>,
    dropped_before: u64,
    warnings: Warnings,
    gather: Duration,
    sender: Sender,
    encoders: Vec<Encoder>,
    outboxes: Vec<Outbox>,
}

impl Gatherer {
    /// Makes batches until telemetry is shut down and the queue is empty.
    fn run(mut self) {
        loop {
            let (items, is_last) = self.gather();
            self.export(&items);
            if is_last {
                break;
            }
        }
        if !self.stopping.load(Ordering::SeqCst) {
            let deadline = Instant::now() + ABANDONED;
            self.outboxes.iter().for_each(|outbox| outbox.stop(deadline));
        }
        self.outboxes.iter().for_each(Outbox::close);
    }

    /// Waits for a batch of items, and says whether it is the last.
    fn gather(&self) -> (Vec<Item>, bool) {
        let mut items = Vec::new();
        let mut until = None;
        while items.len() < BATCH_ITEMS {
            let message = if self.stopping.load(Ordering::SeqCst) {
                // Only what is there already.
                match self.items.try_recv() {
                    Ok(message) => message,
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => return (items, true),
                }
            } else {
                let result = match until {
                    None => self.items.recv().map_err(|_| RecvTimeoutError::Disconnected),
                    Some(until) => self.items.recv_timeout(Instant::saturating_duration_since(&until, Instant::now())),
                };
                match result {
                    Ok(message) => message,
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return (items, true),
                }
            };
            if let Message::Item(item) = message {
                self.bytes.fetch_sub(item.cost(), Ordering::Relaxed);
                items.push(*item);
                until.get_or_insert_with(|| Instant::now() + self.gather);
            }
        }
        (items, false)
    }

    fn export(&mut self, items: &[Item]) {
        for (encoder, outbox) in self.encoders.iter().zip(&self.outboxes) {
            for batch in encoder.batches(&self.sender, items) {
                outbox.push(batch);
            }
        }
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > self.dropped_before {
            self.dropped_before = dropped;
            self.warnings.warn(|| format!("Telemetry is incomplete: {dropped} items have been dropped so far."));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::Level;

    /// How many items of a text of so many bytes are taken, of so many, while none is taken out of the queue.
    fn taken(count: u64, bytes: usize) -> u64 {
        let ((queue, _items), (_alive, ended)) = (queue(), mpsc::channel());
        let pipeline = Pipeline {
            queue,
            bytes: Arc::default(),
            dropped: Arc::default(),
            stopping: Arc::default(),
            outboxes: Vec::new(),
            ended: Mutex::new(ended),
        };
        let (told, dropped) = mpsc::channel();
        thread::spawn(move || {
            let text = "x".repeat(bytes);
            for _ in 0..count {
                pipeline.push(Item::log(None, "", Level::Info, &text, &[]));
            }
            told.send(pipeline.dropped())
        });
        // It would be a wait without end.
        count - dropped.recv_timeout(Duration::from_secs(20)).expect("nobody waits")
    }

    #[test]
    fn the_queue_has_8192_items_and_drops_what_is_over_without_a_wait() {
        assert_eq!(taken(10_000, 0), 8192);
    }

    #[test]
    fn the_queue_has_16_mib_and_drops_what_is_over_without_a_wait() {
        let bytes = 32_768;
        let cost = Item::log(None, "", Level::Info, &"x".repeat(bytes), &[]).cost();
        assert!(cost >= bytes, "{cost}");
        assert_eq!(taken(1000, bytes), (16 << 20) / cost as u64);
    }
}
