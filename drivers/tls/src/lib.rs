//! TLS as the gateway and its drivers speak it: rustls with ring, PEM files, and for each thing that
//! goes wrong a line that tells a person what to do.
//!
//! [`client`] makes a side that looks at the other's certificate, [`server`] one that shows its own.
//! There is no way back from TLS to plain anywhere: who cannot be believed is not spoken to.

mod files;
mod trust;
mod words;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, ConfigBuilder, Error, ServerConfig, WantsVerifier};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use files::{File, Problem, days_left, fingerprint};
pub use tokio_rustls::client::TlsStream as ClientStream;
pub use tokio_rustls::server::TlsStream as ServerStream;
pub use words::refusal;

/// Whom a client believes, and how it proves who it is. The files are PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Certificates of the authority that signed the server's; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// Our own certificate, with what stands between it and its authority.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// SHA-256 of the server's certificate: that one is believed, whoever signed it, and no other.
    pub pin: Option<[u8; 32]>,
    /// Whom the certificate must be made for.
    pub names: Names,
}

/// Whom a certificate must be made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// A host, as for web servers (RFC 9525): `*.example.org` is every host right below it.
    Host(String),
    /// One of these SIP domains or addresses (RFC 5922 §7): letter by letter, as DNS name or as the
    /// URI `sip:example.org`, and no `*`.
    Domains(Vec<String>),
}

impl Default for Names {
    fn default() -> Self {
        Self::Domains(Vec::new())
    }
}

/// What a server shows, and whom it lets in. The files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its certificate, with what stands between it and its authority.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// Only clients with a certificate of this authority come in; `None`: everybody.
    pub client_ca: Option<PathBuf>,
}

/// What [`client`] made.
#[derive(Clone, Debug)]
pub struct Dialer {
    config: Arc<ClientConfig>,
    refused: trust::Refused,
}

/// What [`server`] made.
#[derive(Clone)]
pub struct Welcomer {
    config: Arc<ServerConfig>,
}

impl std::fmt::Debug for Welcomer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Welcomer")
    }
}

/// Reads the files of a client. Done for each connection, so that a renewed certificate counts.
///
/// # Errors
/// The file, what is wrong with it, and what to do.
pub fn client(settings: &Client) -> Result<Dialer, Problem> {
    let provider = provider();
    let refused = trust::Refused::default();
    let verifier = trust::Verifier::new(settings, &provider, refused.clone())?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Problem::new(File::Certificate, format!("TLS cannot be set up: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(key)) => {
            let chain = files::certificates(certificate, File::Certificate)?;
            builder
                .with_client_auth_cert(chain, private_key(key)?)
                .map_err(|error| files::unfit(certificate, key, &error))?
        }
        (None, None) => builder.with_no_client_auth(),
        (_, key) => {
            let missing = if key.is_some() { File::Certificate } else { File::Key };
            let text = "a client certificate needs both its certificate and its key";
            return Err(Problem::new(missing, text.to_owned()));
        }
    };
    Ok(Dialer { config: Arc::new(config), refused })
}

/// Reads the files of a server.
///
/// # Errors
/// The file, what is wrong with it, and what to do.
pub fn server(settings: &Server) -> Result<Welcomer, Problem> {
    let builder: ConfigBuilder<ServerConfig, WantsVerifier> = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Problem::new(File::Certificate, format!("TLS cannot be set up: {error}")))?;
    let builder = match &settings.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let roots = Arc::new(files::roots(Some(ca))?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|error| Problem::new(File::Ca, format!("{}: {error}", ca.display())))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = files::certificates(&settings.certificate, File::Certificate)?;
    files::check_secret(&settings.key)?;
    let config = builder
        .with_single_cert(chain, private_key(&settings.key)?)
        .map_err(|error| files::unfit(&settings.certificate, &settings.key, &error))?;
    Ok(Welcomer { config: Arc::new(config) })
}

impl Dialer {
    /// Speaks TLS over `stream`. `host` is what is asked for (SNI); whom the certificate must be made
    /// for is in the settings.
    ///
    /// # Errors
    /// What is wrong and what to do, for a person.
    pub async fn connect<S>(&self, host: &str, stream: S) -> Result<ClientStream<S>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host:?} is no name that a certificate could hold"))?;
        let connector = TlsConnector::from(self.config.clone());
        connector.connect(name, stream).await.map_err(|error| words::of(&error))
    }

    /// The same for QUIC, which has its own handshake: with `alpn` and without early data.
    pub fn quic(&self, alpn: &[u8]) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![alpn.to_vec()];
        Arc::new(config)
    }

    /// Why the last certificate that was shown was not believed, in words for a person: a QUIC library
    /// tells no more than that it was not.
    pub fn refusal(&self) -> Option<String> {
        self.refused.take().map(|error| words::of_error(&error))
    }
}

/// What an alert of the far end says (RFC 8446 §6), in words for a person.
pub fn alert_words(alert: u8) -> String {
    words::of_error(&Error::AlertReceived(alert.into()))
}

impl Welcomer {
    /// Speaks TLS over `stream` as the server. The caller sets a deadline.
    ///
    /// # Errors
    /// What the other side did.
    pub async fn accept<S>(&self, stream: S) -> io::Result<ServerStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(self.config.clone()).accept(stream).await
    }

    /// The same for QUIC, which has its own handshake: with `alpn` and without early data.
    pub fn quic(&self, alpn: &[u8]) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.config);
        config.alpn_protocols = vec![alpn.to_vec()];
        // What came early could be replayed by anybody who saw it.
        config.max_early_data_size = 0;
        Arc::new(config)
    }
}

/// The provider is named: which one a program has by default depends on what else is linked.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn private_key(path: &std::path::Path) -> Result<PrivateKeyDer<'static>, Problem> {
    files::private_key(path)
}

#[cfg(test)]
mod tests;
