use super::*;

fn check(url: &str) -> Result<(), Refused> {
    AllowedTargets::default().check_url(&url.parse().expect(url))
}

/// Notations by which others' guards were passed.
#[test]
fn addresses_that_are_not_public_are_refused_in_every_notation() {
    for host in [
        // This machine.
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "127.255.255.254",
        "0.0.0.0",
        "0",
        "0.0.0.1",
        "00000177.1",
        "0X7F.0.0.1",
        "%31%32%37.0.0.1",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::127.0.0.1]",
        "[::7f00:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:7f00:0001]",
        "[::ffff:0:127.0.0.1]",
        "[::ffff:0.0.0.0]",
        // Letters and digits that the URL standard reads as others.
        "\u{2460}\u{2461}\u{2466}.\u{24ea}.\u{24ea}.\u{2460}",
        "127\u{3002}0\u{3002}0\u{3002}1",
        "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
        "127\u{ff0e}0.0.1",
        // Private networks.
        "10.0.0.1",
        "10.255.255.255",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "0xc0a80001",
        "3232235521",
        "[::ffff:10.0.0.1]",
        "[::ffff:192.168.1.1]",
        "[::10.0.0.1]",
        "[fc00::1]",
        "[fd12:3456::1]",
        "[fec0::1]",
        // Link-local, and the metadata of clouds.
        "169.254.169.254",
        "169.254.170.2",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[fe80::1]",
        "[febf::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        // Translated: NAT64, 6to4, Teredo, ISATAP.
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b::10.0.0.1]",
        "[64:ff9b:1::8.8.8.8]",
        "[2002:7f00:1::]",
        "[2002:a9fe:a9fe::1]",
        "[2002:808:808::1]",
        "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
        "[2600::5efe:10.0.0.1]",
        "[2600::200:5efe:127.0.0.1]",
        // Carrier-grade NAT, benchmarks, documentation, multicast, reserved, broadcast.
        "100.64.0.1",
        "100.127.255.255",
        "198.18.0.1",
        "198.19.255.255",
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
        "192.88.99.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "[ff02::1]",
        "[ff0e::1]",
        "[2001:db8::1]",
        "[3fff::1]",
        "[100::1]",
        "[5f00::1]",
        "[4000::1]",
        "[1::1]",
    ] {
        for url in [format!("http://{host}/"), format!("https://{host}:8443/a?b#c")] {
            assert!(matches!(check(&url), Err(Refused::Address(_))), "{url}: {:?}", check(&url));
        }
    }
}

#[test]
fn public_addresses_and_names_are_taken() {
    for host in [
        "8.8.8.8",
        "1.1.1.1",
        "134744072",
        "0x08080808",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.255.255",
        "172.32.0.1",
        "169.253.255.255",
        "169.255.0.1",
        "192.167.255.255",
        "192.169.0.1",
        "198.17.255.255",
        "198.20.0.1",
        "223.255.255.255",
        "11.0.0.1",
        "9.255.255.255",
        "126.255.255.255",
        "128.0.0.1",
        "168.63.129.17",
        "1.0.0.1",
        "[2606:4700:4700::1111]",
        "[2001:4860:4860::8888]",
        "[::ffff:8.8.8.8]",
        "[64:ff9b::8.8.8.8]",
        "[2a00::1]",
        "[2600::5efe:8.8.8.8]",
        "[2001:200::1]",
        // Names are looked up when they are used.
        "hook.example.com",
        "localhost",
        "does-not-resolve.invalid",
        "hook.example.com.",
        "m\u{fc}nchen.example",
        "127.0.0.1.example.com",
        "metadata.google.internal",
    ] {
        for url in [format!("http://{host}/"), format!("https://{host}:8443/a?b")] {
            assert_eq!(check(&url), Ok(()), "{url}");
        }
    }
}

#[test]
fn what_is_no_web_address_is_refused() {
    for (url, refused) in [
        ("ftp://example.com/", Refused::Scheme),
        ("file:///etc/passwd", Refused::Scheme),
        ("gopher://127.0.0.1:6379/_x", Refused::Scheme),
        ("ws://example.com/", Refused::Scheme),
        ("unix:/run/docker.sock", Refused::Scheme),
        ("data:text/plain,x", Refused::Scheme),
        ("http://user@example.com/", Refused::UserInfo),
        ("http://user:word@example.com/", Refused::UserInfo),
        ("http://:word@example.com/", Refused::UserInfo),
        ("https://example.com@127.0.0.1/", Refused::UserInfo),
        ("http://example.com:80@127.0.0.1:80/", Refused::UserInfo),
        ("http://./", Refused::Host),
    ] {
        assert_eq!(check(url), Err(refused), "{url}");
    }
    // A backslash is a slash, and what is behind it no host.
    assert_eq!(check("http://8.8.8.8\\@127.0.0.1/"), Ok(()));
    let url: Url = "http://8.8.8.8\\@127.0.0.1/".parse().expect("a URL");
    assert_eq!(url.host_str(), Some("8.8.8.8"));
    for nonsense in [
        "http://",
        "http://[::1",
        "http://256.0.0.1/",
        "http://1.2.3.4.5/",
        "http://a b/",
        "http://0x100000000/",
    ] {
        assert!(nonsense.parse::<Url>().is_err(), "{nonsense}");
    }
}

#[test]
fn an_operator_allows_hosts_domains_addresses_and_networks() {
    let allowed = AllowedTargets::read([
        "Hook.Internal",
        ".svc.cluster.local",
        "10.1.2.3",
        "10.2.0.0/16",
        "[fd00::1]",
        "fd01::/16",
        "127.0.0.1/32",
    ]);
    let allowed = allowed.expect("targets");
    assert_eq!(
        allowed.to_string(),
        "hook.internal,.svc.cluster.local,10.1.2.3/32,10.2.0.0/16,fd00::1/128,fd01::/16,127.0.0.1/32"
    );
    for host in ["hook.internal", "HOOK.internal.", "a.svc.cluster.local", "a.b.svc.cluster.local."] {
        assert!(allowed.allows_host(host), "{host}");
        assert_eq!(allowed.check_all(host, &["10.0.0.1".parse().expect("an address")]), Ok(()), "{host}");
    }
    for host in
        ["internal", "xhook.internal", "a.hook.internal", "svc.cluster.local", "xsvc.cluster.local", ""]
    {
        assert!(!allowed.allows_host(host), "{host}");
    }
    for address in
        ["10.1.2.3", "10.2.255.255", "::ffff:10.1.2.3", "fd00::1", "fd01::9", "127.0.0.1", "8.8.8.8"]
    {
        assert_eq!(allowed.check_address(address.parse().expect("an address")), Ok(()), "{address}");
    }
    for address in ["10.1.2.4", "10.3.0.0", "fd00::2", "127.0.0.2", "::1", "64:ff9b::10.1.2.3"] {
        assert!(allowed.check_address(address.parse().expect("an address")).is_err(), "{address}");
    }
    for odd in [
        "",
        ".",
        "*",
        "*.example.com",
        "a/b",
        "host:80",
        "10.0.0.0/33",
        "http://a",
        "user@host",
        "..a",
        "a b",
    ] {
        assert_eq!(AllowedTargets::read([odd]), Err(NotATarget), "{odd}");
    }
}

#[test]
fn one_address_that_is_not_public_refuses_the_name() {
    let none = AllowedTargets::default();
    let (public, private) = (IpAddr::from([8, 8, 8, 8]), IpAddr::from([10, 0, 0, 1]));
    assert_eq!(none.check_all("example.com", &[public]), Ok(()));
    assert_eq!(none.check_all("example.com", &[public, private]), Err(Refused::Address(private)));
}
