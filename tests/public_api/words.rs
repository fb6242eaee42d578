//! Tokens as text, in one way, whatever wrote them.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// The text of tokens, literals of text left out.
pub fn words(tokens: TokenStream) -> String {
    let mut flat = Vec::new();
    flatten(tokens, &mut flat);
    let mut text = String::new();
    for (place, token) in flat.iter().enumerate() {
        let before = place.checked_sub(1).map(|before| flat[before].as_str());
        if before.is_some_and(|before| is_apart(before, token)) {
            text.push(' ');
        }
        text.push_str(token);
    }
    text
}

fn flatten(tokens: TokenStream, flat: &mut Vec<String>) {
    let mut trees = tokens.into_iter().peekable();
    while let Some(tree) = trees.next() {
        match tree {
            TokenTree::Ident(ident) => flat.push(ident.to_string()),
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                // What a feature is called matters; other texts are documentation.
                let is_feature = flat.ends_with(&["feature".to_owned(), "=".to_owned()]);
                flat.push(if text.starts_with('"') && !is_feature { "..".to_owned() } else { text });
            }
            TokenTree::Punct(punct) => {
                let mut text = punct.as_char().to_string();
                if punct.spacing() == Spacing::Joint {
                    if let Some(TokenTree::Punct(next)) = trees.peek() {
                        let pair = format!("{text}{}", next.as_char());
                        if matches!(pair.as_str(), "::" | "->" | "=>" | "..") {
                            trees.next();
                            text = pair;
                        }
                    }
                }
                if text == "'" {
                    if let Some(TokenTree::Ident(name)) = trees.next() {
                        text = format!("'{name}");
                    }
                }
                flat.push(text);
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::None => ("", ""),
                };
                flat.push(open.to_owned());
                flatten(group.stream(), flat);
                flat.push(close.to_owned());
            }
        }
    }
    flat.retain(|token| !token.is_empty());
}

fn is_apart(before: &str, token: &str) -> bool {
    let is_word = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == '_');
    match (before, token) {
        ("(" | "[" | "<" | "::" | "&" | "#" | "?" | "*", _) => false,
        ("!", _) => token == "{",
        (_, ")" | "]" | ">" | "," | ";" | ":" | "::" | "?" | "!") => false,
        (">", "(" | "[") => false,
        (_, "(" | "[") => !is_word(before) || matches!(before, "dyn" | "mut" | "where" | "for" | "in" | "as"),
        (_, "<") => !is_word(before) || matches!(before, "as" | "dyn"),
        _ => true,
    }
}
