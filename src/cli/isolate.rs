//! `sipliance isolate` and `sipliance release`: the kill switch at the gateway itself.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::status::ask;
use crate::io::control;

/// Arguments of `isolate` and `release`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo sipliance isolate garage
  sudo sipliance isolate --all
  sudo sipliance release garage

What is isolated stays so over a reload, and over a restart where the home file has `state:`. Exit codes: 0 done, 1 there is no such device, 2 wrong
arguments, 3 no gateway answers there.")]
pub struct IsolateArgs {
    /// Ids of devices.
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "ID")]
    pub devices: Vec<String>,
    /// Every appliance, also those that the home file gets later.
    #[arg(long)]
    pub all: bool,
    /// The control socket of the gateway; by default where the service has it.
    #[arg(long)]
    pub control: Option<PathBuf>,
}

/// Pulls the switch for each device, and says what happened.
pub fn run(args: &IsolateArgs, isolated: bool) -> ExitCode {
    let everything = ["*".to_owned()];
    let devices = if args.all { &everything[..] } else { &args.devices[..] };
    let verb = if isolated { "isolate" } else { "release" };
    let requests: Vec<String> = devices.iter().map(|device| format!("{verb} {device}")).collect();
    order(args.control.as_ref(), &requests)
}

/// Says each of these to the gateway, and prints what it answers. Exit code 1: it refused one; 3: it
/// does not answer.
pub(super) fn order(control: Option<&PathBuf>, requests: &[String]) -> ExitCode {
    let Some(path) = control.cloned().or_else(control::default_path) else {
        eprintln!("error: no gateway runs here as a service; name its socket with --control");
        return ExitCode::from(3);
    };
    let mut code = ExitCode::SUCCESS;
    for request in requests {
        let answer: Value = match ask(&path, request) {
            Ok(text) => serde_json::from_str(&text).unwrap_or_default(),
            Err(why) => {
                eprintln!(
                    "error: nobody answers at {}: {why}\nhelp: is the gateway running, and may you open its socket?",
                    path.display()
                );
                return ExitCode::from(3);
            }
        };
        let text = |key: &str| answer.get(key).and_then(Value::as_str);
        match (text("ok"), text("error")) {
            (Some(words), _) => println!("{words}"),
            (None, why) => {
                eprintln!("error: {}", why.unwrap_or("the gateway did not understand"));
                code = ExitCode::from(1);
            }
        }
    }
    code
}
