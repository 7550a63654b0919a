//! Durations as people write them: `250` and `250ms` are milliseconds, `50us`, `2s`, `1m`, `1h`.

use std::time::Duration;

/// Reads a duration; a number without a unit is in milliseconds.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split)?;
    let number: f64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "us" => number / 1e6,
        "" | "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        assert_eq!(parse("250"), Some(Duration::from_millis(250)));
        assert_eq!(parse("0.5ms"), Some(Duration::from_micros(500)));
        assert_eq!(parse("50us"), Some(Duration::from_micros(50)));
        assert_eq!(parse("2s"), Some(Duration::from_secs(2)));
        assert_eq!(parse("1h"), Some(Duration::from_secs(3600)));
        for wrong in ["", "ms", "-1", "3 weeks", "1e9"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
