//! What a provider instance is started with.

use std::path::PathBuf;

use serde::Deserialize;

use crate::Error;

/// Options of one provider instance. As JSON, every field may be left out and none other may stand there.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Address to bind.
    pub host: String,
    /// TCP port; 0 takes a free one.
    pub port: u16,
    /// Bind this unix socket instead of TCP. A file left by an earlier run is replaced.
    pub unix: Option<PathBuf>,
    /// Threads, each with its own runtime and its own listening socket. A unix socket is served by one.
    pub threads: usize,
    /// The script that every answer starts from.
    pub script: String,
    /// Where the truth journal is appended to.
    pub journal: Option<PathBuf>,
    /// Is the journal synced to disk before an answer starts?
    pub journal_sync: bool,
    /// How many requests are kept for `/mock/requests`.
    pub record: usize,
    /// Keys that are accepted; with none, any request is.
    pub keys: Vec<String>,
    /// What `/v1/models` lists.
    pub models: Vec<String>,
    /// Seed of the delays.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        let models = ["gpt-4o", "gpt-4o-mini", "text-embedding-3-small", "claude-sonnet-4-5", "mock"];
        Self {
            host: "127.0.0.1".to_owned(),
            port: 0,
            unix: None,
            threads: 1,
            script: String::new(),
            journal: None,
            journal_sync: true,
            record: 256,
            keys: Vec::new(),
            models: models.map(str::to_owned).to_vec(),
            seed: 1,
        }
    }
}

impl Options {
    /// Options from a JSON object.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map_err(|error| Error::usage(format!("mock options: {error}")))
    }
}
