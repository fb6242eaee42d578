//! Accounts, hold parts and ledger rows as bytes: a version, then numbers of as many bytes as they need.
//!
//! What is written once is read for ever: a change of the form raises the version, and older versions go on being read.
//! Anything else is refused as damaged, and never a panic.

mod row;

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Account, Audit, Context, Counter, Entry, How, Meter, MeterId, OnExpiry, Part};
use crate::amount::{Amount, Cap};
use crate::budget::Tally;
use crate::error::StoreError;
use crate::id::{KeyId, OpId, Subject};
use crate::limiter::State;
use crate::pool::{Block, Cause, Health, Notes, Probe, ProviderWindow, Source};
use crate::quota::{Balance, Every, Refill, RefillPolicy};
use crate::time::{Length, Timestamp};
use crate::usage::Usage;
use crate::window::{Ring, Slices};

/// The version that is written.
const VERSION: u8 = 1;
/// Said with the end of a part: rows have corrected it, so many as the next number says.
const AMENDED: u8 = 4;

impl Account {
    /// The account as bytes, appended to `to`.
    ///
    /// ```
    /// use keyward::account::Account;
    /// let mut bytes = Vec::new();
    /// Account::default().encode(&mut bytes);
    /// assert_eq!(Account::decode(&bytes)?, Account::default());
    /// assert!(Account::decode(&bytes[1..]).unwrap_err().is_corrupt());
    /// # Ok::<(), keyward::StoreError>(())
    /// ```
    pub fn encode(&self, to: &mut Vec<u8>) {
        let Self { meters, open, earliest, latest } = self;
        let mut to = Writer(to);
        to.version();
        to.number(u64::from(*open));
        if *open > 0 {
            to.instant(*earliest);
            to.instant(*latest);
        }
        to.count(meters.len());
        meters.iter().for_each(|meter| to.meter(meter));
    }

    /// The account that these bytes are.
    ///
    /// # Errors
    /// Bytes that no account of a known version is.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut from = Reader(bytes);
        from.version()?;
        let open = from.small()?;
        let (earliest, latest) =
            if open > 0 { (from.instant()?, from.instant()?) } else { (Timestamp::MAX, Timestamp::MIN) };
        let meters = from.list(Reader::meter)?;
        from.end()?;
        Ok(Self { meters, open, earliest, latest })
    }
}

impl Part {
    /// All of the part but what it is found by, its operation, account and sequence, as bytes appended to `to`.
    pub fn encode(&self, to: &mut Vec<u8>) {
        let Self { op: _, account: _, sequence: _, taken, expires, end, entries, context, amended } = self;
        let mut to = Writer(to);
        to.version();
        to.instant(*taken);
        to.instant(*expires);
        let end_of = end.map_or(0, |(how, _)| match how {
            How::Settled => 1,
            How::Released => 2,
            How::Expired => 3,
        });
        to.byte(if *amended > 0 { end_of | AMENDED } else { end_of });
        end.iter().for_each(|(_, at)| to.instant(*at));
        if *amended > 0 {
            to.number((*amended).into());
        }
        to.count(entries.len());
        entries.iter().for_each(|entry| to.entry(entry));
        to.option(context.as_deref(), Writer::context);
    }

    /// The part that these bytes are, of this operation in this account.
    ///
    /// # Errors
    /// Bytes that no part of a known version is.
    pub fn decode(op: OpId, account: Subject, sequence: u16, bytes: &[u8]) -> Result<Self, StoreError> {
        let mut from = Reader(bytes);
        from.version()?;
        let (taken, expires) = (from.instant()?, from.instant()?);
        let end = from.byte()?;
        let amendments = end & AMENDED;
        let end = match end & !AMENDED {
            0 => None,
            1 => Some((How::Settled, from.instant()?)),
            2 => Some((How::Released, from.instant()?)),
            3 => Some((How::Expired, from.instant()?)),
            other => return Err(damaged("the end of a part", other)),
        };
        let amended = if amendments > 0 { from.narrow("the amendments of a part")? } else { 0 };
        let entries = SmallVec::from_vec(from.list(Reader::entry)?);
        let context = from.option(Reader::context)?.map(Arc::new);
        from.end()?;
        Ok(Self { op, account, sequence, taken, expires, end, entries, context, amended })
    }
}

pub(crate) fn damaged(what: &str, found: impl std::fmt::Display) -> StoreError {
    StoreError::corrupt(format!("{what} cannot be {found}"))
}

/// Appends to bytes.
pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(crate) fn version(&mut self) {
        self.byte(VERSION);
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Seven bits to a byte, the lowest first; the eighth says that more follow.
    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
            number >>= 7;
        }
        self.0.push(u8::try_from(number).unwrap_or(0));
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.number(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Small numbers on either side of zero are short: the sign goes last.
    pub(crate) fn signed(&mut self, number: i64) {
        let size = (number ^ (number >> 63)).unsigned_abs();
        self.number((size << 1) | u64::from(number < 0));
    }

    pub(crate) fn instant(&mut self, at: Timestamp) {
        self.signed(at.as_micros());
    }

    fn length(&mut self, length: Length) {
        self.signed(length.as_micros());
    }

    pub(crate) fn amount(&mut self, amount: Amount) {
        self.number(amount.get().unsigned_abs());
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn option<T: ?Sized>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(crate) fn cap(&mut self, cap: Cap) {
        match cap {
            Cap::Unlimited => self.byte(0),
            Cap::At(most) => {
                self.byte(1);
                self.amount(most);
            }
        }
    }

    fn entry(&mut self, entry: &Entry) {
        let Entry { meter, epoch, mark, amount, on_expiry, audit } = *entry;
        self.number(meter.0.into());
        self.number(epoch.into());
        self.instant(mark);
        self.amount(amount);
        self.byte(u8::from(on_expiry == OnExpiry::Charge) | (u8::from(audit == Audit::Rows) << 1));
    }

    fn context(&mut self, context: &Context) {
        let Context { subject, tags, client, key, estimate } = context;
        self.text(subject.as_str());
        self.count(tags.len());
        for (name, value) in tags {
            self.text(name);
            self.text(value);
        }
        self.option(client.as_ref(), |to, id| to.text(id.as_str()));
        self.option(key.as_ref(), |to, id| to.text(id.as_str()));
        self.usage(estimate);
    }

    fn usage(&mut self, usage: &Usage) {
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
        } = usage;
        let usd = usd.map(|usd| usd.as_nanos().unsigned_abs());
        for count in [requests, tokens, input, cache_read, cache_write_5m, cache_write_1h, output, reasoning, &usd] {
            self.option(count.as_ref(), |to, count| to.number(*count));
        }
        self.count(extras.len());
        for (name, count) in extras {
            self.text(name);
            self.number(*count);
        }
    }

    fn meter(&mut self, meter: &Meter) {
        let Meter { id, generation, epoch, claimed, cap, audit, counter } = meter;
        self.number(id.0.into());
        self.number((*generation).into());
        self.number((*epoch).into());
        self.number((*claimed).into());
        self.cap(*cap);
        self.byte(u8::from(*audit == Audit::Rows));
        match counter {
            Counter::Tally { tally: Tally { start, spent, held }, ends } => {
                self.byte(1);
                self.instant(*start);
                self.instant(*ends);
                self.amount(*spent);
                self.amount(*held);
            }
            Counter::Sliding { length, state, held } => {
                self.byte(2);
                self.length(*length);
                self.state(*state);
                self.amount(*held);
            }
            Counter::Rolling { slices, ring, held } => {
                self.byte(3);
                self.length(slices.length());
                self.number(slices.n().into());
                self.instant(ring.end());
                self.count(ring.counts().len());
                ring.counts().iter().for_each(|count| self.amount(*count));
                self.amount(*held);
            }
            Counter::Leak { length, burst, state, held } => {
                self.byte(4);
                self.length(*length);
                self.amount(*burst);
                self.state(*state);
                self.amount(*held);
            }
            Counter::Balance(balance) => {
                self.byte(5);
                self.balance(balance);
            }
            Counter::Health(health) => {
                self.byte(6);
                self.health(health);
            }
        }
    }

    fn state(&mut self, state: State) {
        state.parts().into_iter().for_each(|part| self.signed(part));
    }

    fn balance(&mut self, balance: &Balance) {
        let Balance { units, held, epoch, refill, covered } = balance;
        self.option(units.as_ref(), |to, units| to.signed(*units));
        self.amount(*held);
        self.number((*epoch).into());
        self.option(refill.as_ref(), |to, Refill { amount, every, policy }| {
            to.amount(*amount);
            to.byte(match every {
                Every::Day => 0,
                Every::Month { day } => *day,
            });
            match policy {
                RefillPolicy::Set => to.byte(0),
                RefillPolicy::Add => to.byte(1),
                RefillPolicy::AddCapped { most } => {
                    to.byte(2);
                    to.amount(*most);
                }
            }
        });
        self.signed(*covered);
    }

    pub(crate) fn block(&mut self, Block { cause, until, source }: &Block) {
        self.byte(match cause {
            Cause::RateLimited => 0,
            Cause::Overloaded => 1,
            Cause::QuotaExhausted => 2,
            Cause::CredentialRefused => 3,
            Cause::ModelRefused => 4,
            Cause::Transient => 5,
            Cause::ByHand => 6,
        });
        self.instant(*until);
        self.byte(match source {
            Source::Guessed => 0,
            Source::Read => 1,
            Source::Stated => 2,
        });
    }

    fn health(&mut self, health: &Health) {
        let Health { disabled, block, probe, failures, failed, renewed, uses, limited, last_used, last_limited, notes } =
            health;
        self.option(block.as_ref(), Self::block);
        self.option(probe.as_ref(), |to, Probe { op, began, until }| {
            to.text(&op.to_string());
            to.instant(*began);
            to.instant(*until);
        });
        self.number((*failures).into());
        self.number(*uses);
        self.number(*limited);
        for at in [disabled, failed, renewed, last_used, last_limited] {
            self.option(at.as_ref(), |to, at| to.instant(*at));
        }
        let Notes { name, error, windows } = notes;
        self.option(name.as_deref(), Self::text);
        self.option(error.as_deref(), Self::text);
        self.count(windows.len());
        for ProviderWindow { name, limit, remaining, resets } in windows {
            self.text(name);
            self.option(limit.as_ref(), |to, limit| to.number(*limit));
            self.option(remaining.as_ref(), |to, remaining| to.number(*remaining));
            self.option(resets.as_ref(), |to, resets| to.instant(*resets));
        }
    }
}

/// Takes from bytes, and never more than there are.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], StoreError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(|| damaged("what was stored", "cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, StoreError> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    pub(crate) fn end(&self) -> Result<(), StoreError> {
        if self.0.is_empty() { Ok(()) } else { Err(damaged("what was stored", "followed by more")) }
    }

    pub(crate) fn version(&mut self) -> Result<(), StoreError> {
        match self.byte()? {
            VERSION => Ok(()),
            newer => {
                Err(StoreError::corrupt(format!("version {newer} is unknown; the newest that is known is {VERSION}")))
            }
        }
    }

    pub(crate) fn number(&mut self) -> Result<u64, StoreError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(damaged("a number", "larger than 64 bits"))
    }

    pub(crate) fn narrow<T: TryFrom<u64>>(&mut self, what: &str) -> Result<T, StoreError> {
        let number = self.number()?;
        T::try_from(number).map_err(|_| damaged(what, number))
    }

    pub(crate) fn small(&mut self) -> Result<u32, StoreError> {
        self.narrow("a small number")
    }

    pub(crate) fn signed(&mut self) -> Result<i64, StoreError> {
        let number = self.number()?;
        let size = i64::try_from(number >> 1).map_err(|_| damaged("a number", number))?;
        Ok(if number & 1 == 1 { !size } else { size })
    }

    pub(crate) fn instant(&mut self) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::from_micros(self.signed()?))
    }

    fn length(&mut self) -> Result<Length, StoreError> {
        let micros = self.signed()?;
        Length::from_micros(micros).ok_or_else(|| damaged("a length", micros))
    }

    pub(crate) fn amount(&mut self) -> Result<Amount, StoreError> {
        let number = self.number()?;
        Amount::try_from(number).map_err(|_| damaged("an amount", number))
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, StoreError> {
        let length = self.narrow("the length of a text")?;
        std::str::from_utf8(self.take(length)?).map_err(|_| damaged("a text", "other than UTF-8"))
    }

    pub(crate) fn name<T: std::str::FromStr<Err = crate::error::Error>>(&mut self) -> Result<T, StoreError> {
        self.text()?.parse().map_err(|error: crate::error::Error| StoreError::corrupt(error))
    }

    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match self.byte()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            other => Err(damaged("whether something is there", other)),
        }
    }

    pub(crate) fn list<T>(&mut self, read: impl Fn(&mut Self) -> Result<T, StoreError>) -> Result<Vec<T>, StoreError> {
        let count: usize = self.narrow("a count")?;
        // Everything takes at least a byte, so that a damaged count asks for no memory.
        if count > self.0.len() {
            return Err(damaged("a count", count));
        }
        (0..count).map(|_| read(self)).collect()
    }

    fn flag(&mut self) -> Result<Audit, StoreError> {
        match self.byte()? {
            0 => Ok(Audit::None),
            1 => Ok(Audit::Rows),
            other => Err(damaged("an audit", other)),
        }
    }

    pub(crate) fn cap(&mut self) -> Result<Cap, StoreError> {
        Ok(self.option(Self::amount)?.map_or(Cap::Unlimited, Cap::At))
    }

    fn entry(&mut self) -> Result<Entry, StoreError> {
        let (meter, epoch) = (MeterId(self.small()?), self.small()?);
        let (mark, amount, flags) = (self.instant()?, self.amount()?, self.byte()?);
        if flags > 3 {
            return Err(damaged("the flags of an entry", flags));
        }
        let on_expiry = if flags & 1 == 1 { OnExpiry::Charge } else { OnExpiry::Release };
        let audit = if flags & 2 == 2 { Audit::Rows } else { Audit::None };
        Ok(Entry { meter, epoch, mark, amount, on_expiry, audit })
    }

    fn context(&mut self) -> Result<Context, StoreError> {
        Ok(Context {
            subject: self.name()?,
            tags: self.list(|from| Ok((from.text()?.to_owned(), from.text()?.to_owned())))?,
            client: self.option(Self::name::<KeyId>)?,
            key: self.option(Self::name::<KeyId>)?,
            estimate: self.usage()?,
        })
    }

    fn usage(&mut self) -> Result<Usage, StoreError> {
        let mut usage = Usage::new();
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
        } = &mut usage;
        for part in [requests, tokens, input, cache_read, cache_write_5m, cache_write_1h, output, reasoning] {
            *part = self.option(Self::number)?;
        }
        *usd = self.option(Self::amount)?.map(Into::into);
        *extras = self.list(|from| Ok((from.text()?.into(), from.number()?)))?.into_iter().collect();
        Ok(usage)
    }

    fn meter(&mut self) -> Result<Meter, StoreError> {
        Ok(Meter {
            id: MeterId(self.small()?),
            generation: self.small()?,
            epoch: self.small()?,
            claimed: self.narrow("claimed alerts")?,
            cap: self.cap()?,
            audit: self.flag()?,
            counter: self.counter()?,
        })
    }

    fn counter(&mut self) -> Result<Counter, StoreError> {
        Ok(match self.byte()? {
            1 => {
                let (start, ends) = (self.instant()?, self.instant()?);
                Counter::Tally { tally: Tally { start, spent: self.amount()?, held: self.amount()? }, ends }
            }
            2 => Counter::Sliding { length: self.length()?, state: self.state()?, held: self.amount()? },
            3 => {
                let (length, n) = (self.length()?, self.narrow("the number of buckets")?);
                let slices = Slices::new(length, n).map_err(StoreError::corrupt)?;
                let (end, counts) = (self.instant()?, self.list(Self::amount)?);
                let ring = Ring::from_counts(end, counts).map_err(StoreError::corrupt)?;
                Counter::Rolling { slices, ring, held: self.amount()? }
            }
            4 => Counter::Leak {
                length: self.length()?,
                burst: self.amount()?,
                state: self.state()?,
                held: self.amount()?,
            },
            5 => Counter::Balance(self.balance()?),
            6 => Counter::Health(Box::new(self.health()?)),
            other => return Err(damaged("the kind of a meter", other)),
        })
    }

    fn state(&mut self) -> Result<State, StoreError> {
        State::from_parts([self.signed()?, self.signed()?, self.signed()?]).map_err(StoreError::corrupt)
    }

    fn balance(&mut self) -> Result<Balance, StoreError> {
        let (units, held, epoch) = (self.option(Self::signed)?, self.amount()?, self.small()?);
        let refill = self.option(|from| {
            let amount = from.amount()?;
            let every = match from.byte()? {
                0 => Every::Day,
                day => Every::Month { day },
            };
            let policy = match from.byte()? {
                0 => RefillPolicy::Set,
                1 => RefillPolicy::Add,
                2 => RefillPolicy::AddCapped { most: from.amount()? },
                other => return Err(damaged("the policy of a refill", other)),
            };
            let refill = Refill { amount, every, policy };
            refill.check().map_err(StoreError::corrupt)?;
            Ok(refill)
        })?;
        Ok(Balance { units, held, epoch, refill, covered: self.signed()? })
    }

    pub(crate) fn block(&mut self) -> Result<Block, StoreError> {
        let cause = match self.byte()? {
            0 => Cause::RateLimited,
            1 => Cause::Overloaded,
            2 => Cause::QuotaExhausted,
            3 => Cause::CredentialRefused,
            4 => Cause::ModelRefused,
            5 => Cause::Transient,
            6 => Cause::ByHand,
            other => return Err(damaged("a cause", other)),
        };
        let until = self.instant()?;
        let source = match self.byte()? {
            0 => Source::Guessed,
            1 => Source::Read,
            2 => Source::Stated,
            other => return Err(damaged("a source", other)),
        };
        Ok(Block { cause, until, source })
    }

    fn health(&mut self) -> Result<Health, StoreError> {
        let block = self.option(Self::block)?;
        let probe =
            self.option(|from| Ok(Probe { op: from.name()?, began: from.instant()?, until: from.instant()? }))?;
        Ok(Health {
            block,
            probe,
            failures: self.small()?,
            uses: self.number()?,
            limited: self.number()?,
            disabled: self.option(Self::instant)?,
            failed: self.option(Self::instant)?,
            renewed: self.option(Self::instant)?,
            last_used: self.option(Self::instant)?,
            last_limited: self.option(Self::instant)?,
            notes: Notes {
                name: self.option(Self::text)?.map(str::to_owned),
                error: self.option(Self::text)?.map(str::to_owned),
                windows: self.list(|from| {
                    Ok(ProviderWindow {
                        name: from.text()?.to_owned(),
                        limit: from.option(Self::number)?,
                        remaining: from.option(Self::number)?,
                        resets: from.option(Self::instant)?,
                    })
                })?,
            },
        })
    }
}

#[cfg(test)]
mod tests;
