//! Both sides over a stream in memory, with certificates made here.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// A folder of its own, gone with the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sipliance-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

fn authority(folder: &Folder, name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let file = folder.file(name, &params.self_signed(&key).unwrap().pem());
    Authority { issuer: Issuer::new(params, key), file }
}

fn signed(
    folder: &Folder,
    by: &Authority,
    name: &str,
    names: &[&str],
    change: impl FnOnce(&mut CertificateParams),
) -> Server {
    let dns = names.iter().filter(|name| !name.contains(':')).map(|name| (*name).to_owned());
    let mut params = CertificateParams::new(dns.collect::<Vec<_>>()).unwrap();
    let uris = names.iter().filter(|name| name.contains(':'));
    params.subject_alt_names.extend(uris.map(|uri| SanType::URI((*uri).try_into().unwrap())));
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &by.issuer).unwrap();
    Server {
        certificate: folder.file(&format!("{name}.pem"), &certificate.pem()),
        key: folder.file(&format!("{name}.key"), &key.serialize_pem()),
        client_ca: None,
    }
}

fn believing(ca: &Path, domain: &str) -> Client {
    Client { ca: Some(ca.to_owned()), names: Names::Domains(vec![domain.to_owned()]), ..Client::default() }
}

/// What comes of it on the client's side: nothing, or its words.
async fn meet(server: &Server, client: &Client) -> Result<(), String> {
    let welcomer = super::server(server).unwrap();
    let dialer = super::client(client).unwrap();
    let (near, far) = tokio::io::duplex(16 * 1024);
    let serve = async move {
        let Ok(mut stream) = welcomer.accept(far).await else { return };
        let mut buffer = [0; 5];
        if stream.read_exact(&mut buffer).await.is_ok() {
            let _ = stream.write_all(&buffer).await;
            let _ = stream.flush().await;
        }
    };
    let ask = async move {
        let mut stream = dialer.connect("example.org", near).await?;
        stream.write_all(b"hello").await.map_err(|error| words::of(&error))?;
        stream.flush().await.map_err(|error| words::of(&error))?;
        let mut buffer = [0; 5];
        stream.read_exact(&mut buffer).await.map_err(|error| words::of(&error))?;
        assert_eq!(&buffer, b"hello");
        Ok(())
    };
    let ((), result) = tokio::join!(serve, ask);
    result
}

/// Proves: SEC-2, SEC-3
#[tokio::test]
async fn a_server_is_believed_for_its_domain_alone() {
    let folder = Folder::new("domain");
    let ca = authority(&folder, "ca.pem");
    let dns = signed(&folder, &ca, "dns", &["Example.org"], |_| {});
    let uri = signed(&folder, &ca, "uri", &["sip:example.org"], |_| {});
    assert_eq!(meet(&dns, &believing(&ca.file, "example.org")).await, Ok(()));
    assert_eq!(meet(&uri, &believing(&ca.file, "example.org")).await, Ok(()));
    let why = meet(&dns, &believing(&ca.file, "example.com")).await.unwrap_err();
    assert_eq!(why, "the certificate is for Example.org, not for example.com");
    // No `*`, and no user's certificate, stands for a domain (RFC 5922 §7).
    let wide = signed(&folder, &ca, "wide", &["*.example.org"], |_| {});
    let why = meet(&wide, &believing(&ca.file, "sip.example.org")).await.unwrap_err();
    assert_eq!(why, "the certificate is for *.example.org, not for sip.example.org");
    let user = signed(&folder, &ca, "user", &["sip:anna@example.org"], |_| {});
    let why = meet(&user, &believing(&ca.file, "example.org")).await.unwrap_err();
    assert_eq!(why, "the certificate is for sip:anna@example.org, not for example.org");
    let address = signed(&folder, &ca, "address", &[], |params| {
        params.subject_alt_names.push(SanType::IpAddress([192, 0, 2, 1].into()));
    });
    assert_eq!(meet(&address, &believing(&ca.file, "192.0.2.1")).await, Ok(()));
    let why = meet(&address, &believing(&ca.file, "192.0.2.2")).await.unwrap_err();
    assert_eq!(why, "the certificate is for 192.0.2.1, not for 192.0.2.2");
    // What a web server would be believed for.
    let web = Client { names: Names::Host("sip.example.org".to_owned()), ..believing(&ca.file, "") };
    assert_eq!(meet(&wide, &web).await, Ok(()));
}

/// Proves: SEC-2
#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said() {
    let folder = Folder::new("wrong");
    let (ca, other) = (authority(&folder, "ca.pem"), authority(&folder, "other.pem"));
    let good = signed(&folder, &ca, "good", &["example.org"], |_| {});
    let why = meet(&good, &believing(&other.file, "example.org")).await.unwrap_err();
    assert!(why.contains("signed by somebody unknown – give `ca:`"), "{why}");
    let old = signed(&folder, &ca, "old", &["example.org"], |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 2, 3);
    });
    let why = meet(&old, &believing(&ca.file, "example.org")).await.unwrap_err();
    assert_eq!(why, "the certificate has expired, on 2021-02-03 – renew it there");
    assert!(days_left(&old.certificate).unwrap() < -365);
    let young = signed(&folder, &ca, "young", &["example.org"], |params| {
        params.not_before = date_time_ymd(2094, 1, 1);
        params.not_after = date_time_ymd(2095, 1, 1);
    });
    let why = meet(&young, &believing(&ca.file, "example.org")).await.unwrap_err();
    assert!(why.starts_with("the certificate is valid from 2094-01-01 on"), "{why}");
}

#[tokio::test]
async fn a_pin_is_that_certificate_and_no_other() {
    let folder = Folder::new("pin");
    let ca = authority(&folder, "ca.pem");
    let (one, two) =
        (signed(&folder, &ca, "one", &["a"], |_| {}), signed(&folder, &ca, "two", &["a"], |_| {}));
    let pin = Some(fingerprint(&one.certificate).unwrap());
    let client = Client { pin, ..Client::default() };
    assert_eq!(meet(&one, &client).await, Ok(()));
    let why = meet(&two, &client).await.unwrap_err();
    assert!(why.contains("another one than that of `pin:`"), "{why}");
}

#[tokio::test]
async fn a_server_may_want_certificates_of_its_clients() {
    let folder = Folder::new("mutual");
    let ca = authority(&folder, "ca.pem");
    let mut server = signed(&folder, &ca, "server", &["example.org"], |_| {});
    server.client_ca = Some(ca.file.clone());
    let why = meet(&server, &believing(&ca.file, "example.org")).await.unwrap_err();
    assert!(why.contains("client certificate"), "{why}");
    let ours = signed(&folder, &ca, "ours", &["gateway.example"], |_| {});
    let (certificate, key) = (Some(ours.certificate), Some(ours.key));
    let client = Client { certificate, key, ..believing(&ca.file, "example.org") };
    assert_eq!(meet(&server, &client).await, Ok(()));
}

#[test]
fn each_file_has_its_own_fault() {
    let folder = Folder::new("files");
    let ca = authority(&folder, "ca.pem");
    let good = signed(&folder, &ca, "good", &["example.org"], |_| {});
    let other = signed(&folder, &ca, "other", &["example.org"], |_| {});
    let fault = |change: &dyn Fn(&mut Server)| {
        let mut server = good.clone();
        change(&mut server);
        let problem = super::server(&server).unwrap_err();
        (problem.file, problem.text)
    };
    let (file, text) = fault(&|server| server.certificate = server.key.clone());
    assert!(file == File::Certificate && text.contains("there is no certificate in it"), "{text}");
    let (file, text) = fault(&|server| server.certificate = "/nowhere.pem".into());
    assert!(file == File::Certificate && text == "/nowhere.pem: there is no such file", "{text}");
    let (file, text) = fault(&|server| server.key = server.certificate.clone());
    assert!(file == File::Key && text.contains("no key in PEM"), "{text}");
    let (file, text) = fault(&|server| server.key = other.key.clone());
    assert!(file == File::Key && text.contains("is the key of another certificate than"), "{text}");
    let (file, text) = fault(&|server| server.client_ca = Some(server.key.clone()));
    assert!(file == File::Ca && text.contains("there is no certificate in it"), "{text}");
    fs::set_permissions(&good.key, fs::Permissions::from_mode(0o644)).unwrap();
    let (file, text) = fault(&|_| {});
    assert!(file == File::Key && text.contains("everybody may read the key (mode 644)"), "{text}");
}
