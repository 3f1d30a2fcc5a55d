//! Whether a series of samples grows.

use std::time::Duration;

use serde::Serialize;

/// A time in seconds, and what was measured then.
pub(crate) type Measured = (f64, f64);

/// Samples of which all pairs are compared; of more, medians of neighbours are.
const MAX_POINTS: usize = 500;

/// How a quantity goes over time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Trend {
    /// Median of the first fifth.
    pub(crate) first: f64,
    /// Median of the last fifth.
    pub(crate) last: f64,
    /// The highest value.
    pub(crate) highest: f64,
    /// The median of the slopes of all pairs (Theil and Sen), which a quarter of samples that are far off cannot bend.
    pub(crate) per_hour: f64,
}

impl Trend {
    pub(crate) fn of(series: &[Measured]) -> Self {
        let fifth = series.len().div_ceil(5);
        let values = |part: &[Measured]| part.iter().map(|(_, value)| *value).collect::<Vec<_>>();
        Self {
            first: median(values(&series[..fifth])),
            last: median(values(&series[series.len() - fifth..])),
            highest: series.iter().map(|(_, value)| *value).fold(0.0, f64::max),
            per_hour: 3600.0 * slope(&thinned(series)),
        }
    }

    /// Whether it grows by more than `tolerance` an hour, and that by more than what comes and goes.
    pub(crate) fn grows(&self, tolerance: f64, noise: f64) -> bool {
        self.per_hour > tolerance && self.last - self.first > noise
    }
}

/// The least even growth in an hour that [`Trend::grows`] finds in so long a time: what the medians of the first and of the
/// last fifth show of it are four fifths.
pub(crate) fn least_growth(tolerance: f64, noise: f64, time: Duration) -> f64 {
    tolerance.max(noise / (0.8 * time.as_secs_f64() / 3600.0))
}

fn thinned(series: &[Measured]) -> Vec<Measured> {
    let together = series.len().div_ceil(MAX_POINTS).max(1);
    let middle = |part: &[Measured], of: fn(&Measured) -> f64| median(part.iter().map(of).collect());
    series.chunks(together).map(|part| (middle(part, |(time, _)| *time), middle(part, |(_, value)| *value))).collect()
}

fn slope(points: &[Measured]) -> f64 {
    let pairs = points.iter().enumerate().flat_map(|(at, a)| points[at + 1..].iter().map(move |b| (a, b)));
    let slopes = pairs.filter(|(a, b)| b.0 > a.0).map(|(a, b)| (b.1 - a.1) / (b.0 - a.0)).collect();
    median(slopes)
}

/// The middle value; zero of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(middle, f64::total_cmp).1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a run of 15 minutes judges, and its samples in an hour.
    const JUDGED: Duration = Duration::from_mins(12);
    const HOUR: f64 = 720.0;

    /// Samples, one in 5 s: a level that rises by so much an hour, and goes up and down by `noise`, with a spike now and
    /// then.
    fn samples(time: Duration, rise: f64, noise: f64) -> Vec<Measured> {
        let sample = |at: u32| {
            let (time, at) = (f64::from(at) * 5.0, f64::from(at));
            let spike = if at % 10.0 < 1.0 { 500.0 } else { 0.0 };
            (time, 100.0 + rise * at / HOUR + noise * (at * 0.7).sin() + spike)
        };
        (0..u32::try_from(time.as_secs() / 5).unwrap()).map(sample).collect()
    }

    fn hour(rise: f64, noise: f64) -> Vec<Measured> {
        samples(Duration::from_hours(1), rise, noise)
    }

    #[test]
    fn a_leak_of_twice_the_noise_in_a_short_run_is_found_and_one_of_half_of_it_is_not() {
        let noise = 16.0;
        // From the begin to the end of what is judged.
        for (leak, is_found) in [(2.0 * noise, true), (0.5 * noise, false)] {
            let trend = Trend::of(&samples(JUDGED, leak * 5.0, 4.0));
            assert_eq!(trend.grows(16.0, noise), is_found, "{leak} MiB: {trend:?}");
        }
    }

    #[test]
    fn what_is_said_to_be_the_least_growth_that_is_found_is() {
        assert!((least_growth(16.0, 16.0, Duration::from_hours(4)) - 16.0).abs() < 1e-9);
        let least = least_growth(16.0, 16.0, JUDGED);
        for (growth, is_found) in [(1.2 * least, true), (0.8 * least, false)] {
            assert_eq!(Trend::of(&samples(JUDGED, growth, 4.0)).grows(16.0, 16.0), is_found, "{growth} of {least}");
        }
    }

    #[test]
    fn what_stays_level_with_noise_and_spikes_does_not_grow() {
        let trend = Trend::of(&hour(0.0, 10.0));
        assert!(trend.per_hour.abs() < 2.0, "{trend:?}");
        assert!(!trend.grows(16.0, 16.0), "{trend:?}");
        assert!(trend.highest > 500.0, "{trend:?}");
    }

    #[test]
    fn what_grows_under_noise_and_spikes_is_found() {
        let trend = Trend::of(&hour(40.0, 10.0));
        assert!((35.0..45.0).contains(&trend.per_hour), "{trend:?}");
        assert!(trend.grows(16.0, 16.0), "{trend:?}");
    }

    #[test]
    fn what_shrinks_or_is_not_there_does_not_grow() {
        assert!(!Trend::of(&hour(-40.0, 1.0)).grows(16.0, 16.0));
        assert_eq!(Trend::of(&[]), Trend::default());
        assert!(!Trend::of(&[(1.0, 5.0)]).grows(0.0, 0.0));
    }
}
