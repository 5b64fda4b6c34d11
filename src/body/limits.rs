//! Every bound of the body formats. What goes beyond one is refused with [`Fault::TooMuch`], so that
//! the sender hears of it; nothing is cut silently.
//!
//! [`Fault::TooMuch`]: super::Fault::TooMuch

/// Longest document in bytes, the same as the longest SIP body.
pub const DOCUMENT_BYTES: usize = crate::limits::BODY_BYTES;
/// Deepest nesting of XML elements.
pub const XML_DEPTH: usize = 16;
/// Most elements in one XML document.
pub const XML_ELEMENTS: usize = 2000;
/// Most attributes of one element, namespace declarations included.
pub const XML_ATTRIBUTES: usize = 32;
/// Longest text directly inside one element, and longest attribute value, in bytes.
pub const XML_TEXT_BYTES: usize = 16 * 1024;
/// Most tuples, atoms or contacts in one presence document.
pub const TUPLES: usize = 256;
/// Most message classes or folders in one message summary.
pub const SUMMARIES: usize = 64;
/// Most watchers in one watcher list.
pub const WATCHERS: usize = 512;
/// Deepest nesting of lists in lists and groups in groups.
pub const LIST_DEPTH: usize = 8;
/// Most parts of one multipart body.
pub const PARTS: usize = 512;
/// Longest multipart boundary in bytes (RFC 2046 §5.1.1).
pub const BOUNDARY_BYTES: usize = 70;
/// Longest header section of one part in bytes.
pub const PART_HEADER_BYTES: usize = 4096;
/// Most devices, and most actions for one device, in one DMP document.
pub const DMP_ITEMS: usize = 256;
/// Most filters in one filter set, and most selections in one filter.
pub const FILTERS: usize = 32;
/// Most steps of one selection, and most conditions of one step.
pub const SELECTION_STEPS: usize = 16;
/// Most rules in one ruleset.
pub const RULES: usize = 256;
/// Most records in one SenML pack.
pub const SENML_RECORDS: usize = 1000;
/// Longest resolved SenML name in bytes.
pub const SENML_NAME_BYTES: usize = 256;
