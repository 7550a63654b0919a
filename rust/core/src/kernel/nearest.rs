//! "Did you mean …": the known name that a mistyped one most likely stands for.
//!
//! Names are compared without letter case and punctuation, so that `gpt4o` is `gpt-4o` and `claude-3.5` is `claude-3-5`,
//! by the number of insertions, deletions, substitutions and swaps of neighbours (optimal string alignment). People also
//! leave out what stands before the last `/` (the provider) or behind the name (a date), and both are looked for.
//!
//! The name comes from the request, so work is bounded: names above [`MAX_NAME`] bytes have no neighbour, at most
//! [`MAX_CANDIDATES`] names are looked at, and the distance is computed for a whole column of the table at once in a
//! machine word (Hyyrö 2003, "A bit-vector algorithm for computing Levenshtein and Damerau edit distances").

/// Longest name in bytes, of either side.
pub const MAX_NAME: usize = 128;
/// Most names looked at.
pub const MAX_CANDIDATES: usize = 2_000;
/// Shortest name that counts as a beginning of a longer one.
const MIN_PREFIX: usize = 4;

/// The name among `among` that is nearest to `name`, if any is near enough to be meant: at most a third of the letters
/// and digits of the shorter one differ. Of equally near names the first wins.
pub fn nearest<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > MAX_NAME {
        return None;
    }
    let whole = Pattern::new(name);
    let tail = Pattern::new(last_segment(name));
    let mut best: Option<(u32, &str)> = None;
    for candidate in among.take(MAX_CANDIDATES).filter(|candidate| candidate.len() <= MAX_NAME) {
        let same = whole.rank(candidate);
        let segment = last_segment(candidate);
        let short = if segment.len() < candidate.len() || tail.length < whole.length {
            // One step worse than the same likeness of the whole names.
            tail.rank(segment).map(|rank| rank + STEP)
        } else {
            None
        };
        let rank = [same, short].into_iter().flatten().min();
        if let Some(rank) = rank.filter(|rank| best.is_none_or(|(least, _)| *rank < least)) {
            best = Some((rank, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Weight of one edit in a rank; the rest of the rank orders equal distances.
const STEP: u32 = 1_000;

fn last_segment(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The bytes that count: letters and digits in lower case, and everything outside ASCII.
fn letters(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().filter(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii()).map(|byte| byte.to_ascii_lowercase())
}

/// A name prepared for comparing: for each byte, the positions where it stands.
struct Pattern {
    length: u32,
    places: Box<[u128; 256]>,
}

impl Pattern {
    fn new(name: &str) -> Self {
        let mut places = Box::new([0; 256]);
        let mut length = 0;
        for byte in letters(name) {
            places[usize::from(byte)] |= 1 << length;
            length += 1;
        }
        Self { length, places }
    }

    /// How far `candidate` is, the smaller the nearer; `None` if too far.
    fn rank(&self, candidate: &str) -> Option<u32> {
        let (length, distance, prefix) = self.compare(candidate);
        let shorter = self.length.min(length);
        if shorter == 0 {
            return None;
        }
        if prefix == shorter && shorter as usize >= MIN_PREFIX {
            // The beginning of a longer name is as good as one edit, a longer name's beginning as two.
            let steps = if self.length <= length { 1 } else { 2 };
            return Some(distance.min(steps) * STEP + distance);
        }
        let near = distance <= (shorter / 3).max(1) && distance < shorter;
        near.then_some(distance * STEP + STEP / 2 + distance)
    }

    /// The candidate's length, its distance (unless this pattern is empty), and how many bytes agree from the start.
    fn compare(&self, candidate: &str) -> (u32, u32, u32) {
        let last = if self.length == 0 { 0 } else { 1_u128 << (self.length - 1) };
        let (mut plus, mut minus, mut diagonal, mut previous) = (u128::MAX, 0_u128, 0_u128, 0_u128);
        let (mut distance, mut length, mut prefix) = (self.length, 0, 0);
        for byte in letters(candidate) {
            let places = self.places[usize::from(byte)];
            if prefix == length && length < self.length && places >> length & 1 == 1 {
                prefix += 1;
            }
            let swapped = ((!diagonal & places) << 1) & previous;
            diagonal = (((places & plus).wrapping_add(plus)) ^ plus) | places | minus | swapped;
            let up = minus | !(diagonal | plus);
            let down = diagonal & plus;
            distance += u32::from(up & last != 0);
            distance -= u32::from(down & last != 0);
            let up = up << 1 | 1;
            plus = (down << 1) | !(diagonal | up);
            minus = diagonal & up;
            previous = places;
            length += 1;
        }
        (length, distance, prefix)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The slow twin: the whole table of optimal string alignment.
    fn twin(a: &[u8], b: &[u8]) -> u32 {
        let mut table = vec![vec![0_u32; b.len() + 1]; a.len() + 1];
        for i in 0..=a.len() {
            for j in 0..=b.len() {
                table[i][j] = if i == 0 || j == 0 {
                    (i + j) as u32
                } else {
                    let replaced = table[i - 1][j - 1] + u32::from(a[i - 1] != b[j - 1]);
                    let mut best = replaced.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
                    if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                        best = best.min(table[i - 2][j - 2] + 1);
                    }
                    best
                };
            }
        }
        table[a.len()][b.len()]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn measures_like_the_table(a in "[abc]{0,128}", b in "[abc]{0,128}", short in "[ab]{0,9}", other in "[ab]{0,9}") {
            for (a, b) in [(&a, &b), (&short, &other), (&short, &b), (&a, &other)] {
                if a.is_empty() {
                    continue; // has no rank
                }
                let (length, distance, prefix) = Pattern::new(a).compare(b);
                prop_assert_eq!(length as usize, b.len());
                prop_assert_eq!(distance, twin(a.as_bytes(), b.as_bytes()), "{} {}", a, b);
                let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
                prop_assert_eq!(prefix as usize, same);
            }
        }

        #[test]
        fn survives_any_name(name in ".{0,200}", among in prop::collection::vec(".{0,200}", 0..5)) {
            let found = nearest(&name, among.iter().map(String::as_str));
            prop_assert!(found.is_none_or(|found| among.iter().any(|name| name == found)));
        }
    }

    #[test]
    fn finds_what_was_meant() {
        let models = [
            "gpt-4o",
            "gpt-4o-mini",
            "gpt-4-turbo",
            "gpt-3.5-turbo",
            "o3",
            "o3-mini",
            "claude-3-5-sonnet-20241022",
            "claude-sonnet-4-20250514",
            "claude-3-haiku",
            "mistral/mistral-large",
            "openai/gpt-5",
            "llama-3.1-405b-instruct",
            "text-embedding-3-small",
            "whisper-1",
            "größe-1",
        ];
        for (typed, expected) in [
            ("gpt-4o", Some("gpt-4o")),
            ("GPT4o", Some("gpt-4o")),
            ("gtp-4o", Some("gpt-4o")),
            ("gpt-4o-mni", Some("gpt-4o-mini")),
            ("gpt4o-mini", Some("gpt-4o-mini")),
            ("gpt-4o-mini-2024-07-18", Some("gpt-4o-mini")),
            ("openai/gpt-4o", Some("gpt-4o")),
            ("gpt-5", Some("openai/gpt-5")),
            ("azure/gpt-5", Some("openai/gpt-5")),
            ("claude-3.5-sonnet", Some("claude-3-5-sonnet-20241022")),
            ("claude-sonnet-4", Some("claude-sonnet-4-20250514")),
            ("mistral-large-latest", Some("mistral/mistral-large")),
            ("llama-3.1-405b", Some("llama-3.1-405b-instruct")),
            ("text-embeding-3-smal", Some("text-embedding-3-small")),
            ("wisper", Some("whisper-1")),
            ("groesse-1", None),
            ("grösse-1", Some("größe-1")),
            ("gemini-2.5-pro", None),
            ("xyz", None),
            ("", None),
            ("-", None),
            ("/", None),
        ] {
            assert_eq!(nearest(typed, models.into_iter()), expected, "{typed}");
        }
        assert_eq!(nearest("a", ["b", "c"].into_iter()), None);
        assert_eq!(nearest(&"x".repeat(129), [&*"x".repeat(128)].into_iter()), None);
        assert_eq!(nearest("abcd", ["abce", "abcf"].into_iter()), Some("abce"));
        let far = std::iter::repeat_n("zzzz", MAX_CANDIDATES).chain(["abcd"]);
        assert_eq!(nearest("abcd", far), None);
    }
}
