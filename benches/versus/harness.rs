//! Rounds in turns, medians, and the table.

use std::fmt::Write as _;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// How much to measure.
pub struct Bench {
    pub quick: bool,
    pub names: Vec<String>,
}

/// One line of the table: nanoseconds for one piece of work, or bytes where it says so.
pub struct Row {
    pub work: String,
    pub peer: &'static str,
    pub ours: f64,
    pub peers: f64,
    /// At most so many times what the peer takes; none where the peer is a floor.
    pub goal: Option<f64>,
}

/// Pieces of work in a round: more than the lines that a processor keeps for what it did before.
const LEAST: usize = 8_000;

/// Does so many pieces of work from the one with this number on, and says how many were let through.
pub type Work<'a> = Box<dyn Fn(usize, usize) -> usize + Sync + 'a>;

impl Bench {
    /// Whether this row was asked for.
    pub fn wants(&self, work: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| work.contains(name.as_str()))
    }

    /// The medians of both, in nanoseconds for one piece of work; several threads do one each at the same time.
    pub fn both(&self, ours: &Work<'_>, peers: &Work<'_>, threads: usize) -> (f64, f64) {
        let medians = self.medians(&[ours, peers], threads);
        (medians[0], medians[1])
    }

    pub fn medians(&self, works: &[&Work<'_>], threads: usize) -> Vec<f64> {
        // As many pieces as take about one round's time, found after warming up. Rounds are much shorter than the slices
        // in which a machine is shared, so that few of them lose time to somebody else, and long enough to warm up in.
        let round = Duration::from_micros(400);
        let counts: Vec<usize> = works.iter().map(|work| calibrate(work, round).max(LEAST)).collect();
        let rounds = if self.quick { 201 } else { 1_001 };
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); works.len()];
        let mut from = 0;
        for round in 0..rounds {
            for turn in 0..works.len() {
                // Nobody always goes first.
                let at = (turn + round) % works.len();
                times[at].push(timed(works[at], from, counts[at], threads));
            }
            from += counts.iter().max().unwrap();
        }
        times.into_iter().map(median).collect()
    }
}

fn calibrate(work: &Work<'_>, length: Duration) -> usize {
    let mut count = 64;
    loop {
        let began = Instant::now();
        assert_eq!(work(0, count), count, "all of it is let through");
        let took = began.elapsed();
        if took >= length / 4 {
            let count = count as f64 * length.as_secs_f64() / took.as_secs_f64();
            return count as usize + 1;
        }
        count *= 2;
    }
}

fn timed(work: &Work<'_>, from: usize, count: usize, threads: usize) -> f64 {
    let one = |from: usize| {
        let began = Instant::now();
        assert_eq!(work(from, count), count, "all of it is let through");
        began.elapsed()
    };
    let took = if threads == 1 {
        one(from)
    } else {
        let barrier = Barrier::new(threads);
        std::thread::scope(|scope| {
            let start = |thread: usize| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    one(from + thread * 7_919)
                })
            };
            let threads: Vec<_> = (0..threads).map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
        })
    };
    took.as_secs_f64() * 1e9 / count as f64
}

pub fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

impl Row {
    fn ratio(&self) -> f64 {
        self.ours / self.peers
    }

    pub fn json(&self) -> String {
        let number = |number: Option<f64>, digits| number.map_or("null".to_owned(), |n| format!("{n:.digits$}"));
        format!(
            r#"{{"work":"{}","ours_ns":{},"peer":"{}","peer_ns":{:.1},"ratio":{},"goal":{}}}"#,
            self.work,
            number(Some(self.ours), 1),
            self.peer,
            self.peers,
            number(Some(self.ratio()), 3),
            number(self.goal, 2),
        )
    }

    pub fn table(rows: &[Self]) -> String {
        let head = ["work", "ours ns", "peer", "peer ns", "ratio", "goal", ""].map(str::to_owned);
        let lines: Vec<[String; 7]> = rows.iter().map(Self::cells).collect();
        let width = |column: usize| std::iter::once(&head).chain(&lines).map(|line| line[column].chars().count()).max();
        let mut text = String::new();
        for line in std::iter::once(&head).chain(&lines) {
            for (column, cell) in line.iter().enumerate() {
                let width = width(column).unwrap_or(0);
                // Words to the left, numbers to the right.
                let _ = match column {
                    0 | 2 | 6 => write!(text, "{cell:<width$}  "),
                    _ => write!(text, "{cell:>width$}  "),
                };
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }

    fn cells(&self) -> [String; 7] {
        let met = match self.goal {
            Some(goal) if self.ratio() <= goal => "met",
            Some(_) => "NOT MET",
            None => "for scale",
        };
        [
            self.work.clone(),
            format!("{:.1}", self.ours),
            self.peer.to_owned(),
            format!("{:.1}", self.peers),
            format!("{:.2}", self.ratio()),
            self.goal.map_or(String::new(), |goal| format!("{goal:.2}")),
            met.to_owned(),
        ]
    }
}
