//! One request's state. Each field names the stage that writes it; later stages only read.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Uri};
use hyper::body::Incoming;
use smallvec::SmallVec;

use crate::account::{Admission, Attempt};
use crate::approval::Ticket;
use crate::arrival::Signed;
use crate::cache::{Fill, flight::Follow, key::CacheKey};
use crate::clock::wall_us;
use crate::connection::Connection;
use crate::decision::Decision;
use crate::dialect::Format;
use crate::endpoint::{Dialect, Endpoint, Operation};
use crate::error::Error;
use crate::guard::{checks::Checks, vault::Tokens};
use crate::hold::Extra;
use crate::invoke::Chunks;
use crate::mirror::Mirror;
use crate::policy::apply::Policed;
use crate::portkey::Plan;
use crate::realtime::Taker;
pub use crate::request_id::RequestId;
use crate::shard::{Shard, SnapshotRef};
use crate::snapshot::{Deployment, Model, StreamUsage, Translation};
use crate::spool::Intent;
use crate::stage::{exhausted::Turn, reserve::Reservation, route::auto::Look, route::score::Told};
use crate::state::{draw::Quotas, keys::Key, rules::Now};
use crate::stored::{Kept, Object};
use crate::trace::Context;
use crate::upstream::Conn;
use crate::wire::{encoding::Inflate, http1::Head};
use crate::worded::Sent;

mod call;
pub mod marks;

pub use call::{Call, Counted};

/// How the cache took part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheUse {
    Off,
    Bypass,
    Miss,
    Refresh,
    Hit,
    /// The answer to a similar question; how similar, in ten-thousandths.
    Semantic(u16),
}

/// A provider's answer whose head has been read.
pub struct Answer {
    pub conn: Conn,
    pub head: Head,
    /// For a provider that compresses although it was asked not to.
    pub inflate: Option<Box<Inflate>>,
    /// For a provider that puts its events into envelopes.
    pub chunks: Option<Chunks>,
    /// What of its body has been read.
    pub begun: Bytes,
    pub attempt: Attempt,
    pub deployment: u32,
    /// When the head was complete.
    pub received: Instant,
    /// What the ledger was told.
    pub intent: Intent,
}

/// The request on its way through the pipeline.
pub struct Exchange {
    // front
    pub started: Instant,
    pub wall_us: i64,
    pub request_id: RequestId,
    pub shard: Arc<Shard>,
    pub snapshot: SnapshotRef,
    pub endpoint: &'static Endpoint,
    pub headers: HeaderMap,
    pub query: Option<String>,
    /// The model named by the path (Azure, engines), percent-decoded.
    pub path_model: Option<String>,
    pub client: IpAddr,
    pub inbound: Option<Incoming>,
    pub connection: Arc<Connection>,
    /// The connection itself, for a session that takes it over.
    pub upgrade: Option<Taker>,
    /// Path and host as they travelled, of requests that may be signed.
    pub uri: Option<Box<Uri>>,
    // identify
    /// A signature that is verified when the body is there.
    pub signed: Option<Box<Signed>>,
    pub key: Option<Arc<Key>>,
    // parse
    pub call: Call,
    // authorize
    pub model: Option<u32>,
    // parse (body bytes) and admit (places)
    pub admission: Option<Admission>,
    /// Admitted once: a fallback is only asked for limits that depend on the model.
    pub admitted: bool,
    /// Who pays besides the key's own subjects.
    pub extra: Extra,
    /// How long it waits for this node's share of a limit to grow.
    pub share_until: Option<Instant>,
    /// Its place among those who wait for room in a limit.
    pub turn: Option<Box<Turn>>,
    /// When it goes on, let in by a limit that keeps a pace.
    pub due: Option<Instant>,
    /// The end user's number in the ledger.
    pub customer: u32,
    /// Tags beyond the key's own: all of the request's.
    pub tags: Vec<String>,
    /// How the tightest limits stand.
    pub quotas: Quotas,
    // inspect
    /// The guardrails of the model that was asked for, in `Snapshot::plans`; a fallback does not lose them.
    pub guards: SmallVec<[u32; 2]>,
    /// What guardrails with checks know about it, if any hold for it.
    pub checks: Option<Box<Checks>>,
    /// What guardrails did, for the answer's header.
    pub guarded: Vec<String>,
    /// Tokens in the place of values, which the answer gets back.
    pub tokens: Option<Arc<Tokens>>,
    /// What policies know about it, if any hold for it.
    pub policed: Option<Box<Policed>>,
    /// Approvals on which it goes on; what comes of it is theirs to tell.
    pub tickets: Vec<Ticket>,
    /// What policies did, for the answer's header.
    pub policies_told: Vec<String>,
    // cache
    pub cache: CacheUse,
    /// An answer to a similar question would do, but only equal requests are looked for.
    pub exact_only: bool,
    /// What is to become of the answer.
    pub fill: Option<Box<Fill>>,
    /// The equal request whose answer is waited for.
    pub follow: Option<Box<Follow>>,
    /// The key of the entry that the answer is, or becomes.
    pub hit: Option<CacheKey>,
    /// What is asked, for the ledger: see `Intent`.
    pub question: u64,
    /// What its config object makes of it.
    pub plan: Option<Box<Plan>>,
    /// The request has headers of Portkey's, and its answer shall have them.
    pub asked_as_portkey: bool,
    /// What becomes of the answer when it is to be kept.
    pub kept: Option<Box<Kept>>,
    /// Something that a provider keeps is asked for.
    pub object: Option<Box<Object>>,
    /// Only deployments of this provider are wanted.
    pub provider: Option<Arc<str>>,
    // route
    /// The boundaries it keeps within, once asked.
    pub bounds: Option<u64>,
    /// What a router is asked, while that takes long.
    pub look: Option<Box<Look>>,
    /// The model that is asked too, and whose answer nobody gets.
    pub mirror: Option<Box<Mirror>>,
    pub candidates: SmallVec<[u32; 8]>,
    /// Only the first candidate was looked for, with this to go on when it fails.
    pub behind: Option<Told>,
    /// Why there are none.
    pub unavailable: Option<Error>,
    /// How they were put in order, as the ledger has it.
    pub chosen: u32,
    /// No deployment is healthy: one that fails too often is better than none.
    pub forced: bool,
    /// Why it goes where it goes, if anybody wants to know.
    pub decision: Option<Box<Decision>>,
    /// The trace it belongs to.
    pub trace: Context,
    /// Models already tried, so that fallbacks never go in circles.
    pub visited: SmallVec<[u32; 4]>,
    /// Models that may still stand in, those of the last one that failed first.
    pub standins: SmallVec<[u32; 4]>,
    // reserve
    pub reservation: Option<Reservation>,
    // attempt
    /// What the ledger's rows of its attempts say besides, see [`marks`].
    pub marks: u16,
    /// Set when one of several attempts under way has answered.
    pub race: Option<Arc<AtomicBool>>,
    pub attempts: u8,
    /// Time spent waiting for providers and between retries: not the gateway's own.
    pub waited: Duration,
    /// Parameters of the request that the provider asked last does not get as they were sent.
    pub dropped: SmallVec<[Box<str>; 2]>,
    pub answer: Option<Box<Answer>>,
    /// The format of the provider asked last, where it is not the caller's.
    pub translation: Option<Format>,
    /// What the provider asked last was asked in place of the caller's operation, where their shapes differ.
    pub converted: Option<Operation>,
    /// Its request, where the provider has words of its own for it: what is sent besides its body.
    pub worded: Option<Box<Sent>>,
    // relay
    /// The deployment whose answer the caller gets.
    pub served: Option<u32>,
    /// Cost of a whole answer, pico-USD.
    pub cost_pico: Option<i64>,
}

/// What is known of a request before its stages.
pub struct Opening {
    pub started: Instant,
    pub wall_us: i64,
    pub request_id: RequestId,
    pub shard: Arc<Shard>,
    pub snapshot: SnapshotRef,
    pub endpoint: &'static Endpoint,
    pub headers: HeaderMap,
    pub query: Option<String>,
    pub path_model: Option<String>,
    pub client: IpAddr,
    pub inbound: Option<Incoming>,
    pub connection: Arc<Connection>,
    pub upgrade: Option<Taker>,
    pub uri: Option<Box<Uri>>,
    pub signed: Option<Box<Signed>>,
    pub key: Option<Arc<Key>>,
    pub quotas: Quotas,
    pub decision: Option<Box<Decision>>,
    pub trace: Context,
}

impl Exchange {
    /// A request that no stage has seen.
    #[inline]
    pub fn new(opening: Opening) -> Exchange {
        Exchange {
            started: opening.started,
            wall_us: opening.wall_us,
            request_id: opening.request_id,
            snapshot: opening.snapshot,
            shard: opening.shard,
            endpoint: opening.endpoint,
            query: opening.query,
            uri: opening.uri,
            signed: opening.signed,
            headers: opening.headers,
            path_model: opening.path_model,
            client: opening.client,
            inbound: opening.inbound,
            connection: opening.connection,
            upgrade: opening.upgrade,
            key: opening.key,
            call: Call::default(),
            model: None,
            admission: None,
            admitted: false,
            extra: Extra::new(),
            share_until: None,
            turn: None,
            due: None,
            customer: 0,
            tags: Vec::new(),
            quotas: opening.quotas,
            guards: SmallVec::new(),
            checks: None,
            guarded: Vec::new(),
            tokens: None,
            policed: None,
            tickets: Vec::new(),
            policies_told: Vec::new(),
            cache: CacheUse::Off,
            exact_only: false,
            fill: None,
            follow: None,
            hit: None,
            question: 0,
            plan: None,
            asked_as_portkey: false,
            kept: None,
            object: None,
            provider: None,
            bounds: None,
            look: None,
            mirror: None,
            candidates: SmallVec::new(),
            behind: None,
            chosen: 0,
            unavailable: None,
            forced: false,
            decision: opening.decision,
            trace: opening.trace,
            visited: SmallVec::new(),
            standins: SmallVec::new(),
            reservation: None,
            marks: 0,
            race: None,
            attempts: 0,
            waited: Duration::ZERO,
            dropped: SmallVec::new(),
            answer: None,
            translation: None,
            converted: None,
            worded: None,
            served: None,
            cost_pico: None,
        }
    }

    pub fn model(&self) -> Option<&Model> {
        self.snapshot.models.get(self.model? as usize)
    }

    pub fn deployment(&self, index: u32) -> Option<&Deployment> {
        self.snapshot.deployments.get(index as usize)
    }

    /// What time it is for limits: that of its arrival, or now if it has waited for one.
    pub fn now(&self) -> Now {
        if self.waited.is_zero() { Now::at(self.started, self.wall_us) } else { Now::at(Instant::now(), wall_us()) }
    }

    /// Whether a deployment may answer this call.
    pub fn eligible(&self, deployment: &Deployment, translation: Translation) -> bool {
        self.asked(deployment).is_some() && (translation != Translation::Never || self.native(deployment))
    }

    /// Whether a deployment speaks the caller's format.
    pub fn native(&self, deployment: &Deployment) -> bool {
        deployment.template(self.endpoint.operation).is_some()
    }

    /// What a deployment is asked.
    pub fn asked(&self, deployment: &Deployment) -> Option<Operation> {
        deployment.asked(self.endpoint.operation, self.call.stream)
    }

    /// The gateway needs the usage of this stream and the caller did not ask for it himself.
    pub fn asks_for_usage(&self, deployment: &Deployment) -> bool {
        self.call.stream
            && self.call.include_usage != Some(true)
            && deployment.stream_usage == StreamUsage::Inject
            && self.endpoint.dialect == Dialect::OpenAi
            && self.endpoint.operation.generates()
    }

    /// A caller of Google's format wants server-sent events instead of one JSON array.
    pub fn asks_for_events(&self) -> bool {
        self.query.as_deref().is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse" || pair == "$alt=sse"))
    }

    /// The gateway's own time so far.
    pub fn overhead(&self, now: Instant) -> Duration {
        (now - self.started).saturating_sub(self.waited)
    }
}
