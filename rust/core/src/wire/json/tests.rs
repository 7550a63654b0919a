//! Equivalence with `serde_json` and with a slow, obvious twin; the classes of the published JSON test suite (documents
//! written anew from the class names); hostile documents.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::*;

/// The slow twin: a recursive reader over characters, with nothing in common with the scanner.
mod twin {
    pub type Member = (Vec<u16>, std::ops::Range<usize>);

    /// The root object's members (keys as UTF-16, spans of the values), or `None` if the document is not valid.
    pub fn members(body: &[u8]) -> Option<Vec<Member>> {
        let text = std::str::from_utf8(body).ok()?;
        let mut reader = Reader { text, at: 0 };
        reader.space();
        let members = reader.object(1)?;
        reader.space();
        (reader.at == text.len()).then_some(members)
    }

    struct Reader<'a> {
        text: &'a str,
        at: usize,
    }

    impl Reader<'_> {
        fn peek(&self) -> Option<char> {
            self.text[self.at..].chars().next()
        }

        fn take(&mut self, allowed: impl Fn(char) -> bool) -> Option<char> {
            let next = self.peek().filter(|next| allowed(*next))?;
            self.at += next.len_utf8();
            Some(next)
        }

        fn space(&mut self) {
            while self.take(|c| " \t\r\n".contains(c)).is_some() {}
        }

        fn object(&mut self, depth: u32) -> Option<Vec<Member>> {
            self.take(|c| c == '{')?;
            self.space();
            let mut members = Vec::new();
            if self.take(|c| c == '}').is_some() {
                return Some(members);
            }
            loop {
                self.space();
                let key = self.string()?;
                self.space();
                self.take(|c| c == ':')?;
                self.space();
                let start = self.at;
                self.value(depth)?;
                members.push((key, start..self.at));
                self.space();
                if self.take(|c| c == ',').is_none() {
                    self.take(|c| c == '}')?;
                    return Some(members);
                }
            }
        }

        fn array(&mut self, depth: u32) -> Option<()> {
            self.take(|c| c == '[')?;
            self.space();
            if self.take(|c| c == ']').is_some() {
                return Some(());
            }
            loop {
                self.space();
                self.value(depth)?;
                self.space();
                if self.take(|c| c == ',').is_none() {
                    return self.take(|c| c == ']').map(|_| ());
                }
            }
        }

        fn value(&mut self, depth: u32) -> Option<()> {
            match self.peek()? {
                '{' if depth < super::MAX_DEPTH => self.object(depth + 1).map(|_| ()),
                '[' if depth < super::MAX_DEPTH => self.array(depth + 1),
                '"' => self.string().map(|_| ()),
                '-' | '0'..='9' => self.number(),
                _ => ["true", "false", "null"].iter().find(|word| self.text[self.at..].starts_with(**word)).map(|word| {
                    self.at += word.len();
                }),
            }
        }

        fn digits(&mut self) -> Option<()> {
            self.take(|c| c.is_ascii_digit())?;
            while self.take(|c| c.is_ascii_digit()).is_some() {}
            Some(())
        }

        fn number(&mut self) -> Option<()> {
            let _ = self.take(|c| c == '-');
            if self.take(|c| c == '0').is_none() {
                self.digits()?;
            }
            if self.take(|c| c == '.').is_some() {
                self.digits()?;
            }
            if self.take(|c| "eE".contains(c)).is_some() {
                let _ = self.take(|c| "+-".contains(c));
                self.digits()?;
            }
            Some(())
        }

        fn string(&mut self) -> Option<Vec<u16>> {
            self.take(|c| c == '"')?;
            let mut units = Vec::new();
            loop {
                let next = self.take(|c| c >= ' ')?;
                match next {
                    '"' => return Some(units),
                    '\\' => {
                        let escape = self.take(|c| "\"\\/bfnrtu".contains(c))?;
                        units.push(match escape {
                            'b' => 8,
                            'f' => 12,
                            'n' => 10,
                            'r' => 13,
                            't' => 9,
                            'u' => {
                                let mut unit = 0;
                                for _ in 0..4 {
                                    unit = unit * 16 + self.take(|c| c.is_ascii_hexdigit())?.to_digit(16)? as u16;
                                }
                                unit
                            }
                            same => same as u16,
                        });
                    }
                    _ => units.extend_from_slice(next.encode_utf16(&mut [0; 2])),
                }
            }
        }
    }
}

fn is_valid(body: &[u8]) -> bool {
    scan_object(body, &[]).is_ok()
}

/// Checks the scanner against the twin and `serde_json` on any bytes.
fn check(body: &[u8]) {
    let ours = scan_object(body, &["model", "a", "stream", "é"]);
    let members = twin::members(body);
    let trimmed = body.trim_ascii_start();
    if std::str::from_utf8(body).is_ok() && trimmed.starts_with(b"{") {
        let theirs = serde_json::from_slice::<IgnoredAny>(body).is_ok();
        let too_deep = matches!(&ours, Err(error) if error.kind == JsonErrorKind::TooDeep);
        assert!(theirs == members.is_some() || too_deep, "serde_json disagrees on {:?}", String::from_utf8_lossy(body));
    }
    let shown = String::from_utf8_lossy(body);
    let Some(members) = members else {
        assert!(ours.is_err(), "accepted {shown:?}");
        return;
    };
    let mut keys = HashSet::new();
    let twice = members.iter().find(|member| !keys.insert(&member.0));
    match ours {
        Ok(scan) => {
            assert_eq!(twice, None, "accepted a duplicate in {shown:?}");
            assert_eq!(scan.keys as usize, members.len());
            assert_eq!(body[scan.root.range()], *body.trim_ascii());
            for (name, field) in ["model", "a", "stream", "é"].iter().zip(scan.fields) {
                let key: Vec<u16> = name.encode_utf16().collect();
                let span = members.iter().find(|member| member.0 == key).map(|member| member.1.clone());
                assert_eq!(field.map(Value::range), span, "{name} in {shown:?}");
                if let Some(value) = field {
                    check_value(body, value);
                }
            }
        }
        Err(error) => {
            assert!(twice.is_some(), "refused {shown:?}: {error}");
            assert!(matches!(error.kind, JsonErrorKind::DuplicateKey(_)), "{error}");
        }
    }
}

/// Checks what the other functions read out of a valid value.
fn check_value(body: &[u8], value: Value) {
    let raw = value.raw(body);
    match value.kind {
        Kind::Null => assert_eq!(raw, b"null"),
        Kind::Bool => assert_eq!(as_bool(body, value), serde_json::from_slice(raw).ok()),
        Kind::Number => {
            let integer = raw.iter().all(u8::is_ascii_digit);
            assert_eq!(as_u64(body, value), serde_json::from_slice(raw).ok().filter(|_: &u64| integer));
        }
        Kind::String => {
            assert_eq!(string(body, value).map(Cow::into_owned), serde_json::from_slice(raw).ok());
        }
        Kind::Array => {
            let ours: Vec<&[u8]> = elements(body, value).map(|element| element.raw(body)).collect();
            let theirs: Vec<&RawValue> = serde_json::from_slice(raw).unwrap();
            assert_eq!(ours, theirs.iter().map(|raw| raw.get().as_bytes()).collect::<Vec<_>>());
            for element in elements(body, value) {
                check_value(body, element);
            }
        }
        Kind::Object => {
            let Ok(theirs) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(raw) else {
                return; // a lone surrogate in a key
            };
            match scan_value_object(body, value, &["a", "b"]) {
                Ok(scan) => {
                    assert_eq!(scan.root, value);
                    assert_eq!(scan.keys as usize, theirs.len());
                    for (name, field) in ["a", "b"].iter().zip(scan.fields) {
                        let raw = theirs.get(*name).map(|raw| raw.get().as_bytes());
                        assert_eq!(field.map(|field| field.raw(body)), raw);
                    }
                }
                Err(error) => assert!(matches!(error.kind, JsonErrorKind::DuplicateKey(_)), "{error}"),
            }
        }
    }
}

/// The class `y_`: values and whole documents that every parser must accept.
const ACCEPTED: &[(&str, &[u8])] = &[
    ("array_arrays_with_spaces", b"[[]   ]"),
    ("array_empty-string", b"[\"\"]"),
    ("array_empty", b"[]"),
    ("array_ending_with_newline", b"[\"a\"]\n"),
    ("array_false", b"[false]"),
    ("array_heterogeneous", b"[null, 1, \"1\", {}]"),
    ("array_null", b"[null]"),
    ("array_with_1_and_newline", b"[1\n]"),
    ("array_with_leading_space", b" [1]"),
    ("array_with_several_null", b"[1,null,null,null,2]"),
    ("array_with_trailing_space", b"[2] "),
    ("number", b"[123e65]"),
    ("number_0e+1", b"[0e+1]"),
    ("number_0e1", b"[0e1]"),
    ("number_after_space", b"[ 4]"),
    ("number_double_close_to_zero", b"[-0.000000000000000000000000000000000000000000000000000000000000000000000000000001]"),
    ("number_int_with_exp", b"[20e1]"),
    ("number_minus_zero", b"[-0]"),
    ("number_negative_int", b"[-123]"),
    ("number_negative_one", b"[-1]"),
    ("number_negative_zero", b"[-0]"),
    ("number_real_capital_e", b"[1E22]"),
    ("number_real_capital_e_neg_exp", b"[1E-2]"),
    ("number_real_capital_e_pos_exp", b"[1E+2]"),
    ("number_real_exponent", b"[123e45]"),
    ("number_real_fraction_exponent", b"[123.456e78]"),
    ("number_real_neg_exp", b"[1e-2]"),
    ("number_real_pos_exponent", b"[1e+2]"),
    ("number_simple_int", b"[123]"),
    ("number_simple_real", b"[123.456789]"),
    ("object", b"{\"asd\":\"sdf\", \"dfg\":\"fgh\"}"),
    ("object_basic", b"{\"asd\":\"sdf\"}"),
    ("object_empty", b"{}"),
    ("object_empty_key", b"{\"\":0}"),
    ("object_escaped_null_in_key", b"{\"foo\\u0000bar\": 42}"),
    ("object_extreme_numbers", b"{\"min\": -1.0e+28, \"max\": 1.0e+28}"),
    ("object_long_strings", b"{\"x\":[{\"id\": \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}], \"id\": \"xxxxxxxxxxxxxxxxxxxxxxxxx\"}"),
    ("object_simple", b"{\"a\":[]}"),
    ("object_string_unicode", "{\"title\":\"\\u041f\\u043e\\u043b\\u0442\\u043e\\u0440\\u0430\"}".as_bytes()),
    ("object_with_newlines", b"{\n\"a\": \"b\"\n}"),
    ("string_1_2_3_bytes_UTF-8_sequences", b"[\"\\u0060\\u012a\\u12AB\"]"),
    ("string_accepted_surrogate_pair", b"[\"\\uD801\\udc37\"]"),
    ("string_accepted_surrogate_pairs", b"[\"\\ud83d\\ude39\\ud83d\\udc8d\"]"),
    ("string_allowed_escapes", b"[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]"),
    ("string_backslash_and_u_escaped_zero", b"[\"\\\\u0000\"]"),
    ("string_backslash_doublequotes", b"[\"\\\"\"]"),
    ("string_comments", b"[\"a/*b*/c/*d//e\"]"),
    ("string_double_escape_a", b"[\"\\\\a\"]"),
    ("string_double_escape_n", b"[\"\\\\n\"]"),
    ("string_escaped_control_character", b"[\"\\u0012\"]"),
    ("string_escaped_noncharacter", b"[\"\\uFFFF\"]"),
    ("string_in_array", b"[\"asd\"]"),
    ("string_in_array_with_leading_space", b"[ \"asd\"]"),
    ("string_last_surrogates_1_and_2", b"[\"\\uDBFF\\uDFFF\"]"),
    ("string_nbsp_uescaped", b"[\"new\\u00A0line\"]"),
    ("string_nonCharacterInUTF-8_U+10FFFF", "[\"\u{10ffff}\"]".as_bytes()),
    ("string_nonCharacterInUTF-8_U+FFFF", "[\"\u{ffff}\"]".as_bytes()),
    ("string_null_escape", b"[\"\\u0000\"]"),
    ("string_one-byte-utf-8", b"[\"\\u002c\"]"),
    ("string_pi", "[\"π\"]".as_bytes()),
    ("string_reservedCharacterInUTF-8_U+1BFFF", "[\"\u{1bfff}\"]".as_bytes()),
    ("string_simple_ascii", b"[\"asd \"]"),
    ("string_space", b"\" \""),
    ("string_surrogates_U+1D11E_MUSICAL_SYMBOL_G_CLEF", b"[\"\\uD834\\uDd1e\"]"),
    ("string_three-byte-utf-8", b"[\"\\u0821\"]"),
    ("string_two-byte-utf-8", b"[\"\\u0123\"]"),
    ("string_u+2028_line_sep", "[\"\u{2028}\"]".as_bytes()),
    ("string_u+2029_par_sep", "[\"\u{2029}\"]".as_bytes()),
    ("string_uEscape", b"[\"\\u0061\\u30af\\u30EA\\u30b9\"]"),
    ("string_uescaped_newline", b"[\"new\\u000Aline\"]"),
    ("string_unescaped_char_delete", b"[\"\x7f\"]"),
    ("string_unicode", b"[\"\\uA66D\"]"),
    ("string_unicodeEscapedBackslash", b"[\"\\u005C\"]"),
    ("string_unicode_2", "[\"⍂㈴⍂\"]".as_bytes()),
    ("string_unicode_U+10FFFE_nonchar", b"[\"\\uDBFF\\uDFFE\"]"),
    ("string_unicode_U+1FFFE_nonchar", b"[\"\\uD83F\\uDFFE\"]"),
    ("string_unicode_U+200B_ZERO_WIDTH_SPACE", b"[\"\\u200B\"]"),
    ("string_unicode_U+2064_invisible_plus", b"[\"\\u2064\"]"),
    ("string_unicode_U+FDD0_nonchar", b"[\"\\uFDD0\"]"),
    ("string_unicode_U+FFFE_nonchar", b"[\"\\uFFFE\"]"),
    ("string_unicode_escaped_double_quote", b"[\"\\u0022\"]"),
    ("string_utf8", "[\"€𝄞\"]".as_bytes()),
    ("string_with_del_character", b"[\"a\x7fa\"]"),
    ("structure_lonely_false", b"false"),
    ("structure_lonely_int", b"42"),
    ("structure_lonely_negative_real", b"-0.1"),
    ("structure_lonely_null", b"null"),
    ("structure_lonely_string", b"\"asd\""),
    ("structure_lonely_true", b"true"),
    ("structure_string_empty", b"\"\""),
    ("structure_trailing_newline", b"[\"a\"]\n"),
    ("structure_true_in_array", b"[true]"),
    ("structure_whitespace_array", b" [] "),
    // The class i_, where our choice is to accept:
    ("i_number_double_huge_neg_exp", b"[123.456e-789]"),
    ("i_number_huge_exp", b"[0.4e00669999999999999999999999999999999999999999999999999999999999999999999999999999999999999]"),
    ("i_number_neg_int_huge_exp", b"[-1e+9999]"),
    ("i_number_pos_double_huge_exp", b"[1.5e+9999]"),
    ("i_number_real_neg_overflow", b"[-123123e100000]"),
    ("i_number_real_pos_overflow", b"[123123e100000]"),
    ("i_number_real_underflow", b"[123e-10000000]"),
    ("i_number_too_big_neg_int", b"[-123123123123123123123123123123]"),
    ("i_number_too_big_pos_int", b"[100000000000000000000]"),
    ("i_number_very_big_negative_int", b"[-237462374673276894279832749832423479823246327846]"),
    ("i_object_key_lone_2nd_surrogate", b"{\"\\uDFAA\":0}"),
    ("i_string_1st_surrogate_but_2nd_missing", b"[\"\\uDADA\"]"),
    ("i_string_1st_valid_surrogate_2nd_invalid", b"[\"\\uD888\\u1234\"]"),
    ("i_string_incomplete_surrogate_and_escape_valid", b"[\"\\uD800\\n\"]"),
    ("i_string_incomplete_surrogate_pair", b"[\"\\uDd1ea\"]"),
    ("i_string_incomplete_surrogates_escape_valid", b"[\"\\uD800\\uD800\\n\"]"),
    ("i_string_invalid_lonely_surrogate", b"[\"\\ud800\"]"),
    ("i_string_invalid_surrogate", b"[\"\\ud800abc\"]"),
    ("i_string_inverted_surrogates_U+1D11E", b"[\"\\uDd1e\\uD834\"]"),
    ("i_string_lone_second_surrogate", b"[\"\\uDFAA\"]"),
];

/// The class `n_`: values that every parser must refuse, wherever they stand.
const REFUSED: &[(&str, &[u8])] = &[
    ("array_1_true_without_comma", b"[1 true]"),
    ("array_a_invalid_utf8", b"[a\xe5]"),
    ("array_colon_instead_of_comma", b"[\"\": 1]"),
    ("array_comma_after_close", b"[\"\"],"),
    ("array_comma_and_number", b"[,1]"),
    ("array_double_comma", b"[1,,2]"),
    ("array_double_extra_comma", b"[\"x\",,]"),
    ("array_extra_close", b"[\"x\"]]"),
    ("array_extra_comma", b"[\"\",]"),
    ("array_incomplete", b"[\"x\""),
    ("array_incomplete_invalid_value", b"[x"),
    ("array_inner_array_no_comma", b"[3[4]]"),
    ("array_invalid_utf8", b"[\xff]"),
    ("array_items_separated_by_semicolon", b"[1:2]"),
    ("array_just_comma", b"[,]"),
    ("array_just_minus", b"[-]"),
    ("array_missing_value", b"[   , \"\"]"),
    ("array_newlines_unclosed", b"[\"a\",\n4\n,1,"),
    ("array_number_and_comma", b"[1,]"),
    ("array_number_and_several_commas", b"[1,,]"),
    ("array_spaces_vertical_tab_formfeed", b"[\"\x0ba\"\\f]"),
    ("array_star_inside", b"[*]"),
    ("array_unclosed", b"[\"\""),
    ("array_unclosed_trailing_comma", b"[1,"),
    ("array_unclosed_with_new_lines", b"[1,\n1\n,1"),
    ("array_unclosed_with_object_inside", b"[{}"),
    ("incomplete_false", b"[fals]"),
    ("incomplete_null", b"[nul]"),
    ("incomplete_true", b"[tru]"),
    ("multidigit_number_then_00", b"123\0"),
    ("number_++", b"[++1234]"),
    ("number_+1", b"[+1]"),
    ("number_+Inf", b"[+Inf]"),
    ("number_-01", b"[-01]"),
    ("number_-1.0.", b"[-1.0.]"),
    ("number_-2.", b"[-2.]"),
    ("number_-NaN", b"[-NaN]"),
    ("number_.-1", b"[.-1]"),
    ("number_.2e-3", b"[.2e-3]"),
    ("number_0.1.2", b"[0.1.2]"),
    ("number_0.3e+", b"[0.3e+]"),
    ("number_0.3e", b"[0.3e]"),
    ("number_0.e1", b"[0.e1]"),
    ("number_0_capital_E+", b"[0E+]"),
    ("number_0_capital_E", b"[0E]"),
    ("number_0e+", b"[0e+]"),
    ("number_0e", b"[0e]"),
    ("number_1.0e+", b"[1.0e+]"),
    ("number_1.0e-", b"[1.0e-]"),
    ("number_1.0e", b"[1.0e]"),
    ("number_1_000", b"[1 000.0]"),
    ("number_1eE2", b"[1eE2]"),
    ("number_2.e+3", b"[2.e+3]"),
    ("number_2.e-3", b"[2.e-3]"),
    ("number_2.e3", b"[2.e3]"),
    ("number_9.e+", b"[9.e+]"),
    ("number_Inf", b"[Inf]"),
    ("number_NaN", b"[NaN]"),
    ("number_U+FF11_fullwidth_digit_one", "[\u{ff11}]".as_bytes()),
    ("number_expression", b"[1+2]"),
    ("number_hex_1_digit", b"[0x1]"),
    ("number_hex_2_digits", b"[0x42]"),
    ("number_infinity", b"[Infinity]"),
    ("number_invalid+-", b"[0e+-1]"),
    ("number_invalid-negative-real", b"[-123.123foo]"),
    ("number_invalid-utf-8-in-bigger-int", b"[123\xe5]"),
    ("number_invalid-utf-8-in-exponent", b"[1e1\xe5]"),
    ("number_invalid-utf-8-in-int", b"[0\xe5]\n"),
    ("number_minus_infinity", b"[-Infinity]"),
    ("number_minus_sign_with_trailing_garbage", b"[-foo]"),
    ("number_minus_space_1", b"[- 1]"),
    ("number_neg_int_starting_with_zero", b"[-012]"),
    ("number_neg_real_without_int_part", b"[-.123]"),
    ("number_neg_with_garbage_at_end", b"[-1x]"),
    ("number_real_garbage_after_e", b"[1ea]"),
    ("number_real_with_invalid_utf8_after_e", b"[1e\xe5]"),
    ("number_real_without_fractional_part", b"[1.]"),
    ("number_starting_with_dot", b"[.123]"),
    ("number_with_alpha", b"[1.2a-3]"),
    ("number_with_alpha_char", b"[1.8011670033376514H-308]"),
    ("number_with_leading_zero", b"[012]"),
    ("object_bad_value", b"[\"x\", truth]"),
    ("object_bracket_key", b"{[: \"x\"}\n"),
    ("object_comma_instead_of_colon", b"{\"x\", null}"),
    ("object_double_colon", b"{\"x\"::\"b\"}"),
    ("object_emoji", "{🇨🇭}".as_bytes()),
    ("object_garbage_at_end", b"{\"a\":\"a\" 123}"),
    ("object_key_with_single_quotes", b"{key: 'value'}"),
    ("object_lone_continuation_byte_in_key_and_trailing_comma", b"{\"\xb9\":\"0\",}"),
    ("object_missing_colon", b"{\"a\" b}"),
    ("object_missing_key", b"{:\"b\"}"),
    ("object_missing_semicolon", b"{\"a\" \"b\"}"),
    ("object_missing_value", b"{\"a\":"),
    ("object_no-colon", b"{\"a\""),
    ("object_non_string_key", b"{1:1}"),
    ("object_non_string_key_but_huge_number_instead", b"{9999E9999:1}"),
    ("object_repeated_null_null", b"{null:null,null:null}"),
    ("object_several_trailing_commas", b"{\"id\":0,,,,,}"),
    ("object_single_quote", b"{'a':0}"),
    ("object_trailing_comma", b"{\"id\":0,}"),
    ("object_trailing_comment", b"{\"a\":\"b\"}/**/"),
    ("object_trailing_comment_open", b"{\"a\":\"b\"}/**//"),
    ("object_trailing_comment_slash_open", b"{\"a\":\"b\"}//"),
    ("object_trailing_comment_slash_open_incomplete", b"{\"a\":\"b\"}/"),
    ("object_two_commas_in_a_row", b"{\"a\":\"b\",,\"c\":\"d\"}"),
    ("object_unquoted_key", b"{a: \"b\"}"),
    ("object_unterminated-value", b"{\"a\":\"a"),
    ("object_with_single_string", b"{ \"foo\" : \"bar\", \"a\" }"),
    ("object_with_trailing_garbage", b"{\"a\":\"b\"}#"),
    ("single_space", b" "),
    ("string_1_surrogate_then_escape", b"[\"\\uD800\\\"]"),
    ("string_1_surrogate_then_escape_u", b"[\"\\uD800\\u\"]"),
    ("string_1_surrogate_then_escape_u1", b"[\"\\uD800\\u1\"]"),
    ("string_1_surrogate_then_escape_u1x", b"[\"\\uD800\\u1x\"]"),
    ("string_accentuated_char_no_quotes", "[é]".as_bytes()),
    ("string_backslash_00", b"[\"\\\0\"]"),
    ("string_escape_x", b"[\"\\x00\"]"),
    ("string_escaped_backslash_bad", b"[\"\\\\\\\"]"),
    ("string_escaped_ctrl_char_tab", b"[\"\\\t\"]"),
    ("string_escaped_emoji", "[\"\\🌀\"]".as_bytes()),
    ("string_incomplete_escape", b"[\"\\\"]"),
    ("string_incomplete_escaped_character", b"[\"\\u00A\"]"),
    ("string_incomplete_surrogate", b"[\"\\uD834\\uDd\"]"),
    ("string_incomplete_surrogate_escape_invalid", b"[\"\\uD800\\uD800\\x\"]"),
    ("string_invalid-utf-8-in-escape", b"[\"\\u\xe5\"]"),
    ("string_invalid_backslash_esc", b"[\"\\a\"]"),
    ("string_invalid_unicode_escape", b"[\"\\uqqqq\"]"),
    ("string_invalid_utf8_after_escape", b"[\"\\\xe5\"]"),
    ("string_leading_uescaped_thinspace", b"[\\u0020\"asd\"]"),
    ("string_no_quotes_with_bad_escape", b"[\\n]"),
    ("string_single_doublequote", b"\""),
    ("string_single_quote", b"['single quote']"),
    ("string_single_string_no_double_quotes", b"abc"),
    ("string_start_escape_unclosed", b"[\"\\"),
    ("string_unescaped_ctrl_char", b"[\"a\0a\"]"),
    ("string_unescaped_newline", b"[\"new\nline\"]"),
    ("string_unescaped_tab", b"[\"\t\"]"),
    ("string_unicode_CapitalU", b"\"\\UA66D\""),
    ("string_with_trailing_garbage", b"\"\"x"),
    ("structure_U+2060_word_joined", "[\u{2060}]".as_bytes()),
    ("structure_UTF8_BOM_no_data", b"\xef\xbb\xbf"),
    ("structure_angle_bracket_.", b"<.>"),
    ("structure_angle_bracket_null", b"[<null>]"),
    ("structure_array_trailing_garbage", b"[1]x"),
    ("structure_array_with_extra_array_close", b"[1]]"),
    ("structure_array_with_unclosed_string", b"[\"asd]"),
    ("structure_ascii-unicode-identifier", "aå".as_bytes()),
    ("structure_capitalized_True", b"[True]"),
    ("structure_close_unopened_array", b"1]"),
    ("structure_comma_instead_of_closing_brace", b"{\"x\": true,"),
    ("structure_double_array", b"[][]"),
    ("structure_end_array", b"]"),
    ("structure_incomplete_UTF8_BOM", b"\xef\xbb{}"),
    ("structure_lone-invalid-utf-8", b"\xe5"),
    ("structure_lone-open-bracket", b"["),
    ("structure_no_data", b""),
    ("structure_null-byte-outside-string", b"[\0]"),
    ("structure_number_with_trailing_garbage", b"2@"),
    ("structure_object_followed_by_closing_object", b"{}}"),
    ("structure_object_unclosed_no_value", b"{\"\":"),
    ("structure_object_with_comment", b"{\"a\":/*comment*/\"b\"}"),
    ("structure_object_with_trailing_garbage", b"{\"a\": true} \"x\""),
    ("structure_open_array_apostrophe", b"['"),
    ("structure_open_array_comma", b"[,"),
    ("structure_open_array_open_object", b"[{"),
    ("structure_open_array_open_string", b"[\"a"),
    ("structure_open_array_string", b"[\"a\""),
    ("structure_open_object", b"{"),
    ("structure_open_object_close_array", b"{]"),
    ("structure_open_object_comma", b"{,"),
    ("structure_open_object_open_array", b"{["),
    ("structure_open_object_open_string", b"{\"a"),
    ("structure_open_object_string_with_apostrophes", b"{'a'"),
    ("structure_open_open", b"[\"\\{[\"\\{[\"\\{[\"\\{"),
    ("structure_single_eacute", b"\xe9"),
    ("structure_single_star", b"*"),
    ("structure_trailing_#", b"{\"a\":\"b\"}#{}"),
    ("structure_uescaped_LF_before_string", b"[\\u000A\"\"]"),
    ("structure_unclosed_array", b"[1"),
    ("structure_unclosed_array_partial_null", b"[ false, nul"),
    ("structure_unclosed_array_unfinished_false", b"[ true, fals"),
    ("structure_unclosed_array_unfinished_true", b"[ false, tru"),
    ("structure_unclosed_object", b"{\"asd\":\"asd\""),
    ("structure_unicode-identifier", "å".as_bytes()),
    ("structure_whitespace_U+2060_word_joiner", "\u{2060}".as_bytes()),
    ("structure_whitespace_formfeed", b"[\x0c]"),
    // The class i_, where our choice is to refuse:
    ("i_string_UTF-16LE_with_BOM", b"\xff\xfe[\0\"\0\xe9\0\"\0]\0"),
    ("i_string_UTF-8_invalid_sequence", b"[\"\xe6\x97\xa5\xd1\x88\xfa\"]"),
    ("i_string_UTF8_surrogate_U+D800", b"[\"\xed\xa0\x80\"]"),
    ("i_string_invalid_utf-8", b"[\"\xff\"]"),
    ("i_string_iso_latin_1", b"[\"\xe9\"]"),
    ("i_string_lone_utf8_continuation_byte", b"[\"\x81\"]"),
    ("i_string_not_in_unicode_range", b"[\"\xf4\xbf\xbf\xbf\"]"),
    ("i_string_overlong_sequence_2_bytes", b"[\"\xc0\xaf\"]"),
    ("i_string_overlong_sequence_6_bytes", b"[\"\xfc\x83\xbf\xbf\xbf\xbf\"]"),
    ("i_string_overlong_sequence_6_bytes_null", b"[\"\xfc\x80\x80\x80\x80\x80\"]"),
    ("i_string_truncated-utf-8", b"[\"\xe0\xff\"]"),
    ("i_string_utf16BE_no_BOM", b"\0[\0\"\0\xe9\0\"\0]"),
    ("i_string_utf16LE_no_BOM", b"[\0\"\0\xe9\0\"\0]\0"),
    ("i_structure_UTF-8_BOM_empty_object", b"\xef\xbb\xbf{}"),
];

/// The value as a member, at the front, at the end and deep inside, with padding that moves it over block borders.
fn wrapped(value: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for padding in [0, 1, 7, 14, 15, 16, 17, 60, 64] {
        let padding = "p".repeat(padding);
        for (before, after) in [
            (format!("{{\"{padding}\":"), "}".to_owned()),
            (format!("{{\"a\":\"{padding}\",\"model\":"), format!(",\"y\":\"{padding}\"}}")),
            (format!("{{\"a\":[\"{padding}\",{{\"b\":"), format!("}},\"{padding}{padding}\"]}}")),
        ] {
            all.push([before.as_bytes(), value, after.as_bytes()].concat());
        }
    }
    all
}

#[test]
fn accepts_what_the_test_suite_accepts() {
    for (name, value) in ACCEPTED {
        for document in wrapped(value) {
            assert!(is_valid(&document), "{name}: {:?}", scan_object(&document, &[]));
            check(&document);
        }
        assert_eq!(is_valid(value), value.trim_ascii().starts_with(b"{"), "{name}");
    }
}

#[test]
fn refuses_what_the_test_suite_refuses() {
    for (name, value) in REFUSED {
        assert!(!is_valid(value), "{name}");
        for document in wrapped(value) {
            assert!(!is_valid(&document), "{name} in {:?}", String::from_utf8_lossy(&document));
            check(&document);
        }
    }
}

#[test]
fn names_the_fault_and_its_place() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "unexpected end of document at byte 0"),
        (b"  ", "unexpected end of document at byte 2"),
        (b"[1]", "expected a JSON object at byte 0"),
        (b"\xef\xbb\xbf{}", "byte order mark is not allowed at byte 0"),
        (b"{\"model\":1, \"model\":2}", "duplicate key \"model\" at byte 12"),
        (b"{\"model\":1, \"\\u006dodel\":2}", "duplicate key \"model\" at byte 12"),
        (b"{\"a\":1 \"b\":2}", "expected ',' or '}' at byte 7"),
        (b"{\"a\":[1 2]}", "expected ',' or ']' at byte 8"),
        (b"{\"a\":[1", "unexpected end of document at byte 7"),
        (b"{\"a\" 1}", "expected ':' at byte 5"),
        (b"{\"a\":}", "expected a value at byte 5"),
        (b"{1:2}", "expected a key or '}' at byte 1"),
        (b"{\"a\":1,}", "expected a key at byte 7"),
        (b"{\"a\":{\"b\":1,}}", "expected a key at byte 12"),
        (b"{\"a\":01}", "invalid number at byte 6"),
        (b"{\"a\":1.}", "invalid number at byte 7"),
        (b"{\"a\":\"\\x\"}", "invalid escape in a string at byte 6"),
        (b"{\"a\":\"\x01\"}", "unescaped control character in a string at byte 6"),
        (b"{\"a\":\"\xff\"}", "invalid UTF-8 at byte 6"),
        (b"{} {}", "unexpected data after the document at byte 3"),
    ];
    for (document, message) in cases {
        let error = scan_object(document, &[]).unwrap_err();
        assert_eq!(error.to_string(), *message, "{:?}", String::from_utf8_lossy(document));
    }
}

#[test]
fn finds_wanted_members() {
    let body = br#" {"stream" : true, "x":{"model":1}, "mod\u0065l":"gpt-4o", "n":[1, 2 ,3 ], "e":{}} "#;
    let scan = scan_object(body, &["model", "stream", "missing", "n"]).unwrap();
    let text = |index: usize| scan.fields[index].map(|value| std::str::from_utf8(value.raw(body)).unwrap());
    assert_eq!(text(0), Some("\"gpt-4o\""));
    assert_eq!(text(1), Some("true"));
    assert_eq!(text(2), None);
    assert_eq!(text(3), Some("[1, 2 ,3 ]"));
    assert_eq!(scan.keys, 5);
    assert_eq!(scan.root.range(), 1..body.len() - 1);
    assert_eq!(string(body, scan.fields[0].unwrap()).as_deref(), Some("gpt-4o"));
    assert_eq!(as_bool(body, scan.fields[1].unwrap()), Some(true));
    let numbers: Vec<_> = elements(body, scan.fields[3].unwrap()).map(|value| as_u64(body, value)).collect();
    assert_eq!(numbers, [Some(1), Some(2), Some(3)]);
}

#[test]
fn refuses_duplicates_in_nested_objects_only_when_asked() {
    let body = br#"{"a":{"b":1,"c":2,"b":3}}"#;
    let value = scan_object(body, &["a"]).unwrap().fields[0].unwrap();
    let error = scan_value_object(body, value, &["b"]).unwrap_err();
    assert_eq!(error.to_string(), "duplicate key \"b\" at byte 18");
}

#[test]
fn finds_duplicates_among_any_number_of_keys() {
    for count in [2, 3, 31, 32, 33, 34, 96, 97, 500] {
        let keys: Vec<String> = (0..count).map(|index| format!("key{index}")).collect();
        let document = |keys: &[String]| {
            let members: Vec<String> = keys.iter().map(|key| format!("\"{key}\":0")).collect();
            format!("{{{}}}", members.join(",")).into_bytes()
        };
        let body = document(&keys);
        let scan = scan_object(&body, &["key0", "key1", "key499"]).unwrap();
        assert_eq!(scan.keys, count);
        assert_eq!(scan.fields.map(|field| field.is_some()), [true, true, count == 500]);
        for (first, second) in [(0, count - 1), (0, 1), (count - 2, count - 1)] {
            for (name, again) in [("key", "key"), ("key", "\\u006bey"), ("\\\\\\\"key", "\\u005c\\\"key")] {
                let mut keys = keys.clone();
                keys[first as usize] = name.to_owned();
                keys[second as usize] = again.to_owned();
                let error = scan_object(&document(&keys), &[]).unwrap_err();
                assert!(matches!(error.kind, JsonErrorKind::DuplicateKey(_)), "{error}");
            }
        }
    }
}

#[test]
fn tells_apart_keys_that_look_alike() {
    // Same length, same first and last bytes; long ones; surrogates; the empty key.
    let long = "k".repeat(100);
    let keys = [
        "", "a", "b", "aa", "ab", "ba", "aba", "aca", "abcdefgh_1_abcdefgh", "abcdefgh_2_abcdefgh", "\\ud800", "\\udc00",
        "\\ud801", "\\ud800\\udc00", "\\u0000", "\\u0000\\u0000", "é", "e\u{301}", &long, &long[1..],
    ];
    let members: Vec<String> = keys.iter().map(|key| format!("\"{key}\":0")).collect();
    let body = format!("{{{}}}", members.join(","));
    assert_eq!(scan_object(body.as_bytes(), &[]).unwrap().keys as usize, keys.len());
    for key in keys {
        let twice = format!("{{\"{key}\":0,{}}}", members.join(","));
        assert!(scan_object(twice.as_bytes(), &[]).is_err(), "{key}");
    }
    for (one, other) in [("\\ud83d\\ude00", "😀"), ("\\uD83D\\uDE00", "\\ud83d\\ude00"), ("\\/", "/"), ("\\u00e9", "é")] {
        let twice = format!("{{\"{one}\":0,\"{other}\":0}}");
        assert!(scan_object(twice.as_bytes(), &[]).is_err(), "{twice}");
    }
}

#[test]
fn survives_a_hundred_thousand_keys() {
    for escape in ["", "\\n"] {
        let members: Vec<String> = (0..100_000).map(|index| format!("\"{escape}{index}\":0")).collect();
        let mut body = format!("{{{}}}", members.join(","));
        assert_eq!(scan_object(body.as_bytes(), &[]).unwrap().keys, 100_000);
        body.pop();
        body.push_str(&format!(",\"{escape}777\":0}}"));
        assert!(matches!(scan_object(body.as_bytes(), &[]).unwrap_err().kind, JsonErrorKind::DuplicateKey(_)));
    }
}

#[test]
fn survives_hostile_sizes() {
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
        format!("{{\"a\":{open}{close}}}").into_bytes()
    };
    assert!(is_valid(&nested(MAX_DEPTH as usize)));
    assert_eq!(scan_object(&nested(MAX_DEPTH as usize + 1), &[]).unwrap_err().kind, JsonErrorKind::TooDeep);
    assert_eq!(scan_object(&nested(100_000), &[]).unwrap_err().kind, JsonErrorKind::TooDeep);
    let objects = format!("{}1{}", "{\"a\":".repeat(128), "}".repeat(128));
    check(objects.as_bytes());
    assert!(is_valid(objects.as_bytes()));
    check(format!("{{\"a\":{objects}}}").as_bytes());
    let number = format!("{{\"a\":{}}}", "9".repeat(10_000_000));
    assert!(is_valid(number.as_bytes()));
    let spaces = format!("{{{}}}", " ".repeat(1_000_000));
    assert!(is_valid(spaces.as_bytes()));
    let key = format!("{{\"{0}\":1,\"{0}\":2}}", "k".repeat(1_000_000));
    let error = scan_object(key.as_bytes(), &[]).unwrap_err();
    assert!(error.to_string().len() < 200);
}

#[test]
fn stops_at_every_place_of_a_block() {
    for length in 0..150 {
        for stop in [
            &b"\""[..], b"\\\"", b"\\\\", b"\\u12aF", b"\\u12a", b"\\u12aG", b"\\uG2aF", b"\\", b"\x01", b"\x1f", b"\x7f", b" ", b"!", b"#",
            b"[", b"]", b"\x80", b"\xff", b"\xc3\xa9", b"\xc3", b"\xf0\x9f\x98\x80",
        ] {
            for tail in [0, 1, 70] {
                let text = [&vec![b'x'; length], stop, &vec![b'y'; tail]].concat();
                check(&[b"{\"a\":\"", &text[..], b"\"}"].concat());
                check(&[b"{\"", &text[..], b"\":0}"].concat());
            }
        }
    }
}

#[test]
fn refuses_every_truncation() {
    let body = include_bytes!("sample.json").trim_ascii_end();
    check(body);
    for end in 0..body.len() {
        assert!(!is_valid(&body[..end]));
        check(&body[..end]);
    }
}

#[test]
fn survives_spans_that_do_not_belong() {
    let body = br#"{"a":[1,{"b":"c\n"}],"d":"e"}"#;
    for kind in [Kind::Null, Kind::Bool, Kind::Number, Kind::String, Kind::Array, Kind::Object] {
        for start in (0..40).chain([u32::MAX]) {
            for end in (0..40).chain([u32::MAX]) {
                let value = Value { kind, start, end };
                let _ = (string(body, value), as_u64(body, value), as_bool(body, value), value.raw(body));
                let _ = scan_value_object(body, value, &["a", "b"]);
                assert!(elements(body, value).count() < 40);
            }
        }
    }
}

#[test]
fn the_portable_blocks_see_the_same() {
    let mut state = 1_u64;
    for _ in 0..20_000 {
        let mut long = [0_u8; 64];
        for byte in &mut long {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Mostly bytes near the borders of what counts.
            let near = [0x1f, 0x20, 0x21, 0x22, 0x23, 0x5b, 0x5c, 0x5d, 0x7f, 0x80, 0xa2, 0xdc, 0xff, 0x00, 0x41, 0x42];
            *byte = if state >> 63 == 0 { near[(state >> 40) as usize % 16] } else { (state >> 48) as u8 };
        }
        assert_eq!(scanner::stops_of(&long), scanner::portable_stops_of(&long));
    }
}

fn value_text() -> impl Strategy<Value = String> {
    let space = || prop::sample::select(vec!["", "", "", " ", "\n", "\t\r ", "          "]);
    let character = prop_oneof![
        8 => "[a-z ]{1,12}",
        1 => Just("model".to_owned()),
        1 => prop::sample::select(vec!["\\n", "\\\"", "\\\\", "\\/", "\\u0041", "\\ud83d\\ude00", "\\ud800", "\\udc00", "é", "日本", "😀", "\u{7f}"])
            .prop_map(str::to_owned),
    ];
    let text = prop::collection::vec(character, 0..6).prop_map(|parts| format!("\"{}\"", parts.concat()));
    let number = prop_oneof!["-?(0|[1-9][0-9]{0,12})(\\.[0-9]{1,12})?([eE][+-]?[0-9]{1,3})?"];
    let scalar = prop_oneof![
        3 => text.clone(),
        2 => number,
        1 => prop::sample::select(vec!["true", "false", "null"]).prop_map(str::to_owned),
    ];
    let key = prop_oneof![
        text,
        prop::sample::select(vec!["\"a\"", "\"b\"", "\"model\"", "\"stream\"", "\"\\u0061\"", "\"é\"", "\"\\u00e9\""]).prop_map(str::to_owned)
    ];
    scalar.prop_recursive(4, 48, 6, move |inner| {
        let array = prop::collection::vec((space(), inner.clone(), space()), 0..6).prop_map(|items| {
            let items: Vec<String> = items.into_iter().map(|(a, value, b)| format!("{a}{value}{b}")).collect();
            format!("[{}]", items.join(","))
        });
        let object = prop::collection::vec((space(), key.clone(), space(), inner, space()), 0..6).prop_map(|items| {
            let items: Vec<String> =
                items.into_iter().map(|(a, key, b, value, c)| format!("{a}{key}{b}:{c}{value}{a}")).collect();
            format!("{{{}}}", items.join(","))
        });
        prop_oneof![array, object]
    })
}

fn document() -> impl Strategy<Value = Vec<u8>> {
    let member = ("(a|model|stream|é|[a-z]{1,9}|\\\\u0061)", value_text());
    prop::collection::vec(member, 0..8).prop_map(|members| {
        let members: Vec<String> = members.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{{}}}", members.join(" , ")).into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn agrees_on_documents(body in document()) {
        check(&body);
    }

    #[test]
    fn agrees_on_mutations(
        body in document(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..5, any::<u8>(), any::<prop::sample::Index>()), 1..4),
    ) {
        let mut body = body;
        for (place, action, byte, choice) in edits {
            let syntax = b"\"\\{}[]:,0-.eE+ \n\x00\x1f\x80\xffntfu";
            let byte = if byte & 1 == 0 { byte } else { syntax[choice.index(syntax.len())] };
            let at = place.index(body.len() + 1);
            match action {
                0 if at < body.len() => body[at] = byte,
                1 if at < body.len() => { body.remove(at); }
                2 => body.truncate(at),
                3 if at < body.len() => { let copy = body[at..].to_vec(); body.extend(copy); }
                _ => body.insert(at, byte),
            }
        }
        check(&body);
    }

    #[test]
    fn agrees_on_noise(body in prop::collection::vec(prop::sample::select(b"{}[]\",:\\u0123eE+-. \nantrulfs\x80\xc3\xa9".to_vec()), 0..40)) {
        check(&body);
        let mut object = b"{\"a\":".to_vec();
        object.extend(&body);
        object.push(b'}');
        check(&object);
    }
}
