//! The ledger: a ring of rows. What a row said of a meter is kept in a total when the row has to go.

use std::collections::{BTreeMap, VecDeque};

use crate::account::{MeterId, Row, RowEntry};
use crate::id::Subject;
use crate::store::{Filter, Total};
use crate::time::Timestamp;

/// Rows and totals. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Ledger {
    most: usize,
    last: u64,
    rows: VecDeque<(u64, Row)>,
    totals: BTreeMap<(Subject, MeterId, u32, Timestamp), i64>,
}

impl Ledger {
    pub(super) fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    pub(super) fn restore(most: usize, last: u64, rows: Vec<(u64, Row)>, totals: Vec<Total>) -> Self {
        let mut ledger = Self { most, last, rows: rows.into(), totals: BTreeMap::new() };
        for Total { account, meter, epoch, window, spent } in totals {
            ledger.add((account, meter, epoch, window), spent);
        }
        ledger.make_room(0);
        ledger
    }

    pub(super) fn append(&mut self, row: Row) {
        self.make_room(1);
        self.last = self.last.saturating_add(1);
        if self.most == 0 {
            self.leave(&row);
        } else {
            self.rows.push_back((self.last, row));
        }
    }

    /// The number of the last row that was ever written.
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn rows(&self, filter: &Filter, after: u64, most: usize) -> Vec<(u64, Row)> {
        let from = self.rows.partition_point(|(number, _)| *number <= after);
        self.rows.range(from..).filter(|(_, row)| filter.has(row)).take(most).cloned().collect()
    }

    pub(super) fn totals(&self) -> Vec<Total> {
        let total = |(key, spent): (&(Subject, MeterId, u32, Timestamp), &i64)| {
            let (account, meter, epoch, window) = key.clone();
            Total { account, meter, epoch, window, spent: *spent }
        };
        self.totals.iter().map(total).collect()
    }

    /// Replaces rows older than this by their totals, and says how many.
    pub(super) fn compact(&mut self, before: Timestamp) -> usize {
        let all = self.rows.len();
        for (number, row) in std::mem::take(&mut self.rows) {
            if row.at < before {
                self.leave(&row);
            } else {
                self.rows.push_back((number, row));
            }
        }
        all - self.rows.len()
    }

    fn make_room(&mut self, room: usize) {
        while self.rows.len().saturating_add(room) > self.most {
            let Some((_, row)) = self.rows.pop_front() else { return };
            self.leave(&row);
        }
    }

    fn leave(&mut self, row: &Row) {
        match &row.entry {
            RowEntry::Meter(row) if row.spent != 0 => {
                self.add((row.account.clone(), row.meter, row.epoch, row.window), row.spent);
            }
            // What the account had before is proved by nobody any more.
            RowEntry::Forgotten { account } => self.totals.retain(|(of, ..), _| of != account),
            _ => {}
        }
    }

    fn add(&mut self, key: (Subject, MeterId, u32, Timestamp), spent: i64) {
        let total = self.totals.entry(key).or_default();
        *total = total.saturating_add(spent);
    }
}
