//! The one form of a request that both sides sign.

use std::fmt::Write;

/// A point in time as signatures have it: `20150830T123600Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp([u8; 16]);

impl Stamp {
    /// From seconds since 1970.
    pub fn new(seconds: i64) -> Stamp {
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = date(days);
        let mut text = String::with_capacity(16);
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        // Writing to a string cannot fail.
        let _ = write!(text, "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z");
        Stamp(text.as_bytes().first_chunk().copied().unwrap_or(*b"19700101T000000Z"))
    }

    /// The stamp and the seconds since 1970 that it stands for.
    pub fn parse(text: &str) -> Option<(Stamp, i64)> {
        let bytes: [u8; 16] = text.as_bytes().try_into().ok()?;
        let number = |from: usize, to: usize| {
            let digits = text.get(from..to).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
            digits.parse::<i64>().ok()
        };
        let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
        let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
        let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
        // What comes back the same is a date that exists.
        (Stamp::new(seconds) == Stamp(bytes)).then_some((Stamp(bytes), seconds))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub fn date(&self) -> &str {
        self.text().get(..8).unwrap_or_default()
    }
}

/// Year, month and day of a day since 1970, in the proleptic Gregorian calendar. Years begin in March here, so that a leap
/// day is a year's last, and are counted in cycles of 400 years.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let month_of_year = if month < 10 { month + 3 } else { month - 9 };
    (cycle * 400 + year + i64::from(month_of_year <= 2), month_of_year, day - (153 * month + 2) / 5 + 1)
}

/// The day since 1970 of a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (cycle, of_cycle) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    cycle * 146_097 + of_cycle * 365 + of_cycle / 4 - of_cycle / 100 + of_year - 719_468
}

/// What of a request is signed.
#[derive(Clone, Copy, Debug)]
pub struct Canonical<'a> {
    pub method: &'a str,
    /// As it travels.
    pub path: &'a str,
    /// As it travels, without the question mark.
    pub query: &'a str,
    /// Names in lower case, sorted; several values of a name joined by commas.
    pub headers: &'a [(&'a str, &'a str)],
    /// SHA-256 of the body in hex, or what stands for it.
    pub payload: &'a str,
}

impl Canonical<'_> {
    pub(super) fn text(&self) -> String {
        let mut out = String::with_capacity(512);
        out.push_str(self.method);
        out.push('\n');
        encode(&mut out, self.path);
        out.push('\n');
        query(&mut out, self.query);
        out.push('\n');
        for (name, value) in self.headers {
            out.push_str(name);
            out.push(':');
            // Blanks around a value do not count, and a run of them inside is one.
            for (at, word) in value.split_ascii_whitespace().enumerate() {
                if at > 0 {
                    out.push(' ');
                }
                out.push_str(word);
            }
            out.push('\n');
        }
        out.push('\n');
        names(&mut out, self.headers);
        out.push('\n');
        out.push_str(self.payload);
        out
    }
}

/// `host;x-amz-date`
pub(super) fn names(out: &mut String, headers: &[(&str, &str)]) {
    for (at, (name, _)) in headers.iter().enumerate() {
        if at > 0 {
            out.push(';');
        }
        out.push_str(name);
    }
}

/// Percent-encodes everything but slashes and what never needs it, percent signs included.
fn encode(out: &mut String, path: &str) {
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// Parameters sorted by name and value, each with its equals sign, encoded as they travel.
fn query(out: &mut String, query: &str) {
    let mut pairs: Vec<(&str, &str)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    pairs.sort_unstable();
    for (at, (name, value)) in pairs.iter().enumerate() {
        if at > 0 {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        out.push_str(value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stamps_are_dates() {
        assert_eq!(Stamp::new(1_440_938_160).text(), "20150830T123600Z");
        assert_eq!(Stamp::new(951_782_400).text(), "20000229T000000Z");
        assert_eq!(Stamp::parse("20150830T123600Z").map(|(_, seconds)| seconds), Some(1_440_938_160));
        for bad in
            ["", "20150230T000000Z", "20150830 123600Z", "20150830T126000Z", "2015083xT123600Z", "20150830T1236000"]
        {
            assert_eq!(Stamp::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn stamps_come_back(seconds in 0_i64..253_402_300_800) {
            let stamp = Stamp::new(seconds);
            prop_assert_eq!(Stamp::parse(stamp.text()), Some((stamp, seconds)));
        }

        #[test]
        fn any_text_is_safe(text in "\\PC{0,24}") {
            let _ = Stamp::parse(&text);
        }
    }
}
