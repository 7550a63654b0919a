//! The members of an object that was accepted before, one after the other.

use super::scanner::Scanner;
use super::{Kind, MAX_LEN, Value};

/// One member of an object: where its key stands (with its quotes) and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub key: Value,
    pub value: Value,
}

/// The members of an object of a document that [`super::scan_object`] has accepted; nothing for any other value.
#[must_use]
pub fn members(body: &[u8], object: Value) -> Members<'_> {
    let range = object.range();
    let inside = object.kind == Kind::Object && object.raw(body).len() >= 2 && range.end <= MAX_LEN;
    if inside {
        Members { scanner: Scanner::new(&body[..range.end - 1]), at: range.start + 1 }
    } else {
        Members { scanner: Scanner::new(&[]), at: 0 }
    }
}

/// Iterator of [`members`].
#[derive(Clone, Debug)]
pub struct Members<'a> {
    scanner: Scanner<'a>,
    at: usize,
}

impl Iterator for Members<'_> {
    type Item = Member;

    fn next(&mut self) -> Option<Member> {
        let start = self.scanner.space(self.at);
        if start >= self.scanner.body.len() {
            return None;
        }
        let member = self.scanner.member(start);
        self.at = match member {
            Some(member) => self.scanner.space(member.value.end as usize) + 1,
            None => self.scanner.body.len(),
        };
        member
    }
}

impl std::iter::FusedIterator for Members<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::scan_object;

    #[test]
    fn members_are_told_in_their_order() {
        let body = br#" { "a" :1, "b\n": {"x":[1,{"y":2}]} ,"c":"}," } "#;
        let root = scan_object(body, &[]).expect("valid").root;
        let found: Vec<_> = members(body, root)
            .map(|member| [member.key, member.value].map(|part| String::from_utf8_lossy(part.raw(body)).into_owned()))
            .collect();
        assert_eq!(found, [["\"a\"", "1"], ["\"b\\n\"", "{\"x\":[1,{\"y\":2}]}"], ["\"c\"", "\"},\""]]);
        for empty in [&b"{}"[..], b"{ }"] {
            let root = scan_object(empty, &[]).expect("valid").root;
            assert_eq!(members(empty, root).count(), 0);
        }
    }
}
