use super::*;
use std::collections::HashSet;

#[test]
fn rows_are_unique() {
    let mut seen = HashSet::new();
    for row in TABLE {
        assert!(seen.insert((row.method.clone(), row.pattern)), "duplicate row {} {}", row.method, row.pattern);
    }
}

#[test]
fn literal_paths_match() {
    let Match::Found { endpoint, captured } = find(&Method::POST, "/v1/chat/completions") else { panic!("no match") };
    assert_eq!(endpoint.operation, Operation::Chat);
    assert!(captured.is_none());
    assert!(matches!(find(&Method::GET, "/v1/chat/completions"), Match::WrongMethod));
    assert!(matches!(find(&Method::POST, "/v1/chat/completions/"), Match::Unknown));
}

#[test]
fn captures_are_whole_segments() {
    let path = "/openai/deployments/gpt%2D4o/chat/completions";
    let Match::Found { captured, .. } = find(&Method::POST, path) else { panic!("no match") };
    assert_eq!(captured, Some("gpt%2D4o"));
    assert!(matches!(find(&Method::POST, "/openai/deployments//chat/completions"), Match::Unknown));
    assert!(matches!(find(&Method::POST, "/openai/deployments/a/b/chat/completions"), Match::Unknown));
    let Match::Found { captured, endpoint } = find(&Method::GET, "/v1/models/org/name") else { panic!("no match") };
    assert_eq!((captured, endpoint.owner), (Some("org/name"), Owner::Models));
    assert!(matches!(find(&Method::GET, "/v1/models/"), Match::Unknown));
}

#[test]
fn google_names_the_verb_last() {
    let of = |path| match find(&Method::POST, path) {
        Match::Found { endpoint, captured } => Some((endpoint.operation, captured.unwrap_or_default())),
        _ => None,
    };
    let vertex = "/v1/projects/p/locations/eu/publishers/google/models/gemini-2.5-pro:countTokens";
    assert_eq!(of(vertex), Some((Operation::GeminiCountTokens, "gemini-2.5-pro")));
    let tuned = "/v1beta/models/org/ft:m:streamGenerateContent";
    assert_eq!(of(tuned), Some((Operation::StreamGenerateContent, "org/ft:m")));
    assert_eq!(of("/gemini/v1beta/models/m:generateContent"), Some((Operation::GenerateContent, "m")));
    assert_eq!(of("/v1beta/models/:generateContent"), None);
    assert_eq!(of("/v1beta/models/m:generate"), None);
}
