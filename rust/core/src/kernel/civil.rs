//! Days and times of day as people name them.

/// Seconds that a zone is ahead of UTC, from each of these moments (seconds since 1970) on.
#[derive(Clone, Debug, Default)]
pub struct Offsets(pub Vec<(i64, i32)>);

impl Offsets {
    /// The local time as if it were UTC, in seconds since 1970.
    pub fn local(&self, utc_s: i64) -> i64 {
        let at = self.0.partition_point(|(from, _)| *from <= utc_s);
        let offset = at.checked_sub(1).and_then(|at| self.0.get(at)).or(self.0.first());
        utc_s + offset.map_or(0, |(_, offset)| i64::from(*offset))
    }
}

/// Year, month and day of a day since 1970 (Hinnant, "chrono-compatible low-level date algorithms").
pub fn date(day: i64) -> (i64, u32, u32) {
    let z = day + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as u32, day as u32)
}

/// `2026-11-21`
pub fn date_text(day: i64) -> String {
    let (year, month, day) = date(day);
    format!("{year:04}-{month:02}-{day:02}")
}

/// 0 for Monday.
pub fn weekday(day: i64) -> usize {
    (day + 3).rem_euclid(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_names() {
        for (day, text, of_week) in [
            (0, "1970-01-01", 3),
            (-1, "1969-12-31", 2),
            (11_016, "2000-02-29", 1),
            (20_778, "2026-11-21", 5),
            (20_819, "2027-01-01", 4),
        ] {
            assert_eq!((date_text(day).as_str(), weekday(day)), (text, of_week));
        }
    }

    #[test]
    fn zones_shift() {
        let zone = Offsets(vec![(i64::MIN, 3600), (1_000, 7200), (2_000, 3600)]);
        assert_eq!([0, 999, 1_000, 1_999, 2_000].map(|at| zone.local(at) - at), [3600, 3600, 7200, 7200, 3600]);
        assert_eq!(Offsets::default().local(5), 5);
    }
}
