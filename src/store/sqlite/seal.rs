//! Keys as bytes in their order, and a sum over what was stored, so that a damaged byte is an error and no answer.

use crate::error::StoreError;
use crate::id::{OpId, Subject};

/// An operation as bytes that order as operations do: ids of the library before those of a host.
pub(super) fn op_key(op: &OpId) -> Vec<u8> {
    let text = op.as_bytes();
    let mut key = Vec::with_capacity(text.len() + 1);
    key.push(u8::from(op.library().is_none()));
    key.extend_from_slice(text);
    key
}

/// The operation that these bytes are.
pub(super) fn op_of(key: &[u8]) -> Result<OpId, StoreError> {
    let damaged = || StoreError::corrupt("what was stored as an operation is none");
    match key.split_first().ok_or_else(damaged)? {
        (0, number) => Ok(OpId::from_library(number.try_into().map_err(|_| damaged())?)),
        (1, text) => {
            let op = OpId::host(std::str::from_utf8(text).map_err(|_| damaged())?).map_err(StoreError::corrupt)?;
            if op.began().is_some() { Err(damaged()) } else { Ok(op) }
        }
        _ => Err(damaged()),
    }
}

/// The subject that this text is.
pub(super) fn subject_of(text: &str) -> Result<Subject, StoreError> {
    text.parse().map_err(StoreError::corrupt)
}

/// A sum in which every byte counts: changing any single one changes it.
#[derive(Clone, Copy)]
pub(super) struct Seal(u32);

impl Seal {
    pub(super) const fn new() -> Self {
        Self(0x811c_9dc5)
    }

    #[must_use]
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)))
    }

    #[must_use]
    pub(super) fn number(self, number: i64) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    #[must_use]
    pub(super) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes()).bytes(&[0xff])
    }

    pub(super) fn value(self) -> i64 {
        i64::from(self.0)
    }

    /// Appends the sum over the key, which went before, and the body.
    pub(super) fn close(self, body: &mut Vec<u8>) {
        let sum = self.bytes(body);
        body.extend_from_slice(&sum.0.to_be_bytes());
    }

    /// The body, if its sum is right.
    pub(super) fn open(self, stored: &[u8]) -> Result<&[u8], StoreError> {
        let broken = || StoreError::corrupt("the sum over what was stored is wrong");
        let (body, sum) = stored.split_last_chunk::<4>().ok_or_else(broken)?;
        if self.bytes(body).0.to_be_bytes() == *sum { Ok(body) } else { Err(broken()) }
    }

    pub(super) fn check(self, stored: i64) -> Result<(), StoreError> {
        if self.value() == stored { Ok(()) } else { Err(StoreError::corrupt("the sum over what was stored is wrong")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn keys_order_as_operations_do_and_are_read_back() {
        let late = Timestamp::from_micros((1 << 54) - 1);
        let mut ops: Vec<OpId> =
            ["a", "kw-1", "kw-short", "é", "zz", "a\u{10ffff}", "b"].map(|id| OpId::host(id).unwrap()).into();
        ops.extend([
            OpId::at(Timestamp::EPOCH, 0),
            OpId::at(late, u128::MAX),
            OpId::at(Timestamp::from_micros(7), 1 << 73),
        ]);
        ops.sort();
        let keys: Vec<Vec<u8>> = ops.iter().map(op_key).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        for (op, key) in ops.iter().zip(&keys) {
            assert_eq!(op_of(key).unwrap(), *op);
        }
        for damaged in [&[][..], &[0, 1], &[1], &[2, 7], &[1, 0xff], &[1, 7]] {
            assert!(op_of(damaged).unwrap_err().is_corrupt());
        }
    }

    #[test]
    fn no_single_byte_can_change_unseen() {
        let mut stored = b"what was stored".to_vec();
        let seal = Seal::new().text("key").number(7);
        seal.close(&mut stored);
        assert_eq!(seal.open(&stored).unwrap(), b"what was stored");
        for at in 0..stored.len() {
            for flip in 1..=255 {
                let mut other = stored.clone();
                other[at] ^= flip;
                assert!(seal.open(&other).unwrap_err().is_corrupt());
            }
        }
        assert!(Seal::new().text("kez").number(7).open(&stored).is_err());
    }
}
