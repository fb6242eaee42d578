//! A call as its host sees it: who makes it, what it is about, and how much it will use at most.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use crate::account::Context;
use crate::amount::Usd;
use crate::error::Error;
use crate::id::{KeyId, LimitId, OpId, Secret, Subject};
use crate::limit::Own;
use crate::plan::Args;
use crate::quota::Caller;
use crate::time::Length;
use crate::usage::Usage;

/// What a call is called by when it is recorded in no dimension of its own.
type Pair = (Cow<'static, str>, String);

/// A call that asks whether it may go out. It can be asked again and again, and costs least when it is kept and reused.
///
/// Its dimensions are what limits go by (`key`, `team`, `model`, ...); its tags are only recorded. Its amounts are
/// estimates from above: what is not used is given back when the call is settled.
///
/// ```
/// use keyward::{Call, Usd};
/// let call = Call::new().with("key", "alice").with("team", "red").tag("task", "t-7").tokens(1_200).usd(Usd::cents(2));
/// assert_eq!(call.dimension("team"), Some("red"));
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Call {
    dimensions: SmallVec<[Pair; 4]>,
    tags: Vec<(String, String)>,
    estimate: Usage,
    op: Option<OpId>,
    life: Option<Length>,
    own: Vec<(LimitId, Own)>,
    client: Option<KeyId>,
    secret: Option<Secret>,
    address: Option<IpAddr>,
    client_type: Option<String>,
    pool: Option<String>,
    session: Option<String>,
    /// Made once, when it is first asked for.
    context: OnceLock<Arc<Context>>,
}

impl Call {
    /// A call of which nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this value of this dimension.
    pub fn with(mut self, dimension: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.dimensions.push((dimension.into(), value.into()));
        self.changed()
    }

    /// Recorded with this value of this tag, by which reports find it.
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((name.into(), value.into()));
        self.changed()
    }

    /// Will use so many tokens at most.
    pub fn tokens(mut self, tokens: u64) -> Self {
        self.estimate.tokens = Some(tokens);
        self.changed()
    }

    /// Will cost so much at most.
    pub fn usd(mut self, cost: Usd) -> Self {
        self.estimate.usd = Some(cost);
        self.changed()
    }

    /// Will use this at most: every measure that the estimate states.
    pub fn estimate(mut self, estimate: Usage) -> Self {
        self.estimate = estimate;
        self.changed()
    }

    /// Is carried out at most once under this operation id of the host's: asked again with the same call, it is answered
    /// as before; with another, it is an error that names the field.
    pub fn under(mut self, op: OpId) -> Self {
        self.op = Some(op);
        self
    }

    /// Is given up on after so long without a word: what it holds ends by itself then.
    pub fn life(mut self, life: Length) -> Self {
        self.life = Some(life);
        self
    }

    /// Has an amount, an anchor or an end of its own where this limit has one for all.
    pub fn own(mut self, limit: LimitId, own: Own) -> Self {
        self.own.retain(|(known, _)| *known != limit);
        self.own.push((limit, own));
        self
    }

    /// Is made with this client key, which the host has let in by itself; for the ledger.
    pub fn client(mut self, id: KeyId) -> Self {
        self.client = Some(id);
        self.changed()
    }

    /// Is made with this secret of a client key, whose gates it must pass: see [`Builder::clients`](super::Builder::clients).
    /// The key's id is the call's dimension `key`, whatever else the call says.
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Comes from this address, for a client key with rules about it.
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Comes from this kind of client, for a client key with rules about it.
    pub fn client_type(mut self, client_type: impl Into<String>) -> Self {
        self.client_type = Some(client_type.into());
        self
    }

    /// Goes out with a key of this pool, or of its fallbacks. What the key adds to the call's dimensions, limits can go by:
    /// `upstream`, its id, and `provider`.
    pub fn pool(mut self, name: impl Into<String>) -> Self {
        self.pool = Some(name.into());
        self
    }

    /// Belongs to this session, which pools with sticky keys keep together.
    pub fn session(mut self, session: impl Into<String>) -> Self {
        self.session = Some(session.into());
        self
    }

    /// The value of a dimension, if the call has it.
    #[must_use]
    pub fn dimension(&self, name: &str) -> Option<&str> {
        self.dimensions.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// What it will use at most.
    #[must_use]
    pub const fn estimated(&self) -> &Usage {
        &self.estimate
    }

    pub(super) const fn op(&self) -> Option<&OpId> {
        self.op.as_ref()
    }

    pub(super) const fn shown_secret(&self) -> Option<&Secret> {
        self.secret.as_ref()
    }

    pub(super) fn caller(&self) -> Caller<'_> {
        let mut caller = Caller::new();
        caller.address = self.address;
        caller.client_type = self.client_type.as_deref();
        caller.model = self.dimension("model");
        caller
    }

    pub(crate) fn asked_pool(&self) -> Option<&str> {
        self.pool.as_deref()
    }

    pub(super) fn asked_session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.dimensions.iter().map(|(name, value)| (name.as_ref(), value.as_str()))
    }

    pub(super) const fn given_life(&self) -> Option<Length> {
        self.life
    }

    pub(super) fn own_of(&self, limit: &LimitId) -> Own {
        self.own.iter().find(|(known, _)| known == limit).map(|(_, own)| *own).unwrap_or_default()
    }

    /// What the ledger says of it.
    pub(super) fn context(&self) -> Result<Arc<Context>, Error> {
        if let Some(context) = self.context.get() {
            return Ok(Arc::clone(context));
        }
        let context = Context {
            subject: Subject::of(self.pairs()).map_err(|error| error.within("call"))?,
            tags: self.tags.clone(),
            client: self.client.clone(),
            key: None,
            estimate: self.estimate.clone(),
        };
        self.estimate.check().map_err(|error| error.renamed("usage", "call"))?;
        Ok(Arc::clone(self.context.get_or_init(|| Arc::new(context))))
    }

    /// What the caller said, field by field, for the comparison when its operation id comes back.
    /// `client` is whose secret it was made with, `said` what it will use or has used.
    pub(super) fn args(&self, client: Option<&KeyId>, said: &Usage) -> Args {
        let mut args = Args::new();
        args.extend(self.pairs().map(|(name, value)| (Cow::Owned(format!("call.{name}")), value.to_owned())));
        args.extend(self.tags.iter().map(|(name, value)| (Cow::Owned(format!("call.tag.{name}")), value.clone())));
        args.extend(self.pool.iter().map(|pool| (Cow::Borrowed("call.pool"), pool.clone())));
        args.extend(client.or(self.client.as_ref()).map(|id| (Cow::Borrowed("call.client"), id.to_string())));
        args.extend(self.life.map(|life| (Cow::Borrowed("call.life"), life.to_string())));
        let own = self.own.iter().map(|(limit, own)| (Cow::Owned(format!("call.own.{limit}")), format!("{own:?}")));
        args.extend(own);
        let Usage {
            requests,
            tokens,
            input,
            cache_read,
            cache_write_5m,
            cache_write_1h,
            output,
            reasoning,
            usd,
            extras,
        } = said;
        let counts = [
            ("call.requests", requests),
            ("call.tokens", tokens),
            ("call.input", input),
            ("call.cache_read", cache_read),
            ("call.cache_write_5m", cache_write_5m),
            ("call.cache_write_1h", cache_write_1h),
            ("call.output", output),
            ("call.reasoning", reasoning),
        ];
        let stated = counts.into_iter().filter_map(|(name, count)| Some((name, (*count)?)));
        args.extend(stated.map(|(name, count)| (Cow::Borrowed(name), count.to_string())));
        args.extend(usd.iter().map(|usd| (Cow::Borrowed("call.usd"), usd.to_string())));
        args.extend(extras.iter().map(|(name, count)| (Cow::Owned(format!("call.{name}")), count.to_string())));
        args.sort();
        args
    }

    fn changed(mut self) -> Self {
        self.context = OnceLock::new();
        self
    }
}
