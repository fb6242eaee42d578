//! The modules of a crate, and where a name in one of them leads.

use std::collections::BTreeMap;
use std::path::Path;

use quote::ToTokens;
use syn::{Attribute, Item, UseTree, Visibility};

use super::words::words;

/// The modules by their paths: `keyward`, `keyward::plan`, ...
pub struct House(pub BTreeMap<String, Module>);

#[derive(Default)]
pub struct Module {
    pub items: Vec<Item>,
    pub docs: String,
    /// The modules in it, and whether each is public.
    pub modules: BTreeMap<String, bool>,
    /// What it names from elsewhere: as what, from where, and whether it is public. A star is named `*` with its place.
    pub uses: Vec<(String, Vec<String>, bool)>,
    /// Under which features it is there.
    pub features: Vec<String>,
}

impl House {
    pub fn read(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        collect(folder, "", &mut files);
        Self::of(&files)
    }

    pub fn of(files: &BTreeMap<String, String>) -> Self {
        let mut house = Self(BTreeMap::new());
        let file = syn::parse_file(&files["lib.rs"]).unwrap();
        house.add("keyward", "", file.items, &file.attrs, Vec::new(), files);
        house
    }

    fn add(
        &mut self,
        path: &str,
        folder: &str,
        items: Vec<Item>,
        attributes: &[Attribute],
        features: Vec<String>,
        files: &BTreeMap<String, String>,
    ) {
        let mut module = Module { docs: docs(attributes), features: features.clone(), ..Module::default() };
        for item in items {
            match item {
                Item::Mod(inner) => {
                    let name = inner.ident.to_string();
                    let features = [features.clone(), self::features(&inner.attrs)].concat();
                    if features.iter().any(|feature| feature.contains("test")) {
                        continue;
                    }
                    module.modules.insert(name.clone(), matches!(inner.vis, Visibility::Public(_)));
                    let (path, folder) = (format!("{path}::{name}"), format!("{folder}{name}/"));
                    match inner.content {
                        Some((_, items)) => self.add(&path, &folder, items, &inner.attrs, features, files),
                        None => {
                            let text = &files[&format!("{}.rs", folder.trim_end_matches('/'))];
                            let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
                            let attributes = [inner.attrs, file.attrs].concat();
                            self.add(&path, &folder, file.items, &attributes, features, files);
                        }
                    }
                }
                Item::Use(it) => {
                    let public = matches!(it.vis, Visibility::Public(_));
                    let mut found = Vec::new();
                    tree(&it.tree, &mut Vec::new(), &mut found);
                    module.uses.extend(found.into_iter().map(|(name, from)| (name, from, public)));
                }
                other => module.items.push(other),
            }
        }
        self.0.insert(path.to_owned(), module);
    }

    pub fn docs(&self, path: &str) -> &str {
        &self.0[path].docs
    }

    /// The modules that a user can name.
    pub fn public_modules(&self) -> Vec<String> {
        let (mut found, mut open) = (Vec::new(), vec!["keyward".to_owned()]);
        while let Some(path) = open.pop() {
            let inner = self.0[&path].modules.iter().filter(|(_, public)| **public);
            open.extend(inner.map(|(name, _)| format!("{path}::{name}")));
            found.push(path);
        }
        found.sort();
        found
    }

    /// The module in which a path of the house is declared, and its last name there; `None` for what comes from outside.
    pub fn resolve(&self, module: &str, path: &[String]) -> Option<(String, String)> {
        self.walk(module, path, 0)
    }

    fn walk(&self, module: &str, path: &[String], depth: usize) -> Option<(String, String)> {
        let (first, rest) = path.split_first()?;
        if depth > 20 {
            return None;
        }
        let up = || module.rsplit_once("::").map(|(above, _)| above.to_owned());
        match first.as_str() {
            "crate" => return self.walk("keyward", rest, depth + 1),
            "self" => return self.walk(module, rest, depth + 1),
            "super" => return self.walk(&up()?, rest, depth + 1),
            _ => {}
        }
        let here = self.0.get(module)?;
        if rest.is_empty() {
            if here.items.iter().any(|item| name_of(item).as_deref() == Some(first)) {
                return Some((module.to_owned(), first.clone()));
            }
        } else if here.modules.contains_key(first) {
            return self.walk(&format!("{module}::{first}"), rest, depth + 1);
        }
        for (name, from, _) in &here.uses {
            let found = match name.as_str() {
                "*" => self.module(module, from).and_then(|inner| self.walk(&inner, path, depth + 1)),
                name if name == first => self.walk(module, &[from.as_slice(), rest].concat(), depth + 1),
                _ => None,
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The module that a path leads to.
    pub fn module(&self, module: &str, path: &[String]) -> Option<String> {
        let mut at = module.to_owned();
        for name in path {
            at = match name.as_str() {
                "crate" => "keyward".to_owned(),
                "self" => at,
                "super" => at.rsplit_once("::")?.0.to_owned(),
                name => format!("{at}::{name}"),
            };
        }
        self.0.contains_key(&at).then_some(at)
    }
}

fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else if path.ends_with(".rs") {
            files.insert(path, std::fs::read_to_string(entry.path()).unwrap());
        }
    }
}

fn tree(tree: &UseTree, path: &mut Vec<String>, found: &mut Vec<(String, Vec<String>)>) {
    match tree {
        UseTree::Path(inner) => {
            path.push(inner.ident.to_string());
            self::tree(&inner.tree, path, found);
            path.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|inner| self::tree(inner, path, found)),
        UseTree::Glob(_) => found.push(("*".to_owned(), path.clone())),
        UseTree::Name(name) => add(&name.ident.to_string(), &name.ident.to_string(), path, found),
        UseTree::Rename(name) => add(&name.ident.to_string(), &name.rename.to_string(), path, found),
    }
}

fn add(name: &str, called: &str, path: &[String], found: &mut Vec<(String, Vec<String>)>) {
    match (name, path.last()) {
        ("self", Some(last)) => {
            let called = if called == "self" { last } else { called };
            found.push((called.to_owned(), path.to_vec()));
        }
        _ => found.push((called.to_owned(), [path, &[name.to_owned()]].concat())),
    }
}

/// What an item that others can name is called.
pub fn name_of(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(it) => it.ident.to_string(),
        Item::Enum(it) => it.ident.to_string(),
        Item::Fn(it) => it.sig.ident.to_string(),
        Item::Static(it) => it.ident.to_string(),
        Item::Struct(it) => it.ident.to_string(),
        Item::Trait(it) => it.ident.to_string(),
        Item::Type(it) => it.ident.to_string(),
        Item::Union(it) => it.ident.to_string(),
        _ => return None,
    })
}

/// What an item is there under, but for how documentation is made.
pub fn features(attributes: &[Attribute]) -> Vec<String> {
    let of = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    of.filter_map(|attribute| attribute.meta.require_list().ok()).map(|list| words(list.tokens.clone())).collect()
}

fn docs(attributes: &[Attribute]) -> String {
    let docs = attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
    docs.map(|doc| doc.meta.to_token_stream().to_string() + "\n").collect()
}
