//! Names that become addresses: ids, users, rooms and numbers share one namespace, the user part of
//! `sip:…@home.local`.

/// Longest id in bytes.
pub const ID_BYTES: usize = 64;

/// Whether `id` can be the user part of an address and a part of a topic: lower-case letters,
/// digits, `.`, `_` and `-`, beginning with a letter or a digit.
pub fn is_id(id: &str) -> bool {
    id.len() <= ID_BYTES
        && id.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-'))
}

/// The id of a room out of its name: `Living room` is `living-room`, `Küche` is `kueche`.
pub fn room_id(name: &str) -> String {
    room_chars(name).collect()
}

/// Whether two names mean the same room; each may be a name or an id. Allocates nothing.
pub fn same_room(a: &str, b: &str) -> bool {
    room_chars(a).eq(room_chars(b))
}

fn room_chars(name: &str) -> impl Iterator<Item = char> {
    name.trim().chars().flat_map(fold)
}

/// A character of a room's name as characters of an id.
fn fold(c: char) -> impl Iterator<Item = char> {
    let latin = match c {
        'ä' | 'Ä' | 'æ' | 'Æ' => "ae",
        'ö' | 'Ö' | 'ø' | 'Ø' | 'œ' | 'Œ' => "oe",
        'ü' | 'Ü' => "ue",
        'ß' => "ss",
        'å' | 'Å' | 'á' | 'à' | 'â' | 'ã' | 'ą' | 'Á' | 'À' | 'Â' | 'Ã' | 'Ą' => "a",
        'ç' | 'č' | 'ć' | 'Ç' | 'Č' | 'Ć' => "c",
        'é' | 'è' | 'ê' | 'ë' | 'ě' | 'ę' | 'É' | 'È' | 'Ê' | 'Ë' | 'Ě' | 'Ę' => "e",
        'í' | 'ì' | 'î' | 'ï' | 'Í' | 'Ì' | 'Î' | 'Ï' => "i",
        'ł' | 'Ł' => "l",
        'ñ' | 'ń' | 'ň' | 'Ñ' | 'Ń' | 'Ň' => "n",
        'ó' | 'ò' | 'ô' | 'õ' | 'Ó' | 'Ò' | 'Ô' | 'Õ' => "o",
        'ř' | 'Ř' => "r",
        'š' | 'ś' | 'Š' | 'Ś' => "s",
        'ú' | 'ù' | 'û' | 'ů' | 'Ú' | 'Ù' | 'Û' | 'Ů' => "u",
        'ý' | 'Ý' => "y",
        'ž' | 'ź' | 'ż' | 'Ž' | 'Ź' | 'Ż' => "z",
        ' ' => "-",
        _ => "",
    };
    latin.chars().chain(latin.is_empty().then_some(c.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_fit_an_address_and_a_topic() {
        for id in ["plug", "washer-meter", "0", "a.b_c-9"] {
            assert!(is_id(id), "{id}");
        }
        let long = "a".repeat(ID_BYTES + 1);
        for id in ["", "Plug", "a b", "a/b", "a+b", "a#b", "a@b", "a:b", "a;b", "küche", "-a", ".a", &long] {
            assert!(!is_id(id), "{id}");
        }
    }

    #[test]
    fn room_names_become_ids() {
        assert_eq!(room_id("Living room"), "living-room");
        assert_eq!(room_id(" Küche "), "kueche");
        assert!(is_id(&room_id("Büro 2")));
        assert!(!is_id(&room_id("部屋")));
        assert!(same_room("Living room", "living-room"));
        assert!(!same_room("Living room", "living-rooms"));
    }
}
