//! Checking a server's certificate: by authorities, or because it is byte for byte one that was configured.

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use std::sync::Arc;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

/// Trusts what its authorities have signed, and the configured certificates themselves.
///
/// `openssl req -x509` makes a certificate that is its own authority, and a server shows it as its own. webpki takes no
/// authority for a server's certificate (`CaUsedAsEndEntity`), nor a server's for an authority (`UnknownIssuer`); bao and
/// curl take both. So where webpki refuses, the very certificate that was configured is taken, if its name, its dates and
/// its usage are right. Nothing that is merely signed by it, or like it.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) inner: Arc<dyn ServerCertVerifier>,
    /// The configured certificates.
    pub(super) pinned: Vec<CertificateDer<'static>>,
    /// The name that the certificate must have, where it isn't the URL's.
    pub(super) name: Option<ServerName<'static>>,
}

/// A verifier of these authorities alone.
pub(super) fn of_authorities(
    authorities: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for (number, authority) in authorities.iter().enumerate() {
        let problem = |error| format!("its certificate number {} cannot be used: {error}", number + 1);
        roots.add(authority.clone()).map_err(problem)?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    Ok(verifier.map_err(|error| error.to_string())?)
}

impl Verifier {
    fn is_pinned(
        &self,
        shown: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<bool, Error> {
        if !self.pinned.iter().any(|pinned| pinned.as_ref() == shown.as_ref()) {
            return Ok(false);
        }
        let bad = |error| Error::InvalidCertificate(error);
        verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
        let (_, parsed) = X509Certificate::from_der(shown).map_err(|_| bad(CertificateError::BadEncoding))?;
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if seconds < parsed.validity().not_before.timestamp() {
            return Err(bad(CertificateError::NotValidYet));
        }
        if seconds > parsed.validity().not_after.timestamp() {
            return Err(bad(CertificateError::Expired));
        }
        match parsed.extended_key_usage() {
            Ok(None) => Ok(true),
            Ok(Some(usage)) if usage.value.server_auth || usage.value.any => Ok(true),
            Ok(Some(_)) => Err(bad(CertificateError::InvalidPurpose)),
            Err(_) => Err(bad(CertificateError::BadEncoding)),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = self.name.as_ref().unwrap_or(server_name);
        let refused = match self.inner.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
        {
            Ok(verified) => return Ok(verified),
            Err(refused) => refused,
        };
        if self.is_pinned(end_entity, name, now)? {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(refused)
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Takes any certificate, and asks for no proof that the server has its key. Of a kind that cannot be checked here (P-521),
/// too.
#[derive(Debug)]
pub(super) struct DangerousAnyCertificate;

impl ServerCertVerifier for DangerousAnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_tls12_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP521_SHA512,
            SignatureScheme::ED25519,
            SignatureScheme::ED448,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SerialNumber,
    };
    use std::time::Duration;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    /// As `openssl req -x509` makes it: its own authority.
    fn parameters(usage: Option<ExtendedKeyUsagePurpose>) -> CertificateParams {
        let mut parameters = CertificateParams::new(vec!["vault.example.com".to_owned()]).expect("a name");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.extended_key_usages.extend(usage);
        // From 1975 to 4096: `at` says which time it is.
        parameters
    }

    fn check(
        configured: &CertificateDer<'static>,
        shown: &CertificateDer<'_>,
        name: &str,
        now: UnixTime,
    ) -> Result<(), Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let configured = vec![configured.clone()];
        let inner = of_authorities(&configured, &provider).expect("an authority");
        let verifier = Verifier { inner, pinned: configured, name: None };
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        verifier.verify_server_cert(shown, &[], &name, &[], now).map(|_| ())
    }

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn the_configured_certificate_itself_is_taken_and_nothing_like_it() {
        let key = KeyPair::generate().expect("a key");
        let own = parameters(None).self_signed(&key).expect("a certificate").der().clone();
        assert_eq!(check(&own, &own, "vault.example.com", at(NOW)), Ok(()));
        let refused =
            |shown: &CertificateDer<'_>, name: &str, now| check(&own, shown, name, now).expect_err("refused");
        assert!(matches!(
            refused(&own, "other.example.com", at(NOW)),
            Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })
        ));
        // The same key and the same name, made anew: merely alike.
        let mut alike = parameters(None);
        alike.serial_number = Some(SerialNumber::from(7_u64));
        let alike = alike.self_signed(&key).expect("a certificate").der().clone();
        assert!(format!("{:?}", refused(&alike, "vault.example.com", at(NOW))).contains("CaUsedAsEndEntity"));
        // Before 1975 and after 4096, where rcgen's certificates begin and end.
        let early = refused(&own, "vault.example.com", at(1_000));
        let late = refused(&own, "vault.example.com", at(70_000_000_000));
        assert!(
            format!("{early:?}").contains("NotValidYet") && format!("{late:?}").contains("Expired"),
            "{early:?} {late:?}"
        );
    }

    #[test]
    fn a_configured_servers_certificate_of_an_unknown_authority_is_taken() {
        let (authority_key, key) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let authority = parameters(None);
        let issuer = Issuer::from_params(&authority, &authority_key);
        let mut server = CertificateParams::new(vec!["vault.example.com".to_owned()]).expect("a name");
        server.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        let server = server.signed_by(&key, &issuer).expect("a certificate").der().clone();
        assert_eq!(check(&server, &server, "vault.example.com", at(NOW)), Ok(()));
        let other = CertificateParams::new(vec!["vault.example.com".to_owned()]).expect("a name");
        let other = other.signed_by(&key, &issuer).expect("a certificate").der().clone();
        assert!(check(&server, &other, "vault.example.com", at(NOW)).is_err());
    }

    #[test]
    fn a_certificate_for_clients_is_no_servers() {
        let key = KeyPair::generate().expect("a key");
        let own =
            parameters(Some(ExtendedKeyUsagePurpose::ClientAuth)).self_signed(&key).expect("a certificate");
        let refused = check(own.der(), own.der(), "vault.example.com", at(NOW)).expect_err("refused");
        assert_eq!(refused, Error::InvalidCertificate(CertificateError::InvalidPurpose));
    }
}
