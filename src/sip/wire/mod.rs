//! Bytes to messages and back.
//!
//! Parsing finds spans and allocates nothing. A fault in one header does not hide the rest of the
//! message: it is kept beside it, so that the layer above can answer 400, 416, 420 or 505.

pub mod address;
pub mod check;
pub mod frame;
pub mod message;
pub mod method;
pub mod name;
pub mod params;
pub mod text;
pub mod uri;
pub mod value;
pub mod via;
pub mod write;

pub use address::Address;
pub use check::Fault;
pub use message::{Message, Start};
pub use method::Method;
pub use name::Name;
pub use params::Params;
pub use uri::Uri;
pub use via::Via;
pub use write::Writer;
