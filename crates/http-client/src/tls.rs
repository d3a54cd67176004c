//! Certificates in files, as the vault CLI has them, and whether they have changed.
//!
//! Whoever renews a certificate renames a new file into place; nobody tells us. So each request looks when the
//! files last changed, and a client with the new ones is made when that differs.

use crate::ClientError;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};
use url::Url;

/// What a TLS connection goes by. All paths are of PEM files.
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    /// The authorities to trust instead of the system's: a file, or a directory of files.
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
        let mut files =
            self.authorities.as_deref().map(|path| listed(path).unwrap_or_default()).unwrap_or_default();
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
        mut builder: reqwest::ClientBuilder,
    ) -> Result<reqwest::ClientBuilder, ClientError> {
        if let Some(path) = &self.authorities {
            builder = builder.tls_certs_only(authorities(path)?);
        } else if base.scheme() == "http" {
            // No TLS to this server: the system's authorities, a megabyte of them, stay unread.
            builder = builder.tls_certs_only([]);
        }
        if let Some((certificate, key)) = &self.identity {
            let key = zeroize::Zeroizing::new(read(key)?);
            let pem =
                zeroize::Zeroizing::new([read(certificate)?.as_slice(), b"\n", key.as_slice()].concat());
            let unusable = |error| ClientError::Tls { path: certificate.clone(), source: error };
            builder = builder.identity(reqwest::Identity::from_pem(&pem).map_err(unusable)?);
        }
        if let (Some(name), Some(host)) = (&self.server_name, base.host_str()) {
            let (name, host) = (name.clone(), host.trim_matches(['[', ']']).to_owned());
            builder = builder.dns_resolver(Arc::new(Renamed { name, host }));
        }
        Ok(builder.tls_danger_accept_invalid_certs(self.dangerous_accept_any_certificate))
    }

    /// The URL to ask, and the `Host` to name: where the certificate must have another name, the URL has that name, which
    /// [`Renamed`] resolves.
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

fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, ClientError> {
    let unreadable = |source| ClientError::File { path: path.to_owned(), source };
    let mut all = Vec::new();
    for file in listed(path).map_err(unreadable)? {
        let found = reqwest::Certificate::from_pem_bundle(&read(&file)?)
            .map_err(|source| ClientError::Tls { path: file.clone(), source })?;
        if found.is_empty() {
            return Err(ClientError::NoCertificate { path: file });
        }
        all.extend(found);
    }
    if all.is_empty() {
        return Err(ClientError::NoCertificate { path: path.to_owned() });
    }
    Ok(all)
}

/// The file itself, or the files of a directory. Names that begin with a dot are Kubernetes' own scaffolding.
fn listed(path: &Path) -> io::Result<Vec<PathBuf>> {
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
    fs::read(path).map_err(|source| ClientError::File { path: path.to_owned(), source })
}

/// Finds one name where another one is.
struct Renamed {
    name: String,
    host: String,
}

impl Resolve for Renamed {
    fn resolve(&self, name: Name) -> Resolving {
        let host = if name.as_str() == self.name { self.host.clone() } else { name.as_str().to_owned() };
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
