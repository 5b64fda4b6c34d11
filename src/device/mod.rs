//! Appliances without SIP: profile, values, shadow, commands.

pub mod profile;
pub mod value;
