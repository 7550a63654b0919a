//! Where a deployment lives: scheme, host and port taken from its base URL once, at publish time.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};

use super::call::resolved;
use super::conn::{IoError, Stream};
use super::tls;
use crate::outbox;

/// A place to connect to. With `guarded`, only while every address of the name is public: whoever gave it is not trusted with
/// the network the gateway stands in.
#[derive(Clone, Debug)]
pub enum Origin {
    Tcp { host: Arc<str>, port: u16, tls: Option<ServerName<'static>>, guarded: bool },
    Unix(Arc<PathBuf>),
}

/// A base URL taken apart: the origin, the `Host` header and the path prefix without a trailing slash.
#[derive(Clone, Debug)]
pub struct BaseUrl {
    pub origin: Origin,
    pub authority: String,
    pub prefix: String,
    /// A query of the base URL, appended to every request target.
    pub query: Option<String>,
}

impl BaseUrl {
    /// Parses `http(s)://host[:port][/prefix]`, or `unix:SOCKET:/prefix`.
    ///
    /// # Errors
    /// Says what is wrong with the URL; user information and fragments are refused.
    pub fn parse(url: &str) -> Result<BaseUrl, String> {
        if let Some((path, prefix)) = url.strip_prefix("unix:").and_then(|rest| rest.rsplit_once(':')) {
            return Ok(BaseUrl {
                origin: Origin::Unix(Arc::new(PathBuf::from(path))),
                authority: "localhost".to_string(),
                prefix: prefix.trim_end_matches('/').to_string(),
                query: None,
            });
        }
        let uri: http::Uri = url.parse().map_err(|error| format!("base_url {url:?}: {error}"))?;
        let scheme = uri.scheme_str().ok_or_else(|| format!("base_url {url:?} must begin with http:// or https://"))?;
        let secure = match scheme {
            "http" => false,
            "https" => true,
            other => return Err(format!("base_url {url:?}: scheme {other:?} is not supported")),
        };
        let authority = uri.authority().ok_or_else(|| format!("base_url {url:?} has no host"))?;
        if authority.as_str().contains('@') {
            return Err("base_url must not hold user information; use api_key".to_string());
        }
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_string();
        if host.is_empty() {
            return Err(format!("base_url {url:?} has no host"));
        }
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        if port == 0 {
            return Err(format!("base_url {url:?}: port 0 is not valid"));
        }
        let tls = if secure {
            let name = ServerName::try_from(host.clone()).map_err(|_| format!("base_url {url:?}: bad host name"))?;
            Some(name)
        } else {
            None
        };
        Ok(BaseUrl {
            origin: Origin::Tcp { host: host.into(), port, tls, guarded: false },
            authority: authority.as_str().to_string(),
            prefix: uri.path().trim_end_matches('/').to_string(),
            query: uri.query().map(str::to_string),
        })
    }
}

/// Scheme, host and port, or the path of the socket.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Unix(path) => write!(f, "unix:{}", path.display()),
            Origin::Tcp { host, port, tls, .. } => {
                let scheme = if tls.is_some() { "https" } else { "http" };
                if host.contains(':') {
                    write!(f, "{scheme}://[{host}]:{port}")
                } else {
                    write!(f, "{scheme}://{host}:{port}")
                }
            }
        }
    }
}

impl Origin {
    /// Whether it is connected to at public addresses only.
    pub fn is_guarded(&self) -> bool {
        matches!(self, Origin::Tcp { guarded: true, .. })
    }

    /// The same place, connected to only at public addresses; None for a socket of this machine.
    pub fn guarded(self) -> Option<Origin> {
        match self {
            Origin::Tcp { host, port, tls, .. } => Some(Origin::Tcp { host, port, tls, guarded: true }),
            Origin::Unix(_) => None,
        }
    }

    /// Opens a connection; the caller bounds the time.
    pub async fn connect(&self) -> Result<Stream, IoError> {
        match self {
            Origin::Unix(path) => {
                let stream = UnixStream::connect(path.as_path()).await.map_err(IoError::connect)?;
                Ok(Stream::Unix(stream))
            }
            Origin::Tcp { host, port, tls, guarded } => {
                let stream = if *guarded {
                    // What was checked is what is connected to: the name is not looked up twice.
                    let address = resolved(host, *port, true).await.map_err(IoError::Connect)?;
                    TcpStream::connect(address).await
                } else {
                    TcpStream::connect((&**host, *port)).await
                };
                let stream = stream.map_err(IoError::connect)?;
                stream.set_nodelay(true).map_err(IoError::connect)?;
                match tls {
                    None => Ok(Stream::Tcp(outbox::Tcp::new(stream))),
                    Some(name) => {
                        let stream = tls::connector()
                            .connect(name.clone(), stream)
                            .await
                            .map_err(|error| IoError::Connect(format!("TLS handshake failed: {error}")))?;
                        Ok(Stream::Tls(Box::new(stream)))
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_apart() {
        let base = BaseUrl::parse("https://api.openai.com/v1/").expect("valid");
        assert_eq!((base.authority.as_str(), base.prefix.as_str()), ("api.openai.com", "/v1"));
        assert!(matches!(base.origin, Origin::Tcp { port: 443, tls: Some(_), .. }));
        let base = BaseUrl::parse("http://127.0.0.1:9000").expect("valid");
        assert_eq!((base.authority.as_str(), base.prefix.as_str()), ("127.0.0.1:9000", ""));
        let base = BaseUrl::parse("http://[::1]:9000/x?api-version=1").expect("valid");
        assert!(matches!(&base.origin, Origin::Tcp { host, .. } if &**host == "::1"));
        assert_eq!(base.query.as_deref(), Some("api-version=1"));
        let base = BaseUrl::parse("unix:/run/a b/plug.sock:/mine").expect("valid");
        assert_eq!((base.authority.as_str(), base.prefix.as_str()), ("localhost", "/mine"));
        assert!(matches!(&base.origin, Origin::Unix(path) if path.ends_with("plug.sock")));
    }

    #[test]
    fn bad_urls_are_refused() {
        for url in ["", "api.openai.com/v1", "ftp://x/", "http://user:pw@host/", "http://host:0/", "http://"] {
            assert!(BaseUrl::parse(url).is_err(), "{url}");
        }
    }
}
