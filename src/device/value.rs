//! Values of properties.
