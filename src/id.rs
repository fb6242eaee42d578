//! Names: of subjects, limits, keys and operations; and secrets, which have none.
//!
//! Every name is checked once, when it is made: it is not empty, at most 256 bytes long, and has no control characters,
//! so that it can be printed, stored and compared as it is. A [`Secret`] can be used and compared, and never printed.
//!
//! ```
//! use keyward::{KeySuffix, Secret, Subject};
//!
//! let subject = Subject::of([("team", "red"), ("key", "alice")])?;
//! assert_eq!(subject.to_string(), "key=alice,team=red");
//!
//! let secret = Secret::new("sk-ant-123456789");
//! assert_eq!(format!("{secret:?}"), "Secret(…)");
//! assert_eq!(KeySuffix::of(&secret, 5)?.as_str(), "56789");
//! # Ok::<(), keyward::Error>(())
//! ```

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::time::Timestamp;

/// The longest name, in bytes.
const LONGEST: usize = 256;
/// The longest name that is kept without an allocation.
const INLINE: usize = 46;
/// The most dimensions that are put in order without an allocation.
const FEW: usize = 8;

/// Checks the name of a dimension or a measure: 1 to 64 lower-case ASCII letters, digits and `_`.
pub(crate) fn word<'a>(field: &'static str, text: &'a str) -> Result<&'a str, Error> {
    let fits = (1..=64).contains(&text.len());
    if fits && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
        Ok(text)
    } else {
        Err(Error::invalid(field, text, "1 to 64 lower-case ASCII letters, digits and _"))
    }
}

/// Checks a name that a host chose: 1 to 256 bytes, no control characters.
fn label<'a>(field: &'static str, text: &'a str) -> Result<&'a str, Error> {
    if text.is_empty() {
        Err(Error::invalid(field, text, "a name that is not empty"))
    } else if text.len() > LONGEST {
        Err(Error::invalid(field, text, "a name of at most 256 bytes"))
    } else if text.bytes().any(|byte| !(b' '..0x7f).contains(&byte)) && text.chars().any(char::is_control) {
        Err(Error::invalid(field, text, "a name without control characters"))
    } else {
        Ok(text)
    }
}

/// Text that is cheap to clone, and short text without an allocation.
#[derive(Clone)]
enum Text {
    Inline { length: u8, bytes: [u8; INLINE] },
    Shared(Arc<str>),
}

impl Text {
    fn new(text: &str) -> Self {
        let mut bytes = [0; INLINE];
        match (u8::try_from(text.len()), bytes.get_mut(..text.len())) {
            (Ok(length), Some(room)) => {
                room.copy_from_slice(text.as_bytes());
                Self::Inline { length, bytes }
            }
            _ => Self::Shared(text.into()),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Shared(text) => text.as_bytes(),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            // Made from a `str`, and never changed since.
            Self::Inline { .. } => std::str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Self::Shared(text) => text,
        }
    }
}

/// Text in the making: on the stack as long as it is short.
struct Writing {
    length: usize,
    bytes: [u8; INLINE],
    long: String,
}

impl Writing {
    const fn new() -> Self {
        Self { length: 0, bytes: [0; INLINE], long: String::new() }
    }

    fn push(&mut self, part: &str) {
        let end = self.length + part.len();
        match self.bytes.get_mut(self.length..end) {
            Some(room) => room.copy_from_slice(part.as_bytes()),
            None => {
                if self.long.is_empty() {
                    let short = self.bytes.get(..self.length).unwrap_or_default();
                    self.long.push_str(std::str::from_utf8(short).unwrap_or_default());
                }
                self.long.push_str(part);
            }
        }
        self.length = end;
    }

    fn finish(self) -> Text {
        match u8::try_from(self.length) {
            Ok(length) if self.length <= INLINE => Text::Inline { length, bytes: self.bytes },
            _ => Text::Shared(self.long.into()),
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.as_bytes());
    }
}

/// What every name can do that is one checked `Text`.
macro_rules! name {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// The name as bytes, without checking them again.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
    };
}

/// Serialised as its text, and checked again when it is read.
macro_rules! as_text {
    ($name:ident) => {
        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <std::borrow::Cow<'_, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(Subject);
as_text!(Subject);
name!(LimitId);
as_text!(LimitId);
name!(KeyId);
as_text!(KeyId);
as_text!(OpId);
as_text!(Fingerprint);

/// What an account is about: one value for each of a set of dimensions, in one canonical order.
///
/// As text it is `key=alice,team=red`, dimensions in alphabetical order, with `%`, `,` and `=` inside values escaped; the
/// subject without dimensions, which stands for everyone, is the empty text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(Text);

impl Subject {
    /// The subject with these dimensions and values, given in any order.
    ///
    /// Up to eight dimensions whose text is at most 46 bytes long cost no allocation.
    ///
    /// # Errors
    /// A dimension's name that is not 1 to 64 lower-case letters, digits and `_`, or stands twice: the field is
    /// `dimension`. A value that is empty, too long, or has control characters: the field is the dimension's, as in
    /// `team.value`.
    pub fn of<'a>(dimensions: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Error> {
        let mut few = [("", ""); FEW];
        let mut rest = dimensions.into_iter();
        let mut count = 0;
        for (room, pair) in few.iter_mut().zip(rest.by_ref()) {
            *room = pair;
            count += 1;
        }
        let few = few.get_mut(..count).unwrap_or_default();
        let Some(next) = rest.next() else { return Self::of_all(few) };
        let mut many: Vec<(&str, &str)> = few.iter().copied().chain([next]).chain(rest).collect();
        Self::of_all(&mut many)
    }

    fn of_all(dimensions: &mut [(&str, &str)]) -> Result<Self, Error> {
        dimensions.sort_unstable();
        let mut text = Writing::new();
        let mut last = None;
        for &(dimension, value) in &*dimensions {
            word("dimension", dimension)?;
            label("value", value).map_err(|error| error.within(dimension))?;
            if last == Some(dimension) {
                return Err(Error::invalid("dimension", dimension, "each dimension once"));
            }
            if last.is_some() {
                text.push(",");
            }
            last = Some(dimension);
            text.push(dimension);
            text.push("=");
            if !value.bytes().any(|byte| matches!(byte, b'%' | b',' | b'=')) {
                text.push(value);
                continue;
            }
            for piece in value.split_inclusive(['%', ',', '=']) {
                let plain = piece.trim_end_matches(['%', ',', '=']);
                text.push(plain);
                text.push(match piece.get(plain.len()..) {
                    Some("%") => "%25",
                    Some(",") => "%2C",
                    Some("=") => "%3D",
                    _ => "",
                });
            }
        }
        Ok(Self(text.finish()))
    }

    /// The subject without dimensions: everyone.
    #[must_use]
    pub fn everyone() -> Self {
        Self(Text::new(""))
    }

    /// Its dimensions and their values, in alphabetical order.
    ///
    /// ```
    /// use keyward::Subject;
    /// let subject = Subject::of([("model", "a=b"), ("key", "alice")])?;
    /// let pairs: Vec<_> = subject.dimensions().collect();
    /// assert_eq!(pairs, [("key", "alice".into()), ("model", "a=b".into())]);
    /// # Ok::<(), keyward::Error>(())
    /// ```
    pub fn dimensions(&self) -> impl Iterator<Item = (&str, std::borrow::Cow<'_, str>)> {
        self.as_str().split(',').filter_map(|pair| pair.split_once('=')).map(|(dimension, value)| {
            let value = if value.contains('%') {
                value.replace("%3D", "=").replace("%2C", ",").replace("%25", "%").into()
            } else {
                value.into()
            };
            (dimension, value)
        })
    }
}

impl FromStr for Subject {
    type Err = Error;

    /// Reads the canonical text, and nothing else.
    fn from_str(text: &str) -> Result<Self, Error> {
        let subject = Self(Text::new(text));
        let pairs: Vec<_> = subject.dimensions().collect();
        let again = Self::of(pairs.iter().map(|(dimension, value)| (*dimension, value.as_ref())))?;
        if again == subject {
            Ok(subject)
        } else {
            Err(Error::invalid("subject", text, "a subject is written as key=alice,team=red, in alphabetical order"))
        }
    }
}

/// The identity of a limit: the name that its policy gives it, or what it measures, over which window, by what.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitId(Text);

impl FromStr for LimitId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(Self(Text::new(label("limit", text)?)))
    }
}

/// The identity of an upstream key: a name that the host chose, or one derived from the secret's fingerprint.
///
/// It is never the key itself, its position or its suffix: those change hands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Text);

impl FromStr for KeyId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(Self(Text::new(label("key_id", text)?)))
    }
}

impl From<&Fingerprint> for KeyId {
    /// `fp-` and the fingerprint's first 128 bits.
    fn from(fingerprint: &Fingerprint) -> Self {
        let hex = fingerprint.to_string();
        Self(Text::new(&format!("fp-{}", hex.get(..32).unwrap_or_default())))
    }
}

/// The identity of one operation, under which it is carried out at most once.
///
/// The library makes ids that carry their time, so that an old one is recognised; a host may bring its own text, which
/// holds at most once within the horizon of the store.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(Op);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Op {
    /// Its number, largest byte first, so that bytes order as numbers do and an id is no larger than a text.
    Library([u8; 16]),
    Host(Text),
}

/// Bits of a library id below its microseconds: enough that ids made on different machines do not meet.
const RANDOM_BITS: u32 = 74;
const LIBRARY_PREFIX: &str = "kw-";

impl OpId {
    /// The id of an operation that begins at this instant, told apart by the low 74 bits of `random`.
    ///
    /// Ids order by their instant. Instants before 1970 and after 2540 share the first and the last one.
    #[must_use]
    pub fn at(now: Timestamp, random: u128) -> Self {
        let micros = now.as_micros().clamp(0, (1 << 54) - 1).unsigned_abs();
        let id = (u128::from(micros) << RANDOM_BITS) | (random & ((1 << RANDOM_BITS) - 1));
        Self(Op::Library(id.to_be_bytes()))
    }

    /// An id of the host's own: 1 to 256 bytes without control characters. The text of a library id is that id again.
    ///
    /// # Errors
    /// Text that is empty, longer, or has control characters.
    pub fn host(text: &str) -> Result<Self, Error> {
        let text = label("operation", text)?;
        let library = text
            .strip_prefix(LIBRARY_PREFIX)
            .filter(|hex| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
            .and_then(|hex| u128::from_str_radix(hex, 16).ok());
        Ok(Self(library.map_or_else(|| Op::Host(Text::new(text)), |id| Op::Library(id.to_be_bytes()))))
    }

    /// The bytes of an id that the library made: all there is to keep of it.
    #[inline]
    pub(crate) const fn library(&self) -> Option<[u8; 16]> {
        match self.0 {
            Op::Library(id) => Some(id),
            Op::Host(_) => None,
        }
    }

    /// The id of these bytes.
    #[inline]
    pub(crate) const fn from_library(id: [u8; 16]) -> Self {
        Self(Op::Library(id))
    }

    /// An id as bytes; those of a host's own id are its text.
    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Op::Library(id) => id,
            Op::Host(id) => id.as_bytes(),
        }
    }

    /// When the operation began, if the library made this id.
    ///
    /// ```
    /// use keyward::{OpId, Timestamp};
    /// let id = OpId::at(Timestamp::from_micros(1_700_000_000_000_000), 42);
    /// assert_eq!(id.began(), Some(Timestamp::from_micros(1_700_000_000_000_000)));
    /// assert_eq!(id.to_string().parse::<OpId>()?, id);
    /// assert_eq!(OpId::host("request-7")?.began(), None);
    /// # Ok::<(), keyward::Error>(())
    /// ```
    #[must_use]
    pub fn began(&self) -> Option<Timestamp> {
        match self.0 {
            Op::Library(id) => i64::try_from(u128::from_be_bytes(id) >> RANDOM_BITS).ok().map(Timestamp::from_micros),
            Op::Host(_) => None,
        }
    }
}

impl FromStr for OpId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::host(text)
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Op::Library(id) => f.pad(&format!("{LIBRARY_PREFIX}{:032x}", u128::from_be_bytes(*id))),
            Op::Host(id) => f.pad(id.as_str()),
        }
    }
}

impl fmt::Debug for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A secret: an upstream key, or a client's. It is never printed, never serialised, and wiped when it is dropped.
///
/// Equality takes the same time wherever two secrets of one length differ.
///
/// What holds a secret cannot be written out by mistake:
///
/// ```compile_fail,E0277
/// let secret = keyward::Secret::new("sk-ant-123456789");
/// serde_json::to_string(&secret);
/// ```
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes the text over. A `String` is not copied, and is wiped in the end; what a `&str` came from is the caller's.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(text.into())))
    }

    /// The secret itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The SHA-256 of a secret: names it without giving it away, as long as the secret cannot be guessed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of this secret.
    ///
    /// ```
    /// use keyward::{Fingerprint, Secret};
    /// let text = Fingerprint::of(&Secret::new("abc")).to_string();
    /// assert!(text.starts_with("ba7816bf8f01cfea"));
    /// assert_eq!(text.len(), 64);
    /// ```
    #[must_use]
    pub fn of(secret: &Secret) -> Self {
        Self(Sha256::digest(secret.expose().as_bytes()).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || Error::invalid("fingerprint", text, "64 lower-case hexadecimal digits");
        let mut bytes = [0; 32];
        if text.len() != 64 || text.bytes().any(|b| !(b.is_ascii_digit() || (b'a'..=b'f').contains(&b))) {
            return Err(refused());
        }
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = text.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).ok_or_else(refused)?;
        }
        Ok(Self(bytes))
    }
}

/// The last characters of a key, for people to recognise it by. It identifies nothing.
///
/// At least four characters of the key always stay hidden, so a short key shows less than was asked for, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(transparent))]
pub struct KeySuffix(String);

impl KeySuffix {
    /// How many characters are shown unless a host chooses.
    pub const LENGTH: usize = 5;
    const HIDDEN: usize = 4;

    /// The last `length` characters of the secret, or as many as leave four hidden.
    ///
    /// ```
    /// use keyward::{KeySuffix, Secret};
    /// assert_eq!(KeySuffix::of(&Secret::new("abcdefgh"), 5)?.as_str(), "efgh");
    /// assert_eq!(KeySuffix::of(&Secret::new("abc"), 5)?.as_str(), "");
    /// # Ok::<(), keyward::Error>(())
    /// ```
    ///
    /// # Errors
    /// A length that is not from 1 to 10.
    pub fn of(secret: &Secret, length: usize) -> Result<Self, Error> {
        if !(1..=10).contains(&length) {
            return Err(Error::invalid("suffix_length", length, "from 1 to 10 characters"));
        }
        let text = secret.expose();
        let hidden = text.chars().count().saturating_sub(length).max(Self::HIDDEN);
        Ok(Self(text.chars().skip(hidden).collect()))
    }

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeySuffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests;
