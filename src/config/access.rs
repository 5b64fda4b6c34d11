//! Who may see and do what: deny by default.
//!
//! A rule names people and what they are granted. Rights only add up; nothing takes one away.
//! To *do* something with an appliance includes seeing it, or nobody could tell what happened.
//! Sensitive items (a garage door, a heater) are granted by their full name and by nothing wider.

use super::names::same_room;
use crate::sip::wire::uri::unescape;

/// Somebody whose name was proved, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// A user of the home file, by digest.
    User(String),
    /// An address (`sip:anna@example.org`) that a trusted upstream vouches for. Scheme and host are
    /// compared without case, the user part with it (RFC 3261 section 19.1.4).
    Asserted(String),
}

/// The access rules of the house.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    rules: Vec<Rule>,
    /// What owners granted, beside the home file.
    granted: Vec<Rule>,
}

/// One entry of `access:`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Who is granted something.
    pub who: Vec<Identity>,
    /// What they may watch and ask.
    pub see: Vec<Grant>,
    /// What they may change; includes seeing the appliance.
    pub act: Vec<Grant>,
    /// What they may ask the owners for.
    pub ask: Vec<Grant>,
    /// Of whom else the rule speaks; in what owners granted only.
    pub many: Vec<Many>,
}

/// Everybody for whom an upstream vouches, of one domain or of any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Many {
    /// The domain.
    pub domain: Option<String>,
    /// Addresses that are not meant.
    pub except: Vec<String>,
    /// Domains that are not meant.
    pub except_domains: Vec<String>,
}

/// What a rule covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// `"*"`: every appliance.
    Everything,
    /// `room:kitchen`: every appliance in the room.
    Room(String),
    /// `plug`: everything of one appliance.
    Device(String),
    /// `user:anna`: where a person can be reached. Seen only, and covered by nothing wider.
    User(String),
    /// `plug.power`: one property or action.
    Item {
        /// The appliance.
        device: String,
        /// Its property or action.
        item: String,
    },
}

impl Access {
    /// The rules as they stand in the home file.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules, granted: Vec::new() }
    }

    /// The same rules, and what owners granted now.
    pub fn with(&self, granted: Vec<Rule>) -> Self {
        Self { rules: self.rules.clone(), granted }
    }

    /// Whether any rule lets somebody ask.
    pub fn asks(&self) -> bool {
        self.rules.iter().any(|rule| !rule.ask.is_empty())
    }

    /// Whether `who` may ask the owners to let him watch `device`.
    pub fn may_ask(&self, who: &Identity, device: &str, room: Option<&str>) -> bool {
        self.of(who).any(|rule| rule.ask.iter().any(|grant| grant.touches(device, room)))
    }

    /// Whether `who` may decide who else watches `device`: by the home file alone, as a grant is nothing to
    /// grant from.
    pub fn may_decide(&self, who: &Identity, device: &str, room: Option<&str>) -> bool {
        let mut rules = self.rules.iter().filter(|rule| rule.speaks_of(who));
        rules.any(|rule| rule.see.iter().chain(&rule.act).any(|grant| grant.touches(device, room)))
    }

    /// Whether `who` may know that `device` exists: something of it is granted.
    pub fn may_see(&self, who: &Identity, device: &str, room: Option<&str>) -> bool {
        self.of(who).any(|rule| rule.see.iter().chain(&rule.act).any(|grant| grant.touches(device, room)))
    }

    /// Whether `who` may read `property` of `device`.
    pub fn may_see_property(&self, who: &Identity, device: &str, room: Option<&str>, property: &str) -> bool {
        self.of(who).any(|rule| {
            rule.see.iter().any(|grant| grant.covers(device, room, property))
                || rule.act.iter().any(|grant| grant.touches(device, room))
        })
    }

    /// Whether `who` may do anything with `device`.
    pub fn may_act(&self, who: &Identity, device: &str, room: Option<&str>) -> bool {
        self.of(who).any(|rule| rule.act.iter().any(|grant| grant.touches(device, room)))
    }

    /// Whether `who` may set the property or start the action `item` of `device`.
    pub fn may_do(
        &self,
        who: &Identity,
        device: &str,
        room: Option<&str>,
        item: &str,
        sensitive: bool,
    ) -> bool {
        self.of(who).any(|rule| {
            rule.act.iter().any(|grant| match sensitive {
                true => grant.names(device, item),
                false => grant.covers(device, room, item),
            })
        })
    }

    /// Whether `who` may watch the presence of the user `person`. Everybody may watch their own.
    pub fn may_watch(&self, who: &Identity, person: &str) -> bool {
        let own = matches!(who, Identity::User(name) if name == person);
        let named = |grant: &Grant| matches!(grant, Grant::User(granted) if granted == person);
        own || self.of(who).any(|rule| rule.see.iter().any(named))
    }

    /// The rules that speak of `who`.
    fn of<'a>(&'a self, who: &'a Identity) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().chain(&self.granted).filter(|rule| rule.speaks_of(who))
    }
}

impl Rule {
    fn speaks_of(&self, who: &Identity) -> bool {
        self.who.iter().any(|known| known.is(who)) || self.many.iter().any(|many| many.means(who))
    }
}

impl Many {
    fn means(&self, who: &Identity) -> bool {
        let Identity::Asserted(address) = who else { return false };
        let host = split_address(address).map(|(_, _, host)| host);
        let inside = |domain: &String| host.is_some_and(|host| host.eq_ignore_ascii_case(domain));
        self.domain.as_ref().is_none_or(inside)
            && !self.except.iter().any(|except| same_person(except, address))
            && !self.except_domains.iter().any(inside)
    }
}

impl Identity {
    /// Whether both are the same somebody. A user and an address are never the same, even when
    /// the user part reads alike: they were proved differently.
    fn is(&self, other: &Identity) -> bool {
        match (self, other) {
            (Identity::User(a), Identity::User(b)) => a == b,
            (Identity::Asserted(a), Identity::Asserted(b)) => same_address(a, b),
            _ => false,
        }
    }
}

fn same_address(a: &str, b: &str) -> bool {
    match (split_address(a), split_address(b)) {
        (Some((scheme_a, user_a, host_a)), Some((scheme_b, user_b, host_b))) => {
            scheme_a.eq_ignore_ascii_case(scheme_b) && user_a == user_b && host_a.eq_ignore_ascii_case(host_b)
        }
        _ => false,
    }
}

/// Whether an exception means somebody: `sip` and `sips` alike, and whatever is escaped, as it takes away.
fn same_person(except: &str, address: &str) -> bool {
    match (split_address(except.trim()), split_address(address)) {
        (Some((_, user_a, host_a)), Some((_, user_b, host_b))) => {
            unescape(user_a) == unescape(user_b) && host_a.eq_ignore_ascii_case(host_b)
        }
        _ => false,
    }
}

/// `sip:anna@example.org` as scheme, user and host.
fn split_address(address: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = address.split_once(':')?;
    let (user, host) = rest.split_once('@')?;
    Some((scheme, user, host))
}

impl Grant {
    /// Whether exactly this item is named.
    fn names(&self, device: &str, item: &str) -> bool {
        matches!(self, Grant::Item { device: d, item: i } if d == device && i == item)
    }

    /// Whether the item is included.
    fn covers(&self, device: &str, room: Option<&str>, item: &str) -> bool {
        match self {
            Grant::Everything => true,
            Grant::Room(granted) => room.is_some_and(|room| same_room(granted, room)),
            Grant::Device(granted) => granted == device,
            Grant::User(_) => false,
            Grant::Item { .. } => self.names(device, item),
        }
    }

    /// Whether anything of the appliance is included.
    fn touches(&self, device: &str, room: Option<&str>) -> bool {
        match self {
            Grant::Item { device: granted, .. } => granted == device,
            _ => self.covers(device, room, ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLUG: (&str, Option<&str>) = ("plug", Some("Living room"));
    const GARAGE: (&str, Option<&str>) = ("garage", Some("Outside"));
    const BARE: (&str, Option<&str>) = ("bare", None);

    fn anna() -> Identity {
        Identity::User("anna".into())
    }

    fn item(device: &str, item: &str) -> Grant {
        Grant::Item { device: device.into(), item: item.into() }
    }

    fn access(see: Vec<Grant>, act: Vec<Grant>) -> Access {
        Access::new(vec![Rule { who: vec![anna()], see, act, ..Rule::default() }])
    }

    /// What a grant opens, for each appliance and kind of right.
    /// Columns: see the appliance, see `power`, see `watts`, do `power`, do sensitive `power`.
    fn row(access: &Access, who: &Identity, (device, room): (&str, Option<&str>)) -> String {
        let cells = [
            access.may_see(who, device, room),
            access.may_see_property(who, device, room, "power"),
            access.may_see_property(who, device, room, "watts"),
            access.may_do(who, device, room, "power", false),
            access.may_do(who, device, room, "power", true),
        ];
        cells.map(|yes| if yes { 'x' } else { '-' }).iter().collect()
    }

    #[test]
    fn every_kind_of_grant_opens_exactly_what_it_says() {
        let room = || Grant::Room("living-room".into());
        let device = || Grant::Device("plug".into());
        // grant, kind, plug, garage, an appliance without a room
        let table: [(Grant, bool, [&str; 3]); 8] = [
            (Grant::Everything, false, ["xxx--", "xxx--", "xxx--"]),
            (Grant::Everything, true, ["xxxx-", "xxxx-", "xxxx-"]),
            (room(), false, ["xxx--", "-----", "-----"]),
            (room(), true, ["xxxx-", "-----", "-----"]),
            (device(), false, ["xxx--", "-----", "-----"]),
            (device(), true, ["xxxx-", "-----", "-----"]),
            (item("plug", "power"), false, ["xx---", "-----", "-----"]),
            (item("plug", "power"), true, ["xxxxx", "-----", "-----"]),
        ];
        for (grant, act, rows) in table {
            let list = vec![grant.clone()];
            let access = if act { access(vec![], list) } else { access(list, vec![]) };
            for (appliance, expected) in [PLUG, GARAGE, BARE].into_iter().zip(rows) {
                assert_eq!(row(&access, &anna(), appliance), expected, "{grant:?} act={act} {appliance:?}");
            }
        }
    }

    #[test]
    fn nobody_else_gains_from_a_rule() {
        let access = access(vec![Grant::Everything], vec![Grant::Everything, item("garage", "open")]);
        let strangers = [
            Identity::User("ben".into()),
            Identity::User("Anna".into()),
            Identity::User(String::new()),
            Identity::Asserted("anna".into()),
            Identity::Asserted("sip:anna@example.org".into()),
        ];
        for who in strangers {
            for appliance in [PLUG, GARAGE, BARE] {
                assert_eq!(row(&access, &who, appliance), "-----", "{who:?}");
            }
            assert!(!access.may_do(&who, "garage", None, "open", true));
        }
    }

    #[test]
    fn people_are_seen_by_their_own_name_alone() {
        let ben = Identity::User("ben".into());
        let wide = access(vec![Grant::Everything, Grant::Device("ben".into())], vec![Grant::Everything]);
        assert!(wide.may_watch(&anna(), "anna") && !wide.may_watch(&anna(), "ben"));
        let named = access(vec![Grant::User("ben".into())], vec![]);
        assert!(named.may_watch(&anna(), "ben") && !named.may_watch(&ben, "anna"));
        assert_eq!(row(&named, &anna(), ("ben", None)), "-----", "a person is no appliance");
        assert!(!wide.may_watch(&Identity::Asserted("sip:anna@home.example".into()), "anna"));
    }

    #[test]
    fn an_exception_means_somebody_in_every_spelling() {
        let many = Many {
            domain: Some("p.example".into()),
            except: vec!["sip:eve@p.example".into()],
            except_domains: vec![],
        };
        let granted = Rule { many: vec![many], see: vec![Grant::Device("plug".into())], ..Rule::default() };
        let access = Access::default().with(vec![granted]);
        for (address, seen) in [
            ("sip:bob@p.example", true),
            ("sip:eve@p.example", false),
            ("sips:eve@P.example", false),
            ("sip:%65ve@p.example", false),
            ("sip:bob@q.example", false),
        ] {
            assert_eq!(access.may_see(&Identity::Asserted(address.into()), "plug", None), seen, "{address}");
        }
        assert!(!access.may_decide(&Identity::Asserted("sip:bob@p.example".into()), "plug", None));
    }

    /// Proves: AUTH-1
    #[test]
    fn without_rules_nothing_is_allowed() {
        assert_eq!(row(&Access::default(), &anna(), PLUG), "-----");
    }

    /// Proves: AUTH-6
    #[test]
    fn a_sensitive_item_needs_its_own_name() {
        let wide = vec![Grant::Everything, Grant::Room("Outside".into()), Grant::Device("garage".into())];
        let (device, room) = GARAGE;
        let access_wide = access(wide, vec![item("garage", "close"), item("plug", "open")]);
        assert!(!access_wide.may_do(&anna(), device, room, "open", true));
        assert!(access_wide.may_do(&anna(), device, room, "close", true));
        // Seeing it by name gives no right to move it.
        let seen = access(vec![item("garage", "open")], vec![]);
        assert!(!seen.may_do(&anna(), device, room, "open", true));
        assert!(!seen.may_do(&anna(), device, room, "open", false));
    }

    /// Proves: AUTH-2
    #[test]
    fn rights_of_several_rules_add_up() {
        let rule = |see, act| Rule { who: vec![anna()], see, act, ..Rule::default() };
        let access = Access::new(vec![
            rule(vec![Grant::Device("plug".into())], vec![]),
            rule(vec![], vec![item("garage", "open")]),
        ]);
        assert_eq!(row(&access, &anna(), PLUG), "xxx--");
        assert!(access.may_do(&anna(), "garage", None, "open", true));
    }

    #[test]
    fn addresses_compare_as_sip_addresses() {
        let access = Access::new(vec![Rule {
            who: vec![Identity::Asserted("sip:anna@example.org".into())],
            see: vec![Grant::Everything],
            ..Rule::default()
        }]);
        let sees = |address: &str| access.may_see(&Identity::Asserted(address.into()), "plug", None);
        assert!(sees("sip:anna@example.org"));
        assert!(sees("SIP:anna@EXAMPLE.org"));
        assert!(!sees("sip:Anna@example.org"));
        assert!(!sees("sips:anna@example.org"));
        assert!(!sees("sip:anna@example.org.evil.test"));
        assert!(!sees("sip:example.org"));
        assert!(!sees("anna@example.org"));
    }

    #[test]
    fn rooms_match_by_name_or_id() {
        let access = access(vec![Grant::Room("kueche".into())], vec![]);
        assert!(access.may_see(&anna(), "plug", Some("Küche")));
        assert!(!access.may_see(&anna(), "plug", Some("Keller")));
        assert!(!access.may_see(&anna(), "plug", None));
    }
}
