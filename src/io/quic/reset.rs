//! What an end that was restarted says to those who still speak to the one before: a stateless reset (RFC 9000 §10.3). It
//! takes a key that outlives the process; then they hear it at their next packet, and not after a silence of 28 s.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use sha2::Sha256;

/// Between two resets: clients of an hour ago all come at once, and noise is answered no more often than that.
const BETWEEN: Duration = Duration::from_millis(5);

/// What the resets of one port are made with.
pub struct Resets(Hmac<Sha256>);

impl Resets {
    /// `secret` outlives the process. `port` tells this port from every other that has the same secret: with one key
    /// for two of them, the one could be asked how connections of the other are ended (RFC 9000 §21.11).
    pub fn new(secret: &[u8; 32], port: &str) -> Self {
        let key = keyed(secret).chain_update(b"stateless reset\n").chain_update(port).finalize().into_bytes();
        Self(keyed(&key.into()))
    }

    /// The settings of an endpoint that makes them.
    pub(super) fn config(self) -> EndpointConfig {
        let mut config = EndpointConfig::new(Arc::new(self));
        // The generator of quinn knows its own numbers by a key that it makes anew, and says nothing to others.
        config.cid_generator(|| Box::new(Numbers)).min_reset_interval(BETWEEN);
        config
    }
}

/// A key of any length makes an HMAC; for this one the block is padded.
fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    let mut block = [0_u8; 64];
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    Hmac::new(&block.into())
}

impl HmacKey for Resets {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        let mac = self.0.clone().chain_update(data).finalize().into_bytes();
        for (to, from) in signature_out.iter_mut().zip(mac) {
            *to = from;
        }
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        self.0.clone().chain_update(data).verify_slice(signature).map_err(|_| CryptoError)
    }
}

/// Connections are told apart by chance.
struct Numbers;

impl ConnectionIdGenerator for Numbers {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&rand::random::<u64>().to_be_bytes())
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
