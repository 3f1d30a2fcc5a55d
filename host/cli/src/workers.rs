//! What is said about workers: the variables by which Azure ML's inference server is told about gunicorn.
//!
//! Scorers run on threads, in instances that share nothing, so most of it has no object here. What has is used: the number
//! of workers and threads is how many requests are scored at the same time, the timeout of a worker is a limit on `run()`.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::config::Config;
use crate::failure::Failure;

/// The timeout of a worker when nobody says.
const TIMEOUT: Duration = Duration::from_mins(5);

/// What is left of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Workers {
    /// How many requests are scored at the same time; none where nobody says.
    pub(crate) concurrency: Option<NonZeroUsize>,
    /// The limit on `run()`; none where it is switched off.
    pub(crate) timeout: Option<Duration>,
    /// How long requests are given to end.
    pub(crate) grace: Option<Duration>,
    /// How long a connection may be idle.
    pub(crate) keep_alive: Option<Duration>,
    /// What has no effect, in words for the log.
    pub(crate) without_effect: Vec<String>,
}

impl Workers {
    pub(crate) fn read(config: &Config) -> Result<Self, Failure> {
        let count = config.text("WORKER_COUNT").map(count).transpose()?;
        let timeout = config.text("WORKER_TIMEOUT").map(timeout).transpose()?.unwrap_or(Some(TIMEOUT));
        let mut without_effect = Vec::new();
        if config.text("WORKER_PRELOAD").is_some() {
            without_effect.push("WORKER_PRELOAD (init() runs once, whatever the number of workers)".to_owned());
        }
        let mut workers = Self { concurrency: count, timeout, grace: None, keep_alive: None, without_effect };
        if let Some(arguments) = config.text("GUNICORN_CMD_ARGS") {
            workers.read_gunicorn(arguments)?;
        }
        Ok(workers)
    }

    /// Reads what would be gunicorn's command line. Those options that Azure ML's inference server gives it itself, such as
    /// the number of workers and the timeout, have no effect there either.
    fn read_gunicorn(&mut self, arguments: &str) -> Result<(), Failure> {
        let wrong = |why: &str| Failure::failed(format!("GUNICORN_CMD_ARGS is {arguments:?}: {why}"));
        let mut words = shlex::split(arguments).ok_or_else(|| wrong("a quote is not closed"))?.into_iter().peekable();
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word, words.next_if(|next| !next.starts_with('-'))),
            };
            let number = |what: &str| {
                let number = value.as_deref().and_then(|value| value.parse::<u32>().ok());
                number.ok_or_else(|| wrong(&format!("{name} needs {what}")))
            };
            match &*name {
                "--threads" => {
                    let threads = number("a number of threads")?;
                    let all = self.concurrency.map_or(1, NonZeroUsize::get).saturating_mul(threads as usize);
                    self.concurrency = NonZeroUsize::new(all).or(self.concurrency);
                }
                "--graceful-timeout" => self.grace = Some(Duration::from_secs(number("seconds")?.into())),
                // None at all would be a connection for each request, which nobody here gains by.
                "--keep-alive" if value.as_deref() != Some("0") => {
                    self.keep_alive = Some(Duration::from_secs(number("seconds")?.into()));
                }
                _ => self.without_effect.push(format!("{name} of GUNICORN_CMD_ARGS")),
            }
        }
        Ok(())
    }
}

fn count(text: &str) -> Result<NonZeroUsize, Failure> {
    let why = match text.trim().parse::<i64>() {
        Ok(count) => match usize::try_from(count).ok().and_then(NonZeroUsize::new) {
            Some(count) => return Ok(count),
            None => format!("ValueError: {count} workers would answer nothing"),
        },
        Err(_) => format!("ValueError: invalid literal for int() with base 10: '{text}'"),
    };
    Err(Failure::failed(format!("WORKER_COUNT is no number of workers: {why}; give 1 or more")))
}

fn timeout(text: &str) -> Result<Option<Duration>, Failure> {
    match text.trim().parse() {
        Ok(0) => Ok(None),
        Ok(seconds) => Ok(Some(Duration::from_secs(seconds))),
        Err(_) => Err(Failure::usage(format!(
            "argument --timeout: invalid value: '{text}' in WORKER_TIMEOUT; give whole seconds, or 0 for no limit"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Workers {
        Workers { concurrency: None, timeout: None, grace: None, keep_alive: None, without_effect: Vec::new() }
    }

    #[test]
    fn what_gunicorn_would_be_told_is_used_or_named() {
        let mut workers = none();
        workers
            .read_gunicorn("--threads 4 --graceful-timeout=7 --keep-alive 3 -k gthread --max-requests 5 --preload")
            .unwrap();
        assert_eq!(workers.concurrency.map(NonZeroUsize::get), Some(4));
        assert_eq!((workers.grace, workers.keep_alive), (Some(Duration::from_secs(7)), Some(Duration::from_secs(3))));
        let named = ["-k", "--max-requests", "--preload"].map(|name| format!("{name} of GUNICORN_CMD_ARGS"));
        assert_eq!(workers.without_effect, named);
        assert!(none().read_gunicorn("--threads x").is_err());
        assert!(none().read_gunicorn("--config 'x").is_err());
    }

    #[test]
    fn workers_are_counted_and_timed_in_whole_numbers() {
        assert_eq!(count(" 3 ").unwrap().get(), 3);
        assert!(count("0").is_err() && count("-1").is_err() && count("abc").is_err());
        assert_eq!(timeout("20").unwrap(), Some(Duration::from_secs(20)));
        assert_eq!(timeout("0").unwrap(), None);
        assert!(timeout("1.5").is_err());
    }
}
