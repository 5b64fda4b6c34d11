//! The gpio driver.
