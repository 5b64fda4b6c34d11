//! Why a document stays as it is: `application/xcap-error+xml` (RFC 4825 §11).

use super::Answer;
use crate::body::fault::{At, Fault};
use crate::body::xml::Writer;

const CONTENT_TYPE: &str = "application/xcap-error+xml";
const NS: &str = "urn:ietf:params:xml:ns:xcap-error";

/// A request that the document does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    /// The text is no XML.
    NotWellFormed(String),
    /// The text is not UTF-8.
    NotUtf8,
    /// What should be an element is none.
    NotFragment(String),
    /// What should be the value of an attribute is none.
    NotValue,
    /// The document would not keep its format.
    Schema(String),
    /// Two things would have the same name.
    Unique(String),
    /// The document would keep its format, and yet it is not taken.
    Constraint(String),
    /// What is to be put in has no parent there.
    NoParent,
    /// What is put in could not be found there again.
    CannotInsert,
    /// After it was taken out, something else would be in its place.
    CannotDelete,
}

impl Conflict {
    /// A document that is no XML.
    pub fn of_document(why: &Fault) -> Self {
        match why {
            Fault::Syntax { why, .. } if why.contains("UTF-8") => Self::NotUtf8,
            Fault::TooMuch { at: At::Body, .. } => Self::Constraint(why.to_string()),
            _ => Self::NotWellFormed(why.to_string()),
        }
    }

    /// The answer.
    pub fn answer(&self, parent: &str) -> Answer {
        let mut w = Writer::new();
        w.tag("xcap-error").attr("xmlns", NS).open();
        match self {
            Self::NotWellFormed(phrase) => w.tag("not-well-formed").attr("phrase", phrase).empty(),
            Self::NotUtf8 => w.tag("not-utf-8").empty(),
            Self::NotFragment(phrase) => w.tag("not-xml-frag").attr("phrase", phrase).empty(),
            Self::NotValue => w.tag("not-xml-att-value").empty(),
            Self::Schema(phrase) => w.tag("schema-validation-error").attr("phrase", phrase).empty(),
            Self::Constraint(phrase) => w.tag("constraint-failure").attr("phrase", phrase).empty(),
            Self::CannotInsert => w.tag("cannot-insert").empty(),
            Self::CannotDelete => w.tag("cannot-delete").empty(),
            Self::Unique(field) => {
                w.tag("uniqueness-failure").open();
                w.tag("exists").attr("field", field).empty();
                w.close();
            }
            Self::NoParent => {
                w.tag("no-parent").open();
                w.leaf("ancestor", parent);
                w.close();
            }
        }
        Answer::new(409).with_body(CONTENT_TYPE, w.finish())
    }
}
