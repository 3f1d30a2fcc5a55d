//! The door: `import _host; _host.call(message)` in Python arrives here. It is how the runner logs and streams.
//!
//! A message begins with its kind. `L`: a digit for the stream (0 logger, 1 standard output, 2 standard error), a digit
//! for the level (0 debug to 4 critical), the name of the logger, NUL, the text. `H`: the head of a response, as `run`
//! returns it, which begins a streamed one. `C`: a piece of its body. `I`: addresses of objects that are to be immortal, 32
//! bits each.

use crate::bindings::scorebox::scoring::{log, stream};
use crate::bridge;
use crate::python;
use crate::scorer::Head;
use crate::system;

/// What `_host.call` raises where the answer says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// `OSError`: the message is none, or the client is gone.
    Failed,
}

/// `host.call(ptr, len, out_ptr_ptr, out_len_ptr)`: 0, or -1 where the call failed. There is nothing to answer.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an entry point")]
extern "C" fn host_call(address: u32, bytes: u32, out_address: u32, out_bytes: u32) -> i32 {
    let answered = bridge::read_python_vec(address, bytes)
        .map_err(|_| Refused::Failed)
        .and_then(|message| receive(&message))
        .and_then(|()| {
            bridge::write_python(out_address, &[0; 4]).map_err(|_| Refused::Failed)?;
            bridge::write_python(out_bytes, &[0; 4]).map_err(|_| Refused::Failed)
        });
    match answered {
        Ok(()) => 0,
        Err(Refused::Failed) => -1,
    }
}

fn receive(message: &[u8]) -> Result<(), Refused> {
    match message.split_first() {
        Some((b'L', record)) => write_log(record).ok_or(Refused::Failed),
        Some((b'H', head)) => {
            let head = Head::parse(head).ok_or(Refused::Failed)?;
            stream::start(head.status, &head.headers).map_err(|_| Refused::Failed)
        }
        Some((b'C', chunk)) => stream::write(chunk).map_err(|_| Refused::Failed),
        Some((b'I', addresses)) => python::make_immortal(addresses).map_err(|_| Refused::Failed),
        _ => Err(Refused::Failed),
    }
}

fn write_log(record: &[u8]) -> Option<()> {
    let (kind, rest) = record.split_first_chunk::<2>()?;
    let stream = match kind[0] {
        b'0' => log::Stream::Logger,
        b'1' => log::Stream::Stdout,
        b'2' => log::Stream::Stderr,
        _ => return None,
    };
    let level = match kind[1] {
        b'0' => log::Level::Debug,
        b'1' => log::Level::Info,
        b'2' => log::Level::Warning,
        b'3' => log::Level::Error,
        b'4' => log::Level::Critical,
        _ => return None,
    };
    let name = rest.iter().position(|byte| *byte == 0)?;
    let text = String::from_utf8_lossy(rest.get(name + 1..)?);
    let logger = String::from_utf8_lossy(&rest[..name]);
    system::flush_output();
    log::write(stream, level, &logger, &text);
    Some(())
}
