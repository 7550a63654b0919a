//! What is known of words: which say little, which negate, which are opposites, which are of a kind.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use super::reader::Word;

pub type Words = HashSet<&'static str>;

fn set(words: &'static str) -> Words {
    words.split_ascii_whitespace().collect()
}

static SMALL_SET: LazyLock<Words> = LazyLock::new(|| set(SMALL));
static DIRECTION_SET: LazyLock<Words> = LazyLock::new(|| set(DIRECTIONS));
static NEGATION_SET: LazyLock<Words> = LazyLock::new(|| set(NEGATIONS));

/// It says nothing of what is asked for.
pub fn small(word: &str) -> bool {
    SMALL_SET.contains(word)
}

/// Beside it the order says who does what to whom.
pub fn directs(word: &str) -> bool {
    DIRECTION_SET.contains(word)
}

/// Words that say nothing of what is asked for.
const SMALL: &str = "advice advise best command concerning correct define definition else ever explained \
    following here however idea information learn means overview person people place procedure process proper quick \
    recommend recommended regarding right set step steps suggest suggestion take takes tip tips topic understand wanted \
    words work works \
    a about all also am an and any anyone are as at be been being but by can could describe did do does doing \
    done each explain find for from get getting give go good got had has have having hello help hey hi how i i'd \
    i'm i've if in into is it it's its just know let like look looks may me might mine must my myself need of on \
    one or our out please possible provide quickly really say shall should show so some someone something tell \
    thank thanks that the their them then there these they thing this those to too up us use using very want was \
    way we were what what's when where which while who whom whose why will wish with would you your";

/// In these the order says who does what to whom.
const DIRECTIONS: &str = "after as at before beat beats behind by causes compared follows from in into minus onto over per than \
    through to under";

const NEGATIONS: &str = "aint aren arent aucun aucune cannot cant couldnt didnt doesnt dont except excluding exclude hadnt hardly \
    hasnt havent isnt jamais kein keine keinen keiner keines lacking lacks mai mustnt nada nao ne neither nem \
    nessun never nicht nichts nie niemals niet no nobody non none nor not nothing nowhere nunca não ohne pas \
    rien sans sem senza shouldnt sin unless wasnt werent without wont wouldnt zonder не нет без never-ending";

/// Characters that negate where words are not spaced.
const NEGATING: [&str; 8] = ["不", "没", "沒", "无", "無", "非", "别", "未"];

pub fn negates(word: &str) -> bool {
    word.ends_with("n't") || NEGATION_SET.contains(word) || NEGATING.contains(&word)
}

/// What a question word asks for, where that makes a difference.
pub fn asks(before: &str, word: &str) -> Option<&'static str> {
    Some(match (before, word) {
        ("how", "many" | "much") => "amount",
        ("how", "old") => "age",
        ("how", "long") => "duration",
        ("how", "far") => "distance",
        ("how", "often") => "frequency",
        (_, "who" | "whom" | "whose") => "person",
        (_, "when") => "time",
        (_, "where") => "place",
        (_, "why") => "reason",
        _ => return None,
    })
}

/// The value of a number's word. "One" stands for too many other things.
pub fn number(word: &str) -> Option<u64> {
    const UNITS: [&str; 21] = [
        "zero",
        "",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
    ];
    const ORDINALS: [&str; 13] = [
        "", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
        "twelfth",
    ];
    const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    if word.is_empty() {
        return None;
    }
    if let Some((tens, unit)) = word.split_once('-')
        && TENS.contains(&tens)
    {
        return Some(number(tens)? + if unit == "one" { 1 } else { number(unit)? });
    }
    let place = |table: &[&str]| table.iter().position(|known| *known == word).map(|at| at as u64);
    place(&UNITS).or_else(|| place(&ORDINALS)).or_else(|| place(&TENS).map(|at| 10 * at + 20)).or(match word {
        "twice" | "double" | "both" => Some(2),
        "triple" => Some(3),
        "dozen" => Some(12),
        "hundred" => Some(100),
        "thousand" => Some(1_000),
        "million" => Some(1_000_000),
        "billion" => Some(1_000_000_000),
        _ => None,
    })
}

/// Words of one meaning, the first of which stands for all.
const SYNONYMS: &str = "buy/purchase fast/quick/rapid big/large small/little/tiny begin/start/commence fix/repair/resolve/solve \
    delete/erase car/automobile film/movie make/create/build/write stop/halt/end error/mistake/problem/issue \
    answer/reply/response ask/request change/modify/alter/edit choose/pick/select difference/distinction \
    doctor/physician important/significant job/occupation kid/child/children meaning/definition/define/mean \
    method/approach/technique photo/picture/image price/cost reason/cause sick/ill store/shop trip/journey \
    type/kind use/utilize/utilise work/function wrong/incorrect correct/right show/display hard/difficult \
    easy/simple rest/remainder author/writer country/nation city/town sum/total example/instance/sample";

static MEANINGS: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    let mut meanings = HashMap::new();
    for group in SYNONYMS.split_ascii_whitespace() {
        let first = ending(group.split('/').next().unwrap_or_default());
        for word in group.split('/') {
            meanings.entry(ending(word)).or_insert_with(|| first.clone());
        }
    }
    meanings
});

/// A word without its ending; words of one meaning have one stem.
pub fn stem(word: &str) -> String {
    let bare = ending(word);
    MEANINGS.get(&bare).cloned().unwrap_or(bare)
}

fn ending(word: &str) -> String {
    let word = word.trim_end_matches('\'');
    if !word.is_ascii() || word.len() < 4 {
        return word.to_string();
    }
    let bare = if let Some(stem) = word.strip_suffix("ies") {
        return format!("{stem}y");
    } else if let Some(stem) = word.strip_suffix("ing").or_else(|| word.strip_suffix("ed")) {
        if stem.len() < 3 { word } else { stem }
    } else if word.ends_with("ss") || word.ends_with("us") || word.ends_with("is") {
        word
    } else if let Some(stem) = word.strip_suffix("es").filter(|stem| {
        stem.ends_with('s')
            || stem.ends_with('x')
            || stem.ends_with('z')
            || stem.ends_with("ch")
            || stem.ends_with("sh")
    }) {
        stem
    } else {
        word.strip_suffix('s').unwrap_or(word)
    };
    // running, run; make, making
    let bytes = bare.as_bytes();
    let doubled = bare.len() > 3 && bytes[bare.len() - 1] == bytes[bare.len() - 2] && !bare.ends_with("ss");
    let bare = if doubled && bare != word { &bare[..bare.len() - 1] } else { bare };
    bare.strip_suffix('e').filter(|stem| stem.len() > 2).unwrap_or(bare).to_string()
}

const OPPOSITES: &str = "above/below accept/reject accept/decline activate/deactivate add/remove add/subtract after/before allow/deny \
    allow/block allow/forbid allow/prevent alive/dead always/never ancient/modern arrive/depart \
    arrival/departure ascending/descending attach/detach attack/defend bad/good benefit/risk benefit/drawback \
    best/worst better/worse big/small birth/death borrow/lend bottom/top boy/girl brother/sister buy/sell \
    buyer/seller cheap/expensive cheapest/expensive close/open cold/hot compress/decompress con/pro \
    connect/disconnect credit/debit cause/cure day/night deposit/withdraw difference/similarity \
    advantage/disadvantage down/up download/upload dry/wet early/late earlier/later easy/hard east/west \
    empty/full enable/disable encode/decode encrypt/decrypt entry/exit even/odd export/import fail/succeed \
    fail/pass fast/slow fastest/slowest father/mother female/male few/many fewer/more first/last front/back \
    gain/lose heat/cool heavy/light high/low higher/lower highest/lowest husband/wife in/out increase/decrease \
    increase/reduce inside/outside install/uninstall join/leave largest/smallest left/right less/more least/most \
    legal/illegal lock/unlock long/short longest/shortest man/woman maximum/minimum max/min maximize/minimize \
    north/south old/new oldest/newest push/pull send/receive son/daughter start/stop subscribe/unsubscribe \
    tallest/shortest with/without young/old strong/weak";

/// By their stems, either way round.
static OPPOSED: LazyLock<HashSet<(String, String)>> = LazyLock::new(|| {
    let pairs = OPPOSITES.split_ascii_whitespace().filter_map(|pair| pair.split_once('/'));
    let both = pairs.flat_map(|(x, y)| [(stem(x), stem(y)), (stem(y), stem(x))]);
    both.collect()
});

const PREFIXES: [&str; 10] = ["un", "in", "im", "ir", "il", "non", "non-", "dis", "de", "anti"];

/// One says what the other denies.
pub fn opposed(a: &Word, b: &Word) -> bool {
    let prefixed = |x: &str, y: &str| {
        y.len() > 3 && PREFIXES.iter().any(|prefix| x.strip_prefix(prefix).is_some_and(|rest| rest == y))
    };
    let less = |x: &str, y: &str| {
        x.strip_suffix("less").is_some_and(|stem| stem.len() > 2 && (y == stem || y.strip_suffix("ful") == Some(stem)))
    };
    OPPOSED.contains(&(a.stem.clone(), b.stem.clone()))
        || prefixed(&a.stem, &b.stem)
        || prefixed(&b.stem, &a.stem)
        || less(&a.text, &b.text)
        || less(&b.text, &a.text)
}

/// Words of which one excludes the others.
const KINDS: [&str; 12] = [
    // days
    "friday monday saturday sunday thursday today tomorrow tuesday wednesday yesterday",
    // months
    "april august december february january july june november october september",
    // seasons
    "autumn fall spring summer winter",
    // languages of people
    "arabic chinese dutch english french german greek hindi italian japanese korean latin polish portuguese \
    russian spanish swedish turkish ukrainian",
    // languages of machines
    "bash c c# c++ css dart elixir go golang haskell html java javascript kotlin lua perl php powershell python r \
    ruby rust scala sql swift typescript",
    // units
    "acre celsius centimeter cm day fahrenheit feet foot gallon gb gram hectare hour inch inches kb kelvin kg \
    kilogram kilometer km lb liter mb meter mile minute month ounce pound tb ton week yard year",
    // money
    "bitcoin dollar ethereum euro eur franc gbp jpy peso rupee usd yen yuan",
    // colours
    "black blue brown gray green grey orange pink purple red white yellow",
    // systems and clouds
    "android aws azure debian fedora gcp ios linux mac macos ubuntu windows",
    // databases
    "cassandra mariadb mongodb mysql oracle postgres postgresql redis sqlite",
    // countries asked for most, and continents
    "africa america argentina asia australia austria brazil canada chile china denmark egypt england europe \
    finland france germany greece india indonesia ireland israel italy japan kenya korea mexico netherlands \
    nigeria norway poland portugal russia scotland spain sweden switzerland turkey uk ukraine usa vietnam",
    // planets
    "earth jupiter mars mercury moon neptune pluto saturn sun uranus venus",
];

static KIND_SETS: LazyLock<Vec<Words>> = LazyLock::new(|| KINDS.iter().map(|kind| set(kind)).collect());

/// One set of words for every kind.
pub fn kinds() -> &'static [Words] {
    &KIND_SETS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lose_their_endings() {
        for (word, bare) in [
            ("tickets", "ticket"),
            ("running", "run"),
            ("making", "mak"),
            ("make", "mak"),
            ("boxes", "box"),
            ("cities", "city"),
            ("class", "class"),
            ("purchase", "buy"),
            ("purchasing", "buy"),
            ("is", "is"),
            ("stopped", "stop"),
        ] {
            assert_eq!(stem(word), bare, "{word}");
        }
        assert_eq!((number("twenty-five"), number("fifth"), number("one")), (Some(25), Some(5), None));
    }
}
