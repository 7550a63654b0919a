//! A request without its caller: one that is asked once more for the cache, of another model, or of another deployment
//! while the first is waited for.

use std::time::Instant;

use crate::exchange::{Exchange, Opening, RequestId};
use crate::trace::Context;

impl Exchange {
    /// The same request once more, without its caller. `None` for one that a config object has rewritten.
    pub fn again(&self) -> Option<Exchange> {
        self.plan.is_none().then(|| self.apart())
    }

    /// A request of the gateway's own in the name of the same caller.
    pub fn apart(&self) -> Exchange {
        let opening = Opening {
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
            quotas: self.quotas,
            decision: None,
            trace: Context::default(),
        };
        Exchange {
            call: self.call.clone(),
            model: self.model,
            admitted: true,
            extra: self.extra.clone(),
            customer: self.customer,
            tags: self.tags.clone(),
            provider: self.provider.clone(),
            ..Exchange::new(opening)
        }
    }
}
