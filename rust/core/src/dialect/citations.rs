//! The sources of a text, whatever dialect named them.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::format::Format;
use super::hub::{Citations, Text};

/// One source. Places count characters of the text it belongs to.
#[derive(Clone, Debug, Default)]
pub struct Source<'a> {
    pub url: Option<Text<'a>>,
    pub title: Option<Text<'a>>,
    /// Of a document that the caller gave.
    pub id: Option<Text<'a>>,
    pub start: Option<u64>,
    pub end: Option<u64>,
    /// The words that the source speaks for, or those of the source.
    pub cited: Option<Text<'a>>,
}

/// The sources that citations name; what cannot be read is none.
pub fn sources<'a>(citations: &Citations<'a>) -> Vec<Source<'a>> {
    match citations.format {
        Format::Chat | Format::Completions => chat(citations.raw),
        Format::Gemini => google(citations.raw).unwrap_or_default(),
        Format::Messages => messages(citations.raw),
        Format::Cohere => cohere(citations.raw),
        Format::Converse => converse(citations.raw),
        Format::Responses => responses(citations.raw),
    }
}

/// One object, or an array of them.
fn each<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Vec<T> {
    let one = serde_json::from_str::<T>(raw.get()).map(|one| vec![one]);
    one.or_else(|_| serde_json::from_str(raw.get())).unwrap_or_default()
}

fn chat(raw: &RawValue) -> Vec<Source<'_>> {
    #[derive(Deserialize)]
    struct Annotation<'a> {
        #[serde(borrow)]
        url_citation: UrlCitation<'a>,
    }
    #[derive(Deserialize)]
    struct UrlCitation<'a> {
        #[serde(borrow)]
        url: Text<'a>,
        #[serde(default, borrow)]
        title: Option<Text<'a>>,
        #[serde(default)]
        start_index: Option<u64>,
        #[serde(default)]
        end_index: Option<u64>,
    }
    let all = each::<Annotation<'_>>(raw).into_iter().map(|annotation| annotation.url_citation);
    all.map(|of| Source {
        url: Some(of.url),
        title: of.title,
        start: of.start_index,
        end: of.end_index,
        ..Source::default()
    })
    .collect()
}

fn converse(raw: &RawValue) -> Vec<Source<'_>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Citation<'a> {
        #[serde(default, borrow)]
        title: Option<Text<'a>>,
        #[serde(default, borrow)]
        source: Option<Text<'a>>,
        #[serde(default, borrow)]
        source_content: Vec<Content<'a>>,
        #[serde(default, borrow)]
        location: Location<'a>,
    }
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(default, borrow)]
        text: Option<Text<'a>>,
    }
    #[derive(Default, Deserialize)]
    struct Location<'a> {
        #[serde(default, borrow)]
        web: Option<Web<'a>>,
    }
    #[derive(Deserialize)]
    struct Web<'a> {
        #[serde(default, borrow)]
        url: Option<Text<'a>>,
    }
    let all = each::<Citation<'_>>(raw).into_iter();
    all.map(|of| Source {
        url: of.location.web.and_then(|web| web.url),
        title: of.title,
        id: of.source,
        cited: of.source_content.into_iter().find_map(|content| content.text),
        ..Source::default()
    })
    .collect()
}

fn responses(raw: &RawValue) -> Vec<Source<'_>> {
    #[derive(Deserialize)]
    struct Annotation<'a> {
        #[serde(default, borrow)]
        url: Option<Text<'a>>,
        #[serde(default, borrow)]
        title: Option<Text<'a>>,
        #[serde(default)]
        start_index: Option<u64>,
        #[serde(default)]
        end_index: Option<u64>,
    }
    let all = each::<Annotation<'_>>(raw).into_iter();
    all.map(|of| Source { url: of.url, title: of.title, start: of.start_index, end: of.end_index, ..Source::default() })
        .collect()
}

fn messages(raw: &RawValue) -> Vec<Source<'_>> {
    #[derive(Deserialize)]
    struct Citation<'a> {
        #[serde(default, borrow)]
        url: Option<Text<'a>>,
        #[serde(default, borrow)]
        title: Option<Text<'a>>,
        #[serde(default, borrow)]
        document_title: Option<Text<'a>>,
        #[serde(default)]
        document_index: Option<u64>,
        #[serde(default, borrow)]
        cited_text: Option<Text<'a>>,
    }
    let all = each::<Citation<'_>>(raw).into_iter();
    all.map(|of| Source {
        url: of.url,
        title: of.title.or(of.document_title),
        id: of.document_index.map(|index| index.to_string().into()),
        cited: of.cited_text,
        ..Source::default()
    })
    .collect()
}

fn cohere(raw: &RawValue) -> Vec<Source<'_>> {
    #[derive(Deserialize)]
    struct Citation<'a> {
        #[serde(default)]
        start: Option<u64>,
        #[serde(default)]
        end: Option<u64>,
        #[serde(default, borrow)]
        text: Option<Text<'a>>,
        #[serde(default, borrow)]
        sources: Vec<Origin<'a>>,
    }
    #[derive(Deserialize)]
    struct Origin<'a> {
        #[serde(default, borrow)]
        id: Option<Text<'a>>,
        #[serde(default, borrow)]
        document: Option<Document<'a>>,
    }
    #[derive(Default, Deserialize)]
    struct Document<'a> {
        #[serde(default, borrow)]
        title: Option<Text<'a>>,
        #[serde(default, borrow)]
        url: Option<Text<'a>>,
    }
    let mut found = Vec::new();
    for citation in each::<Citation<'_>>(raw) {
        for Origin { id, document } in citation.sources {
            let Document { title, url } = document.unwrap_or_default();
            let (start, end, cited) = (citation.start, citation.end, citation.text.clone());
            found.push(Source { url, title, id, start, end, cited });
        }
    }
    found
}

/// `groundingMetadata`, or `citationMetadata`. Google counts bytes; a place is only given where these are characters too.
fn google(raw: &RawValue) -> Option<Vec<Source<'_>>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata<'a> {
        #[serde(default, borrow)]
        grounding_chunks: Vec<Chunk<'a>>,
        #[serde(default, borrow)]
        grounding_supports: Vec<Support<'a>>,
        #[serde(default, alias = "citations", borrow)]
        citation_sources: Vec<Cited<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Chunk<'a> {
        #[serde(default, borrow)]
        web: Option<Page<'a>>,
        #[serde(default, borrow)]
        retrieved_context: Option<Page<'a>>,
        #[serde(default, borrow)]
        maps: Option<Page<'a>>,
    }
    #[derive(Clone, Deserialize)]
    struct Page<'a> {
        #[serde(default, borrow)]
        uri: Option<Text<'a>>,
        #[serde(default, borrow)]
        title: Option<Text<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Support<'a> {
        #[serde(default, borrow)]
        segment: Option<Segment<'a>>,
        #[serde(default)]
        grounding_chunk_indices: Vec<u64>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Segment<'a> {
        #[serde(default)]
        start_index: u64,
        #[serde(default)]
        end_index: u64,
        #[serde(default, borrow)]
        text: Option<Text<'a>>,
    }
    #[derive(Deserialize)]
    struct Cited<'a> {
        #[serde(default, borrow)]
        uri: Option<Text<'a>>,
        #[serde(default, borrow)]
        title: Option<Text<'a>>,
    }
    let metadata: Metadata<'_> = serde_json::from_str(raw.get()).ok()?;
    let page = |index: u64| {
        let chunk = metadata.grounding_chunks.get(usize::try_from(index).ok()?)?;
        chunk.web.as_ref().or(chunk.retrieved_context.as_ref()).or(chunk.maps.as_ref()).cloned()
    };
    let mut found = Vec::new();
    for support in &metadata.grounding_supports {
        for page in support.grounding_chunk_indices.iter().filter_map(|index| page(*index)) {
            let segment = support.segment.as_ref();
            let plain = segment.is_some_and(|segment| segment.text.as_ref().is_none_or(|text| text.is_ascii()));
            let place = segment.filter(|_| plain).map(|segment| (segment.start_index, segment.end_index));
            found.push(Source {
                url: page.uri,
                title: page.title,
                start: place.map(|(start, _)| start),
                end: place.map(|(_, end)| end),
                cited: segment.and_then(|segment| segment.text.clone()),
                id: None,
            });
        }
    }
    if metadata.grounding_supports.is_empty() {
        let all = (0..metadata.grounding_chunks.len() as u64).filter_map(page);
        found.extend(all.map(|page| Source { url: page.uri, title: page.title, ..Source::default() }));
    }
    let cited = metadata.citation_sources.into_iter();
    found.extend(cited.map(|of| Source { url: of.uri, title: of.title, ..Source::default() }));
    Some(found)
}
