//! What a process has of the system's at a moment.

use std::fs;
use std::time::Instant;

use serde::Serialize;

use crate::Result;

/// A sample. Memory is in MiB.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Sample {
    /// Since the begin of the traffic.
    pub(crate) seconds: f64,
    pub(crate) rss: f64,
    pub(crate) pss: f64,
    /// Memory that is this process's alone.
    pub(crate) private: f64,
    pub(crate) descriptors: f64,
    pub(crate) threads: f64,
    /// Mappings of its address space: each instance that is kept has some.
    pub(crate) mappings: f64,
}

/// Something that must not grow.
pub(crate) struct Quantity {
    pub(crate) name: &'static str,
    pub(crate) of: fn(&Sample) -> f64,
    pub(crate) is_memory: bool,
    /// By how much a count may seem to grow in an hour, and by how much it comes and goes.
    pub(crate) per_hour: f64,
    pub(crate) noise: f64,
}

pub(crate) const QUANTITIES: [Quantity; 6] = [
    Quantity { name: "RSS MiB", of: |sample| sample.rss, is_memory: true, per_hour: 0.0, noise: 0.0 },
    Quantity { name: "PSS MiB", of: |sample| sample.pss, is_memory: true, per_hour: 0.0, noise: 0.0 },
    Quantity { name: "private MiB", of: |sample| sample.private, is_memory: true, per_hour: 0.0, noise: 0.0 },
    Quantity { name: "descriptors", of: |sample| sample.descriptors, is_memory: false, per_hour: 10.0, noise: 16.0 },
    Quantity { name: "threads", of: |sample| sample.threads, is_memory: false, per_hour: 10.0, noise: 8.0 },
    // Threads that were needed once have a stack, and the allocator its pools.
    Quantity { name: "mappings", of: |sample| sample.mappings, is_memory: false, per_hour: 100.0, noise: 256.0 },
];

impl Quantity {
    /// Whether there is no more of it after the traffic than before. What memory is kept for reuse is judged by its trend.
    pub(crate) fn is_given_back(&self, before: &Sample, afterwards: &Sample) -> bool {
        self.is_memory || (self.of)(afterwards) <= (self.of)(before) + self.noise
    }
}

impl Sample {
    /// Of the process with this id.
    pub(crate) fn of(id: u32, since: Instant) -> Result<Self> {
        let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
        let mib = |name: &str| -> f64 {
            let lines = rollup.lines().filter_map(|line| line.strip_prefix(name)?.split_whitespace().next());
            lines.filter_map(|kib| kib.parse::<f64>().ok()).sum::<f64>() / 1024.0
        };
        let entries =
            |folder: &str| -> Result<f64> { Ok(fs::read_dir(format!("/proc/{id}/{folder}"))?.count() as f64) };
        Ok(Self {
            seconds: since.elapsed().as_secs_f64(),
            rss: mib("Rss:"),
            pss: mib("Pss:"),
            private: mib("Private_Clean:") + mib("Private_Dirty:"),
            descriptors: entries("fd")?,
            threads: entries("task")?,
            mappings: fs::read_to_string(format!("/proc/{id}/maps"))?.lines().count() as f64,
        })
    }
}
