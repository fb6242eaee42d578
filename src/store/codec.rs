//! Answers and records of limits as bytes, in the form of [accounts](crate::account::Account::encode).

use smallvec::SmallVec;

use crate::account::codec::{Reader, Writer, damaged};
use crate::account::{How, MeterId};
use crate::error::StoreError;
use crate::id::{LimitId, OpId};
use crate::plan::{Answer, Claim, Effect, Grant, LimitRecord, Taken, Verdict};
use crate::pool::Standing;

impl Answer {
    /// All of the answer but its operation, as bytes appended to `to`.
    ///
    /// # Errors
    /// A verdict that is not granted: only a plan that was carried out leaves an answer.
    pub fn encode(&self, to: &mut Vec<u8>) -> Result<(), StoreError> {
        let Self { op: _, at, args, verdict } = self;
        let Verdict::Granted(grant) = verdict else {
            return Err(StoreError::refused("only a plan that was carried out leaves an answer"));
        };
        let mut to = Writer(to);
        to.version();
        to.instant(*at);
        to.count(args.len());
        for (name, value) in args {
            to.text(name);
            to.text(value);
        }
        let Grant { picked, taken, effects, expires, key } = grant;
        to.count(picked.len());
        picked.iter().for_each(|place| to.byte(*place));
        to.count(taken.len());
        taken.iter().for_each(|taken| to.taken(taken));
        to.count(effects.len());
        effects.iter().for_each(|effect| to.effect(effect));
        to.option(expires.as_ref(), |to, at| to.instant(*at));
        if !picked.is_empty() {
            to.option(key.as_ref(), |to, key| to.text(key.as_str()));
        }
        Ok(())
    }

    /// The answer that these bytes are, to this operation.
    ///
    /// # Errors
    /// Bytes that no answer of a known version is.
    pub fn decode(op: OpId, bytes: &[u8]) -> Result<Self, StoreError> {
        let mut from = Reader(bytes);
        from.version()?;
        let at = from.instant()?;
        let args = from.list(|from| Ok((from.text()?.to_owned().into(), from.text()?.to_owned())))?;
        let mut grant = Grant {
            picked: SmallVec::from_vec(from.list(Reader::byte)?),
            taken: SmallVec::from_vec(from.list(Reader::taken)?),
            effects: SmallVec::from_vec(from.list(Reader::effect)?),
            expires: from.option(Reader::instant)?,
            key: None,
        };
        if !grant.picked.is_empty() {
            grant.key = from.option(Reader::name)?;
        }
        from.end()?;
        Ok(Self { op, at, args, verdict: Verdict::Granted(grant) })
    }
}

impl LimitRecord {
    /// All of the record but the limit's identity, as bytes appended to `to`.
    pub fn encode(&self, to: &mut Vec<u8>) {
        let Self { limit: _, meter, anchor, schedules } = self;
        let mut to = Writer(to);
        to.version();
        to.number(meter.0.into());
        to.instant(*anchor);
        to.count(schedules.len());
        for (generation, schedule) in schedules {
            to.number((*generation).into());
            to.text(schedule);
        }
    }

    /// The record that these bytes are, of this limit.
    ///
    /// # Errors
    /// Bytes that no record of a known version is.
    pub fn decode(limit: LimitId, bytes: &[u8]) -> Result<Self, StoreError> {
        let mut from = Reader(bytes);
        from.version()?;
        let (meter, anchor) = (MeterId(from.small()?), from.instant()?);
        let schedules = from.list(|from| Ok((from.small()?, from.text()?.to_owned())))?;
        from.end()?;
        Ok(Self { limit, meter, anchor, schedules })
    }
}

impl Writer<'_> {
    fn taken(&mut self, taken: &Taken) {
        let Taken { account, meter, amount, remaining, window_end, over, epoch, mark } = *taken;
        self.number(account.into());
        self.number(meter.0.into());
        self.amount(amount);
        self.option(remaining.as_ref(), |to, amount| to.amount(*amount));
        self.option(window_end.as_ref(), |to, at| to.instant(*at));
        self.amount(over);
        self.number(epoch.into());
        self.instant(mark);
    }

    fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Booked { meter, held, booked, spent, cap } => {
                self.byte(0);
                self.number(meter.0.into());
                self.amount(*held);
                self.amount(*booked);
                self.option(spent.as_ref(), |to, amount| to.amount(*amount));
                self.cap(*cap);
            }
            Effect::Already(how) => {
                self.byte(1);
                self.byte(match how {
                    How::Settled => 1,
                    How::Released => 2,
                    How::Expired => 3,
                });
            }
            Effect::Unknown => self.byte(2),
            Effect::Extended(at) => {
                self.byte(3);
                self.instant(*at);
            }
            Effect::Balance { units, moved } => {
                self.byte(4);
                self.option(units.as_ref(), |to, units| to.signed(*units));
                self.signed(*moved);
            }
            Effect::Reset => self.byte(5),
            Effect::Claimed(claim) => {
                self.byte(6);
                self.byte(match claim {
                    Claim::First => 0,
                    Claim::Late => 1,
                });
            }
            Effect::Health(standing) => {
                self.byte(7);
                self.standing(standing);
            }
            Effect::Adopted { meter, generation, anchor } => {
                self.byte(8);
                self.number(meter.0.into());
                self.number((*generation).into());
                self.instant(*anchor);
            }
            Effect::Forgotten => self.byte(9),
        }
    }

    fn standing(&mut self, standing: &Standing) {
        match standing {
            Standing::Available => self.byte(0),
            Standing::Cooling(block) => {
                self.byte(1);
                self.block(block);
            }
            Standing::HalfOpen => self.byte(2),
            Standing::Probing => self.byte(3),
            Standing::Refused => self.byte(4),
            Standing::Disabled => self.byte(5),
        }
    }
}

impl Reader<'_> {
    fn taken(&mut self) -> Result<Taken, StoreError> {
        Ok(Taken {
            account: self.narrow("the place of an account")?,
            meter: MeterId(self.small()?),
            amount: self.amount()?,
            remaining: self.option(Self::amount)?,
            window_end: self.option(Self::instant)?,
            over: self.amount()?,
            epoch: self.small()?,
            mark: self.instant()?,
        })
    }

    fn effect(&mut self) -> Result<Effect, StoreError> {
        Ok(match self.byte()? {
            0 => Effect::Booked {
                meter: MeterId(self.small()?),
                held: self.amount()?,
                booked: self.amount()?,
                spent: self.option(Self::amount)?,
                cap: self.cap()?,
            },
            1 => Effect::Already(match self.byte()? {
                1 => How::Settled,
                2 => How::Released,
                3 => How::Expired,
                other => return Err(damaged("the end of a part", other)),
            }),
            2 => Effect::Unknown,
            3 => Effect::Extended(self.instant()?),
            4 => Effect::Balance { units: self.option(Self::signed)?, moved: self.signed()? },
            5 => Effect::Reset,
            6 => Effect::Claimed(match self.byte()? {
                0 => Claim::First,
                1 => Claim::Late,
                other => return Err(damaged("a claim", other)),
            }),
            7 => Effect::Health(self.standing()?),
            8 => Effect::Adopted { meter: MeterId(self.small()?), generation: self.small()?, anchor: self.instant()? },
            9 => Effect::Forgotten,
            other => return Err(damaged("an effect", other)),
        })
    }

    fn standing(&mut self) -> Result<Standing, StoreError> {
        Ok(match self.byte()? {
            0 => Standing::Available,
            1 => Standing::Cooling(self.block()?),
            2 => Standing::HalfOpen,
            3 => Standing::Probing,
            4 => Standing::Refused,
            5 => Standing::Disabled,
            other => return Err(damaged("the standing of a key", other)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::{Amount, Cap};
    use crate::pool::{Block, Cause, Source};
    use crate::time::Timestamp;

    fn answer() -> Answer {
        let block = Block { cause: Cause::RateLimited, until: Timestamp::from_micros(9), source: Source::Stated };
        let booked = Effect::Booked {
            meter: MeterId(3),
            held: Amount::new(7),
            booked: Amount::new(300),
            spent: Some(Amount::MAX),
            cap: Cap::At(Amount::ZERO),
        };
        let adopted = Effect::Adopted { meter: MeterId(1), generation: u32::MAX, anchor: Timestamp::MIN };
        let effects = [
            booked,
            Effect::Booked {
                meter: MeterId(4),
                held: Amount::ZERO,
                booked: Amount::ONE,
                spent: None,
                cap: Cap::Unlimited,
            },
            Effect::Already(How::Settled),
            Effect::Already(How::Released),
            Effect::Already(How::Expired),
            Effect::Unknown,
            Effect::Extended(Timestamp::MAX),
            Effect::Balance { units: Some(i64::MIN), moved: -1 },
            Effect::Balance { units: None, moved: i64::MAX },
            Effect::Reset,
            Effect::Claimed(Claim::First),
            Effect::Claimed(Claim::Late),
            Effect::Health(Standing::Available),
            Effect::Health(Standing::Cooling(block)),
            Effect::Health(Standing::HalfOpen),
            Effect::Health(Standing::Probing),
            Effect::Health(Standing::Refused),
            Effect::Health(Standing::Disabled),
            adopted,
            Effect::Forgotten,
        ];
        let taken = Taken {
            account: 2,
            meter: MeterId(8),
            amount: Amount::new(5),
            remaining: None,
            window_end: Some(Timestamp::EPOCH),
            over: Amount::new(1),
            epoch: 3,
            mark: Timestamp::from_micros(-7),
        };
        let grant = Grant {
            picked: SmallVec::from_slice(&[0, 7, 255]),
            taken: SmallVec::from_slice(&[taken, Taken { remaining: Some(Amount::ONE), window_end: None, ..taken }]),
            effects: SmallVec::from_slice(&effects),
            expires: Some(Timestamp::from_micros(-5)),
            key: Some("k1".parse().unwrap()),
        };
        let op = OpId::host("request-7").unwrap();
        let args = vec![("tokens".into(), "5".to_owned()), ("é".into(), String::new())];
        Answer { op, at: Timestamp::from_micros(77), args, verdict: Verdict::Granted(grant) }
    }

    #[test]
    fn an_answer_reads_what_it_wrote() {
        let (answer, mut bytes) = (answer(), Vec::new());
        answer.encode(&mut bytes).unwrap();
        assert_eq!(Answer::decode(answer.op.clone(), &bytes).unwrap(), answer);
        for cut in 0..bytes.len() {
            assert!(Answer::decode(answer.op.clone(), &bytes[..cut]).unwrap_err().is_corrupt(), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let _ = Answer::decode(answer.op.clone(), &flipped);
            }
        }
    }

    #[test]
    fn only_what_was_carried_out_can_be_an_answer() {
        let stale = Answer { verdict: Verdict::Stale { now: Timestamp::EPOCH }, ..answer() };
        assert!(stale.encode(&mut Vec::new()).unwrap_err().is_refused());
    }

    #[test]
    fn a_record_reads_what_it_wrote() {
        let record = LimitRecord {
            limit: "usd by team".parse().unwrap(),
            meter: MeterId(9),
            anchor: Timestamp::from_micros(-1),
            schedules: vec![(0, "grid 60s".to_owned()), (3, String::new())],
        };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert_eq!(LimitRecord::decode(record.limit.clone(), &bytes).unwrap(), record);
        assert!(LimitRecord::decode(record.limit.clone(), &bytes[1..]).unwrap_err().is_corrupt());
    }
}
