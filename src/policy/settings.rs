//! By what a pool chooses, how long its keys cool, and what becomes of a call when none is left.

use super::forms::{CoolingForm, StrategyForm};
use super::problems::Findings;
use super::raw::{Entry, Raw};
use crate::keys::OnExhausted;
use crate::pool::{Cooling, Strategy};
use crate::time::Length;

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    RoundRobin,
    Random,
    Sticky,
    Plain(Strategy),
}

/// `None` for a random order from a seed of its own.
pub(super) fn strategy(entry: Option<&Entry<StrategyForm>>, path: &str, findings: &mut Findings) -> Option<Strategy> {
    const STRATEGIES: [(&str, By); 8] = [
        ("round_robin", By::RoundRobin),
        ("random", By::Random),
        ("weighted", By::Plain(Strategy::Weighted)),
        ("least_used", By::Plain(Strategy::LeastUsed)),
        ("least_in_flight", By::Plain(Strategy::LeastInFlight)),
        ("most_headroom", By::Plain(Strategy::MostHeadroom)),
        ("soonest_reset", By::Plain(Strategy::SoonestReset)),
        ("sticky", By::Sticky),
    ];
    let field = format!("{path}.strategy");
    let nothing = StrategyForm::default();
    let (by, form) = match entry {
        None => return Some(Strategy::default()),
        Some(Entry::Plain(raw)) => (findings.word(&field, Some(raw), &STRATEGIES), &nothing),
        Some(Entry::Form(form)) => {
            let field = format!("{field}.by");
            if form.by.is_none() {
                findings.refuse(&field, "nothing", "the name of a strategy, such as sticky");
            }
            (findings.word(&field, form.by.as_ref(), &STRATEGIES), &**form)
        }
    };
    let at = |name: &str| format!("{field}.{name}");
    form.only_known(&field, findings);
    let in_a_row = findings.whole(&at("in_a_row"), form.in_a_row.as_ref(), "a whole number from 1 on");
    let seed = findings.whole(&at("seed"), form.seed.as_ref(), "a whole number");
    let lifetime = findings.parse(&at("lifetime"), form.lifetime.as_ref());
    let busy = findings.whole(&at("busy"), form.busy.as_ref(), "a whole number from 1 on");
    let settings = [
        ("in_a_row", &form.in_a_row, By::RoundRobin, "round_robin"),
        ("seed", &form.seed, By::Random, "random"),
        ("lifetime", &form.lifetime, By::Sticky, "sticky"),
        ("busy", &form.busy, By::Sticky, "sticky"),
    ];
    for (name, raw, of, word) in settings {
        if let (Some(raw), Some(_)) = (raw, by.filter(|by| *by != of)) {
            findings.refuse(&at(name), raw, format!("nothing here, since it belongs to {word}"));
        }
    }
    let strategy = match by? {
        By::RoundRobin => Strategy::RoundRobin { in_a_row: in_a_row.unwrap_or(1) },
        By::Random => Strategy::Random { seed: seed? },
        By::Sticky => Strategy::Sticky { lifetime: lifetime.unwrap_or(Length::HOUR), busy },
        By::Plain(strategy) => strategy,
    };
    findings.keep(strategy.check(), "strategy", &field);
    Some(strategy)
}

pub(super) fn cooling(form: &CoolingForm, path: &str, findings: &mut Findings) -> Cooling {
    let mut cooling = Cooling::default();
    let before = findings.count();
    form.only_known(path, findings);
    form.ladder.only_known(&format!("{path}.ladder"), findings);
    form.patience.only_known(&format!("{path}.patience"), findings);
    for (name, raw, length) in [
        ("ladder.first", &form.ladder.first, &mut cooling.ladder.first),
        ("ladder.longest", &form.ladder.longest, &mut cooling.ladder.longest),
        ("transient", &form.transient, &mut cooling.transient),
        ("exhausted", &form.exhausted, &mut cooling.exhausted),
        ("model", &form.model, &mut cooling.model),
        ("patience.stated", &form.patience.stated, &mut cooling.patience.stated),
        ("patience.read", &form.patience.read, &mut cooling.patience.read),
        ("patience.most", &form.patience.most, &mut cooling.patience.most),
        ("probe", &form.probe, &mut cooling.probe),
    ] {
        if let Some(read) = findings.parse(&format!("{path}.{name}"), raw.as_ref()) {
            *length = read;
        }
    }
    let jitter = findings.whole(&format!("{path}.jitter"), form.jitter.as_ref(), "thousandths, from 0 to 1000");
    cooling.jitter = jitter.unwrap_or(cooling.jitter);
    cooling.block_the_only_key =
        findings.switch(&format!("{path}.block_the_only_key"), form.block_the_only_key.as_ref());
    if findings.count() == before {
        findings.keep(cooling.check(), "cooling", path);
    }
    cooling
}

pub(super) fn exhausted(raw: Option<&Raw>, field: &str, findings: &mut Findings) -> OnExhausted {
    let Some(text) = findings.text(field, raw) else { return OnExhausted::default() };
    match (text.as_str(), text.strip_prefix("wait ").map(str::parse)) {
        ("refuse", _) => OnExhausted::Refuse,
        ("best_effort", _) => OnExhausted::BestEffort,
        (_, Some(Ok(length))) => OnExhausted::Wait(length),
        _ => {
            findings.refuse(field, text, "one of refuse, best_effort, and wait with a length, as in wait 30s");
            OnExhausted::default()
        }
    }
}
