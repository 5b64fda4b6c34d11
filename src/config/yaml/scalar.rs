//! What a scalar without quotes means: the YAML 1.2 core schema, and where older tools differ.

use super::Data;

/// The value of a plain scalar, and its text where printing the value again would lose something.
pub(super) fn resolve(text: &str) -> (Data, Option<Box<str>>) {
    let data = match text {
        "" | "~" | "null" | "Null" | "NULL" => Data::Null,
        "true" | "True" | "TRUE" => Data::Bool(true),
        "false" | "False" | "FALSE" => Data::Bool(false),
        _ => number(text).unwrap_or_else(|| Data::Text { text: text.to_owned(), quoted: false }),
    };
    let raw = match &data {
        Data::Bool(value) => (value.to_string() != text).then(|| text.into()),
        Data::Int(value) => (value.to_string() != text).then(|| text.into()),
        Data::Float(_) => Some(text.into()),
        _ => None,
    };
    (data, raw)
}

fn number(text: &str) -> Option<Data> {
    let special = match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Some(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Some(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => Some(f64::NAN),
        _ => None,
    };
    if let Some(value) = special {
        return Some(Data::Float(value));
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            let all_digits = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
            return all_digits.then(|| i64::from_str_radix(digits, radix).ok()).flatten().map(Data::Int);
        }
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map(Data::Int).or_else(|_| text.parse().map(Data::Float)).ok();
    }
    is_decimal(unsigned).then(|| text.parse().ok()).flatten().map(Data::Float)
}

/// `.5`, `1.`, `1.5`, `1e3`: digits with at most one point and at most one exponent.
fn is_decimal(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|text| {
        let text = text.strip_prefix(['-', '+']).unwrap_or(text);
        !text.is_empty() && digits(text)
    });
    digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty()) && exponent_fits
}

/// Warns where a YAML 1.1 tool reads something else than [`resolve`]: message and help.
pub(super) fn other_reading(text: &str, is_key: bool) -> Option<(String, String)> {
    let lower = text.to_ascii_lowercase();
    let one_case = text == lower
        || text == text.to_ascii_uppercase()
        || text.get(..1).is_some_and(|first| first == first.to_ascii_uppercase())
            && text.get(1..) == lower.get(1..);
    let meaning = match lower.as_str() {
        "on" | "yes" if one_case => "true",
        "off" | "no" if one_case => "false",
        _ if is_key => return None,
        _ if octal(text) => "an octal number",
        _ if base_sixty(text) => "a number in base sixty",
        _ => return None,
    };
    let message = format!("`{text}` without quotes is read as {meaning} by YAML 1.1 tools");
    let help = if is_key || meaning.contains("number") {
        format!("write \"{text}\"")
    } else {
        format!("write \"{text}\" for the word, {meaning} for a switch")
    };
    Some((message, help))
}

fn octal(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
}

/// `22:30`
fn base_sixty(text: &str) -> bool {
    let mut parts = text.split(':');
    let first = parts.next().is_some_and(|part| {
        !part.is_empty() && !part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit())
    });
    let mut more = parts.peekable();
    first
        && more.peek().is_some()
        && more.all(|part| {
            matches!(part.len(), 1 | 2)
                && part.bytes().all(|b| b.is_ascii_digit())
                && part.parse::<u8>().is_ok_and(|n| n < 60)
        })
}

/// The first escape that only double quotes would understand.
pub(super) fn literal_escape(text: &str) -> Option<&str> {
    let at = text.match_indices('\\').map(|(at, _)| at).find(|at| {
        let rest = text.as_bytes().get(at + 1..).unwrap_or_default();
        match rest.first() {
            Some(b'r' | b'n' | b't' | b'0' | b'e') => true,
            Some(b'x') => rest.get(1..3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
            _ => false,
        }
    })?;
    let long = if text.as_bytes().get(at + 1) == Some(&b'x') { 4 } else { 2 };
    text.get(at..at + long)
}
