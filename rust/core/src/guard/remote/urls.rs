//! Whether the addresses in a text lead somewhere. Only public ones are asked, and not more than a few.

use std::time::Duration;

use serde_json::{Value, json};

use crate::guard::check::{Fault, Outcome, Parameters, Scope, View};
use crate::upstream::call::{ANSWER, Call, resolves};
use crate::upstream::origin::{BaseUrl, Origin};

/// Addresses of one text.
const MOST: usize = 20;

#[derive(Debug)]
pub struct Urls {
    only_dns: bool,
    not: bool,
}

impl Urls {
    /// # Errors
    /// Where in the parameters, and what is wrong.
    pub fn parse(given: &mut Parameters) -> Result<Urls, Fault> {
        Ok(Urls { only_dns: given.flag("onlyDNS")?.unwrap_or(false), not: given.flag("not")?.unwrap_or(false) })
    }

    pub async fn run(&self, view: &View, scope: Scope, timeout: Duration) -> Outcome {
        let mut urls: Vec<String> = Vec::new();
        for (_, piece) in view.within(scope).filter(|(_, piece)| piece.speech) {
            urls.extend(found(&piece.text).filter(|url| !urls.contains(url)).collect::<Vec<_>>());
        }
        if urls.is_empty() {
            return Outcome::of(false, json!({"explanation": "No URLs were found."}));
        }
        if urls.len() > MOST {
            return Outcome::of(self.not, json!({"explanation": format!("There are more than {MOST} URLs.")}));
        }
        let asked = urls.iter().map(|url| self.leads(url, timeout));
        let alive = futures_util::future::join_all(asked).await;
        let told = |wanted: bool| -> Vec<Value> {
            let pairs = urls.iter().zip(&alive).filter(|(_, alive)| **alive == wanted);
            pairs.map(|(url, _)| Value::String(url.clone())).collect()
        };
        let passed = alive.iter().all(|alive| *alive);
        let what = if passed { "All URLs are valid." } else { "Some URLs are not valid." };
        let data = json!({"explanation": what, "urls": urls, "validUrls": told(true), "invalidUrls": told(false)});
        Outcome::of(passed != self.not, data)
    }

    async fn leads(&self, url: &str, timeout: Duration) -> bool {
        if self.only_dns {
            let Ok(BaseUrl { origin: Origin::Tcp { host, port, .. }, .. }) = BaseUrl::parse(url) else { return false };
            return resolves(&host, port, timeout).await;
        }
        let call =
            Call { method: "HEAD", url, headers: &[], body: &[], timeout, guarded: true, pool: None, most: ANSWER };
        call.send().await.is_ok_and(|(status, _)| (200..400).contains(&status))
    }
}

/// Addresses, without the marks that end a sentence.
fn found(text: &str) -> impl Iterator<Item = String> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let at = rest.find("http")?;
            let (_, from) = rest.split_at(at);
            let begins = from.starts_with("http://") || from.starts_with("https://");
            let end = from.find(|c: char| c.is_whitespace() || ",\"'{}[]<>`".contains(c)).unwrap_or(from.len());
            let (url, left) = from.split_at(end.max(4));
            rest = left;
            let url = url.trim_end_matches(['.', ')', ';', ':', '!', '?', '*']);
            if begins && url.len() > 8 {
                return Some(url.split('#').next().unwrap_or(url).to_string());
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_end_where_sentences_do() {
        let text = "See https://a.example/x?y=1#top, (http://b.example/z). httpx://no https://";
        assert_eq!(found(text).collect::<Vec<_>>(), ["https://a.example/x?y=1", "http://b.example/z"]);
    }
}
