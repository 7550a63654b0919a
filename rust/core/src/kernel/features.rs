//! What a prompt looks like, in numbers, without a model: its length, language, code, mathematics and structure, and its words
//! hashed into a small vector. The same function serves requests and training, so they cannot differ.
//!
//! One pass over the text; 1 KiB takes a few microseconds.

/// Version of what the numbers mean; a model trained on another one is refused.
pub const VERSION: u32 = 1;
/// Length of the vector: the dense part, then hashed words.
pub const DIM: usize = 256;
/// Numbers with a meaning of their own.
pub const DENSE: usize = 24;
/// Longest text that is looked at.
pub const TEXT_MAX: usize = 16 * 1024;

/// A prompt: its last message, and what came with it.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    /// At most [`TEXT_MAX`] bytes.
    pub text: Vec<u8>,
    pub messages: u32,
    /// Bytes of all messages.
    pub total: u64,
    pub tools: bool,
    pub images: bool,
}

#[derive(Clone, Debug)]
pub struct Features {
    /// Each from 0 to 1.
    pub dense: [f32; DENSE],
    /// Of about the same length for every prompt.
    pub vector: [i8; DIM],
}

/// Words that ask for thought.
const HARD: [&str; 36] = [
    "prove",
    "proof",
    "derive",
    "theorem",
    "analyze",
    "analyse",
    "optimize",
    "optimal",
    "algorithm",
    "complexity",
    "design",
    "architecture",
    "tradeoff",
    "tradeoffs",
    "debug",
    "refactor",
    "implement",
    "concurrency",
    "integral",
    "equation",
    "probability",
    "hypothesis",
    "evaluate",
    "compare",
    "justify",
    "strategy",
    "diagnose",
    "simulate",
    "constraint",
    "constraints",
    "step",
    "reason",
    "reasoning",
    "formal",
    "estimate",
    "plan",
];
/// Words that ask for little.
const EASY: [&str; 24] = [
    "hi",
    "hello",
    "hey",
    "thanks",
    "thank",
    "translate",
    "capital",
    "define",
    "spell",
    "synonym",
    "rhyme",
    "rewrite",
    "title",
    "greeting",
    "joke",
    "lowercase",
    "uppercase",
    "summarize",
    "weather",
    "convert",
    "name",
    "list",
    "fix",
    "typo",
];
const CODE: [&str; 22] = [
    "def",
    "class",
    "import",
    "return",
    "function",
    "const",
    "let",
    "var",
    "fn",
    "struct",
    "impl",
    "public",
    "static",
    "void",
    "async",
    "await",
    "select",
    "from",
    "where",
    "null",
    "none",
    "traceback",
];
const MUST: [&str; 8] = ["must", "should", "ensure", "exactly", "only", "without", "requirements", "every"];

#[derive(Default)]
struct Counts {
    words: u32,
    letters: u32,
    long: u32,
    hard: u32,
    easy: u32,
    code: u32,
    must: u32,
    digits: u32,
    operators: u32,
    brackets: u32,
    lines: u32,
    bullets: u32,
    questions: u32,
    sentences: u32,
    fences: u32,
    foreign: u32,
    capitals: u32,
    distinct: u32,
}

/// FNV-1a over lower-case letters.
fn hashed(hash: u32, byte: u8) -> u32 {
    (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
}

const SEED: u32 = 0x811c_9dc5;

/// Whether a word of up to 15 bytes is on a list.
fn among(list: &[&str], word: &[u8]) -> bool {
    list.iter().any(|known| known.as_bytes() == word)
}

/// The features of a prompt.
pub fn features(prompt: &Prompt) -> Features {
    let text = prompt.text.get(..prompt.text.len().min(TEXT_MAX)).unwrap_or_default();
    let mut counts = Counts::default();
    let mut buckets = [0i16; DIM - DENSE];
    scan(text, &mut counts, &mut buckets);
    let dense = dense(prompt, text.len(), &counts);
    Features { vector: vector(&dense, &buckets), dense }
}

fn scan(text: &[u8], counts: &mut Counts, buckets: &mut [i16; DIM - DENSE]) {
    let (mut word, mut length, mut hash) = ([0u8; 16], 0usize, SEED);
    let mut before = b'\n';
    let mut last_word = 0u32;
    for (at, byte) in text.iter().chain(b" ").enumerate() {
        let byte = *byte;
        if byte.is_ascii_alphabetic() || byte >= 0x80 || (length > 0 && (byte == b'_' || byte.is_ascii_digit())) {
            let lower = byte.to_ascii_lowercase();
            if length < word.len() {
                word[length] = lower;
            }
            counts.capitals += u32::from(byte.is_ascii_uppercase());
            counts.foreign += u32::from(byte >= 0xc0);
            counts.letters += 1;
            length += 1;
            hash = hashed(hash, lower);
        } else {
            if length > 0 {
                let known = word.get(..length).unwrap_or_default();
                counts.words += 1;
                counts.long += u32::from(length >= 8);
                counts.hard += u32::from(among(&HARD, known));
                counts.easy += u32::from(among(&EASY, known));
                counts.code += u32::from(among(&CODE, known));
                counts.must += u32::from(among(&MUST, known));
                if length > 1 {
                    counts.distinct += u32::from(put(buckets, hash, 2) == 0);
                    // With the word before it, at half the weight.
                    put(buckets, hash ^ last_word.rotate_left(7), 1);
                }
                last_word = hash;
                (length, hash) = (0, SEED);
            }
            match byte {
                b'0'..=b'9' => counts.digits += 1,
                b'=' | b'+' | b'*' | b'<' | b'>' | b'^' | b'%' | b'\\' | b'|' | b'&' => counts.operators += 1,
                b'{' | b'}' | b'(' | b')' | b'[' | b']' | b';' => counts.brackets += 1,
                b'\n' => counts.lines += 1,
                b'?' => counts.questions += 1,
                b'.' | b'!' => counts.sentences += 1,
                b'`' if text.get(at..at + 3) == Some(b"```") => counts.fences += 1,
                b'-' if before == b'\n' => counts.bullets += 1,
                _ => {}
            }
            if before.is_ascii_digit() && matches!(byte, b'.' | b')') {
                counts.bullets += 1;
            }
        }
        before = byte;
    }
}

/// Adds to a bucket and tells what it held.
fn put(buckets: &mut [i16; DIM - DENSE], hash: u32, weight: i16) -> i16 {
    let spread = hash ^ hash >> 15;
    let at = (spread as usize) % (DIM - DENSE);
    let before = buckets[at];
    buckets[at] = if spread >> 31 == 0 { before.saturating_add(weight) } else { before.saturating_sub(weight) };
    before
}

fn dense(prompt: &Prompt, bytes: usize, counts: &Counts) -> [f32; DENSE] {
    let words = counts.words.max(1) as f32;
    let bytes = bytes.max(1) as f32;
    // A count that is as good as more from `full` on.
    let upto = |count: u32, full: f32| (count as f32 / full).min(1.0);
    let share = |count: u32, of: f32, full: f32| (count as f32 / of / full).min(1.0);
    let log = |value: f32, full: f32| ((1.0 + value).ln() / (1.0 + full).ln()).min(1.0);
    [
        log(words, 2_000.0),
        log(prompt.total as f32, 200_000.0),
        log(prompt.messages as f32, 40.0),
        f32::from(u8::from(prompt.tools)),
        f32::from(u8::from(prompt.images)),
        upto(counts.hard, 4.0),
        share(counts.hard, words, 0.1),
        upto(counts.easy, 2.0),
        share(counts.easy, words, 0.2),
        upto(counts.code, 8.0),
        share(counts.code, words, 0.2),
        upto(counts.fences, 2.0),
        share(counts.brackets, bytes, 0.06),
        share(counts.operators, bytes, 0.05),
        share(counts.digits, bytes, 0.15),
        upto(counts.must, 5.0),
        upto(counts.bullets, 6.0),
        log(counts.lines as f32, 200.0),
        upto(counts.questions, 4.0),
        log(counts.sentences as f32, 60.0),
        share(counts.foreign, counts.letters.max(1) as f32, 0.5),
        share(counts.long, words, 0.4),
        (counts.letters as f32 / words / 10.0).min(1.0),
        share(counts.distinct, words, 1.0),
    ]
}

/// The dense part and the hashed words, each of about the same length.
fn vector(dense: &[f32; DENSE], buckets: &[i16; DIM - DENSE]) -> [i8; DIM] {
    let mut vector = [0i8; DIM];
    for (to, value) in vector.iter_mut().zip(dense) {
        *to = (value * 60.0).round() as i8;
    }
    // Many of one word say little more than one.
    let damped = |count: i16| f32::from(count.signum()) * f32::from(count.unsigned_abs()).sqrt();
    let norm = buckets.iter().map(|count| damped(*count).powi(2)).sum::<f32>().sqrt().max(1.0);
    for (to, count) in vector.iter_mut().skip(DENSE).zip(buckets) {
        *to = (damped(*count) / norm * 127.0).round() as i8;
    }
    vector
}

/// How much thought a prompt asks for, from 0 to 1, by rules alone.
pub fn complexity(dense: &[f32; DENSE]) -> f32 {
    const WEIGHTS: [(usize, f32); 15] = [
        (0, 1.6),  // length
        (1, 0.6),  // of all messages
        (2, 0.3),  // turns
        (3, 0.5),  // tools
        (5, 2.2),  // words that ask for thought
        (7, -1.4), // words that ask for little
        (9, 0.9),  // words of code
        (11, 1.0), // code in fences
        (12, 0.8), // brackets
        (13, 0.9), // operators
        (15, 0.8), // demands
        (16, 0.7), // enumerations
        (18, 0.4), // questions
        (19, 0.4), // sentences
        (21, 0.6), // long words
    ];
    let sum: f32 = WEIGHTS.iter().filter_map(|(at, weight)| Some(dense.get(*at)? * weight)).sum();
    1.0 / (1.0 + (-(sum - 2.1) * 1.8).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Features {
        features(&Prompt { text: text.into(), messages: 1, total: text.len() as u64, ..Prompt::default() })
    }

    #[test]
    fn easy_is_easier_than_hard() {
        let easy = ["Hi!", "Translate 'good morning' to French.", "What is the capital of Peru?", "Fix the typo: teh"];
        let hard = [
            "Prove that the algorithm terminates and derive its complexity. State every constraint, compare it with an \
             optimal strategy step by step, and justify each step of the proof.",
            "Design the architecture of a distributed queue that must survive the loss of two nodes:\n- exactly once\n- \
             ordering per key\n- backpressure\nAnalyze the tradeoffs, estimate latency, and evaluate the strategy.",
            "```python\nimport asyncio\nasync def main():\n    await asyncio.gather(*[f(i) for i in range(10)])\n```\n\
             Debug the concurrency problem: it must return results in order. Refactor it and implement tests for \
             every constraint. Why does it deadlock?",
        ];
        let score = |text: &&str| complexity(&of(text).dense);
        let highest = easy.iter().map(score).fold(0.0, f32::max);
        let lowest = hard.iter().map(score).fold(1.0, f32::min);
        assert!(highest < 0.3 && lowest > 0.7, "{highest} {lowest}");
    }

    #[test]
    fn any_bytes_are_taken() {
        for text in ["", " ", "\n\n", "``", "\u{0}", "漢字かな交じり文", "\u{1F600}", &"a".repeat(TEXT_MAX * 2)]
        {
            let found = of(text);
            assert!(found.dense.iter().all(|value| (0.0..=1.0).contains(value)), "{text:.20}: {:?}", found.dense);
            assert_eq!(found.vector, of(text).vector);
        }
        assert!(of("漢字かな交じり文").dense[20] > 0.5);
    }

    #[test]
    fn like_prompts_are_near() {
        let dot = |a: &Features, b: &Features| {
            a.vector.iter().zip(b.vector).map(|(a, b)| i32::from(*a) * i32::from(b)).sum::<i32>()
        };
        let base = of("Write a Python function that sorts a list of numbers.");
        let near = of("Write a Python function that reverses a list of strings.");
        let far = of("Who won the football match yesterday evening in Madrid?");
        assert!(dot(&base, &near) > 2 * dot(&base, &far).max(1));
    }
}
