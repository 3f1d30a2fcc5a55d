//! Operators: each manages one tenant, and knows what has been acknowledged.

use std::collections::BTreeMap;
use std::fs;
use std::ops::AddAssign;
use std::thread;
use std::time::{Duration, Instant};

use scorebox_tests::random::Random;
use scorebox_tests::{Client, Request, fixtures};
use serde::Serialize;
use serde_json::{Value, json};

use crate::managed::{Addresses, archive, get, put, upload};
use crate::{Result, State};

/// The deployments of each tenant.
const DEPLOYMENTS: [&str; 2] = ["blue", "green"];
/// Revisions among which one rolls back. The server keeps ten.
const KEPT: usize = 6;
/// How long a change may take, kills included.
const PATIENCE: Duration = Duration::from_mins(3);

/// A script that says whose it is.
const SCRIPT: &str = "\
import os


def init():
    global version
    version = os.environ['VERSION']


def run(data):
    return {'version': version, 'body': data}
";

/// What clients have to know of a tenant.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    pub(crate) tenant: String,
    pub(crate) key: String,
}

/// The bundles that are deployed.
#[derive(Debug)]
pub(crate) struct Scorers {
    rust: String,
    python: Option<String>,
}

impl Scorers {
    /// Uploads them.
    pub(crate) fn upload(addresses: &Addresses, python: bool) -> Result<Self> {
        let rust = upload(*addresses, &fs::read(fixtures::guest("echo"))?)?;
        let python = python
            .then(|| {
                let folder = fixtures::folder(&[("score.py", SCRIPT)]);
                upload(*addresses, &archive(folder.path())?)
            })
            .transpose()?;
        Ok(Self { rust, python })
    }
}

/// How many changes were acknowledged.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Changes {
    deployed: u64,
    rolled_back: u64,
    traffic: u64,
    keys: u64,
    /// Requests for changes that a kill has cut, and that were made again.
    repeated: u64,
    /// How often all that was acknowledged was looked for, and found.
    checked: u64,
}

impl AddAssign for Changes {
    fn add_assign(&mut self, other: Self) {
        self.deployed += other.deployed;
        self.rolled_back += other.rolled_back;
        self.traffic += other.traffic;
        self.keys += other.keys;
        self.repeated += other.repeated;
        self.checked += other.checked;
    }
}

/// What has been acknowledged of a deployment.
#[derive(Debug, Default)]
struct Known {
    /// The versions of its revisions, by their numbers.
    versions: BTreeMap<u64, String>,
    current: u64,
}

/// Manages one tenant.
#[derive(Debug)]
pub(crate) struct Operator {
    addresses: Addresses,
    board: Board,
    bundle: String,
    random: Random,
    deployments: BTreeMap<&'static str, Known>,
    traffic: Value,
    secondary: String,
    changes: Changes,
    /// When the server was last seen to have all.
    epoch: u64,
}

impl Operator {
    /// Creates the tenant, with both deployments.
    pub(crate) fn set_up(
        addresses: Addresses,
        number: usize,
        python: bool,
        scorers: &Scorers,
        seed: u64,
    ) -> Result<Self> {
        let tenant = format!("tenant-{number}");
        put(addresses, &format!("/tenants/{tenant}"), &json!({}))?;
        let created = put(addresses, &format!("/tenants/{tenant}/endpoints/endpoint"), &json!({}))?;
        let key = |slot: &str| created[slot].as_str().map(str::to_owned).ok_or("no key of a new endpoint");
        let (primary, secondary) = (key("primary_key")?, key("secondary_key")?);
        let python = scorers.python.as_ref().filter(|_| python);
        let mut operator = Self {
            addresses,
            board: Board { tenant, key: primary },
            bundle: python.unwrap_or(&scorers.rust).clone(),
            random: Random::new(seed.wrapping_mul(0x517c_c1b7).wrapping_add(number as u64)),
            deployments: DEPLOYMENTS.map(|name| (name, Known::default())).into(),
            traffic: json!({}),
            secondary,
            changes: Changes::default(),
            epoch: 0,
        };
        let quiet = State::default();
        for name in DEPLOYMENTS {
            operator.deploy(&quiet, name)?;
        }
        operator.share(&quiet)?;
        Ok(operator)
    }

    pub(crate) fn board(&self) -> Board {
        self.board.clone()
    }

    pub(crate) fn changes(&self) -> Changes {
        self.changes
    }

    /// Makes changes until all is over.
    pub(crate) fn run(&mut self, state: &State) -> Result {
        while !state.is_over() {
            let name = DEPLOYMENTS[usize::from(self.random.number().is_multiple_of(2))];
            match self.random.number() % 12 {
                0..2 => self.deploy(state, name)?,
                2..5 => self.roll_back(state, name)?,
                5..9 => self.share(state)?,
                _ => self.replace_key(state)?,
            }
            let epoch = state.up();
            if epoch != self.epoch && !state.is_over() {
                match self.check() {
                    // It may have been killed again meanwhile.
                    Err(_) if state.was_killed_since(epoch) => {}
                    checked => {
                        checked?;
                        self.epoch = epoch;
                    }
                }
            }
            thread::sleep(Duration::from_secs_f64(0.5 + 2.0 * self.random.fraction()));
        }
        Ok(())
    }

    fn endpoint(&self) -> String {
        format!("/tenants/{}/endpoints/endpoint", self.board.tenant)
    }

    fn deploy(&mut self, state: &State, name: &'static str) -> Result {
        let known = &self.deployments[name];
        let number = known.versions.last_key_value().map_or(1, |(last, _)| last + 1);
        let version = format!("{}.{name}.{number}", self.board.tenant);
        let spec = json!({"bundle": self.bundle, "version": version, "environment": {"VERSION": version}});
        let path = format!("{}/deployments/{name}", self.endpoint());
        let Some(mut status) = self.change(state, &path, &spec)? else { return Ok(()) };
        let start = Instant::now();
        while last(&status)["state"]["state"] == "pending" {
            if start.elapsed() > PATIENCE {
                return Err(format!("{path} is not ready after {PATIENCE:?}: {status}").into());
            }
            let epoch = state.up();
            match get(self.addresses, &format!("{path}?wait=5")) {
                Ok(read) => status = read,
                Err(_) if state.was_killed_since(epoch) => {}
                Err(error) => return Err(error),
            }
        }
        if last(&status)["number"] != number
            || last(&status)["state"]["state"] != "ready"
            || status["current"] != number
        {
            return Err(format!("revision {number} of {path} was acknowledged, and there is {status}").into());
        }
        let known = self.deployments.get_mut(name).expect("one of the two");
        known.versions.insert(number, version);
        known.current = number;
        self.changes.deployed += 1;
        Ok(())
    }

    fn roll_back(&mut self, state: &State, name: &'static str) -> Result {
        let numbers: Vec<_> = self.deployments[name].versions.keys().rev().take(KEPT).copied().collect();
        let drawn = usize::try_from(self.random.number() % numbers.len() as u64).expect("an index");
        let path = format!("{}/deployments/{name}/current", self.endpoint());
        if self.change(state, &path, &json!({"revision": numbers[drawn]}))?.is_some() {
            self.deployments.get_mut(name).expect("one of the two").current = numbers[drawn];
            self.changes.rolled_back += 1;
        }
        Ok(())
    }

    fn share(&mut self, state: &State) -> Result {
        let blue = self.random.number() % 101;
        let shares = DEPLOYMENTS.into_iter().zip([blue, 100 - blue]).filter(|(_, share)| *share > 0);
        let traffic: Value =
            shares.map(|(name, share)| (name.to_owned(), json!(share))).collect::<serde_json::Map<_, _>>().into();
        let path = format!("{}/traffic", self.endpoint());
        if self.change(state, &path, &json!({"traffic": traffic}))?.is_some() {
            self.traffic = traffic;
            self.changes.traffic += 1;
        }
        Ok(())
    }

    fn replace_key(&mut self, state: &State) -> Result {
        let key = format!("{:016x}{:016x}{:016x}", self.random.number(), self.random.number(), self.random.number());
        let path = format!("{}/keys/secondary", self.endpoint());
        if self.change(state, &path, &json!({"key": key}))?.is_some() {
            self.secondary = key;
            self.changes.keys += 1;
        }
        Ok(())
    }

    /// Makes a change, as often as a kill cuts it: it is one change. `None` if all was over before it was acknowledged.
    fn change(&mut self, state: &State, path: &str, body: &Value) -> Result<Option<Value>> {
        let start = Instant::now();
        loop {
            let epoch = state.up();
            match put(self.addresses, path, body) {
                Ok(answer) => return Ok(Some(answer)),
                Err(error) if !state.was_killed_since(epoch) || start.elapsed() > PATIENCE => return Err(error),
                Err(_) => self.changes.repeated += 1,
            }
        }
    }

    /// Looks for all that was acknowledged.
    pub(crate) fn check(&mut self) -> Result {
        let lost = |what: &str, expected: &dyn std::fmt::Debug, found: &Value| {
            Err(format!("{what} of {}: acknowledged was {expected:?}, and there is {found}", self.board.tenant).into())
        };
        let endpoint = get(self.addresses, &self.endpoint())?;
        if endpoint["traffic"] != self.traffic {
            return lost("the traffic", &self.traffic, &endpoint);
        }
        for (name, known) in &self.deployments {
            let status = get(self.addresses, &format!("{}/deployments/{name}", self.endpoint()))?;
            if status["current"] != known.current || status["answering"] != known.current {
                return lost(&format!("the revision that answers for {name}"), &known.current, &status);
            }
            let revisions = status["revisions"].as_array().map(Vec::as_slice).unwrap_or_default();
            for (number, version) in known.versions.iter().rev().take(KEPT) {
                let is_there =
                    |revision: &Value| revision["number"] == *number && revision["spec"]["version"] == **version;
                if !revisions.iter().any(is_there) {
                    return lost(&format!("revision {number} of {name}"), version, &status);
                }
            }
        }
        let request = Request::json("{}")
            .to(&format!("/{}/endpoint/score", self.board.tenant))
            .header("api-key", &self.secondary);
        let answer = Client::connect(self.addresses.scoring)?.send(&request)?;
        if answer.status != 200 {
            return Err(
                format!("the key of {} that was acknowledged opens nothing: {answer:?}", self.board.tenant).into()
            );
        }
        self.changes.checked += 1;
        Ok(())
    }
}

fn last(status: &Value) -> &Value {
    status["revisions"].as_array().and_then(|revisions| revisions.last()).unwrap_or(&Value::Null)
}
