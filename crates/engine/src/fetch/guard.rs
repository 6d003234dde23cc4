//! Which addresses may be fetched: public ones. It sits where names become addresses, so that neither a redirect nor a
//! name that changes its address between two looks leads around it.

use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower_service::Service;

/// Why an address is not fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Forbidden {
    #[error("{host} is at {address}, which is no public address; --allow-host {host} permits it")]
    Private { host: String, address: IpAddr },
    #[error("only http and https are fetched, not {0:?}")]
    Scheme(String),
    #[error("it names no host")]
    NoHost,
    #[error("it holds a user name or a password")]
    Credentials,
}

/// Resolves names of public hosts and of permitted ones.
#[derive(Clone)]
pub(super) struct Guard {
    inner: GaiResolver,
    allowed: Arc<[String]>,
}

impl Guard {
    pub(super) fn new(allow_hosts: &[String]) -> Guard {
        let allowed = allow_hosts.iter().map(|host| plain(host)).collect();
        Guard { inner: GaiResolver::new(), allowed }
    }

    /// What can be said before a name is resolved. A number needs no resolving, so it is judged here.
    pub(super) fn check(&self, uri: &Uri) -> Result<(), Forbidden> {
        match uri.scheme_str() {
            Some("http" | "https") => {}
            other => return Err(Forbidden::Scheme(other.unwrap_or("").to_owned())),
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(Forbidden::Credentials);
        }
        let host = plain(uri.host().filter(|host| !host.is_empty()).ok_or(Forbidden::NoHost)?);
        match host.parse::<IpAddr>() {
            Ok(address) if !self.allows(&host) && !is_public(address) => Err(Forbidden::Private { host, address }),
            _ => Ok(()),
        }
    }

    fn allows(&self, host: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed == host)
    }
}

/// Lower case, without the brackets of an IPv6 number and the dot at the end.
fn plain(host: &str) -> String {
    host.trim().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase()
}

impl Service<Name> for Guard {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Refused;
    type Future = BoxFuture<'static, Result<Self::Response, Refused>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx).map_err(Refused::Dns)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let host = plain(name.as_str());
        let is_allowed = self.allows(&host);
        let found = self.inner.call(name);
        async move {
            let found: Vec<SocketAddr> = found.await.map_err(Refused::Dns)?.collect();
            // One private address among public ones is enough to refuse: which one is taken is chance.
            match found.iter().find(|address| !is_allowed && !is_public(address.ip())) {
                Some(private) => Err(Refused::Forbidden(Forbidden::Private { host, address: private.ip() })),
                None => Ok(found.into_iter()),
            }
        }
        .boxed()
    }
}

/// Why a name was not resolved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("name resolution failed: {0}")]
    Dns(io::Error),
    #[error("{0}")]
    Forbidden(Forbidden),
}

/// The guard's refusal behind a failed request.
pub(super) fn found(fault: &(dyn StdError + 'static)) -> Option<Forbidden> {
    let mut next = Some(fault);
    while let Some(fault) = next {
        if let Some(Refused::Forbidden(forbidden)) = fault.downcast_ref() {
            return Some(forbidden.clone());
        }
        next = fault.source();
    }
    None
}

/// True for an `https` address whose host is a name or a public number: one that the API can open itself.
pub(crate) fn is_public_address(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().map(plain).unwrap_or_default();
    let is_local = host.is_empty() || host == "localhost" || !host.contains(['.', ':']);
    uri.scheme_str() == Some("https") && !is_local && host.parse().map_or(true, is_public)
}

/// False for numbers that lead to this machine, this network, or nowhere.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_assigned = (a, b, c) == (192, 0, 0) || (a == 198 && (b == 18 || b == 19));
    let is_relay = (a, b, c) == (192, 88, 99);
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || is_shared
        || is_assigned
        || is_relay
        || a == 0
        || a >= 224)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    if let Some(inside) = embedded_v4(address) {
        return is_public_v4(inside);
    }
    // Only 2000::/3 is given out to the public; of it, not tunnels (2001::/23) and documentation (2001:db8::/32, 3fff::/20).
    let is_global = first & 0xe000 == 0x2000;
    let is_special = (first == 0x2001 && (second < 0x0200 || second == 0x0db8)) || (first == 0x3fff && second < 0x1000);
    is_global && !is_special
}

/// The IPv4 number that an IPv6 number leads to: mapped, compatible, translated (64:ff9b::/96) and 6to4 ones.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let pair = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match s {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] => Some(pair(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(pair(high, low)),
        [0x2002, high, low, ..] => Some(pair(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn only_public_numbers_are_fetched_from() {
        for private in [
            "127.0.0.1",
            "127.9.9.9",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "192.0.0.8",
            "198.18.0.1",
            "192.0.2.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "fe80::1",
            "fc00::1",
            "fd12:3456::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "fec0::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in
            ["8.8.8.8", "100.63.0.1", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "2001:4860::8888"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn the_api_is_left_to_open_public_https_addresses_only() {
        for (url, expected) in [
            ("https://example.com/a.png", true),
            ("https://8.8.8.8/a.png", true),
            ("http://example.com/a.png", false),
            ("https://localhost/a.png", false),
            ("https://intranet/a.png", false),
            ("https://10.0.0.1/a.png", false),
            ("https://[::1]/a.png", false),
        ] {
            assert_eq!(is_public_address(url), expected, "{url}");
        }
    }

    #[test]
    fn numbers_schemes_and_passwords_are_judged_before_anything_is_sent() {
        let guard = Guard::new(&["127.0.0.1".to_owned(), "[::1]".to_owned()]);
        let check = |url: &str| guard.check(&url.parse().unwrap());
        assert_eq!(check("http://127.0.0.1:8080/x"), Ok(()));
        assert_eq!(check("http://[::1]/x"), Ok(()));
        assert!(matches!(check("http://10.0.0.1/x"), Err(Forbidden::Private { .. })));
        assert!(matches!(check("http://[::ffff:10.0.0.1]/x"), Err(Forbidden::Private { .. })));
        assert_eq!(check("ftp://example.com/x"), Err(Forbidden::Scheme("ftp".to_owned())));
        assert_eq!(check("https://ann@example.com/x"), Err(Forbidden::Credentials));
    }
}
