//! The queue between those who log and standard output: nothing waits for whoever reads it.
//!
//! Records go through a queue of [`QUEUE_BYTES`] bytes to a thread of their own. When a reader is too slow or stopped, records are
//! left out and counted, and when it goes on the log says how many.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Bytes of records that may wait for standard output. Each record counts for at least [`RECORD_MIN_BYTES`].
const QUEUE_BYTES: usize = 8 << 20;

/// What a record counts for at least in the queue, which bounds their number.
const RECORD_MIN_BYTES: usize = 256;

/// How long the writing thread rests after it has written all there was. A record is written that much later at most.
const REST: Duration = Duration::from_millis(2);

/// Keeps the log going. When it is dropped, what waits is written, for a second at most.
#[derive(Debug)]
#[must_use = "the log ends when the guard is dropped"]
pub struct LogGuard {
    queue: Arc<Queue>,
    _worker: WorkerGuard,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.queue.tell_dropped();
    }
}

/// What waits for the writing thread.
#[derive(Debug)]
struct Queue {
    bytes: AtomicUsize,
    limit: usize,
    /// Records that are missing in the log, because standard output did not take them.
    dropped: AtomicU64,
    /// How many of those the log has been told of.
    told: AtomicU64,
}

impl Queue {
    fn cost(record: &[u8]) -> usize {
        record.len().max(RECORD_MIN_BYTES)
    }

    /// Has the log say how many records are missing in it, if there are more than it has said.
    fn tell_dropped(&self) {
        let dropped = self.dropped.load(Ordering::Relaxed);
        if self.told.swap(dropped, Ordering::Relaxed) < dropped {
            tracing::warn!("{dropped} records are missing in the log so far: standard output did not take them");
        }
    }
}

/// The end of the queue where records go in.
pub(crate) struct LogQueue {
    queue: Arc<Queue>,
    writer: NonBlocking,
}

impl LogQueue {
    /// Takes a record with its newline, or counts it where there is no room.
    pub(crate) fn push(&self, record: &[u8]) {
        let cost = Queue::cost(record);
        let room = |bytes: usize| bytes.checked_add(cost).filter(|bytes| *bytes <= self.queue.limit);
        if self.queue.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // The channel has a place for every record of the least cost, so it is never full, and its writer never fails.
        let _ = self.writer.clone().write_all(record);
    }
}

/// The end of the queue where records come out, in the writing thread: one `write_all` each.
struct QueueOutput<W> {
    queue: Arc<Queue>,
    output: W,
}

impl<W: io::Write> io::Write for QueueOutput<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, record: &[u8]) -> io::Result<()> {
        let result = self.output.write_all(record);
        if result.is_err() {
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.queue.bytes.fetch_sub(Queue::cost(record), Ordering::Relaxed);
        result
    }

    /// Is called when there is no more to write. Then there is a rest: a record that finds the thread asleep wakes it, which takes
    /// the request's thread longer than the record.
    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.output.flush();
        if flushed.is_ok() {
            self.queue.tell_dropped();
        }
        std::thread::sleep(REST);
        flushed
    }
}

/// A queue of [`QUEUE_BYTES`], and the thread that writes what is in it to `output`.
///
/// # Panics
///
/// When the thread cannot be started.
pub(crate) fn start(output: impl io::Write + Send + 'static) -> (LogQueue, LogGuard) {
    let queue = Arc::new(Queue {
        bytes: AtomicUsize::new(0),
        limit: QUEUE_BYTES,
        dropped: AtomicU64::new(0),
        told: AtomicU64::new(0),
    });
    let (writer, worker) = NonBlockingBuilder::default()
        .lossy(true)
        // One more place is for the word that it is the end: without one, the end waits for standard output.
        .buffered_lines_limit(QUEUE_BYTES / RECORD_MIN_BYTES + 1)
        .thread_name("log-writer")
        .finish(QueueOutput { queue: Arc::clone(&queue), output });
    (LogQueue { queue: Arc::clone(&queue), writer }, LogGuard { queue, _worker: worker })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc;
    use std::time::Instant;

    fn dropped(queue: &LogQueue) -> u64 {
        queue.queue.dropped.load(Ordering::Relaxed)
    }

    /// Writes nothing until it is told to.
    struct Stopped {
        released: mpsc::Receiver<()>,
        output: Arc<Mutex<Vec<u8>>>,
    }

    impl io::Write for Stopped {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.released.recv();
            self.output.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stopped_costs_records_but_no_time() {
        let (release, released) = mpsc::channel();
        let output = Arc::new(Mutex::new(Vec::new()));
        let (queue, guard) = start(Stopped { released, output: Arc::clone(&output) });
        let record = vec![b'x'; 1 << 20];
        let start = Instant::now();
        for _ in 0..10 {
            queue.push(&record);
        }
        queue.push(&vec![b'y'; QUEUE_BYTES + 1]);
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(dropped(&queue), 3);
        drop(release);
        while queue.queue.bytes.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
        queue.push(b"after\n");
        assert_eq!(dropped(&queue), 3);
        drop(guard);
        let output = output.lock().unwrap();
        assert_eq!(output.len(), (8 << 20) + 6);
        assert!(output.ends_with(b"after\n"));
    }

    #[test]
    fn many_small_records_are_bounded_too() {
        let (release, released) = mpsc::channel();
        let (queue, _guard) = start(Stopped { released, output: Arc::default() });
        let limit = u64::try_from(QUEUE_BYTES / RECORD_MIN_BYTES).unwrap();
        for _ in 0..limit + 10 {
            queue.push(b"x\n");
        }
        assert_eq!(dropped(&queue), 10);
        drop(release);
    }
}
