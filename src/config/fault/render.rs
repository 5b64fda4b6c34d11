//! Faults for people and for programs.

use super::{Fault, Place, Severity};

/// Longest piece of a source line that is shown, in characters.
const WINDOW: usize = 96;

/// How to print faults.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Colours and bold, for terminals.
    pub colour: bool,
}

impl Fault {
    /// The fault for a person, with the line it stands in and a caret below:
    ///
    /// ```text
    /// home.yaml:12:5: error: unknown key `pullup`
    ///    |
    /// 12 |     pullup: up
    ///    |     ^^^^^^
    ///    = at: devices.door.pullup
    ///    = help: did you mean `pull`?
    /// ```
    ///
    /// `source` is the text of the file; without it no line is shown. Nor is the line of a
    /// `password`, because what is printed gets pasted into bug reports.
    pub fn render(&self, file: &str, source: Option<&str>, style: Style) -> String {
        let paint = |code: &str, text: &str| match style.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        };
        let (word, colour) = match self.severity {
            Severity::Error => ("error", "1;31"),
            Severity::Warning => ("warning", "1;33"),
        };
        let position = self.place.map_or_else(String::new, |at| format!(":{}:{}", at.line, at.column));
        let mut out = format!(
            "{}: {}: {}\n",
            paint("1", &format!("{}{position}", printable(file))),
            paint(colour, word),
            paint("1", &printable(&self.message))
        );
        let number = self.place.map_or(0, |at| at.line).to_string();
        let margin = " ".repeat(number.len().max(1));
        let bar = paint("34", "|");
        let source = source.filter(|_| !self.path.ends_with("password"));
        if let Some((line, caret)) = self.place.zip(source).and_then(|(at, text)| snippet(text, at)) {
            out.push_str(&format!("{margin} {bar}\n{} {bar} {line}\n", paint("34", &number)));
            out.push_str(&format!("{margin} {bar} {}\n", paint(colour, &caret)));
        }
        let sign = paint("34", "=");
        if !self.path.is_empty() {
            out.push_str(&format!("{margin} {sign} at: {}\n", printable(&self.path)));
        }
        if let Some(help) = &self.help {
            out.push_str(&format!("{margin} {sign} {}: {}\n", paint("36", "help"), printable(help)));
        }
        out
    }

    /// The fault for a program: one JSON object in one line. `source` is the text of the file; it tells where
    /// what is wrong ends.
    pub fn json(&self, file: &str, source: Option<&str>) -> String {
        let width = self.place.zip(source).and_then(|(at, text)| {
            let line: Vec<char> = text.lines().nth(at.line.checked_sub(1)?)?.trim_end().chars().collect();
            Some(token(line.get(at.column.checked_sub(1)?..)?))
        });
        serde_json::json!({
            "file": file,
            "line": self.place.map(|at| at.line),
            "column": self.place.map(|at| at.column),
            "end_column": self.place.map(|at| at.column + width.unwrap_or(1)),
            "severity": match self.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            "path": self.path,
            "message": self.message,
            "help": self.help,
        })
        .to_string()
    }
}

/// The line at `place`, cut to a window, and the carets that belong below it.
fn snippet(source: &str, place: Place) -> Option<(String, String)> {
    let line: Vec<char> = source.lines().nth(place.line.checked_sub(1)?)?.trim_end().chars().collect();
    let at = place.column.checked_sub(1)?.min(line.len());
    let from = if line.len() <= WINDOW { 0 } else { at.saturating_sub(WINDOW / 2).min(line.len() - WINDOW) };
    let shown: Vec<char> = line.iter().skip(from).take(WINDOW).copied().collect();
    let width = token(line.get(at..).unwrap_or_default()).min(WINDOW.saturating_sub(at - from)).max(1);
    let mut text: String = shown.iter().collect();
    let mut lead = at - from;
    if from > 0 {
        text.insert_str(0, "… ");
        lead += 2;
    }
    if from + shown.len() < line.len() {
        text.push_str(" …");
    }
    Some((printable(&text), format!("{}{}", " ".repeat(lead), "^".repeat(width))))
}

/// Length of the word, or the quoted text, at the start of `rest`.
fn token(rest: &[char]) -> usize {
    let Some(first) = rest.first() else { return 1 };
    if matches!(first, '"' | '\'') {
        let close = rest.iter().skip(1).position(|c| c == first);
        return close.map_or(1, |at| at + 2);
    }
    let ends = |at: usize, c: &char| match c {
        '\t' | ',' | ']' | '}' | '[' | '{' => true,
        ':' => matches!(rest.get(at + 1), None | Some(' ')),
        ' ' => matches!(rest.get(at + 1), None | Some(' ' | '#')),
        _ => false,
    };
    rest.iter().enumerate().position(|(at, c)| ends(at, c)).unwrap_or(rest.len())
}

/// Control characters would move the cursor of the terminal; each becomes one visible sign, so that
/// the caret stays where it belongs.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if is_unsafe(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { colour: false };

    fn fault(line: usize, column: usize) -> Fault {
        Fault {
            severity: Severity::Error,
            place: Some(Place { line, column }),
            path: "lines.door.pullup".into(),
            message: "unknown key `pullup`".into(),
            help: Some("did you mean `pull`?".into()),
        }
    }

    #[test]
    fn the_caret_stands_below_the_word() {
        let text = fault(2, 3).render("a.yaml", Some("door:\n  pullup: up\n"), PLAIN);
        assert_eq!(
            text,
            "a.yaml:2:3: error: unknown key `pullup`\n  |\n2 |   pullup: up\n  |   ^^^^^^\n  \
             = at: lines.door.pullup\n  = help: did you mean `pull`?\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let line = format!("{}here: 1{}", "x ".repeat(400), " y".repeat(400));
        let text = fault(1, 801).render("a.yaml", Some(&line), PLAIN);
        let lines: Vec<&str> = text.lines().collect();
        let caret = lines[3].chars().position(|c| c == '^').unwrap();
        let below: String = lines[2].chars().skip(caret).take(4).collect();
        assert_eq!(below, "here");
        assert!(lines.iter().all(|line| line.chars().count() < 110), "{text}");
    }

    #[test]
    fn a_file_cannot_steer_the_terminal() {
        let mut fault = fault(1, 1);
        fault.message = "a\x1b]0;b\u{202e}c".into();
        let text = fault.render("a.yaml", Some("\x1b[2Jx: 1"), PLAIN);
        assert!(!text.contains('\x1b') && !text.contains('\u{202e}'), "{text:?}");
    }

    #[test]
    fn places_outside_the_text_show_no_line() {
        for place in [(0, 0), (9, 1), (1, 0)] {
            let text = fault(place.0, place.1).render("a.yaml", Some("x: 1"), PLAIN);
            assert!(!text.contains('|'), "{text}");
        }
    }

    #[test]
    fn the_line_of_a_password_is_not_shown() {
        let mut fault = fault(1, 18);
        fault.path = "users.anna.password".into();
        let text = fault.render("a.yaml", Some("anna: {password: correct horse}"), PLAIN);
        assert!(text.starts_with("a.yaml:1:18: error") && !text.contains("horse"), "{text}");
    }

    #[test]
    fn json_is_one_line_with_every_field() {
        let text = fault(2, 3).json("a.yaml", Some("lines:\n  pullup: up"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["line"], 2);
        assert_eq!((&value["column"], &value["end_column"]), (&3.into(), &9.into()));
        assert_eq!(value["severity"], "error");
        assert_eq!(value["help"], "did you mean `pull`?");
        assert!(!text.contains('\n'));
    }
}
