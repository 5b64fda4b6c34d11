//! What people say to the house.

pub mod words;
