//! Bytes much of which are zero, as the memory of an instance is: zeros are not written, not sent, and given no memory.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::iter::from_fn;

/// Bytes that are looked at together.
pub(crate) const BLOCK: usize = 64 * 1024;

/// A block that is zero.
pub(crate) static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// What is not zero, in order: blocks, those that follow each other together, with where they begin.
pub(crate) fn parts(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let is_zero = |block: &&[u8]| *block == &ZEROS[..block.len()];
    let mut next = 0;
    from_fn(move || {
        next += bytes[next..].chunks(BLOCK).take_while(is_zero).map(<[u8]>::len).sum::<usize>();
        let start = next;
        next += bytes[next..].chunks(BLOCK).take_while(|block| !is_zero(block)).map(<[u8]>::len).sum::<usize>();
        (start < next).then(|| (start, &bytes[start..next]))
    })
}

/// Copies to the beginning of what is zero so far.
///
/// # Panics
///
/// Panics if `to` is shorter.
pub(crate) fn copy(from: &[u8], to: &mut [u8]) {
    for (start, part) in parts(from) {
        to[start..start + part.len()].copy_from_slice(part);
    }
}

/// Writes to an empty file, with holes. What is written next comes after it.
pub(crate) fn write(to: &mut File, bytes: &[u8]) -> io::Result<()> {
    to.set_len(bytes.len() as u64)?;
    for (start, part) in parts(bytes) {
        to.seek(SeekFrom::Start(start as u64))?;
        to.write_all(part)?;
    }
    to.seek(SeekFrom::End(0))?;
    Ok(())
}

/// Where the next block begins of which a file has something, from the beginning of a block; `None` where nothing follows.
pub(crate) fn next_data(file: &File, from: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(from)) {
        Ok(next) => Ok(Some(next - next % BLOCK as u64)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        // A file system without holes.
        Err(rustix::io::Errno::INVAL) => Ok((from < file.metadata()?.len()).then_some(from)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_are_all_that_is_not_zero(blocks in prop::collection::vec(any::<bool>(), 0..12), more in 0..BLOCK) {
            let mut bytes = vec![0; blocks.len() * BLOCK + more];
            for number in (0..blocks.len()).filter(|number| blocks[*number]) {
                bytes[number * BLOCK + (number * 4099) % BLOCK] = 1;
            }
            let mut copied = vec![0; bytes.len()];
            copy(&bytes, &mut copied);
            prop_assert!(copied == bytes);
            let sent: usize = parts(&bytes).map(|(_, part)| part.len()).sum();
            prop_assert_eq!(sent, blocks.iter().filter(|filled| **filled).count() * BLOCK);
            let apart = parts(&bytes).zip(parts(&bytes).skip(1));
            prop_assert!(apart.into_iter().all(|((start, part), (next, _))| start + part.len() < next));
        }
    }
}
