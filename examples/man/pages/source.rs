//! Reads what stands beside things in the source: the names, doc comments and serde attributes of enums and
//! structs, and the keys that log lines are written with.

use super::root;
use std::collections::BTreeMap;
use syn::visit::Visit;
use syn::{Attribute, Expr, ExprLit, Fields, Item, Lit, Meta};

/// A variant of an enum, or a field.
#[derive(Debug)]
pub struct Described {
    /// Its name in JSON and TOML.
    pub name: String,
    /// Its name in the source.
    pub ident: String,
    /// Its doc comment, in one line.
    pub docs: String,
    /// Whether it may be missing.
    pub optional: bool,
    /// Whether its own fields stand in its place.
    pub flat: bool,
    /// Fields of a variant.
    pub fields: Vec<Described>,
}

/// The variants of an enum; where serde names them, in kebab-case.
///
/// # Errors
/// Which file has no such enum, or cannot be read.
pub fn variants(file: &str, name: &str) -> Result<Vec<Described>, String> {
    let items = parsed(file)?.items;
    let found = items.into_iter().find_map(|item| match item {
        Item::Enum(item) if item.ident == name => Some(item),
        _ => None,
    });
    let found = found.ok_or_else(|| format!("{file} has no enum {name}"))?;
    let variants = found.variants.iter().map(|variant| Described {
        name: kebab(&variant.ident.to_string()),
        fields: described_fields(&variant.fields),
        ..described(&variant.attrs, &variant.ident.to_string())
    });
    Ok(variants.collect())
}

/// The fields of a struct.
///
/// # Errors
/// Which file has no such struct, or cannot be read.
pub fn fields(file: &str, name: &str) -> Result<Vec<Described>, String> {
    let items = parsed(file)?.items;
    let found = items.iter().find_map(|item| match item {
        Item::Struct(item) if item.ident == name => Some(described_fields(&item.fields)),
        _ => None,
    });
    found.ok_or_else(|| format!("{file} has no struct {name}"))
}

/// The strings in a constant array of strings, or of tuples that begin with one.
///
/// # Errors
/// Which file has no such array, or cannot be read.
#[allow(dead_code, reason = "for the tests")]
pub fn array(file: &str, name: &str) -> Result<Vec<String>, String> {
    let items = parsed(file)?.items;
    let found = items.into_iter().find_map(|item| match item {
        Item::Const(item) if item.ident == name => Some(*item.expr),
        _ => None,
    });
    let Some(Expr::Array(array)) = found else { return Err(format!("{file} has no array {name}")) };
    let first = |expression: &Expr| match expression {
        Expr::Tuple(tuple) => tuple.elems.first().and_then(string),
        other => string(other),
    };
    Ok(array.elems.iter().filter_map(first).collect())
}

/// The numbers that the variants of an enum stand for, or the arms of a function give.
///
/// # Errors
/// Which file cannot be read.
#[allow(dead_code, reason = "for the tests")]
pub fn numbers(file: &str, name: &str) -> Result<Vec<u8>, String> {
    struct Numbers(Vec<u8>);
    impl Visit<'_> for Numbers {
        fn visit_lit_int(&mut self, number: &syn::LitInt) {
            self.0.extend(number.base10_parse::<u8>());
        }
    }
    struct Named<'a>(&'a str, Numbers);
    impl Visit<'_> for Named<'_> {
        fn visit_item_enum(&mut self, item: &syn::ItemEnum) {
            if item.ident == self.0 {
                self.1.visit_item_enum(item);
            }
        }
        fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
            if item.sig.ident == self.0 {
                self.1.visit_impl_item_fn(item);
            }
        }
    }
    let mut named = Named(name, Numbers(Vec::new()));
    named.visit_file(&parsed(file)?);
    let mut numbers = named.1.0;
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// For each variant of `LogEvent` the keys of its line, in order; `true` for those that may be missing.
///
/// # Errors
/// `src/ops/event.rs` cannot be read.
pub fn log_keys() -> Result<BTreeMap<String, Vec<(String, bool)>>, String> {
    let mut lines = Lines::default();
    lines.visit_file(&parsed("src/ops/event.rs")?);
    Ok(lines.0)
}

/// The arms `LogEvent::X { .. } => ...` of `fn line`.
#[derive(Default)]
struct Lines(BTreeMap<String, Vec<(String, bool)>>);

impl Visit<'_> for Lines {
    fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
        if item.sig.ident == "line" {
            syn::visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_arm(&mut self, arm: &syn::Arm) {
        let mut of = Vec::new();
        variants_of(&arm.pat, &mut of);
        let mut keys = Written::default();
        keys.visit_expr(&arm.body);
        for variant in of {
            self.0.insert(variant, keys.0.clone());
        }
    }
}

fn variants_of(pattern: &syn::Pat, found: &mut Vec<String>) {
    let path = match pattern {
        syn::Pat::Or(either) => return either.cases.iter().for_each(|case| variants_of(case, found)),
        syn::Pat::Struct(pattern) => &pattern.path,
        syn::Pat::Path(pattern) => &pattern.path,
        _ => return,
    };
    found.extend(path.segments.last().map(|segment| segment.ident.to_string()));
}

/// Calls such as `line.word("queue_id", ...)`. What is written within a branch may be missing.
#[derive(Default)]
struct Written(Vec<(String, bool)>, bool);

impl Visit<'_> for Written {
    fn visit_expr_method_call(&mut self, call: &syn::ExprMethodCall) {
        self.visit_expr(&call.receiver);
        let method = call.method.to_string();
        if let ("word" | "maybe" | "number" | "text" | "address" | "forward_path", Some(key)) =
            (method.as_str(), call.args.first().and_then(string))
            && !self.0.iter().any(|(known, _)| *known == key)
        {
            self.0.push((key, self.1 || method == "maybe"));
        }
    }

    fn visit_expr_match(&mut self, branches: &syn::ExprMatch) {
        self.1 = true;
        syn::visit::visit_expr_match(self, branches);
        self.1 = false;
    }

    fn visit_expr_if(&mut self, branches: &syn::ExprIf) {
        self.1 = true;
        syn::visit::visit_expr_if(self, branches);
        self.1 = false;
    }
}

fn parsed(file: &str) -> Result<syn::File, String> {
    let text = std::fs::read_to_string(root().join(file)).map_err(|error| format!("{file}: {error}"))?;
    syn::parse_file(&text).map_err(|error| format!("{file}: {error}"))
}

fn described_fields(fields: &Fields) -> Vec<Described> {
    let named = fields.iter().filter_map(|field| Some((field, field.ident.as_ref()?.to_string())));
    named
        .filter(|(field, _)| !serde(&field.attrs).iter().any(|(key, _)| key == "skip"))
        .map(|(field, ident)| described(&field.attrs, &ident))
        .collect()
}

fn described(attributes: &[Attribute], ident: &str) -> Described {
    let serde = serde(attributes);
    let has = |key: &str| serde.iter().any(|(name, _)| name == key);
    let renamed = serde.iter().find(|(key, _)| key == "rename").and_then(|(_, value)| value.clone());
    Described {
        name: renamed.unwrap_or_else(|| ident.to_owned()),
        ident: ident.to_owned(),
        docs: docs(attributes),
        optional: has("skip_serializing_if"),
        flat: has("flatten"),
        fields: Vec::new(),
    }
}

fn docs(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => string(&pair.value),
        _ => None,
    });
    lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// The keys in `#[serde(...)]`, each with its value if that is a string.
fn serde(attributes: &[Attribute]) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        // What is no list of keys is serde's to refuse.
        let _ = attribute.parse_nested_meta(|meta| {
            let value = meta.value().ok().map(|value| value.parse::<Lit>()).transpose()?;
            let value = value.and_then(|value| if let Lit::Str(text) = value { Some(text.value()) } else { None });
            found.extend(meta.path.get_ident().map(|key| (key.to_string(), value)));
            Ok(())
        });
    }
    found
}

fn string(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

/// The name that serde gives a variant.
pub fn kebab(ident: &str) -> String {
    let mut name = String::new();
    for letter in ident.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}
