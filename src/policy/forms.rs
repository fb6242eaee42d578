//! The fields of a policy, by their names. Nothing here is checked.

use serde::{Deserialize, Serialize};

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
    }
    RefillForm {
        amount: Word,
        every: Word,
        day: Word,
        policy: Word,
        most: Word,
    }
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
        #[serde(alias = "key", alias = "api_key", alias = "token", alias = "value")]
        secret: Option<Written>,
        id: Word,
        name: Word,
        provider: Word,
        kind: Word,
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
    FallbacksForm {
        cache_read: Word,
        cache_write_5m: Word,
        cache_write_1h: Word,
        media: Word,
    }
}
