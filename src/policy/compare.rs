//! Two policies side by side.

use super::Checked;
use super::changes::{Changes, Effect, Kind, Of};
use super::pools::{KeyPlan, Plan};
use crate::account::{Ask, Firm, MeterId};
use crate::amount::Cap;
use crate::keys::OnExhausted;
use crate::limit::{Compiled, Limit, Own, Shape, WhenDown};
use crate::pool::{Cooling, Strategy};
use crate::price::{Book, Entry, Price};
use crate::time::Timestamp;
use crate::usage::Usage;

/// What a field of something has, in words.
type Value<T> = fn(&T) -> Option<String>;

pub(super) fn between(old: &Checked, new: &Checked) -> Changes {
    let mut changes = Changes::default();
    limits(&old.compiled, &new.compiled, &mut changes);
    pools(&old.pools, &new.pools, &mut changes);
    prices(old.prices.as_ref(), new.prices.as_ref(), &mut changes);
    for (field, before, after) in [
        ("price_fallbacks", &old.pricing.fallbacks, &new.pricing.fallbacks),
        ("unpriced", &old.pricing.unpriced, &new.pricing.unpriced),
    ] {
        changes.edited(Of::Prices, "", field, [Some(before.clone()), Some(after.clone())], Effect::None);
    }
    changes
}

fn limits(old: &[Compiled], new: &[Compiled], changes: &mut Changes) {
    let missing = |from: &[Compiled], limit: &Compiled| from.iter().all(|other| other.id() != limit.id());
    let mut gone: Vec<&Compiled> = old.iter().filter(|limit| missing(new, limit)).collect();
    let came: Vec<&Compiled> = new.iter().filter(|limit| missing(old, limit)).collect();
    for limit in new {
        if let Some(before) = old.iter().find(|other| other.id() == limit.id()) {
            edited(before, limit, changes);
            continue;
        }
        // Without a name, one with another window is another limit; for a person it is the same, with another window.
        let twins: Vec<usize> = (0..).zip(&gone).filter(|(_, other)| alike(other, limit)).map(|(at, _)| at).collect();
        match twins.as_slice() {
            [at] if came.iter().filter(|other| alike(other, limit)).count() == 1 => {
                let before = gone.remove(*at);
                edited(before, limit, changes);
            }
            _ => changes.whole(Of::Limit, limit.id().as_str(), Kind::Added, limit.to_string(), Effect::Fresh),
        }
    }
    for limit in gone {
        changes.whole(Of::Limit, limit.id().as_str(), Kind::Removed, limit.to_string(), Effect::None);
    }
}

/// Whether both have no name and count the same for the same.
fn alike(one: &Compiled, other: &Compiled) -> bool {
    let unnamed = |limit: &Compiled| {
        let scope = limit.id().as_str().strip_prefix(limit.measure().name());
        scope.is_some_and(|scope| !scope.is_empty() && limit.to_string().ends_with(scope))
    };
    let counts = |limit: &Compiled| (limit.measure().clone(), limit.by().to_vec(), limit.conditions().to_vec());
    unnamed(one) && unnamed(other) && counts(one) == counts(other)
}

fn edited(old: &Compiled, new: &Compiled, changes: &mut Changes) {
    let name = new.id().as_str();
    let fields: [(&'static str, Value<Compiled>, Effect); 18] = [
        ("measure", |limit| Some(limit.measure().to_string()), Effect::Kept),
        ("window", |limit| Some(limit.schedule()), Effect::Fresh),
        ("by", |limit| listed(limit.by()), Effect::Fresh),
        ("amount", amount, Effect::Kept),
        (
            "when",
            |limit| listed(limit.conditions().iter().map(|(name, value)| format!("{name}={value}"))),
            Effect::Kept,
        ),
        (
            "anchor",
            |limit| match limit.shape() {
                Shape::Anchored(_, anchor) => anchor.map(|anchor| anchor.to_string()),
                _ => None,
            },
            Effect::None,
        ),
        (
            "until",
            |limit| match limit.shape() {
                Shape::FirstUse(windows) => windows.until.map(|until| until.to_string()),
                _ => None,
            },
            Effect::Kept,
        ),
        (
            "burst",
            |limit| match limit.shape() {
                Shape::Gcra(_, burst) => Some(burst.to_string()),
                _ => None,
            },
            Effect::Kept,
        ),
        (
            "refill",
            |limit| match limit.shape() {
                Shape::Credits(refill, zone) => {
                    refill.map(|refill| format!("{} {:?} {:?} in {zone}", refill.amount, refill.policy, refill.every))
                }
                _ => None,
            },
            Effect::Kept,
        ),
        ("soft", |limit| Some((limit.firm() == Firm::Soft).to_string()), Effect::Kept),
        ("if_present", |limit| Some(matches!(limit.subject(|_| None), Ok(None)).to_string()), Effect::Kept),
        (
            "assume",
            |limit| match limit.ask(None) {
                Ok(Ask::Assumed(amount)) => Some(limit.measure().show(amount)),
                _ => None,
            },
            Effect::Kept,
        ),
        ("on_expiry", |limit| Some(format!("{:?}", rule(limit).on_expiry).to_lowercase()), Effect::Kept),
        ("audit", |limit| Some(format!("{:?}", rule(limit).audit).to_lowercase()), Effect::Kept),
        ("weights", weights, Effect::Kept),
        ("alert_at_percent", |limit| listed(limit.alerts()), Effect::Kept),
        ("relaxed", |limit| Some(limit.is_relaxed().to_string()), Effect::Kept),
        ("when_down", |limit| Some(when_down(limit.when_down())), Effect::Kept),
    ];
    let balances = [old, new].into_iter().all(|limit| matches!(limit.shape(), Shape::Credits(..)));
    for (field, value, effect) in fields {
        let effect = if balances && matches!(field, "amount" | "refill") { Effect::NewBalances } else { effect };
        changes.edited(Of::Limit, name, field, [value(old), value(new)], effect);
    }
    let note = |limit: &Compiled| Some(limit.note().to_owned()).filter(|note| !note.is_empty());
    changes.edited(Of::Limit, name, "note", [note(old), note(new)], Effect::None);
}

fn amount(limit: &Compiled) -> Option<String> {
    Some(match limit.cap() {
        Cap::Unlimited => "unlimited".to_owned(),
        Cap::At(amount) => limit.measure().show(amount),
    })
}

fn rule(limit: &Compiled) -> crate::account::Rule {
    limit.rule(MeterId(1), 0, Timestamp::EPOCH, &Own::default(), Timestamp::EPOCH)
}

/// How much a thousand tokens of each kind count.
fn weights(limit: &Compiled) -> Option<String> {
    let kinds = [
        ("input", Usage::new().input(1_000)),
        ("cache_read", Usage::new().cache_read(1_000)),
        ("cache_write", Usage::new().cache_write_5m(1_000)),
        ("output", Usage::new().output(1_000)),
    ];
    let tokens = *limit.measure() == crate::amount::Measure::Tokens;
    let parts = kinds.into_iter().filter_map(|(name, usage)| Some(format!("{name} {}", limit.used(&usage).ok()??)));
    tokens.then(|| parts.collect::<Vec<_>>().join(", "))
}

fn when_down(limit: WhenDown) -> String {
    match limit {
        WhenDown::Refuse => "refuse".to_owned(),
        WhenDown::InProcess { percent } => format!("{percent}%"),
    }
}

fn listed<T: ToString>(values: impl IntoIterator<Item = T>) -> Option<String> {
    let texts: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    (!texts.is_empty()).then(|| texts.join(" and "))
}

fn pools(old: &[Plan], new: &[Plan], changes: &mut Changes) {
    for plan in new {
        match old.iter().find(|other| other.name == plan.name) {
            Some(before) => pool(before, plan, changes),
            None => {
                let keys: Vec<String> = plan.keys.iter().map(KeyPlan::called).collect();
                changes.whole(Of::Pool, &plan.name, Kind::Added, keys.join(", "), Effect::Fresh);
            }
        }
    }
    for plan in old.iter().filter(|plan| new.iter().all(|other| other.name != plan.name)) {
        let keys: Vec<String> = plan.keys.iter().map(KeyPlan::called).collect();
        changes.whole(Of::Pool, &plan.name, Kind::Removed, keys.join(", "), Effect::None);
    }
}

fn pool(old: &Plan, new: &Plan, changes: &mut Changes) {
    let name = new.name.as_str();
    let fields: [(&'static str, Value<Plan>); 6] = [
        ("strategy", |plan| Some(strategy(plan.strategy))),
        ("cooling", |plan| Some(cooling(&plan.cooling))),
        ("limits", |plan| own_limits(&plan.each)),
        ("fallback", |plan| plan.fallback.clone()),
        ("on_exhausted", |plan| Some(exhausted(plan.exhausted))),
        ("look_every", |plan| plan.look_every.map(|length| length.to_string())),
    ];
    for (field, value) in fields {
        changes.edited(Of::Pool, name, field, [value(old), value(new)], Effect::None);
    }
    for key in &new.keys {
        let called = format!("{} of {name}", key.called());
        match old.keys.iter().find(|other| other.called() == key.called()) {
            Some(before) => self::key(&called, before, key, changes),
            None => changes.whole(Of::Key, &called, Kind::Added, key.reference.to_string(), Effect::Fresh),
        }
    }
    for key in old.keys.iter().filter(|key| new.keys.iter().all(|other| other.called() != key.called())) {
        let called = format!("{} of {name}", key.called());
        changes.whole(Of::Key, &called, Kind::Removed, key.reference.to_string(), Effect::None);
    }
    let order = |plan: &Plan, other: &Plan| {
        let both = |key: &&KeyPlan| other.keys.iter().any(|known| known.called() == key.called());
        Some(plan.keys.iter().filter(both).map(KeyPlan::called).collect::<Vec<_>>().join(", "))
    };
    changes.edited(Of::Pool, name, "order", [order(old, new), order(new, old)], Effect::Kept);
}

fn key(called: &str, old: &KeyPlan, new: &KeyPlan, changes: &mut Changes) {
    let fields: [(&'static str, Value<KeyPlan>); 8] = [
        ("secret", |key| Some(key.reference.to_string())),
        ("name", |key| key.like.called().map(str::to_owned)),
        ("provider", |key| key.like.of_provider().map(str::to_owned)),
        ("kind", |key| key.like.of_kind().map(str::to_owned)),
        ("weight", |key| Some(key.like.member().weight.to_string())),
        ("priority", |key| Some(key.like.member().priority.to_string())),
        ("disabled", |key| Some((!key.like.is_enabled()).to_string())),
        ("limits", |key| own_limits(&key.limits)),
    ];
    for (field, value) in fields {
        changes.edited(Of::Key, called, field, [value(old), value(new)], Effect::Kept);
    }
}

fn own_limits(limits: &[Limit]) -> Option<String> {
    listed(limits.iter().filter_map(|limit| limit.clone().compile().ok()))
}

fn strategy(strategy: Option<Strategy>) -> String {
    match strategy {
        None => "random".to_owned(),
        Some(Strategy::RoundRobin { in_a_row: 1 }) => "round_robin".to_owned(),
        Some(Strategy::RoundRobin { in_a_row }) => format!("round_robin, {in_a_row} in a row"),
        Some(Strategy::Random { seed }) => format!("random from {seed}"),
        Some(Strategy::Weighted) => "weighted".to_owned(),
        Some(Strategy::LeastUsed) => "least_used".to_owned(),
        Some(Strategy::LeastInFlight) => "least_in_flight".to_owned(),
        Some(Strategy::MostHeadroom) => "most_headroom".to_owned(),
        Some(Strategy::SoonestReset) => "soonest_reset".to_owned(),
        Some(Strategy::Sticky { lifetime, busy: None }) => format!("sticky for {lifetime}"),
        Some(Strategy::Sticky { lifetime, busy: Some(calls) }) => format!("sticky for {lifetime}, busy at {calls}"),
    }
}

fn exhausted(policy: OnExhausted) -> String {
    match policy {
        OnExhausted::Refuse => "refuse".to_owned(),
        OnExhausted::BestEffort => "best_effort".to_owned(),
        OnExhausted::Wait(length) => format!("wait {length}"),
    }
}

fn cooling(cooling: &Cooling) -> String {
    let Cooling { ladder, transient, exhausted, model, patience, jitter, probe, block_the_only_key } = cooling;
    format!(
        "ladder {} to {}, transient {transient}, exhausted {exhausted}, model {model}, patience {} {} {}, jitter {jitter}, \
         probe {probe}, block_the_only_key {block_the_only_key}",
        ladder.first, ladder.longest, patience.stated, patience.read, patience.most,
    )
}

fn prices(old: Option<&Book>, new: Option<&Book>, changes: &mut Changes) {
    let (old, new) = (old.map_or(&[][..], Book::entries), new.map_or(&[][..], Book::entries));
    for entry in new {
        match old.iter().find(|other| whose(other) == whose(entry)) {
            Some(before) => {
                let values = [Some(rates(&before.price)), Some(rates(&entry.price))];
                changes.edited(Of::Price, &whose(entry), "rates", values, Effect::None);
            }
            None => changes.whole(Of::Price, &whose(entry), Kind::Added, rates(&entry.price), Effect::None),
        }
    }
    for entry in old.iter().filter(|entry| new.iter().all(|other| whose(other) != whose(entry))) {
        changes.whole(Of::Price, &whose(entry), Kind::Removed, rates(&entry.price), Effect::None);
    }
}

fn whose(entry: &Entry) -> String {
    let mut text = entry.model.to_string();
    text.extend(entry.provider.iter().map(|provider| format!(" of {provider}")));
    text.extend(entry.class.iter().map(|class| format!(", {class}")));
    if entry.from > Timestamp::MIN {
        text.push_str(&format!(", from {}", entry.from));
    }
    text
}

fn rates(price: &Price) -> String {
    let Price { input, cache_read, cache_write_5m, cache_write_1h, output, request, extras, longest_prompt } = price;
    let named = [
        ("input", input),
        ("cache_read", cache_read),
        ("cache_write_5m", cache_write_5m),
        ("cache_write_1h", cache_write_1h),
        ("output", output),
        ("requests", request),
    ];
    let named = named.into_iter().filter_map(|(name, rate)| rate.as_ref().map(|rate| format!("{name} {rate}")));
    let extras = extras.iter().map(|(name, rate)| format!("{name} {rate}"));
    let longest = longest_prompt.iter().map(|tokens| format!("prompts up to {tokens} tokens"));
    named.chain(extras).chain(longest).collect::<Vec<_>>().join(", ")
}
