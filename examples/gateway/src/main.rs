//! `cargo run -p gateway` tells a story and ends; `cargo run -p gateway -- --listen 127.0.0.1:8080` serves.

use std::process::ExitCode;
use std::sync::Arc;

use gateway::app::App;
use gateway::client::Failure;
use gateway::demo;
use gateway::fake::{self, Fake, Rules};
use gateway::setup::{AnyStore, Setup};
use keyward::{Clock, MemoryStore, SqliteStore, SystemClock};

const USAGE: &str = "\
gateway [--demo]          tells a story, and ends
gateway --listen ADDRESS  serves, over a fake upstream of its own or the one of --upstream
  --upstream URL          where the models are
  --keys KEY,KEY          the upstream's keys
  --db FILE               keeps everything in this file, not in memory";

/// What stands on the command line.
#[derive(Default)]
struct Options {
    listen: Option<String>,
    upstream: Option<String>,
    keys: Option<String>,
    db: Option<String>,
}

fn options() -> Result<Options, String> {
    let (mut options, mut words) = (Options::default(), std::env::args().skip(1));
    while let Some(word) = words.next() {
        let place = match word.as_str() {
            "--demo" => continue,
            "--listen" => &mut options.listen,
            "--upstream" => &mut options.upstream,
            "--keys" => &mut options.keys,
            "--db" => &mut options.db,
            _ => return Err(USAGE.to_owned()),
        };
        *place = Some(words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"))?);
    }
    Ok(options)
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match options() {
        Ok(options) => run(options).await,
        Err(usage) => Err(usage.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Failure> {
    let store: AnyStore = match &options.db {
        Some(file) => Box::new(SqliteStore::open(file)?),
        None => Box::new(MemoryStore::new()),
    };
    let Some(address) = options.listen else { return demo::tell(store).await };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let upstream = match options.upstream {
        Some(upstream) => upstream,
        None => {
            let word = std::time::Duration::from_millis(30);
            let rules = Rules { calls: 20, seconds: 10, fails: 7, word };
            fake::serve(Fake::new(rules, Arc::clone(&clock)).router()).await?
        }
    };
    let mut setup = Setup::example(&upstream)?;
    setup.upstream_keys = options.keys.unwrap_or(setup.upstream_keys);
    let app = App::new(&setup, store, clock)?;
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("listening on {}; upstream {upstream}; clients:", listener.local_addr()?);
    for (id, secret, _) in &setup.clients {
        println!("  {id}: {}", secret.expose());
    }
    Ok(axum::serve(listener, app.router()).await?)
}
