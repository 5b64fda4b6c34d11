//! The serial driver.
