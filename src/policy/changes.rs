//! What would change if one policy took the place of another.

use std::fmt;

use serde::Serialize;

/// What a change is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Of {
    /// A limit, by its identity.
    Limit,
    /// A pool, by its name.
    Pool,
    /// A key, by its pool and its id or reference.
    Key,
    /// A price, by its model and whom it is for.
    Price,
    /// What holds for all prices.
    Prices,
}

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// One of its fields has another value.
    Edited,
}

/// What becomes of what was counted, or is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// It stays.
    Kept,
    /// It counts no more, and counting starts anew.
    Fresh,
    /// Balances that are there stay as they are: it holds for those that have yet to begin.
    NewBalances,
    /// Nothing is counted there.
    None,
}

/// One thing that would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// What it is of.
    pub of: Of,
    /// Which one.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// Which field of it; `None` where all of it comes or goes.
    pub field: Option<&'static str>,
    /// What was there.
    pub before: Option<String>,
    /// What will be there.
    pub after: Option<String>,
    /// What becomes of what was counted.
    pub effect: Effect,
}

/// `limit requests per 1m by key: amount 60 requests becomes 90 requests; what was counted stays`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, name, kind, field, before, after, effect } = self;
        let word = match of {
            Of::Limit => "limit",
            Of::Pool => "pool",
            Of::Key => "key",
            Of::Price => "price",
            Of::Prices => "prices",
        };
        f.write_str(word)?;
        if !name.is_empty() {
            write!(f, " {name}")?;
        }
        f.write_str(": ")?;
        let (before, after) = (before.as_deref().unwrap_or("nothing"), after.as_deref().unwrap_or("nothing"));
        match kind {
            Kind::Added => write!(f, "added, {after}")?,
            Kind::Removed => write!(f, "removed, {before}")?,
            Kind::Edited => write!(f, "{} {before} becomes {after}", field.unwrap_or("it"))?,
        }
        match (of, kind, effect) {
            (Of::Key, Kind::Edited, Effect::Kept) => f.write_str("; what is known of it stays"),
            (Of::Pool, Kind::Edited, Effect::Kept) => f.write_str("; what is known of its keys stays"),
            (_, Kind::Edited, Effect::Kept) => f.write_str("; what was counted stays"),
            (_, Kind::Edited, Effect::Fresh) => f.write_str("; counting starts anew"),
            (_, Kind::Edited, Effect::NewBalances) => f.write_str("; balances that are there stay as they are"),
            _ => Ok(()),
        }
    }
}

/// Everything that would change: limits, then pools and their keys, then prices. It displays as one line for each change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Changes(Vec<Change>);

impl Changes {
    /// The changes, one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Change> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn whole(&mut self, of: Of, name: &str, kind: Kind, what: String, effect: Effect) {
        let (before, after) = if kind == Kind::Added { (None, Some(what)) } else { (Some(what), None) };
        self.0.push(Change { of, name: name.to_owned(), kind, field: None, before, after, effect });
    }

    pub(super) fn edited(
        &mut self,
        of: Of,
        name: &str,
        field: &'static str,
        values: [Option<String>; 2],
        effect: Effect,
    ) {
        let [before, after] = values;
        if before != after {
            let name = name.to_owned();
            self.0.push(Change { of, name, kind: Kind::Edited, field: Some(field), before, after, effect });
        }
    }
}

impl<'a> IntoIterator for &'a Changes {
    type Item = &'a Change;
    type IntoIter = std::slice::Iter<'a, Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, change) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            change.fmt(f)?;
        }
        Ok(())
    }
}
