//! Keys as bytes, whose order is that of what they stand for. No text in them has control characters, so that a zero ends it.

use crate::account::{MeterRow, Part};
use crate::error::StoreError;
use crate::id::{LimitId, OpId, Subject};
use crate::store::PartKey;
use crate::time::Timestamp;

/// A key. Its first byte says what lies there: `a`ccounts, `p`arts, parts of an account (`x`), open parts of an account by
/// expiry (`d`), all open parts by expiry (`e`), a`n`swers, `l`imits, ledger `r`ows, `t`otals, what is to be forgotten by
/// its time (`g`), `c`ounters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(Vec<u8>);

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Key {
    /// What all keys of a kind begin with.
    pub(super) fn kind(kind: u8) -> Self {
        Self(vec![kind])
    }

    fn with(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn account(of: &Subject) -> Self {
        Self::kind(b'a').with(of.as_bytes())
    }

    pub(super) fn part((op, account, sequence): &PartKey) -> Self {
        Self::parts_of(op).with(account.as_bytes()).with(&[0]).with(&sequence.to_be_bytes())
    }

    pub(super) fn parts_of(op: &OpId) -> Self {
        Self::kind(b'p').with(&op_bytes(op))
    }

    pub(super) fn parts_of_account(of: &Subject) -> Self {
        Self::kind(b'x').with(of.as_bytes()).with(&[0])
    }

    /// Where the key of a part lies once more, under its account.
    pub(super) fn of_account(of: &Subject, part: &Self) -> Self {
        Self::parts_of_account(of).with(&part.0)
    }

    pub(super) fn open_of(of: &Subject) -> Self {
        Self::kind(b'd').with(of.as_bytes()).with(&[0])
    }

    /// Where an open part lies by its expiry: among those of its account, and among all.
    pub(super) fn open(part: &Part, key: &Self) -> [Self; 2] {
        let at = ordered(part.expires);
        [Self::open_of(&part.account), Self::kind(b'e')].map(|place| place.with(&at).with(&key.0))
    }

    /// The keys of what expires by then, among all.
    pub(super) fn due(now: Timestamp) -> Self {
        Self::kind(b'e').with(&ordered(now)).end()
    }

    pub(super) fn answer(to: &OpId) -> Self {
        Self::kind(b'n').with(&op_bytes(to))
    }

    pub(super) fn limit(of: &LimitId) -> Self {
        Self::kind(b'l').with(of.as_bytes())
    }

    pub(super) fn row(number: u64) -> Self {
        Self::kind(b'r').with(&number.to_be_bytes())
    }

    pub(super) fn total(row: &MeterRow) -> Self {
        let numbers = [row.meter.0, row.epoch].map(u32::to_be_bytes);
        let key = Self::kind(b't').with(row.account.as_bytes()).with(&[0]);
        numbers.iter().fold(key, |key, number| key.with(number)).with(&ordered(row.window))
    }

    /// What may be forgotten from then on.
    pub(super) fn garbage(until: Timestamp, key: &Self) -> Self {
        Self::kind(b'g').with(&ordered(until)).with(&key.0)
    }

    /// The first key after this one.
    pub(super) fn just_after(&self) -> Self {
        self.clone().with(&[0])
    }

    /// The first key after all that begin like this one.
    pub(super) fn end(&self) -> Self {
        let mut bytes = self.0.clone();
        while let Some(last) = bytes.pop() {
            if let Some(next) = last.checked_add(1) {
                bytes.push(next);
                break;
            }
        }
        Self(bytes)
    }

    /// A part, by its key.
    pub(super) fn read_part(key: &[u8], value: &[u8]) -> Result<Part, StoreError> {
        let (op, rest) = read_op(key.get(1..).unwrap_or_default())?;
        let cut = rest.iter().position(|byte| *byte == 0).ok_or_else(damaged)?;
        let (account, sequence) = rest.split_at_checked(cut).ok_or_else(damaged)?;
        let sequence = u16::from_be_bytes(number(sequence.get(1..).unwrap_or_default())?);
        Part::decode(op, parsed(text(account)?)?, sequence, value)
    }
}

/// The number of bytes of the instant in a key of `d` or `e`.
pub(super) const INSTANT: usize = 8;

/// An instant whose bytes order as instants do.
pub(super) fn ordered(at: Timestamp) -> [u8; INSTANT] {
    let mut bytes = at.as_micros().to_be_bytes();
    if let Some(first) = bytes.first_mut() {
        *first ^= 0x80;
    }
    bytes
}

pub(super) fn instant(bytes: &[u8]) -> Result<Timestamp, StoreError> {
    let mut bytes: [u8; INSTANT] = number(bytes)?;
    if let Some(first) = bytes.first_mut() {
        *first ^= 0x80;
    }
    Ok(Timestamp::from_micros(i64::from_be_bytes(bytes)))
}

/// An operation id whose bytes order as ids do, and which says where it ends.
pub(super) fn op_bytes(op: &OpId) -> Vec<u8> {
    match op.library() {
        Some(id) => [&[0][..], &id].concat(),
        None => [&[1][..], op.as_bytes(), &[0]].concat(),
    }
}

/// An operation id, and what comes after it.
pub(super) fn read_op(bytes: &[u8]) -> Result<(OpId, &[u8]), StoreError> {
    let (kind, rest) = bytes.split_first().ok_or_else(damaged)?;
    if *kind == 0 {
        let (id, rest) = rest.split_at_checked(16).ok_or_else(damaged)?;
        return Ok((OpId::from_library(number(id)?), rest));
    }
    let cut = rest.iter().position(|byte| *byte == 0).ok_or_else(damaged)?;
    let (id, rest) = rest.split_at_checked(cut).ok_or_else(damaged)?;
    Ok((parsed(text(id)?)?, rest.get(1..).unwrap_or_default()))
}

pub(super) fn number<const N: usize>(bytes: &[u8]) -> Result<[u8; N], StoreError> {
    bytes.try_into().map_err(|_| damaged())
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, StoreError> {
    std::str::from_utf8(bytes).map_err(|_| damaged())
}

pub(super) fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| damaged())
}

pub(super) fn damaged() -> StoreError {
    StoreError::corrupt("a key or a value that this library has not written")
}
