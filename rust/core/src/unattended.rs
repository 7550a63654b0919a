//! A request without its caller: one that is asked once more for the cache, of another model, or of another deployment
//! while the first is waited for.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::exchange::{CacheUse, Exchange, RequestId};

impl Exchange {
    /// The same request once more, without its caller. `None` for one that a config object has rewritten.
    pub fn again(&self) -> Option<Exchange> {
        self.plan.is_none().then(|| self.apart())
    }

    /// A request of the gateway's own in the name of the same caller.
    pub fn apart(&self) -> Exchange {
        Exchange {
            started: Instant::now(),
            wall_us: self.wall_us,
            request_id: RequestId::new(self.wall_us),
            shard: self.shard.clone(),
            snapshot: self.snapshot.clone(),
            endpoint: self.endpoint,
            headers: self.headers.clone(),
            query: self.query.clone(),
            path_model: self.path_model.clone(),
            client: self.client,
            inbound: None,
            upgrade: None,
            connection: self.connection.clone(),
            uri: None,
            signed: None,
            key: self.key.clone(),
            call: self.call.clone(),
            model: self.model,
            admission: None,
            admitted: true,
            extra: self.extra.clone(),
            share_until: None,
            turn: None,
            due: None,
            customer: self.customer,
            tags: self.tags.clone(),
            quotas: self.quotas,
            guards: SmallVec::new(),
            checks: None,
            policed: None,
            tickets: Vec::new(),
            policies_told: Vec::new(),
            guarded: Vec::new(),
            cache: CacheUse::Off,
            exact_only: false,
            fill: None,
            follow: None,
            hit: None,
            plan: None,
            provider: self.provider.clone(),
            candidates: SmallVec::new(),
            unavailable: None,
            forced: false,
            decision: None,
            visited: SmallVec::new(),
            reservation: None,
            attempts: 0,
            waited: Duration::ZERO,
            dropped: SmallVec::new(),
            answer: None,
            translation: None,
            converted: None,
            kept: None,
            object: None,
            served: None,
            cost_pico: None,
            marks: 0,
            race: None,
            mirror: None,
        }
    }
}
