//! Request methods. Unknown ones survive as text.

/// A method; names are case-sensitive (RFC 3261 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is the method of that name")]
pub enum Method<'a> {
    Invite,
    Ack,
    Bye,
    Cancel,
    Register,
    Options,
    Subscribe,
    Notify,
    Message,
    Publish,
    Info,
    Refer,
    Update,
    Prack,
    /// draft-tsang-sip-appliances-do: act on an appliance without a session.
    Do,
    /// draft-rosenberg-impp-qauth: ask an authorizer.
    Qauth,
    Other(&'a str),
}

impl<'a> Method<'a> {
    /// Reads a method name.
    pub fn new(name: &'a str) -> Self {
        match name {
            "INVITE" => Self::Invite,
            "ACK" => Self::Ack,
            "BYE" => Self::Bye,
            "CANCEL" => Self::Cancel,
            "REGISTER" => Self::Register,
            "OPTIONS" => Self::Options,
            "SUBSCRIBE" => Self::Subscribe,
            "NOTIFY" => Self::Notify,
            "MESSAGE" => Self::Message,
            "PUBLISH" => Self::Publish,
            "INFO" => Self::Info,
            "REFER" => Self::Refer,
            "UPDATE" => Self::Update,
            "PRACK" => Self::Prack,
            "DO" => Self::Do,
            "QAUTH" => Self::Qauth,
            other => Self::Other(other),
        }
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'a str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Register => "REGISTER",
            Self::Options => "OPTIONS",
            Self::Subscribe => "SUBSCRIBE",
            Self::Notify => "NOTIFY",
            Self::Message => "MESSAGE",
            Self::Publish => "PUBLISH",
            Self::Info => "INFO",
            Self::Refer => "REFER",
            Self::Update => "UPDATE",
            Self::Prack => "PRACK",
            Self::Do => "DO",
            Self::Qauth => "QAUTH",
            Self::Other(name) => name,
        }
    }
}
