//! What a pattern cannot say: check digits, ranges, randomness. Each validator gets the bytes of a candidate.
//!
//! Algorithms from the public descriptions of the issuing bodies; the presets name them per pattern.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

macro_rules! validators {
    ($($(#[$doc:meta])* $variant:ident = $name:literal => $check:expr;)*) => {
        /// A check of a candidate.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Validator { $($(#[$doc])* $variant,)* }

        impl Validator {
            /// All of them, by name.
            pub const ALL: &'static [(&'static str, Validator)] = &[$(($name, Validator::$variant),)*];

            /// Whether the candidate passes.
            #[must_use]
            pub fn accepts(self, text: &[u8]) -> bool {
                match self { $(Validator::$variant => $check(text),)* }
            }
        }
    };
}

validators! {
    /// ISO/IEC 7812-1: payment cards, IMEI, SIN, …
    Luhn = "luhn" => |text: &[u8]| luhn(&digits(text));
    /// Payment card: Luhn, issuer's prefix and length.
    Card = "card" => card;
    /// ISO 13616: length of the country and mod 97.
    Iban = "iban" => iban;
    /// ISO 7064 mod 97-10 of an alphanumeric (LEI).
    Mod97 = "mod97" => |text: &[u8]| mod97(text.iter().copied().filter(u8::is_ascii_alphanumeric)) == 1;
    Verhoeff = "verhoeff" => verhoeff;
    UsSsn = "us_ssn" => us_ssn;
    UsItin = "us_itin" => us_itin;
    UsAba = "us_aba" => |text: &[u8]| weighted(text, &[3, 7, 1, 3, 7, 1, 3, 7, 1], 10, 0) && !all_same(text);
    UsNpi = "us_npi" => |text: &[u8]| { let mut all = vec![8, 0, 8, 4, 0]; all.extend(digits(text)); luhn(&all) };
    GbNhs = "gb_nhs" => gb_nhs;
    GbNino = "gb_nino" => gb_nino;
    GbUtr = "gb_utr" => gb_utr;
    CaSin = "ca_sin" => |text: &[u8]| { let d = digits(text); d.len() == 9 && d[0] != 0 && d[0] != 8 && luhn(&d) };
    BrCpf = "br_cpf" => br_cpf;
    BrCnpj = "br_cnpj" => br_cnpj;
    ArCuit = "ar_cuit" => |text: &[u8]| mod11_last(text, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]);
    ClRut = "cl_rut" => cl_rut;
    MxCurp = "mx_curp" => mx_curp;
    EsNif = "es_nif" => es_nif;
    FrNir = "fr_nir" => fr_nir;
    ItFiscal = "it_codice_fiscale" => it_fiscal;
    DeSteuerId = "de_steuer_id" => de_steuer_id;
    NlBsn = "nl_bsn" => |text: &[u8]| weighted_signed(text, &[9, 8, 7, 6, 5, 4, 3, 2, -1], 11) && !all_same(text);
    BeNn = "be_nn" => be_nn;
    PlPesel = "pl_pesel" => |text: &[u8]| weighted(text, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1], 10, 0) && !all_same(text);
    PlNip = "pl_nip" => pl_nip;
    PtNif = "pt_nif" => |text: &[u8]| mod11_last(text, &[9, 8, 7, 6, 5, 4, 3, 2]);
    SePersonnummer = "se_personnummer" => |text: &[u8]| { let d = digits(text); luhn(&d[d.len().saturating_sub(10)..]) && date_at(&d[d.len().saturating_sub(8)..]) };
    NoFnr = "no_fnr" => no_fnr;
    FiHetu = "fi_hetu" => fi_hetu;
    DkCpr = "dk_cpr" => |text: &[u8]| { let d = digits(text); d.len() == 10 && (1..=31).contains(&pair(&d, 0)) && (1..=12).contains(&pair(&d, 2)) };
    ChAhv = "ch_ahv" => |text: &[u8]| { let d = digits(text); d.starts_with(&[7, 5, 6]) && ean13(&d) };
    AtSvnr = "at_svnr" => at_svnr;
    RoCnp = "ro_cnp" => |text: &[u8]| control(text, &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9], |sum| if sum % 11 == 10 { 1 } else { sum % 11 });
    BgEgn = "bg_egn" => |text: &[u8]| control(text, &[2, 4, 8, 5, 10, 9, 7, 3, 6], |sum| sum % 11 % 10);
    CzRc = "cz_rodne_cislo" => |text: &[u8]| { let d = digits(text); d.len() == 10 && number(&d).is_multiple_of(11) && (1..=12).contains(&(pair(&d, 2) % 50 % 20)) };
    TrTckn = "tr_tckn" => tr_tckn;
    ZaId = "za_id" => |text: &[u8]| { let d = digits(text); d.len() == 13 && luhn(&d) && (1..=12).contains(&pair(&d, 2)) && (1..=31).contains(&pair(&d, 4)) };
    IlId = "il_id" => |text: &[u8]| { let d = digits(text); d.len() == 9 && luhn(&d) && !all_same(text) };
    InAadhaar = "in_aadhaar" => |text: &[u8]| { let d = digits(text); d.len() == 12 && d[0] > 1 && verhoeff(text) };
    CnResident = "cn_resident" => cn_resident;
    KrRrn = "kr_rrn" => |text: &[u8]| control(text, &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5], |sum| (11 - sum % 11) % 10);
    JpMyNumber = "jp_my_number" => |text: &[u8]| control(text, &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2], |sum| if sum % 11 <= 1 { 0 } else { 11 - sum % 11 }) && !all_same(text);
    SgNric = "sg_nric" => sg_nric;
    AuTfn = "au_tfn" => |text: &[u8]| weighted(text, &[1, 4, 3, 7, 5, 8, 6, 9, 10], 11, 0) && !all_same(text);
    AuAbn = "au_abn" => au_abn;
    AuMedicare = "au_medicare" => |text: &[u8]| { let d = digits(text); d.len() >= 10 && (2..=6).contains(&d[0]) && weighted_digits(&d[..8], &[1, 3, 7, 9, 1, 3, 7, 9]) % 10 == u64::from(d[8]) };
    NzIrd = "nz_ird" => nz_ird;
    Imei = "imei" => |text: &[u8]| { let d = digits(text); d.len() == 15 && luhn(&d) && !all_same(text) };
    Vin = "vin" => vin;
    Isin = "isin" => isin;
    Ean13 = "ean13" => |text: &[u8]| ean13(&digits(text));
    Ipv4 = "ipv4" => |text: &[u8]| str_of(text).parse::<std::net::Ipv4Addr>().is_ok_and(|a| !a.is_unspecified());
    Ipv6 = "ipv6" => |text: &[u8]| str_of(text).parse::<std::net::Ipv6Addr>().is_ok_and(|a| !a.is_unspecified());
    Base58Check = "base58check" => base58check;
    Bech32 = "bech32" => bech32;
    Jwt = "jwt" => jwt;
    /// Looks random: at least 3 bits for each character.
    Entropy3 = "entropy3" => |text: &[u8]| entropy(text) >= 3.0;
    /// At least 3.5 bits, and more than one kind of character.
    Entropy = "entropy" => |text: &[u8]| entropy(text) >= 3.5 && text.iter().any(u8::is_ascii_digit) && text.iter().any(u8::is_ascii_alphabetic);
    Entropy4 = "entropy4" => |text: &[u8]| entropy(text) >= 4.0 && text.iter().any(u8::is_ascii_digit) && text.iter().any(u8::is_ascii_alphabetic);
}

impl Validator {
    /// By its name in a preset.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, validator)| *validator)
    }
}

fn str_of(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

fn digits(text: &[u8]) -> Vec<u8> {
    text.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0').collect()
}

fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(*digit))
}

fn pair(digits: &[u8], at: usize) -> u64 {
    digits.get(at..at + 2).map_or(0, number)
}

fn all_same(text: &[u8]) -> bool {
    let found = digits(text);
    found.iter().all(|digit| Some(digit) == found.first())
}

/// The last eight digits of a Swedish number begin with month and day behind the year.
fn date_at(found: &[u8]) -> bool {
    (1..=12).contains(&pair(found, 0)) && (1..=91).contains(&pair(found, 2))
}

fn luhn(found: &[u8]) -> bool {
    let sum: u64 = found
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match u64::from(*digit) * (1 + index as u64 % 2) {
            large @ 10.. => large - 9,
            small => small,
        })
        .sum();
    found.len() > 1 && sum.is_multiple_of(10) && found.iter().any(|digit| *digit != 0)
}

fn card(text: &[u8]) -> bool {
    let d = digits(text);
    let head = |count: usize| number(&d[..count.min(d.len())]);
    let issuer = match d.len() {
        13 => head(1) == 4,
        14 => matches!(head(2), 36 | 38 | 39) || (300..=305).contains(&head(3)),
        15 => matches!(head(2), 34 | 37) || matches!(head(4), 2131 | 1800),
        16 => {
            head(1) == 4
                || (51..=55).contains(&head(2))
                || (2221..=2720).contains(&head(4))
                || head(4) == 6011
                || (644..=649).contains(&head(3))
                || matches!(head(2), 65 | 62 | 60)
                || (3528..=3589).contains(&head(4))
                || (2200..=2204).contains(&head(4))
                || matches!(head(2), 50 | 56..=58)
        }
        17..=19 => matches!(head(2), 62 | 50 | 56..=58 | 63 | 67) || head(1) == 4,
        _ => false,
    };
    issuer && luhn(&d) && !all_same(text) && card_groups(text)
}

/// Digits together, one by one, or in the groups of a card: lists of numbers and identifiers are in others.
fn card_groups(text: &[u8]) -> bool {
    let groups: Vec<usize> = text.split(|byte| !byte.is_ascii_digit()).map(<[u8]>::len).collect();
    match groups.as_slice() {
        [_] | [4, 6, 4 | 5] => true,
        [4, 4, 4, rest @ ..] => matches!(rest, [1..=4] | [4, 1..=3]),
        groups => groups.iter().all(|group| *group == 1),
    }
}

fn mod97(characters: impl Iterator<Item = u8>) -> u64 {
    characters.fold(0, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u64::from(byte - b'0')) % 97,
        letter => (rest * 100 + u64::from(letter.to_ascii_uppercase() - b'A' + 10)) % 97,
    })
}

/// Lengths from the SWIFT IBAN registry.
const IBAN: &str = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BR29BY28CH21CR22CY28CZ24DE22DK18DO28EE20EG29ES24FI18FO18FR27GB22GE22\
                    GI23GL18GR27GT28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MR27\
                    MT31MU30NL18NO15PK24PL28PS29PT25QA29RO24RS22SA24SC31SE24SI19SK24SM27ST25SV28TL23TN24TR26UA29VA22VG24XK20";

fn iban(text: &[u8]) -> bool {
    let plain: Vec<u8> = text.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_uppercase).collect();
    let Some((head, rest)) = plain.split_at_checked(4) else { return false };
    let known = IBAN.as_bytes().chunks_exact(4).find(|row| row[..2] == head[..2]);
    let length = known.map_or(0, |row| usize::from(row[2] - b'0') * 10 + usize::from(row[3] - b'0'));
    plain.len() == length && mod97(rest.iter().chain(head).copied()) == 1
}

fn weighted_digits(found: &[u8], weights: &[u64]) -> u64 {
    found.iter().zip(weights).map(|(digit, weight)| u64::from(*digit) * weight).sum()
}

fn weighted(text: &[u8], weights: &[u64], modulus: u64, rest: u64) -> bool {
    let d = digits(text);
    d.len() == weights.len() && weighted_digits(&d, weights) % modulus == rest
}

fn weighted_signed(text: &[u8], weights: &[i64], modulus: i64) -> bool {
    let d = digits(text);
    let sum: i64 = d.iter().zip(weights).map(|(digit, weight)| i64::from(*digit) * weight).sum();
    d.len() == weights.len() && sum % modulus == 0
}

/// The last digit is what `expected` makes of the weighted sum of the others.
fn control(text: &[u8], weights: &[u64], expected: impl Fn(u64) -> u64) -> bool {
    let d = digits(text);
    d.len() == weights.len() + 1 && expected(weighted_digits(&d, weights)) == u64::from(d[weights.len()])
}

/// 11 minus the rest, with 10 and 11 as 0.
fn mod11_last(text: &[u8], weights: &[u64]) -> bool {
    control(text, weights, |sum| match 11 - sum % 11 {
        10 | 11 => 0,
        digit => digit,
    }) && !all_same(text)
}

fn verhoeff(text: &[u8]) -> bool {
    const D: [[u8; 10]; 10] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
        [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
        [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
        [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
        [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
        [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
        [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
        [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ];
    const P: [[u8; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    let found = digits(text);
    let check = found
        .iter()
        .rev()
        .enumerate()
        .fold(0, |check, (index, digit)| D[usize::from(check)][usize::from(P[index % 8][usize::from(*digit)])]);
    !found.is_empty() && check == 0
}

/// Social Security Administration: no area 000, 666 or 9xx, no group 00, no serial 0000.
fn us_ssn(text: &[u8]) -> bool {
    let d = digits(text);
    if d.len() != 9 || all_same(text) {
        return false;
    }
    let (area, group, serial) = (number(&d[..3]), number(&d[3..5]), number(&d[5..]));
    !matches!(area, 0 | 666 | 900..)
        && group != 0
        && serial != 0
        && !matches!(number(&d), 123_456_789 | 78_051_120 | 219_099_999)
}

fn us_itin(text: &[u8]) -> bool {
    let d = digits(text);
    d.len() == 9 && d[0] == 9 && matches!(pair(&d, 3), 50..=65 | 70..=88 | 90..=92 | 94..=99)
}

fn gb_nhs(text: &[u8]) -> bool {
    control(text, &[10, 9, 8, 7, 6, 5, 4, 3, 2], |sum| match 11 - sum % 11 {
        11 => 0,
        digit => digit,
    }) && !all_same(text)
}

fn gb_nino(text: &[u8]) -> bool {
    let plain: Vec<u8> = text.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_uppercase).collect();
    let Some(head) = plain.get(..2) else { return false };
    !matches!(head, b"BG" | b"GB" | b"KN" | b"NK" | b"NT" | b"TN" | b"ZZ")
        && !b"DFIQUV".contains(&head[0])
        && !b"DFIQUVO".contains(&head[1])
}

fn gb_utr(text: &[u8]) -> bool {
    let d = digits(text);
    const CHECK: [u8; 11] = [2, 1, 9, 8, 7, 6, 5, 4, 3, 2, 1];
    d.len() == 10 && CHECK[(weighted_digits(&d[1..], &[6, 7, 8, 9, 10, 5, 4, 3, 2]) % 11) as usize] == d[0]
}

fn br_cpf(text: &[u8]) -> bool {
    let d = digits(text);
    let check = |count: usize| {
        let sum: u64 =
            d[..count].iter().zip((2..=count as u64 + 1).rev()).map(|(digit, weight)| u64::from(*digit) * weight).sum();
        sum * 10 % 11 % 10
    };
    d.len() == 11 && !all_same(text) && check(9) == u64::from(d[9]) && check(10) == u64::from(d[10])
}

fn br_cnpj(text: &[u8]) -> bool {
    let d = digits(text);
    const W: [u64; 13] = [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2];
    let check = |count: usize| match weighted_digits(&d[..count], &W[13 - count..]) % 11 {
        0 | 1 => 0,
        rest => 11 - rest,
    };
    d.len() == 14 && !all_same(text) && check(12) == u64::from(d[12]) && check(13) == u64::from(d[13])
}

fn cl_rut(text: &[u8]) -> bool {
    let plain: Vec<u8> = text.iter().filter(|byte| byte.is_ascii_alphanumeric()).copied().collect();
    let Some((check, body)) = plain.split_last() else { return false };
    if !body.iter().all(u8::is_ascii_digit) || all_same(body) {
        return false;
    }
    let sum: u64 = body
        .iter()
        .rev()
        .zip([2, 3, 4, 5, 6, 7].iter().cycle())
        .map(|(byte, weight)| u64::from(byte - b'0') * weight)
        .sum();
    match 11 - sum % 11 {
        11 => *check == b'0',
        10 => check.eq_ignore_ascii_case(&b'K'),
        digit => u64::from(check.wrapping_sub(b'0')) == digit,
    }
}

fn mx_curp(text: &[u8]) -> bool {
    if text.len() != 18 {
        return false;
    }
    const ALPHABET: &str = "0123456789ABCDEFGHIJKLMN&OPQRSTUVWXYZ";
    let value = |byte: u8| ALPHABET.bytes().position(|known| known == byte.to_ascii_uppercase()).unwrap_or(0) as u64;
    let sum: u64 = text[..17].iter().enumerate().map(|(index, byte)| value(*byte) * (18 - index as u64)).sum();
    (10 - sum % 10) % 10 == u64::from(text[17].wrapping_sub(b'0'))
}

/// Letter by the number modulo 23; foreigners' X, Y, Z stand for 0, 1, 2.
fn es_nif(text: &[u8]) -> bool {
    let plain: Vec<u8> = text.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_uppercase).collect();
    let Some((letter, body)) = plain.split_last() else { return false };
    let mut body = body.to_vec();
    if let Some(first) = body.first_mut().filter(|first| (b'X'..=b'Z').contains(first)) {
        *first = *first - b'X' + b'0';
    }
    body.len() == 8
        && body.iter().all(u8::is_ascii_digit)
        && b"TRWAGMYFPDXBNJZSQVHLCKE"[(number(&digits(&body)) % 23) as usize] == *letter
}

fn fr_nir(text: &[u8]) -> bool {
    let plain: Vec<u8> = text.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_uppercase).collect();
    if plain.len() != 15 {
        return false;
    }
    // Corsica: 2A counts as 19, 2B as 18.
    let body = String::from_utf8_lossy(&plain[..13]).replace("2A", "19").replace("2B", "18");
    let Ok(value) = body.parse::<u64>() else { return false };
    97 - value % 97 == number(&digits(&plain[13..]))
}

fn it_fiscal(text: &[u8]) -> bool {
    const ODD: [u64; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let plain: Vec<u8> = text.iter().map(u8::to_ascii_uppercase).collect();
    if plain.len() != 16 {
        return false;
    }
    let index = |byte: u8| usize::from(if byte.is_ascii_digit() { byte - b'0' } else { byte.wrapping_sub(b'A') });
    let sum: u64 = plain[..15]
        .iter()
        .enumerate()
        .map(|(at, byte)| if at % 2 == 0 { ODD.get(index(*byte)).copied().unwrap_or(0) } else { index(*byte) as u64 })
        .sum();
    u64::from(plain[15].wrapping_sub(b'A')) == sum % 26
}

/// ISO 7064 mod 11,10; one digit of the first ten stands two or three times.
fn de_steuer_id(text: &[u8]) -> bool {
    let d = digits(text);
    if d.len() != 11 || d[0] == 0 {
        return false;
    }
    let counts = (0..10).map(|digit| d[..10].iter().filter(|found| **found == digit).count());
    let repeated: Vec<usize> = counts.filter(|count| *count > 1).collect();
    let product = d[..10].iter().fold(10_u64, |product, digit| {
        let sum = (u64::from(*digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    repeated.len() == 1 && repeated[0] <= 3 && (11 - product) % 10 == u64::from(d[10])
}

fn be_nn(text: &[u8]) -> bool {
    let d = digits(text);
    if d.len() != 11 {
        return false;
    }
    let (body, check) = (number(&d[..9]), number(&d[9..]));
    97 - body % 97 == check || 97 - (2_000_000_000 + body) % 97 == check
}

fn pl_nip(text: &[u8]) -> bool {
    control(text, &[6, 5, 7, 2, 3, 4, 5, 6, 7], |sum| sum % 11) && !all_same(text)
}

fn no_fnr(text: &[u8]) -> bool {
    let d = digits(text);
    if d.len() != 11 {
        return false;
    }
    let one = (11 - weighted_digits(&d[..9], &[3, 7, 6, 1, 8, 9, 4, 5, 2]) % 11) % 11;
    let two = (11 - weighted_digits(&d[..10], &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11) % 11;
    one == u64::from(d[9]) && two == u64::from(d[10]) && !all_same(text)
}

fn fi_hetu(text: &[u8]) -> bool {
    let d = digits(&text[..text.len().saturating_sub(1)]);
    let sign = text.last().copied().unwrap_or(0).to_ascii_uppercase();
    d.len() == 9 && b"0123456789ABCDEFHJKLMNPRSTUVWXY"[(number(&d) % 31) as usize] == sign
}

fn ean13(found: &[u8]) -> bool {
    found.len() == 13 && weighted_digits(found, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
}

fn at_svnr(text: &[u8]) -> bool {
    let d = digits(text);
    d.len() == 10
        && d[0] != 0
        && weighted_digits(&d, &[3, 7, 9, 0, 5, 8, 4, 2, 1, 6]) % 11 == u64::from(d[3])
        && (1..=31).contains(&pair(&d, 4))
        && (1..=15).contains(&pair(&d, 6))
}

fn tr_tckn(text: &[u8]) -> bool {
    let d = digits(text);
    if d.len() != 11 || d[0] == 0 {
        return false;
    }
    let sum = |from: usize| -> u64 { d[from..9].iter().step_by(2).map(|digit| u64::from(*digit)).sum() };
    let all: u64 = d[..10].iter().map(|digit| u64::from(*digit)).sum();
    (sum(0) * 7 + 10 * 9 - sum(1)) % 10 == u64::from(d[9]) && all % 10 == u64::from(d[10])
}

fn cn_resident(text: &[u8]) -> bool {
    let (Some(body), Some(check)) = (text.get(..17), text.get(17)) else { return false };
    const W: [u64; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum = weighted_digits(&digits(body), &W);
    b"10X98765432"[(sum % 11) as usize] == check.to_ascii_uppercase()
}

fn sg_nric(text: &[u8]) -> bool {
    let plain: Vec<u8> = text.iter().map(u8::to_ascii_uppercase).collect();
    if plain.len() != 9 {
        return false;
    }
    let sum = weighted_digits(&digits(&plain[1..8]), &[2, 7, 6, 5, 4, 3, 2]);
    let (extra, letters) = match plain[0] {
        b'S' => (0, b"JZIHGFEDCBA"),
        b'T' => (4, b"JZIHGFEDCBA"),
        b'F' => (0, b"XWUTRQPNMLK"),
        b'G' => (4, b"XWUTRQPNMLK"),
        _ => return false,
    };
    letters[((sum + extra) % 11) as usize] == plain[8]
}

fn au_abn(text: &[u8]) -> bool {
    let d = digits(text);
    d.len() == 11 && d[0] > 0 && (weighted_digits(&d, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]) - 10).is_multiple_of(89)
}

fn nz_ird(text: &[u8]) -> bool {
    let d = digits(text);
    if !(8..=9).contains(&d.len()) || !(10_000_000..150_000_000).contains(&number(&d)) {
        return false;
    }
    let mut padded = vec![0; 9 - d.len()];
    padded.extend(&d);
    let check = |weights: &[u64]| (11 - weighted_digits(&padded, weights) % 11) % 11;
    let first = check(&[3, 2, 7, 6, 5, 4, 3, 2]);
    let found = if first == 10 { check(&[7, 4, 3, 2, 5, 2, 7, 6]) } else { first };
    found == u64::from(padded[8])
}

/// ISO 3779 with the check digit of North America.
fn vin(text: &[u8]) -> bool {
    const W: [u64; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    let value = |byte: u8| match byte.to_ascii_uppercase() {
        digit @ b'0'..=b'9' => u64::from(digit - b'0'),
        letter @ b'A'..=b'H' => u64::from(letter - b'A' + 1),
        letter @ b'J'..=b'R' => u64::from(letter - b'J' + 1),
        letter => u64::from(letter.wrapping_sub(b'S')) + 2,
    };
    if text.len() != 17 || !text.iter().any(u8::is_ascii_alphabetic) {
        return false;
    }
    let sum: u64 = text.iter().zip(W).map(|(byte, weight)| value(*byte) * weight).sum();
    match sum % 11 {
        10 => text[8].eq_ignore_ascii_case(&b'X'),
        digit => u64::from(text[8].wrapping_sub(b'0')) == digit,
    }
}

fn isin(text: &[u8]) -> bool {
    let mut expanded = Vec::new();
    for byte in text.iter().map(u8::to_ascii_uppercase) {
        match byte {
            b'0'..=b'9' => expanded.push(byte - b'0'),
            b'A'..=b'Z' => expanded.extend([(byte - b'A' + 10) / 10, (byte - b'A' + 10) % 10]),
            _ => return false,
        }
    }
    text.len() == 12 && luhn(&expanded)
}

fn base58check(text: &[u8]) -> bool {
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut bytes = [0_u8; 40];
    for character in text {
        let Some(mut carry) = ALPHABET.iter().position(|known| known == character) else { return false };
        for byte in bytes.iter_mut().rev() {
            carry += usize::from(*byte) * 58;
            *byte = (carry % 256) as u8;
            carry /= 256;
        }
        if carry > 0 {
            return false;
        }
    }
    // Version and hash (21 bytes), or version, key and flag (33, 34); then four bytes of checksum.
    [25, 37, 38].iter().any(|length| {
        let tail = &bytes[bytes.len() - length..];
        let (body, check) = tail.split_at(length - 4);
        Sha256::digest(Sha256::digest(body))[..4] == *check
            && bytes[..bytes.len() - length].iter().all(|byte| *byte == 0)
    })
}

/// BIP 173 and BIP 350.
fn bech32(text: &[u8]) -> bool {
    const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let lower = text.to_ascii_lowercase();
    let Some(split) = lower.iter().rposition(|byte| *byte == b'1') else { return false };
    let (prefix, data) = (&lower[..split], &lower[split + 1..]);
    let mut check = 1_u32;
    let mut step = |value: u32| {
        let top = check >> 25;
        check = (check & 0x1ff_ffff) << 5 ^ value;
        for (bit, generator) in [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3].iter().enumerate() {
            if top >> bit & 1 == 1 {
                check ^= generator;
            }
        }
    };
    prefix.iter().for_each(|byte| step(u32::from(byte >> 5)));
    step(0);
    prefix.iter().for_each(|byte| step(u32::from(byte & 31)));
    for byte in data {
        let Some(value) = ALPHABET.iter().position(|known| known == byte) else { return false };
        step(value as u32);
    }
    data.len() >= 6 && (check == 1 || check == 0x2bc8_30a3)
}

/// The first part is base64url of a JSON object with an algorithm.
fn jwt(text: &[u8]) -> bool {
    let head = text.split(|byte| *byte == b'.').next().unwrap_or_default();
    let Ok(json) = URL_SAFE_NO_PAD.decode(head) else { return false };
    json.first() == Some(&b'{') && memchr::memmem::find(&json, b"\"alg\"").is_some()
}

/// Shannon entropy, bits for each byte.
fn entropy(text: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    text.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let length = text.len().max(1) as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / length;
            -share * share.log2()
        })
        .sum()
}
