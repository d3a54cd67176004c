//! Connections to Vault and Hydra on real TLS listeners, through proxies, to standbys: what works with bao and curl works,
//! and each mistake has a message of its own.

use crate::{AUTHOR, agent, assert_refused, bao, hydra, names};
use bindu_testkit::{
    AgentSetup, Nginx, OpenBao,
    caller::TestCaller,
    certificates::{Certificate, self_signed, version_1},
    http::{self, eventually},
    proxy::Proxy,
};
use serde_json::json;
use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

/// `bindu vault check` with the root token, at this address.
fn check(disk: &Path, url: &str, token: &str) -> AgentSetup {
    let setup = agent(disk).named(AUTHOR, "Connected").command(&["vault", "check"]);
    setup.set("VAULT__ENABLED", "true").set("VAULT_ADDR", url).set("VAULT_TOKEN", token)
}

#[track_caller]
fn assert_good((code, stdout, stderr): (i32, String, String)) {
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("good"), "{stdout}");
}

fn path(file: &Path) -> String {
    file.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_certificate_works_as_with_bao_and_curl_or_is_told_by_its_file() {
    let disk = tempfile::tempdir().unwrap();
    let own = self_signed(disk.path(), "own", "rsa:2048");
    let p521 = self_signed(disk.path(), "p521", "ec -pkeyopt ec_paramgen_curve:secp521r1");
    let shown = [(own.certificate.as_path(), own.key.as_path()), (&p521.certificate, &p521.key)];
    let (bao, urls) = OpenBao::start_showing(&shown).await;
    let with = |url: &str, ca: &Path| check(disk.path(), url, &bao.token).set("VAULT_CACERT", path(ca));

    // The server's own certificate, as `openssl req -x509` makes it: bao and curl take it.
    assert_good(with(&urls[0], &own.certificate).output());
    // For another name, or another certificate of the same name: not.
    let named = with(&urls[0], &own.certificate).set("VAULT_TLS_SERVER_NAME", "vault.example.com");
    assert_refused(named.output(), 69, &["TLS: invalid peer certificate", "vault.example.com"]);
    let other = self_signed(disk.path(), "other", "rsa:2048");
    assert_refused(
        with(&urls[0], &other.certificate).output(),
        69,
        &["TLS: invalid peer certificate", &urls[0]],
    );

    // One bad certificate in a bundle.
    let good = fs::read_to_string(&own.certificate).unwrap();
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(disk.path().join("bundle.pem"), format!("{good}{bad}")).unwrap();
    let bundle = with(&urls[0], &disk.path().join("bundle.pem"));
    assert_refused(bundle.output(), 64, &["bundle.pem", "number 2"]);

    // A directory with a key among the certificates.
    let directory = disk.path().join("ca.d");
    fs::create_dir(&directory).unwrap();
    for file in [&own.certificate, &own.key] {
        fs::copy(file, directory.join(file.file_name().unwrap())).unwrap();
    }
    let setup = check(disk.path(), &urls[0], &bao.token);
    assert_good(setup.set("VAULT_CAPATH", path(&directory)).output());

    // P-521: as the authority's file, as the server's certificate, as our own key.
    assert_refused(with(&urls[1], &p521.certificate).output(), 64, &["p521.crt", "P-521"]);
    assert_refused(with(&urls[1], &own.certificate).output(), 69, &["TLS: ", "P-521", &urls[1]]);
    let client = |shown: &Certificate| {
        let setup = with(&urls[0], &own.certificate).set("VAULT_CLIENT_CERT", path(&shown.certificate));
        setup.set("VAULT_CLIENT_KEY", path(&shown.key))
    };
    let (code, _, told) = client(&p521).output();
    assert!(code == 64 && told.contains("P-521") && told.contains("p521."), "{code} {told}");

    // A client certificate of X.509 version 1: Vault takes it.
    let version_1 = version_1(disk.path(), "version-1", &own);
    for (place, body) in [
        (
            "sys/policies/acl/agent",
            json!({"policy": "path \"secret/data/bindu/*\" { capabilities = [\"create\", \"read\", \"update\"] }"}),
        ),
        ("sys/auth/cert", json!({"type": "cert"})),
        (
            "auth/cert/certs/agent",
            json!({"certificate": fs::read_to_string(&version_1.certificate).unwrap(), "token_policies": ["agent"]}),
        ),
    ] {
        assert_eq!(bao.call("POST", place, Some(body)).await.0, 204, "{place}");
    }
    assert_good(client(&version_1).set("VAULT_TOKEN", "").set("VAULT__AUTH", "cert").output());
    let mixed = Certificate { certificate: version_1.certificate.clone(), key: other.key.clone() };
    assert_refused(client(&mixed).output(), 64, &["other.key", "version-1.crt"]);
}

/// A proxy for https: `CONNECT host:port`, all of them to this server. What it was asked for.
async fn tunnel(server: &str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (server, noted) = (server.trim_start_matches("https://").to_owned(), Arc::clone(&asked));
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (server, noted) = (server.clone(), Arc::clone(&noted));
            tokio::spawn(async move {
                let mut near = BufReader::new(near);
                let mut first = String::new();
                near.read_line(&mut first).await.unwrap();
                noted.lock().unwrap().push(first.trim().to_owned());
                let mut line = String::new();
                while near.read_line(&mut line).await.unwrap() > 2 {
                    line.clear();
                }
                near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let mut far = TcpStream::connect(&server).await.unwrap();
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (address, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_are_read_as_by_go_and_never_get_loopback() {
    let disk = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&bao().await.url).await;
    let proxied = |url: &str| {
        let setup = check(disk.path(), url, &bao_token()).set("HTTP_PROXY", &proxy.url);
        setup.set("https_proxy", "http://127.0.0.1:1")
    };
    // Vault's token in clear would be the proxy's.
    assert_good(proxied(&bao().await.url).output());
    assert_good(proxied(&bao().await.url).set("VAULT_PROXY_ADDR", &proxy.url).output());
    assert!(proxy.take_seen().is_empty(), "loopback goes to nobody else");
    assert_good(proxied("http://vault.invalid:8200").output());
    assert!(!proxy.take_seen().is_empty(), "the name is the proxy's to resolve");
    for (exempt, direct) in [
        ("vault.invalid:8200", true),
        (".invalid", true),
        ("vault.invalid", true),
        ("*", true),
        ("vault.invalid:8201", false),
        ("other.invalid, 10.0.0.0/8", false),
    ] {
        let (code, _, told) = proxied("http://vault.invalid:8200").set("NO_PROXY", exempt).output();
        let unresolved = told.contains("vault.invalid does not resolve");
        assert_eq!((code == 0, unresolved), (!direct, direct), "{exempt}: {told}");
        assert_eq!(proxy.take_seen().is_empty(), direct, "{exempt}");
    }
    // Lower case goes before; what is told names the proxy.
    let dead = proxied("http://vault.invalid:8200").set("http_proxy", "http://127.0.0.1:1").output();
    assert_refused(
        dead,
        69,
        &["http://vault.invalid:8200", "through the proxy http://127.0.0.1:1", "refused"],
    );
    let socks =
        proxied("http://vault.invalid:8200").set("VAULT_PROXY_ADDR", "socks5://me:canary@127.0.0.1:1");
    let (code, _, told) = socks.output();
    assert!(code == 64 && told.contains("VAULT_PROXY_ADDR") && !told.contains("canary"), "{told}");
}

fn bao_token() -> String {
    // The shared server runs already where this is called.
    tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current().block_on(async { bao().await.token.clone() })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_told_vaults_address_and_not_its_certificates_name() {
    let disk = tempfile::tempdir().unwrap();
    let own = self_signed(disk.path(), "own", "rsa:2048");
    let (bao, urls) = OpenBao::start_showing(&[(&own.certificate, &own.key)]).await;
    let (proxy, asked) = tunnel(&urls[0]).await;
    let setup = check(disk.path(), "https://vault.invalid:8200", &bao.token)
        .set("VAULT_CACERT", path(&own.certificate))
        .set("VAULT_TLS_SERVER_NAME", "localhost");
    assert_good(setup.clone().set("VAULT_PROXY_ADDR", &proxy).set("NO_PROXY", "vault.invalid").output());
    assert_good(setup.clone().set("HTTPS_PROXY", &proxy).output());
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    assert!(
        !asked.is_empty() && asked.iter().all(|line| line == "CONNECT vault.invalid:8200 HTTP/1.1"),
        "{asked:?}"
    );
    // NO_PROXY is about the address, too.
    for exempt in ["vault.invalid", "vault.invalid:8200"] {
        let told = setup.clone().set("HTTPS_PROXY", &proxy).set("NO_PROXY", exempt).output();
        assert_refused(told, 69, &["vault.invalid does not resolve"]);
    }
    let (code, ..) = setup.clone().set("HTTPS_PROXY", &proxy).set("NO_PROXY", "localhost").output();
    assert_eq!(code, 0);
    // A web server that is no proxy says so, and is named.
    let nginx = Nginx::start(|address| format!("listen {address};\nreturn 403;")).await;
    let refused = setup.set("HTTPS_PROXY", format!("http://{}", nginx.address)).output();
    let proxy = format!(
        "through the proxy http://{}: the proxy does not connect to it: it refused CONNECT",
        nginx.address
    );
    assert_refused(refused, 69, &["https://vault.invalid:8200", &proxy]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standbys_redirect_is_followed_once_over_https_to_a_known_host() {
    let disk = tempfile::tempdir().unwrap();
    let own = self_signed(disk.path(), "own", "rsa:2048");
    let (bao, urls) = OpenBao::start_showing(&[(&own.certificate, &own.key)]).await;
    let standby = async |to: String| {
        let (certificate, key) = (path(&own.certificate), path(&own.key));
        Nginx::start(|address| {
            format!(
                "listen {address} ssl;\nssl_certificate {certificate};\nssl_certificate_key {key};\n\
                 return 307 {to}$request_uri;"
            )
        })
        .await
    };
    let with = |nginx: &Nginx| {
        let setup = check(disk.path(), &format!("https://{}", nginx.address), &bao.token);
        setup.set("VAULT_CACERT", path(&own.certificate))
    };
    let same_host = standby(urls[0].clone()).await;
    assert_good(with(&same_host).output());
    assert!(same_host.taken().iter().any(|line| line.contains("POST /v1/sys/capabilities-self")));
    let leader = urls[0].replace("127.0.0.1", "localhost");
    let other_host = standby(leader.clone()).await;
    let refused = with(&other_host);
    assert_refused(
        refused.clone().output(),
        69,
        &["redirects to", &leader, "VAULT__REDIRECT_HOSTS=localhost allows it"],
    );
    assert_good(refused.clone().set("VAULT__REDIRECT_HOSTS", "[\"localhost\"]").output());
    let port = leader.rsplit(':').next().unwrap();
    assert_good(refused.clone().set("VAULT__REDIRECT_HOSTS", format!("vault, localhost:{port}")).output());
    let elsewhere = refused.clone().set("VAULT__REDIRECT_HOSTS", "[\"localhost:1\", \"vault\"]");
    assert_refused(elsewhere.output(), 69, &["redirects to", &leader]);
    // Never in clear, and once.
    let in_clear = standby(bao.url.clone()).await;
    let allowed = with(&in_clear).set("VAULT__REDIRECT_HOSTS", "[\"127.0.0.1\"]");
    assert_refused(allowed.output(), 69, &["redirects to", &bao.url, "https"]);
    let twice = standby(format!("https://{}", same_host.address)).await;
    assert_refused(with(&twice).output(), 69, &["one redirect is followed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_address_has_its_own_message() {
    let disk = tempfile::tempdir().unwrap();
    let own = self_signed(disk.path(), "own", "rsa:2048");
    let (bao, urls) = OpenBao::start_showing(&[(&own.certificate, &own.key)]).await;
    let asked = |url: &str| check(disk.path(), url, &bao.token).set("VAULT_CACERT", path(&own.certificate));
    let in_clear = urls[0].replace("https", "http");
    assert_refused(asked(&in_clear).output(), 69, &[&in_clear, "it speaks TLS", "https://"]);
    let in_tls = bao.url.replace("http", "https");
    assert_refused(asked(&in_tls).output(), 69, &[&in_tls, "it speaks plain http", "http://"]);
    assert_refused(
        asked("https://vault.invalid:8200").output(),
        69,
        &["the name vault.invalid does not resolve"],
    );
    assert_refused(
        asked("http://127.0.0.1:1").output(),
        69,
        &["http://127.0.0.1:1", "no connection: refused"],
    );
    // Vault's own words, with the status and what was asked.
    let elsewhere = asked(&bao.url).set("VAULT_NAMESPACE", "nowhere");
    assert_refused(
        elsewhere.output(),
        1,
        &["VAULT_NAMESPACE", "Vault answered 404 \"namespace not found\"", &bao.url],
    );
    assert_refused(asked(&format!("{}/v1", bao.url)).output(), 64, &["VAULT_ADDR", "/v1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_address_that_ends_with_admin_is_told() {
    let disk = tempfile::tempdir().unwrap();
    let names = names("Admin Twice");
    let admin = format!("{}/admin", hydra().await.admin_url);
    let setup = crate::full(disk.path(), &names).await.set("HYDRA__ADMIN_URL", &admin);
    let agent = setup.start().await;
    let caller = TestCaller::new(hydra().await, "did:bindu:admin-twice:caller:1").await;
    assert_eq!(caller.send(&agent.url, &http::call("tasks/list", &json!({}))).await.0, 503);
    let told = eventually("it is told", async || {
        let log = agent.log();
        log.lines().find(|line| line.contains("HYDRA__ADMIN_URL ends with /admin")).map(str::to_owned)
    })
    .await;
    assert!(told.contains(&admin) && told.contains("404"), "{told}");
    // What asks for the client says it as well, once, and so does the command that looks.
    let log = agent.log();
    let told: Vec<_> =
        log.lines().filter(|line| line.contains("no usable answer about the client")).collect();
    assert!(told.len() == 1 && told[0].contains(&admin) && told[0].contains("404"), "{told:?}");
    let plan = crate::full(disk.path(), &names).await.set("HYDRA__ADMIN_URL", &admin);
    let (_, plan, _) = plan.command(&["hydra", "plan"]).output();
    assert!(
        plan.contains("gives no usable answer") && plan.contains(&admin) && plan.contains("404"),
        "{plan}"
    );
}

/// Found: each was "does not answer (unreachable)", without an address or a cause.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_why_the_store_is_away() {
    let disk = tempfile::tempdir().unwrap();
    let own = self_signed(disk.path(), "own", "rsa:2048");
    let (bao, urls) = OpenBao::start_showing(&[(&own.certificate, &own.key)]).await;
    let faults: [(&str, &[&str]); 3] = [
        ("http://127.0.0.1:1", &["(unreachable)", "refused"]),
        ("https://vault.invalid:8200", &["(unreachable)", "vault.invalid does not resolve"]),
        (&urls[0], &["(untrusted)", "not trusted here", "VAULT_CACERT"]),
    ];
    for (url, told) in faults {
        for form in ["text", "json"] {
            let setup = check(disk.path(), url, &bao.token);
            let (_, plan, log) = setup.command(&["identity", "plan", "--output", form]).output();
            for told in told.iter().chain([&url]) {
                assert!(plan.contains(told), "{told} in {plan}{log}");
            }
            assert!(!plan.contains("Other(") && !plan.contains("CaUsedAsEndEntity"), "{plan}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_the_default_policy_is_not_called_dead() {
    let (disk, names) = (tempfile::tempdir().unwrap(), names("No Default Policy"));
    let policy = format!(
        "path \"secret/data/bindu/{}\" {{ capabilities = [\"create\", \"read\", \"update\"] }}",
        names.keys_path()
    );
    let body = json!({"policy": policy});
    assert_eq!(bao().await.call("POST", "sys/policies/acl/no-default", Some(body)).await.0, 204);
    let body = json!({"policies": ["no-default"], "no_default_policy": true});
    let (status, made) = bao().await.call("POST", "auth/token/create", Some(body)).await;
    assert_eq!(status, 200, "{made}");
    let token = made["auth"]["client_token"].as_str().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, &names.name).vault(bao().await).set("VAULT__TOKEN", token);
    let (code, rows, told) = setup.clone().command(&["vault", "check"]).output();
    assert_eq!(code, 77, "{told}");
    assert!(told.contains("is alive") && told.contains("sys/capabilities-self"), "{told}");
    assert!(rows.contains("UNKNOWN") && rows.contains("no record yet"), "{rows}");
    // And it serves.
    http::healthy(&setup.start().await.url).await;
    assert!(bao().await.record(&names.keys_path()).await.is_some());
    let dead = agent(disk.path()).named(AUTHOR, &names.name).vault(bao().await).set("VAULT__TOKEN", "s.dead");
    assert_refused(dead.command(&["vault", "check"]).output(), 77, &["does not accept"]);
}
