//! Lines of a smart meter's telegram: `1-0:1.7.0(00.473*kW)`.

use super::Dropped;

/// The `field`th value in brackets behind `code`, without its unit. Brackets on the lines below belong
/// to the code above them.
pub(super) fn value<'t>(telegram: &'t str, code: &str, field: usize) -> Result<&'t str, Dropped> {
    let mut lines = telegram.lines();
    let first = lines.find_map(|line| line.strip_prefix(code).filter(|rest| rest.starts_with('(')));
    let first = first.ok_or(Dropped::NotMine)?;
    let more = lines.take_while(|line| line.starts_with('('));
    let mut values = std::iter::once(first).chain(more).flat_map(brackets);
    let value = values.nth(field.saturating_sub(1)).ok_or(Dropped::Missing)?;
    let value = value.split_once('*').map_or(value, |(value, _)| value);
    if value.is_empty() { Err(Dropped::Empty) } else { Ok(value) }
}

fn brackets(line: &str) -> impl Iterator<Item = &str> {
    line.split('(').skip(1).filter_map(|rest| rest.split_once(')')).map(|(inner, _)| inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_code_and_place() {
        let telegram = "/TST\r\n\r\n1-0:1.7.0(00.473*kW)\r\n0-1:24.2.1(260301180000W)(00345.678*m3)\r\n\
                        0-1:24.3.0(260301180000)(00)(60)(1)(0-1:24.2.1)(m3)\r\n(00024.123)\r\n1-0:99.1.0()\r\n!";
        assert_eq!(value(telegram, "1-0:1.7.0", 1), Ok("00.473"));
        assert_eq!(value(telegram, "0-1:24.2.1", 2), Ok("00345.678"));
        assert_eq!(value(telegram, "0-1:24.3.0", 7), Ok("00024.123"));
        assert_eq!(value(telegram, "1-0:99.1.0", 1), Err(Dropped::Empty));
        assert_eq!(value(telegram, "1-0:1.7.0", 2), Err(Dropped::Missing));
        assert_eq!(value(telegram, "1-0:1.7", 1), Err(Dropped::NotMine));
    }
}
