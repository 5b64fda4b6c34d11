//! `sipliance passwd USER`: a password in, the lines of the secrets file out.

use std::io::{BufRead, IsTerminal as _, Write};
use std::process::ExitCode;

use secrecy::ExposeSecret as _;

use crate::config::names::is_id;
use crate::config::secrets::{ha1, weakness};

/// Longest password that is read, in bytes.
const LONGEST: u64 = 1024;

/// Reads one line from the standard input and prints the HA1 of `user` within `realm` (the house's
/// domain). Exit code 0: printed, 1: the name or the password is refused, 2: no input.
pub fn run(user: &str, realm: &str) -> ExitCode {
    let (mut out, mut errors) = (std::io::stdout(), std::io::stderr());
    if !std::io::stdin().is_terminal() {
        return ExitCode::from(passwd(user, realm, &mut std::io::stdin().lock(), &mut out, &mut errors));
    }
    match ask_twice(user, realm) {
        Ok(password) => ExitCode::from(passwd(user, realm, &mut password.as_bytes(), &mut out, &mut errors)),
        Err(why) => {
            eprintln!("sipliance passwd: {why}");
            ExitCode::from(2)
        }
    }
}

/// At a terminal the password is not shown, so it is asked for again.
fn ask_twice(user: &str, realm: &str) -> Result<String, String> {
    let ask = |prompt: String| {
        rpassword::prompt_password(prompt).map_err(|why| format!("the password cannot be read: {why}"))
    };
    let password = ask(format!("Password for {user} in {realm}: "))?;
    let again = ask("Again: ".to_owned())?;
    if password == again { Ok(password) } else { Err("the two are not the same".to_owned()) }
}

/// The command with its streams as arguments; the exit code comes back.
pub fn passwd(
    user: &str,
    realm: &str,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> u8 {
    // A closed output leaves nothing to report to; the exit code still tells.
    let mut complain = |text: &str| drop(writeln!(errors, "sipliance passwd: {text}"));
    if !is_id(user) {
        complain("a user's name has lower-case letters, digits, `.`, `_` and `-` only");
        return 1;
    }
    let mut line = String::new();
    match std::io::Read::take(input, LONGEST).read_line(&mut line) {
        Ok(1..) => {}
        Ok(0) => {
            complain("no password on the standard input");
            return 2;
        }
        Err(error) => {
            complain(&format!("the password cannot be read: {error}"));
            return 2;
        }
    }
    let password = line.trim_end_matches(['\r', '\n']);
    if let Some(weak) = weakness(user, password) {
        complain(&weak);
        return 1;
    }
    let secret = ha1(user, realm, password);
    let md5 = secret.md5.as_ref().map_or("", |md5| md5.expose_secret());
    let lines = format!(
        "# realm {realm}\n{user}:\n  ha1:\n    sha256: \"{}\"\n    md5: \"{md5}\"\n",
        secret.sha256.expose_secret()
    );
    if out.write_all(lines.as_bytes()).is_err() { 2 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(user: &str, input: &str) -> (u8, String, String) {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let code = passwd(user, "home.local", &mut input.as_bytes(), &mut out, &mut errors);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
    }

    #[test]
    fn prints_lines_that_the_secrets_file_takes() {
        let (code, out, errors) = run("anna", "correct horse\r\n");
        assert_eq!((code, errors.as_str()), (0, ""));
        // md5sum and sha256sum of `anna:home.local:correct horse`.
        assert!(
            out.contains("sha256: \"829c7f318bf0bf85f18a35261f0bf24c8010dc29d727d1b2a0123c1b335f628e\"\n"),
            "{out}"
        );
        assert!(out.contains("md5: \"4fc611ae5cb400eb1723507eb207760e\"\n"), "{out}");
        assert!(!out.contains("correct horse"));
    }

    #[test]
    fn refuses_what_must_not_protect_a_door() {
        for password in ["", "short", "password", "raspberry", "aaaaaaaaaaaa", "anna1"] {
            let (code, out, errors) = run("anna", &format!("{password}\n"));
            assert_eq!((code, out.as_str()), (1, ""), "{password}");
            assert!(errors.contains("password"), "{errors}");
        }
        assert_eq!(run("Anna B", "correct horse\n").0, 1);
        assert_eq!(run("anna", "").0, 2);
    }
}
