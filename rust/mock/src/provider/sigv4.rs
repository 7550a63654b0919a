//! Checks AWS signatures, strictly and by the text of the specification alone.

use hyper::{HeaderMap, Method};
use sha2::{Digest, Sha256};

/// A signed request.
pub struct Signed<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// What is wrong with the signature, given keys as `ID:SECRET` or `ID:SECRET:TOKEN`.
pub fn fault(request: &Signed<'_>, keys: &[String]) -> Option<String> {
    check(request, keys).err()
}

fn check(request: &Signed<'_>, keys: &[String]) -> Result<(), String> {
    let header = |name: &str| {
        let values: Vec<&str> = request.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        (!values.is_empty()).then(|| values.join(","))
    };
    let authorization = header("authorization").ok_or("Missing Authentication Token")?;
    let fields = authorization.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("not a signature")?;
    let field = |name: &str| fields.split(", ").find_map(|field| field.strip_prefix(name)).ok_or(name.to_owned());
    let (credential, signed) = (field("Credential=")?, field("SignedHeaders=")?);
    let [id, date, region, service, "aws4_request"] = credential.split('/').collect::<Vec<_>>()[..] else {
        return Err("Credential is not ID/DATE/REGION/SERVICE/aws4_request".to_owned());
    };
    let stamp = header("x-amz-date").ok_or("x-amz-date is missing")?;
    if !stamp.starts_with(date) || service != "bedrock" {
        return Err(format!("scope {credential} does not fit {stamp} and bedrock"));
    }
    let key = keys.iter().find_map(|key| key.strip_prefix(id)?.strip_prefix(':')).ok_or("unknown access key id")?;
    let (secret, token) = key.split_once(':').unwrap_or((key, ""));
    if header("x-amz-security-token").unwrap_or_default() != token {
        return Err("The security token included in the request is invalid.".to_owned());
    }
    let names: Vec<&str> = signed.split(';').collect();
    if !names.contains(&"host") || !token.is_empty() && !names.contains(&"x-amz-security-token") {
        return Err("host and x-amz-security-token must be signed".to_owned());
    }
    let mut canonical = format!("{}\n{}\n{}\n", request.method, escaped(request.path), sorted(request.query));
    for name in &names {
        let value = header(name).ok_or(format!("{name} is signed but missing"))?;
        canonical += &format!("{name}:{}\n", value.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    canonical += &format!("\n{signed}\n{}", hex(&Sha256::digest(request.body)));
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hex(&Sha256::digest(&canonical)));
    let mut signing = format!("AWS4{secret}").into_bytes();
    for part in [date, region, service, "aws4_request"] {
        signing = hmac(&signing, part.as_bytes());
    }
    if field("Signature=")? == hex(&hmac(&signing, text.as_bytes())) {
        return Ok(());
    }
    Err(format!("The request signature we calculated does not match the signature you provided.\n{canonical}"))
}

/// Percent-encoded once more than it came.
fn escaped(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn sorted(query: &str) -> String {
    let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.sort_unstable();
    pairs.join("&")
}

/// RFC 2104, with SHA-256.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let hashed = Sha256::digest(key);
    let key = if key.len() > 64 { &hashed[..] } else { key };
    let padded = |pad: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ pad).collect() };
    let inner = Sha256::digest([&padded(0x36)[..], text].concat());
    Sha256::digest([&padded(0x5c)[..], &inner[..]].concat()).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_vector() {
        // RFC 4231, case 2.
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex(&hmac(b"Jefe", b"what do ya want for nothing?")), expected);
    }
}
