//! What a text is embedded for: every provider has its own words.

/// Why a vector is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Query,
    Document,
    Similarity,
    Classification,
    Clustering,
    Code,
    Question,
    Facts,
}

/// Each with Google's word and Cohere's. Cohere has none for the last ones: all of them look something up.
const WORDS: [(Purpose, &str, &str); 8] = [
    (Purpose::Query, "RETRIEVAL_QUERY", "search_query"),
    (Purpose::Document, "RETRIEVAL_DOCUMENT", "search_document"),
    (Purpose::Classification, "CLASSIFICATION", "classification"),
    (Purpose::Clustering, "CLUSTERING", "clustering"),
    (Purpose::Similarity, "SEMANTIC_SIMILARITY", "clustering"),
    (Purpose::Code, "CODE_RETRIEVAL_QUERY", "search_query"),
    (Purpose::Question, "QUESTION_ANSWERING", "search_query"),
    (Purpose::Facts, "FACT_VERIFICATION", "search_query"),
];

impl Purpose {
    /// Google's and Cohere's words, and those of Voyage, NVIDIA (`query`, `passage`) and Jina (`retrieval.query`, …).
    pub fn parse(word: &str) -> Option<Self> {
        let known = WORDS.iter().find(|(_, google, cohere)| word.eq_ignore_ascii_case(google) || word == *cohere);
        known.map(|(purpose, ..)| *purpose).or(match word {
            "query" | "retrieval.query" => Some(Purpose::Query),
            "document" | "passage" | "retrieval.passage" => Some(Purpose::Document),
            "text-matching" => Some(Purpose::Similarity),
            "separation" => Some(Purpose::Clustering),
            "code.query" | "nl2code.query" => Some(Purpose::Code),
            _ => None,
        })
    }

    pub fn google(self) -> &'static str {
        WORDS.iter().find(|(purpose, ..)| *purpose == self).map_or("RETRIEVAL_DOCUMENT", |(_, google, _)| google)
    }

    pub fn cohere(self) -> &'static str {
        WORDS.iter().find(|(purpose, ..)| *purpose == self).map_or("search_document", |(.., cohere)| cohere)
    }
}
