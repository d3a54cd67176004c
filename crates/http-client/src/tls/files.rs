//! Certificates and keys in PEM files. What is wrong is told with the file's name.

use crate::{ClientError, named_file};
use rustls::{
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{PemObject as _, SectionKind},
    },
    sign::CertifiedKey,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};
use zeroize::Zeroizing;

/// secp521r1 (RFC 5480 §2.1.1.1): ring has no P-521.
const P521: &str = "1.3.132.0.35";

/// The certificates of a file, or of all files of a directory.
pub(super) fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let listed = listed(path).map_err(|source| ClientError::File { path: path.to_owned(), source })?;
    let is_directory = path.is_dir();
    let mut all = Vec::new();
    for file in listed {
        let found = certificates(&file)?;
        match found {
            // A key beside its certificate, as a mounted secret has it, is nobody's authority.
            Found::OtherThings if is_directory => {}
            Found::OtherThings => return Err(ClientError::NoCertificate { path: file }),
            Found::Certificates(found) => all.extend(found),
        }
    }
    if all.is_empty() {
        return Err(ClientError::NoCertificate { path: path.to_owned() });
    }
    Ok(all)
}

/// A certificate with its chain, and its key.
pub(super) fn identity(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, ClientError> {
    let Found::Certificates(chain) = certificates(certificate)? else {
        return Err(ClientError::NoCertificate { path: certificate.to_owned() });
    };
    let unusable = |path: &Path, problem: String| ClientError::Unusable { path: path.to_owned(), problem };
    let text = Zeroizing::new(read(key)?);
    let der = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| unusable(key, "it holds no private key, or an encrypted one".to_owned()))?;
    let shown = chain.first().ok_or_else(|| ClientError::NoCertificate { path: certificate.to_owned() })?;
    let public = public_key(shown).map_err(|problem| unusable(certificate, problem))?;
    let signing = provider.key_provider.load_private_key(der).map_err(|_| {
        let kinds = "a key must be RSA, EC (P-256 or P-384) or Ed25519";
        unusable(key, if public.is_p521 { format!("its key is P-521; {kinds}") } else { kinds.to_owned() })
    })?;
    // Not `CertifiedKey::from_der`, which does not read X.509 version 1: Vault takes such certificates.
    if signing.public_key().is_some_and(|own| own.as_ref() != public.der) {
        let problem = format!("it is not the key of the certificate in {}", certificate.display());
        return Err(unusable(key, problem));
    }
    Ok(CertifiedKey::new(chain, Arc::clone(&signing)))
}

struct Public {
    /// SubjectPublicKeyInfo.
    der: Vec<u8>,
    is_p521: bool,
}

fn public_key(certificate: &CertificateDer<'_>) -> Result<Public, String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let key = parsed.public_key();
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let is_p521 = curve.is_some_and(|curve| curve.to_id_string() == P521);
    Ok(Public { der: key.raw.to_vec(), is_p521 })
}

enum Found {
    Certificates(Vec<CertificateDer<'static>>),
    /// PEM without a certificate: keys, say.
    OtherThings,
}

fn certificates(path: &Path) -> Result<Found, ClientError> {
    let unusable = |problem: String| ClientError::Unusable { path: path.to_owned(), problem };
    let text = Zeroizing::new(read(path)?);
    let (mut found, mut others) = (Vec::new(), 0);
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&text) {
        match section.map_err(|error| unusable(format!("it is not PEM: {error}")))? {
            (SectionKind::Certificate, der) => found.push(CertificateDer::from(der)),
            _ => others += 1,
        }
    }
    for (number, certificate) in found.iter().enumerate() {
        X509Certificate::from_der(certificate)
            .map_err(|_| unusable(format!("its certificate number {} cannot be read", number + 1)))?;
    }
    let all_p521 = found.iter().all(|one| public_key(one).is_ok_and(|public| public.is_p521));
    match (found.is_empty(), others) {
        (true, 0) => Err(ClientError::NoCertificate { path: path.to_owned() }),
        (true, _) => Ok(Found::OtherThings),
        (false, _) if all_p521 => Err(unusable(
            "its certificate has a P-521 key, which cannot be checked here: RSA, P-256, P-384 and Ed25519 can".to_owned(),
        )),
        (false, _) => Ok(Found::Certificates(found)),
    }
}

/// The file itself, or the files of a directory. Names that begin with a dot are Kubernetes' own scaffolding.
pub(super) fn listed(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !is_hidden && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    let mut text =
        named_file::read(path).map_err(|source| ClientError::File { path: path.to_owned(), source })?;
    // Editors on Windows put a byte order mark there.
    if text.starts_with(b"\xef\xbb\xbf") {
        text.drain(..3);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn pem() -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let certificate =
            CertificateParams::new(Vec::new()).and_then(|parameters| parameters.self_signed(&key));
        (certificate.expect("a certificate").pem(), key.serialize_pem())
    }

    #[test]
    fn what_is_wrong_in_a_bundle_is_told_with_file_and_number() {
        let disk = tempfile::tempdir().expect("a directory");
        let ((good, key), bundle) = (pem(), disk.path().join("bundle.pem"));
        let told = |text: &str| {
            fs::write(&bundle, text).expect("writes");
            authorities(&bundle).map(|found| found.len()).map_err(|error| error.to_string())
        };
        assert_eq!(told(&good), Ok(1));
        assert_eq!(told(&format!("\u{feff}{good}{}", good.replace('\n', "\r\n"))), Ok(2));
        let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let problem = told(&format!("{good}{bad}{good}")).expect_err("refused");
        assert!(problem.contains("bundle.pem") && problem.contains("number 2"), "{problem}");
        for text in
            ["", "nonsense", key.as_str(), "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"]
        {
            let problem = told(text).expect_err("refused");
            assert!(problem.contains("bundle.pem"), "{problem}");
        }
        // In a directory, a key beside certificates is as good as not there; a file that was cut short is not.
        let directory = disk.path().join("ca.d");
        fs::create_dir(&directory).expect("a directory");
        fs::write(directory.join("tls.crt"), &good).expect("writes");
        fs::write(directory.join("tls.key"), &key).expect("writes");
        assert_eq!(authorities(&directory).map(|found| found.len()).ok(), Some(1));
        fs::write(directory.join("short.pem"), "nonsense").expect("writes");
        assert!(authorities(&directory).is_err_and(|error| error.to_string().contains("short.pem")));
    }

    #[test]
    fn a_key_that_is_not_the_certificates_is_told() {
        let disk = tempfile::tempdir().expect("a directory");
        let ((certificate, key), (_, other)) = (pem(), pem());
        let (first, second) = (disk.path().join("tls.crt"), disk.path().join("tls.key"));
        let provider = rustls::crypto::ring::default_provider();
        fs::write(&first, &certificate).expect("writes");
        for (text, good) in [(&key, true), (&other, false), (&certificate, false)] {
            fs::write(&second, text).expect("writes");
            let found = identity(&first, &second, &provider).map(|_| ()).map_err(|error| error.to_string());
            assert_eq!(found.is_ok(), good, "{found:?}");
            assert!(good || found.is_err_and(|problem| problem.contains("tls.key")));
        }
    }
}
