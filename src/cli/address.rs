//! `sipliance address NAME`: what a name is written like where it shall not be read on its way.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::run::load;
use crate::config::Config;
use crate::control::target::Names;
use crate::control::{address, opaque};

/// Arguments of `address`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipliance address lamp
  sipliance address d=lamp,r=bedroom,u=anna

The encrypted address needs `opaque_names:` in the home file. Exit codes: 0 printed, 1 the home file
has mistakes or has nothing of that name, 2 wrong arguments.")]
pub struct AddressArgs {
    /// A name, or attributes: d=lamp,r=bedroom.
    pub name: String,
    /// The home file.
    #[arg(long, default_value = "/etc/sipliance/home.yaml")]
    pub config: PathBuf,
}

/// Prints the addresses, one a line.
pub fn run(args: &AddressArgs) -> ExitCode {
    let path: &Path = &args.config;
    let Some(config) = load(path) else { return ExitCode::FAILURE };
    match addresses(&config, &args.name) {
        Some(lines) => {
            lines.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("error: there is no {} in {}", args.name, path.display());
            ExitCode::FAILURE
        }
    }
}

/// As it is, in base64url, and encrypted by the key in use; `None` when nothing is called so.
pub fn addresses(config: &Config, name: &str) -> Option<Vec<String>> {
    Names::new(config).by_user(name)?;
    let domain = &config.house.domain;
    let [plain, _] = address::encoded(name);
    let sealed = config.opaque.last().and_then(|key| opaque::seal(key, domain, name));
    let users = [Some(address::escaped(name)), Some(plain), sealed];
    Some(users.into_iter().flatten().map(|user| format!("sip:{user}@{domain}")).collect())
}
