//! Structured fields as RFC 9651 has clients read them, as far as `RateLimit` and `RateLimit-Policy` go: lists of strings
//! with parameters that are integers or strings. Strict: whatever breaks the grammar is `None`.

use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bare {
    Integer(i64),
    String(String),
}

/// An item: its string, and its parameters.
pub(super) type Item = (String, BTreeMap<String, Bare>);

pub(super) fn list(field: &str) -> Option<Vec<Item>> {
    let mut rest = field;
    let mut items = Vec::new();
    loop {
        let (Bare::String(name), mut tail) = bare(rest)? else { return None };
        let mut parameters = BTreeMap::new();
        while let Some(next) = tail.strip_prefix(';') {
            let next = next.trim_start_matches(' ');
            let end = next.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(next.len());
            let (key, value) = next.split_at(end);
            let (value, next) = bare(value.strip_prefix('=')?)?;
            if key.is_empty() || parameters.insert(key.to_owned(), value).is_some() {
                return None;
            }
            tail = next;
        }
        items.push((name, parameters));
        if tail.is_empty() {
            return Some(items);
        }
        rest = tail.trim_start_matches([' ', '\t']).strip_prefix(',')?.trim_start_matches([' ', '\t']);
    }
}

fn bare(text: &str) -> Option<(Bare, &str)> {
    let Some(inside) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, rest) = text.split_at(end);
        let number = digits.parse().ok().filter(|_| digits.len() <= 15)?;
        return Some((Bare::Integer(number), rest));
    };
    let mut string = String::new();
    let mut chars = inside.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Bare::String(string), &inside[at + 1..])),
            '\\' => string.push(chars.next().map(|(_, c)| c).filter(|c| matches!(c, '"' | '\\'))?),
            ' '..='~' => string.push(c),
            _ => return None,
        }
    }
    None
}

#[test]
fn what_is_no_list_of_strings_is_not_read() {
    let read = list(r#""a\"b\\";q=5;qu="x", "c";w=1"#).unwrap();
    assert_eq!(read[0].0, r#"a"b\"#);
    assert_eq!(read[0].1["qu"], Bare::String("x".into()));
    assert_eq!(read[1], ("c".to_owned(), [("w".to_owned(), Bare::Integer(1))].into()));
    for bad in ["", "a", "\"a", "\"é\"", "\"a\";q", "\"a\";q=1;q=2", "\"a\",", "\"a\\x\"", "\"a\";q=1234567890123456"]
    {
        assert_eq!(list(bad), None, "{bad}");
    }
}
