//! How long something takes: a fixed time or a draw from a distribution.

use std::time::Duration;

/// z-value of the 99th percentile of the normal distribution.
const Z99: f64 = 2.326_347_874;

/// A delay to draw from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    /// Always the same.
    Fixed(Duration),
    /// Even between the two.
    Uniform(Duration, Duration),
    /// Log-normal with these parameters of the underlying normal distribution, in ln(milliseconds).
    LogNormal { mu: f64, sigma: f64 },
}

impl Delay {
    /// Reads `300`, `2s`, `uniform:10:50` or `lognormal:MEAN:P99` (units as in [`crate::duration`]).
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no delay (300, 2s, uniform:A:B, lognormal:MEAN:P99)");
        let mut parts = text.split(':');
        let kind = parts.next().unwrap_or_default();
        let mut duration = || parts.next().and_then(crate::duration::parse);
        let delay = match kind {
            "uniform" => {
                let (low, high) = (duration().ok_or_else(wrong)?, duration().ok_or_else(wrong)?);
                if high < low {
                    return Err(wrong());
                }
                Self::Uniform(low, high)
            }
            "lognormal" => {
                let (mean, p99) = (duration().ok_or_else(wrong)?, duration().ok_or_else(wrong)?);
                Self::log_normal(mean, p99).ok_or_else(wrong)?
            }
            _ => Self::Fixed(crate::duration::parse(kind).ok_or_else(wrong)?),
        };
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(delay)
    }

    /// Solves ln(p99) = mu + z·sigma and ln(mean) = mu + sigma²/2 for the smaller sigma.
    /// None when p99 < mean or p99 > 14.9 × mean, where there is no solution.
    fn log_normal(mean: Duration, p99: Duration) -> Option<Self> {
        let mean_ms = mean.as_secs_f64() * 1e3;
        let ratio = (p99.as_secs_f64() * 1e3 / mean_ms).ln();
        let root = Z99 * Z99 - 2.0 * ratio;
        if !ratio.is_finite() || ratio < 0.0 || root < 0.0 {
            return None;
        }
        let sigma = Z99 - root.sqrt();
        Some(Self::LogNormal { mu: mean_ms.ln() - sigma * sigma / 2.0, sigma })
    }

    /// One draw.
    pub fn sample(&self, random: &mut fastrand::Rng) -> Duration {
        match *self {
            Self::Fixed(duration) => duration,
            Self::Uniform(low, high) => low + (high - low).mul_f64(random.f64()),
            Self::LogNormal { mu, sigma } => {
                // Box–Muller; 1 - f64() lies in (0, 1], so the logarithm is finite.
                let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
                let normal = radius * (std::f64::consts::TAU * random.f64()).cos();
                Duration::try_from_secs_f64((mu + sigma * normal).exp() / 1e3).unwrap_or(Duration::MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_normal_has_the_asked_mean_and_p99() {
        let delay = Delay::parse("lognormal:300:2000").unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let mut draws: Vec<f64> = (0..200_000).map(|_| delay.sample(&mut random).as_secs_f64() * 1e3).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        draws.sort_by(f64::total_cmp);
        let p99 = draws[draws.len() * 99 / 100];
        assert!((mean - 300.0).abs() < 15.0, "mean {mean}");
        assert!((p99 - 2000.0).abs() < 120.0, "p99 {p99}");
    }

    #[test]
    fn refuses_what_has_no_solution() {
        for wrong in ["lognormal:300:200", "lognormal:1:100", "lognormal:5", "uniform:9:3", "fast", "1:2"] {
            assert!(Delay::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Delay::parse("uniform:1:1").unwrap().sample(&mut fastrand::Rng::new()), Duration::from_millis(1));
    }
}
