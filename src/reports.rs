//! Reports: what was used, by whatever it is asked for, in one pass over a store's ledger.
//!
//! Whatever is asked is added up from ledger rows, page by page: an accumulator takes rows in, and says in the end what
//! they come to. The functions here feed it from a [`Store`]; who reads rows in another way feeds it by hand. Reports reach
//! as far back as the ledger does: rows that were compacted into totals, or left a memory store's ring, are not in them.
//!
//! ```
//! use keyward::reports::{group, Group};
//! use keyward::store::Filter;
//! use keyward::{MemoryStore, Timestamp};
//!
//! let store = MemoryStore::new();
//! let by = [Group::Dimension("team".into()), Group::Dimension("model".into())];
//! let mut filter = Filter::default();
//! filter.from = Some(Timestamp::EPOCH);
//! assert_eq!(group(&store, &filter, &by)?, []);
//! # Ok::<(), keyward::StoreError>(())
//! ```

mod groups;
mod keys;

pub use groups::{Group, Groups, Line, group};
pub use keys::{Activities, Activity, ClientRow, PerMinute, Upstream, activity, client_row, client_rows, upstreams};

use crate::account::{Kind, Row, RowEntry, UsageRow};
use crate::amount::Measure;
use crate::error::StoreError;
use crate::store::{Filter, Store, Sum};
use crate::usage::Usage;

/// How many rows are read at a time.
const PAGE: usize = 4_096;

/// Adds a row of usage. One that replaces an earlier one counts what it changes; what was used besides a call that was
/// settled before is no other call, unless it says so.
fn add(sum: &mut Sum, row: &UsageRow) {
    sum.rows += 1;
    let mut of = |usage: &Usage, sign: i128| {
        let size = |measure| usage.amount(&measure).map_or(0, |amount| i128::from(amount.get())) * sign;
        if row.kind != Kind::Record || usage.requests.is_some() {
            sum.requests += size(Measure::Requests);
        }
        sum.tokens += size(Measure::Tokens);
        sum.usd += size(Measure::Usd);
    };
    of(&row.usage, 1);
    if let Some(before) = &row.instead_of {
        of(before, -1);
    }
}

/// Shows every row of usage that the filter lets through, oldest first.
fn each(
    store: &(impl Store + ?Sized),
    filter: &Filter,
    mut see: impl FnMut(&Row, &UsageRow),
) -> Result<(), StoreError> {
    let mut after = 0;
    loop {
        let page = store.rows(filter, after, PAGE)?;
        for (number, row) in &page {
            after = *number;
            if let RowEntry::Usage(usage) = &row.entry {
                see(row, usage);
            }
        }
        if page.len() < PAGE {
            return Ok(());
        }
    }
}
