//! Device profiles.

/// A profile made concrete for one device.
#[derive(Debug)]
pub struct Model {}
