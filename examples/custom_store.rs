//! A host's own store: a journal in a file, in the lines between the two marks below. It passes the conformance suite.
//!
//! `cargo run --example custom_store --features conformance`
//!
//! What a host writes is one transaction over `get`, `set`, `remove` and `range`; [`Ordered`] makes a store of it. This one
//! keeps all keys in memory and appends what a transaction has changed as one line. A line without its end was never
//! acknowledged, and is left out when the file is opened again.
#![allow(clippy::print_stdout, clippy::expect_used)]

use std::path::{Path, PathBuf};

use keyward::conformance;
use keyward::store::{Filter, Ordered, sums, verify};
use keyward::{Call, Keeper, Limit, Timestamp, Usage, Usd};

// -- the store, from here
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::sync::{Mutex, PoisonError};

use keyward::StoreError;
use keyward::store::{Bytes, Database, Ending, Pair};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

struct Journal(Mutex<(Map, File)>);

impl Journal {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let (mut map, mut reader, mut whole, mut line) = (Map::new(), BufReader::new(&file), 0, String::new());
        while reader.read_line(&mut line)? > 0 && line.ends_with('\n') {
            for (key, value) in line.split_whitespace().filter_map(|change| change.split_once('=')) {
                match value {
                    "-" => drop(map.remove(&bytes(key))),
                    value => drop(map.insert(bytes(key), bytes(value))),
                }
            }
            whole += u64::try_from(line.len()).map_err(io::Error::other)?;
            line.clear();
        }
        file.set_len(whole)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self(Mutex::new((map, file))))
    }
}

/// What a transaction has changed, over what there was.
struct Transaction<'a>(&'a mut Map, BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl Transaction<'_> {
    fn put(&mut self, key: &[u8], value: Option<Vec<u8>>) -> Result<(), StoreError> {
        let before = match value {
            Some(value) => self.0.insert(key.to_vec(), value),
            None => self.0.remove(key),
        };
        self.1.entry(key.to_vec()).or_insert(before);
        Ok(())
    }
}

impl Bytes for Transaction<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Bytes::get(self.0, key)
    }
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.put(key, Some(value.to_vec()))
    }
    fn remove(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.put(key, None)
    }
    fn range(&mut self, from: &[u8], to: &[u8], most: usize) -> Result<Vec<Pair>, StoreError> {
        Bytes::range(self.0, from, to, most)
    }
}

impl Database for Journal {
    fn transaction(
        &self,
        body: &mut dyn FnMut(&mut dyn Bytes) -> Result<Ending, StoreError>,
    ) -> Result<(), StoreError> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (map, file) = &mut *guard;
        let mut transaction = Transaction(map, BTreeMap::new());
        let mut done = body(&mut transaction);
        let Transaction(map, before) = transaction;
        if let (Ok(Ending::Commit), false) = (&done, before.is_empty()) {
            let changes =
                before.keys().map(|key| (hex(key), Map::get(map, key).map_or("-".to_owned(), |value| hex(value))));
            let line: Vec<String> = changes.map(|(key, value)| format!("{key}={value}")).collect();
            // Nobody knows how much of the line is in the file when that fails. A host that fears for its power says sync_data here.
            done = file
                .write_all((line.join(" ") + "\n").as_bytes())
                .map(|()| Ending::Commit)
                .map_err(StoreError::unknown);
        }
        if !matches!(done, Ok(Ending::Commit)) {
            for (key, before) in before {
                match before {
                    Some(value) => drop(map.insert(key, value)),
                    None => drop(map.remove(&key)),
                }
            }
        }
        done.map(drop)
    }
}

/// Empty bytes are a dot, so that every change has two sides.
fn hex(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if text.is_empty() { ".".to_owned() } else { text }
}

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).filter_map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
}
// -- to here

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("keyward-custom-store-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let done = show(&folder);
    std::fs::remove_dir_all(&folder)?;
    done
}

fn show(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let path = folder.join("journal");
    let open = || -> Result<_, Box<dyn std::error::Error>> {
        let limit = Limit::usd(Usd::dollars(1)).per_day().by("team");
        Ok(Keeper::builder().limit(limit).store(Ordered::new(Journal::open(&path)?)).build()?)
    };
    let call = Call::new().with("team", "red").usd(Usd::cents(40));
    for round in 1..=2 {
        // Opened twice: the second round goes on with what the first has spent.
        let keeper = open()?;
        println!("Round {round}");
        for _ in 0..2 {
            match keeper.acquire(&call)? {
                keyward::Decision::Granted(permit) => {
                    let settled = permit.settle(&Usage::new().usd(Usd::cents(30)))?;
                    let spent = settled.booked.first().and_then(|booked| booked.spent).unwrap_or_default();
                    println!("  granted, and {} spent today", Usd::from(spent));
                }
                keyward::Decision::Denied(denial) => println!("  {denial}"),
            }
        }
        let used = sums(keeper.store(), &Filter::default())?;
        let wrong = verify(keeper.store(), Timestamp::MAX)?;
        println!("  ledger: {} rows; meters that disagree with it: {}", used.rows, wrong.len());
    }
    println!("The journal has {} lines\n", std::fs::read_to_string(&path)?.lines().count());

    println!("Conformance");
    let number = std::sync::atomic::AtomicUsize::new(0);
    let fresh = || -> PathBuf { folder.join(number.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string()) };
    let report = conformance::run(&|| Box::new(Ordered::new(Journal::open(&fresh()).expect("a journal"))));
    report.assert_passes();
    println!("  {} of {} checks passed", report.passed().len(), conformance::checks().len());
    Ok(())
}
