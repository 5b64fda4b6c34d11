//! The table for people: two tables in Markdown, which `docs/formats.md` repeats.

use std::fmt;

use super::{Accept, Contact, Event, Off, ROWS, When};
use crate::event::PACKAGES;

/// The packages as a table.
pub fn packages_table() -> String {
    let mut out =
        String::from("| Event | Offered | When named alone | At most one NOTIFY per |\n|---|---|---|---|\n");
    let code = |types: &[&str]| types.iter().map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(", ");
    for package in PACKAGES {
        let types = package.content_types();
        let (offered, named) = types.split_at(package.offered().min(types.len()));
        let named = if named.is_empty() { "–".to_owned() } else { code(named) };
        let ms = package.interval().as_millis();
        let pace = if ms % 1000 == 0 { format!("{} s", ms / 1000) } else { format!("{ms} ms") };
        out.push_str(&format!("| `{}` | {} | {named} | {pace} |\n", package.name(), code(offered)));
    }
    out
}

/// The matrix as a table for people.
pub fn rows_table() -> String {
    let mut out =
        String::from("| What arrives | Read as | Answer | With `compat: off` |\n|---|---|---|---|\n");
    for row in ROWS {
        out.push_str(&format!("| {} | {} | {} | {} |\n", row.when, row.read, row.answer, row.off));
    }
    out
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subscribe { event, accept, contact } => {
                write!(f, "SUBSCRIBE, {event}")?;
                let accept = match accept {
                    Accept::Any => String::new(),
                    Accept::Absent => "no Accept".to_owned(),
                    Accept::Empty => "Accept with nothing in it".to_owned(),
                    Accept::Offered => "no Accept or one that takes an offered type".to_owned(),
                    Accept::Names(kind) => format!("Accept names `{kind}` and no offered type"),
                };
                let contact = match contact {
                    Contact::Any => "",
                    Contact::Fetch => "no Contact, Expires 0",
                    Contact::Several => "several Contacts",
                };
                [accept.as_str(), contact]
                    .iter()
                    .filter(|part| !part.is_empty())
                    .try_for_each(|part| write!(f, ", {part}"))
            }
            Self::Carries { method, body } => write!(f, "{method} with a body `{body}`"),
            Self::Method(method) => f.write_str(method),
            Self::Says(words) => f.write_str(words),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no Event"),
            Self::Known => f.write_str("Event of a package above"),
            Self::Of(name) => write!(f, "`Event: {name}`"),
            Self::Immediate(name) => write!(f, "`Event: {name};immediate`"),
        }
    }
}

impl fmt::Display for Off {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("the same"),
            Self::PassedOver => f.write_str("passed over"),
            Self::Refused(status) => write!(f, "{status}"),
        }
    }
}
