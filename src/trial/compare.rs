//! Two policies side by side.

use std::collections::BTreeMap;
use std::fmt;

use super::entry::Log;
use super::report::{Refused, Report, Table};
use super::run::Judged;
use super::{Trial, began};
use crate::error::Error;
use crate::id::{LimitId, Subject};
use crate::time::Timestamp;

/// What one log comes to under two policies, and what differs. It displays as a table.
///
/// A call that only one of them refuses may be refused for what another call had used that only this one granted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Comparison {
    /// What it comes to under the first.
    pub before: Report,
    /// What it comes to under the second.
    pub after: Report,
    /// How many calls the second refuses that the first granted.
    pub newly_refused: u64,
    /// How many calls the second grants that the first refused.
    pub newly_granted: u64,
    /// Whom the second refuses newly, and by which limit; those first that it refuses most often.
    pub whom: Vec<Newly>,
    /// How many others there are.
    pub others: u64,
    /// The first that are newly refused, as many as the second trial lists.
    pub refusals: Vec<Refused>,
}

/// Whom a limit refuses newly.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Newly {
    /// The limit; `None` where a pool had no key.
    pub limit: Option<LimitId>,
    /// Who.
    pub subject: Subject,
    /// How many calls.
    pub refused: u64,
    /// The first of them.
    pub first: Timestamp,
}

/// Tries a log under two policies at once.
///
/// ```
/// use keyward::trial::{compare, Entry, Log, Trial};
/// use keyward::{Limit, Timestamp};
///
/// let log: Log = (0..5).map(|at| Entry::new(Timestamp::from_micros(at)).with("key", "alice")).collect();
/// let (before, after) = (Limit::requests(4).per_minute().by("key"), Limit::requests(3).per_minute().by("key"));
/// let compared = compare(&Trial::new().limit(before), &Trial::new().limit(after), &log)?;
/// assert_eq!((compared.before.refused, compared.after.refused, compared.newly_refused), (1, 2, 1));
/// assert_eq!(compared.whom[0].subject.to_string(), "key=alice");
/// # Ok::<(), keyward::Error>(())
/// ```
///
/// # Errors
/// As [`Trial::run`].
pub fn compare(before: &Trial, after: &Trial, log: &Log) -> Result<Comparison, Error> {
    let (listed, top) = (after.listed, after.top);
    let mut runs = (before.start(began(before, log))?, after.start(began(after, log))?);
    let (mut newly_refused, mut newly_granted, mut refusals) = (0, 0, Vec::new());
    let mut whom: BTreeMap<(Option<LimitId>, Subject), Newly> = BTreeMap::new();
    for entry in log.entries() {
        match (runs.0.push(entry)?, runs.1.push(entry)?) {
            (Judged::Granted, Judged::Refused(refused)) => {
                newly_refused += 1;
                let blockers = refused.denial.blockers.iter().map(|it| (Some(it.limit.clone()), it.subject.clone()));
                let pool = refused.denial.exhausted.iter().map(|_| (None, Subject::everyone()));
                let mut seen: Vec<(Option<LimitId>, Subject)> = blockers.chain(pool).collect();
                seen.sort();
                seen.dedup();
                for (limit, subject) in seen {
                    let line = Newly { limit: limit.clone(), subject: subject.clone(), refused: 0, first: entry.time };
                    whom.entry((limit, subject)).or_insert(line).refused += 1;
                }
                if refusals.len() < listed {
                    refusals.push(*refused);
                }
            }
            (Judged::Refused(_), Judged::Granted) => newly_granted += 1,
            _ => {}
        }
    }
    let mut whom: Vec<Newly> = whom.into_values().collect();
    whom.sort_by_key(|newly| std::cmp::Reverse(newly.refused));
    let others = u64::try_from(whom.len().saturating_sub(top)).unwrap_or(u64::MAX);
    whom.truncate(top);
    let (before, after) = (runs.0.report()?, runs.1.report()?);
    Ok(Comparison { before, after, newly_refused, newly_granted, whom, others, refusals })
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, after, newly_refused, newly_granted, whom, others, refusals } = self;
        let mut table = Table::new(["", "granted", "refused", "unfit"]);
        for (name, report) in [("before", before), ("after", after)] {
            let counts = [report.granted, report.refused, report.unfit].map(|count| count.to_string());
            let [granted, refused, unfit] = counts;
            table.row([name.to_owned(), granted, refused, unfit]);
        }
        write!(f, "{table}\n{newly_refused} newly refused, {newly_granted} newly granted\n")?;
        if !whom.is_empty() {
            let mut table = Table::new(["newly refused", "by", "calls", "first"]);
            for Newly { limit, subject, refused, first } in whom {
                let who = if *subject == Subject::everyone() { "everyone".to_owned() } else { subject.to_string() };
                let by = limit.as_ref().map_or_else(|| "a pool without a key".to_owned(), ToString::to_string);
                table.row([who, by, refused.to_string(), first.to_string()]);
            }
            if *others > 0 {
                table.row([format!("and {others} others")]);
            }
            write!(f, "\n{table}")?;
        }
        if !refusals.is_empty() {
            f.write_str("\n")?;
        }
        refusals.iter().try_for_each(|refused| writeln!(f, "{refused}"))
    }
}
