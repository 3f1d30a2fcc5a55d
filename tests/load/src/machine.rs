//! What the figures were measured on.

use std::fs;
use std::thread::available_parallelism;

use serde_json::{Value, json};

/// Prints a line about the machine and how busy it is.
pub(crate) fn describe() {
    println!("{}, {} cores, Linux {}, load average {}", processor(), cores(), kernel(), load_average());
}

/// The same as data.
pub(crate) fn raw() -> Value {
    json!({
        "processor": processor(),
        "cores": cores(),
        "kernel": kernel(),
        "load_average_before": load_average(),
    })
}

/// Its version, without what a distribution has added.
fn kernel() -> String {
    let release = file("/proc/sys/kernel/osrelease");
    release.split(['.', '-']).take(2).collect::<Vec<_>>().join(".")
}

fn cores() -> usize {
    available_parallelism().map_or(0, Into::into)
}

fn processor() -> String {
    let info = file("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// Of the last minute.
fn load_average() -> String {
    file("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned()
}

fn file(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
