//! Texts and JSON documents with `<placeholders>`.

use std::sync::Arc;

/// Text with holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Arc<str>),
    Hole(Hole),
}

/// `<name>` or `<name:form>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// What is put there.
    pub name: Arc<str>,
    /// How.
    pub form: HoleForm,
}

/// How a value is written into a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoleForm {
    /// Text into text; in a document a bare number or boolean stays one.
    Plain,
    /// `:int`: a whole number, also where the value or map says it in text.
    Int,
    /// `:bool`: `true` or `false`, also where the value or map says it in text.
    Bool,
    /// `:text`: text, also for a number.
    Text,
    /// `:02`: padded with zeros to this many digits.
    Pad(u8),
    /// `:02x`: the same in hex.
    Hex(u8),
}

/// A JSON document with holes.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Without holes.
    Fixed(serde_json::Value),
    /// One hole that is a whole value.
    Hole(Hole),
    /// Text with holes inside.
    Text(Template),
    /// `[…]`
    List(Vec<Body>),
    /// `{…}` in the order of the profile.
    Map(Vec<(String, Body)>),
}

/// A piece of a text that is read by [`pieces`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    Hole { name: &'a str, form: &'a str },
}

/// Splits `<name:form>` out of a text. A `<` that begins no placeholder is text, and so is one after
/// `?` or `?P`, where it is the name of a regex group.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let (mut from, mut search) = (0, 0);
    while let Some(open) = text.get(search..).and_then(|rest| rest.find('<')).map(|at| at + search) {
        search = open + 1;
        let before = text.get(..open).unwrap_or_default();
        let Some(inner) = text.get(open + 1..).and_then(|rest| rest.split_once('>')).map(|(inner, _)| inner)
        else {
            break;
        };
        let (name, form) = inner.split_once(':').unwrap_or((inner, ""));
        if before.ends_with('?') || before.ends_with("?P") || !is_name(name) {
            continue;
        }
        if from < open {
            out.push(Piece::Text(text.get(from..open).unwrap_or_default()));
        }
        out.push(Piece::Hole { name, form });
        from = open + inner.len() + 2;
        search = from;
    }
    if from < text.len() {
        out.push(Piece::Text(text.get(from..).unwrap_or_default()));
    }
    out
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

impl Template {
    /// Text without holes.
    pub fn fixed(text: &str) -> Self {
        Self { parts: vec![Part::Text(text.into())] }
    }

    /// Reads a text; the error names what is wrong with a placeholder.
    pub fn read(text: &str) -> Result<Self, String> {
        let part = |piece| match piece {
            Piece::Text(text) => Ok(Part::Text(text.into())),
            Piece::Hole { name, form } => Ok(Part::Hole(Hole { name: name.into(), form: form_of(form)? })),
        };
        Ok(Self { parts: pieces(text).into_iter().map(part).collect::<Result<_, String>>()? })
    }

    /// The placeholders.
    pub fn holes(&self) -> impl Iterator<Item = &Hole> {
        self.parts.iter().filter_map(|part| match part {
            Part::Hole(hole) => Some(hole),
            Part::Text(_) => None,
        })
    }

    /// The single placeholder that is the whole text.
    pub(super) fn lone_hole(&self) -> Option<&Hole> {
        match self.parts.as_slice() {
            [Part::Hole(hole)] => Some(hole),
            _ => None,
        }
    }

    /// The text with every hole filled; the error comes from `fill`.
    pub fn fill<E>(&self, mut fill: impl FnMut(&Hole) -> Result<String, E>) -> Result<String, E> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Hole(hole) => out.push_str(&fill(hole)?),
            }
        }
        Ok(out)
    }
}

impl Body {
    /// The placeholders, nested ones included.
    pub fn holes(&self) -> Vec<&Hole> {
        match self {
            Self::Fixed(_) => Vec::new(),
            Self::Hole(hole) => vec![hole],
            Self::Text(template) => template.holes().collect(),
            Self::List(items) => items.iter().flat_map(Self::holes).collect(),
            Self::Map(items) => items.iter().flat_map(|(_, body)| body.holes()).collect(),
        }
    }

    /// The document with every hole filled; the error comes from `fill`.
    pub fn fill<E>(
        &self,
        fill: &mut impl FnMut(&Hole) -> Result<serde_json::Value, E>,
    ) -> Result<serde_json::Value, E> {
        Ok(match self {
            Self::Fixed(value) => value.clone(),
            Self::Hole(hole) => fill(hole)?,
            Self::Text(template) => template
                .fill(|hole| {
                    fill(hole).map(|value| match value {
                        serde_json::Value::String(text) => text,
                        other => other.to_string(),
                    })
                })?
                .into(),
            Self::List(items) => {
                serde_json::Value::Array(items.iter().map(|item| item.fill(fill)).collect::<Result<_, E>>()?)
            }
            Self::Map(items) => {
                let entry = |(key, body): &(String, Self)| Ok((key.clone(), body.fill(fill)?));
                serde_json::Value::Object(items.iter().map(entry).collect::<Result<_, E>>()?)
            }
        })
    }
}

fn form_of(form: &str) -> Result<HoleForm, String> {
    match form {
        "" => Ok(HoleForm::Plain),
        "int" => Ok(HoleForm::Int),
        "bool" => Ok(HoleForm::Bool),
        "text" => Ok(HoleForm::Text),
        _ => {
            let (digits, hex) = form.strip_suffix('x').map_or((form, false), |digits| (digits, true));
            match digits.strip_prefix('0').and_then(|width| width.parse().ok()) {
                Some(width @ 1..=9) if hex => Ok(HoleForm::Hex(width)),
                Some(width @ 1..=9) => Ok(HoleForm::Pad(width)),
                _ => {
                    Err(format!("`:{form}` is unknown in a placeholder; use :int, :bool, :text, :02 or :02x"))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_found_and_other_brackets_are_text() {
        assert_eq!(
            pieces("a/<id>/<n:02>!"),
            [
                Piece::Text("a/"),
                Piece::Hole { name: "id", form: "" },
                Piece::Text("/"),
                Piece::Hole { name: "n", form: "02" },
                Piece::Text("!"),
            ]
        );
        for text in ["a < b > c", "<", "x<>y", "^(?<id>\\d)$", "^(?P<id>\\d)$"] {
            assert_eq!(pieces(text), [Piece::Text(text)]);
        }
    }

    #[test]
    fn a_template_is_filled() {
        let template = Template::read("MV<value:02>").expect("reads");
        assert_eq!(template.fill(|_| Ok::<_, ()>("07".to_owned())), Ok("MV07".to_owned()));
        assert!(Template::read("<value:3x>").is_err());
    }
}
