//! keyward beside its peers, both in this process, round by round in turns; the medians make the table.
//!
//! `cargo bench -p versus` prints the table, `-- --json` one object per line, `-- --quick` ends within a minute, and
//! anything else is a part of the names of the rows to run. A row whose peer is a floor has no goal: it is there for scale.

mod admission;
mod harness;
mod heap;
mod keeper;
mod keyed;

use harness::{Bench, Row};

fn main() {
    let (flags, names): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    let has = |flag: &str| flags.iter().any(|given| given == flag);
    // Run as a test, it only shows that it runs.
    let bench = Bench { quick: has("--quick") || !has("--bench"), names };

    let mut rows = Vec::new();
    keyed::rows(&bench, &mut rows);
    admission::rows(&bench, &mut rows);
    keeper::rows(&bench, &mut rows);

    if has("--json") {
        rows.iter().for_each(|row| println!("{}", row.json()));
    } else {
        print!("{}", Row::table(&rows));
    }
}
