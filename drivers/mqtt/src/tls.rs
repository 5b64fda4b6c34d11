//! TLS to a broker: whom to believe, and how to prove who we are.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsConnector, rustls};

use crate::Tls;

/// Speaks TLS over `stream`. The files are read each time, so that a renewed certificate counts.
///
/// # Errors
/// What is wrong and what to do, for a person.
pub(crate) async fn secure(tls: &Tls, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
    let config = config(tls)?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host:?} is no name that a certificate could hold"))?;
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.map_err(|error| words(&error, host))
}

fn config(tls: &Tls) -> Result<ClientConfig, String> {
    // The provider is named: which one a program has by default depends on what else is linked.
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots(tls.ca.as_deref())?);
    match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            let key_der =
                PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error, "key"))?;
            builder
                .with_client_auth_cert(certificates(cert)?, key_der)
                .map_err(|error| format!("{} and {} do not fit: {error}", cert.display(), key.display()))
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => Err("a client certificate needs both its certificate and its key".to_owned()),
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        None => {
            // One odd certificate in the system's store must not lock us out.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    match roots.is_empty() {
        true => Err("no certificate authority to believe – name one as `tls: {ca: …}`".to_owned()),
        false => Ok(roots),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| unreadable(path, &error, "certificate"))?;
    match all.is_empty() {
        true => Err(format!("{}: there is no certificate in it (PEM)", path.display())),
        false => Ok(all),
    }
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display, what: &str) -> String {
    format!("{}: no {what} in PEM can be read ({error})", path.display())
}

/// What the broker says against us in a TLS alert.
pub(crate) fn refusal(error: &io::Error) -> Option<String> {
    use rustls::{AlertDescription as Alert, Error};
    let Error::AlertReceived(alert) = error.get_ref()?.downcast_ref::<Error>()? else { return None };
    Some(match alert {
        Alert::CertificateRequired | Alert::HandshakeFailure => {
            "it wants a client certificate – give `tls: {cert: …, key: …}`".to_owned()
        }
        Alert::CertificateExpired => "our client certificate has expired – renew it".to_owned(),
        Alert::UnknownCA | Alert::BadCertificate | Alert::CertificateUnknown => {
            format!("it does not believe our client certificate ({alert:?}) – does it know its authority?")
        }
        alert => format!("it refuses our certificate or TLS ({alert:?})"),
    })
}

fn words(error: &io::Error, host: &str) -> String {
    use rustls::{CertificateError as Certificate, Error};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(Certificate::UnknownIssuer)) => {
            "its certificate is signed by nobody we believe – is `tls: {ca: …}` the broker's CA?".to_owned()
        }
        Some(Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        )) => format!("its certificate is not made for {host:?} – write the name that is in it"),
        Some(Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. })) => {
            "its certificate has expired – renew it on the broker; is our clock right?".to_owned()
        }
        Some(Error::InvalidCertificate(
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. },
        )) => "its certificate is not valid yet – is our clock right?".to_owned(),
        Some(Error::AlertReceived(_)) => refusal(error).unwrap_or_default(),
        Some(other) => format!("TLS does not come about: {other}"),
        None => format!("TLS does not come about ({error}) – does this port speak TLS?"),
    }
}
