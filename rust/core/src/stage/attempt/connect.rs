//! A connection to a deployment: an idle one of this thread, or a new one.

use std::time::{Duration, Instant};

use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::kernel::breaker::Sign;
use crate::metrics::Outcome;
use crate::passive_health::tell;
use crate::snapshot::Deployment;
use crate::upstream::Conn;

pub async fn connect(exchange: &mut Exchange, deployment: &Deployment) -> Result<Conn> {
    if let Some(conn) = deployment.pool.take(exchange.shard.index) {
        return Ok(conn);
    }
    // Rare, and a handshake's future is large.
    Box::pin(dial(exchange, deployment)).await
}

async fn dial(exchange: &mut Exchange, deployment: &Deployment) -> Result<Conn> {
    let limit = deployment.timeouts.connect;
    let begun = Instant::now();
    let dialled = tokio::time::timeout(limit, deployment.origin.connect()).await;
    exchange.waited += begun.elapsed();
    let failed = |text: String| {
        let outcome = deployment.state.metrics.of(exchange.shard.index);
        outcome.record(Outcome::ConnectFailed, &crate::kernel::cost::Usage::default(), 0, Duration::ZERO);
        tell(&exchange.shard, &deployment.state, &deployment.breaker, Sign::Outage, Instant::now());
        Error::new(Code::UpstreamConnect, format!("No connection to provider '{}': {text}.", deployment.provider))
    };
    match dialled {
        Ok(Ok(stream)) => Ok(Conn::new(stream)),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("not established within {} s", limit.as_secs_f32()))),
    }
}
