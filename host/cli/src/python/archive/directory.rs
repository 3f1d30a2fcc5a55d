//! The directory at the end of a ZIP file, before the crate `zip` reads it.
//!
//! The crate holds all headers of a directory in memory, and where a record at the end of the file does not fit, it looks for
//! others in all of the file: any of them may say that there are millions of headers, and looking takes memory too. So the
//! only files that it gets are those of which it takes the last record and looks for no other (`get_metadata` and
//! `find_central_directory_end` of zip 9.4): files that end with their record, before which the directory ends. Whoever
//! writes ZIP files writes them so.

use std::io::{Read, Seek, SeekFrom};

use super::{Bad, MAX_ENTRIES, MAX_PATH};

/// Bytes that a directory may have: headers of all entries, with paths of a quarter of the longest on average.
pub(super) const MAX_DIRECTORY: u64 = MAX_ENTRIES as u64 * (HEADER_SIZE + MAX_PATH as u64 / 4);
/// What a header begins with, and its bytes without the name and what follows.
const HEADER: [u8; 4] = *b"PK\x01\x02";
const HEADER_SIZE: u64 = 46;
/// What the record at the end begins with, and its bytes without the comment.
const END: [u8; 4] = *b"PK\x05\x06";
const END_SIZE: usize = 22;
/// The same of ZIP64's record, which is there when the other one has no room for the numbers, and of what says where it is.
const END64: [u8; 4] = *b"PK\x06\x06";
const END64_SIZE: usize = 56;
const LOCATOR: [u8; 4] = *b"PK\x06\x07";
const LOCATOR_SIZE: usize = 20;
/// Bytes that a comment may have.
const MAX_COMMENT: usize = u16::MAX as usize;

/// What a record says.
struct Directory {
    entries: u64,
    /// Where it begins.
    start: u64,
    /// In bytes.
    size: u64,
}

/// Refuses a file with a directory that is too large, or is not where it has to be.
pub(super) fn check(reader: &mut (impl Read + Seek)) -> Result<(), Bad> {
    let misplaced = || Bad::Zip("its directory is not at its end".to_owned());
    let failed = |error: std::io::Error| Bad::Zip(error.to_string());
    let length = reader.seek(SeekFrom::End(0)).map_err(failed)?;
    let begin = length.saturating_sub((END64_SIZE + LOCATOR_SIZE + END_SIZE + MAX_COMMENT) as u64);
    let mut tail = vec![0; (length - begin) as usize];
    reader.seek(SeekFrom::Start(begin)).map_err(failed)?;
    reader.read_exact(&mut tail).map_err(failed)?;
    let directory = find(&tail, begin).ok_or_else(misplaced)?;
    if directory.entries > MAX_ENTRIES as u64 {
        return Err(Bad::Many);
    }
    if directory.size > MAX_DIRECTORY {
        return Err(Bad::Directory);
    }
    if directory.entries == 0 {
        return Ok(());
    }
    let mut first = [0; HEADER.len()];
    reader.seek(SeekFrom::Start(directory.start)).map_err(failed)?;
    reader.read_exact(&mut first).map_err(failed)?;
    if first != HEADER || directory.entries * HEADER_SIZE > directory.size {
        return Err(misplaced());
    }
    Ok(())
}

/// The directory by the last record, if it ends where the record begins. The end of the file begins at `begin`.
fn find(tail: &[u8], begin: u64) -> Option<Directory> {
    let at = tail.windows(END.len()).rposition(|bytes| bytes == END)?;
    let (before, end) = tail.split_at(at);
    if end.len() as u64 != END_SIZE as u64 + number(end, 20, 2)? {
        return None;
    }
    let (entries, size, offset) = (number(end, 10, 2)?, number(end, 12, 4)?, number(end, 16, 4)?);
    let has_no_room = entries == u64::from(u16::MAX) || size == u64::from(u32::MAX) || offset == u64::from(u32::MAX);
    if has_no_room
        && let Some(locator) = before.last_chunk::<LOCATOR_SIZE>()
        && locator.starts_with(&LOCATOR)
    {
        return find64(&before[..at - LOCATOR_SIZE], locator, begin);
    }
    let start = (begin + at as u64).checked_sub(size)?;
    // A directory may begin later than it says: the file was put behind something else.
    let is_whole = number(end, 4, 4)? == 0 && number(end, 8, 2)? == entries && start >= offset;
    is_whole.then_some(Directory { entries, start, size })
}

/// The directory by ZIP64's record, before which there is `before`.
fn find64(before: &[u8], locator: &[u8], begin: u64) -> Option<Directory> {
    let end = before.last_chunk::<END64_SIZE>()?;
    let position = begin + (before.len() - END64_SIZE) as u64;
    let (entries, size, start) = (number(end, 32, 8)?, number(end, 40, 8)?, number(end, 48, 8)?);
    let is_next = number(locator, 4, 4)? == 0 && number(locator, 8, 8)? == position && number(locator, 16, 4)? <= 1;
    let is_record = end.starts_with(&END64) && number(end, 4, 8)? == END64_SIZE as u64 - 12;
    let is_whole = number(end, 16, 8)? == 0 && number(end, 24, 8)? == entries && start.checked_add(size)? == position;
    (is_next && is_record && is_whole).then_some(Directory { entries, start, size })
}

/// The number in `size` bytes.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + size)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use zip::write::SimpleFileOptions;
    use zip::{ZipArchive, ZipWriter};

    use super::*;

    fn zip(entries: usize, comment: &str) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for number in 0..entries {
            writer.start_file(number.to_string(), SimpleFileOptions::default()).unwrap();
            writer.write_all(b"x").unwrap();
        }
        writer.set_comment(comment).unwrap();
        writer.finish().unwrap().into_inner()
    }

    fn checked(bytes: &[u8]) -> Result<(), Bad> {
        check(&mut Cursor::new(bytes))
    }

    /// A record at the end for these entries in a directory of this size and place.
    fn end(entries: u16, size: u32, offset: u32) -> Vec<u8> {
        let numbers = [&[0; 4][..], &entries.to_le_bytes(), &entries.to_le_bytes(), &size.to_le_bytes()];
        [&END[..], &numbers.concat(), &offset.to_le_bytes(), &[0; 2]].concat()
    }

    /// ZIP64's record for these entries, with so many bytes more than it needs, at `position`; what says where it is; and
    /// the record at the end.
    fn end64(position: u64, entries: u64, size: u64, more: usize) -> Vec<u8> {
        let size_of_rest = (44 + more as u64).to_le_bytes();
        let numbers = [entries, entries, size, position - size].map(u64::to_le_bytes).concat();
        let record = [&END64[..], &size_of_rest, &[0; 12], &numbers, &vec![0; more]].concat();
        let locator = [&LOCATOR[..], &[0; 4], &position.to_le_bytes(), &1_u32.to_le_bytes()].concat();
        [record, locator, end(u16::MAX, u32::MAX, u32::MAX)].concat()
    }

    #[test]
    fn what_others_write_passes() {
        let long = "x".repeat(MAX_COMMENT);
        for (entries, comment) in [(0, ""), (1, ""), (3, "a comment"), (3, &long), (65_535, ""), (65_536, &long)] {
            let bytes = zip(entries, comment);
            assert!(checked(&bytes).is_ok(), "{entries} {:?}", checked(&bytes));
            assert_eq!(ZipArchive::new(Cursor::new(&bytes)).unwrap().len(), entries);
        }
        let behind = [b"#!/bin/sh\n".to_vec(), zip(3, "")].concat();
        assert!(checked(&behind).is_ok());
        let forged = [zip(1, ""), end64(0, 0, 0, 0)].concat();
        assert!(checked(&forged).is_err());
    }

    #[test]
    fn more_entries_than_there_may_be_are_refused_by_the_record_alone() {
        let directory = HEADER.repeat(46);
        let with64 = |entries, more| [directory.clone(), end64(184, entries, 184, more)].concat();
        assert!(checked(&with64(4, 0)).is_ok());
        assert!(matches!(checked(&with64(MAX_ENTRIES as u64 + 1, 0)), Err(Bad::Many)));
        assert!(matches!(checked(&with64(u64::MAX, 0)), Err(Bad::Many)));
        assert!(matches!(checked(&with64(5, 0)), Err(Bad::Zip(_))));
        // What follows the record would be read into memory as well.
        assert!(matches!(checked(&with64(4, 1)), Err(Bad::Zip(_))));
        assert!(matches!(checked(&zip(MAX_ENTRIES + 1, "")), Err(Bad::Many)));
    }

    #[test]
    fn a_directory_that_is_larger_than_its_entries_can_have_is_refused() {
        let sized = |size: u64| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&HEADER).unwrap();
            file.seek(SeekFrom::Start(size)).unwrap();
            file.write_all(&end64(size, 1, size, 0)).unwrap();
            check(&mut file)
        };
        assert!(sized(MAX_DIRECTORY).is_ok());
        assert!(matches!(sized(MAX_DIRECTORY + 1), Err(Bad::Directory)));
        assert!(matches!(sized(4 << 30), Err(Bad::Directory)));
    }

    #[test]
    fn a_record_behind_which_another_would_be_looked_for_is_refused() {
        let good = zip(3, "");
        let millions = || [HEADER.repeat(46), end64(184, 10_000_000, 184, 0)].concat();
        let last: [(&str, Vec<u8>); 7] = [
            ("none", Vec::new()),
            ("cut off", END.to_vec()),
            ("a comment that is longer than the file", [&end(1, 0, 0)[..20], &[1, 0]].concat()),
            ("bytes behind it", [end(0, 0, 0), vec![0]].concat()),
            ("several disks", [&END[..], &[1, 0, 0, 0], &[0; 14]].concat()),
            ("a directory elsewhere", end(1, 3, 0)),
            ("a directory before the file", end(1, u32::MAX - 1, 0)),
        ];
        for (what, last) in last {
            for bytes in [[good.clone(), vec![0; 9], last.clone()].concat(), [millions(), vec![0; 9], last].concat()] {
                assert!(matches!(checked(&bytes), Err(Bad::Zip(_))), "{what}: {:?}", checked(&bytes));
            }
        }
    }
}
