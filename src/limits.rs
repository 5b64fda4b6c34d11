//! Every bound of the gateway in one place. Each says what happens when it is reached.

/// Longest header section of a SIP message in bytes; more is answered 513 and, on a stream, the
/// connection is closed.
pub const HEADER_BYTES: usize = 16 * 1024;
/// Most header fields in one message; more is answered 400.
pub const HEADERS: usize = 128;
/// Longest body in bytes; more is answered 513 and, on a stream, the connection is closed.
pub const BODY_BYTES: usize = 64 * 1024;
