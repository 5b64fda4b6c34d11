//! A whole house under a virtual clock: phones, appliances, a provider, and a network that loses.
//!
//! No test here opens a socket or sleeps. See [`world::World`].

// Tests may fail loudly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs, reason = "the tests of a program have no readers of documentation")]

mod home;
mod pair;
mod phone;
mod plug;
mod provider;
mod world;

mod addressed;
mod addresses;
mod alerts;
mod announce;
mod calls;
mod conformance_commands;
mod conformance_digest;
mod conformance_events;
mod conformance_house;
mod dmp;
mod filters;
mod forms;
mod gruus;
mod hass;
mod herd;
mod isolate;
mod ladders;
mod lists;
mod lossy;
mod many;
mod matrix;
mod order;
mod outbound;
mod people;
mod plain;
mod publish;
mod rates;
mod refusals;
mod reload;
mod replay;
mod requests;
mod restart;
mod scenarios;
mod secrecy;
mod strangers;
mod streams;
mod transports;
mod truth;
mod two;
mod upstream;
mod views;
mod wan;
mod watching;
mod year;
