//! JSON as a tree over its own text: numbers stay the text they were, so that no decimal is lost on the way.
//!
//! Every input has an answer. What is not JSON, or nested deeper than any answer of a provider, is refused.

use std::borrow::Cow;

use crate::error::Error;

/// How deep lists and objects may lie inside one another.
const DEEPEST: u32 = 64;

/// One value, borrowed from the text it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json<'a> {
    Null,
    Bool,
    Number(&'a str),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// Reads a whole text, with nothing behind its one value.
    pub(crate) fn read(field: &'static str, bytes: &'a [u8]) -> Result<Self, Error> {
        let fault = |at: usize, expected| Error::invalid(field, format_args!("byte {at}"), expected);
        let text = std::str::from_utf8(bytes).map_err(|error| fault(error.valid_up_to(), "UTF-8"))?;
        let mut reader = Reader { text, at: if text.starts_with('\u{feff}') { 3 } else { 0 } };
        reader.document().map_err(|expected| fault(reader.at, expected))
    }

    /// What an object has under this name; the last, if it is there twice.
    pub(crate) fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.fields().iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The fields of an object; nothing else has any.
    pub(crate) fn fields(&self) -> &[(Cow<'a, str>, Json<'a>)] {
        match self {
            Self::Object(fields) => fields,
            _ => &[],
        }
    }

    /// The values of a list; nothing else has any.
    pub(crate) fn list(&self) -> &[Json<'a>] {
        match self {
            Self::List(values) => values,
            _ => &[],
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A number as it was written, also where someone put it in quotes.
    pub(crate) fn number(&self) -> Option<&str> {
        match self {
            Self::Number(text) => Some(text),
            other => other.text(),
        }
    }

    /// The value in a few words, for a message.
    pub(crate) fn show(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Bool => "true or false",
            Self::Number(text) => text,
            Self::Text(text) => text,
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// Where the reading is. Each step returns what it expected, if that was not there.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

type Read<T> = Result<T, &'static str>;

impl<'a> Reader<'a> {
    fn document(&mut self) -> Read<Json<'a>> {
        let value = self.value(DEEPEST)?;
        self.space();
        if self.at == self.text.len() { Ok(value) } else { Err("nothing behind the JSON value") }
    }

    fn value(&mut self, depth: u32) -> Read<Json<'a>> {
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ if self.word("null") => Ok(Json::Null),
            _ if self.word("true") || self.word("false") => Ok(Json::Bool),
            _ => Err("a JSON value"),
        }
    }

    fn object(&mut self, depth: u32) -> Read<Json<'a>> {
        let depth = depth.checked_sub(1).ok_or("at most 64 levels of nesting")?;
        let mut fields = Vec::new();
        self.at += 1;
        if self.next_is(b'}') {
            return Ok(Json::Object(fields));
        }
        loop {
            self.space();
            let name = self.string()?;
            if !self.next_is(b':') {
                return Err("a colon behind the name of a field");
            }
            fields.push((name, self.value(depth)?));
            if self.next_is(b'}') {
                return Ok(Json::Object(fields));
            }
            if !self.next_is(b',') {
                return Err("a comma or the end of an object");
            }
        }
    }

    fn list(&mut self, depth: u32) -> Read<Json<'a>> {
        let depth = depth.checked_sub(1).ok_or("at most 64 levels of nesting")?;
        let mut values = Vec::new();
        self.at += 1;
        if self.next_is(b']') {
            return Ok(Json::List(values));
        }
        loop {
            values.push(self.value(depth)?);
            if self.next_is(b']') {
                return Ok(Json::List(values));
            }
            if !self.next_is(b',') {
                return Err("a comma or the end of a list");
            }
        }
    }

    fn number(&mut self) -> Read<Json<'a>> {
        let end = |byte: u8| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        Ok(Json::Number(self.until(end)))
    }

    /// The text between two quotes, borrowed unless it has escapes.
    fn string(&mut self) -> Read<Cow<'a, str>> {
        const OPEN: &str = "a text in quotes";
        if self.peek() != Some(b'"') {
            return Err(OPEN);
        }
        self.at += 1;
        let plain = self.until(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        loop {
            text.push_str(self.until(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)));
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(text));
                }
                Some(b'\\') => text.push(self.escape()?),
                _ => return Err("the end of a text in quotes"),
            }
        }
    }

    fn escape(&mut self) -> Read<char> {
        const KNOWN: &str = "an escape that JSON knows";
        self.at += 1;
        let byte = self.peek().ok_or(KNOWN)?;
        let plain = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode().ok_or(KNOWN),
            _ => return Err(KNOWN),
        };
        self.at += 1;
        Ok(plain)
    }

    /// The character of `uXXXX`, or of two of them; half a pair is a replacement character.
    fn unicode(&mut self) -> Option<char> {
        let first = self.hex()?;
        if (0xd800..0xdc00).contains(&first) && self.rest().starts_with("\\u") {
            let back = self.at;
            self.at += 1;
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                return char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            }
            self.at = back;
        }
        Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// The four digits behind the `u` that stands here.
    fn hex(&mut self) -> Option<u32> {
        let digits = self.rest().get(1..5)?;
        let code = digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?;
        self.at += 5;
        code
    }

    /// Everything up to the first such byte, which must be ASCII so that no character is cut.
    fn until(&mut self, end: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.bytes().position(end).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn next_is(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn space(&mut self) {
        self.until(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Json<'_>, Error> {
        Json::read("body", text.as_bytes())
    }

    #[test]
    fn numbers_and_texts_are_what_was_written() {
        let json = read("\u{feff} {\"a\": [1e-06, -0.50], \"b\":\"\\u00e9\\ud83d\\ude00\\ud83d\\n\", \"a\\/\":null}\n")
            .unwrap();
        assert_eq!(json.get("a").unwrap().list(), [Json::Number("1e-06"), Json::Number("-0.50")]);
        assert_eq!(json.get("b").unwrap().text(), Some("é😀\u{fffd}\n"));
        assert_eq!(json.get("a/"), Some(&Json::Null));
        assert_eq!(read(r#"{"a":1,"a":2}"#).unwrap().get("a"), Some(&Json::Number("2")));
    }

    #[test]
    fn what_is_not_json_is_refused_where_it_stops_being_json() {
        for (text, at) in [
            ("", 0),
            ("{", 1),
            ("{\"a\"", 4),
            ("{\"a\":1,}", 7),
            ("[1 2]", 3),
            ("\"a", 2),
            ("\"\\x\"", 2),
            ("nul", 0),
            ("1 1", 2),
            ("\"\\u12\"", 2),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!((error.field(), error.value()), (Some("body"), Some(&*format!("byte {at}"))), "{text}: {error}");
        }
        assert!(Json::read("body", b"\"\xff\"").unwrap_err().to_string().contains("UTF-8"));
    }

    #[test]
    fn a_text_of_brackets_does_not_overflow_the_stack() {
        for open in ["[", "{\"a\":"] {
            assert!(read(&open.repeat(1_000_000)).unwrap_err().to_string().contains("64 levels"));
        }
        assert!(read(&format!("{}1{}", "[".repeat(64), "]".repeat(64))).is_ok());
        assert!(read(&format!("{}1{}", "[".repeat(65), "]".repeat(65))).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text in "[\\[\\]{}\",:\\\\u0d8e1.a\\-\u{e9} ]{0,40}") {
            let _ = Json::read("body", &bytes);
            let _ = Json::read("body", text.as_bytes());
        }

        /// Another reader is the oracle: what it takes, this one takes, with the same texts.
        #[test]
        fn texts_are_read_as_others_read_them(text: String) {
            let json = serde_json::to_string(&text).unwrap();
            let read = read(&json).unwrap();
            prop_assert_eq!(read.text(), Some(&*text));
        }
    }
}
