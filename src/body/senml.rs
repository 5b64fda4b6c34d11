//! `application/senml+json` (RFC 8428): measured values.
//!
//! A pack saves words by base fields; here they are resolved when read and found again when written,
//! so that everybody else sees whole records: full name, unit, absolute time.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Number, Value as Json};

use super::fault::{self, At, Fault};
use super::limits;

/// Its media type.
pub const CONTENT_TYPE: &str = "application/senml+json";
/// The newest version of the format that is known (§4.4).
const VERSION: u64 = 10;
/// Times below 2^28 are relative to now (§4.5.3).
const ABSOLUTE: f64 = 268_435_456.0;

/// One resolved record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The whole name.
    pub name: String,
    /// Unit (§12.1), where the value has one.
    pub unit: Option<String>,
    /// The value; none in a record that has only a sum.
    pub value: Option<Value>,
    /// Integrated sum of the values.
    pub sum: Option<f64>,
    /// When it was measured.
    pub time: Timestamp,
    /// Seconds within which another record of this name comes.
    pub update: Option<f64>,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `v`, always finite.
    Number(f64),
    /// `vs`
    Text(String),
    /// `vb`
    Bool(bool),
    /// `vd`
    Data(Vec<u8>),
}

/// Reads a pack and resolves it. Times that count from now count from `now`.
///
/// # Errors
/// When it is no SenML, a record has more than one value or none, or it holds a field that must be
/// understood and is not.
pub fn read(body: &[u8], now: Timestamp) -> Result<Vec<Record>, Fault> {
    let text = fault::text(body)?;
    let pack: Json = serde_json::from_str(text)
        .map_err(|why| Fault::syntax(At::Line(why.line()), format!("the body is not JSON: {why}")))?;
    let Json::Array(pack) = pack else { return Err(Fault::syntax(At::Body, "a SenML pack is an array")) };
    if pack.len() > limits::SENML_RECORDS {
        return Err(Fault::too_much(At::Body, "records", limits::SENML_RECORDS));
    }
    let mut base = Base::default();
    let mut records = Vec::new();
    for (nth, record) in pack.iter().enumerate() {
        let at = At::Record(nth + 1);
        let fields = record.as_object().ok_or_else(|| Fault::syntax(at, "a SenML record is an object"))?;
        let fields = Fields { at, fields };
        fields.check()?;
        base.take(&fields)?;
        records.extend(base.resolve(&fields, now)?);
    }
    Ok(records)
}

/// The base fields in force.
#[derive(Debug, Default)]
struct Base {
    name: String,
    time: f64,
    unit: Option<String>,
    value: f64,
    sum: f64,
    has_sum: bool,
}

impl Base {
    fn take(&mut self, fields: &Fields<'_>) -> Result<(), Fault> {
        if let Some(name) = fields.text("bn")? {
            self.name = name;
        }
        if let Some(unit) = fields.text("bu")? {
            self.unit = Some(unit);
        }
        self.time = fields.number("bt")?.unwrap_or(self.time);
        self.value = fields.number("bv")?.unwrap_or(self.value);
        if let Some(sum) = fields.number("bs")? {
            (self.sum, self.has_sum) = (sum, true);
        }
        match fields.number("bver")? {
            Some(version) if !(1.0..=VERSION as f64).contains(&version) => {
                Err(Fault::unsupported(fields.at, format!("SenML version {version}")))
            }
            _ => Ok(()),
        }
    }

    /// The record, or nothing when it only sets the base.
    fn resolve(&self, fields: &Fields<'_>, now: Timestamp) -> Result<Option<Record>, Fault> {
        let value = self.value(fields)?;
        let sum = match fields.number("s")? {
            Some(sum) => Some(self.sum + sum),
            None => Some(self.sum).filter(|_| self.has_sum),
        };
        if value.is_none() && fields.fields.get("s").is_none() {
            let own = ["n", "u", "t", "ut"].iter().any(|key| fields.fields.contains_key(*key));
            let only_base = !own && fields.fields.keys().any(|key| key.starts_with('b'));
            return if only_base {
                Ok(None)
            } else {
                Err(Fault::missing(fields.at, "the value (v, vs, vb or vd)"))
            };
        }
        let name = format!("{}{}", self.name, fields.text("n")?.unwrap_or_default());
        check_name(fields.at, &name)?;
        let time = self.time + fields.number("t")?.unwrap_or_default();
        Ok(Some(Record {
            name,
            unit: fields.text("u")?.or_else(|| self.unit.clone()),
            value,
            sum,
            time: absolute(time, now).ok_or_else(|| Fault::syntax(fields.at, "the time is out of range"))?,
            update: fields.number("ut")?,
        }))
    }

    fn value(&self, fields: &Fields<'_>) -> Result<Option<Value>, Fault> {
        let mut values = Vec::new();
        if let Some(number) = fields.number("v")? {
            let number = self.value + number;
            if !number.is_finite() {
                return Err(Fault::syntax(fields.at, "the value is out of range"));
            }
            values.push(Value::Number(number));
        }
        values.extend(fields.text("vs")?.map(Value::Text));
        values.extend(fields.bool("vb")?.map(Value::Bool));
        if let Some(data) = fields.text("vd")? {
            let data = URL_SAFE_NO_PAD.decode(data.trim_end_matches('='));
            values.push(Value::Data(data.map_err(|_| Fault::syntax(fields.at, "vd is not base64url"))?));
        }
        if values.len() > 1 {
            return Err(Fault::syntax(fields.at, "only one of v, vs, vb and vd may be there"));
        }
        Ok(values.pop())
    }
}

struct Fields<'a> {
    at: At,
    fields: &'a Map<String, Json>,
}

impl Fields<'_> {
    /// §4.4: a field whose name ends in `_` must be understood; others may be ignored.
    fn check(&self) -> Result<(), Fault> {
        match self.fields.keys().find(|key| key.ends_with('_')) {
            Some(key) => Err(Fault::unsupported(self.at, format!("the field \"{}\"", fault::short(key)))),
            None => Ok(()),
        }
    }

    fn text(&self, key: &'static str) -> Result<Option<String>, Fault> {
        match self.fields.get(key) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(Fault::value(self.at, key, &other.to_string(), "a string")),
        }
    }

    fn number(&self, key: &'static str) -> Result<Option<f64>, Fault> {
        match self.fields.get(key) {
            None => Ok(None),
            Some(Json::Number(number)) => Ok(number.as_f64().filter(|number| number.is_finite())),
            Some(other) => Err(Fault::value(self.at, key, &other.to_string(), "a number")),
        }
    }

    fn bool(&self, key: &'static str) -> Result<Option<bool>, Fault> {
        match self.fields.get(key) {
            None => Ok(None),
            Some(Json::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(Fault::value(self.at, key, &other.to_string(), "true or false")),
        }
    }
}

/// §4.5.1
fn check_name(at: At, name: &str) -> Result<(), Fault> {
    if name.len() > limits::SENML_NAME_BYTES {
        return Err(Fault::too_much(at, "bytes in a name", limits::SENML_NAME_BYTES));
    }
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-:./_".contains(&byte)) {
        return Ok(());
    }
    Err(Fault::value(at, "the name", name, "letters, digits and -:./_ with a letter or digit first"))
}

fn absolute(time: f64, now: Timestamp) -> Option<Timestamp> {
    let span = SignedDuration::try_from_secs_f64(time).ok()?;
    let from = if time >= ABSOLUTE { Timestamp::UNIX_EPOCH } else { now };
    let at = from.checked_add(span).ok()?;
    // Milliseconds are what a double can tell of an absolute time.
    let ms = at.as_nanosecond().div_euclid(500_000);
    Timestamp::from_millisecond(i64::try_from((ms + 1).div_euclid(2)).ok()?).ok()
}

/// Writes a pack: what all names have in common, up to its last `/` or `:`, becomes the base name,
/// the first record's time the base time. Records without finite value and sum, or of a name that is
/// none (§4.5.1), are left out, as the format cannot say them.
pub fn write(records: &[Record]) -> String {
    let records: Vec<&Record> = records.iter().filter(|record| is_sayable(record)).collect();
    let Some(first) = records.first() else { return "[]".to_owned() };
    let base_name = common(&records);
    let base_ms = first.time.as_millisecond();
    let mut pack = Vec::with_capacity(records.len());
    for (nth, record) in records.iter().enumerate() {
        let mut fields = Map::new();
        if nth == 0 {
            if !base_name.is_empty() {
                fields.insert("bn".into(), base_name.into());
            }
            // An earlier one, of a clock that is not set yet, would count from the reader's now.
            if base_ms as f64 / 1000.0 >= ABSOLUTE {
                fields.insert("bt".into(), seconds(base_ms));
            }
        }
        if let Some(name) = record.name.strip_prefix(base_name).filter(|name| !name.is_empty()) {
            fields.insert("n".into(), name.into());
        }
        if let Some(unit) = &record.unit {
            fields.insert("u".into(), unit.as_str().into());
        }
        let ms = record.time.as_millisecond().saturating_sub(base_ms);
        if ms != 0 {
            fields.insert("t".into(), seconds(ms));
        }
        if let Some(value) = &record.value {
            let (key, value) = json(value);
            fields.insert(key.into(), value);
        }
        if let Some(sum) = record.sum {
            fields.insert("s".into(), number(sum));
        }
        if let Some(update) = record.update.filter(|update| update.is_finite()) {
            fields.insert("ut".into(), number(update));
        }
        pack.push(Json::Object(fields));
    }
    Json::Array(pack).to_string()
}

fn is_sayable(record: &Record) -> bool {
    let finite = !matches!(record.value, Some(Value::Number(value)) if !value.is_finite());
    let named = check_name(At::Body, &record.name).is_ok();
    named
        && finite
        && record.sum.is_none_or(f64::is_finite)
        && (record.value.is_some() || record.sum.is_some())
}

/// What all names begin with, up to a separator.
fn common<'a>(records: &[&'a Record]) -> &'a str {
    let Some((first, others)) = records.split_first() else { return "" };
    let mut end = first.name.rfind(['/', ':']).map_or(0, |at| at + 1);
    loop {
        let base = first.name.get(..end).unwrap_or_default();
        if others.iter().all(|record| record.name.starts_with(base)) {
            return base;
        }
        let shorter = base.get(..end.saturating_sub(1)).unwrap_or_default();
        end = shorter.rfind(['/', ':']).map_or(0, |at| at + 1);
    }
}

fn json(value: &Value) -> (&'static str, Json) {
    match value {
        Value::Number(value) => ("v", number(*value)),
        Value::Text(text) => ("vs", text.as_str().into()),
        Value::Bool(value) => ("vb", (*value).into()),
        Value::Data(data) => ("vd", URL_SAFE_NO_PAD.encode(data).into()),
    }
}

/// Whole numbers without `.0`, as long as a double holds them exactly.
fn number(value: f64) -> Json {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT {
        return Json::Number(Number::from(value as i64));
    }
    Number::from_f64(value).map_or(Json::Null, Json::Number)
}

fn seconds(ms: i64) -> Json {
    if ms % 1000 == 0 { (ms / 1000).into() } else { number(ms as f64 / 1000.0) }
}
