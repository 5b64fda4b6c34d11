//! What went wrong with a handshake, in words for a person.

use std::io;
use std::time::SystemTime;

use jiff::Timestamp;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{AlertDescription as Alert, CertificateError as Certificate, Error};

/// Before this nobody ran this program: a clock that says so was never set. 2024-01-01.
const NEVER_SET: i64 = 1_704_067_200;

/// Why a server is not believed, or does not believe us.
pub(crate) fn of(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(inner) => of_error(inner),
        None => format!("TLS does not come about ({error}) – does this port speak TLS?"),
    }
}

pub(crate) fn of_error(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => certificate(why),
        Error::AlertReceived(alert) => alerted(*alert),
        Error::InvalidMessage(_) => "what answers there speaks no TLS – is it the right port?".to_owned(),
        other => format!("TLS does not come about: {other}"),
    }
}

/// What the far end says against us in an alert, which with TLS 1.3 may come when the handshake is over
/// here. `None`: the error is another one.
pub fn refusal(error: &io::Error) -> Option<String> {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::AlertReceived(alert)) => Some(alerted(*alert)),
        _ => None,
    }
}

fn alerted(alert: Alert) -> String {
    match alert {
        Alert::CertificateRequired | Alert::HandshakeFailure => {
            "it wants a client certificate – give `certificate:` and `key:`, to a broker `tls: {cert: …, key: …}`".to_owned()
        }
        Alert::CertificateExpired => "our client certificate has expired – renew it".to_owned(),
        Alert::UnknownCA | Alert::BadCertificate | Alert::CertificateUnknown => {
            format!("it does not believe our client certificate ({alert:?}) – does it know its authority?")
        }
        alert => format!("it refuses our certificate or TLS ({alert:?})"),
    }
}

fn certificate(why: &Certificate) -> String {
    match why {
        Certificate::UnknownIssuer => {
            "the certificate is signed by somebody unknown – give `ca:`, the authority that signed it"
                .to_owned()
        }
        Certificate::NotValidForNameContext { expected, presented } => {
            let made_for = match presented.is_empty() {
                true => "nobody".to_owned(),
                false => presented.join(", "),
            };
            format!("the certificate is for {made_for}, not for {}", expected.to_str())
        }
        Certificate::NotValidForName => "the certificate is for somebody else".to_owned(),
        Certificate::ExpiredContext { not_after, .. } => {
            or_clock(&format!("the certificate has expired, on {} – renew it there", day(*not_after)))
        }
        Certificate::Expired => or_clock("the certificate has expired – renew it there"),
        Certificate::NotValidYetContext { not_before, .. } => {
            or_clock(&format!("the certificate is valid from {} on – is our clock right?", day(*not_before)))
        }
        Certificate::NotValidYet => or_clock("the certificate is not valid yet – is our clock right?"),
        Certificate::ApplicationVerificationFailure => {
            "the certificate is another one than that of `pin:`".to_owned()
        }
        other => format!("the certificate cannot be believed: {other}"),
    }
}

/// A clock that was never set makes good certificates look bad.
fn or_clock(text: &str) -> String {
    let now = Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH);
    clock(text, now)
}

fn clock(text: &str, now: Timestamp) -> String {
    match now.as_second() < NEVER_SET {
        true => format!("this machine's clock says {} – set it; {text}", now.strftime("%Y")),
        false => text.to_owned(),
    }
}

fn day(time: UnixTime) -> String {
    let second = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(second)
        .map_or_else(|_| "a far day".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_is_named() {
        let text = clock("the certificate is valid from 2026-01-01 on", Timestamp::UNIX_EPOCH);
        assert!(text.starts_with("this machine's clock says 1970"), "{text}");
        let set = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(clock("it is bad", set), "it is bad");
    }
}
