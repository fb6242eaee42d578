//! Ledger rows as bytes.

use std::sync::Arc;

use super::{Reader, Writer, damaged};
use crate::account::{Kind, MeterId, MeterRow, Row, RowEntry, UsageRow};
use crate::error::StoreError;
use crate::id::OpId;
use crate::time::Timestamp;
use crate::usage::Class;

impl Row {
    /// All of the row but when it was and of which operation, as bytes appended to `to`.
    ///
    /// ```
    /// use keyward::account::{Row, RowEntry};
    /// use keyward::{Subject, Timestamp};
    /// let row = Row { at: Timestamp::EPOCH, op: None, entry: RowEntry::Forgotten { account: Subject::everyone() } };
    /// let mut bytes = Vec::new();
    /// row.encode(&mut bytes);
    /// assert_eq!(Row::decode(row.at, None, &bytes)?, row);
    /// # Ok::<(), keyward::StoreError>(())
    /// ```
    pub fn encode(&self, to: &mut Vec<u8>) {
        let Self { at: _, op: _, entry } = self;
        let mut to = Writer(to);
        to.version();
        match entry {
            RowEntry::Usage(UsageRow { kind, context, usage, instead_of, outcome }) => {
                to.byte(0);
                to.kind(*kind);
                to.option(context.as_deref(), Writer::context);
                to.usage(usage);
                to.option(instead_of.as_ref(), Writer::usage);
                to.option(outcome.as_ref(), |to, class| to.class(*class));
            }
            RowEntry::Meter(MeterRow { kind, account, meter, window, epoch, sequence, spent }) => {
                to.byte(1);
                to.kind(*kind);
                to.text(account.as_str());
                to.number(meter.0.into());
                to.instant(*window);
                to.number((*epoch).into());
                to.number((*sequence).into());
                to.signed(*spent);
            }
            RowEntry::Alert { account, meter, window, percent, spent, cap } => {
                to.byte(2);
                to.text(account.as_str());
                to.number(meter.0.into());
                to.instant(*window);
                to.number((*percent).into());
                to.amount(*spent);
                to.cap(*cap);
            }
            RowEntry::Forgotten { account } => {
                to.byte(3);
                to.text(account.as_str());
            }
        }
    }

    /// The row that these bytes are, of this instant and operation.
    ///
    /// # Errors
    /// Bytes that no row of a known version is.
    pub fn decode(at: Timestamp, op: Option<OpId>, bytes: &[u8]) -> Result<Self, StoreError> {
        let mut from = Reader(bytes);
        from.version()?;
        let entry = match from.byte()? {
            0 => RowEntry::Usage(UsageRow {
                kind: from.kind()?,
                context: from.option(Reader::context)?.map(Arc::new),
                usage: from.usage()?,
                instead_of: from.option(Reader::usage)?,
                outcome: from.option(Reader::class)?,
            }),
            1 => RowEntry::Meter(MeterRow {
                kind: from.kind()?,
                account: from.name()?,
                meter: MeterId(from.small()?),
                window: from.instant()?,
                epoch: from.small()?,
                sequence: from.small()?,
                spent: from.signed()?,
            }),
            2 => RowEntry::Alert {
                account: from.name()?,
                meter: MeterId(from.small()?),
                window: from.instant()?,
                percent: from.narrow("the percents of an alert")?,
                spent: from.amount()?,
                cap: from.cap()?,
            },
            3 => RowEntry::Forgotten { account: from.name()? },
            other => return Err(damaged("what a row says", other)),
        };
        from.end()?;
        Ok(Self { at, op, entry })
    }
}

impl Writer<'_> {
    fn kind(&mut self, kind: Kind) {
        self.byte(match kind {
            Kind::Settle => 0,
            Kind::Charge => 1,
            Kind::Expire => 2,
            Kind::Adjust => 3,
            Kind::Record => 4,
            Kind::Set => 5,
            Kind::Credit => 6,
            Kind::Debit => 7,
            Kind::Refill => 8,
            Kind::Reset => 9,
        });
    }

    fn class(&mut self, class: Class) {
        self.byte(match class {
            Class::Success => 0,
            Class::RateLimited => 1,
            Class::Overloaded => 2,
            Class::QuotaExhausted => 3,
            Class::CredentialRefused => 4,
            Class::ModelRefused => 5,
            Class::Transient => 6,
            Class::CallersFault => 7,
            Class::NoVerdict => 8,
        });
    }
}

impl Reader<'_> {
    fn kind(&mut self) -> Result<Kind, StoreError> {
        Ok(match self.byte()? {
            0 => Kind::Settle,
            1 => Kind::Charge,
            2 => Kind::Expire,
            3 => Kind::Adjust,
            4 => Kind::Record,
            5 => Kind::Set,
            6 => Kind::Credit,
            7 => Kind::Debit,
            8 => Kind::Refill,
            9 => Kind::Reset,
            other => return Err(damaged("the kind of a row", other)),
        })
    }

    fn class(&mut self) -> Result<Class, StoreError> {
        Ok(match self.byte()? {
            0 => Class::Success,
            1 => Class::RateLimited,
            2 => Class::Overloaded,
            3 => Class::QuotaExhausted,
            4 => Class::CredentialRefused,
            5 => Class::ModelRefused,
            6 => Class::Transient,
            7 => Class::CallersFault,
            8 => Class::NoVerdict,
            other => return Err(damaged("an outcome", other)),
        })
    }
}
