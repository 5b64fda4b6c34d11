//! The documents that SIP events carry, each read and written in its own file.
//!
//! A codec knows its format and nothing else: no appliance, no socket, no clock. Where a format
//! counts time from "now", the caller says when that is. What a peer sends is judged here once: a
//! reader returns either a document that keeps its format's rules or a [`Fault`] that tells a person
//! what is wrong and where.

pub mod device_profile;
pub mod dmp;
pub mod fault;
pub mod filter;
pub mod limits;
pub mod lpidf;
pub mod message_summary;
mod method_uri;
pub mod multipart;
pub mod pidf;
pub mod policy;
pub mod presence;
pub mod resource_lists;
pub mod rlmi;
pub mod senml;
pub mod td;
pub mod watcherinfo;
pub mod xbuddy;
pub mod xml;
pub mod xpidf;
pub mod xwatcher;

pub use fault::{At, Fault};
