//! The user's `logging.json`, and the records that it writes.

use scorebox_server::fuzz::write;
use scorebox_server::logging_config::LoggingConfig;

use crate::texts;

/// The widest that a field may be made.
const WIDTH: usize = 1024;

/// Four parts: the file, a logger, a message, and a level from 0 to 4.
pub fn check(data: &[u8]) {
    let [json, logger, message, level] = texts(data);
    let Ok(config) = LoggingConfig::parse(json.as_bytes()) else { return };
    let level = level.bytes().next().unwrap_or_default() % 5;
    let written = write(&config, &logger, level, &message);
    assert!(written.len() <= json.len(), "each is of a handler that the file names");
    // A field takes at least two characters of the file.
    let longest = (json.len() + 1) * (WIDTH + 64 + logger.len() + message.len() + json.len());
    assert!(written.iter().all(|text| text.len() <= longest), "no record is longer than its parts");
    let less = level.checked_sub(1).map(|less| write(&config, &logger, less, &message));
    assert!(less.is_none_or(|less| less.len() <= written.len()), "who wants the lesser wants the greater");
}
