//! Small numbers as header values, without an allocation.

use http::HeaderValue;

const SMALL: usize = 1000;

/// `000` to `999`, one after the other.
static DIGITS: [u8; SMALL * 3] = {
    let mut digits = [b'0'; SMALL * 3];
    let mut number = 0;
    while number < SMALL {
        digits[number * 3] += (number / 100) as u8;
        digits[number * 3 + 1] += (number / 10 % 10) as u8;
        digits[number * 3 + 2] += (number % 10) as u8;
        number += 1;
    }
    digits
};

/// A number in decimal.
pub fn header(number: u64) -> HeaderValue {
    let text = usize::try_from(number).ok().filter(|number| *number < SMALL).and_then(|number| {
        let zeros = usize::from(number < 100) + usize::from(number < 10);
        std::str::from_utf8(&DIGITS[number * 3 + zeros..number * 3 + 3]).ok()
    });
    // `HeaderValue::from` makes a block that is shared, for what nobody shares.
    let large =
        || HeaderValue::from_str(itoa::Buffer::new().format(number)).unwrap_or_else(|_| HeaderValue::from(number));
    text.map_or_else(large, HeaderValue::from_static)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_numbers_are_written_alike() {
        for number in (0..1200).chain([9_999, u64::MAX]) {
            assert_eq!(header(number).to_str().expect("ASCII"), number.to_string());
        }
    }
}
