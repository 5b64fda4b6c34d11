//! sipliance gives every home appliance a SIP address.
//!
//! Drivers move bytes, profiles give the bytes meaning, the core keeps time and speaks SIP. The core
//! ([`gateway`], [`sip`], [`body`], [`event`], [`control`], [`device`]) opens no socket and reads no clock:
//! bytes and times go in, bytes and deadlines come out. The shell ([`io`], [`cli`]) does the rest.
//! `ARCHITECTURE.md` shows the house.

pub mod body;
pub mod cli;
pub mod config;
pub mod control;
pub mod device;
pub mod discover;
pub mod event;
pub mod gateway;
pub mod io;
pub mod limits;
pub mod sip;
pub mod timer;
