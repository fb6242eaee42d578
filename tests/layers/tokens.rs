//! Just enough of a scanner for Rust to see which paths a file names: no macros expanded, no types known.

/// A path as it is written, groups resolved and `!` kept, and how many inline modules it stands in.
pub(crate) struct Found {
    pub(crate) segments: Vec<String>,
    pub(crate) inside: usize,
}

/// All paths in a text, those of imports and those in code.
pub(crate) fn paths(tokens: &[String]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut braces = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" => braces.push(at >= 2 && tokens[at - 2] == "mod"),
            "}" => drop(braces.pop()),
            token if is_word(token) => {
                let inside = braces.iter().filter(|inline| **inline).count();
                let mut trees = Vec::new();
                at = tree(tokens, at, &[], &mut trees);
                found.extend(trees.into_iter().map(|segments| Found { segments, inside }));
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Reads one path from a word, a group or a star on; gives back the place after it.
fn tree(tokens: &[String], mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    let is = |at: usize, wanted: &str| tokens.get(at).is_some_and(|token| token == wanted);
    loop {
        if is(at, "{") {
            at += 1;
            while at < tokens.len() && !is(at, "}") {
                at = if is_word(&tokens[at]) || is(at, "{") || is(at, "*") {
                    tree(tokens, at, &path, found)
                } else {
                    at + 1
                };
            }
            return at + 1;
        }
        if !tokens.get(at).is_some_and(|token| is_word(token) || token == "*") {
            break;
        }
        path.push(tokens[at].clone());
        at += 1;
        if !is(at, "::") {
            break;
        }
        at += 1;
    }
    if is(at, "!") && !is(at + 1, "=") {
        path.last_mut().unwrap().push('!');
    }
    found.push(path);
    at
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::`, and single marks; comments, texts and characters are left out.
pub(crate) fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => quoted(rest, 1),
            '\'' => character(rest),
            ':' if rest.starts_with("::") => keep(&mut tokens, rest, 2),
            c if c.is_alphanumeric() || c == '_' => {
                let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                literal(rest, word).unwrap_or_else(|| keep(&mut tokens, rest, word))
            }
            c if c.is_whitespace() => c.len_utf8(),
            c => keep(&mut tokens, rest, c.len_utf8()),
        };
        rest = &rest[length..];
    }
    tokens
}

fn keep(tokens: &mut Vec<String>, text: &str, length: usize) -> usize {
    tokens.push(text[..length].to_owned());
    length
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += text[at..].chars().next().unwrap().len_utf8();
        }
    }
    at
}

/// A text that begins with a word: `b"…"`, `r"…"`, `br#"…"#`, `c"…"`, `b'…'`.
fn literal(text: &str, word: usize) -> Option<usize> {
    let (prefix, tail) = text.split_at(word);
    if tail.starts_with('\'') && prefix == "b" {
        return Some(word + character(tail));
    }
    let fences = tail.bytes().take_while(|byte| *byte == b'#').count();
    if !tail[fences..].starts_with('"') || !["b", "r", "br", "c", "cr"].contains(&prefix) {
        return None;
    }
    if prefix.ends_with('r') {
        let end = format!("\"{}", "#".repeat(fences));
        let body = word + fences + 1;
        Some(text[body..].find(&end).map_or(text.len(), |at| body + at + end.len()))
    } else {
        (fences == 0).then(|| quoted(text, word + 1))
    }
}

/// The length of a text whose inside begins at `at`.
fn quoted(text: &str, at: usize) -> usize {
    let mut escaped = false;
    for (place, c) in text[at..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + place + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character, or of the mark that begins a lifetime.
fn character(text: &str) -> usize {
    let mut inside = text[1..].chars();
    match (inside.next(), inside.next()) {
        (Some('\\'), Some(escaped)) => {
            let after = 2 + escaped.len_utf8();
            text[after..].find('\'').map_or(text.len(), |at| after + at + 1)
        }
        (Some(c), Some('\'')) => c.len_utf8() + 2,
        _ => 1,
    }
}

/// The place after the bracket that closes the one at `open`.
pub(crate) fn closing(tokens: &[String], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

#[test]
fn texts_comments_and_lifetimes_are_told_apart() {
    let text = r##"fn a<'a>(x: &'a str) -> char { /* crate::b /* */ crate::c */ let q = '"'; let e = '\''; let s = "crate::d \" //";
        let r = r#"crate::e "quoted" "#; b'\\'; br"\"; '\u{1F600}'; // crate::f
        'é' }"##;
    let words: Vec<String> = tokens(text).into_iter().filter(|token| is_word(token)).collect();
    assert_eq!(words, ["fn", "a", "a", "x", "a", "str", "char", "let", "q", "let", "e", "let", "s", "let", "r"]);
}
