//! The rules of the house: who may import whom, and where nothing comes in from outside.
//!
//! Each rule is a function over paths and texts that returns what breaks it. The sources of this crate go through all
//! of them; below, each rule is shown a text that breaks it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "layers/tokens.rs"]
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tokens::{Found, closing, paths, tokens};

/// The modules of each floor, from the ground up; a submodule lives where its parent does. A floor's number is its place.
const FLOORS: [&[&str]; 7] = [
    &["error", "time", "amount", "id", "usage"],
    &["window"],
    &["limiter", "budget", "quota", "pool", "price", "upstream"],
    &["limit", "account", "plan"],
    &["store"],
    &[
        "policy", "keeper", "keyed", "http", "system", "terms", "keys", "clients", "budgets", "reports", "observe",
        "picture", "tower", "trial",
    ],
    // Beside the house: it may see all, and is seen by none.
    &["conformance", "manual"],
];
/// The rules: each is a step of its own and knows no other.
const RULES: usize = 2;
/// The last floor that reads no clock, environment or randomness, and prints nothing.
const PURE: usize = 3;
/// What reaches outside, as the segments of a path in a row.
const OUTSIDE: [&[&str]; 30] = [
    &["SystemTime", "now"],
    &["Instant"],
    &["Utc", "now"],
    &["Local"],
    &["std", "env"],
    &["std", "fs"],
    &["std", "net"],
    &["std", "process"],
    &["std", "os"],
    &["stdin"],
    &["stdout"],
    &["stderr"],
    &["sleep"],
    &["rand"],
    &["getrandom"],
    &["fastrand"],
    &["thread_rng"],
    &["OsRng"],
    &["RandomState"],
    &["HashMap", "new"],
    &["HashSet", "new"],
    &["rustix"],
    &["libc"],
    &["env!"],
    &["option_env!"],
    &["print!"],
    &["println!"],
    &["eprint!"],
    &["eprintln!"],
    &["dbg!"],
];

type File = (String, String);

#[test]
fn every_file_keeps_the_rules_of_the_house() {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut files);
    assert!(files.len() > 5, "the sources were found: {files:?}");
    assert_eq!(faults(&files), Vec::<String>::new());
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else if path.ends_with(".rs") {
            files.push((path, std::fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

fn faults(files: &[File]) -> Vec<String> {
    let lib = files.iter().filter(|(path, _)| path == "lib.rs");
    let rooms = || files.iter().filter(|(path, _)| path != "lib.rs");
    let mut faults: Vec<String> = lib.flat_map(|(_, text)| front_door(text)).collect();
    faults.extend(rooms().flat_map(|(path, text)| purity(path, text)));
    faults.extend(rooms().flat_map(|(path, text)| features(path, text)));
    faults.extend(imports(&rooms().cloned().collect::<Vec<_>>()));
    faults
}

/// `src/lib.rs` has attributes, modules and re-exports, and forbids unsafe code.
fn front_door(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let mut faults = Vec::new();
    if !tokens.windows(7).any(|window| window == ["#", "!", "[", "forbid", "(", "unsafe_code", ")"]) {
        faults.push("lib.rs does not forbid unsafe code".to_owned());
    }
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let end = |wanted: &str| at + tokens[at..].iter().position(|token| token == wanted).unwrap_or(tokens.len());
        at = match token.as_str() {
            "#" => closing(&tokens, end("[")),
            "pub" if tokens.get(at + 1).is_some_and(|next| next == "(") => closing(&tokens, at + 1),
            "pub" => at + 1,
            "use" => end(";") + 1,
            "mod" if tokens.get(at + 2).is_some_and(|next| next == ";") => at + 3,
            "mod" if tokens[at + 2..].starts_with(&["{".into(), "}".into()]) => at + 4,
            other => {
                faults.push(format!("lib.rs has more than modules and re-exports, from `{other}` on"));
                break;
            }
        };
    }
    faults
}

/// Every file stands on a floor and imports from lower floors, or from siblings without a cycle, rules from none.
fn imports(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut siblings: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in files {
        let own = module(path);
        let Some(floor) = floor(own) else {
            faults.push(format!("{path} is on no floor"));
            continue;
        };
        for import in imported(path, text) {
            match self::floor(&import) {
                _ if import == own => {}
                None => faults.push(format!("{path} imports `{import}`, which is no module of the house")),
                Some(other) if other > floor => faults.push(format!("{path} imports {import}, which is above it")),
                Some(RULES) if floor == RULES => faults.push(format!("{path} is a rule and imports the rule {import}")),
                Some(other) if other == floor => {
                    siblings.entry(own).or_default().insert(import);
                }
                Some(_) => {}
            }
        }
    }
    faults.extend(circles(&siblings));
    faults
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// `x` for `x.rs`, `x/y.rs` and `x/y/z.rs`.
fn module(path: &str) -> &str {
    path.trim_end_matches(".rs").split('/').next().unwrap()
}

fn circles(siblings: &BTreeMap<&str, BTreeSet<String>>) -> Vec<String> {
    let in_a_circle = |module: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![module]);
        while let Some(next) = open.pop() {
            open.extend(
                siblings.get(next).into_iter().flatten().map(String::as_str).filter(|module| seen.insert(*module)),
            );
        }
        seen.contains(module)
    };
    siblings
        .keys()
        .filter(|module| in_a_circle(module))
        .map(|module| format!("{module} imports itself in a circle"))
        .collect()
}

/// The modules at the root of the crate that a file names, its own included; `*` for all of them.
fn imported(path: &str, text: &str) -> BTreeSet<String> {
    // `mod.rs` would be one less deep; the house has none, since a submodule's parent is the file beside its folder.
    let depth = path.split('/').count();
    paths(&tokens(text))
        .into_iter()
        .filter_map(|Found { segments, inside }| {
            let supers = segments.iter().take_while(|segment| *segment == "super").count();
            let above = match segments[0].as_str() {
                "crate" => 1,
                "super" if supers == depth + inside => supers,
                _ => return None,
            };
            segments.get(above).cloned()
        })
        .collect()
}

/// The lower floors read no clock, environment or randomness and print nothing; their tests may.
fn purity(path: &str, text: &str) -> Vec<String> {
    if floor(module(path)).is_none_or(|floor| floor > PURE) {
        return Vec::new();
    }
    let tokens = without_tests(tokens(text));
    let mut faults: Vec<String> = paths(&tokens)
        .into_iter()
        .filter(|found| {
            OUTSIDE.iter().any(|outside| found.segments.windows(outside.len()).any(|window| window == *outside))
        })
        .map(|found| format!("{path} reaches outside with `{}`", found.segments.join("::")))
        .collect();
    if tokens.windows(4).any(|window| window == [".", "elapsed", "(", ")"]) {
        faults.push(format!("{path} reaches outside with `.elapsed()`"));
    }
    faults
}

/// What comes before the tests at the end of a file.
fn without_tests(mut tokens: Vec<String>) -> Vec<String> {
    let tests = ["#", "[", "cfg", "(", "test", ")", "]", "mod", "tests", "{"];
    if let Some(at) = tokens.windows(tests.len()).position(|window| window == tests) {
        if closing(&tokens, at + tests.len() - 1) == tokens.len() {
            tokens.truncate(at);
        }
    }
    tokens
}

/// Features switch items on and off, never lines inside a function.
fn features(path: &str, text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let mut faults = Vec::new();
    for (at, _) in tokens.iter().enumerate().filter(|(_, token)| *token == "fn") {
        let head =
            tokens[at..].iter().position(|token| token == "(").map_or(tokens.len(), |open| closing(&tokens, at + open));
        let Some(open) = tokens[head..].iter().position(|token| token == "{" || token == ";").map(|open| head + open)
        else {
            continue;
        };
        let body = if tokens[open] == "{" { &tokens[open..closing(&tokens, open)] } else { &[] };
        if body.windows(2).any(|window| window == ["(", "feature"]) {
            faults.push(format!("{path} asks for a feature inside `fn {}`", tokens[at + 1]));
        }
    }
    faults
}

fn one(path: &str, text: &str) -> Vec<String> {
    faults(&[(path.to_owned(), text.to_owned())])
}

#[test]
fn a_clean_file_has_no_faults() {
    let clean = r#"
        //! println!("{}", crate::keeper::NAME);
        use std::{fmt, time::SystemTime};
        use crate::{amount::{Amount, Usd}, error::Error, window};
        /// Never asks `SystemTime::now()`.
        pub(crate) fn of(time: SystemTime) -> Result<(), Error> { crate::time::read(time) }
        #[cfg(feature = "serde")]
        impl serde::Serialize for Budget {}
        mod inner { use super::{Budget, super::id::Subject}; }
        #[cfg(test)]
        mod tests { use super::*; fn now() { std::time::Instant::now(); println!("crate::keeper"); } }
    "#;
    assert_eq!(one("budget.rs", clean), Vec::<String>::new());
    assert_eq!(one("budget/hold.rs", "use super::Meter; use super::super::window::Window;"), Vec::<String>::new());
    assert_eq!(one("system.rs", "fn now() { std::time::SystemTime::now(); }"), Vec::<String>::new());
}

#[test]
fn a_file_that_imports_what_it_may_not_is_caught() {
    for (path, text, fault) in [
        ("cellar.rs", "", "cellar.rs is on no floor"),
        ("cellar/a.rs", "", "cellar/a.rs is on no floor"),
        ("window.rs", "use crate::budget::Meter;", "window.rs imports budget, which is above it"),
        ("window.rs", "use crate::{time, keeper::{self, Keeper}};", "imports keeper, which is above it"),
        ("window.rs", "fn f() { super::plan::decide() }", "imports plan, which is above it"),
        ("window/grid.rs", "use super::{Window, super::plan::Plan};", "imports plan, which is above it"),
        ("time.rs", "mod inner { mod deep { use super::super::super::limit::Limit; } }", "imports limit"),
        ("id.rs", "pub(in crate::plan) fn f() {}", "imports plan, which is above it"),
        ("id.rs", "macro_rules! m { () => { $crate::store::Store } }", "imports store, which is above it"),
        ("pool.rs", "use crate::price::Book;", "pool.rs is a rule and imports the rule price"),
        ("keeper.rs", "use crate::conformance::check;", "imports conformance, which is above it"),
        ("plan.rs", "use crate::Error;", "imports `Error`, which is no module"),
        ("plan.rs", "use crate::*;", "imports `*`, which is no module"),
    ] {
        let faults = one(path, text);
        assert!(matches!(&faults[..], [only] if only.contains(fault)), "{path}: {text}: {faults:?}");
    }
}

#[test]
fn siblings_that_import_each_other_in_a_circle_are_caught() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let line =
        [file("limit.rs", "use crate::account::A;"), file("account.rs", ""), file("plan.rs", "use crate::limit::L;")];
    assert_eq!(faults(&line), Vec::<String>::new());
    let circle = [&line[..], &[file("account/meter.rs", "use crate::plan::P;")]].concat();
    assert_eq!(faults(&circle).len(), 3, "{:?}", faults(&circle));
}

#[test]
fn a_low_floor_that_reaches_outside_is_caught() {
    for text in [
        "fn f() { std::time::SystemTime::now(); }",
        "use std::{collections::BTreeMap, env};",
        "use std::time::{Duration, Instant};",
        "fn f(at: SystemTime) { at.elapsed(); }",
        "use chrono::Utc; fn f() { Utc::now(); }",
        "use std::fs::File;",
        "fn f() { std::process::id(); }",
        "use std::hash::RandomState;",
        "fn f() { rand::random::<u64>(); }",
        "fn f() { println!(\"hello\"); }",
        "#[cfg(test)] mod tests { } fn f() { std::process::exit(1) }",
    ] {
        for path in ["time.rs", "window.rs", "budget/hold.rs", "plan.rs"] {
            let faults = one(path, text);
            assert!(matches!(&faults[..], [only] if only.contains("reaches outside")), "{path}: {text}: {faults:?}");
        }
        assert_eq!(one("store.rs", text), Vec::<String>::new());
    }
}

#[test]
fn a_feature_inside_a_function_is_caught() {
    for text in [
        "fn f(x: [u8; 3]) -> u8 { #[cfg(feature = \"tz\")] return 1; 2 }",
        "impl A { fn f(&self) { if cfg!(feature = \"tz\") {} } }",
    ] {
        let faults = one("time.rs", text);
        assert!(matches!(&faults[..], [only] if only.contains("inside `fn f`")), "{text}: {faults:?}");
    }
}

#[test]
fn a_front_door_that_does_more_than_open_is_caught() {
    let clean = "//! Docs.\n#![forbid(unsafe_code)]\npub mod a;\npub(crate) mod b;\n#[cfg(doctest)] mod readme {}\npub use a::{A, B};";
    assert_eq!(front_door(clean), Vec::<String>::new());
    assert_eq!(front_door(&clean.replace("forbid", "deny")).len(), 1);
    for more in ["fn f() {}", "pub struct A;", "mod c { fn f() {} }", "const A: u8 = 1;", "macro_rules! a {}"] {
        assert_eq!(front_door(&format!("{clean}\n{more}")).len(), 1, "{more}");
    }
}
