//! What a scorer that was built against WASI 0.2 gets: coarse clocks, fresh randomness, its model directory read-only, and its
//! standard output and error in the log. No network, no environment, no arguments, no other files.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime::error::Context as _;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView as _};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView};
use wasmtime_wasi_io::bindings::wasi::io;
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{OutputStream, StreamResult};

use crate::clocks::{Monotonic, Wall};
use crate::instance::HostState;
use crate::log::{LogLevel, LogStream, LogWriter};

/// Bytes that a guest may ask of a random generator in one call.
const MAX_RANDOM_BYTES: u64 = 1024 * 1024;
/// Streams, pollables, open files and the like that an instance may hold.
const MAX_RESOURCES: usize = 1024;
/// Bytes of a line of output that are kept until the line ends.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// The names, without version, of the WASI interfaces that a scorer may import.
pub(crate) const INTERFACES: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// The state of one instance's WASI.
pub(crate) struct Wasi {
    context: WasiCtx,
    resources: ResourceTable,
}

impl Wasi {
    /// Makes the WASI of a new instance. `model_dir` is what it finds in the folder `/model`.
    pub(crate) fn new(model_dir: Option<&Path>, log: &Arc<Mutex<LogWriter>>) -> wasmtime::Result<Self> {
        let mut context = WasiCtx::builder();
        context
            .stdout(LogOutput::new(log, LogStream::Stdout, LogLevel::Info))
            .stderr(LogOutput::new(log, LogStream::Stderr, LogLevel::Warning))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(MAX_RANDOM_BYTES)
            .wall_clock(Wall)
            .monotonic_clock(Monotonic::start())
            // Guests have threads of their own, which may block for a file.
            .allow_blocking_current_thread(true);
        if let Some(model_dir) = model_dir {
            context
                .preopened_dir(model_dir, "/model", FsPerms::ReadOnly)
                .with_context(|| format!("cannot open the model directory {}", model_dir.display()))?;
        }
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(MAX_RESOURCES);
        Ok(Self { context: context.build(), resources })
    }

    pub(crate) fn view(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.context, table: &mut self.resources }
    }
}

impl std::fmt::Debug for Wasi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wasi").finish_non_exhaustive()
    }
}

struct HasIo;

impl HasData for HasIo {
    type Data<'a> = &'a mut ResourceTable;
}

fn table(state: &mut HostState) -> &mut ResourceTable {
    use wasmtime_wasi::WasiView as _;
    state.ctx().table
}

/// Adds the interfaces of [`INTERFACES`], and nothing else.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    type S = HostState;
    io::error::add_to_linker::<S, HasIo>(linker, table)?;
    io::poll::add_to_linker::<S, HasIo>(linker, table)?;
    io::streams::add_to_linker::<S, HasIo>(linker, table)?;
    clocks::wall_clock::add_to_linker::<S, WasiClocks>(linker, S::clocks)?;
    clocks::monotonic_clock::add_to_linker::<S, WasiClocks>(linker, S::clocks)?;
    random::random::add_to_linker::<S, WasiRandom>(linker, S::random)?;
    random::insecure::add_to_linker::<S, WasiRandom>(linker, S::random)?;
    random::insecure_seed::add_to_linker::<S, WasiRandom>(linker, S::random)?;
    filesystem::preopens::add_to_linker::<S, WasiFilesystem>(linker, S::filesystem)?;
    filesystem::types::add_to_linker::<S, WasiFilesystem>(linker, S::filesystem)?;
    cli::environment::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    cli::exit::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    cli::stdin::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    cli::stdout::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    cli::stderr::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    cli::terminal_input::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    cli::terminal_output::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    cli::terminal_stdin::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    cli::terminal_stdout::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    cli::terminal_stderr::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    Ok(())
}

/// Standard output or error of a guest: each line becomes a record of the log.
#[derive(Clone)]
struct LogOutput {
    /// The line that has not ended yet; shared by all handles of the stream.
    line: Arc<Mutex<Line>>,
}

/// A line that has not ended; written when it does, or when the instance is destroyed.
struct Line {
    bytes: Vec<u8>,
    log: Arc<Mutex<LogWriter>>,
    stream: LogStream,
    level: LogLevel,
}

impl LogOutput {
    fn new(log: &Arc<Mutex<LogWriter>>, stream: LogStream, level: LogLevel) -> Self {
        let line = Line { bytes: Vec::new(), log: Arc::clone(log), stream, level };
        Self { line: Arc::new(Mutex::new(line)) }
    }

    fn push(&self, bytes: &[u8]) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        // A guest may write more at once than it was told to, and a line is not to take much more than it may have.
        bytes.chunks(MAX_LINE_BYTES).for_each(|bytes| line.push(bytes));
    }
}

impl Line {
    fn push(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.bytes.extend_from_slice(&bytes[..end]);
            self.flush();
            bytes = &bytes[end + 1..];
        }
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() >= MAX_LINE_BYTES {
            // A character that has not come whole is left for what follows.
            let end = match std::str::from_utf8(&self.bytes) {
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                _ => self.bytes.len(),
            };
            self.write(end);
        }
    }

    fn flush(&mut self) {
        self.write(self.bytes.len());
    }

    /// Writes so many of the bytes that are kept.
    fn write(&mut self, end: usize) {
        let text = String::from_utf8_lossy(&self.bytes[..end]);
        self.log.lock().unwrap_or_else(PoisonError::into_inner).write(self.stream, self.level, "", &text);
        self.bytes.drain(..end);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.flush();
        }
    }
}

impl IsTerminal for LogOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogOutput {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LogOutput {
    async fn ready(&mut self) {}
}

impl OutputStream for LogOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_LINE_BYTES)
    }
}

impl AsyncWrite for LogOutput {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogSink;
    use crate::log::tests::Records;

    #[test]
    fn a_line_without_end_is_logged_in_parts_with_whole_characters() {
        let records = Arc::new(Records::default());
        let log = LogWriter::new(Arc::clone(&records) as Arc<dyn LogSink>, u64::MAX);
        let output = LogOutput::new(&Arc::new(Mutex::new(log)), LogStream::Stdout, LogLevel::Info);
        // No part of it ends where a character does.
        let line = format!("a{}", "\u{20ac}".repeat(100_000));
        output.push(line.as_bytes());
        let kept = output.line.lock().unwrap().bytes.capacity();
        assert!(kept <= 4 * MAX_LINE_BYTES, "{kept} bytes are kept");
        output.push(b"\nnext\n");
        let records = records.0.lock().unwrap();
        let (next, parts) = records.split_last().unwrap();
        assert_eq!((parts.concat() == line, next.as_str()), (true, "next"));
        assert!(parts.len() > 4 && parts.iter().all(|part| part.len() <= 2 * MAX_LINE_BYTES));
    }
}
