//! The program as it is started.

use std::path::PathBuf;
use std::process::{Command, Output};

fn run(args: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gateway")).args(args).output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output, text)
}

/// What alice has spent in the end, as it is printed.
fn spent(text: &str) -> &str {
    let line = text.lines().rfind(|line| line.contains("key=alice")).unwrap();
    line.split('$').nth(1).unwrap().split(' ').next().unwrap()
}

#[test]
fn without_arguments_it_tells_its_story_and_ends() {
    let (output, text) = run(&[]);
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("the ledger and the accounts agree"), "{text}");
    assert!(!text.contains("sk-fake"), "{text}");
    assert_eq!(spent(&text), spent(&run(&["--demo"]).1), "it is the same each time");
}

#[test]
fn over_a_file_it_goes_on_from_what_was_spent() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("program.db");
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", file.display()));
    }
    let file = file.to_str().unwrap();
    let (first, second) = (run(&["--db", file]), run(&["--db", file]));
    assert!(first.0.status.success() && second.0.status.success(), "{second:?}");
    assert!(spent(&second.1).parse::<f64>().unwrap() > spent(&first.1).parse::<f64>().unwrap());
}

#[test]
fn what_it_does_not_understand_it_says() {
    for args in [&["--lisen"][..], &["--listen"], &["--listen", "nowhere"]] {
        let (output, _) = run(args);
        assert!(!output.status.success() && !output.stderr.is_empty(), "{args:?}");
    }
}
