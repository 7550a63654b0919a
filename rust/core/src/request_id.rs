//! The name of a request: in the header, the log and the ledger.

use http::HeaderValue;

/// 128 bits, of which the first 48 are the time in milliseconds: unique, sortable, the same in header, log and ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(pub [u8; 16]);

impl RequestId {
    pub fn new(wall_us: i64) -> Self {
        let millis = u128::from(wall_us.unsigned_abs() / 1000) & 0xffff_ffff_ffff;
        let random = u128::from(fastrand::u64(..)) << 16 | u128::from(fastrand::u16(..));
        RequestId((millis << 80 | random).to_be_bytes())
    }

    /// `req_` and 32 hex digits.
    pub fn text(&self) -> [u8; 36] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut out = *b"req_00000000000000000000000000000000";
        for (pair, byte) in out[4..].chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        out
    }

    /// What [`RequestId::text`] says.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("req_").filter(|digits| digits.len() == 32)?;
        u128::from_str_radix(digits, 16).ok().map(|number| RequestId(number.to_be_bytes()))
    }

    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.text()).unwrap_or(HeaderValue::from_static("req_"))
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or("req_"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_hex_and_sort_by_time() {
        let early = RequestId::new(1_000_000).to_string();
        let late = RequestId::new(9_000_000).to_string();
        assert!(early < late);
        assert_eq!(early.len(), 36);
        assert_eq!(RequestId::parse(&late).map(|id| id.to_string()), Some(late));
        assert!(RequestId::parse("req_1").is_none());
        assert!(early[4..].bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
