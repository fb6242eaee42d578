//! A budget that survives: a process spends, is killed in the middle, starts again, and carries on from what was spent.
//!
//! `cargo run --example sqlite_restart` starts itself as the process that is killed.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[cfg(not(feature = "sqlite"))]
fn main() {
    println!("this example needs the feature sqlite");
}

#[cfg(feature = "sqlite")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    restart::main()
}

#[cfg(feature = "sqlite")]
mod restart {
    use std::error::Error;
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};

    use keyward::account::{Audit, MeterId, OnExpiry};
    use keyward::plan::{Act, Ask, Firm, Kernel, Plan, Report, Rule, Take, Verdict};
    use keyward::store::{SqliteStore, verify};
    use keyward::window::Window;
    use keyward::{Amount, Clock, OpId, OpIds, Store, Subject, SystemClock, Usd};

    type Done<T> = Result<T, Box<dyn Error>>;

    /// Alice has a dollar, for ever.
    fn dollar() -> Rule {
        Rule {
            meter: MeterId(1),
            generation: 0,
            cap: Amount::from(Usd::dollars(1)).into(),
            kernel: Kernel::Tumble { window: Window::ALWAYS },
            firm: Firm::Hard,
            on_expiry: OnExpiry::Charge,
            audit: Audit::Rows,
        }
    }

    /// Holds three cents for a call, makes the call, and books two. `None` once the dollar is used up.
    fn call(store: &SqliteStore, clock: &dyn Clock, op: OpId) -> Done<Option<()>> {
        let now = clock.now();
        let three = Take { account: 0, rule: dollar(), ask: Ask::Exact(Usd::cents(3).into()), act: Act::Hold };
        let acquire = Plan::new(now).named(Subject::of([("key", "alice")])?).under(op.clone()).take(three);
        if let Verdict::Denied(_) = store.apply(&acquire, now)? {
            return Ok(None);
        }
        let actual = [(MeterId(1), Usd::cents(2).into())].into_iter().collect();
        let settle = Plan::new(now).of(op).report(Report::Settle { account: None, actual });
        let _ = store.apply(&settle, now)?;
        Ok(Some(()))
    }

    fn spent(store: &SqliteStore, clock: &dyn Clock) -> Done<(Amount, Amount)> {
        let account = store.account(&Subject::of([("key", "alice")])?)?.unwrap_or_default();
        Ok(account.meter(MeterId(1)).map_or_else(Default::default, |meter| (meter.spent(clock.now()), meter.held())))
    }

    pub(super) fn main() -> Done<()> {
        let (clock, ids) = (SystemClock::new(), OpIds::new());
        if let Some(path) = std::env::args().nth(1) {
            let store = SqliteStore::open(path)?;
            while call(&store, &clock, ids.next(clock.now()))?.is_some() {
                println!("one more call is paid for");
                std::io::stdout().flush()?;
            }
            return Ok(());
        }

        let folder = std::env::temp_dir().join(format!("keyward-restart-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let path = folder.join("keyward.db");
        let mut child = Command::new(std::env::current_exe()?).arg(&path).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let heard = lines.by_ref().take(10).map_while(Result::ok).count();
        child.kill()?;
        let heard = heard + lines.map_while(Result::ok).count();
        child.wait()?;
        println!("the process was killed; it had said that {heard} calls are paid for");

        let store = SqliteStore::open(&path)?;
        let (before, held) = spent(&store, &clock)?;
        println!("the file says that {} is spent, and {} still held", Usd::from(before), Usd::from(held));
        assert!(before.get() >= i64::try_from(heard)? * Usd::cents(2).as_nanos(), "nothing acknowledged is lost");

        let mut more = 0;
        while call(&store, &clock, ids.next(clock.now()))?.is_some() {
            more += 1;
        }
        let (after, held) = spent(&store, &clock)?;
        println!("{more} calls more, and the dollar is used up: {} spent, {} held", Usd::from(after), Usd::from(held));
        assert!(after.get() + held.get() <= Usd::dollars(1).as_nanos());
        assert!(verify(&store, clock.now())?.is_empty(), "the ledger proves it");
        drop(store);
        std::fs::remove_dir_all(&folder)?;
        Ok(())
    }
}
