//! What the plane is started with. Defaults live in Python's configuration only; every key is required here.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// I/O threads; 0 = as many as the process may use.
    pub threads: usize,
    pub node: u16,
    pub runtime: Runtime,
    pub data_dir: PathBuf,
    pub shell_socket: PathBuf,
    #[serde(deserialize_with = "crate::bytes32::deserialize")]
    pub pepper: [u8; 32],
    pub listen: Listen,
    pub tls: Option<Tls>,
    pub limits: Limits,
    pub drain: Drain,
    pub trusted_proxies: Vec<String>,
    pub ledger: Ledger,
    /// Limits are shared with other nodes.
    pub shared_limits: bool,
    /// What is kept of responses is other nodes' too: the shell has it.
    pub shared_store: bool,
    /// Requests with a key of their own are known to other nodes.
    pub repeats: Option<Repeats>,
}

/// Where nodes meet.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeats {
    pub url: String,
    /// Certificates in PEM.
    pub authority: Option<String>,
    pub timeout_ms: u64,
}

/// The address may hold a password.
impl std::fmt::Debug for Repeats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repeats").field("timeout_ms", &self.timeout_ms).finish_non_exhaustive()
    }
}

/// How the I/O threads share work; see `docs/decisions/001-runtime.md` for the figures.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// One single-threaded runtime and one `SO_REUSEPORT` socket per thread.
    PerCore,
    /// One work-stealing runtime over all threads.
    WorkStealing,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Empty = no TCP listener.
    pub host: String,
    pub port: u16,
    pub uds: Option<PathBuf>,
    /// Listening sockets inherited from the parent, used instead of binding.
    pub fds: Vec<i32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

/// Bounds and time-outs of the front.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub header_bytes: usize,
    pub header_count: usize,
    pub header_timeout_ms: u64,
    pub body_bytes: u64,
    pub body_idle_ms: u64,
    pub keepalive_idle_ms: u64,
    pub write_stall_ms: u64,
    pub connections: u64,
    pub requests_in_flight: u64,
    pub body_bytes_in_flight: u64,
    pub h2_streams: u32,
    pub shell_in_flight: u64,
    /// Longest silence of both sides of a session, and the longest message.
    pub session_idle_ms: u64,
    pub session_message_bytes: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    pub delay_ms: u64,
    pub timeout_ms: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    pub segment_slots: u32,
    pub max_bytes: u64,
    pub flush_ms: u64,
}
