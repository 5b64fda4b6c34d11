//! Value maps: text on one side, values on the other, both compared as text.

use std::sync::Arc;

use crate::device::value::Value;

/// Pairs of a wire text and a value, in the order of the profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    pairs: Vec<(Arc<str>, Value)>,
    torn: bool,
}

impl Map {
    /// A map of these pairs.
    pub fn new(pairs: Vec<(Arc<str>, Value)>) -> Self {
        Self { pairs, torn: false }
    }

    /// The same, where some pairs were faulty and are left out.
    pub(super) fn torn(self, torn: bool) -> Self {
        Self { torn, ..self }
    }

    /// Whether nothing was left out.
    pub(super) fn is_whole(&self) -> bool {
        !self.torn
    }

    /// The value of a wire text.
    pub fn value(&self, wire: &str) -> Option<&Value> {
        self.pairs.iter().find(|(text, _)| &**text == wire).map(|(_, value)| value)
    }

    /// The first wire text of a value.
    pub fn wire(&self, value: &Value) -> Option<&Arc<str>> {
        self.pairs.iter().find(|(_, candidate)| candidate == value).map(|(text, _)| text)
    }

    /// Every wire text with its value.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.pairs.iter().map(|(text, value)| (&**text, value))
    }

    /// The values that have a wire text.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.pairs.iter().map(|(_, value)| value)
    }
}
