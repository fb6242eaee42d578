//! Faults in reading, and in the ledger's compaction.

use keyward::account::{Account, Part, Row};
use keyward::store::{Filter, PartKey, PartsOf};
use keyward::{Store, Subject, Timestamp};

use crate::frame::{Fault, caught, faults};
use crate::tables::TableStore;

faults! {
    /// A page began with the second row after the last one.
    a_page_that_skips: ["rows_are_listed_once_in_order"] {
        fn read_rows(&self, store: &TableStore, filter: &Filter, after: u64, most: usize) -> Vec<(u64, Row)> {
            let after = if after > 0 && most < 10 { after + 1 } else { after };
            store.rows(filter, after, most).unwrap()
        }
    }

    /// A page began with the last of the one before.
    a_page_that_repeats: ["accounts_are_listed_once_in_order"] {
        fn read_accounts(&self, store: &TableStore, after: Option<&Subject>, most: usize) -> Vec<(Subject, Account)> {
            let tables = store.lock();
            let all = tables.accounts.iter().filter(|(subject, _)| after.is_none_or(|after| *subject >= after));
            all.take(most).map(|(subject, account)| (subject.clone(), account.clone())).collect()
        }
    }

    /// A page was cut before it was filtered, and a reader took a short page for the last.
    a_page_that_is_cut_before_it_is_filtered: ["rows_are_found_by_what_they_say"] {
        fn read_rows(&self, store: &TableStore, filter: &Filter, after: u64, most: usize) -> Vec<(u64, Row)> {
            let page = store.rows(&Filter::default(), after, most).unwrap();
            page.into_iter().filter(|(_, row)| filter.has(row)).collect()
        }
    }

    /// An index ordered parts by their account first.
    parts_in_another_order: ["parts_are_listed_once_in_order"] {
        fn read_parts(&self, store: &TableStore, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Vec<Part> {
            let mut page = Store::parts(store, of, after, most).unwrap();
            page.sort_by(|one, other| (&one.account, &one.op).cmp(&(&other.account, &other.op)));
            page
        }
    }

    /// A filter compared the end of a stretch of time with `<=`.
    a_filter_that_includes_the_end: ["rows_are_found_by_their_time"] {
        fn read_rows(&self, store: &TableStore, filter: &Filter, after: u64, most: usize) -> Vec<(u64, Row)> {
            let mut filter = filter.clone();
            filter.until = filter.until.map(|until| Timestamp::from_micros(until.as_micros() + 1));
            store.rows(&filter, after, most).unwrap()
        }
    }

    /// Old rows were deleted, and nothing was left in their place.
    a_compaction_without_totals: ["a_compacted_ledger_proves_the_same"] {
        fn compact(&self, store: &TableStore, before: Timestamp) -> usize {
            let count = store.compact(before).unwrap();
            store.lock().totals.clear();
            count
        }
    }

    /// Numbers of rows were counted from those that are there.
    numbers_of_rows_that_come_again: ["numbers_of_rows_are_never_used_again"] {
        fn compact(&self, store: &TableStore, before: Timestamp) -> usize {
            let count = store.compact(before).unwrap();
            let mut tables = store.lock();
            tables.last_row = tables.rows.keys().next_back().copied().unwrap_or(0);
            count
        }
    }
}
