//! One file per command. Exit codes: 0 done, 1 refused or faulty, 2 called wrongly, 3 cannot be reached.

pub mod act;
pub mod address;
pub mod check;
pub mod client;
pub mod demo;
pub mod discover;
pub mod isolate;
pub mod passwd;
pub mod reload;
pub mod run;
pub mod schema;
pub mod send;
pub mod serve;
pub mod simulate;
pub mod status;
pub mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Every home appliance gets a SIP address: watch it, ask it and switch it from any SIP phone.
#[derive(Debug, Parser)]
#[command(name = "sipliance", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway of a house.
    Run(run::RunArgs),
    /// Run a simulated house: no hardware, no server, no configuration.
    Demo(demo::DemoArgs),
    /// Run the gateway of a home file with every appliance simulated: nothing is wired, nothing contacted.
    Simulate(simulate::SimulateArgs),
    /// Find every mistake in home files and device profiles, and run the profiles' own tests.
    #[command(after_help = CHECK_HELP)]
    Check {
        /// Home files and profiles; the secrets file and the profiles that a home file names are checked with it.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// One JSON object per mistake, for editors.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of a file format, for editors.
    Schema {
        /// Which format.
        #[arg(value_enum)]
        format: schema::Format,
    },
    /// Print the lines of the secrets file for a user; the password is read from standard input.
    #[command(after_help = PASSWD_HELP)]
    Passwd {
        /// The user's name, as under `users:` in the home file.
        user: String,
        /// `house: domain` of the home file, which the secret is bound to.
        #[arg(long, default_value = "home.local")]
        domain: String,
    },
    /// Listen to a broker and propose what it tells of for the home file. Nothing is added, nothing published.
    Discover(discover::DiscoverArgs),
    /// Ask the running gateway how everything stands.
    Status(status::StatusArgs),
    /// Have the running gateway read its files again; only what changed starts anew.
    Reload(reload::ReloadArgs),
    /// Cut appliances off: nobody watches, asks or moves them until they are released.
    Isolate(isolate::IsolateArgs),
    /// Join appliances again that were cut off.
    Release(isolate::IsolateArgs),
    /// Watch an appliance, a mailbox or a phone: one line per change.
    Watch(watch::WatchArgs),
    /// Print an address as it is, in base64, and encrypted.
    Address(address::AddressArgs),
    /// Send a text to an appliance or a person, and print the reply.
    Send(send::SendArgs),
    /// Make an appliance do something, and print how it went.
    Do(act::DoArgs),
}

const CHECK_HELP: &str = "\
Examples:
  sipliance check /etc/sipliance/home.yaml
  sipliance check my-profile.yaml

With --json, each mistake is one line: {file, line, column, end_column, path, severity, message, help}; lines
and columns count from 1, and where the whole file is meant they are null. The last line counts: {files,
errors, warnings, tests}.

Exit codes: 0 usable (warnings do not count), 1 mistakes, 2 a file cannot be read.";

const PASSWD_HELP: &str = "\
Examples:
  sipliance passwd anna --domain home.example
  sipliance passwd anna --domain home.example < password.txt

Add what it prints to the secrets file. The password itself is stored nowhere.

Exit codes: 0 printed, 1 the name or the password is refused, 2 wrong arguments or no password.";

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Check { files, json } => check::run(&files, json),
        Command::Schema { format } => schema::run(format),
        Command::Passwd { user, domain } => passwd::run(&user, &domain),
        Command::Discover(args) => discover::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Isolate(args) => isolate::run(&args, true),
        Command::Release(args) => isolate::run(&args, false),
        Command::Watch(args) => watch::run(args),
        Command::Address(args) => address::run(&args),
        Command::Send(args) => send::run(args),
        Command::Do(args) => act::run(args),
    }
}
