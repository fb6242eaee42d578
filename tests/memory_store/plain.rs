//! Plans as a host's would be: sliding limits, and one budget.

use keyward::account::{Audit, MeterId, OnExpiry};
use keyward::plan::{Act, Ask, Firm, Kernel, Plan, Report, Rule, Take};
use keyward::window::Window;
use keyward::{Amount, Length, OpId, Subject, Timestamp};

pub(crate) fn subject(name: &str) -> Subject {
    Subject::of([("key", name)]).unwrap()
}

pub(crate) fn sliding(meter: u32, cap: u32) -> Rule {
    Rule {
        meter: MeterId(meter),
        generation: 0,
        cap: Amount::new(cap).into(),
        kernel: Kernel::Sliding { length: Length::MINUTE },
        firm: Firm::Hard,
        on_expiry: OnExpiry::Release,
        audit: Audit::None,
    }
}

pub(crate) fn budget(meter: u32, cap: u32) -> Rule {
    let kernel = Kernel::Tumble { window: Window::ALWAYS };
    Rule { kernel, on_expiry: OnExpiry::Charge, audit: Audit::Rows, ..sliding(meter, cap) }
}

pub(crate) fn hold(account: u16, rule: Rule, amount: u32) -> Take {
    Take { account, rule, ask: Ask::Exact(Amount::new(amount)), act: Act::Hold }
}

pub(crate) fn charge(account: u16, rule: Rule, amount: u32) -> Take {
    Take { act: Act::Charge, ..hold(account, rule, amount) }
}

/// Three sliding limits of one subject.
pub(crate) fn three(of: &Subject, op: OpId, now: Timestamp) -> Plan {
    let plan = Plan::new(now).named(of.clone()).of(op);
    (1..=3).fold(plan, |plan, meter| plan.take(hold(0, sliding(meter, 1_000_000_000), 1)))
}

pub(crate) fn settle(of: &Subject, op: OpId, now: Timestamp) -> Plan {
    Plan::new(now).named(of.clone()).of(op).report(Report::Settle { account: None, actual: Default::default() })
}
