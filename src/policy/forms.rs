//! The fields of a policy, by their names. Nothing here is checked.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::problems::Findings;
use super::raw::{Entry, Many, Pairs, Raw};
use super::reference::Written;
use crate::limit::Weights;

/// What is as if it had not been written need not be.
fn is_nothing<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Fields that may all be left out, and no others.
macro_rules! forms {
    ($($(#[$about:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$about])*
            #[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
            #[serde(default, deny_unknown_fields)]
            pub(super) struct $name {
                $($(#[$attribute])* #[serde(skip_serializing_if = "is_nothing")] pub(super) $field: $type,)*
            }
        )*
    };
}

/// The same, where secrets may stand nearby: fields that are not known or come again are kept by their names and refused with
/// all else that is wrong, since a format's reader might quote the line on which it stopped.
macro_rules! quiet_forms {
    ($($(#[$about:meta])* $name:ident { $($field:ident $(| $alias:literal)*: $type:ty,)* })*) => {
        $(
            $(#[$about])*
            #[derive(Clone, Default, PartialEq, Serialize)]
            pub(super) struct $name {
                $(#[serde(skip_serializing_if = "is_nothing")] pub(super) $field: $type,)*
                #[serde(skip)]
                pub(super) unknown: Vec<String>,
                #[serde(skip)]
                pub(super) again: Vec<String>,
            }

            impl $name {
                /// Refuses what should not be there.
                pub(super) fn only_known(&self, path: &str, findings: &mut Findings) {
                    const FIELDS: &[&str] = &[$(stringify!($field),)*];
                    findings.unknown(path, &self.unknown, FIELDS);
                    findings.again(path, &self.again);
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    struct Fields;

                    impl<'de> Visitor<'de> for Fields {
                        type Value = $name;

                        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                            f.write_str("fields with a value each")
                        }

                        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                            let (mut form, mut seen) = ($name::default(), Vec::new());
                            while let Some(name) = map.next_key::<String>()? {
                                match name.as_str() {
                                    $(stringify!($field) $(| $alias)* => {
                                        if seen.contains(&stringify!($field)) {
                                            map.next_value::<IgnoredAny>()?;
                                            form.again.push(name);
                                            continue;
                                        }
                                        seen.push(stringify!($field));
                                        form.$field = map.next_value()?;
                                    })*
                                    _ => {
                                        map.next_value::<IgnoredAny>()?;
                                        form.unknown.push(name);
                                    }
                                }
                            }
                            Ok(form)
                        }
                    }

                    deserializer.deserialize_map(Fields)
                }
            }
        )*
    };
}

type Word = Option<Raw>;

forms! {
    LimitForm {
        limit: Word,
        name: Word,
        note: Word,
        measure: Word,
        amount: Word,
        window: Word,
        shape: Word,
        zone: Word,
        buckets: Word,
        burst: Word,
        anchor: Word,
        until: Word,
        in_steps: Word,
        week_start: Word,
        day: Word,
        at: Word,
        refill: Option<RefillForm>,
        by: Many<Raw>,
        when: Pairs,
        if_present: Word,
        assume: Word,
        soft: Word,
        alert_at_percent: Many<Raw>,
        on_expiry: Word,
        audit: Word,
        weights: Option<Weights>,
        relaxed: Word,
        when_down: Word,
    }
    RefillForm {
        amount: Word,
        every: Word,
        day: Word,
        policy: Word,
        most: Word,
    }
    PriceForm {
        provider: Word,
        model: Word,
        class: Word,
        from: Word,
        free: Word,
        input: Word,
        cache_read: Word,
        cache_write_5m: Word,
        cache_write_1h: Word,
        output: Word,
        each_request: Word,
        extras: Pairs,
        longest_prompt: Word,
    }
    RatesForm {
        input: Word,
        cache_read: Word,
        cache_write_5m: Word,
        cache_write_1h: Word,
        output: Word,
        each_request: Word,
        extras: Pairs,
    }
    FallbacksForm {
        cache_read: Word,
        cache_write_5m: Word,
        cache_write_1h: Word,
        media: Word,
    }
}

quiet_forms! {
    PoolForm {
        name: Word,
        provider: Word,
        keys: Many<Entry<KeyForm, Written>>,
        strategy: Option<Entry<StrategyForm>>,
        cooling: CoolingForm,
        limits: Vec<Entry<LimitForm>>,
        fallback: Word,
        on_exhausted: Word,
        look_every: Word,
        twice: Word,
    }
    KeyForm {
        // Whatever a person calls it, what stands there is never part of a message.
        secret | "key" | "api_key" | "token" | "value": Option<Written>,
        id: Word,
        name: Word,
        provider: Word,
        kind: Word,
        scope: Word,
        scope_id: Word,
        weight: Word,
        priority: Word,
        disabled: Word,
        limits: Vec<Entry<LimitForm>>,
    }
    StrategyForm {
        by: Word,
        in_a_row: Word,
        seed: Word,
        lifetime: Word,
        busy: Word,
    }
    CoolingForm {
        ladder: LadderForm,
        transient: Word,
        exhausted: Word,
        model: Word,
        patience: PatienceForm,
        jitter: Word,
        probe: Word,
        block_the_only_key: Word,
    }
    LadderForm {
        first: Word,
        longest: Word,
    }
    PatienceForm {
        stated: Word,
        read: Word,
        most: Word,
    }
}
