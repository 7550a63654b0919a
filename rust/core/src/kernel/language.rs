//! The language a text is in, without a model: by its script, and where several languages share one by their commonest
//! words and the letters that only they have.
//!
//! A guess is only made where something speaks for it: "Paris?" is in no language.

use std::cmp::Reverse;

/// Longest part of a text that is looked at, in characters.
const MOST: usize = 2_000;

/// Languages in Latin letters: their commonest words, and letters that count as two of these.
const LATIN: [(&str, &[&str], &str); 18] = [
    (
        "en",
        &[
            "the", "and", "is", "are", "of", "to", "what", "how", "in", "that", "this", "with", "for", "you", "please",
            "why", "does", "write", "which", "can", "my", "it", "was", "from", "who", "where", "explain", "do", "an",
            "hello", "a", "give", "me",
        ],
        "",
    ),
    (
        "de",
        &[
            "der", "die", "das", "und", "ist", "nicht", "ein", "eine", "einen", "wie", "was", "mit", "für", "von",
            "zu", "auf", "ich", "bitte", "warum", "sind", "den", "dem", "im", "wir", "sie", "welche", "auch",
            "erkläre", "kann", "mir",
        ],
        "ß",
    ),
    (
        "fr",
        &[
            "le",
            "la",
            "les",
            "et",
            "est",
            "des",
            "une",
            "un",
            "que",
            "qui",
            "pour",
            "dans",
            "comment",
            "pourquoi",
            "du",
            "je",
            "vous",
            "avec",
            "sur",
            "ce",
            "quelle",
            "quel",
            "au",
            "pas",
            "mon",
            "sont",
            "expliquez",
            "moi",
            "bonjour",
            "aux",
            "de",
            "combien",
        ],
        "œêû",
    ),
    (
        "es",
        &[
            "el", "la", "los", "las", "y", "es", "que", "de", "un", "una", "por", "para", "cómo", "qué", "en", "con",
            "del", "está", "son", "como", "mi", "cuál", "su", "se", "hola", "escribe", "más", "explica", "dónde",
            "sobre",
        ],
        "ñ¿¡",
    ),
    (
        "it",
        &[
            "il", "lo", "gli", "di", "che", "è", "un", "una", "per", "con", "come", "perché", "sono", "della", "del",
            "nel", "mi", "questo", "quale", "ciao", "scrivi", "e", "cosa", "dei", "alla", "non", "spiega", "qual",
            "più", "la", "ci", "si",
        ],
        "ìò",
    ),
    (
        "pt",
        &[
            "o", "os", "as", "e", "é", "que", "um", "uma", "por", "para", "como", "em", "com", "do", "da", "dos",
            "não", "são", "meu", "qual", "você", "isso", "olá", "escreva", "mais", "no", "na", "explique", "está",
            "onde",
        ],
        "ãõ",
    ),
    (
        "nl",
        &[
            "de", "het", "een", "en", "is", "van", "niet", "wat", "hoe", "met", "voor", "op", "ik", "dat", "zijn",
            "waarom", "welke", "te", "aan", "mijn", "wij", "jij", "ook", "naar", "schrijf", "er", "uit", "kun", "leg",
            "deze",
        ],
        "",
    ),
    (
        "pl",
        &[
            "i", "jest", "nie", "to", "na", "się", "co", "jak", "z", "w", "do", "że", "dla", "czy", "dlaczego", "mi",
            "po", "są", "ten", "ta", "napisz", "proszę", "przez", "od", "który", "gdzie", "o", "tego", "jaka", "moja",
        ],
        "łąęśźżćń",
    ),
    (
        "cs",
        &[
            "a", "je", "to", "na", "se", "že", "co", "jak", "v", "s", "pro", "proč", "jsou", "ten", "ne", "prosím",
            "který", "kde", "mi", "do", "o", "si", "jsem", "napiš", "od", "by", "ale", "jaké", "můj", "nebo",
        ],
        "řěů",
    ),
    (
        "sv",
        &[
            "och", "är", "att", "det", "en", "ett", "som", "för", "på", "inte", "hur", "vad", "med", "jag", "varför",
            "till", "av", "den", "min", "vilken", "skriv", "om", "du", "kan", "från", "de", "mig", "vi", "var",
            "snälla",
        ],
        "",
    ),
    (
        "da",
        &[
            "og", "er", "at", "det", "en", "et", "som", "til", "på", "ikke", "hvordan", "hvad", "med", "jeg",
            "hvorfor", "af", "den", "min", "hvilken", "skriv", "for", "du", "kan", "fra", "de", "mig", "vi", "hvor",
            "venligst", "om",
        ],
        "æ",
    ),
    (
        "no",
        &[
            "og",
            "er",
            "å",
            "det",
            "en",
            "et",
            "som",
            "til",
            "på",
            "ikke",
            "hvordan",
            "hva",
            "med",
            "jeg",
            "hvorfor",
            "av",
            "den",
            "min",
            "hvilken",
            "skriv",
            "for",
            "du",
            "kan",
            "fra",
            "de",
            "meg",
            "vi",
            "hvor",
            "vennligst",
            "om",
        ],
        "",
    ),
    (
        "fi",
        &[
            "ja", "on", "ei", "että", "mikä", "miten", "miksi", "se", "ovat", "minun", "kun", "kuin", "tai", "missä",
            "kuka", "kirjoita", "olen", "voi", "mutta", "ole", "tämä", "mitä", "minä", "sinä", "hei", "kiitos", "joka",
            "niin", "nyt", "selitä",
        ],
        "",
    ),
    (
        "tr",
        &[
            "ve", "bir", "bu", "ne", "nasıl", "için", "ile", "neden", "mi", "mı", "da", "de", "nedir", "lütfen", "ben",
            "sen", "çok", "olan", "var", "yaz", "hangi", "kim", "nerede", "gibi", "daha", "ama", "olarak", "merhaba",
            "bana", "şu",
        ],
        "ğış",
    ),
    (
        "ro",
        &[
            "și", "este", "un", "o", "de", "la", "în", "cu", "pe", "ce", "cum", "pentru", "nu", "sunt", "care", "din",
            "meu", "mea", "scrie", "te", "rog", "unde", "că", "mai", "lui", "salut", "cât", "sau", "al", "acest",
        ],
        "ășțţ",
    ),
    (
        "hu",
        &[
            "a", "az", "és", "egy", "nem", "hogy", "mi", "van", "hogyan", "miért", "ez", "is", "meg", "kérem",
            "melyik", "vagy", "hol", "ki", "írj", "nekem", "mit", "volt", "szia", "de", "csak", "milyen", "ha", "mint",
            "vagyok", "le",
        ],
        "őű",
    ),
    (
        "vi",
        &[
            "là", "và", "của", "có", "không", "cho", "tôi", "một", "các", "được", "như", "thế", "nào", "tại", "sao",
            "với", "trong", "bạn", "hãy", "viết", "gì", "này", "những", "để", "ở", "xin", "chào", "đó", "người", "khi",
        ],
        "ơưđạảấầậắằẵặếềệịọốồộớờợụứừữựỳỷỹ",
    ),
    (
        "id",
        &[
            "yang",
            "dan",
            "di",
            "apa",
            "ini",
            "itu",
            "untuk",
            "dengan",
            "bagaimana",
            "adalah",
            "saya",
            "tidak",
            "dari",
            "ke",
            "mengapa",
            "tolong",
            "anda",
            "tuliskan",
            "ada",
            "pada",
            "akan",
            "bisa",
            "jelaskan",
            "atau",
            "dalam",
            "kamu",
            "kenapa",
            "siapa",
            "mana",
            "buatkan",
        ],
        "",
    ),
];

/// Scripts of one language, or of one that stands for those that share it: first and last character.
const SCRIPTS: [(char, char, &str); 20] = [
    ('\u{370}', '\u{3ff}', "el"),
    ('\u{400}', '\u{52f}', "ru"),
    ('\u{530}', '\u{58f}', "hy"),
    ('\u{590}', '\u{5ff}', "he"),
    ('\u{600}', '\u{6ff}', "ar"),
    ('\u{900}', '\u{97f}', "hi"),
    ('\u{980}', '\u{9ff}', "bn"),
    ('\u{a00}', '\u{a7f}', "pa"),
    ('\u{a80}', '\u{aff}', "gu"),
    ('\u{b80}', '\u{bff}', "ta"),
    ('\u{c00}', '\u{c7f}', "te"),
    ('\u{c80}', '\u{cff}', "kn"),
    ('\u{d00}', '\u{d7f}', "ml"),
    ('\u{e00}', '\u{e7f}', "th"),
    ('\u{10a0}', '\u{10ff}', "ka"),
    ('\u{3040}', '\u{30ff}', "ja"),
    ('\u{3400}', '\u{4dbf}', "zh"),
    ('\u{4e00}', '\u{9fff}', "zh"),
    ('\u{1100}', '\u{11ff}', "ko"),
    ('\u{ac00}', '\u{d7af}', "ko"),
];
/// A character of these scripts is a word or a syllable.
const DENSE: [&str; 3] = ["zh", "ja", "ko"];

/// The language of a text as ISO 639-1 names it; None: it cannot be told.
pub fn of(text: &str) -> Option<&'static str> {
    let text: String = text.chars().take(MOST).collect();
    let (mut latin, mut found) = (0usize, [0usize; SCRIPTS.len()]);
    for character in text.chars() {
        if character < '\u{370}' || ('\u{1e00}'..='\u{1eff}').contains(&character) {
            latin += usize::from(character.is_alphabetic());
        } else if let Some(at) = SCRIPTS.iter().position(|(first, last, _)| (*first..=*last).contains(&character)) {
            found[at] += if DENSE.contains(&SCRIPTS[at].2) { 3 } else { 1 };
        }
    }
    let most = SCRIPTS.iter().zip(found).max_by_key(|(_, count)| *count);
    match most {
        Some(((_, _, name), count)) if count > latin => Some(narrowed(name, &text)),
        _ => of_latin(&text.to_lowercase()),
    }
}

/// Which of the languages of a script it is.
fn narrowed(name: &'static str, text: &str) -> &'static str {
    let has = |letters: &str| text.chars().any(|character| letters.contains(character));
    match name {
        "ru" if has("іїєґІЇЄҐ") => "uk",
        // Neither ever has these.
        "ru" if !has("ыэёЫЭЁ") && has("ъЪ") && has("щЩ") => "bg",
        "ar" if has("پچژگ") => "fa",
        "zh" if text.chars().any(|character| ('\u{3040}'..='\u{30ff}').contains(&character)) => "ja",
        name => name,
    }
}

fn of_latin(text: &str) -> Option<&'static str> {
    let mut points = [0usize; LATIN.len()];
    let words =
        text.split(|character: char| !character.is_alphabetic() && character != '\'').filter(|word| !word.is_empty());
    for word in words {
        for (count, (_, common, _)) in points.iter_mut().zip(&LATIN) {
            *count += usize::from(common.contains(&word));
        }
    }
    for character in text.chars().filter(|character| !character.is_ascii()) {
        for (count, (_, _, letters)) in points.iter_mut().zip(&LATIN) {
            *count += 2 * usize::from(letters.contains(character));
        }
    }
    let mut ranked: Vec<(usize, &str)> = points.into_iter().zip(LATIN.iter().map(|(name, _, _)| *name)).collect();
    ranked.sort_by_key(|(count, _)| Reverse(*count));
    match ranked.as_slice() {
        [(most, name), (next, _), ..] if most > next => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_told_apart() {
        for (name, text) in [
            ("en", "What is the capital of France, and how many people live there?"),
            ("en", "Write a Python function that sorts a list."),
            ("de", "Wie viele Menschen leben in Berlin und warum sind es so viele?"),
            ("de", "Schreibe mir bitte einen Brief an den Vermieter."),
            ("fr", "Quelle est la capitale de la France et combien de personnes y vivent ?"),
            ("fr", "Expliquez-moi comment fonctionne un moteur."),
            ("es", "¿Cuál es la capital de España y cuántas personas viven allí?"),
            ("es", "Escribe un poema sobre el mar para mi madre."),
            ("it", "Qual è la capitale dell'Italia e quante persone ci vivono?"),
            ("it", "Scrivi una lettera per il mio amico che non sta bene."),
            ("pt", "Qual é a capital de Portugal e quantas pessoas vivem na cidade?"),
            ("pt", "Escreva um poema sobre o mar para a minha mãe."),
            ("nl", "Wat is de hoofdstad van Nederland en hoeveel mensen wonen er?"),
            ("pl", "Jaka jest stolica Polski i ile osób tam mieszka?"),
            ("cs", "Jaké je hlavní město České republiky a kolik lidí tam žije?"),
            ("sv", "Vad är huvudstaden i Sverige och hur många bor där?"),
            ("da", "Hvad er hovedstaden i Danmark, og hvor mange bor der?"),
            ("no", "Hva er hovedstaden i Norge, og hvor mange bor det der?"),
            ("fi", "Mikä on Suomen pääkaupunki ja miten siellä asutaan?"),
            ("tr", "Türkiye'nin başkenti neresidir ve orada kaç kişi yaşıyor? Lütfen bir liste yaz."),
            ("ro", "Care este capitala României și câți oameni locuiesc în oraș?"),
            ("hu", "Mi Magyarország fővárosa, és hány ember él ott? Írj nekem egy listát."),
            ("vi", "Thủ đô của Việt Nam là gì và có bao nhiêu người sống ở đó?"),
            ("id", "Apa ibu kota Indonesia dan bagaimana cara pergi ke sana?"),
            ("ru", "Какая столица России и сколько там живёт людей?"),
            ("uk", "Яка столиця України і скільки там живе людей?"),
            ("el", "Ποια είναι η πρωτεύουσα της Ελλάδας;"),
            ("he", "מהי בירת ישראל?"),
            ("ar", "ما هي عاصمة مصر؟"),
            ("fa", "پایتخت ایران چیست و چند نفر در آن زندگی می‌کنند؟"),
            ("hi", "भारत की राजधानी क्या है?"),
            ("th", "เมืองหลวงของประเทศไทยคืออะไร"),
            ("zh", "法国的首都是哪里？"),
            ("ja", "フランスの首都はどこですか？"),
            ("ko", "프랑스의 수도는 어디인가요?"),
            ("zh", "请用 Python 写一个函数"),
        ] {
            assert_eq!(of(text), Some(name), "{text}");
        }
    }

    #[test]
    fn what_speaks_for_nothing_is_in_none() {
        for text in ["", "12 + 30", "Paris?", "GPT-4o", "\u{1F600}", "xkcd zzzz"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
