//! What tests share: a small and complete store, and short words for plans.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use keyward::account::{Audit, MeterId, OnExpiry};
use keyward::plan::{Act, Ask, Denial, Firm, Grant, Kernel, Report, Rule, Take, Verdict};
use keyward::window::Window;
use keyward::{Amount, OpId, Subject, Timestamp};

pub mod tables;

pub use tables::TableStore;

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(seconds).unwrap()
}

pub fn micros(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub fn units(n: i64) -> Amount {
    Amount::from_i64(n).unwrap()
}

pub fn key(name: &str) -> Subject {
    Subject::of([("key", name)]).unwrap()
}

pub fn host(id: &str) -> OpId {
    OpId::host(id).unwrap()
}

pub fn tumble(from: i64, to: i64) -> Kernel {
    Kernel::Tumble { window: Window { start: at(from), end: at(to) } }
}

pub const ALWAYS: Kernel = Kernel::Tumble { window: Window::ALWAYS };

/// A hard limit whose holds are charged when they expire, and proved by the ledger: a budget.
pub fn budget(meter: u32, cap: i64, kernel: Kernel) -> Rule {
    Rule {
        meter: MeterId(meter),
        generation: 0,
        cap: units(cap).into(),
        kernel,
        firm: Firm::Hard,
        on_expiry: OnExpiry::Charge,
        audit: Audit::Rows,
    }
}

/// A hard limit whose holds are given back when they expire, without rows: a rate.
pub fn rate(meter: u32, cap: i64, kernel: Kernel) -> Rule {
    Rule { on_expiry: OnExpiry::Release, audit: Audit::None, ..budget(meter, cap, kernel) }
}

pub fn hold(account: u16, rule: Rule, n: i64) -> Take {
    Take { account, rule, ask: Ask::Exact(units(n)), act: Act::Hold }
}

pub fn charge(account: u16, rule: Rule, n: i64) -> Take {
    Take { act: Act::Charge, ..hold(account, rule, n) }
}

pub fn amounts(of: &[(u32, i64)]) -> smallvec::SmallVec<[(MeterId, Amount); 4]> {
    of.iter().map(|(meter, n)| (MeterId(*meter), units(*n))).collect()
}

pub fn settle(of: &[(u32, i64)]) -> Report {
    Report::Settle { account: None, actual: amounts(of) }
}

pub const RELEASE: Report = Report::Release { account: None };

#[track_caller]
pub fn granted(verdict: Verdict) -> Grant {
    match verdict {
        Verdict::Granted(grant) => grant,
        other => panic!("not granted: {other:?}"),
    }
}

#[track_caller]
pub fn denied(verdict: Verdict) -> Denial {
    match verdict {
        Verdict::Denied(denial) => denial,
        other => panic!("not denied: {other:?}"),
    }
}
