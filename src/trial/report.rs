//! What came of a trial: numbers, and a table of them for people.

use std::collections::BTreeMap;
use std::fmt;

use crate::amount::{Amount, Cap, Measure};
use crate::id::{LimitId, Subject};
use crate::keeper::Denial;
use crate::time::{Length, Timestamp, When};

/// What a log would have come to under a policy. It displays as a table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Report {
    /// When the first call asked.
    pub from: Option<Timestamp>,
    /// When the last one asked.
    pub until: Option<Timestamp>,
    /// How many calls the log has.
    pub calls: u64,
    /// How many would have passed.
    pub granted: u64,
    /// How many would not.
    pub refused: u64,
    /// How many came again under the operation id of one that was granted.
    pub repeated: u64,
    /// How many no keeper could have answered; [`Report::faults`] says why.
    pub unfit: u64,
    /// Every limit of the policy, in its order.
    pub limits: Vec<LimitLine>,
    /// The pools that had no key for some call, by their names.
    pub pools: Vec<PoolLine>,
    /// The first refusals, as many as were asked for.
    pub refusals: Vec<Refused>,
    /// The first calls that no keeper could have answered.
    pub faults: Vec<Fault>,
}

/// What one limit would have done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LimitLine {
    /// The limit.
    pub limit: LimitId,
    /// The same in words.
    pub words: String,
    /// What it measures.
    pub measure: Measure,
    /// How many calls it refused, also where others refused them too.
    pub refused: u64,
    /// How many would have passed but for it.
    pub alone: u64,
    /// When it refused first.
    pub first: Option<Timestamp>,
    /// When it refused last.
    pub last: Option<Timestamp>,
    /// The longest time that one of them would have had to wait, if nothing else happened.
    pub longest_wait: Option<Length>,
    /// How many could have passed only when other calls ended.
    pub when_freed: u64,
    /// How many no time would have let pass.
    pub never: u64,
    /// When its use was highest. Not of balances.
    pub peak: Option<Peak>,
    /// Those whom it refused most often.
    pub subjects: Vec<SubjectLine>,
    /// How many others it refused.
    pub others: u64,
}

/// When the use of a limit was highest, as a share of what it allows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Peak {
    /// Whose use.
    pub subject: Subject,
    /// How much was held and spent.
    pub used: Amount,
    /// What it allows; of a leaking meter, its burst.
    pub cap: Cap,
    /// When.
    pub at: Timestamp,
}

/// Whom a limit refused, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SubjectLine {
    /// Who.
    pub subject: Subject,
    /// How many calls.
    pub refused: u64,
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
}

/// A pool that had no key for some call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PoolLine {
    /// The pool.
    pub pool: String,
    /// How many calls.
    pub refused: u64,
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
}

/// A call that would have been refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Refused {
    /// Its place in the log; the first is 1.
    pub number: u64,
    /// When it asked.
    pub time: Timestamp,
    /// What it said of itself.
    pub dimensions: BTreeMap<String, String>,
    /// Why it would have been refused, and when it could have passed.
    pub denial: Denial,
}

/// A call that no keeper could have answered: it lacks what a limit goes by, for instance.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Fault {
    /// Its place in the log; the first is 1.
    pub number: u64,
    /// When it asked.
    pub time: Timestamp,
    /// What is wrong.
    pub error: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who: Vec<String> = self.dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
        write!(f, "call {} of {}, {}: {}", self.number, who.join(","), self.time, self.denial)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls", self.calls)?;
        if let (Some(from), Some(until)) = (self.from, self.until) {
            write!(f, " from {from} to {until}")?;
        }
        write!(f, ": {} granted, {} refused", self.granted, self.refused)?;
        for (count, what) in [(self.repeated, "repeated"), (self.unfit, "unfit")] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        f.write_str("\n\n")?;
        let mut table = Table::new(["limit", "refused", "alone", "first", "last", "waits", "peak"]);
        for line in &self.limits {
            line.rows(&mut table);
        }
        for PoolLine { pool, refused, first, last } in &self.pools {
            let cells =
                [format!("pool {pool}"), refused.to_string(), String::new(), first.to_string(), last.to_string()];
            table.row(cells);
        }
        table.fmt(f)?;
        if !self.refusals.is_empty() {
            f.write_str("\n")?;
        }
        for refused in &self.refusals {
            writeln!(f, "{refused}")?;
        }
        for Fault { number, time, error } in &self.faults {
            writeln!(f, "call {number}, {time}: {error}")?;
        }
        Ok(())
    }
}

impl LimitLine {
    fn rows(&self, table: &mut Table) {
        let instant = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
        let waits = match (self.longest_wait, self.never, self.when_freed) {
            _ if self.refused == 0 => String::new(),
            (_, 1.., _) => "for ever".to_owned(),
            (Some(length), ..) => format!("up to {}", rounded(length)),
            (None, ..) => "for a call to end".to_owned(),
        };
        let peak = self.peak.as_ref().map(|peak| {
            let used = self.measure.show(peak.used);
            let of = match peak.cap {
                Cap::Unlimited => String::new(),
                Cap::At(most) => format!(" of {}", self.measure.show(most)),
            };
            let whose = if peak.subject == Subject::everyone() { String::new() } else { format!(", {}", peak.subject) };
            format!("{used}{of}{whose}")
        });
        table.row([
            self.words.clone(),
            self.refused.to_string(),
            self.alone.to_string(),
            instant(self.first),
            instant(self.last),
            waits,
            peak.unwrap_or_default(),
        ]);
        for SubjectLine { subject, refused, first, last } in &self.subjects {
            if *subject != Subject::everyone() {
                let cells =
                    [format!("  {subject}"), refused.to_string(), String::new(), first.to_string(), last.to_string()];
                table.row(cells);
            }
        }
        if self.others > 0 {
            table.row([format!("  and {} others", self.others)]);
        }
    }
}

/// A length to the second, rounded up, or as it is where it is shorter.
fn rounded(length: Length) -> Length {
    let second = Length::SECOND.as_micros();
    let up = length.as_micros().checked_add(second - 1).map(|micros| micros - micros % second);
    up.filter(|_| length > Length::SECOND).and_then(Length::from_micros).unwrap_or(length)
}

/// Rows of cells, written in columns.
pub(super) struct Table(Vec<Vec<String>>);

impl Table {
    pub(super) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self(vec![head.map(str::to_owned).into()])
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.push(cells.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.0 {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &self.0 {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// What is counted of one limit while a trial runs.
#[derive(Debug)]
pub(super) struct Count {
    line: LimitLine,
    subjects: BTreeMap<Subject, (u64, Timestamp, Timestamp)>,
}

impl Count {
    pub(super) fn new(limit: LimitId, words: String, measure: Measure) -> Self {
        let line = LimitLine {
            limit,
            words,
            measure,
            refused: 0,
            alone: 0,
            first: None,
            last: None,
            longest_wait: None,
            when_freed: 0,
            never: 0,
            peak: None,
            subjects: Vec::new(),
            others: 0,
        };
        Self { line, subjects: BTreeMap::new() }
    }

    /// It stood in the way of one call, for these subjects.
    pub(super) fn refused<'a>(
        &mut self,
        subjects: impl Iterator<Item = &'a Subject>,
        when: When,
        is_alone: bool,
        at: Timestamp,
    ) {
        let line = &mut self.line;
        line.refused += 1;
        line.alone += u64::from(is_alone);
        line.first = line.first.or(Some(at));
        line.last = Some(at);
        match when {
            When::At(passes) => line.longest_wait = line.longest_wait.max(Length::try_from(passes.since(at)).ok()),
            When::WhenFreed { .. } => line.when_freed += 1,
            When::Never => line.never += 1,
        }
        for subject in subjects {
            if let Some((count, _, last)) = self.subjects.get_mut(subject) {
                (*count, *last) = (*count + 1, at);
            } else {
                self.subjects.insert(subject.clone(), (1, at, at));
            }
        }
    }

    /// So much of it was used.
    pub(super) fn used(&mut self, subject: &Subject, used: Amount, cap: Cap, at: Timestamp) {
        let share = |used: Amount, cap: Cap| match cap {
            Cap::Unlimited => (0, used.get()),
            // What is refused altogether is used up by anything.
            Cap::At(most) => (i128::from(used.get()) * 1_000_000_000 / i128::from(most.get().max(1)), used.get()),
        };
        if !used.is_zero() && self.line.peak.as_ref().is_none_or(|peak| share(used, cap) > share(peak.used, peak.cap)) {
            self.line.peak = Some(Peak { subject: subject.clone(), used, cap, at });
        }
    }

    pub(super) fn line(self, top: usize) -> LimitLine {
        let (subjects, others) = most(self.subjects, top);
        LimitLine { subjects, others, ..self.line }
    }
}

/// Those with the highest counts, and how many others there are.
fn most(all: BTreeMap<Subject, (u64, Timestamp, Timestamp)>, top: usize) -> (Vec<SubjectLine>, u64) {
    let line = |(subject, (refused, first, last))| SubjectLine { subject, refused, first, last };
    let mut lines: Vec<SubjectLine> = all.into_iter().map(line).collect();
    // Of equals, by name: the sort is stable.
    lines.sort_by_key(|line| std::cmp::Reverse(line.refused));
    let others = u64::try_from(lines.len().saturating_sub(top)).unwrap_or(u64::MAX);
    lines.truncate(top);
    (lines, others)
}
