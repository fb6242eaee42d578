//! Everything that a user can name, one line for each.

use std::collections::{BTreeMap, BTreeSet};

use quote::ToTokens;
use syn::{Attribute, Fields, ImplItem, Item, ItemImpl, Signature, TraitItem, Type, Visibility};

use super::house::{House, features, name_of};
use super::words::words;

/// The listing: modules in the order of their paths, in each what it has, in the order of names.
pub fn listing(house: &House) -> String {
    let methods = methods(house);
    let mut text = String::new();
    let mut listed = BTreeSet::new();
    for path in house.public_modules() {
        let module = &house.0[&path];
        if path != "keyward" {
            text.push_str(&format!("{}mod {path}\n", under(&module.features)));
        }
        let mut lines = BTreeSet::new();
        let mut named: Vec<(String, String, String)> = Vec::new();
        for item in &module.items {
            match (name_of(item), item) {
                (Some(name), item) if is_public(item) => named.push((name.clone(), path.clone(), name)),
                (None, Item::Macro(it)) => {
                    let text = words(it.mac.to_token_stream());
                    // One that is defined here is listed where it makes something public.
                    match &it.ident {
                        None => drop(lines.insert(format!("{path}: {text}"))),
                        Some(name) if text.contains("pub ") => drop(lines.insert(format!("{path}: {name}: {text}"))),
                        Some(_) => {}
                    }
                }
                _ => {}
            }
        }
        for (name, from, _) in module.uses.iter().filter(|(.., public)| *public) {
            if name == "*" {
                let Some(inner) = house.module(&path, from) else { continue };
                let items = house.0[&inner].items.iter().filter(|item| is_public(item)).filter_map(name_of);
                named.extend(items.map(|name| (name.clone(), inner.clone(), name)));
                continue;
            }
            match house.resolve(&path, from) {
                // What lies in a module that a user can name too is listed there.
                Some((place, of)) if !house.public_modules().contains(&place) => named.push((name.clone(), place, of)),
                _ => {
                    let renamed = if from.last() == Some(name) { String::new() } else { format!(" as {name}") };
                    lines.insert(format!("{path}: pub use {}{renamed}", from.join("::")));
                }
            }
        }
        lines.into_iter().for_each(|line| text.push_str(&format!("{line}\n")));
        named.sort();
        for (name, place, of) in named {
            let Some(item) = house.0[&place].items.iter().find(|item| name_of(item).as_ref() == Some(&of)) else {
                continue;
            };
            let full = format!("{path}::{name}");
            let under = under(&house.0[&place].features);
            let (head, inside) = parts(item);
            text.push_str(&format!("{full}: {under}{head}\n"));
            if !listed.insert((place.clone(), of.clone())) {
                continue;
            }
            inside.iter().for_each(|line| text.push_str(&format!("{full}: {under}{line}\n")));
            for line in methods.get(&(place, of)).into_iter().flatten() {
                text.push_str(&format!("{full}: {line}\n"));
            }
        }
    }
    text
}

/// What impls say of each type, by where the type is declared.
fn methods(house: &House) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut methods: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for (path, module) in &house.0 {
        for item in &module.items {
            let Item::Impl(it) = item else { continue };
            let Some(of) = named_by(&it.self_ty).and_then(|names| house.resolve(path, &names)) else { continue };
            let all = [module.features.clone(), features(&it.attrs)].concat();
            methods.entry(of).or_default().extend(of_impl(it, &all));
        }
    }
    methods
}

fn named_by(of: &Type) -> Option<Vec<String>> {
    match of {
        Type::Path(path) => Some(path.path.segments.iter().map(|segment| segment.ident.to_string()).collect()),
        Type::Reference(inner) => named_by(&inner.elem),
        _ => None,
    }
}

fn of_impl(it: &ItemImpl, all: &[String]) -> Vec<String> {
    if let Some((_, of, _)) = &it.trait_ {
        let (generics, own) = (&it.generics, &it.self_ty);
        let (head, bounds) = (words(generics.to_token_stream()), words(generics.where_clause.to_token_stream()));
        let line = format!("impl{head} {} for {} {bounds}", words(of.to_token_stream()), words(own.to_token_stream()));
        return vec![format!("{}{}", under(all), line.trim_end())];
    }
    let item = |item: &ImplItem| {
        let (attributes, line) = match item {
            ImplItem::Fn(it) if is(&it.vis) => (&it.attrs, format!("pub {}", signature(&it.sig))),
            ImplItem::Const(it) if is(&it.vis) => {
                (&it.attrs, format!("pub const {}: {}", it.ident, words(it.ty.to_token_stream())))
            }
            ImplItem::Macro(it) => (&it.attrs, words(it.mac.to_token_stream())),
            _ => return None,
        };
        Some(format!("{}{line}", under(&[all, &features(attributes)].concat())))
    };
    it.items.iter().filter_map(item).collect()
}

/// What an item says first, and what is in it.
fn parts(item: &Item) -> (String, Vec<String>) {
    match item {
        Item::Const(it) => {
            (format!("{}pub const {}: {}", marks(&it.attrs), it.ident, words(it.ty.to_token_stream())), vec![])
        }
        Item::Static(it) => {
            (format!("{}pub static {}: {}", marks(&it.attrs), it.ident, words(it.ty.to_token_stream())), vec![])
        }
        Item::Fn(it) => (format!("{}pub {}", marks(&it.attrs), signature(&it.sig)), vec![]),
        Item::Type(it) => {
            let (name, of) = (words(it.generics.to_token_stream()), words(it.ty.to_token_stream()));
            (format!("{}pub type {}{name} = {of}", marks(&it.attrs), it.ident), vec![])
        }
        Item::Struct(it) => {
            let fields: Vec<String> = fields(&it.fields);
            let shape = if matches!(it.fields, Fields::Unnamed(_)) && !fields.is_empty() { "(..)" } else { "" };
            let generics = words(it.generics.to_token_stream());
            (format!("{}pub struct {}{generics}{shape}", marks(&it.attrs), it.ident), fields)
        }
        Item::Enum(it) => {
            let variants = it.variants.iter().map(|variant| {
                let mut plain = variant.clone();
                plain.attrs.clear();
                plain.fields.iter_mut().for_each(|field| field.attrs.clear());
                format!("{}{}", marks(&variant.attrs), words(plain.to_token_stream()))
            });
            let generics = words(it.generics.to_token_stream());
            (format!("{}pub enum {}{generics}", marks(&it.attrs), it.ident), variants.collect())
        }
        Item::Trait(it) => {
            let mut inside: Vec<String> = it.items.iter().filter_map(of_trait).collect();
            inside.sort();
            let generics = words(it.generics.to_token_stream());
            let above = words(it.supertraits.to_token_stream());
            let above = if above.is_empty() { above } else { format!(": {above}") };
            (format!("{}pub trait {}{generics}{above}", marks(&it.attrs), it.ident), inside)
        }
        other => (words(other.to_token_stream()), vec![]),
    }
}

fn of_trait(item: &TraitItem) -> Option<String> {
    Some(match item {
        TraitItem::Fn(it) => {
            let body = if it.default.is_some() { " { .. }" } else { "" };
            format!("{}{}{body}", under(&features(&it.attrs)), signature(&it.sig))
        }
        TraitItem::Type(it) => {
            let above = words(it.bounds.to_token_stream());
            format!("type {}{}", it.ident, if above.is_empty() { above } else { format!(": {above}") })
        }
        TraitItem::Const(it) => format!("const {}: {}", it.ident, words(it.ty.to_token_stream())),
        _ => return None,
    })
}

fn fields(fields: &Fields) -> Vec<String> {
    let public = fields.iter().enumerate().filter(|(_, field)| is(&field.vis));
    let line = |(place, field): (usize, &syn::Field)| {
        let name = field.ident.as_ref().map_or_else(|| place.to_string(), ToString::to_string);
        format!("{}pub {name}: {}", under(&features(&field.attrs)), words(field.ty.to_token_stream()))
    };
    public.map(line).collect()
}

fn signature(signature: &Signature) -> String {
    words(signature.to_token_stream()).replace(",)", ")")
}

/// What matters of the attributes: what is derived, and whether more may come.
fn marks(attributes: &[Attribute]) -> String {
    let mut marks: Vec<String> = Vec::new();
    let under = under(&features(attributes));
    for attribute in attributes {
        let is_derived = attribute.path().is_ident("derive") || attribute.path().is_ident("non_exhaustive");
        let text = words(attribute.to_token_stream());
        let derives = attribute.path().is_ident("cfg_attr") && !text.contains("docsrs") && text.contains("derive");
        if is_derived || derives {
            marks.push(text + " ");
        }
    }
    under + &marks.concat()
}

fn under(features: &[String]) -> String {
    features.iter().map(|feature| format!("[{feature}] ")).collect()
}

fn is_public(item: &Item) -> bool {
    match item {
        Item::Const(it) => is(&it.vis),
        Item::Enum(it) => is(&it.vis),
        Item::Fn(it) => is(&it.vis),
        Item::Static(it) => is(&it.vis),
        Item::Struct(it) => is(&it.vis),
        Item::Trait(it) => is(&it.vis),
        Item::Type(it) => is(&it.vis),
        _ => false,
    }
}

fn is(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}
