//! From a request to exactly one final answer: what is asked of which appliance, and by whom.

pub mod address;
pub mod answer;
pub mod body;
pub mod dmp;
pub mod opaque;
pub mod senml;
pub mod target;
pub mod words;
