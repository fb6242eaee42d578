//! The few fields of an error that matter, found in bytes that may be anything: JSON, half of it, or a page of HTML.

/// How deep a value may be; what is deeper ends the search.
const DEEPEST: usize = 64;
/// How many keys of a path are told apart.
const KEYS: usize = 5;

/// A value without parts, as it is written.
#[derive(Clone, Copy)]
pub(super) enum Scalar<'a> {
    /// What stands between the quotes of a string, escapes and all.
    Text(&'a [u8]),
    /// A number, `true`, `false` or `null`.
    Bare(&'a [u8]),
}

/// Shows every scalar with the keys that lead to it; the places in arrays are no part of them. Where the bytes are no
/// JSON it stops, and what it has shown was there.
pub(super) fn walk<'a>(json: &'a [u8], see: &mut dyn FnMut(&[&'a [u8]], Scalar<'a>)) {
    let _ = Walk { rest: json, keys: [&[]; KEYS], see }.value(0, 0);
}

struct Walk<'a, 'f> {
    rest: &'a [u8],
    keys: [&'a [u8]; KEYS],
    see: &'f mut dyn FnMut(&[&'a [u8]], Scalar<'a>),
}

impl<'a> Walk<'a, '_> {
    fn value(&mut self, keys: usize, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        match self.peek()? {
            b'{' => self.parts(b'}', |walk| {
                let key = walk.string()?;
                if let Some(kept) = walk.keys.get_mut(keys) {
                    *kept = key;
                }
                walk.take(b':')?;
                walk.value(keys + 1, depth + 1)
            }),
            b'[' => self.parts(b']', |walk| walk.value(keys, depth + 1)),
            b'"' => {
                let text = self.string()?;
                self.show(keys, Scalar::Text(text));
                Some(())
            }
            _ => {
                let is_bare = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
                let end = self.rest.iter().position(|byte| !is_bare(byte)).unwrap_or(self.rest.len());
                let (bare, rest) = self.rest.split_at_checked(end).filter(|(bare, _)| !bare.is_empty())?;
                self.rest = rest;
                self.show(keys, Scalar::Bare(bare));
                Some(())
            }
        }
    }

    /// What stands between two brackets, one part after the other.
    fn parts(&mut self, close: u8, mut part: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.rest = self.rest.get(1..)?;
        if self.peek()? == close {
            return self.take(close);
        }
        loop {
            part(self)?;
            match self.peek()? {
                b',' => self.take(b',')?,
                _ => return self.take(close),
            }
        }
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let mut escaped = false;
        let end = self.rest.iter().position(|byte| {
            let ends = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            ends
        })?;
        let (text, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest.get(1..)?;
        Some(text)
    }

    fn show(&mut self, keys: usize, scalar: Scalar<'a>) {
        if let Some(keys) = self.keys.get(..keys) {
            (self.see)(keys, scalar);
        }
    }

    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.first().copied()
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.rest = self.rest.get(1..).unwrap_or_default())
    }
}

/// The text that a string of JSON stands for, of at most so many of its bytes. What cannot be read becomes `U+FFFD`.
pub(super) fn unescape(raw: &[u8], most: usize) -> String {
    let raw = String::from_utf8_lossy(raw.get(..most).unwrap_or(raw));
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw.as_ref();
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let mut letters = escape.chars();
        let letter = letters.next();
        rest = letters.as_str();
        match letter {
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('r') => text.push('\r'),
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some('u') => {
                let (letter, tail) = unicode(rest);
                text.push(letter);
                rest = tail;
            }
            Some(other) => text.push(other),
            None => {}
        }
    }
    text.push_str(rest);
    text
}

/// The letter of `\uXXXX`, or of two of them that are halves of one, from what follows the first `u`.
fn unicode(text: &str) -> (char, &str) {
    let half = |text: &str| text.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let Some(first) = half(text) else { return (char::REPLACEMENT_CHARACTER, text) };
    let rest = text.get(4..).unwrap_or_default();
    if !(0xD800..0xDC00).contains(&first) {
        return (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), rest);
    }
    let second = rest.strip_prefix("\\u").and_then(half).filter(|second| (0xDC00..0xE000).contains(second));
    match second.and_then(|second| char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00))) {
        Some(letter) => (letter, rest.get(6..).unwrap_or_default()),
        None => (char::REPLACEMENT_CHARACTER, rest),
    }
}
