//! A flow to a server elsewhere (RFC 5626): is it alive, and when may a new one be tried.

pub mod backoff;
pub mod keepalive;
pub mod stun;
