//! How the requests of an endpoint are shared out among its deployments.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// All of the requests, in percent.
const ALL: u8 = 100;
/// The most that may be mirrored, in percent: what Azure ML's managed online endpoints allow.
const MAX_MIRRORED: u8 = 50;

/// Which deployment gets how many of the requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Traffic {
    /// Percent of the requests by deployment: 100 in all, or 0, which is nobody. A deployment that is not named gets none.
    pub traffic: BTreeMap<String, u8>,
    /// Percent of the requests that one deployment gets a copy of, besides: at most 50. Its answers are dropped.
    pub mirror: BTreeMap<String, u8>,
}

/// Why traffic cannot be shared out so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrafficError {
    /// More or less than all.
    #[error("the shares add up to {0} percent; make it 100, or 0 for no traffic at all")]
    Sum(u32),
    /// Too much is mirrored.
    #[error("{0} percent cannot be mirrored; give at most {MAX_MIRRORED}")]
    Mirror(u8),
    /// More than one mirror.
    #[error("{0} deployments are to be mirrors; give at most one")]
    Mirrors(usize),
    /// The mirror would answer itself.
    #[error("the deployment {0:?} cannot have traffic and be the mirror; it would be asked twice")]
    Both(String),
    /// No such deployment.
    #[error("there is no deployment {0:?} that is ready; deploy it first")]
    Unknown(String),
}

impl Traffic {
    /// All requests to one deployment.
    pub fn all_to(deployment: &str) -> Self {
        Self { traffic: BTreeMap::from([(deployment.to_owned(), ALL)]), mirror: BTreeMap::new() }
    }

    /// Checks that it can be done, with the deployments that there are.
    pub fn check(&self, exists: impl Fn(&str) -> bool) -> Result<(), TrafficError> {
        let sum = self.traffic.values().map(|share| u32::from(*share)).sum();
        if sum != 0 && sum != u32::from(ALL) {
            return Err(TrafficError::Sum(sum));
        }
        if self.mirror.len() > 1 {
            return Err(TrafficError::Mirrors(self.mirror.len()));
        }
        if let Some((mirror, share)) = self.mirror.first_key_value() {
            if *share > MAX_MIRRORED {
                return Err(TrafficError::Mirror(*share));
            }
            if self.traffic.get(mirror).is_some_and(|share| *share > 0) {
                return Err(TrafficError::Both(mirror.clone()));
            }
        }
        match self.traffic.keys().chain(self.mirror.keys()).find(|name| !exists(name)) {
            Some(name) => Err(TrafficError::Unknown(name.clone())),
            None => Ok(()),
        }
    }

    /// The deployment that a request goes to, by a number from 0 to 99 that is drawn for it; none where nobody gets any.
    pub(crate) fn choose(&self, drawn: u8) -> Option<&str> {
        let mut passed = 0;
        self.traffic.iter().find_map(|(name, share)| {
            passed += share;
            (drawn < passed).then_some(&**name)
        })
    }

    /// The deployment that gets a copy, in the same way.
    pub(crate) fn choose_mirror(&self, drawn: u8) -> Option<&str> {
        self.mirror.first_key_value().filter(|(_, share)| drawn < **share).map(|(name, _)| &**name)
    }
}

/// Draws a number for a request.
pub(crate) fn draw() -> u8 {
    fastrand::u8(..ALL)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn traffic(shares: &[(&str, u8)], mirror: &[(&str, u8)]) -> Traffic {
        let map = |pairs: &[(&str, u8)]| pairs.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect();
        Traffic { traffic: map(shares), mirror: map(mirror) }
    }

    #[test]
    fn shares_are_all_or_nothing_and_a_mirror_is_at_most_half_and_somebody_else() {
        let checked = |shares: &[_], mirror: &[_]| traffic(shares, mirror).check(|name| name != "nobody");
        assert_eq!(checked(&[("blue", 90), ("green", 10)], &[("red", 50)]), Ok(()));
        assert_eq!(checked(&[], &[]), Ok(()));
        assert_eq!(checked(&[("blue", 0)], &[]), Ok(()));
        assert_eq!(checked(&[("blue", 100), ("green", 0)], &[("green", 1)]), Ok(()));
        assert_eq!(checked(&[("blue", 99)], &[]), Err(TrafficError::Sum(99)));
        assert_eq!(checked(&[("blue", 255), ("green", 255)], &[]), Err(TrafficError::Sum(510)));
        assert_eq!(checked(&[("blue", 100)], &[("red", 51)]), Err(TrafficError::Mirror(51)));
        assert_eq!(checked(&[("blue", 100)], &[("red", 1), ("green", 1)]), Err(TrafficError::Mirrors(2)));
        assert_eq!(checked(&[("blue", 100)], &[("blue", 1)]), Err(TrafficError::Both("blue".to_owned())));
        assert_eq!(checked(&[("nobody", 100)], &[]), Err(TrafficError::Unknown("nobody".to_owned())));
    }

    proptest! {
        #[test]
        fn of_a_hundred_numbers_each_deployment_gets_its_share(cuts in prop::collection::vec(0..=100_u8, 0..6), mirrored in 0..=50_u8) {
            let mut cuts = cuts;
            cuts.extend([0, 100]);
            cuts.sort_unstable();
            let shares = cuts.windows(2).enumerate().map(|(index, cut)| (format!("d{index}"), cut[1] - cut[0])).collect();
            let traffic = Traffic { traffic: shares, mirror: BTreeMap::from([("mirror".to_owned(), mirrored)]) };
            prop_assert_eq!(traffic.check(|_| true), Ok(()));
            for (name, share) in &traffic.traffic {
                let got = (0..100).filter(|drawn| traffic.choose(*drawn) == Some(name)).count();
                prop_assert_eq!(got, usize::from(*share));
            }
            prop_assert_eq!((0..100).filter(|drawn| traffic.choose_mirror(*drawn).is_some()).count(), usize::from(mirrored));
        }
    }

    #[test]
    fn without_shares_nobody_is_chosen() {
        assert!((0..100).all(|drawn| Traffic::default().choose(drawn).is_none()));
    }
}
