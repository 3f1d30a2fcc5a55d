//! What was found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// All that there is to say.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The version of Scorebox.
    pub(super) scorebox: &'static str,
    /// Whether nothing was found, and all controls found something.
    pub(super) passed: bool,
    /// Why not.
    pub(super) reasons: Vec<String>,
    pub(super) requests: u64,
    pub(super) instances_created: u64,
    pub(super) slots_reused: u64,
    pub(super) secrets_planted: u64,
    pub(super) bytes_scanned: u64,
    pub(super) secrets_found: u64,
    pub(super) stale_values: u64,
    pub(super) control_secrets_found: u64,
    pub(super) seconds: f64,
    pub(super) scanners: Vec<Section>,
}

/// What is to be said about one scanner.
#[derive(Debug, Default, Serialize)]
pub(super) struct Section {
    /// `built-in`, `python`, or the path that was given.
    pub(super) name: String,
    /// Deployments that share the pool.
    pub(super) deployments: u64,
    /// Requests that were served.
    pub(super) requests: u64,
    /// Instances that were made for them.
    pub(super) instances_created: u64,
    /// Places for linear memories in the pool.
    pub(super) slots: u64,
    /// Instances that got a place that had been used before: at least all but as many as there are places.
    pub(super) slots_reused: u64,
    /// How often a place was seen with the memory of another deployment than when it was last looked at.
    pub(super) slots_given_to_another_deployment: u64,
    /// How the requests ended.
    pub(super) ends: BTreeMap<String, u64>,
    /// Places in which requests that answered have planted their secret.
    pub(super) secrets_planted: u64,
    pub(super) bytes_scanned_by_guests: u64,
    pub(super) bytes_scanned_by_host: u64,
    /// How often the host has looked at all of the pool.
    pub(super) searches_of_pool: u64,
    /// Secrets of instances that were there, found by the host: that it sees what guests write.
    pub(super) secrets_of_live_instances_found: u64,
    /// Secrets of earlier requests, by where they were.
    pub(super) secrets_found: BTreeMap<String, u64>,
    /// Values that are neither a secret nor what `init` left.
    pub(super) stale_values: u64,
    /// Ends that nobody asked for.
    pub(super) unexpected: Vec<String>,
    pub(super) control: Control,
    pub(super) seconds: f64,
}

/// The same scanner with an instance that is used again, on purpose.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Control {
    pub(super) requests: u64,
    pub(super) secrets_found_by_guests: u64,
    pub(super) secrets_found_by_host: u64,
    pub(super) stale_values: u64,
    /// How it ended, where it ended before its last request.
    pub(super) ended: Option<String>,
}

impl Section {
    pub(super) fn found(&mut self, place: &str, times: u64) {
        if times > 0 {
            *self.secrets_found.entry(place.to_owned()).or_default() += times;
        }
    }

    fn all_found(&self) -> u64 {
        self.secrets_found.values().sum()
    }

    /// Why it does not pass. `looks` says whether the scorer itself looks for secrets.
    pub(super) fn reasons(&self, looks: bool) -> Vec<String> {
        let mut reasons = Vec::new();
        let mut fails = |why: String| reasons.push(format!("{}: {why}", self.name));
        if self.all_found() > 0 {
            fails(format!("{} secrets of earlier requests were found: {:?}", self.all_found(), self.secrets_found));
        }
        if self.stale_values > 0 {
            fails(format!("{} values are not what init() left", self.stale_values));
        }
        if self.instances_created != self.requests {
            fails(format!("{} instances were made for {} requests", self.instances_created, self.requests));
        }
        if !self.unexpected.is_empty() {
            fails(format!("requests did not end as they were to: {}", self.unexpected.join("; ")));
        }
        let ended = self.control.ended.as_ref().map(|how| format!(" (it ended early: {how})")).unwrap_or_default();
        if looks && self.control.secrets_found_by_guests == 0 {
            fails(format!("the control found nothing, so neither could the test{ended}"));
        }
        if self.searches_of_pool == 0 {
            fails("the pool could not be looked at".to_owned());
        } else if self.control.secrets_found_by_host == 0 {
            fails(format!("the control's secrets were not found in the pool, so none could have been{ended}"));
        }
        reasons
    }
}

impl Report {
    pub(super) fn new(scanners: Vec<Section>, reasons: Vec<String>) -> Self {
        let sum = |of: fn(&Section) -> u64| scanners.iter().map(of).sum();
        Self {
            scorebox: env!("CARGO_PKG_VERSION"),
            passed: reasons.is_empty(),
            reasons,
            requests: sum(|section| section.requests),
            instances_created: sum(|section| section.instances_created),
            slots_reused: sum(|section| section.slots_reused),
            secrets_planted: sum(|section| section.secrets_planted),
            bytes_scanned: sum(|section| section.bytes_scanned_by_guests + section.bytes_scanned_by_host),
            secrets_found: sum(Section::all_found),
            stale_values: sum(|section| section.stale_values),
            control_secrets_found: sum(|section| {
                section.control.secrets_found_by_guests + section.control.secrets_found_by_host
            }),
            seconds: scanners.iter().map(|section| section.seconds).sum(),
            scanners,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for section in &self.scanners {
            let mut line = |name: &str, value: &dyn fmt::Display| writeln!(f, "  {name:<42} {value}");
            let list = |counts: &BTreeMap<String, u64>| {
                counts.iter().map(|(name, times)| format!("{times} {name}")).collect::<Vec<_>>().join(", ")
            };
            line("scanner", &section.name)?;
            line("deployments that share the pool", &section.deployments)?;
            line("requests", &format_args!("{} ({})", section.requests, list(&section.ends)))?;
            line("instances created", &section.instances_created)?;
            line("places for memories in the pool", &section.slots)?;
            line("places used again", &format_args!("at least {}", section.slots_reused))?;
            line("  seen with another deployment's memory", &section.slots_given_to_another_deployment)?;
            line("secrets planted", &section.secrets_planted)?;
            line("bytes looked at by the scorers", &section.bytes_scanned_by_guests)?;
            line("bytes looked at by the host", &section.bytes_scanned_by_host)?;
            line("searches of the whole pool", &section.searches_of_pool)?;
            line("secrets of running instances found", &section.secrets_of_live_instances_found)?;
            line("secrets of earlier requests found", &section.all_found())?;
            line("values that init() did not leave", &section.stale_values)?;
            let control = &section.control;
            line(
                "control: one instance, used again",
                &format_args!(
                    "{} requests, {} secrets found by the scorer, {} by the host",
                    control.requests, control.secrets_found_by_guests, control.secrets_found_by_host
                ),
            )?;
            line("time", &format_args!("{:.1} s", section.seconds))?;
            writeln!(f)?;
        }
        writeln!(
            f,
            "requests: {}, instances created: {}, places used again: at least {}, secrets found: {}; control: {}",
            self.requests, self.instances_created, self.slots_reused, self.secrets_found, self.control_secrets_found
        )?;
        write!(f, "{}", if self.passed { "passed" } else { "FAILED" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A section with nothing wrong.
    fn good() -> Section {
        Section {
            name: "x".to_owned(),
            requests: 10,
            instances_created: 10,
            searches_of_pool: 1,
            control: Control {
                requests: 8,
                secrets_found_by_guests: 7,
                secrets_found_by_host: 7,
                ..Control::default()
            },
            ..Section::default()
        }
    }

    #[test]
    fn each_thing_that_is_wrong_is_a_reason() {
        assert_eq!(good().reasons(true), Vec::<String>::new());
        let wrong: [fn(&mut Section); 7] = [
            |section| section.found("memory", 1),
            |section| section.stale_values = 1,
            |section| section.instances_created = 9,
            |section| section.unexpected.push("trapped".to_owned()),
            |section| section.searches_of_pool = 0,
            |section| section.control.secrets_found_by_guests = 0,
            |section| section.control.secrets_found_by_host = 0,
        ];
        for (number, wrong) in wrong.into_iter().enumerate() {
            let mut section = good();
            wrong(&mut section);
            assert_eq!(section.reasons(true).len(), 1, "{number}: {section:?}");
        }
    }

    #[test]
    fn a_scorer_that_does_not_look_need_not_find() {
        let mut section = good();
        section.control.secrets_found_by_guests = 0;
        assert_eq!(section.reasons(false), Vec::<String>::new());
    }
}
