//! What a TLS connection goes by: certificates in files, as the vault CLI has them, and whether they have changed.
//!
//! Whoever renews a certificate renames a new file into place; nobody tells us. So each request looks when the
//! files last changed, and a client with the new ones is made when that differs.

mod files;
mod verifier;

use crate::{ClientError, reply::Unresolved};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::{
    ClientConfig, client::danger::ServerCertVerifier, crypto::CryptoProvider, pki_types::ServerName,
    sign::SingleCertAndKey,
};
use std::{fs, path::PathBuf, sync::Arc};
use url::Url;

/// What a TLS connection goes by. All paths are of PEM files.
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    /// The authorities to trust instead of the system's, or the server's own certificate: a file, or a directory of files.
    pub authorities: Option<PathBuf>,
    /// A certificate to show, with its chain, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must have, where it isn't the URL's.
    pub server_name: Option<String>,
    /// Trusts any certificate.
    pub dangerous_accept_any_certificate: bool,
}

/// A file as it was: when it or its mode changed (seconds and nanoseconds), how long it is, which one it is.
pub(crate) type Stamp = (PathBuf, Option<(i64, i64, u64, u64)>);

impl TlsSettings {
    /// All files as they are now; the same where nothing has changed.
    pub(crate) fn stamps(&self) -> Vec<Stamp> {
        use std::os::unix::fs::MetadataExt as _;
        let listed = |path: &PathBuf| files::listed(path).unwrap_or_default();
        let mut files = self.authorities.as_ref().map(listed).unwrap_or_default();
        files.extend(self.identity.iter().flat_map(|(certificate, key)| [certificate.clone(), key.clone()]));
        let stamp = |path: PathBuf| {
            let metadata = fs::metadata(&path).ok();
            let stamp = metadata.map(|found| (found.ctime(), found.ctime_nsec(), found.len(), found.ino()));
            (path, stamp)
        };
        files.into_iter().map(stamp).collect()
    }

    /// Adds these settings to a client's.
    pub(crate) fn apply(
        &self,
        base: &Url,
        builder: reqwest::ClientBuilder,
    ) -> Result<reqwest::ClientBuilder, ClientError> {
        let name = self
            .server_name
            .clone()
            .zip(base.host_str().map(|host| host.trim_matches(['[', ']']).to_owned()));
        let builder = builder.dns_resolver(Arc::new(Resolver { renamed: name }));
        if base.scheme() == "http" && self.authorities.is_none() && self.identity.is_none() {
            // No TLS to this server: the system's authorities, a megabyte of them, stay unread.
            return Ok(builder.tls_certs_only([]));
        }
        Ok(builder.tls_backend_preconfigured(self.config()?))
    }

    fn config(&self) -> Result<ClientConfig, ClientError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = self.verifier(&provider)?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| ClientError::Tls(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        Ok(match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let identity = files::identity(certificate, key, &provider)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
        })
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, ClientError> {
        // What is wrong with a file is told, even where it is not needed.
        let pinned = self.authorities.as_deref().map(files::authorities).transpose()?;
        if self.dangerous_accept_any_certificate {
            return Ok(Arc::new(verifier::DangerousAnyCertificate));
        }
        let inner = match (&pinned, &self.authorities) {
            (Some(pinned), Some(path)) => verifier::of_authorities(pinned, provider)
                .map_err(|problem| ClientError::Unusable { path: path.clone(), problem })?,
            _ => Arc::new(
                rustls_platform_verifier::Verifier::new(Arc::clone(provider))
                    .map_err(|error| ClientError::Tls(error.to_string()))?,
            ),
        };
        let name = self.server_name.clone().map(ServerName::try_from).transpose();
        let name = name.map_err(|_| ClientError::ServerName)?;
        Ok(Arc::new(verifier::Verifier { inner, pinned: pinned.unwrap_or_default(), name }))
    }

    /// The URL to ask, and the `Host` to name: where the certificate must have another name, the URL has that name, which
    /// [`Resolver`] resolves, so that the server is asked for it (SNI).
    pub(crate) fn rename(&self, mut url: Url) -> (Url, Option<String>) {
        let Some(name) = self.server_name.as_ref().filter(|_| url.scheme() == "https") else {
            return (url, None);
        };
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        // A name that is none was refused when the client was made.
        let _ = url.set_host(Some(name));
        (url, Some(host))
    }
}

/// Whether this can be the name in a certificate: one that a URL can have.
pub(crate) fn is_server_name(name: &str) -> bool {
    let url = Url::parse("https://server.invalid").and_then(|mut url| url.set_host(Some(name)).map(|()| url));
    url.is_ok_and(|url| url.host_str() == Some(name) && url.domain().is_some())
}

/// The system's resolver, with an error of its own; and one name where another one is.
struct Resolver {
    renamed: Option<(String, String)>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let renamed = self.renamed.as_ref().filter(|(renamed, _)| renamed == name.as_str());
        let host = renamed.map_or_else(|| name.as_str().to_owned(), |(_, host)| host.clone());
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.clone(), 0)).await;
            let found: Vec<_> = found.map_err(|source| Unresolved { host, source })?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
