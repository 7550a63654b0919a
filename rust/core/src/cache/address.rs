//! Where the second tier is: one server, a cluster, or a master that sentinels name.
//!
//! `redis://[user:password@]host[:port]/database`, `redis+cluster://[…@]host[:port],host[:port]`,
//! `redis+sentinel://[…@]host[:port],host[:port]/master/database`; with TLS each begins with `rediss`.

/// Addresses as the client library takes them.
#[derive(Debug, PartialEq, Eq)]
pub enum Address {
    One(String),
    /// Nodes to begin with.
    Cluster(Vec<String>),
    Sentinel {
        sentinels: Vec<String>,
        master: String,
        place: Place,
    },
}

/// What stands around the host of a master.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    scheme: String,
    login: String,
    database: String,
}

impl Place {
    pub fn of(&self, host: &str, port: u16) -> String {
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{}://{}{open}{host}{close}:{port}/{}", self.scheme, self.login, self.database)
    }
}

impl Address {
    /// # Errors
    /// What it lacks.
    pub fn parse(text: &str) -> Result<Address, String> {
        let (scheme, rest) = text.split_once("://").ok_or("the address of Redis has no scheme")?;
        let Some((scheme, kind)) = scheme.split_once('+') else { return Ok(Address::One(text.to_string())) };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (format!("{login}@"), hosts),
            None => (String::new(), authority),
        };
        let hosts = || hosts.split(',').filter(|host| !host.is_empty());
        if hosts().next().is_none() {
            return Err("the address of Redis names no host".to_string());
        }
        match kind {
            "cluster" => Ok(Address::Cluster(hosts().map(|host| format!("{scheme}://{login}{host}")).collect())),
            "sentinel" => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err("name the master: redis+sentinel://HOST:26379/MASTER/0".to_string());
                }
                // The last part of an IPv6 address is no port.
                let ported = |host: &str| host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
                let sentinels = hosts()
                    .map(|host| format!("{scheme}://{host}{}", if ported(host) { "" } else { ":26379" }))
                    .collect();
                let place = Place { scheme: scheme.to_string(), login, database: database.to_string() };
                Ok(Address::Sentinel { sentinels, master: master.to_string(), place })
            }
            other => Err(format!("redis+{other} is no kind of Redis: redis+cluster, redis+sentinel")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_apart() {
        let one = "rediss://:p@h:1/2";
        assert_eq!(Address::parse(one), Ok(Address::One(one.to_string())));
        let nodes = ["redis://u:p@a:1".to_string(), "redis://u:p@b".to_string()].to_vec();
        assert_eq!(Address::parse("redis+cluster://u:p@a:1,b"), Ok(Address::Cluster(nodes)));
        let found = Address::parse("rediss+sentinel://u:p%40@a,b:2,[::1],[::1]:3/main/4");
        let Ok(Address::Sentinel { sentinels, master, place }) = found else { panic!("{found:?}") };
        assert_eq!(sentinels, ["rediss://a:26379", "rediss://b:2", "rediss://[::1]:26379", "rediss://[::1]:3"]);
        assert_eq!(master, "main");
        assert_eq!(place.of("10.0.0.1", 6379), "rediss://u:p%40@10.0.0.1:6379/4");
        assert_eq!(place.of("::1", 6379), "rediss://u:p%40@[::1]:6379/4");
        for bad in ["x", "redis+sentinel://a", "redis+cluster:///", "redis+sentinel:///m", "redis+other://a"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
