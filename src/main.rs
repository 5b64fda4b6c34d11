//! The `sipliance` program: arguments in, one command, an exit code out.

fn main() -> std::process::ExitCode {
    sipliance::cli::main()
}
