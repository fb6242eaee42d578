//! The rules of key pools: whether an upstream key can be used, and which of many is used next.
//!
//! A [`Health`] is what is known of one key, and changes with every [`Report`]; [`Cooling`] says which report an upstream's
//! answer makes. A [`Roster`] orders many [`Key`]s by a [`Strategy`] and proposes up to eight of them for a call. Nothing
//! here reads a clock or a store: what a store decides, the roster is told.
//!
//! ```
//! use keyward::pool::{Cooling, Health, Roster, Strategy, Wanted, parse};
//! use keyward::usage::Concerns;
//! use keyward::{Class, Outcome, Timestamp};
//!
//! let now = Timestamp::EPOCH;
//! let keys = parse::keys("sk-one-11111, sk-two-22222", parse::Twice::Refused)?;
//! let mut roster = Roster::new(Strategy::default());
//! for key in &keys {
//!     roster.insert(key.member())?;
//! }
//!
//! // The first key is limited for a second, and the second one serves meanwhile.
//! let mut health = Health::default();
//! let limited = Outcome::new(Class::RateLimited);
//! health.report(Cooling::default().said(&limited, Concerns::Key, now, now).key, now);
//! roster.learn(keys[0].id(), &health, now);
//! let choice = roster.choose(&Wanted::default(), now);
//! assert_eq!(choice.ids().collect::<Vec<_>>(), [keys[1].id()]);
//! # Ok::<(), keyward::Error>(())
//! ```

mod health;
mod key;
mod order;
pub mod parse;
mod report;
mod ring;
mod roster;
mod rules;
mod strategy;

pub use health::{Block, Health, Note, Notes, Probe, ProviderWindow, Standing};
pub use key::{Key, Scope};
pub use report::{Cause, Ladder, Report, Source, Until};
pub use roster::{Choice, Explained, Roster, Wanted, Why};
pub use rules::{Cooling, Said};
pub use strategy::{Member, Session, Strategy};
