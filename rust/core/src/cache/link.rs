//! The connection of the second tier: to one server, to the master that sentinels name, or to a cluster.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::select_ok;
use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind,
    TlsCertificates, Value,
};

use super::address::{Address, Place};
use super::gate::REST;

/// How long a connection may take; nobody waits for it.
const CONNECT: Duration = Duration::from_secs(1);
/// How long nobody looks for a master when none was found.
const PAUSE: Duration = Duration::from_millis(200);

/// One that can be asked for all that it holds.
pub enum Node {
    Only,
    At { host: String, port: u16 },
}

#[derive(Clone)]
pub enum Link {
    One(ConnectionManager),
    Master(Arc<Master>),
    Cluster(ClusterConnection),
}

/// How an address is reached.
pub struct Settings {
    /// Certificates in PEM.
    pub authority: Option<String>,
    /// The longest that a server may take for an answer.
    pub answer: Duration,
}

impl Settings {
    fn certificates(&self) -> Option<TlsCertificates> {
        let root_cert = Some(self.authority.as_ref()?.as_bytes().to_vec());
        Some(TlsCertificates { client_tls: None, root_cert })
    }

    fn client(&self, url: &str) -> RedisResult<Client> {
        match self.certificates() {
            None => Client::open(url),
            Some(certificates) => Client::build_with_tls(url, certificates),
        }
    }

    fn connection(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(self.answer))
    }
}

/// What is connected to once the tier's thread runs.
pub enum Plan {
    One(Client),
    Master(Master),
    Cluster(ClusterClient),
}

impl Plan {
    /// # Errors
    /// The address is none.
    pub fn new(address: &str, settings: Settings) -> Result<Plan, String> {
        let wrong = |error: RedisError| format!("the address of Redis: {error}");
        match Address::parse(address)? {
            Address::One(url) => settings.client(&url).map(Plan::One).map_err(wrong),
            Address::Cluster(nodes) => {
                let mut builder =
                    ClusterClient::builder(nodes).retries(1).overall_response_timeout(Some(settings.answer));
                if let Some(certificates) = settings.certificates() {
                    builder = builder.certs(certificates);
                }
                builder.build().map(Plan::Cluster).map_err(wrong)
            }
            Address::Sentinel { sentinels, master, place } => {
                let clients = sentinels.iter().map(|url| settings.client(url)).collect::<RedisResult<_>>();
                let sentinels = clients.map_err(wrong)?;
                // What is wrong with it is told before there is a master.
                settings.client(&place.of("localhost", 6379)).map_err(wrong)?;
                let state = tokio::sync::Mutex::default();
                Ok(Plan::Master(Master { sentinels, name: master, place, settings, state }))
            }
        }
    }

    /// Connects when it is first used. `answer`: the longest that a server may take.
    ///
    /// # Errors
    /// The connection cannot be made ready.
    pub fn link(self, answer: Duration) -> RedisResult<Link> {
        Ok(match self {
            Plan::One(client) => {
                let settings = ConnectionManagerConfig::new()
                    .set_connection_timeout(Some(CONNECT))
                    .set_response_timeout(Some(answer))
                    .set_number_of_retries(1)
                    .set_max_delay(REST);
                Link::One(ConnectionManager::new_lazy_with_config(client, settings)?)
            }
            Plan::Master(master) => Link::Master(Arc::new(master)),
            Plan::Cluster(client) => {
                let settings = ClusterConfig::new().set_connection_timeout(CONNECT).set_response_timeout(answer);
                Link::Cluster(client.get_pending_async_connection_with_config(settings))
            }
        })
    }
}

impl Link {
    /// One command, to whoever holds its key.
    ///
    /// # Errors
    /// It was not answered, or with an error.
    pub async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Link::One(connection) => command.query_async(connection).await,
            Link::Master(master) => master.query(command).await,
            Link::Cluster(connection) => command.query_async(connection).await,
        }
    }

    /// All that together hold everything.
    ///
    /// # Errors
    /// They cannot be asked.
    pub async fn nodes(&mut self) -> RedisResult<Vec<Node>> {
        let Link::Cluster(connection) = self else { return Ok(vec![Node::Only]) };
        let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let Value::Map(found) = connection.route_command(redis::cmd("PING"), masters).await? else {
            return Err((ErrorKind::Parse, "the cluster does not tell its nodes").into());
        };
        let mut nodes = Vec::with_capacity(found.len());
        for (address, answer) in found {
            // One that does not answer would keep what it holds.
            answer.extract_error()?;
            let address: String = redis::from_redis_value(address)?;
            let place = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
            let Some((host, port)) = place else { return Err((ErrorKind::Parse, "a node without an address").into()) };
            nodes.push(Node::At { host: host.to_string(), port });
        }
        Ok(nodes)
    }

    /// One command, to one of [`Link::nodes`].
    ///
    /// # Errors
    /// It was not answered, or with an error.
    pub async fn query_at<T: FromRedisValue>(&mut self, node: &Node, command: Cmd) -> RedisResult<T> {
        match (self, node) {
            (Link::Cluster(connection), Node::At { host, port }) => {
                let place = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port };
                let value = connection.route_command(command, RoutingInfo::SingleNode(place)).await?;
                Ok(redis::from_redis_value(value)?)
            }
            (link, _) => link.query(&command).await,
        }
    }

    /// What a server says of itself; of a cluster one of them.
    ///
    /// # Errors
    /// It was not answered.
    pub async fn info(&mut self) -> RedisResult<String> {
        let command = redis::cmd("INFO");
        let Link::Cluster(connection) = self else { return self.query(&command).await };
        let value =
            connection.route_command(command, RoutingInfo::SingleNode(SingleNodeRoutingInfo::RandomPrimary)).await?;
        Ok(redis::from_redis_value(value)?)
    }
}

/// The master that sentinels name, followed when they name another.
pub struct Master {
    sentinels: Vec<Client>,
    name: String,
    place: Place,
    settings: Settings,
    state: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Of the connection, so that one is let go of once.
    number: u64,
    missed: Option<Instant>,
}

type Finding<'m> = Pin<Box<dyn Future<Output = RedisResult<MultiplexedConnection>> + Send + 'm>>;

impl Master {
    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let (number, mut connection) = self.connection().await?;
        let done = command.query_async(&mut connection).await;
        if let Err(error) = &done
            && is_no_master(error)
        {
            let mut state = self.state.lock().await;
            if state.number == number {
                state.connection = None;
            }
        }
        done
    }

    async fn connection(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((state.number, connection.clone()));
        }
        let missing = || (ErrorKind::Io, "the sentinels name no master that answers");
        if state.missed.is_some_and(|missed| missed.elapsed() < PAUSE) {
            return Err(missing().into());
        }
        let asked: Vec<Finding<'_>> =
            self.sentinels.iter().map(|sentinel| -> Finding<'_> { Box::pin(self.find(sentinel)) }).collect();
        let found = tokio::time::timeout(3 * CONNECT, select_ok(asked)).await;
        let found = found.unwrap_or_else(|_| Err(missing().into()));
        state.missed = found.is_err().then(Instant::now);
        let (connection, _) = found?;
        state.number += 1;
        state.connection = Some(connection.clone());
        Ok((state.number, connection))
    }

    /// The master that one sentinel names, if it is one.
    async fn find(&self, sentinel: &Client) -> RedisResult<MultiplexedConnection> {
        let settings = self.settings.connection();
        let mut asked = sentinel.get_multiplexed_async_connection_with_config(&settings).await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        let named: Option<(String, u16)> = command.query_async(&mut asked).await?;
        let Some((host, port)) = named else {
            return Err((ErrorKind::MasterNameNotFoundBySentinel, "a sentinel does not know the master").into());
        };
        let client = self.settings.client(&self.place.of(&host, port))?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&settings).await?;
        let role: Vec<Value> = redis::cmd("ROLE").query_async(&mut connection).await?;
        let role = role.into_iter().next().map(redis::from_redis_value::<String>).transpose()?;
        if role.as_deref() == Some("master") {
            Ok(connection)
        } else {
            Err((ErrorKind::Io, "what a sentinel names is no master").into())
        }
    }
}

/// Whether another server may have become the master.
fn is_no_master(error: &RedisError) -> bool {
    use ServerErrorKind as Told;
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || matches!(error.kind(), ErrorKind::Server(Told::ReadOnly | Told::MasterDown | Told::BusyLoading))
}
