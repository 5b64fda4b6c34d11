//! The home file.
