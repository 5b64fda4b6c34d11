//! `sipliance schema profile`: what an editor must know to complete and check a profile while it is written.

use std::io::Write as _;
use std::process::ExitCode;

use crate::config::schema::schema;
use crate::device::profile::PROFILE;

/// Formats that have a schema.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Format {
    /// Device profiles.
    Profile,
}

/// The text of a schema, as it is in `device-profiles/profile.schema.json`.
pub fn text(format: Format) -> String {
    let schema = match format {
        Format::Profile => schema(&PROFILE, "sipliance device profile, format 1", "driver"),
    };
    format!("{schema:#}\n")
}

/// Prints it.
pub fn run(format: Format) -> ExitCode {
    // A reader that goes away early (`| head`) is no fault.
    let _ = std::io::stdout().write_all(text(format).as_bytes());
    ExitCode::SUCCESS
}
