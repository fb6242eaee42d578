//! Pools and their keys from their fields: first everything that can be said without a secret, then the pools.

use std::hash::{BuildHasher, RandomState};

use super::forms::{KeyForm, LimitForm, PoolForm};
use super::limits::{self, Words};
use super::problems::Findings;
use super::raw::{Entry, Raw};
use super::reference::{Reference, Written};
use super::settings::{cooling, exhausted, strategy};
use crate::error::Error;
use crate::id::{KeyId, Secret};
use crate::keys::{OnExhausted, Pool};
use crate::limit::Limit;
use crate::pool::parse::{self, Twice};
use crate::pool::{Cooling, Key, Strategy};
use crate::time::Length;

/// A pool that was checked, as far as that goes without its secrets.
#[derive(Clone)]
pub(super) struct Plan {
    path: String,
    pub(super) name: String,
    pub(super) keys: Vec<KeyPlan>,
    pub(super) each: Vec<Limit>,
    /// `None` for a random order from a seed of its own.
    pub(super) strategy: Option<Strategy>,
    pub(super) cooling: Cooling,
    pub(super) exhausted: OnExhausted,
    pub(super) look_every: Option<Length>,
    pub(super) twice: Twice,
    pub(super) fallback: Option<String>,
}

/// One entry of a pool's keys: a key, or as many as its reference has.
#[derive(Clone)]
pub(super) struct KeyPlan {
    path: String,
    pub(super) reference: Reference,
    pub(super) id: Option<KeyId>,
    /// Everything but the id and the secret.
    pub(super) like: Key,
    pub(super) limits: Vec<Limit>,
}

/// The pools of a policy; everything that is wrong with them is found.
pub(super) fn plans(forms: &[PoolForm], words: &Words, findings: &mut Findings) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    let names: Vec<&Raw> = forms.iter().filter_map(|form| form.name.as_ref()).collect();
    for (place, form) in forms.iter().enumerate() {
        let path = format!("pools[{place}]");
        let name =
            form.name.as_ref().filter(|name| forms.iter().take(place).any(|other| other.name.as_ref() == Some(name)));
        if let Some(name) = name {
            findings.refuse(&format!("{path}.name"), name, "each pool once");
        }
        if let Some(fallback) = form.fallback.as_ref().filter(|fallback| !names.contains(fallback)) {
            let known: Vec<String> = names.iter().map(|name| name.to_string()).collect();
            findings.refuse(&format!("{path}.fallback"), fallback, format!("one of the pools: {}", known.join(", ")));
        }
        plans.extend(plan(form, path, words, findings));
    }
    for plan in &plans {
        let (mut at, mut steps) = (plan, 0);
        while let Some(next) = at.fallback.as_ref().and_then(|name| plans.iter().find(|other| other.name == *name)) {
            (at, steps) = (next, steps + 1);
            if at.name == plan.name {
                let field = format!("{}.fallback", plan.path);
                findings.refuse(
                    &field,
                    plan.fallback.as_deref().unwrap_or_default(),
                    "a pool that does not fall back to this one",
                );
                break;
            }
            if steps > plans.len() {
                break;
            }
        }
    }
    plans
}

fn plan(form: &PoolForm, path: String, words: &Words, findings: &mut Findings) -> Option<Plan> {
    let before = findings.count();
    let at = |field: &str| format!("{path}.{field}");
    form.only_known(&path, findings);
    let name = match &form.name {
        None => {
            findings.refuse(&at("name"), "nothing", "a name");
            None
        }
        raw => findings.parse::<KeyId>(&at("name"), raw.as_ref()),
    };
    if form.keys.0.is_empty() {
        findings.refuse(&at("keys"), "nothing", "at least one reference to keys");
    }
    let provider = findings.text(&at("provider"), form.provider.as_ref());
    let mut keys: Vec<KeyPlan> = Vec::new();
    for (place, entry) in form.keys.0.iter().enumerate() {
        let Some(key) = key(entry, at(&format!("keys[{place}]")), provider.as_deref(), words, findings) else {
            continue;
        };
        if keys.iter().any(|other| other.reference == key.reference) {
            findings.refuse(&key.path, &key.reference, "each reference once");
        }
        if let Some(id) = key.id.as_ref().filter(|id| keys.iter().any(|other| other.id.as_ref() == Some(id))) {
            findings.refuse(&format!("{}.id", key.path), id, "each id once");
        }
        keys.push(key);
    }
    let each = own_limits(&form.limits, &path, words, findings);
    let strategy = strategy(form.strategy.as_ref(), &path, findings);
    let cooling = cooling(&form.cooling, &at("cooling"), findings);
    let exhausted = exhausted(form.on_exhausted.as_ref(), &at("on_exhausted"), findings);
    let look_every = findings.parse(&at("look_every"), form.look_every.as_ref());
    let twices = [("refused", Twice::Refused), ("merged", Twice::Merged)];
    let twice = findings.word(&at("twice"), form.twice.as_ref(), &twices).unwrap_or_default();
    let fallback = findings.text(&at("fallback"), form.fallback.as_ref());
    if findings.count() > before {
        return None;
    }
    let name = name?.as_str().to_owned();
    let plan = Plan { path, name, keys, each, strategy, cooling, exhausted, look_every, twice, fallback };
    // What only shows when the pool is put together does so with any secrets.
    let stand_in = |place: usize| Key::new(Secret::new(format!("stand-in-{place}")));
    let keys = plan.keys.iter().enumerate().map(|(place, key)| {
        let id = key.id.clone().or_else(|| format!("keys[{place}]").parse().ok());
        (key, id.map_or_else(|| stand_in(place), |id| stand_in(place).identified(id)))
    });
    let keys: Vec<(&KeyPlan, Key)> = keys.collect();
    plan.put_together(&keys, None, findings)?;
    Some(plan)
}

fn own_limits(entries: &[Entry<LimitForm>], path: &str, words: &Words, findings: &mut Findings) -> Vec<Limit> {
    let limit = |(place, entry)| limits::limit(entry, &format!("{path}.limits[{place}]"), words, findings);
    entries.iter().enumerate().filter_map(limit).collect()
}

fn key(
    entry: &Entry<KeyForm, Written>,
    path: String,
    provider: Option<&str>,
    words: &Words,
    findings: &mut Findings,
) -> Option<KeyPlan> {
    let before = findings.count();
    let (written, form) = match entry {
        Entry::Plain(written) => (Some(written), &KeyForm::default()),
        Entry::Form(form) => (form.secret.as_ref(), &**form),
    };
    let at = |field: &str| format!("{path}.{field}");
    form.only_known(&path, findings);
    let reference = match written {
        None => {
            findings.refuse(&at("secret"), "nothing", "env:NAME, file:PATH or name:NAME");
            None
        }
        Some(written) => findings.keep(written.reference(), "reference", &path),
    };
    let id = findings.parse::<KeyId>(&at("id"), form.id.as_ref());
    let mut like = Key::new(Secret::new("stand-in"));
    let mut set = |findings: &mut Findings, change: &dyn Fn(Key) -> Key| {
        findings.keep(change(Key::new(Secret::new("stand-in"))).check(), "key", &path);
        like = change(like.clone());
    };
    if let Some(name) = findings.text(&at("name"), form.name.as_ref()) {
        set(findings, &|key| key.name(&name));
    }
    let own = findings.text(&at("provider"), form.provider.as_ref());
    if let Some(provider) = own.as_deref().or(provider) {
        set(findings, &|key| key.provider(provider));
    }
    if let Some(kind) = findings.text(&at("kind"), form.kind.as_ref()) {
        set(findings, &|key| key.kind(&kind));
    }
    let scope_id = findings.text(&at("scope_id"), form.scope_id.as_ref());
    if let Some(scope) = findings.text(&at("scope"), form.scope.as_ref()) {
        set(findings, &|key| key.scope(&scope, scope_id.as_deref()));
    } else if let (None, Some(id)) = (&form.scope, &form.scope_id) {
        findings.refuse(&at("scope_id"), id, "nothing here without a scope");
    }
    if let Some(weight) = findings.whole(&at("weight"), form.weight.as_ref(), "a whole number from 1 to 1000000") {
        set(findings, &|key| key.weight(weight));
    }
    if let Some(priority) = findings.whole(&at("priority"), form.priority.as_ref(), "a whole number from 0 on") {
        set(findings, &|key| key.priority(priority));
    }
    if findings.switch(&at("disabled"), form.disabled.as_ref()) {
        set(findings, &Key::disabled);
    }
    let limits = own_limits(&form.limits, &path, words, findings);
    if findings.count() > before {
        return None;
    }
    Some(KeyPlan { path, reference: reference?, id, like, limits })
}

impl KeyPlan {
    /// By what it is told from others without its secret.
    pub(super) fn called(&self) -> String {
        self.id.as_ref().map_or_else(|| self.reference.to_string(), KeyId::to_string)
    }
}

impl Plan {
    /// The pool of these keys.
    fn put_together(&self, keys: &[(&KeyPlan, Key)], fallback: Option<&Pool>, findings: &mut Findings) -> Option<Pool> {
        let strategy = self.strategy.unwrap_or_else(|| Strategy::Random { seed: RandomState::new().hash_one(0_u8) });
        let mut builder = Pool::builder(&self.name)
            .each_limited(self.each.iter().cloned())
            .twice(self.twice)
            .strategy(strategy)
            .cooling(self.cooling)
            .when_exhausted(self.exhausted);
        for (plan, key) in keys {
            builder = builder.key_with(key.clone(), plan.limits.iter().cloned());
        }
        if let Some(length) = self.look_every {
            builder = builder.look_every(length);
        }
        if let Some(pool) = fallback {
            builder = builder.fallback(pool.clone());
        }
        let named = |error: Error| {
            let of = |key: &&(&KeyPlan, Key)| {
                error.field().is_some_and(|field| field.starts_with(&format!("keys.{}.", key.1.id())))
            };
            match keys.iter().find(of) {
                Some((plan, key)) => {
                    let field =
                        error.field().unwrap_or_default().replacen(&format!("keys.{}.limit", key.id()), "limits", 1);
                    let (value, expected) = (error.value().unwrap_or_default(), error.expected().unwrap_or_default());
                    Error::invalid(format!("{}.{field}", plan.path), value, expected.to_owned())
                }
                None => error.renamed("pool", &self.path),
            }
        };
        builder.build().map_err(|error| findings.push(named(error))).ok()
    }

    /// The keys with their secrets.
    fn resolved(
        &self,
        resolve: &mut dyn FnMut(&Reference) -> Result<Secret, Error>,
        findings: &mut Findings,
    ) -> Vec<(&KeyPlan, Key)> {
        let mut all = Vec::new();
        for plan in &self.keys {
            let secret = match resolve(&plan.reference) {
                Ok(secret) => secret,
                Err(error) => {
                    findings.refuse(&plan.path, &plan.reference, error.expected().unwrap_or("what can be read"));
                    continue;
                }
            };
            let listed: Vec<&str> = secret.expose().lines().flat_map(parse::list).collect();
            if listed.is_empty() || (plan.id.is_some() && listed.len() > 1) {
                let one = if plan.id.is_some() { "one key, since it has an id" } else { "at least one key" };
                findings.refuse(&plan.path, &plan.reference, format!("{one}; it has {}", listed.len()));
                continue;
            }
            for text in listed {
                let secret = Secret::new(text);
                let id = plan.id.clone().unwrap_or_else(|| Key::new(secret.clone()).id().clone());
                let key = plan.like.clone().identified(id).rotated(secret);
                if let Err(error) = key.check() {
                    findings.refuse(&plan.path, &plan.reference, error.expected().unwrap_or_default());
                    continue;
                }
                all.push((plan, key));
            }
        }
        all
    }
}

/// The pools with their secrets, each after the one that it falls back to. Every reference is tried.
pub(super) fn build(
    plans: &[Plan],
    resolve: &mut dyn FnMut(&Reference) -> Result<Secret, Error>,
    findings: &mut Findings,
) -> Vec<Pool> {
    let mut built: Vec<Option<Pool>> = vec![None; plans.len()];
    let mut keys: Vec<_> = plans.iter().map(|plan| Some(plan.resolved(resolve, findings))).collect();
    // There is no circle, so that every round builds one at least.
    for _ in plans {
        for (place, plan) in plans.iter().enumerate() {
            let fallback = match &plan.fallback {
                None => None,
                Some(name) => {
                    let of = plans.iter().position(|other| other.name == *name);
                    match of.and_then(|of| built.get(of)).and_then(Option::as_ref) {
                        None => continue,
                        some => some.cloned(),
                    }
                }
            };
            if let Some(keys) = keys.get_mut(place).and_then(Option::take) {
                let pool = plan.put_together(&keys, fallback.as_ref(), findings);
                if let Some(slot) = built.get_mut(place) {
                    *slot = pool;
                }
            }
        }
    }
    built.into_iter().flatten().collect()
}
