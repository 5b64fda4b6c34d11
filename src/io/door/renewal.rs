//! A certificate that is renewed on the disk counts from then on, without a word to the process and without the end of
//! any connection: whoever renews it every 60 days need not remember who uses it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::{Inner, welcomer};
use crate::config::ServerTls;

/// Between two looks at the files. What changed must look the same at the next one, or it is being written.
const LOOK: Duration = Duration::from_secs(15);

/// What tells one version of a file from another.
pub(super) type Stamp = Vec<Option<(u64, u64, i64, i64)>>;

/// How the files of a certificate look now.
pub(super) fn stamp(tls: Option<&ServerTls>) -> Stamp {
    let Some(ServerTls { certificate, key, client_ca }) = tls else { return Vec::new() };
    let look = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec()))
    };
    [Some(certificate), Some(key), client_ca.as_ref()].into_iter().flatten().map(|path| look(path)).collect()
}

/// Looks at the files until the doors are gone.
pub(super) async fn watch(inner: Weak<Inner>) {
    let mut before: Option<Stamp> = None;
    let mut told = String::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(inner) = inner.upgrade() else { return };
        look(&inner, &mut before, &mut told);
    }
}

fn look(inner: &Rc<Inner>, before: &mut Option<Stamp>, told: &mut String) {
    let tls = inner.tls.borrow().clone();
    let now = stamp(tls.as_ref());
    let steady = before.replace(now.clone()).is_some_and(|before| before == now);
    if now == *inner.stamp.borrow() || !steady {
        return;
    }
    match welcomer(tls.as_ref()) {
        Ok(renewed) => {
            *inner.welcomer.borrow_mut() = renewed;
            *inner.stamp.borrow_mut() = now;
            told.clear();
            tracing::info!("the certificate was renewed: it counts for those who come in from now on");
        }
        // It may be half of a pair, and is looked at again.
        Err(why) if why != *told => {
            tracing::error!(
                "the certificate on the disk is not taken over: {why}; the one before stays in force"
            );
            *told = why;
        }
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use rcgen::{CertificateParams, KeyPair};
    use sipliance_tls::{Client, fingerprint};
    use tokio::task::LocalSet;

    use super::*;
    use crate::io::door::Doors;

    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    impl Folder {
        /// As whoever renews a certificate writes it: beside the old one, and then in its place.
        fn put(&self, name: &str, text: &str) -> PathBuf {
            let (new, path) = (self.0.join("new"), self.0.join(name));
            fs::write(&new, text).unwrap();
            fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
            fs::rename(&new, &path).unwrap();
            path
        }
    }

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["edge.example.com".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    /// Whether that certificate is shown to who comes in now.
    async fn shows(doors: &Doors, pin: [u8; 32]) -> bool {
        let client = sipliance_tls::client(&Client { pin: Some(pin), ..Client::default() }).unwrap();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (_, shown) = tokio::join!(doors.secure(far), client.connect("edge.example.com", near));
        shown.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_certificate_counts_without_a_word_and_half_a_pair_does_not() {
        let folder = Folder(std::env::temp_dir().join(format!("sipliance-renewal-{}", std::process::id())));
        fs::create_dir_all(&folder.0).unwrap();
        let ((old, old_key), (new, new_key)) = (pair(), pair());
        let key = folder.put("key.pem", &old_key);
        let certificate = folder.put("cert.pem", &old);
        let pin = |path: &Path| fingerprint(path).unwrap();
        let (before, after) = (pin(&certificate), pin(&folder.put("later.pem", &new)));
        let tls = ServerTls { certificate, key, client_ca: None };
        LocalSet::new()
            .run_until(async {
                let doors = Doors::new(Some(&tls), &[], 8).unwrap();
                assert!(shows(&doors, before).await && !shows(&doors, after).await);
                folder.put("cert.pem", &new);
                tokio::time::sleep(4 * LOOK).await;
                assert!(shows(&doors, before).await, "its key is missing yet");
                folder.put("key.pem", &new_key);
                tokio::time::sleep(4 * LOOK).await;
                assert!(shows(&doors, after).await && !shows(&doors, before).await);
                fs::remove_file(&tls.key).unwrap();
                tokio::time::sleep(4 * LOOK).await;
                assert!(shows(&doors, after).await, "what is gone changes nothing");
            })
            .await;
    }
}
