//! What leaves the desk to be written, and comes back if it was not.

use std::time::Instant;

use super::desk::{Desk, Kept, Known};
use crate::account::{Account, Part, Row};
use crate::id::Subject;
use crate::plan::Answer;
use crate::time::Length;

/// The most accounts, or operations, that stay here when there is nothing of them to write.
const KEPT: usize = 50_000;

/// Something to be written, all of it in one transaction.
#[derive(Default)]
pub(in super::super) struct Taken {
    pub(in super::super) accounts: Vec<(Subject, Account)>,
    pub(in super::super) parts: Vec<(Part, Length)>,
    pub(in super::super) rows: Vec<Row>,
    pub(in super::super) answers: Vec<(Answer, Length)>,
    left: Vec<(Subject, Kept)>,
    /// Until when the lease was ours, if it is given up with this.
    ends: Option<Instant>,
}

/// Which accounts leave when something is taken.
pub(in super::super) enum Leaves<'a> {
    None,
    One(&'a Subject),
    All,
}

impl Taken {
    pub(in super::super) fn is_empty(&self) -> bool {
        let Self { accounts, parts, rows, answers, left: _, ends: _ } = self;
        accounts.is_empty() && parts.is_empty() && rows.is_empty() && answers.is_empty()
    }

    /// Adds what was taken later.
    pub(in super::super) fn add(&mut self, mut later: Self) {
        self.accounts.append(&mut later.accounts);
        self.parts.append(&mut later.parts);
        self.rows.append(&mut later.rows);
        self.answers.append(&mut later.answers);
        self.left.append(&mut later.left);
        self.ends = self.ends.or(later.ends);
    }
}

impl Desk {
    /// Takes out everything that is to be written, and lets accounts leave. What was taken must be [ended](Self::end).
    pub(in super::super) fn take(&mut self, leaves: Leaves<'_>) -> Taken {
        let mut taken = Taken { rows: std::mem::take(&mut self.rows), ..Taken::default() };
        for subject in self.changed_accounts.drain(..) {
            let Some(kept) = self.accounts.get_mut(&subject).filter(|kept| kept.changed) else { continue };
            kept.changed = false;
            taken.accounts.push((subject, kept.account.clone()));
        }
        let mut young = None;
        for op in self.changed_ops.drain(..) {
            match self.ops.get_mut(&op) {
                Some(Known::Alone(brief)) if brief.changed => {
                    (brief.changed, brief.written) = (false, true);
                    let held = brief.held(&op);
                    taken.parts.push((held.part, held.horizon));
                }
                Some(Known::Parts(parts)) => {
                    for held in parts.iter_mut().filter(|held| held.changed) {
                        (held.changed, held.written) = (false, true);
                        taken.parts.push((held.part.clone(), held.horizon));
                    }
                }
                Some(Known::Alone(_)) | None => {}
            }
            if op.library().is_some() && young.as_ref().is_none_or(|young| *young < op) {
                young = Some(op);
            }
        }
        if let Some(young) = young {
            self.is_old(&young);
        }
        taken.answers.extend(self.answers.drain().map(|(_, answer)| answer));
        match leaves {
            Leaves::None => {}
            Leaves::One(subject) => {
                taken.left.extend(self.accounts.remove(subject).map(|kept| (subject.clone(), kept)));
            }
            Leaves::All => {
                taken.left.extend(self.accounts.drain());
                taken.ends = self.held.take();
            }
        }
        self.changes = 0;
        self.taken_since = self.taken_since.or(self.since);
        self.since = None;
        taken
    }

    /// The transaction that wrote what was taken has come to its end; `false` if nothing of it is in the file.
    pub(in super::super) fn end(&mut self, taken: Taken, written: bool) {
        let since = self.taken_since.take();
        if written && taken.ends.is_some() {
            return self.lose();
        }
        if written {
            for (Part { op, .. }, _) in &taken.parts {
                let Some(Known::Parts(parts)) = self.ops.get(op) else { continue };
                if parts.iter().all(|held| !held.changed && !held.part.is_open()) {
                    self.ops.remove(op);
                }
            }
            self.forget_some();
            return;
        }
        self.since = since.or(self.since);
        self.held = self.held.or(taken.ends);
        for (subject, kept) in taken.left {
            self.accounts.insert(subject, kept);
        }
        for (subject, _) in taken.accounts {
            let Some(kept) = self.accounts.get_mut(&subject).filter(|kept| !kept.changed) else { continue };
            kept.changed = true;
            self.changed_accounts.push(subject);
            self.changes += 1;
        }
        for (part, _) in taken.parts {
            let parts = self.ops.get_mut(&part.op).map(|known| known.parts(&part.op));
            let held = parts.and_then(|parts| parts.iter_mut().find(|held| held.part.is(&part)));
            let Some(held) = held.filter(|held| !held.changed) else { continue };
            held.changed = true;
            self.changed_ops.push(part.op);
            self.changes += 1;
        }
        self.changes += taken.rows.len() + taken.answers.len();
        let later = std::mem::replace(&mut self.rows, taken.rows);
        self.rows.extend(later);
        for (answer, horizon) in taken.answers {
            self.answers.entry(answer.op.clone()).or_insert((answer, horizon));
        }
    }

    /// What is in the file need not be here too.
    fn forget_some(&mut self) {
        if self.changes > 0 {
            return;
        }
        if self.ops.len() > KEPT {
            self.ops.clear();
        }
        if self.accounts.len() > KEPT {
            self.accounts.clear();
        }
    }

    /// Nobody knows whether this is in the file, unless the beat says so.
    pub(in super::super) fn doubt(&mut self, beat: i64, taken: Taken) {
        self.unsure = Some((beat, taken));
    }

    /// The beat that the file has says whether what was in doubt was written.
    pub(in super::super) fn resolve(&mut self, beat: i64) {
        if let Some((sent, taken)) = self.unsure.take() {
            self.end(taken, sent <= beat);
        }
    }
}
