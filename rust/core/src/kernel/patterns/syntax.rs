//! From the text of a pattern to what is compiled, or to the reason why it cannot be.

use std::collections::BTreeMap;

use regex_syntax::ast::{self, AssertionKind, Ast, ClassPerlKind};
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, Look};
use regex_syntax::{ParserBuilder, hir};

use super::Source;
use super::view::plain;

/// Longest pattern, and the deepest nesting of groups in it.
const PATTERN_MAX: usize = 64 * 1024;
const NEST_MAX: u32 = 64;
/// Longest word or phrase.
const WORD_MAX: usize = 1024;

/// Why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error(
        "look-around `{0}` is not supported, because it cannot be matched in linear time; match the surroundings as part \
         of the pattern, or use \\b"
    )]
    LookAround(String),
    #[error(
        "back-reference `{0}` is not supported, because it cannot be matched in linear time; write the repeated part out"
    )]
    BackReference(String),
    #[error("the pattern matches the empty text, so it would match everywhere; make a part of it mandatory")]
    Empty,
    #[error("the pattern is longer than {PATTERN_MAX} bytes")]
    TooLong,
    #[error("a word is empty or longer than {WORD_MAX} bytes")]
    Word,
    #[error("{0}")]
    Syntax(String),
    #[error("the pattern needs more memory than a pattern may ({0}); make its counted repetitions smaller")]
    TooLarge(String),
}

/// What is compiled of a pattern.
pub(super) fn compile(source: &Source, ignore_case: bool) -> Result<Hir, PatternError> {
    let hir = match source {
        Source::Regex(pattern) => regex(pattern, ignore_case)?,
        Source::Words { words, whole } => trie(words, *whole, ignore_case)?,
    };
    match hir.properties().minimum_len() {
        Some(0) | None => Err(PatternError::Empty),
        Some(_) => Ok(hir),
    }
}

fn regex(pattern: &str, ignore_case: bool) -> Result<Hir, PatternError> {
    if pattern.len() > PATTERN_MAX {
        return Err(PatternError::TooLong);
    }
    let parsed = ast::parse::ParserBuilder::new()
        .nest_limit(NEST_MAX)
        .build()
        .parse(pattern)
        .map_err(|error| refused(pattern, &error))?;
    let ascii = in_ascii(pattern, &parsed)?;
    ParserBuilder::new()
        .case_insensitive(ignore_case)
        .nest_limit(NEST_MAX * 2)
        .utf8(false)
        .build()
        .parse(&ascii)
        .map_err(|error| PatternError::Syntax(error.to_string()))
}

/// Look-around and back-references are no syntax to this parser: they are recognised by where it stopped.
fn refused(pattern: &str, error: &ast::Error) -> PatternError {
    let at = error.span().start.offset;
    let rest = pattern.get(at..).unwrap_or_default();
    let shown: String = rest.chars().take(24).collect();
    match error.kind() {
        ast::ErrorKind::UnsupportedLookAround => PatternError::LookAround(shown),
        ast::ErrorKind::UnsupportedBackreference => PatternError::BackReference(shown),
        kind => PatternError::Syntax(format!(
            "at character {}: {kind}",
            pattern.get(..at).unwrap_or_default().chars().count() + 1
        )),
    }
}

/// Writes the classes and boundaries that would mean all of Unicode in ASCII: texts are compared in a view that has
/// look-alikes resolved, and their automata are a hundredth of the size.
fn in_ascii(pattern: &str, parsed: &Ast) -> Result<String, PatternError> {
    let mut found = ast::visit(parsed, Classes { found: Vec::new() }).map_err(PatternError::Syntax)?;
    found.sort_by_key(|(start, _, _)| *start);
    let mut out = String::with_capacity(pattern.len() + 16 * found.len());
    let mut at = 0;
    for (start, end, text) in found {
        out.push_str(pattern.get(at..start).unwrap_or_default());
        out.push_str(text);
        at = end;
    }
    out.push_str(pattern.get(at..).unwrap_or_default());
    Ok(out)
}

struct Classes {
    found: Vec<(usize, usize, &'static str)>,
}

impl Classes {
    fn class(&mut self, class: &ast::ClassPerl) {
        let text = match (&class.kind, class.negated) {
            (ClassPerlKind::Digit, false) => "[0-9]",
            (ClassPerlKind::Digit, true) => "[^0-9]",
            (ClassPerlKind::Space, false) => r"[\t\n\x0b\x0c\r ]",
            (ClassPerlKind::Space, true) => r"[^\t\n\x0b\x0c\r ]",
            (ClassPerlKind::Word, false) => "[0-9A-Za-z_]",
            (ClassPerlKind::Word, true) => "[^0-9A-Za-z_]",
        };
        self.found.push((class.span.start.offset, class.span.end.offset, text));
    }
}

impl ast::Visitor for Classes {
    type Output = Vec<(usize, usize, &'static str)>;
    type Err = String;

    fn finish(self) -> Result<Self::Output, String> {
        Ok(self.found)
    }

    fn visit_pre(&mut self, node: &Ast) -> Result<(), String> {
        match node {
            Ast::ClassPerl(class) => self.class(class),
            Ast::Assertion(assertion) => {
                let text = match assertion.kind {
                    AssertionKind::WordBoundary => r"(?-u:\b)",
                    AssertionKind::NotWordBoundary => r"(?-u:\B)",
                    AssertionKind::WordBoundaryStart | AssertionKind::WordBoundaryStartAngle => r"(?-u:\b{start})",
                    AssertionKind::WordBoundaryEnd | AssertionKind::WordBoundaryEndAngle => r"(?-u:\b{end})",
                    _ => return Ok(()),
                };
                self.found.push((assertion.span.start.offset, assertion.span.end.offset, text));
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ast::ClassSetItem) -> Result<(), String> {
        if let ast::ClassSetItem::Perl(class) = item {
            self.class(class);
        }
        Ok(())
    }
}

/// Words as a trie: as an alternation each of them would be followed at every byte.
#[derive(Default)]
struct Node {
    next: BTreeMap<char, Node>,
    /// A word ends here.
    end: bool,
}

fn trie(words: &[String], whole: bool, ignore_case: bool) -> Result<Hir, PatternError> {
    let mut root = Node::default();
    for word in words {
        if word.trim().is_empty() || word.len() > WORD_MAX {
            return Err(PatternError::Word);
        }
        // Both views of a text are searched, so both of a word are sought.
        let seen = plain(word);
        for form in
            [Some(word.as_str()), (!seen.is_empty() && seen != *word).then_some(seen.as_str())].into_iter().flatten()
        {
            let form = if ignore_case { form.to_lowercase() } else { form.to_string() };
            let mut node = &mut root;
            for character in form.chars() {
                node = node.next.entry(character).or_default();
            }
            node.end = true;
        }
    }
    Ok(branches(&root, None, whole, ignore_case))
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

fn branches(node: &Node, before: Option<char>, whole: bool, ignore_case: bool) -> Hir {
    let mut all = Vec::with_capacity(node.next.len() + 1);
    if node.end {
        let bounded = whole && before.is_some_and(is_word);
        all.push(if bounded { Hir::look(Look::WordAscii) } else { Hir::empty() });
    }
    for (character, next) in &node.next {
        let rest = branches(next, Some(*character), whole, ignore_case);
        let mut parts = Vec::with_capacity(3);
        if before.is_none() && whole && is_word(*character) {
            parts.push(Hir::look(Look::WordAscii));
        }
        parts.push(letter(*character, ignore_case));
        parts.push(rest);
        all.push(Hir::concat(parts));
    }
    Hir::alternation(all)
}

/// A character in either case; a blank in a phrase stands for any run of blanks.
fn letter(character: char, ignore_case: bool) -> Hir {
    let range = |character| ClassUnicodeRange::new(character, character);
    if character == ' ' {
        let blanks = [' ', '\t', '\n', '\r'].map(range);
        let blank = Hir::class(Class::Unicode(ClassUnicode::new(blanks)));
        return Hir::repetition(hir::Repetition { min: 1, max: Some(8), greedy: true, sub: Box::new(blank) });
    }
    if !ignore_case {
        return Hir::class(Class::Unicode(ClassUnicode::new([range(character)])));
    }
    let cases = character.to_uppercase().chain(character.to_lowercase()).chain([character]).map(range);
    Hir::class(Class::Unicode(ClassUnicode::new(cases)))
}
