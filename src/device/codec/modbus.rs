//! Numbers in the words of a Modbus unit.

use bytes::Bytes;

use super::Dropped;
use crate::device::profile::{Form, Number};
use crate::device::value::Value;

/// A number out of words or bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Found {
    Bool(bool),
    Whole(i64),
    Real(f64),
}

/// What the bytes of a value say; bits are bytes of 0 and 1.
pub(super) fn decode(form: &Form, wire: &[u8]) -> Result<Found, Dropped> {
    if form.bits {
        return match wire {
            [bit] => Ok(Found::Bool(*bit != 0)),
            _ => Err(Dropped::WrongType),
        };
    }
    let mut bytes = [0; 8];
    let size = usize::from(form.number.words()) * 2;
    let whole = bytes.get_mut(..size).filter(|whole| whole.len() == wire.len()).ok_or(Dropped::WrongType)?;
    whole.copy_from_slice(wire);
    form.order.arrange(whole);
    // As a number of 64 bits, from the left.
    let bits = u64::from_be_bytes(bytes);
    let unsigned = bits >> (64 - 8 * size);
    let signed = i64::from_be_bytes(bytes) >> (64 - 8 * size);
    if let Some(bit) = form.bit {
        return Ok(Found::Bool(unsigned >> bit & 1 == 1));
    }
    Ok(match form.number {
        Number::Bool => Found::Bool(unsigned != 0),
        Number::U16 | Number::U32 | Number::U64 => match i64::try_from(unsigned) {
            Ok(whole) => Found::Whole(whole),
            Err(_) => Found::Real(unsigned as f64),
        },
        Number::I16 | Number::I32 | Number::I64 => Found::Whole(signed),
        Number::F32 => Found::Real(f64::from(f32::from_bits((bits >> 32) as u32))),
        Number::F64 => Found::Real(f64::from_bits(bits)),
    })
}

/// The number that bytes stand for.
pub(crate) fn number(form: &Form, wire: &[u8]) -> Option<f64> {
    match decode(form, wire).ok()? {
        Found::Bool(bit) => Some(f64::from(u8::from(bit))),
        Found::Whole(whole) => Some(whole as f64),
        Found::Real(real) => Some(real),
    }
}

/// The bytes that a value is written with; the error is for a person.
pub(crate) fn encode(form: &Form, value: &Value) -> Result<Bytes, String> {
    let number = match value {
        Value::Bool(value) => f64::from(u8::from(*value)),
        other => other.number().ok_or_else(|| format!("{} is no number", other.plain()))?,
    };
    let whole = number.round();
    let fits = |low: f64, high: f64| {
        let fits = (low..=high).contains(&whole);
        fits.then_some(()).ok_or_else(|| format!("{number} does not fit into the register"))
    };
    if form.bits || form.number == Number::Bool {
        fits(0.0, 1.0)?;
        let bit = u8::from(whole == 1.0);
        return Ok(if form.bits {
            Bytes::copy_from_slice(&[bit])
        } else {
            Bytes::copy_from_slice(&[0, bit])
        });
    }
    let mut bytes = match form.number {
        Number::Bool | Number::U16 => {
            fits(0.0, f64::from(u16::MAX))?;
            (whole as u16).to_be_bytes().to_vec()
        }
        Number::I16 => {
            fits(f64::from(i16::MIN), f64::from(i16::MAX))?;
            (whole as i16).to_be_bytes().to_vec()
        }
        Number::U32 => {
            fits(0.0, f64::from(u32::MAX))?;
            (whole as u32).to_be_bytes().to_vec()
        }
        Number::I32 => {
            fits(f64::from(i32::MIN), f64::from(i32::MAX))?;
            (whole as i32).to_be_bytes().to_vec()
        }
        Number::U64 => {
            fits(0.0, 9e15)?;
            (whole as u64).to_be_bytes().to_vec()
        }
        Number::I64 => {
            fits(-9e15, 9e15)?;
            (whole as i64).to_be_bytes().to_vec()
        }
        Number::F32 => (number as f32).to_be_bytes().to_vec(),
        Number::F64 => number.to_be_bytes().to_vec(),
    };
    form.order.arrange(&mut bytes);
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::profile::Order;

    fn form(number: Number, order: Order) -> Form {
        Form { bits: false, number, order, bit: None }
    }

    #[test]
    fn every_number_in_every_order_is_written_as_it_is_read() {
        let orders = [Order::Abcd, Order::Cdab, Order::Badc, Order::Dcba];
        for (number, value) in [
            (Number::U16, 65_535.0),
            (Number::I16, -2.0),
            (Number::U32, 4_294_967_295.0),
            (Number::I32, -123_456.0),
            (Number::U64, 1_234_567_890_123.0),
            (Number::I64, -1_234_567_890_123.0),
            (Number::F32, 230.25),
            (Number::F64, -0.1),
        ] {
            for order in orders {
                let form = form(number, order);
                let bytes = encode(&form, &Value::Float(value)).expect("fits");
                let back = match decode(&form, &bytes).expect("reads") {
                    Found::Whole(whole) => whole as f64,
                    Found::Real(real) => real,
                    Found::Bool(_) => f64::NAN,
                };
                assert_eq!(back, value, "{number:?} {order:?}");
            }
        }
    }

    #[test]
    fn words_as_manuals_show_them() {
        let volts = form(Number::F32, Order::Abcd);
        let Ok(Found::Real(real)) = decode(&volts, &[0x43, 0x66, 0x4c, 0xcd]) else { panic!() };
        assert!((real - 230.3).abs() < 1e-4);
        assert_eq!(decode(&form(Number::I16, Order::Abcd), &[0xff, 0xfe]), Ok(Found::Whole(-2)));
        assert_eq!(decode(&form(Number::U32, Order::Cdab), &[0, 2, 0, 1]), Ok(Found::Whole(65_538)));
        let flag = Form { bit: Some(3), ..form(Number::Bool, Order::Abcd) };
        assert_eq!(decode(&flag, &[0, 0b1000]), Ok(Found::Bool(true)));
        assert_eq!(decode(&flag, &[0, 0b0111]), Ok(Found::Bool(false)));
        assert_eq!(decode(&volts, &[1, 2]), Err(Dropped::WrongType));
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let word = |value| encode(&form(Number::I16, Order::Abcd), &Value::Float(value));
        assert_eq!(word(215.0).as_deref(), Ok(&[0, 215][..]));
        assert!(word(40_000.0).is_err() && word(f64::NAN).is_err());
        let coil = Form { bits: true, ..form(Number::Bool, Order::Abcd) };
        assert_eq!(encode(&coil, &Value::Bool(true)).as_deref(), Ok(&[1][..]));
    }
}
