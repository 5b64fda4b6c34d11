//! PEM files, and what can be wrong with each.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier as _;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};

/// Longest PEM file that is read, in bytes: the store of a whole system has less.
const FILE_BYTES: u64 = 1024 * 1024;

/// Which of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// The certificate.
    Certificate,
    /// Its private key.
    Key,
    /// The authority.
    Ca,
}

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which.
    pub file: File,
    /// What is wrong, with the path, and what to do.
    pub text: String,
}

impl Problem {
    pub(crate) fn new(file: File, text: String) -> Self {
        Self { file, text }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Problem {}

/// Days until the first certificate in a file ends; below zero: since when it has ended.
///
/// # Errors
/// When it cannot be read.
pub fn days_left(path: &Path) -> Result<i64, Problem> {
    let chain = certificates(path, File::Certificate)?;
    let end = chain.first().and_then(not_after);
    let end = end.ok_or_else(|| {
        Problem::new(File::Certificate, format!("{}: the certificate cannot be read", path.display()))
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    Ok((signed(end) - signed(now)).div_euclid(86_400))
}

/// The SHA-256 of the first certificate in a file: what a pin holds.
///
/// # Errors
/// When it cannot be read.
pub fn fingerprint(path: &Path) -> Result<[u8; 32], Problem> {
    let chain = certificates(path, File::Certificate)?;
    Ok(chain.first().map(|first| sha256(first)).unwrap_or_default())
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// When a certificate ends. The library says it to whoever asks too late, so it is asked as of a far
/// year.
fn not_after(certificate: &CertificateDer<'_>) -> Option<u64> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone().into_owned()).ok()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crate::provider());
    let far = UnixTime::since_unix_epoch(Duration::from_secs(253_402_300_799));
    let anybody = ServerName::try_from("sipliance.invalid").ok()?;
    match verifier.build().ok()?.verify_server_cert(certificate, &[], &anybody, &[], far) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Some(not_after.as_secs())
        }
        _ => None,
    }
}

pub(crate) fn roots(ca: Option<&Path>) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path, File::Ca)? {
                roots
                    .add(certificate)
                    .map_err(|error| Problem::new(File::Ca, format!("{}: {error}", path.display())))?;
            }
        }
        None => {
            // One odd certificate in the system's store must not lock us out.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    match roots.is_empty() {
        true => Err(Problem::new(
            File::Ca,
            "this system knows no certificate authority to believe – name one as `ca:`".to_owned(),
        )),
        false => Ok(roots),
    }
}

pub(crate) fn certificates(path: &Path, file: File) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let pem = read(path, file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| unreadable(path, file, &error, "certificate"))?;
    match all.is_empty() {
        true => Err(Problem::new(file, format!("{}: there is no certificate in it (PEM)", path.display()))),
        false => Ok(all),
    }
}

pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Problem> {
    let pem = read(path, File::Key)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| unreadable(path, File::Key, &error, "key"))
}

/// A key that everybody on the machine may read is no secret any more.
pub(crate) fn check_secret(path: &Path) -> Result<(), Problem> {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(()) };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o007 == 0 {
        return Ok(());
    }
    let text = format!("{0}: everybody may read the key (mode {mode:03o}) – chmod 600 {0}", path.display());
    Err(Problem::new(File::Key, text))
}

pub(crate) fn unfit(certificate: &Path, key: &Path, error: &Error) -> Problem {
    let (certificate, key) = (certificate.display(), key.display());
    let text = match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            format!("{key} is the key of another certificate than {certificate}")
        }
        _ => format!("{certificate} and {key} do not fit: {error}"),
    };
    Problem::new(File::Key, text)
}

fn read(path: &Path, file: File) -> Result<Vec<u8>, Problem> {
    use std::io::Read as _;
    let cannot = |error: std::io::Error| {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            std::io::ErrorKind::PermissionDenied => "this user may not read the file".to_owned(),
            _ => error.to_string(),
        };
        Problem::new(file, format!("{}: {why}", path.display()))
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|open| open.take(FILE_BYTES).read_to_end(&mut bytes))
        .map_err(cannot)?;
    Ok(bytes)
}

fn unreadable(path: &Path, file: File, error: &dyn fmt::Display, what: &str) -> Problem {
    Problem::new(file, format!("{}: no {what} in PEM can be read ({error})", path.display()))
}
