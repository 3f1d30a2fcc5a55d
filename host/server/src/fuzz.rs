//! Ways in for the fuzz targets: a record as the user's configuration of the log writes it, and tokens. No API.

use time::OffsetDateTime;

use crate::jwt::Tokens;
use crate::logging_config::{LogRecord, LoggingConfig, PythonLevel};

/// Writes a record, once for each handler that takes it. `level` is counted from `DEBUG`, 0, to `CRITICAL`, 4.
pub fn write(config: &LoggingConfig, logger: &str, level: u8, message: &str) -> Vec<String> {
    let level = match level {
        0 => PythonLevel::DEBUG,
        1 => PythonLevel::INFO,
        2 => PythonLevel::WARNING,
        3 => PythonLevel::ERROR,
        _ => PythonLevel::CRITICAL,
    };
    let mut written = Vec::new();
    let record = LogRecord { logger, level, message, time: OffsetDateTime::UNIX_EPOCH, process: 1 };
    config.write(&record, |text| written.push(text.to_owned()));
    written
}

/// The tenant that a token names, if the token is taken.
pub fn tenant(tokens: &Tokens, token: &[u8]) -> Option<String> {
    tokens.tenant(token)
}
