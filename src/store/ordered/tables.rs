//! What a transaction loads and saves, as bytes under keys.

use super::Bytes;
use super::keys::{INSTANT, Key, damaged, instant, number, op_bytes, ordered, read_op};
use crate::account::{Account, Part, Row};
use crate::error::StoreError;
use crate::id::{LimitId, OpId, Subject};
use crate::plan::{Answer, Counters, Due, LimitRecord, State};
use crate::store::Transaction;
use crate::time::{Length, Timestamp};

/// How much of what may be forgotten is looked at with every plan.
const FEW: usize = 4;

pub(super) struct Tables<'a> {
    pub(super) bytes: &'a mut dyn Bytes,
    /// How long the plan's answer and ended parts are kept.
    pub(super) horizon: Length,
    /// How many parts may end.
    pub(super) most: usize,
    /// How many have ended.
    pub(super) ended: usize,
}

impl<'a> Tables<'a> {
    pub(super) fn new(bytes: &'a mut dyn Bytes) -> Self {
        Self { bytes, horizon: Length::DAY, most: usize::MAX, ended: 0 }
    }

    pub(super) fn account_of(&mut self, of: &Subject) -> Result<Option<Account>, StoreError> {
        let found = self.bytes.get(Key::account(of).as_ref())?;
        found.map(|bytes| Account::decode(&bytes)).transpose()
    }

    fn part(&mut self, key: &[u8]) -> Result<Part, StoreError> {
        let value = self.bytes.get(key)?.ok_or_else(damaged)?;
        Key::read_part(key, &value)
    }

    /// Whose part is the first that has expired by now, if there is one.
    pub(super) fn first_due(&mut self, now: Timestamp) -> Result<Option<Subject>, StoreError> {
        let found = self.bytes.range(Key::kind(b'e').as_ref(), Key::due(now).as_ref(), 1)?;
        let part = found.first().and_then(|(key, _)| key.get(1 + INSTANT..));
        part.map(|key| self.part(key).map(|part| part.account)).transpose()
    }

    fn put_part(&mut self, part: &Part) -> Result<(), StoreError> {
        let key = Key::part(&(part.op.clone(), part.account.clone(), part.sequence));
        if let Some(before) = self.bytes.get(key.as_ref())? {
            let before = Key::read_part(key.as_ref(), &before)?;
            if before.is_open() {
                for place in Key::open(&before, &key) {
                    self.bytes.remove(place.as_ref())?;
                }
                self.ended += usize::from(!part.is_open());
            }
        }
        let mut value = Vec::new();
        part.encode(&mut value);
        self.bytes.set(key.as_ref(), &value)?;
        self.bytes.set(Key::of_account(&part.account, &key).as_ref(), key.as_ref())?;
        match part.end {
            None => {
                for place in Key::open(part, &key) {
                    self.bytes.set(place.as_ref(), &[])?;
                }
            }
            Some((_, at)) => self.forget_later(at, &key)?,
        }
        Ok(())
    }

    /// What lies there may be forgotten when the horizon is over.
    fn forget_later(&mut self, at: Timestamp, key: &Key) -> Result<(), StoreError> {
        let place = Key::garbage(at.saturating_add(self.horizon), key);
        self.bytes.set(place.as_ref(), &self.horizon.as_micros().to_be_bytes())
    }

    /// Forgets a few of those answers and ended parts whose horizon is over.
    fn forget_some(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let until = Key::kind(b'g').end().min(Key::garbage(now, &Key::from(Vec::new())));
        for (place, horizon) in self.bytes.range(Key::kind(b'g').as_ref(), until.as_ref(), FEW)? {
            let key = place.get(1 + INSTANT..).unwrap_or_default();
            let horizon = Length::from_micros(i64::from_be_bytes(number(&horizon)?)).ok_or_else(damaged)?;
            if key.first() == Some(&b'n') {
                self.bytes.remove(key)?;
            } else if let Some(value) = self.bytes.get(key)? {
                let part = Key::read_part(key, &value)?;
                // It may have ended once more since, and has another place here then.
                if part.end.is_some_and(|(_, at)| at.saturating_add(horizon) < now) {
                    self.bytes.remove(Key::of_account(&part.account, &Key::from(key.to_vec())).as_ref())?;
                    self.bytes.remove(key)?;
                }
            }
            self.bytes.remove(&place)?;
        }
        Ok(())
    }

    fn forget_account(&mut self, gone: &Subject, at: Timestamp) -> Result<(), StoreError> {
        self.bytes.remove(Key::account(gone).as_ref())?;
        let parts = Key::parts_of_account(gone);
        for (_, key) in self.bytes.range(parts.as_ref(), parts.end().as_ref(), usize::MAX)? {
            let mut part = self.part(&key)?;
            if part.is_open() {
                part.forget(at);
                self.put_part(&part)?;
            }
        }
        Ok(())
    }

    fn last_row(&mut self) -> Result<u64, StoreError> {
        let found = self.bytes.get(b"c_row")?;
        found.map_or(Ok(0), |bytes| number(&bytes).map(u64::from_be_bytes))
    }
}

impl Transaction for Tables<'_> {
    fn account(&mut self, of: &Subject) -> Result<Account, StoreError> {
        Ok(self.account_of(of)?.unwrap_or_default())
    }

    fn due(&mut self, of: &Subject, now: Timestamp) -> Result<Due, StoreError> {
        let open = Key::open_of(of);
        let found = self.bytes.range(open.as_ref(), open.end().as_ref(), Due::MOST + 1)?;
        let skip = open.as_ref().len() + INSTANT;
        let parts = found.iter().map(|(key, _)| self.part(key.get(skip..).unwrap_or_default()));
        let parts = parts.collect::<Result<Vec<Part>, _>>()?;
        let mut due = Due::first(parts.iter(), now);
        let most = self.most.saturating_sub(self.ended);
        if let Some(next) = due.parts.get(most) {
            due.next = Some(next.expires);
            due.parts.truncate(most);
        }
        Ok(due)
    }

    fn parts(&mut self, of: &OpId) -> Result<Vec<Part>, StoreError> {
        let parts = Key::parts_of(of);
        let found = self.bytes.range(parts.as_ref(), parts.end().as_ref(), usize::MAX)?;
        found.iter().map(|(key, value)| Key::read_part(key, value)).collect()
    }

    fn answer(&mut self, to: &OpId) -> Result<Option<Answer>, StoreError> {
        let found = self.bytes.get(Key::answer(to).as_ref())?;
        found.map(|bytes| Answer::decode(to.clone(), &bytes)).transpose()
    }

    fn limit(&mut self, of: &LimitId) -> Result<Option<LimitRecord>, StoreError> {
        let found = self.bytes.get(Key::limit(of).as_ref())?;
        found.map(|bytes| LimitRecord::decode(of.clone(), &bytes)).transpose()
    }

    fn counters(&mut self) -> Result<Counters, StoreError> {
        let Some(bytes) = self.bytes.get(b"c")? else { return Ok(Counters::default()) };
        let (limits, epoch) = bytes.split_at_checked(4).ok_or_else(damaged)?;
        Ok(Counters { limits: u32::from_be_bytes(number(limits)?), epoch: u32::from_be_bytes(number(epoch)?) })
    }

    fn save(&mut self, state: &State) -> Result<(), StoreError> {
        let changes = &state.changes;
        for gone in &changes.forgotten {
            self.forget_account(gone, changes.at)?;
        }
        let mut value = Vec::new();
        for loaded in state.changed() {
            value.clear();
            loaded.account.encode(&mut value);
            self.bytes.set(Key::account(&loaded.subject).as_ref(), &value)?;
        }
        for part in &changes.parts {
            self.put_part(part)?;
        }
        if let Some(answer) = &changes.answer {
            let key = Key::answer(&answer.op);
            value.clear();
            answer.encode(&mut value)?;
            self.bytes.set(key.as_ref(), &value)?;
            self.forget_later(answer.at, &key)?;
        }
        for record in &changes.limits {
            value.clear();
            record.encode(&mut value);
            self.bytes.set(Key::limit(&record.limit).as_ref(), &value)?;
        }
        if !changes.rows.is_empty() {
            let mut last = self.last_row()?;
            for row in &changes.rows {
                last += 1;
                self.bytes.set(Key::row(last).as_ref(), &write_row(row))?;
            }
            self.bytes.set(b"c_row", &last.to_be_bytes())?;
        }
        let counters = [state.counters.limits, state.counters.epoch].map(u32::to_be_bytes).concat();
        if self.bytes.get(b"c")?.as_ref() != Some(&counters) {
            self.bytes.set(b"c", &counters)?;
        }
        self.forget_some(changes.at)
    }
}

fn write_row(row: &Row) -> Vec<u8> {
    let mut value = ordered(row.at).to_vec();
    match &row.op {
        Some(op) => value.extend(op_bytes(op)),
        None => value.push(2),
    }
    row.encode(&mut value);
    value
}

pub(super) fn read_row(value: &[u8]) -> Result<Row, StoreError> {
    let (at, rest) = value.split_at_checked(INSTANT).ok_or_else(damaged)?;
    let (op, rest) = match rest.split_first() {
        Some((2, rest)) => (None, rest),
        _ => read_op(rest).map(|(op, rest)| (Some(op), rest))?,
    };
    Row::decode(instant(at)?, op, rest)
}
