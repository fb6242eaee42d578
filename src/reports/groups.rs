//! Usage by dimensions, tags, keys and time.

use std::collections::HashMap;

use super::{add, each};
use crate::account::{Context, Row, RowEntry, UsageRow};
use crate::error::StoreError;
use crate::store::{Filter, Store, Sum};
use crate::window::Schedule;

/// What rows are told apart by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Group {
    /// The value of this dimension.
    Dimension(String),
    /// The value of this tag.
    Tag(String),
    /// The client's key.
    Client,
    /// The upstream key.
    Key,
    /// The window in which it happened: a day, a week, a month.
    Time(Schedule),
}

/// What the rows of one group add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Line {
    /// For each [`Group`] in order, its value; `None` for rows that have none. A window is named by its first instant.
    pub by: Vec<Option<String>>,
    /// What they add up to.
    pub sum: Sum,
}

/// Rows, added up by groups.
#[derive(Clone, Debug)]
pub struct Groups<'a> {
    by: &'a [Group],
    /// By what is written in `name`.
    lines: HashMap<Vec<u8>, Line>,
    name: Vec<u8>,
}

impl<'a> Groups<'a> {
    /// No rows yet.
    #[must_use]
    pub fn new(by: &'a [Group]) -> Self {
        Self { by, lines: HashMap::new(), name: Vec::new() }
    }

    /// One row more; one that is not of usage adds nothing.
    pub fn add(&mut self, row: &Row) {
        if let RowEntry::Usage(usage) = &row.entry {
            self.add_usage(row, usage);
        }
    }

    pub(super) fn add_usage(&mut self, row: &Row, usage: &UsageRow) {
        let Self { by, lines, name } = self;
        name.clear();
        let context = usage.context.as_deref();
        for group in *by {
            value(group, row, context, |value| {
                // The length comes first, so that no two lists of values are written the same.
                name.extend(value.map_or(u64::MAX, |value| u64::try_from(value.len()).unwrap_or(0)).to_le_bytes());
                name.extend(value.unwrap_or_default().as_bytes());
            });
        }
        if let Some(line) = lines.get_mut(name.as_slice()) {
            return add(&mut line.sum, usage);
        }
        let mut values = Vec::with_capacity(by.len());
        for group in *by {
            value(group, row, context, |value| values.push(value.map(str::to_owned)));
        }
        let mut line = Line { by: values, sum: Sum::default() };
        add(&mut line.sum, usage);
        lines.insert(name.clone(), line);
    }

    /// What they add up to, in the order of the groups' values.
    #[must_use]
    pub fn lines(self) -> Vec<Line> {
        let mut lines: Vec<Line> = self.lines.into_values().collect();
        lines.sort_unstable_by(|a, b| a.by.cmp(&b.by));
        lines
    }
}

/// Shows the value of a group in a row.
fn value(group: &Group, row: &Row, context: Option<&Context>, mut see: impl FnMut(Option<&str>)) {
    match group {
        Group::Dimension(name) => {
            let found = context.and_then(|it| it.subject.dimensions().find(|(known, _)| known == name));
            see(found.as_ref().map(|(_, value)| value.as_ref()));
        }
        Group::Tag(name) => {
            let tags = context.map_or(&[][..], |context| context.tags.as_slice());
            see(tags.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()));
        }
        Group::Client => see(context.and_then(|context| context.client.as_ref()).map(|key| key.as_str())),
        Group::Key => see(context.and_then(|context| context.key.as_ref()).map(|key| key.as_str())),
        Group::Time(schedule) => see(Some(&schedule.window(row.at).start.to_string())),
    }
}

/// What the usage that a filter lets through adds up to, by groups, in one pass.
///
/// # Errors
/// The store could not be read.
pub fn group(store: &(impl Store + ?Sized), filter: &Filter, by: &[Group]) -> Result<Vec<Line>, StoreError> {
    let mut groups = Groups::new(by);
    each(store, filter, |row, usage| groups.add_usage(row, usage))?;
    Ok(groups.lines())
}
