//! TLS of the server: a certificate and its key, which are read again when they change.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error as TlsError, InconsistentKeys, ServerConfig};
use tokio_rustls::server::TlsStream;

/// How long a handshake may take.
const LONGEST_HANDSHAKE: Duration = Duration::from_secs(10);

/// How a PEM file says that its private key is encrypted (RFC 7468 section 11, and OpenSSL's older form).
const ENCRYPTED: [&str; 2] = ["ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"];

/// Where a certificate and its private key are.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate and those between it and its authority, in PEM, the server's own first.
    pub certificate: PathBuf,
    /// Its private key in PEM, not encrypted: PKCS#8, PKCS#1 or SEC 1.
    pub key: PathBuf,
}

/// TLS 1.2 and 1.3 with what the files held when they were last read.
pub struct Tls {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that cannot be read, or without what it is for; a key that is not the certificate's.
    pub fn open(files: TlsFiles) -> Result<Self> {
        let current = RwLock::new(files.read()?);
        Ok(Self { files, current })
    }

    /// Reads the files again, for the connections that are made from now on.
    ///
    /// # Errors
    /// The same; then everything stays as it is.
    pub fn reload(&self) -> Result<()> {
        let read = self.files.read()?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    fn current(&self) -> Arc<ServerConfig> {
        let current = self.current.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a connection secure. `None` where the client does not come to it.
    pub async fn accept(&self, stream: Stream) -> Option<TlsStream<Stream>> {
        let acceptor = TlsAcceptor::from(self.current());
        match tokio::time::timeout(LONGEST_HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake");
                None
            }
            Err(_) => {
                tracing::debug!("a TLS handshake took too long");
                None
            }
        }
    }
}

impl TlsFiles {
    fn read(&self) -> Result<Arc<ServerConfig>> {
        let certificates = certificates(&self.certificate)?;
        let key = private_key(&self.key)?;
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("the versions of TLS")?
            .with_no_client_auth()
            .with_single_cert(certificates, key);
        let mut config = config.map_err(|error| match error {
            TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => anyhow!(
                "{} is not the key of the certificate in {}",
                self.key.display(),
                self.certificate.display()
            ),
            error => anyhow!(
                "{} and {} cannot be used for TLS: {error}",
                self.certificate.display(),
                self.key.display()
            ),
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => bail!("{} has no certificate in PEM", path.display()),
        // The error may quote a line, and the file may be that of the key.
        Err(_) => bail!("{} is not a certificate in PEM", path.display()),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let pem = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let pem = zeroize::Zeroizing::new(pem);
    let is_encrypted = ENCRYPTED.iter().any(|mark| {
        let mut parts = pem.windows(mark.len());
        parts.any(|part| part == mark.as_bytes())
    });
    if is_encrypted {
        bail!(
            "the private key in {} is encrypted: `openssl pkey -in FILE -out FILE` writes it without a password",
            path.display()
        );
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        PemError::NoItemsFound => anyhow!("{} has no private key in PEM", path.display()),
        // Another error may quote the file.
        _ => anyhow!("{} is not a private key in PEM", path.display()),
    })
}

/// A connection on which writing has a time limit.
pub type Stream = Pin<Box<TimeoutStream<TcpStream>>>;
