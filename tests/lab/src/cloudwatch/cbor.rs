//! CBOR (RFC 8949) as Smithy's RPC v2 protocol uses it, between bytes and JSON values.
//!
//! Written here, and not taken from the SDK's crates, so that the SDK and this lab do not share a mistake. A timestamp is
//! tag 1 around seconds since 1970; JSON has no such thing, so a tagged number is read as the number, and what is a
//! timestamp on the way out is known by the name of its member ([`is_timestamp`]).

use serde_json::{Map, Number, Value};

/// The deepest nesting that is read; CloudWatch's own shapes have seven levels.
const DEPTH_MAX: usize = 32;

/// Whether a member of CloudWatch's answers is a timestamp or a list of them. The five operations here have no other.
fn is_timestamp(member: &str) -> bool {
    matches!(member, "Timestamp" | "Timestamps")
}

/// The bytes of a value.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    put(&mut bytes, value, false);
    bytes
}

fn put(bytes: &mut Vec<u8>, value: &Value, timestamp: bool) {
    match value {
        Value::Null => bytes.push(0xf6),
        Value::Bool(false) => bytes.push(0xf4),
        Value::Bool(true) => bytes.push(0xf5),
        Value::Number(number) => {
            if timestamp {
                head(bytes, 6, 1);
            }
            put_number(bytes, number);
        }
        Value::String(text) => {
            head(bytes, 3, text.len() as u64);
            bytes.extend_from_slice(text.as_bytes());
        }
        Value::Array(list) => {
            head(bytes, 4, list.len() as u64);
            for item in list {
                put(bytes, item, timestamp);
            }
        }
        Value::Object(map) => {
            head(bytes, 5, map.len() as u64);
            for (key, item) in map {
                head(bytes, 3, key.len() as u64);
                bytes.extend_from_slice(key.as_bytes());
                put(bytes, item, is_timestamp(key));
            }
        }
    }
}

/// Whole numbers as such, all others in 64 bits: a `double` of the model stays one though its value is whole.
fn put_number(bytes: &mut Vec<u8>, number: &Number) {
    if let Some(whole) = number.as_u64() {
        head(bytes, 0, whole);
    } else if let Some(whole) = number.as_i64() {
        head(bytes, 1, (-1 - whole).cast_unsigned());
    } else {
        bytes.push(0xfb);
        bytes.extend_from_slice(&number.as_f64().unwrap_or_default().to_be_bytes());
    }
}

/// A major type with its argument, in the fewest bytes.
fn head(bytes: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    if argument < 24 {
        bytes.push(major | argument as u8);
    } else if let Ok(argument) = u8::try_from(argument) {
        bytes.extend_from_slice(&[major | 0x18, argument]);
    } else if let Ok(argument) = u16::try_from(argument) {
        bytes.push(major | 0x19);
        bytes.extend_from_slice(&argument.to_be_bytes());
    } else if let Ok(argument) = u32::try_from(argument) {
        bytes.push(major | 0x1a);
        bytes.extend_from_slice(&argument.to_be_bytes());
    } else {
        bytes.push(major | 0x1b);
        bytes.extend_from_slice(&argument.to_be_bytes());
    }
}

/// The value that the bytes spell, all of them.
///
/// # Errors
/// What is wrong with the bytes, for a `SerializationException`.
pub fn decode(bytes: &[u8]) -> Result<Value, String> {
    let mut reader = Reader { rest: bytes };
    let value = reader.value(0)?;
    if reader.rest.is_empty() { Ok(value) } else { Err(format!("{} bytes after the value", reader.rest.len())) }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: u64) -> Result<&'a [u8], String> {
        let count = usize::try_from(count).map_err(|_| "a length beyond memory".to_owned())?;
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("the value is cut short")?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: u64) -> Result<u64, String> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Whether the next item is the end of something of unknown length; takes it if so.
    fn at_break(&mut self) -> bool {
        let found = self.rest.first() == Some(&0xff);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    /// A major type and its argument; `None` is a length that is not known before the end.
    fn head(&mut self) -> Result<(u8, u8, Option<u64>), String> {
        let first = self.take(1)?[0];
        let (major, information) = (first >> 5, first & 31);
        let argument = match information {
            0..24 => Some(u64::from(information)),
            24..28 => Some(self.number(1 << (information - 24))?),
            31 if (2..=5).contains(&major) => None,
            _ => return Err(format!("0x{first:02x} begins nothing")),
        };
        Ok((major, information, argument))
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        let (major, information, argument) = self.head()?;
        Ok(match (major, argument) {
            (0, Some(number)) => Value::from(number),
            (1, Some(number)) => Value::from(-1 - i64::try_from(number).map_err(|_| "a number beyond 64 bits")?),
            (2, _) => return Err("a byte string, which no operation takes".to_owned()),
            (3, length) => Value::String(self.text(length)?),
            (4, length) => {
                let mut list = Vec::new();
                while length.map_or_else(|| !self.at_break(), |length| (list.len() as u64) < length) {
                    list.push(self.value(depth + 1)?);
                }
                Value::Array(list)
            }
            (5, length) => {
                let (mut map, mut read) = (Map::new(), 0);
                while length.map_or_else(|| !self.at_break(), |length| read < length) {
                    let (major, _, argument) = self.head()?;
                    if major != 3 {
                        return Err("a key that is no text".to_owned());
                    }
                    let key = self.text(argument)?;
                    map.insert(key, self.value(depth + 1)?);
                    read += 1;
                }
                Value::Object(map)
            }
            (6, _) => self.value(depth + 1)?,
            (7, Some(bits)) => match information {
                20 => Value::Bool(false),
                21 => Value::Bool(true),
                22 | 23 => Value::Null,
                25 => float(half(bits as u16))?,
                26 => float(f64::from(f32::from_bits(bits as u32)))?,
                27 => float(f64::from_bits(bits))?,
                _ => return Err(format!("a simple value {bits}, which no operation takes")),
            },
            _ => return Err(format!("0x{:02x} begins nothing", major << 5 | information)),
        })
    }

    fn text(&mut self, length: Option<u64>) -> Result<String, String> {
        let mut bytes = Vec::new();
        match length {
            Some(length) => bytes.extend_from_slice(self.take(length)?),
            None => {
                while !self.at_break() {
                    match self.head()? {
                        (3, _, Some(length)) => bytes.extend_from_slice(self.take(length)?),
                        _ => return Err("a part of a text that is no text".to_owned()),
                    }
                }
            }
        }
        String::from_utf8(bytes).map_err(|_| "a text that is no UTF-8".to_owned())
    }
}

fn float(number: f64) -> Result<Value, String> {
    Number::from_f64(number).map(Value::Number).ok_or_else(|| format!("{number}, which no member takes"))
}

/// The number that 16 bits spell (IEEE 754, binary16).
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// Proves the reading of every kind by the examples of RFC 8949, appendix A.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        for (hex, expected) in [
            ("00", json!(0)),
            ("17", json!(23)),
            ("1818", json!(24)),
            ("1903e8", json!(1000)),
            ("1a000f4240", json!(1_000_000)),
            ("1b000000e8d4a51000", json!(1_000_000_000_000_u64)),
            ("20", json!(-1)),
            ("3903e7", json!(-1000)),
            ("f93c00", json!(1.0)),
            ("f93e00", json!(1.5)),
            ("f97bff", json!(65504.0)),
            ("f90001", json!(5.960_464_477_539_063e-8)),
            ("f9c400", json!(-4.0)),
            ("fa47c35000", json!(100_000.0)),
            ("fb3ff199999999999a", json!(1.1)),
            ("f4", json!(false)),
            ("f5", json!(true)),
            ("f6", json!(null)),
            ("c11a514b67b0", json!(1_363_896_240)),
            ("c1fb41d452d9ec200000", json!(1_363_896_240.5)),
            ("62c3bc", json!("\u{fc}")),
            ("8301820203820405", json!([1, [2, 3], [4, 5]])),
            ("9f018202039f0405ffff", json!([1, [2, 3], [4, 5]])),
            ("a26161016162820203", json!({"a": 1, "b": [2, 3]})),
            ("bf61610161629f0203ffff", json!({"a": 1, "b": [2, 3]})),
            ("7f657374726561646d696e67ff", json!("streaming")),
        ] {
            assert_eq!(decode(&bytes(hex)).unwrap(), expected, "{hex}");
        }
    }

    /// Proves that bytes which are no value are named, and never read past their end.
    #[test]
    fn what_is_no_cbor_is_refused() {
        for hex in ["", "18", "61", "9f01", "bf6161", "a10102", "1c", "ff", "0000", "4101", "fb7ff0000000000000", "5f"]
        {
            assert!(decode(&bytes(hex)).is_err(), "{hex}");
        }
        assert!(decode(&[0x81].repeat(100)).is_err(), "too deep");
        assert!(decode(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err(), "a list of 2^64 items");
    }

    /// Proves that timestamps go out as tag 1, doubles as doubles, and everything comes back as it went.
    #[test]
    fn timestamps_are_tagged_and_doubles_stay_doubles() {
        let value =
            json!({"Timestamps": [1_800_000_000, 1_800_000_060.5], "Values": [2.0, 0.25], "Id": "a", "n": -70000});
        let encoded = encode(&value);
        assert_eq!(decode(&encoded).unwrap(), value);
        let holds = |hex: &str| encoded.windows(hex.len() / 2).any(|part| part == bytes(hex));
        assert!(holds("82c11a6b49d200c1fb"), "{encoded:x?}");
        assert!(holds("82fb4000000000000000fb3fd0000000000000"), "{encoded:x?}");
    }
}
