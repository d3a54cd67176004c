//! Certificates that are renewed under a running agent, and names that are not the address's, on a real OpenBao.
#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used)]

use bindu_http_client::{HttpSettings, TlsSettings};
use bindu_store::{Answer, OutageReason, RecordName, SecretStore, VaultLogin, VaultSettings, VaultStore};
use bindu_testkit::{OpenBao, http::eventually, kubernetes::ANY_AUTHORITY};
use rcgen::{CertificateParams, CertifiedIssuer, DnType, KeyPair};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const POLICY: &str = "path \"secret/data/bindu/*\" { capabilities = [\"create\", \"read\", \"update\"] }";

async fn tls_bao() -> OpenBao {
    let bao = OpenBao::start_with_tls().await;
    for (path, body) in
        [("sys/policies/acl/agent", json!({"policy": POLICY})), ("sys/auth/cert", json!({"type": "cert"}))]
    {
        assert_eq!(bao.call("POST", path, Some(body)).await.0, 204, "{path}");
    }
    bao
}

fn store(url: &str, login: VaultLogin, tls: TlsSettings) -> VaultStore {
    VaultStore::new(VaultSettings {
        url: url.parse().unwrap(),
        login,
        mount: "secret".to_owned(),
        prefix: "bindu".to_owned(),
        namespace: None,
        http: HttpSettings { tls, ..HttpSettings::new(Duration::from_secs(2)) },
    })
    .unwrap()
}

/// What is said of an outage.
async fn said(store: &VaultStore) -> String {
    let record = RecordName::Keys("5c908f70-ec50-7e33-bf7d-2735c15d5c13".parse().unwrap());
    match store.read(&record).await {
        Answer::Unavailable(outage) => outage.detail,
        other => panic!("{other:?}"),
    }
}

async fn read(store: &VaultStore) -> Result<(), OutageReason> {
    let record = RecordName::Keys("5c908f70-ec50-7e33-bf7d-2735c15d5c13".parse().unwrap());
    match store.read(&record).await {
        Answer::Absent => Ok(()),
        Answer::Unavailable(outage) => Err(outage.reason),
        other => panic!("{other:?}"),
    }
}

/// Puts a file into place as whoever renews certificates does it.
fn put(directory: &Path, name: &str, text: &str) -> PathBuf {
    let (new, path) = (directory.join(format!(".{name}.new")), directory.join(name));
    fs::write(&new, text).unwrap();
    fs::rename(new, &path).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_client_certificate_counts_without_a_restart() {
    let (bao, disk) = (tls_bao().await, tempfile::tempdir().unwrap());
    let authority = CertifiedIssuer::self_signed(ca(), KeyPair::generate().unwrap()).unwrap();
    let role = json!({"certificate": authority.pem(), "allowed_common_names": ["renewed"], "token_policies": ["agent"]});
    assert_eq!(bao.call("POST", "auth/cert/certs/agent", Some(role)).await.0, 204);
    let issue = |common_name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        (parameters.signed_by(&key, &authority).unwrap().pem(), key.serialize_pem())
    };
    let (certificate, key) = issue("first");
    let files = (put(disk.path(), "tls.crt", &certificate), put(disk.path(), "tls.key", &key));
    let login = VaultLogin::Cert { mount: "cert".to_owned(), role: None };
    let tls = TlsSettings {
        authorities: Some(bao.file("vault-ca.pem")),
        identity: Some(files),
        ..TlsSettings::default()
    };
    let store = store(&bao.url, login, tls);
    assert_eq!(read(&store).await, Err(OutageReason::LoginRejected), "the role is not for this name");
    // Half of a pair is no reason to stop: the old one is shown on.
    let (certificate, key) = issue("renewed");
    put(disk.path(), "tls.crt", &certificate);
    assert_eq!(read(&store).await, Err(OutageReason::LoginRejected));
    put(disk.path(), "tls.key", &key);
    eventually("the renewed one logs in", async || read(&store).await.ok()).await;
    // Half of the next pair: the renewed one is shown on, for a login too.
    let (certificate, _) = issue("third");
    put(disk.path(), "tls.crt", &certificate);
    assert_eq!(bao.call("POST", "sys/leases/revoke-prefix/auth/cert", Some(json!({}))).await.0, 204);
    eventually("it logs in again", async || read(&store).await.ok()).await;
}

fn ca() -> CertificateParams {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(DnType::CommonName, "clients");
    parameters
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_authority_counts_without_a_restart() {
    let (bao, disk) = (tls_bao().await, tempfile::tempdir().unwrap());
    let token = || VaultLogin::Token(bao.token.clone().into());
    put(disk.path(), "old.pem", ANY_AUTHORITY);
    // What a mounted ConfigMap has beside the files themselves.
    fs::create_dir(disk.path().join("..data")).unwrap();
    let tls = TlsSettings { authorities: Some(disk.path().to_owned()), ..TlsSettings::default() };
    let store = store(&bao.url, token(), tls);
    assert_eq!(read(&store).await, Err(OutageReason::Untrusted));
    put(disk.path(), "new.pem", &fs::read_to_string(bao.file("vault-ca.pem")).unwrap());
    assert_eq!(read(&store).await, Ok(()));
    // A file that was cut short takes nothing away from a client that works.
    put(disk.path(), "new.pem", "nonsense");
    assert_eq!(read(&store).await, Ok(()));
    fs::remove_file(disk.path().join("new.pem")).unwrap();
    assert_eq!(read(&store).await, Err(OutageReason::Untrusted), "nobody trusts it any more");
    put(disk.path(), "new.pem", &fs::read_to_string(bao.file("vault-ca.pem")).unwrap());
    assert_eq!(read(&store).await, Ok(()));
    put(disk.path(), "new.pem", ANY_AUTHORITY);
    assert_eq!(read(&store).await, Err(OutageReason::Untrusted), "the old one counts no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_may_have_another_name_than_the_address() {
    let bao = tls_bao().await;
    // An address that is not in the certificate.
    let listener = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
    let elsewhere = format!("https://{}", listener.local_addr().unwrap());
    let behind = bao.url.trim_start_matches("https://").to_owned();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = tokio::net::TcpStream::connect(&behind).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    let by = |name: Option<&str>| {
        let authorities = Some(bao.file("vault-ca.pem"));
        let tls = TlsSettings { authorities, server_name: name.map(str::to_owned), ..TlsSettings::default() };
        store(&elsewhere, VaultLogin::Token(bao.token.clone().into()), tls)
    };
    assert_eq!(read(&by(None)).await, Err(OutageReason::Untrusted));
    assert!(said(&by(None)).await.contains("TLS: invalid peer certificate"), "{}", said(&by(None)).await);
    assert_eq!(read(&by(Some("localhost"))).await, Ok(()));
    assert_eq!(read(&by(Some("vault.example.com"))).await, Err(OutageReason::Untrusted));
}
