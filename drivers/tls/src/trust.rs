//! Whether the certificate of a server is to be believed.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use webpki::EndEntityCert;

use crate::files::{self, Problem};
use crate::{Client, Names};

/// Judges certificates by a pin, or by who signed them and whom they are made for.
#[derive(Debug)]
pub(crate) struct Verifier {
    roots: RootCertStore,
    pin: Option<[u8; 32]>,
    names: Names,
    algorithms: WebPkiSupportedAlgorithms,
    refused: Refused,
}

/// Why the last certificate was not believed, for those who are not told by the library.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused(Arc<Mutex<Option<Error>>>);

impl Refused {
    fn set(&self, error: &Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
    }

    pub(crate) fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Verifier {
    pub(crate) fn new(
        settings: &Client,
        provider: &Arc<CryptoProvider>,
        refused: Refused,
    ) -> Result<Self, Problem> {
        let roots = match settings.pin {
            Some(_) => RootCertStore::empty(),
            None => files::roots(settings.ca.as_deref())?,
        };
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self { roots, pin: settings.pin, names: settings.names.clone(), algorithms, refused })
    }

    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        asked: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(pin) = self.pin {
            return match files::sha256(end_entity) == pin {
                true => Ok(ServerCertVerified::assertion()),
                false => Err(CertificateError::ApplicationVerificationFailure.into()),
            };
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        let certificate = EndEntityCert::try_from(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        let (fits, wanted) = match &self.names {
            Names::Host(host) => (is_host(&certificate, host), Some(host)),
            Names::Domains(domains) => {
                (domains.iter().any(|domain| is_domain(&certificate, domain)), domains.first())
            }
        };
        if fits {
            return Ok(ServerCertVerified::assertion());
        }
        let expected = wanted.and_then(|name| ServerName::try_from(name.clone()).ok());
        let expected = expected.unwrap_or_else(|| asked.to_owned());
        let presented = names_in(&certificate);
        Err(CertificateError::NotValidForNameContext { expected, presented }.into())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        asked: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.judge(end_entity, intermediates, asked, now);
        judged.inspect_err(|error| self.refused.set(error))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn is_host(certificate: &EndEntityCert<'_>, host: &str) -> bool {
    ServerName::try_from(host).is_ok_and(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok())
}

/// RFC 5922 §7.2: whole names are compared, without case and without `*`.
fn is_domain(certificate: &EndEntityCert<'_>, domain: &str) -> bool {
    if domain.parse::<IpAddr>().is_ok() {
        return is_host(certificate, domain);
    }
    certificate.valid_dns_names().any(|name| name.eq_ignore_ascii_case(domain))
        || certificate.valid_uri_names().filter_map(domain_of).any(|name| name.eq_ignore_ascii_case(domain))
}

/// The domain that a URI in a certificate stands for (RFC 5922 §7.1): not where it names a user.
fn domain_of(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once(':')?;
    let plain = scheme.eq_ignore_ascii_case("sip") && !rest.contains(['@', ';', '?', ':']);
    plain.then_some(rest)
}

/// Names that are shown to a person.
const SHOWN: usize = 4;

/// The names of a certificate, which the library tells whoever asks for another one.
fn names_in(certificate: &EndEntityCert<'_>) -> Vec<String> {
    let Ok(nobody) = ServerName::try_from("sipliance.invalid") else { return Vec::new() };
    match certificate.verify_is_valid_for_subject_name(&nobody) {
        Err(webpki::Error::CertNotValidForName(context)) => {
            context.presented.iter().take(SHOWN).map(|name| bare(name).to_owned()).collect()
        }
        _ => Vec::new(),
    }
}

/// `DnsName("example.org")` without what a person need not know.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_stands_for_a_domain_where_it_names_no_user() {
        for (uri, domain) in [
            ("sip:example.org", Some("example.org")),
            ("SIP:example.org", Some("example.org")),
            ("sips:example.org", None),
            ("sip:anna@example.org", None),
            ("https://example.org", None),
            ("sip:example.org:5061", None),
            ("sip:example.org;user=phone", None),
        ] {
            assert_eq!(domain_of(uri), domain, "{uri}");
        }
    }
}
