//! The `;method=` that the formats of 2000 put behind addresses: kept out of the model, written
//! again where those formats want it.

/// The address without a `;method=` parameter.
pub(super) fn without(uri: &str) -> String {
    let uri = uri.trim();
    let (main, headers) = match uri.find('?') {
        Some(at) => uri.split_at(at),
        None => (uri, ""),
    };
    // Parameters stand behind the host; a `;` in the user part is none.
    let (user, rest) = match main.find('@') {
        Some(at) => main.split_at(at),
        None => ("", main),
    };
    let mut parts = rest.split(';');
    let host = parts.next().unwrap_or_default();
    let kept =
        parts.filter(|part| !part.trim().get(..7).is_some_and(|key| key.eq_ignore_ascii_case("method=")));
    let mut out = format!("{user}{host}");
    for part in kept {
        out.push(';');
        out.push_str(part);
    }
    out.push_str(headers);
    out
}

/// The address with the method, when it is a SIP address without headers.
pub(super) fn with(uri: &str, method: &str) -> String {
    let is_sip = uri.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sip:"))
        || uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"));
    if is_sip && !uri.contains('?') { format!("{uri};method={method}") } else { uri.to_owned() }
}
