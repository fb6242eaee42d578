//! Where a page ends, as a text that goes through a URL's query and back.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;
use crate::id::{OpId, Subject};
use crate::store::PartKey;

/// Where a page of a picture ended. As text it can be handed to a caller, who brings it back for the next page.
///
/// ```
/// use keyward::picture::Cursor;
/// let text = "accounts/team=red";
/// assert_eq!(text.parse::<Cursor>()?.to_string(), text);
/// assert!("accounts".parse::<Cursor>().is_err());
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub(super) After);

/// What was shown last: an account, a key, a hold; each part is shown after those before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// All accounts up to this one.
    Account(Subject),
    /// So many keys of this pool.
    Keys(usize, String),
    /// All holds up to this one; `None` for no hold yet.
    Hold(Option<PartKey>),
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            After::Account(subject) => write!(f, "accounts/{subject}"),
            After::Keys(shown, pool) => write!(f, "keys/{shown}/{pool}"),
            After::Hold(None) => f.write_str("holds"),
            After::Hold(Some((op, account, sequence))) => {
                let op = op.to_string();
                write!(f, "holds/{sequence}/{}/{op}/{account}", op.len())
            }
        }
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        read(text).map(Self).ok_or_else(|| Error::invalid("cursor", text, "what a page gave as its next"))
    }
}

fn read(text: &str) -> Option<After> {
    if text == "holds" {
        return Some(After::Hold(None));
    }
    let (kind, rest) = text.split_once('/')?;
    match kind {
        "accounts" => rest.parse().ok().map(After::Account),
        "keys" => {
            let (shown, pool) = rest.split_once('/')?;
            Some(After::Keys(shown.parse().ok()?, pool.to_owned()))
        }
        "holds" => {
            let (sequence, rest) = rest.split_once('/')?;
            let (length, rest) = rest.split_once('/')?;
            let (op, account) = rest.split_at_checked(length.parse().ok()?)?;
            let (op, account): (OpId, Subject) = (op.parse().ok()?, account.strip_prefix('/')?.parse().ok()?);
            Some(After::Hold(Some((op, account, sequence.parse().ok()?))))
        }
        _ => None,
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'_, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_cursor_reads_back_whatever_names_it_holds() {
        let subject = Subject::of([("team", "a/b,c=d")]).unwrap();
        let op = OpId::host("3/4/keys//").unwrap();
        for after in [
            After::Account(subject.clone()),
            After::Account(Subject::everyone()),
            After::Keys(7, "a/b".to_owned()),
            After::Keys(0, String::new()),
            After::Hold(None),
            After::Hold(Some((op.clone(), subject, 3))),
            After::Hold(Some((op, Subject::everyone(), 0))),
        ] {
            let cursor = Cursor(after);
            assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor, "{cursor}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(accounts|keys|holds)?/?[0-9]{0,3}/?[0-9]{0,3}/?\\PC{0,20}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
            }
        }
    }
}
