//! Where a registry may lead a client: a public one not into the private network around the client (server-side request
//! forgery by redirects, upload locations, token realms; go-containerregistry#2295, CVE-2020-15157).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::tls::authority;
use crate::store::Failure;

/// How long the look-up of a registry's own name may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether an address is not one of the public internet: private, loopback, link-local, shared (CGNAT), multicast,
/// reserved, unspecified, or an IPv6 form of such an IPv4 address (RFC 6890, RFC 4291, RFC 6052, RFC 3056, RFC 4380).
pub(super) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_private_v4(v4),
        IpAddr::V6(v6) => is_private_v6(v6),
    }
}

fn is_private_v4(a: Ipv4Addr) -> bool {
    let [one, two, three, _] = a.octets();
    a.is_private()
        || a.is_loopback()
        || a.is_link_local()
        || a.is_multicast()
        || one == 0
        || one >= 240
        || (one == 100 && two & 0xc0 == 64)
        || (one == 198 && two & 0xfe == 18)
        || (one, two, three) == (192, 0, 0)
}

fn is_private_v6(a: Ipv6Addr) -> bool {
    let s = a.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_private_v4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        // Unspecified, loopback, IPv4-compatible, IPv4-mapped, IPv4-translated.
        [0, 0, 0, 0, 0, 0, high, low] => high == 0 || v4(high, low),
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => v4(high, low),
        // NAT64, the well-known prefix and the local one.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x64, 0xff9b, 1, ..] => true,
        // Teredo carries the client's address inverted; 6to4.
        [0x2001, 0, _, _, _, _, high, low] => v4(!high, !low),
        [0x2002, high, low, ..] => v4(high, low),
        // Unique-local; link-local and site-local; multicast.
        [first, ..] => first & 0xfe00 == 0xfc00 || first & 0xff80 == 0xfe80 || first & 0xff00 == 0xff00,
    }
}

/// Whether the host of a URL is a literal address inside a network, or a name of this machine.
pub(super) fn is_inside(url: &Url) -> bool {
    match literal(url.host_str().unwrap_or_default()) {
        Host::Address(address) => is_private(address),
        Host::Own => true,
        Host::Name(_) => false,
    }
}

enum Host<'a> {
    Address(IpAddr),
    /// A name that always is this machine (RFC 6761 6.3).
    Own,
    Name(&'a str),
}

fn literal(host: &str) -> Host<'_> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse() {
        return Host::Address(address);
    }
    let name = host.trim_end_matches('.');
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.eq_ignore_ascii_case("localhost") || name.eq_ignore_ascii_case("localhost.localdomain") {
        return Host::Own;
    }
    Host::Name(host)
}

/// Whether a registry (host with or without port) itself lies in a private network, by its address or all that its name
/// resolves to: one private address beside a public one opens nothing. A name that does not resolve here, as behind a
/// proxy, counts as public. A name that is public now and private at another look-up (rebinding), or the other way
/// round, is not found out here.
pub(super) async fn registry_is_inside(registry: &str) -> bool {
    let Ok(url) = Url::parse(&format!("https://{registry}/")) else { return false };
    match literal(url.host_str().unwrap_or_default()) {
        Host::Address(address) => is_private(address),
        Host::Own => true,
        Host::Name(name) => {
            let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((name, 443))).await;
            found.is_ok_and(|all| all.is_ok_and(|all| all_private(all.map(|a| a.ip()))))
        }
    }
}

fn all_private(addresses: impl Iterator<Item = IpAddr>) -> bool {
    let mut addresses = addresses.peekable();
    addresses.peek().is_some() && addresses.all(is_private)
}

/// The refusal of `url`.
pub(super) fn refused(registry: &str, url: &Url) -> Failure {
    let to = authority(url);
    Failure::Protocol(format!(
        "{registry} sends this client on to {to}, an address inside a private network; not followed"
    ))
}

/// Resolves names, but `target` only to public addresses. Other names are those of proxies.
#[derive(Debug)]
pub(super) struct PublicOnly {
    pub(super) target: String,
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let (name, target) = (name.as_str().to_owned(), self.target.clone());
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if name.eq_ignore_ascii_case(&target)
                && let Some(inside) = found.iter().find(|a| is_private(a.ip()))
            {
                return Err(
                    format!("{name} is {}, inside a private network; not followed", inside.ip()).into()
                );
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_inside_networks_are_told_from_public_ones() {
        for inside in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2001:0:4136:e378:8000:63bf:f5ff:fffe",
            "2002:a00:1::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(is_private(inside.parse().unwrap()), "{inside}");
        }
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::1",
            "2606:4700::1111",
            "2001:4860::8888",
        ] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn spellings_of_inner_hosts_are_seen_through() {
        for inside in [
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://0/",
            "http://[::ffff:7f00:1]/",
            "http://LOCALHOST:80/",
            "http://a.localhost/",
            "http://localhost./",
            "http://10.0.0.1.:80/",
        ] {
            assert!(is_inside(&Url::parse(inside).unwrap()), "{inside}");
        }
        for other in ["https://cdn.example.com/", "https://localhost.example.com/", "https://1.1.1.1/"] {
            assert!(!is_inside(&Url::parse(other).unwrap()), "{other}");
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_inside_is_refused_for_the_target_only() {
        let resolver = PublicOnly { target: "localhost".into() };
        let e = resolver.resolve("localhost".parse().unwrap()).await.err().unwrap();
        assert!(e.to_string().contains("private network"), "{e}");
        let proxy = PublicOnly { target: "cdn.example.com".into() };
        assert!(proxy.resolve("localhost".parse().unwrap()).await.is_ok());
        assert!(registry_is_inside("10.0.0.1:5000").await && registry_is_inside("[::1]:5000").await);
        assert!(!registry_is_inside("1.1.1.1").await && !registry_is_inside("registry.invalid").await);
    }

    #[test]
    fn one_private_address_beside_a_public_one_does_not_make_a_registry_an_inner_one() {
        let inside = |all: &[&str]| all_private(all.iter().map(|a| a.parse().unwrap()));
        assert!(inside(&["10.0.0.1"]) && inside(&["127.0.0.1", "::1"]));
        assert!(!inside(&["1.1.1.1", "10.0.0.1"]) && !inside(&["10.0.0.1", "1.1.1.1"]));
        assert!(!inside(&["1.1.1.1"]) && !inside(&[]));
    }

    proptest::proptest! {
        #[test]
        fn every_ipv6_form_of_an_ipv4_address_is_judged_alike(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let [a, b, c, d] = v4.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let want = is_private(v4.into());
            for v6 in [
                v4.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, 1, 2, 3, 4, !high, !low),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
            ] {
                proptest::prop_assert_eq!(is_private(v6.into()), want, "{}", v6);
            }
            let url = Url::parse(&format!("http://{bits}:8080/x")).unwrap();
            proptest::prop_assert_eq!(is_inside(&url), want);
        }
    }
}
