//! Commands.

pub mod act;
pub mod check;
pub mod client;
pub mod passwd;
pub mod send;
pub mod watch;

use std::process::ExitCode;

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
