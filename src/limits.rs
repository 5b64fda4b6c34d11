//! Every bound of the gateway in one place. Each says what happens when it is reached.

use std::time::Duration;

/// Longest header section of a SIP message in bytes; more is answered 513 and, on a stream, the
/// connection is closed.
pub const HEADER_BYTES: usize = 16 * 1024;
/// Most header fields in one message; more is answered 400.
pub const HEADERS: usize = 128;
/// Longest body in bytes; more is answered 513 and, on a stream, the connection is closed.
pub const BODY_BYTES: usize = 64 * 1024;
/// Nonces that were used and are remembered; when it is full, the oldest and all of its age become
/// void, and their users are challenged again.
pub const NONCES: usize = 8192;
/// Pairs of user name and source whose wrong guesses are counted; when it is full, the one with the
/// fewest is forgotten.
pub const GUESSERS: usize = 1024;
/// Wrong guesses before the next is made to wait.
pub const FREE_GUESSES: u32 = 20;
/// How many times as long as an unproven datagram its answer may be; a longer one is not sent.
pub const AMPLIFICATION: usize = 3;
/// Server transactions that are remembered; when it is full, the oldest answered one that moved
/// nothing is forgotten, and where there is none, the request gets 503.
pub const SERVER_TRANSACTIONS: usize = 4096;
/// Subscriptions in all; one more is answered 503.
pub const SUBSCRIPTIONS: usize = 32 * 1024;
/// Subscriptions of one user; one more is answered 403. A phone that restarts replaces its own.
pub const SUBSCRIPTIONS_PER_USER: usize = 24 * 1024;
/// The longest Retry-After that is obeyed, in seconds.
pub const RETRY_AFTER: u32 = 3600;
/// Contacts of one user at the registrar; one more is answered 403.
pub const CONTACTS_PER_USER: usize = 10;
/// Longest parameters of one Contact of a REGISTER in bytes; longer ones are answered 400.
pub const CONTACT_PARAMS: usize = 1024;
/// Presence documents that one user may publish at once; one more is answered 503.
pub const DOCUMENTS_PER_USER: usize = 16;
/// Tuples of one published presence document; more is answered 413. A person is told with as many at
/// most, the newest.
pub const PERSON_TUPLES: usize = 32;
/// Momentary events that wait for one watcher; when it is full, the oldest is lost to that watcher.
pub const MOMENTS: usize = 16;
/// How long a message on a stream may take to become complete; then the connection is closed.
pub const MESSAGE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may stay without anybody proving a name over it; then it is closed.
pub const UNPROVEN_IDLE: Duration = Duration::from_secs(30);
/// Commands that are remembered, so that the second branch of a fork is refused; the oldest is forgotten.
pub const RECENT_COMMANDS: usize = 1024;
/// Commands that one person may give at once; one more is answered 503.
pub const COMMAND_BURST: f64 = 120.0;
/// How fast that allowance comes back.
pub const COMMANDS_PER_SECOND: f64 = 4.0;
/// People whose pace is remembered; when it is full, those who are at rest are forgotten.
pub const PACED: usize = 1024;
/// Longest text of one reply MESSAGE in bytes, so that it fits a datagram (RFC 3428 §8).
pub const REPLY_BYTES: usize = 700;
/// Longest user part that is looked at as an encoded or encrypted name, in bytes; a longer one names
/// nothing.
pub const ADDRESS_BYTES: usize = 512;
/// How old a DO may be, in seconds, where it says so; an older one is answered 400.
pub const DO_AGE: i64 = 300;
/// Most things that one request does: members of a group, or items of a document. More does nothing
/// and is answered 413.
pub const BATCH_ITEMS: usize = 32;
/// Requests to several appliances that are under way; one more is answered 503.
pub const BATCHES: usize = 64;
/// How long such a request may take. Then it is answered: what is under way as not known, what has not
/// begun as not done. A transaction lives 32 s.
pub const BATCH_TIME: Duration = Duration::from_secs(25);
/// Words of a spoken appliance name that are looked at.
pub const NAME_WORDS: usize = 6;
/// Longest text value in bytes; a longer one is refused from people and dropped from devices.
pub const TEXT_BYTES: usize = 256;
/// Longest id in a profile in bytes; a longer one is a fault.
pub const ID_BYTES: usize = 40;
/// Most properties, actions and events in one profile, each; more is a fault.
pub const PROFILE_ITEMS: usize = 64;
/// Most steps of one action, alternatives of one read, or `hello` queries; more is a fault.
pub const PROFILE_STEPS: usize = 16;
/// Longest `confirm`, `within`, `timeout`; longer is a fault.
pub const PROFILE_WAIT: Duration = Duration::from_secs(600);
/// Largest compiled pattern of a profile in bytes; a larger one is a fault.
pub const PATTERN_BYTES: usize = 256 * 1024;
/// Most tests in one profile; more is a fault.
pub const PROFILE_TESTS: usize = 256;
/// How much time the tests of a profile may let pass, all together; more is a fault.
pub const TEST_TIME: Duration = Duration::from_secs(6 * 3600);
/// Queries that wait for one serial port; one more is left out, it comes again with its period.
pub const QUERIES: usize = 64;
/// Longest text that is looked at as a command in bytes; a longer one is none.
pub const WORDS_BYTES: usize = 512;
/// Subscriptions with filters; one more is answered 503.
pub const FILTERED: usize = 1024;
/// Longest filter document in bytes; a longer one is answered 413.
pub const FILTER_BYTES: usize = 8 * 1024;
/// Alerts that are remembered; when it is full, the oldest that was seen is forgotten.
pub const ALERTS: usize = 64;
/// Publications that are kept; one more is answered 503.
pub const PUBLICATIONS: usize = 256;
/// How often we ask phones to show that their flow lives, in seconds, where they offer it for a dialog (RFC 6223):
/// routers forget a silent one after 30 s.
pub const KEEP: u32 = 30;
/// Devices that hang on other gateways; one more is a fault of the home file.
pub const REMOTES: usize = 128;
/// Commands under way to other gateways; one more is answered as busy.
pub const REMOTE_ORDERS: usize = 256;
/// Watchers that gave up before an owner decided and are remembered; when it is full, the oldest is
/// given up.
pub const WAITING: usize = 128;
/// The same for one person.
pub const WAITING_PER_USER: usize = 8;
/// Watchers that ended and are remembered for watcher information; when it is full, the oldest is
/// forgotten, and whoever was not told of it yet is told everything anew.
pub const WATCHERS_ENDED: usize = 256;
/// Watchers in one document of watcher information; the others follow in the next one.
pub const WATCHERS_TOLD: usize = 128;
/// Requests to watch that wait for an owner; one more is pending, and nobody is asked.
pub const REQUESTS: usize = 64;
/// The same for one person.
pub const REQUESTS_PER_USER: usize = 8;
/// Entries of one list that somebody wrote, lists within it included; one more is refused.
pub const LIST_ENTRIES: usize = 256;
/// Lists that people wrote and watch, in all; one more is answered 503.
pub const CUSTOM_LISTS: usize = 1024;
/// The same of one user.
pub const CUSTOM_LISTS_PER_USER: usize = 64;
/// Documents that people wrote, in bytes, all together; what would be more is refused with 507.
pub const KEPT_BYTES: usize = 4 * 1024 * 1024;
/// Appliances that are announced to Home Assistant over one broker; one more is a fault of the home file.
pub const ANNOUNCED: usize = 256;
/// Publications of them that wait for the broker's answer; the next is made when one has it.
pub const TELLING: usize = 8;
/// Events of appliances that wait for it beside them; one more is lost to Home Assistant, and counted.
pub const TELLING_EVENTS: usize = 8;
/// Longest payload of a command from Home Assistant in bytes; a longer one is dropped and counted.
pub const HASS_PAYLOAD: usize = 512;
/// Topics of appliances that are gone and wait to be cleared; when it is full, the rest stays until a restart.
pub const CLEARING: usize = 1024;
/// Longest state of a list in one NOTIFY, in bytes; more comes in several, each of which fits a datagram
/// of IPv4 with its header fields, and peers that take no body over 64 KB.
pub const LIST_STATE: usize = 60_000;

/// How long a request waits for an answer (Timer F): a flow that answered anything meanwhile lives.
pub const SILENCE: Duration = Duration::from_secs(32);
