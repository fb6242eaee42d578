//! Client keys: made once, found by fingerprint, changed without losing a change, and removed with all that is theirs.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod host;

use std::collections::BTreeMap;
use std::sync::Arc;

use host::*;
use keyward::budgets::status;
use keyward::clients::{self, Clients, MemoryClients, Put};
use keyward::limit::Own;
use keyward::quota::{Caller, Cause, ClientKey, Gate, KeyPatch, secret_in};
use keyward::store::{Filter, Store};
use keyward::{Cap, Fingerprint, KeyId, Limit, MemoryStore, Secret, StoreError, Usage, Usd};

fn id(name: &str) -> KeyId {
    name.parse().unwrap()
}

fn gate(kept: &impl Clients, secret: &Secret, second: i64) -> Gate {
    clients::verify(kept, secret, &Caller::new(), at(second)).unwrap().gate
}

fn named(name: &str) -> KeyPatch {
    KeyPatch { name: Some(name.to_owned()), ..KeyPatch::default() }
}

#[test]
fn a_key_is_shown_once_and_only_its_fingerprint_and_mask_are_kept() {
    let kept = MemoryClients::new();
    let (key, secret) = clients::create(&kept, Some(id("alice")), "kw", &named("Alice")).unwrap();
    assert_eq!((key.fingerprint, key.revision, key.enabled), (Fingerprint::of(&secret), 1, true));
    let random = secret.expose().strip_prefix("kw_").unwrap();
    assert!(random.len() * 5 >= 160);
    let shown = format!("{kept:?}{:?}{key:?}", clients::verify(&kept, &secret, &Caller::new(), at(0)).unwrap());
    assert!(!shown.contains(random) && !shown.contains(&random[4..12]), "{shown}");
    assert!(shown.contains(key.masked.as_str()));
    assert!(key.masked.as_str().chars().count() - 1 <= secret.expose().len() / 4);
    let (other, _) = clients::create(&kept, None, "kw", &KeyPatch::default()).unwrap();
    assert!(other.id.as_str().starts_with("fp-"));
}

#[test]
fn a_secret_is_found_by_its_fingerprint_and_no_other_is() {
    let kept = MemoryClients::new();
    let (_, alice) = clients::create(&kept, Some(id("alice")), "kw", &named("")).unwrap();
    let (_, bob) = clients::create(&kept, Some(id("bob")), "kw", &named("")).unwrap();
    for (secret, name) in [(&alice, "alice"), (&bob, "bob")] {
        let met = clients::verify(&kept, secret, &Caller::new(), at(0)).unwrap();
        assert_eq!((met.key.unwrap().id.clone(), met.gate), (id(name), Gate::Open));
    }
    let nearly = Secret::new(format!("{} ", alice.expose()));
    for guess in ["", "kw_", "alice", nearly.expose()] {
        let met = clients::verify(&kept, &Secret::new(guess), &Caller::new(), at(0)).unwrap();
        assert_eq!((met.key, met.gate), (None, Gate::Shut(Cause::Unknown)), "{guess}");
    }
}

#[test]
fn an_id_or_a_secret_that_is_taken_is_refused_and_nothing_changed() {
    let kept = MemoryClients::new();
    let secret = Secret::new("kw_0123456789abcdefghjkmnpqrstvwxyz");
    clients::import(&kept, Some(id("alice")), &secret, &named("first")).unwrap();
    let error = clients::create(&kept, Some(id("alice")), "kw", &named("second")).unwrap_err();
    assert_eq!((error.field(), error.value()), (Some("key.id"), Some("alice")));
    let error = clients::import(&kept, Some(id("bob")), &secret, &named("second")).unwrap_err();
    assert_eq!((error.field(), error.value()), (Some("key.secret"), Some("kw_0…wxyz")));
    assert_eq!(kept.list(None, 10).unwrap().len(), 1);
    assert_eq!(kept.by_id(&id("alice")).unwrap().unwrap().name, "first");
}

#[test]
fn a_new_secret_keeps_the_id_and_its_history() {
    let kept = MemoryClients::new();
    let host = Host::new(MemoryStore::new(), [Limit::usd(Usd::dollars(1)).lifetime().by("key")], 0);
    let (_, old) = clients::create(&kept, Some(id("alice")), "kw", &named("Alice")).unwrap();
    host.call("a", &[("key", "alice")], &Usage::new().usd(Usd::cents(40)), 1);
    let (key, new) = clients::rotate(&kept, &id("alice"), "kw").unwrap();
    assert_eq!((key.name.as_str(), key.revision), ("Alice", 2));
    assert_eq!((gate(&kept, &old, 2), gate(&kept, &new, 2)), (Gate::Shut(Cause::Unknown), Gate::Open));
    let spent = status(&host.store, host.term(0), &subject("key", "alice"), None, at(2)).unwrap().status.spent;
    assert_eq!(Usd::from(spent), Usd::cents(40));
    assert_eq!(clients::rotate(&kept, &id("bob"), "kw").unwrap_err().field(), Some("key.id"));
}

/// aigetwey: a budget went by the key's name, and was orphaned when the key was renamed.
#[test]
fn a_key_that_is_renamed_keeps_its_budget() {
    let kept = MemoryClients::new();
    let host = Host::new(MemoryStore::new(), [Limit::requests(1).lifetime().by("key")], 0);
    clients::create(&kept, Some(id("alice")), "kw", &named("Alice")).unwrap();
    host.call("a", &[("key", "alice")], &Usage::new(), 1);
    let key = clients::change(&kept, &id("alice"), &named("Alicia")).unwrap();
    assert_eq!(key.name, "Alicia");
    host.refused("b", &[("key", key.id.as_str())], &Usage::new(), 2);
}

/// sub2api: two people changed a key at the same time, each saved the whole row, and one change was gone.
#[test]
fn changes_at_the_same_time_undo_nothing() {
    let kept = MemoryClients::new();
    clients::create(&kept, Some(id("alice")), "kw", &named("")).unwrap();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let kept = &kept;
            scope.spawn(move || {
                for turn in 0..25 {
                    let tags = BTreeMap::from([(format!("{n}_{turn}"), Some("here".to_owned()))]);
                    let patch = KeyPatch { tags: Some(tags), ..KeyPatch::default() };
                    // Whoever lost too often in a row is told so, and comes again.
                    while let Err(error) = clients::change(kept, &id("alice"), &patch) {
                        assert!(error.is_store(), "{error}");
                    }
                }
            });
        }
    });
    let key = kept.by_id(&id("alice")).unwrap().unwrap();
    assert_eq!((key.tags.len(), key.revision), (100, 101));
}

#[test]
fn a_wrong_patch_changes_nothing() {
    let kept = MemoryClients::new();
    let (before, _) = clients::create(&kept, Some(id("alice")), "kw", &named("Alice")).unwrap();
    let patch = KeyPatch { allow: Some(vec!["10.0.0.0/99".to_owned()]), ..named("Bob") };
    assert_eq!(clients::change(&kept, &id("alice"), &patch).unwrap_err().field(), Some("key.allow[0]"));
    assert_eq!(*kept.by_id(&id("alice")).unwrap().unwrap(), before);
    assert_eq!(clients::create(&kept, Some(id("bob")), "kw", &patch).unwrap_err().field(), Some("key.allow[0]"));
    assert!(kept.by_id(&id("bob")).unwrap().is_none());
    let limits = BTreeMap::from([(" per day".parse().unwrap(), Some(Own::default()))]);
    let patch = KeyPatch { limits: Some(limits), ..KeyPatch::default() };
    let host = Host::new(MemoryStore::new(), [Limit::requests(1).per_day().named("per day")], 0);
    let error = clients::check_limits(&patch, &host.terms).unwrap_err();
    assert_eq!((error.field(), error.value()), (Some("key.limits"), Some(" per day")));
}

/// aigetwey: a form sent back the masked keys that it had shown, and each was saved as the key itself.
#[test]
fn a_mask_that_comes_back_as_a_secret_is_refused_by_its_field() {
    let kept = MemoryClients::new();
    let (key, secret) = clients::create(&kept, Some(id("alice")), "kw", &named("")).unwrap();
    let error = secret_in("keys[0].secret", key.masked.as_str()).unwrap_err();
    assert_eq!(error.field(), Some("keys[0].secret"));
    assert_eq!(secret_in("keys[0].secret", secret.expose()).unwrap(), secret);
}

/// sub2api: raising a quota, resetting it or extending a key's expiry enabled a key that a person had disabled.
#[test]
fn what_is_given_back_reactivates_only_what_it_concerns() {
    let kept = MemoryClients::new();
    let limit = Limit::requests(1).lifetime().by("key").named("calls");
    let host = Host::new(MemoryStore::new(), [limit], 0);
    let (_, secret) = clients::create(&kept, Some(id("alice")), "kw", &named("")).unwrap();
    let change = |patch: KeyPatch| clients::change(&kept, &id("alice"), &patch).unwrap();
    host.call("a", &[("key", "alice")], &Usage::new(), 1);
    change(KeyPatch { enabled: Some(false), expires: Some(Some(at(5))), ..KeyPatch::default() });
    assert_eq!(gate(&kept, &secret, 10), Gate::Shut(Cause::Disabled));

    keyward::budgets::reset(&host.store, &host::host("r"), host.term(0), &subject("key", "alice"), at(10)).unwrap();
    assert_eq!(gate(&kept, &secret, 10), Gate::Shut(Cause::Disabled));
    let own = Own { cap: Some(Cap::Unlimited), ..Own::default() };
    change(KeyPatch { limits: Some(BTreeMap::from([("calls".parse().unwrap(), Some(own))])), ..KeyPatch::default() });
    assert_eq!(gate(&kept, &secret, 10), Gate::Shut(Cause::Disabled));
    change(KeyPatch { expires: Some(None), ..KeyPatch::default() });
    assert_eq!(gate(&kept, &secret, 10), Gate::Shut(Cause::Disabled));
    change(KeyPatch { enabled: Some(true), ..KeyPatch::default() });
    assert_eq!(gate(&kept, &secret, 10), Gate::Open);
    change(KeyPatch { expires: Some(Some(at(9))), ..KeyPatch::default() });
    assert_eq!(gate(&kept, &secret, 10), Gate::Shut(Cause::Expired));
    host.call("b", &[("key", "alice")], &Usage::new(), 11);
}

#[test]
fn a_key_that_is_removed_takes_its_rules_and_accounts_along() {
    let kept = MemoryClients::new();
    let limits = || {
        [
            Limit::usd(Usd::dollars(1)).per_day().by("key"),
            Limit::requests(10).per_day().by("key").by("model"),
            Limit::requests(1_000).per_day().by("team"),
        ]
    };
    let host = Host::new(MemoryStore::new(), limits(), 0);
    let (_, secret) = clients::create(&kept, Some(id("alice")), "kw", &named("")).unwrap();
    for (n, key) in (0..300).map(|n| (n, if n % 3 == 0 { "alice".to_owned() } else { format!("k{n}") })) {
        let model = format!("m{}", n % 30);
        let call = [("key", key.as_str()), ("model", model.as_str()), ("team", "alice")];
        host.call(&n.to_string(), &call, &Usage::new().usd(Usd::micros(1)), 1);
    }
    host.hold("open", &[("key", "alice"), ("model", "m1"), ("team", "alice")], &Usage::new().usd(Usd::cents(1)), 1);
    let rows = host.store.rows(&Filter::default(), 0, 9_999).unwrap().len();
    assert_eq!(clients::remove(&kept, &host.store, &id("alice"), "key", at(2)).unwrap(), 12);
    assert_eq!(gate(&kept, &secret, 2), Gate::Shut(Cause::Unknown));
    let left = host.store.accounts(None, 9_999).unwrap();
    assert!(left.iter().all(|(of, _)| of.dimensions().all(|(name, value)| name != "key" || value != "alice")));
    assert_eq!(host.count(&subject("team", "alice"), host.term(2).meter(), 2).0, 300, "the team of that name stays");
    assert_eq!(host.store.rows(&Filter::default(), 0, 9_999).unwrap().len(), rows + 12, "the ledger only grows");
    host.settle("open", &Usage::new().usd(Usd::cents(1)), 3);
    assert_eq!(clients::remove(&kept, &host.store, &id("alice"), "key", at(4)).unwrap(), 0, "again is nothing");
    host.is_proved(5);
}

#[test]
fn they_are_listed_by_page_in_the_order_of_their_ids() {
    let kept = MemoryClients::new();
    for n in (0..10).rev() {
        clients::create(&kept, Some(id(&format!("k{n}"))), "kw", &named("")).unwrap();
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = kept.list(after.as_ref(), 3).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        found.extend(page.iter().map(|key| key.id.to_string()));
    }
    assert_eq!(found, (0..10).map(|n| format!("k{n}")).collect::<Vec<_>>());
}

#[test]
fn a_record_is_saved_only_over_the_one_that_was_read() {
    let kept = MemoryClients::new();
    let (key, _) = clients::create(&kept, Some(id("alice")), "kw", &named("")).unwrap();
    assert_eq!(kept.put(key.clone(), None).unwrap(), Put::Changed);
    assert_eq!(kept.put(key.clone(), Some(7)).unwrap(), Put::Changed);
    assert_eq!(kept.put(key.clone(), Some(1)).unwrap(), Put::Saved);
    assert!(kept.remove(&key.id).unwrap() && !kept.remove(&key.id).unwrap());
    assert_eq!(kept.put(key, Some(1)).unwrap(), Put::Changed, "what was removed does not come back by a late change");
}

/// Records that cannot be read.
struct Down;

impl Clients for Down {
    fn by_fingerprint(&self, _: &Fingerprint) -> Result<Option<Arc<ClientKey>>, StoreError> {
        Err(StoreError::unavailable("down"))
    }
    fn by_id(&self, _: &KeyId) -> Result<Option<Arc<ClientKey>>, StoreError> {
        Err(StoreError::unavailable("down"))
    }
    fn list(&self, _: Option<&KeyId>, _: usize) -> Result<Vec<Arc<ClientKey>>, StoreError> {
        Err(StoreError::unavailable("down"))
    }
    fn put(&self, _: ClientKey, _: Option<u64>) -> Result<Put, StoreError> {
        Err(StoreError::unavailable("down"))
    }
    fn remove(&self, _: &KeyId) -> Result<bool, StoreError> {
        Err(StoreError::unavailable("down"))
    }
}

/// A gateway let every caller in while its records could not be read.
#[test]
fn records_that_cannot_be_read_let_nobody_in() {
    let error = clients::verify(&Down, &Secret::new("kw_1"), &Caller::new(), at(0)).unwrap_err();
    assert!(error.is_unavailable());
    assert!(clients::create(&Down, None, "kw", &named("")).unwrap_err().is_store());
    assert!(clients::change(&Down, &id("alice"), &named("")).unwrap_err().is_store());
}
