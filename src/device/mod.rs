//! Appliances without SIP: profile, values, shadow, commands.
//!
//! [`profile`] reads what a model of appliance can do, [`codec`] turns bytes into values and back,
//! [`shadow`] remembers what was heard, [`command`] follows one command from guard to answer, and
//! [`house`] holds all appliances of a configuration behind one surface. Nothing here reads a clock
//! or moves a byte by itself.

pub mod alerts;
pub mod appliance;
pub mod codec;
pub mod command;
pub mod fixture;
pub mod house;
pub mod mirror;
pub mod profile;
pub mod ringing;
pub mod shadow;
pub mod shipped;
pub mod value;
