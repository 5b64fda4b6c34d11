//! Data sets of a meter: `1-0:1.7.0(00.473*kW)`, or `1.7.0(00.473*kW)` where there is one medium.

use super::Dropped;

/// The `field`th value in brackets behind `code`, without its unit. Brackets on the lines below belong
/// to the code above them, and a line may hold several sets.
pub(super) fn value<'t>(telegram: &'t str, code: &str, field: usize) -> Result<&'t str, Dropped> {
    let mut place = None;
    for line in telegram.lines() {
        let mut rest = line;
        while let Some((id, (value, next))) =
            rest.split_once('(').and_then(|(id, more)| Some((id.trim(), more.split_once(')')?)))
        {
            rest = next;
            place = match place {
                None if same(id, code) => Some(1),
                None => None,
                Some(place) if id.is_empty() => Some(place + 1),
                Some(_) => return Err(Dropped::Missing),
            };
            if place == Some(field) {
                let value = value.split_once('*').map_or(value, |(value, _)| value);
                return if value.is_empty() { Err(Dropped::Empty) } else { Ok(value) };
            }
        }
    }
    Err(if place.is_some() { Dropped::Missing } else { Dropped::NotMine })
}

/// Whether both name the same value: medium and channel count where both say them, and `*255` is the
/// value of now.
fn same(one: &str, other: &str) -> bool {
    let (medium, value) = parts(one);
    let (other_medium, other_value) = parts(other);
    value == other_value && (medium.is_none() || other_medium.is_none() || medium == other_medium)
}

/// `1-0` and `1.8.0` of `1-0:1.8.0*255`.
fn parts(code: &str) -> (Option<&str>, &str) {
    let (medium, value) = code.split_once(':').map_or((None, code), |(medium, value)| (Some(medium), value));
    (medium, value.strip_suffix("*255").unwrap_or(value))
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

    #[test]
    fn short_codes_are_those_of_the_one_medium() {
        let block = "F.F(00)\r\n0.0.0(12345678)1.8.0(001234.567*kWh)\r\n1.8.0*01(000999.0*kWh)\r\n\
                     1-0:2.8.0*255(000001.5*kWh)\r\n0.9.1(10:02)\r\n!\r\n";
        for (code, want) in [
            ("1.8.0", Ok("001234.567")),
            ("1-0:1.8.0", Ok("001234.567")),
            ("1.8.0*01", Ok("000999.0")),
            ("2.8.0", Ok("000001.5")),
            ("1-0:2.8.0", Ok("000001.5")),
            ("7-0:2.8.0", Err(Dropped::NotMine)),
            ("F.F", Ok("00")),
            ("0.0.0", Ok("12345678")),
            ("8.0", Err(Dropped::NotMine)),
        ] {
            assert_eq!(value(block, code, 1), want, "{code}");
        }
        assert_eq!(value(block, "0.0.0", 2), Err(Dropped::Missing), "the next set is another's");
        for odd in ["", "(", ")", "1.8.0", "1.8.0(", "1.8.0(1", "1.8.0)1(", "((1.8.0((((", "1.8.0()"] {
            assert!(value(odd, "1.8.0", 1).is_err(), "{odd}");
        }
    }
}
