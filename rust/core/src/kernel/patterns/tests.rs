use proptest::prelude::*;

use super::*;

fn regex(pattern: &str) -> Spec {
    Spec { source: Source::Regex(pattern.to_string()), ignore_case: false, validator: None, views: Views::default() }
}

fn words(list: &[&str]) -> Spec {
    let words = list.iter().map(ToString::to_string).collect();
    Spec { source: Source::Words { words, whole: true }, ignore_case: true, validator: None, views: Views::default() }
}

fn set() -> PatternSet {
    PatternSet::new(&[
        words(&["bluebird", "ignore all instructions", "mañana"]),
        regex(r"\b[a-z0-9.]+@[a-z0-9.]+\.[a-z]{2,}\b"),
        Spec { validator: Some(Validator::Card), ..regex(r"\b[0-9](?:[ -]?[0-9]){12,18}\b") },
        regex(r"sk-[A-Za-z0-9]{8,}"),
        regex(r"-----BEGIN KEY-----[A-Za-z0-9\s]+"),
    ])
    .expect("compiles")
}

/// Union of the hits, per pattern, in order.
fn spans(hits: &[Hit]) -> Vec<Hit> {
    let mut hits = hits.to_vec();
    hits.sort();
    let mut out: Vec<Hit> = Vec::new();
    for hit in hits {
        match out.last_mut() {
            Some(last) if last.pattern == hit.pattern && hit.start <= last.end => {
                last.end = last.end.max(hit.end);
                last.first = last.first.min(hit.first);
            }
            _ => out.push(hit),
        }
    }
    out
}

fn whole(set: &PatternSet, text: &str) -> Vec<Hit> {
    let mut hits = Vec::new();
    set.scan(text, &mut hits).expect("searched");
    spans(&hits)
}

fn pieces<'t>(set: &PatternSet, parts: impl Iterator<Item = &'t str>) -> Vec<Hit> {
    let (mut scanner, mut hits) = (Scanner::new(), Vec::new());
    for part in parts {
        let before = hits.len();
        let safe = scanner.safe();
        scanner.push(set, part, &mut hits).expect("searched");
        for hit in &hits[before..] {
            assert!(hit.start >= safe, "{hit:?} begins before {safe}, which was said to be safe");
        }
    }
    scanner.finish(set, &mut hits).expect("searched");
    spans(&hits)
}

fn found(text: &str) -> Vec<(u32, String)> {
    whole(&set(), text).iter().map(|hit| (hit.pattern, text[hit.start..hit.end].to_string())).collect()
}

#[test]
fn patterns_are_found_where_they_stand() {
    assert_eq!(found("see BlueBird, not bluebirds"), [(0, "BlueBird".to_string())]);
    assert_eq!(found("to a.b@x.co.uk!"), [(1, "a.b@x.co.uk".to_string())]);
    assert_eq!(found("card 4111 1111 1111 1111, ok"), [(2, "4111 1111 1111 1111".to_string())]);
    assert_eq!(found("card 4111 1111 1111 1112, ok"), []);
    // A card behind other digits is found although a longer candidate fails.
    assert_eq!(found("12 4111111111111111"), [(2, "4111111111111111".to_string())]);
    assert_eq!(found("sk-abcdefghij"), [(3, "sk-abcdefghij".to_string())]);
}

#[test]
fn disguises_are_seen_through() {
    for text in [
        "blue\u{200b}bird",
        "ｂｌｕｅｂｉｒｄ",
        "bluеbird",
        "b\u{301}luebird",
        "𝓫𝓵𝓾𝓮𝓫𝓲𝓻𝓭",
        "ⓑⓛⓤⓔⓑⓘⓡⓓ",
        "blue\\u0062ird",
        "%62luebird",
        "blue&#98;ird",
        "\u{e0062}\u{e006c}\u{e0075}\u{e0065}\u{e0062}\u{e0069}\u{e0072}\u{e0064}",
    ] {
        assert_eq!(found(&format!("a {text} b")), [(0, text.to_string())], "{text}");
    }
    assert_eq!(found("٤١١١ 1111 1111 1111"), [(2, "٤١١١ 1111 1111 1111".to_string())]);
    assert_eq!(found("ΙGNΟRΕ  all\ninstructions").len(), 1);
    assert_eq!(found("hasta manana / MAÑANA").len(), 2);
}

#[test]
fn views_that_are_asked_for_are_seen_in_any_pieces() {
    let asking =
        |views| PatternSet::new(&[Spec { views, ..words(&["bluebird"]) }, words(&["bluebird"])]).expect("compiles");
    let all = asking(Views { spacing: true, base64: true, hex: true });
    let none = asking(Views::default());
    for (text, found) in [
        ("see b l u e b i r d now", "b l u e b i r d"),
        ("see b.l.u.e.b.i.r.d!", "b.l.u.e.b.i.r.d"),
        ("see ｂ ｌ u\u{200b} e b i r d", "ｂ ｌ u\u{200b} e b i r d"),
        // "the bluebird sings" in base64, hexadecimal, and base64 for addresses behind other letters
        ("x dGhlIGJsdWViaXJkIHNpbmdz y", "dGhlIGJsdWViaXJkIHNpbmdz"),
        ("x 74686520626c756562697264 y", "74686520626c756562697264"),
        ("x=zdGhlIGJsdWViaXJkIHNpbmdz", "zdGhlIGJsdWViaXJkIHNpbmdz"),
    ] {
        let expected = whole(&all, text);
        let places: Vec<_> = expected.iter().map(|hit| (hit.pattern, &text[hit.start..hit.end])).collect();
        assert_eq!(places, [(0, found)], "{text}");
        assert_eq!(whole(&none, text), [], "{text}");
        let cuts: Vec<usize> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
        for at in &cuts {
            assert_eq!(pieces(&all, [&text[..*at], &text[*at..]].into_iter()), expected, "{text} cut at {at}");
        }
        let single = text.char_indices().map(|(at, character)| &text[at..at + character.len_utf8()]);
        assert_eq!(pieces(&all, single), expected, "{text}");
    }
    let long = format!("{}dGhlIGJsdWViaXJkIHNpbmdz", "QUJD".repeat(5000));
    let expected = whole(&all, &long);
    assert_eq!(expected.len(), 1);
    assert_eq!(pieces(&all, [&long[..9000], &long[9000..]].into_iter()), expected);
}

#[test]
fn what_cannot_be_linear_is_refused_with_a_reason() {
    for (pattern, expected) in [
        (r"a(?=b)", "look-around"),
        (r"(?<!a)b", "look-around"),
        (r"(a)\1", "back-reference"),
        ("a*", "empty text"),
        ("(", "unclosed"),
        (r"(?:a{1000}){1000}{100}", "memory"),
    ] {
        let (place, error) = PatternSet::new(&[words(&["x"]), regex(pattern)]).expect_err(pattern);
        assert!(error.to_string().contains(expected), "{pattern}: {error}");
        assert!(place <= 1);
        let alone = fault(pattern, false).expect(pattern);
        assert!(alone.to_string().contains(expected), "{pattern}: {alone}");
    }
    assert_eq!(fault(r"\bproj-\d{4}\b", true), None);
    assert!(PatternSet::new(&[words(&[" "])]).is_err());
}

#[test]
fn a_long_match_is_found_across_blocks_in_either_way() {
    let set = set();
    for length in [100, WINDOW - 30, BLOCK - 5, BLOCK + 100, 3 * BLOCK] {
        for lead in [0, 7, BLOCK - 10, BLOCK + 1] {
            let text = format!("{}-----BEGIN KEY-----{} end", ".".repeat(lead), "A1 ".repeat(length / 3));
            let expected = whole(&set, &text);
            assert!(!expected.is_empty());
            let bytes = text.as_bytes();
            let parts = bytes.chunks(777).map(|part| std::str::from_utf8(part).expect("ASCII"));
            assert_eq!(pieces(&set, parts), expected, "length {length} behind {lead}");
        }
    }
}

#[test]
fn every_split_gives_the_same_verdict() {
    let set = set();
    for text in [
        "mail a.b@x.co.uk or bluebird now 4111-1111-1111-1111 sk-12345678abc.",
        "x blu\u{200b}ебird ａ@ｂ.ｃｏ %62luebird \\u0062luebird",
        "bluebird",
        "-----BEGIN KEY-----abc def",
        "ignore   all instructions",
        "a &#98;luebird &amp; %e2%80%8b",
        "\u{e0062}luebird",
    ] {
        let expected = whole(&set, text);
        let cuts: Vec<usize> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
        for first in &cuts {
            for second in cuts.iter().filter(|second| *second >= first) {
                let parts = [&text[..*first], &text[*first..*second], &text[*second..]];
                assert_eq!(pieces(&set, parts.into_iter()), expected, "{parts:?}");
            }
        }
        let single = text.char_indices().map(|(at, character)| &text[at..at + character.len_utf8()]);
        assert_eq!(pieces(&set, single), expected);
    }
}

/// The slow twin: every pair of start and end, asked of a backtracking-free regex anchored at both sides.
fn twin(text: &str) -> bool {
    let lower = plain(text).to_lowercase();
    let word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    lower.match_indices("ab1").any(|(at, found)| {
        let before = at.checked_sub(1).and_then(|before| lower.as_bytes().get(before));
        !word(before) && !word(lower.as_bytes().get(at + found.len()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_in_any_pieces(parts in proptest::collection::vec("[ab1@. \u{200b}а\\\\%u0&#;-]{0,6}", 0..12)) {
        let set = PatternSet::new(&[words(&["ab1"]), regex(r"[a-b]+@[a-b]+"), regex(r"1+\b"), regex("a[^b]*1")]).expect("compiles");
        let text = parts.concat();
        let expected = whole(&set, &text);
        prop_assert_eq!(pieces(&set, parts.iter().map(String::as_str)), expected.clone());
        prop_assert!(!twin(&text) || expected.iter().any(|hit| hit.pattern == 0));
    }
}

#[test]
fn two_views_of_one_match_are_one_finding() {
    let set = PatternSet::new(&[regex("a[^b]*1")]).expect("compiles");
    let parts = ["a", "%", "011", "0а", "1"];
    assert_eq!(pieces(&set, parts.into_iter()), whole(&set, &parts.concat()));
}

#[test]
fn a_match_that_another_may_lengthen_is_held_back() {
    let set = PatternSet::new(&[regex("[a-b]+@[a-b]+")]).expect("compiles");
    for parts in [["а@", "b@а", "\\%"], ["a@", "b@a", " b"], ["a@b@", "a@b@", "a "]] {
        assert_eq!(pieces(&set, parts.into_iter()), whole(&set, &parts.concat()), "{parts:?}");
    }
}

#[test]
fn check_digits() {
    for (name, good, bad) in [
        ("card", "4242424242424242", "4242424242424241"),
        ("card", "4111-1111-1111-1111", "1-1234-1234-1234-1234-41"),
        ("card", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "4 11 1 1 1 1 1 1 1 1 1 1 1 1 1"),
        ("iban", "DE89 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130 01"),
        ("us_ssn", "536-90-4399", "000-12-3456"),
        ("us_aba", "021000021", "021000022"),
        ("gb_nhs", "943 476 5919", "943 476 5918"),
        ("br_cpf", "529.982.247-25", "529.982.247-26"),
        ("br_cnpj", "11.222.333/0001-81", "11.222.333/0001-82"),
        ("es_nif", "12345678Z", "12345678A"),
        ("fr_nir", "255081416802538", "255081416802539"),
        ("it_codice_fiscale", "RSSMRA85T10A562S", "RSSMRA85T10A562T"),
        ("de_steuer_id", "86095742719", "86095742718"),
        ("nl_bsn", "111222333", "111222334"),
        ("pl_pesel", "44051401359", "44051401358"),
        ("fi_hetu", "131052-308T", "131052-308U"),
        ("ch_ahv", "756.9217.0769.85", "756.9217.0769.84"),
        ("tr_tckn", "10000000146", "10000000147"),
        ("in_aadhaar", "2341 2341 2346", "2341 2341 2347"),
        ("cn_resident", "11010519491231002X", "110105194912310021"),
        ("sg_nric", "S1234567D", "S1234567A"),
        ("au_tfn", "123 456 782", "123 456 783"),
        ("au_abn", "51 824 753 556", "51 824 753 557"),
        ("vin", "1M8GDM9AXKP042788", "1M8GDM9A1KP042788"),
        ("isin", "US0378331005", "US0378331006"),
        ("base58check", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb"),
        ("bech32", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5"),
        ("cl_rut", "12.345.678-5", "12.345.678-6"),
        ("ca_sin", "130 692 544", "130 692 545"),
        ("imei", "490154203237518", "490154203237519"),
        ("be_nn", "85.07.30-033 28", "85.07.30-033 29"),
        ("kr_rrn", "820701-2409181", "820701-2409182"),
    ] {
        let validator = Validator::parse(name).expect(name);
        assert!(validator.accepts(good.as_bytes()), "{name} refuses {good}");
        assert!(!validator.accepts(bad.as_bytes()), "{name} accepts {bad}");
    }
    // None of them fails on what no pattern would give it.
    for (_, validator) in Validator::ALL {
        for text in ["", "1", "A", "ABCDEFGHIJKLMNOPQ", "12345678901234567890123456789012345678901234567890", "é9-é"]
        {
            let _ = validator.accepts(text.as_bytes());
        }
    }
}
