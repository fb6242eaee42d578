//! The public interface as a listing that is committed, so that a change to it is seen; and an example in every module.
//!
//! The sources are read as they are written: no macro is expanded, and no compiler asked. What a macro makes is listed as
//! the macro and what it is called with. `KEYWARD_BLESS=1 cargo test --test public_api` writes the listing down.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "public_api/house.rs"]
mod house;
#[path = "public_api/listing.rs"]
mod listing;
#[path = "public_api/words.rs"]
mod words;

use std::collections::BTreeMap;
use std::path::Path;

use house::House;
use listing::listing;

fn house() -> House {
    House::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

#[test]
fn the_public_interface_is_the_one_that_is_written_down() {
    let now = listing(&house());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/public_api/api.txt");
    if std::env::var_os("KEYWARD_BLESS").is_some() {
        std::fs::write(path, &now).unwrap();
        return;
    }
    let known = std::fs::read_to_string(path).unwrap();
    let lines = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    let (known, now) = (lines(&known), lines(&now));
    let gone: Vec<_> = known.iter().filter(|line| !now.contains(line)).map(|line| format!("- {line}")).collect();
    let new: Vec<_> = now.iter().filter(|line| !known.contains(line)).map(|line| format!("+ {line}")).collect();
    let changes = [gone, new].concat().join("\n");
    assert_eq!(changes, "", "the public interface has changed; KEYWARD_BLESS=1 writes it down");
    assert_eq!(known, now, "only the order has changed; KEYWARD_BLESS=1 writes it down");
}

#[test]
fn every_public_module_shows_an_example() {
    let house = house();
    let modules = house.public_modules();
    assert!(modules.len() > 20, "{modules:?}");
    let bare: Vec<&String> = modules.iter().filter(|path| !house.docs(path).contains("```")).collect();
    assert_eq!(bare, Vec::<&String>::new(), "an example is missing here");
}

/// A house of these files.
fn small(files: &[(&str, &str)]) -> String {
    let files: BTreeMap<String, String> = files.iter().map(|(path, text)| ((*path).into(), (*text).into())).collect();
    listing(&House::of(&files))
}

#[test]
fn what_is_public_is_listed_where_a_user_finds_it_and_nothing_else_is() {
    let listed = small(&[
        ("lib.rs", "pub mod a; mod hidden; pub use a::{Thing, other as renamed}; pub use std::fmt::Debug;"),
        (
            "a.rs",
            r#"mod inner;
            pub use inner::*;
            use crate::hidden::Secret;
            /// Docs are no part of it.
            #[derive(Clone, Debug)]
            #[cfg_attr(feature = "serde", derive(serde::Serialize))]
            #[non_exhaustive]
            pub struct Thing<'a, T: Copy = u8> { pub one: &'a [T], pub(crate) two: u8, three: u8 }
            pub fn other<T>(x: impl Fn(&T) -> Vec<Option<T>>) -> Result<(), T> where T: Send { todo!() }
            fn private() {}
            impl<T: Copy> Thing<'_, T> {
                pub const N: usize = 3;
                #[must_use] pub async fn get(&mut self, (a, b): (u8, u8)) -> &T { let x = 1; &x }
                fn quiet(&self) {}
            }
            impl<T: Copy> Drop for Thing<'_, T> { fn drop(&mut self) {} }
            impl Secret { pub fn seen(&self) {} }
            impl Inner { pub(super) fn not(&self) {} #[cfg(feature = "x")] pub fn with_x(&self) {} }
            #[cfg(test)] pub mod tests { pub struct Gone; }
            made! { one: "text", }
            "#,
        ),
        (
            "a/inner.rs",
            "#[derive(Clone)] pub enum Inner { A, B(u8, Vec<u8>), C { x: u8 } } \
             pub trait Does: Send { type Out; fn one(&self) -> Self::Out; fn two(&self) {} } \
             pub type Short = Vec<u8>; pub static S: u8 = 1; pub(crate) struct No;",
        ),
        ("hidden.rs", "pub struct Secret; pub struct Other; impl Other { pub fn f() {} }"),
    ]);
    let expected = "\
keyward: pub use a::Thing
keyward: pub use a::other as renamed
keyward: pub use std::fmt::Debug
mod keyward::a
keyward::a: made! { one: .., }
keyward::a::Does: pub trait Does: Send
keyward::a::Does: fn one(&self) -> Self::Out
keyward::a::Does: fn two(&self) { .. }
keyward::a::Does: type Out
keyward::a::Inner: #[derive(Clone)] pub enum Inner
keyward::a::Inner: A
keyward::a::Inner: B(u8, Vec<u8>)
keyward::a::Inner: C { x: u8 }
keyward::a::Inner: [feature = \"x\"] pub fn with_x(&self)
keyward::a::S: pub static S: u8
keyward::a::Short: pub type Short = Vec<u8>
keyward::a::Thing: #[derive(Clone, Debug)] #[cfg_attr(feature = \"serde\", derive(serde::Serialize))] #[non_exhaustive] \
pub struct Thing<'a, T: Copy = u8>
keyward::a::Thing: pub one: &'a [T]
keyward::a::Thing: impl<T: Copy> Drop for Thing<'_, T>
keyward::a::Thing: pub async fn get(&mut self, (a, b): (u8, u8)) -> &T
keyward::a::Thing: pub const N: usize
keyward::a::other: pub fn other<T>(x: impl Fn(&T) -> Vec<Option<T>>) -> Result<(), T> where T: Send
";
    assert_eq!(listed, expected, "\n{listed}");
}

#[test]
fn a_change_that_a_user_would_see_changes_the_listing() {
    let of = |text: &str| small(&[("lib.rs", "pub mod a;"), ("a.rs", text)]);
    let before = of("pub struct A { pub x: u8 } impl A { pub fn f(&self) -> u8 { 1 } }");
    for same in [
        "/// Docs.\npub struct A { pub x: u8, y: u8 } impl A { pub fn f(&self) -> u8 { 2 } fn g() {} }",
        "struct B; pub struct A { pub x: u8 } impl A { pub fn f(&self) -> u8 { 1 } } impl B { pub fn g() {} }",
    ] {
        assert_eq!(of(same), before);
    }
    for other in [
        "pub struct A { pub x: u16 } impl A { pub fn f(&self) -> u8 { 1 } }",
        "pub struct A { pub x: u8 } impl A { pub fn f(&mut self) -> u8 { 1 } }",
        "pub struct A { x: u8 } impl A { pub fn f(&self) -> u8 { 1 } }",
        "#[derive(Clone)] pub struct A { pub x: u8 } impl A { pub fn f(&self) -> u8 { 1 } }",
        "pub struct A { pub x: u8 } impl A { #[cfg(feature = \"y\")] pub fn f(&self) -> u8 { 1 } }",
        "pub struct A { pub x: u8 } impl A { pub fn f(&self) -> u8 { 1 } } impl Drop for A { fn drop(&mut self) {} }",
        "pub struct A { pub x: u8 } impl A { pub fn f(&self) -> u8 { 1 } } pub mod b {}",
    ] {
        assert_ne!(of(other), before, "{other}");
    }
}
