//! Converts JSON to CEL values. Unlike serde_json, this keeps all digits of a number.

use std::collections::HashMap;

use cel::common::types::{CelBool, CelList, CelMap, CelMapKey, CelNull, CelString};
use cel::common::value::Val;

use super::number::Number;
use crate::limits::JSON_DEPTH;

/// The maximum nesting depth. JSON from outside has at most [`JSON_DEPTH`] levels; the input of a
/// called function has a few more.
const MAX_DEPTH: usize = JSON_DEPTH + 28;

/// A reader of one JSON document, which must be valid.
pub(super) struct JsonReader<'j> {
    text: &'j str,
    at: usize,
    depth: usize,
    /// The number of values read so far.
    pub(super) values: usize,
}

type ReadResult<T> = Result<T, String>;

/// Reads a JSON document into a CEL value, and adds the number of its values to `values`.
pub(super) fn read(json: &str, values: &mut usize) -> ReadResult<Box<dyn Val>> {
    let mut reader = JsonReader { text: json, at: 0, depth: 0, values: 0 };
    let value = reader.read_value();
    *values += reader.values;
    value
}

impl<'j> JsonReader<'j> {
    fn read_value(&mut self) -> ReadResult<Box<dyn Val>> {
        self.values += 1;
        Ok(match self.peek() {
            b'{' => Box::new(self.read_map()?),
            b'[' => Box::new(self.read_list()?),
            b'"' => Box::new(CelString::from(self.read_string()?)),
            b't' => Box::new(self.read_word(4, CelBool::from(true))),
            b'f' => Box::new(self.read_word(5, CelBool::from(false))),
            b'n' => Box::new(self.read_word(4, CelNull)),
            b'-' | b'0'..=b'9' => Box::new(self.read_number()?),
            _ => return Err(self.invalid_json()),
        })
    }

    /// Skips white space and returns the next byte; 0 at the end.
    fn peek(&mut self) -> u8 {
        let rest = &self.text.as_bytes()[self.at..];
        let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
        self.at += blank;
        rest.get(blank).copied().unwrap_or(0)
    }

    fn invalid_json(&self) -> String {
        format!("no JSON at byte {}", self.at)
    }

    fn read_word<T>(&mut self, length: usize, value: T) -> T {
        self.at = (self.at + length).min(self.text.len());
        value
    }

    fn read_number(&mut self) -> ReadResult<Number> {
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = self.text.as_bytes()[self.at..].iter().take_while(|byte| is_part(byte)).count();
        let text = &self.text[self.at..self.at + length];
        let number = Number::read(text).ok_or_else(|| format!("number out of range at byte {}", self.at));
        self.at += length;
        number
    }

    fn read_string(&mut self) -> ReadResult<String> {
        let (start, bytes) = (self.at, self.text.as_bytes());
        let (mut at, mut escapes) = (start + 1, false);
        loop {
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => (at, escapes) = (at + 2, true),
                Some(_) => at += 1,
                None => return Err(self.invalid_json()),
            }
        }
        self.at = at + 1;
        match escapes {
            false => Ok(self.text[start + 1..at].to_owned()),
            true => serde_json::from_str(&self.text[start..=at]).map_err(|e| e.to_string()),
        }
    }

    fn read_list(&mut self) -> ReadResult<CelList<'static>> {
        let mut items = Vec::new();
        self.read_items(b']', |reader| {
            items.push(reader.read_value()?);
            Ok(())
        })?;
        Ok(CelList::from(items))
    }

    fn read_map(&mut self) -> ReadResult<CelMap<'static>> {
        let mut fields: HashMap<CelMapKey<'static>, Box<dyn Val>> = HashMap::new();
        self.read_items(b'}', |reader| {
            let name = match reader.peek() {
                b'"' => reader.read_string()?,
                _ => return Err(reader.invalid_json()),
            };
            if reader.peek() != b':' {
                return Err(reader.invalid_json());
            }
            reader.at += 1;
            fields.insert(name.into(), reader.read_value()?);
            Ok(())
        })?;
        Ok(CelMap::from(fields))
    }

    /// Reads items separated by commas up to the closing bracket `end`.
    fn read_items(&mut self, end: u8, mut item: impl FnMut(&mut Self) -> ReadResult<()>) -> ReadResult<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} levels deep at byte {}", self.at));
        }
        self.at += 1;
        while self.peek() != end {
            item(self)?;
            match self.peek() {
                b',' => self.at += 1,
                byte if byte == end => {}
                _ => return Err(self.invalid_json()),
            }
        }
        self.at += 1;
        self.depth -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debug(json: &str) -> String {
        format!("{:?}", read(json, &mut 0))
    }

    #[test]
    fn all_kinds_of_json_values_are_read() {
        let mut values = 0;
        let json = " { \"a\\u0062\" : [ 1 , 2.50 , \"x\\n\" , true , false , null , { } , [ ] ] } ";
        let read = format!("{:?}", read(json, &mut values).unwrap());
        assert_eq!(values, 10);
        for part in ["\"ab\"", "Whole(1)", "digits: \"25\"", "\"x\\n\"", "Bool(true)", "Bool(false)", "Null"] {
            assert!(read.contains(part), "{part}: {read}");
        }
    }

    #[test]
    fn invalid_json_is_an_error_and_not_a_panic() {
        for json in ["", "{", "[1", "[1 2]", "{\"a\"}", "{\"a\":}", "{1:2}", "\"a", "\"\\", "x", "-", "[1e99999999999]"]
        {
            let read = debug(json);
            assert!(read.contains("Err(") || json == "-", "{json}: {read}");
        }
        assert!(debug(&"[".repeat(100_000)).contains("levels deep"));
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(debug(&nested(MAX_DEPTH)).starts_with("Ok("));
    }
}
