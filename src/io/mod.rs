//! The shell: sockets, drivers, files, signals and the real clock. It decides nothing that a test
//! would want to see.

pub mod audit;
pub mod control;
pub mod door;
pub mod drivers;
pub mod edge;
pub mod http;
pub mod ports;
pub mod pretend;
pub mod queue;
#[cfg(feature = "quic")]
pub mod quic;
pub mod reach;
pub mod resolve;
pub mod route;
pub mod run;
pub mod sockets;
pub mod store;
pub mod stream;
pub mod udp;
pub mod ws;
