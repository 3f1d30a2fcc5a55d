//! The door: `import _host; _host.call(message)` in Python arrives here. It is how the runner logs and streams.
//!
//! A message begins with its kind. `L`: a digit for the stream (0 logger, 1 standard output, 2 standard error), a digit
//! for the level (0 debug to 4 critical), the name of the logger, NUL, the text. `H`: the head of a response, as `run`
//! returns it, which begins a streamed one. `C`: a piece of its body. `I`: the address of a list of objects that are to be
//! immortal, addresses of types, and for each type a number: see [`python::make_immortal`]. Addresses have 32 bits. `I` is
//! answered with a number for each object; the others have an empty answer.

use std::collections::BTreeMap;

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

/// `host.call(ptr, len, out_ptr_ptr, out_len_ptr)`: 0, or -1 where the call failed.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "an entry point")]
extern "C" fn host_call(address: u32, bytes: u32, out_address: u32, out_bytes: u32) -> i32 {
    let answered = bridge::read_python_vec(address, bytes)
        .map_err(|_| Refused::Failed)
        .and_then(|message| receive(&message))
        .and_then(|answer| reply(&answer, out_address, out_bytes));
    match answered {
        Ok(()) => 0,
        Err(Refused::Failed) => -1,
    }
}

fn receive(message: &[u8]) -> Result<Vec<u8>, Refused> {
    let done = |()| Vec::new();
    match message.split_first() {
        Some((b'L', record)) => write_log(record).map(done).ok_or(Refused::Failed),
        Some((b'H', head)) => {
            let head = Head::parse(head).ok_or(Refused::Failed)?;
            stream::start(head.status, &head.headers).map(done).map_err(|_| Refused::Failed)
        }
        Some((b'C', chunk)) => stream::write(chunk).map(done).map_err(|_| Refused::Failed),
        Some((b'I', request)) => make_immortal(request).ok_or(Refused::Failed),
        _ => Err(Refused::Failed),
    }
}

/// Hands an answer to Python, in memory that is Python's from then on.
fn reply(answer: &[u8], out_address: u32, out_bytes: u32) -> Result<(), Refused> {
    let address = if answer.is_empty() { 0 } else { python::allocate(answer).map_err(|_| Refused::Failed)? };
    bridge::write_python(out_address, &address.to_le_bytes()).map_err(|_| Refused::Failed)?;
    bridge::write_python(out_bytes, &(answer.len() as u32).to_le_bytes()).map_err(|_| Refused::Failed)
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

fn make_immortal(request: &[u8]) -> Option<Vec<u8>> {
    let (list, types) = request.split_first_chunk()?;
    let (addresses, numbers) = types.split_at_checked(types.len() / 5 * 4)?;
    let (addresses, _) = addresses.as_chunks();
    let numbers: BTreeMap<u32, u8> =
        addresses.iter().map(|address| u32::from_le_bytes(*address)).zip(numbers.iter().copied()).collect();
    python::make_immortal(u32::from_le_bytes(*list), &numbers).ok()
}
