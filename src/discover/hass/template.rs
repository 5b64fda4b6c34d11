//! Templates: plain paths into the payload, and filters that change nothing.

/// The JSON Pointer that a template follows; `None`: the payload as it is.
///
/// # Errors
/// It is more than a plain path.
pub(super) fn path(template: &str) -> Result<Option<String>, String> {
    let refuse = || {
        let text: String = template.chars().take(80).collect();
        format!("its template is more than a plain path: {text}")
    };
    let inner = template.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    let inner = inner.ok_or_else(refuse)?.trim().trim_matches('-').trim();
    let mut parts = inner.split('|').map(str::trim);
    let expression = parts.next().unwrap_or_default();
    if !parts.all(harmless) {
        return Err(refuse());
    }
    if expression == "value" {
        return Ok(None);
    }
    let steps = expression.strip_prefix("value_json").ok_or_else(refuse)?;
    match pointer(steps) {
        Some(pointer) if pointer.len() <= 512 => Ok(Some(pointer)),
        _ => Err(refuse()),
    }
}

/// Filters after which the value is what it was. A default is none of them: it would tell something
/// that the device did not say.
fn harmless(filter: &str) -> bool {
    let name = filter.split('(').next().unwrap_or_default().trim();
    let whole = !filter.contains('(') || filter.ends_with(')');
    whole && matches!(name, "float" | "int" | "round" | "string" | "trim")
}

/// `.a.b['c'][0]` as `/a/b/c/0`.
fn pointer(steps: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = steps.trim();
    while !rest.is_empty() {
        let (key, behind) = if let Some(named) = rest.strip_prefix('.') {
            let end = named.find(['.', '[']).unwrap_or(named.len());
            let (key, behind) = named.split_at_checked(end)?;
            let word = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_');
            (word.then_some(key)?, behind)
        } else {
            let (inner, behind) = rest.strip_prefix('[')?.split_once(']')?;
            let inner = inner.trim();
            let quoted =
                ['\'', '"'].iter().find_map(|quote| inner.strip_prefix(*quote)?.strip_suffix(*quote));
            let number = || (!inner.is_empty() && inner.bytes().all(|b| b.is_ascii_digit())).then_some(inner);
            (
                quoted.or_else(number).filter(|key| !key.is_empty() && !key.contains(['\'', '"', '\\']))?,
                behind,
            )
        };
        out.push('/');
        out.push_str(&key.replace('~', "~0").replace('/', "~1"));
        rest = behind.trim_start();
    }
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_are_pointers() {
        for (template, pointer) in [
            ("{{ value_json.temperature }}", Some("/temperature")),
            ("{{value_json.ENERGY.Power}}", Some("/ENERGY/Power")),
            ("{{ value_json['DS18B20'].Temperature | float(0) }}", Some("/DS18B20/Temperature")),
            ("{{ value_json[\"a/b\"][0] | round(1) }}", Some("/a~1b/0")),
            ("{{ value }}", None),
            ("{{ value | int }}", None),
        ] {
            assert_eq!(path(template), Ok(pointer.map(str::to_owned)), "{template}");
        }
    }

    #[test]
    fn whatever_computes_is_refused() {
        for template in [
            "{% if value_json.a %}1{% endif %}",
            "{{ value_json.a * 10 }}",
            "{{ value_json.a | default('x') }}",
            "{{ value_json.a if value_json.a is defined else 0 }}",
            "{{ states('sensor.x') }}",
            "{{ value_json }}",
            "{{ value_json. }}",
            "{{ value_json['a }}",
            "{{ value_json.a }}{{ value_json.b }}",
            "value_json.a",
            "",
        ] {
            assert!(path(template).is_err(), "{template}");
        }
    }
}
