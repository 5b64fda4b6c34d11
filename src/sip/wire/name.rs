//! Header field names, long and compact.

macro_rules! names {
    ($($variant:ident = $long:literal $(/ $compact:literal)?),* $(,)?) => {
        /// A header field name that the gateway knows; all others are [`Name::Other`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each variant is the header field of that name")]
        pub enum Name {
            $($variant,)*
            Other,
        }

        impl Name {
            /// Recognizes a name, in any case, long or compact (RFC 3261 §7.3.3).
            pub fn new(name: &[u8]) -> Self {
                $(
                    if name.eq_ignore_ascii_case($long.as_bytes()) $(|| name.eq_ignore_ascii_case($compact))? {
                        return Self::$variant;
                    }
                )*
                Self::Other
            }

            /// The long form.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $long,)*
                    Self::Other => "?",
                }
            }
        }
    };
}

// The order is the order of comparison: the fields of every message first.
names! {
    Via = "Via" / b"v",
    From = "From" / b"f",
    To = "To" / b"t",
    CallId = "Call-ID" / b"i",
    CSeq = "CSeq",
    Contact = "Contact" / b"m",
    ContentLength = "Content-Length" / b"l",
    MaxForwards = "Max-Forwards",
    Event = "Event" / b"o",
    Expires = "Expires",
    Authorization = "Authorization",
    UserAgent = "User-Agent",
    Accept = "Accept",
    ContentType = "Content-Type" / b"c",
    Supported = "Supported" / b"k",
    Allow = "Allow",
    Route = "Route",
    RecordRoute = "Record-Route",
    SubscriptionState = "Subscription-State",
    AllowEvents = "Allow-Events" / b"u",
    ProxyAuthorization = "Proxy-Authorization",
    WwwAuthenticate = "WWW-Authenticate",
    ProxyAuthenticate = "Proxy-Authenticate",
    AuthenticationInfo = "Authentication-Info",
    Require = "Require",
    ProxyRequire = "Proxy-Require",
    Unsupported = "Unsupported",
    Date = "Date",
    Timestamp = "Timestamp",
    MinExpires = "Min-Expires",
    RetryAfter = "Retry-After",
    ContentEncoding = "Content-Encoding" / b"e",
    ContentDisposition = "Content-Disposition",
    Path = "Path",
    ServiceRoute = "Service-Route",
    FlowTimer = "Flow-Timer",
    PAssertedIdentity = "P-Asserted-Identity",
    Privacy = "Privacy",
    SipETag = "SIP-ETag",
    SipIfMatch = "SIP-If-Match",
    SuppressIfMatch = "Suppress-If-Match",
    Subject = "Subject" / b"s",
    Server = "Server",
    Reason = "Reason",
    Warning = "Warning",
    Priority = "Priority",
    ReferTo = "Refer-To" / b"r",
    Replaces = "Replaces",
    MimeVersion = "MIME-Version",
    Organization = "Organization",
}
