//! Secrets live outside the main file.
