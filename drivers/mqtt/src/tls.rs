//! TLS to a broker.

use sipliance_tls::{Client, ClientStream, Names};
use tokio::net::TcpStream;

use crate::Tls;

/// Speaks TLS over `stream`. The files are read each time, so that a renewed certificate counts.
///
/// # Errors
/// What is wrong and what to do, for a person.
pub(crate) async fn secure(
    tls: &Tls,
    host: &str,
    stream: TcpStream,
) -> Result<ClientStream<TcpStream>, String> {
    let settings = Client {
        ca: tls.ca.clone(),
        certificate: tls.cert.clone(),
        key: tls.key.clone(),
        pin: None,
        names: Names::Host(host.to_owned()),
    };
    let dialer = sipliance_tls::client(&settings).map_err(|problem| problem.text)?;
    dialer.connect(host, stream).await
}
