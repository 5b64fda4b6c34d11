//! The mqtt driver.
