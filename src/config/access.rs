//! Who may see and do what: deny by default.

/// The access rules of the house.
#[derive(Clone, Debug, Default)]
pub struct Access {}
