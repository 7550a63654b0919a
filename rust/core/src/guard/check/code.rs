//! Code in fenced blocks.

use serde_json::json;

use super::params::Params;
use super::{Fault, Outcome};

/// Languages as they are named, and how blocks name them.
const LANGUAGES: [(&str, &[&str]); 26] = [
    ("SQL", &["sql", "mysql", "postgresql", "plsql"]),
    ("Python", &["python", "py", "python3"]),
    ("TypeScript", &["typescript", "ts", "tsx"]),
    ("JavaScript", &["javascript", "js", "jsx", "node"]),
    ("Java", &["java"]),
    ("C#", &["csharp", "cs", "c#"]),
    ("C++", &["cpp", "c++", "cxx"]),
    ("C", &["c"]),
    ("PHP", &["php"]),
    ("Ruby", &["ruby", "rb"]),
    ("Swift", &["swift"]),
    ("Kotlin", &["kotlin", "kt"]),
    ("Go", &["go", "golang"]),
    ("Rust", &["rust", "rs"]),
    ("Scala", &["scala"]),
    ("R", &["r"]),
    ("Perl", &["perl", "pl"]),
    ("Shell", &["shell", "sh", "bash", "zsh", "console"]),
    ("PowerShell", &["powershell", "ps1"]),
    ("HTML", &["html"]),
    ("CSS", &["css"]),
    ("XML", &["xml"]),
    ("JSON", &["json"]),
    ("YAML", &["yaml", "yml"]),
    ("Markdown", &["markdown", "md"]),
    ("Dockerfile", &["dockerfile", "docker"]),
];

#[derive(Debug)]
pub struct Code {
    /// None: of any language.
    format: Option<usize>,
    not: bool,
}

impl Code {
    /// # Errors
    /// Where in the parameters, and what is wrong.
    pub fn parse(given: &mut Params) -> Result<Code, Fault> {
        let format = match given.text("format")? {
            None => None,
            Some(name) => match LANGUAGES.iter().position(|(known, _)| known.eq_ignore_ascii_case(&name)) {
                Some(at) => Some(at),
                None => {
                    let names: Vec<&str> = LANGUAGES.iter().map(|(name, _)| *name).collect();
                    return Err(("format".into(), format!("`{name}` is none of {}", names.join(", "))));
                }
            },
        };
        Ok(Code { format, not: given.flag("not")?.unwrap_or(false) })
    }

    pub fn run(&self, text: &str) -> Outcome {
        let found: Vec<String> = languages(text);
        let matching = match self.format.and_then(|at| LANGUAGES.get(at)) {
            None => !found.is_empty(),
            Some((_, names)) => found.iter().any(|language| names.contains(&language.as_str())),
        };
        let told = if matching { "Code was found." } else { "No such code was found." };
        Outcome::of(matching != self.not, json!({"explanation": told, "languages": found}))
    }
}

/// The languages that blocks name, in small letters.
fn languages(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let Some(rest) = line.trim_start().strip_prefix("```") else { continue };
        if !inside {
            let name = rest.trim().split([' ', '{', ',']).next().unwrap_or_default().to_ascii_lowercase();
            if !found.contains(&name) {
                found.push(name);
            }
            // A block of one line ends where it begins.
            inside = !rest.contains("```");
        } else {
            inside = false;
        }
    }
    found
}
