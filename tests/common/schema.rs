//! JSON Schema as far as `/v1/openapi.json` uses it, stricter in one thing: a property that no schema names is wrong,
//! whether or not it would be allowed. A keyword that is not known here is a failure, too, so that nothing is passed
//! over.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// A document with schemas under `#/`.
pub struct Schemas<'a>(pub &'a Value);

/// The names of the properties that a schema spoke of, or what is wrong and where.
type Checked = Result<BTreeSet<String>, String>;

impl Schemas<'_> {
    /// Says what is wrong with a value, if anything is.
    pub fn check(&self, schema: &Value, value: &Value) -> Result<(), String> {
        self.whole(schema, value, "$")
    }

    /// What a `$ref` refers to.
    pub fn resolve(&self, reference: &str) -> &Value {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} is of another document"));
        self.0.pointer(pointer).unwrap_or_else(|| panic!("{reference} refers to nothing"))
    }

    fn whole(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let spoken_of = self.part(schema, value, at)?;
        match value.as_object() {
            Some(object) if schema != &Value::Bool(true) => {
                match object.keys().find(|name| !spoken_of.contains(*name)) {
                    Some(name) => Err(format!("{at}.{name} is in no schema")),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn part(&self, schema: &Value, value: &Value, at: &str) -> Checked {
        let mut spoken_of = BTreeSet::new();
        let Some(schema) = schema.as_object() else {
            let all = value.as_object().map(|object| object.keys().cloned().collect());
            return if schema == &Value::Bool(true) {
                Ok(all.unwrap_or_default())
            } else {
                Err(format!("{at}: {schema}"))
            };
        };
        for (keyword, wanted) in schema {
            match keyword.as_str() {
                "$ref" => {
                    let reference = wanted.as_str().expect("a reference is text");
                    spoken_of.extend(self.part(self.resolve(reference), value, at)?);
                }
                "anyOf" | "oneOf" => spoken_of.extend(self.choice(keyword, wanted, value, at)?),
                "properties" => {
                    for (name, schema) in wanted.as_object().expect("properties are an object") {
                        if let Some(value) = value.get(name) {
                            self.whole(schema, value, &format!("{at}.{name}"))?;
                            spoken_of.insert(name.clone());
                        }
                    }
                }
                "additionalProperties" => spoken_of.extend(self.additional(schema, wanted, value, at)?),
                "required" => {
                    let names = wanted.as_array().expect("names").iter().filter_map(Value::as_str);
                    if let (Some(missing), true) =
                        (names.into_iter().find(|name| value.get(name).is_none()), value.is_object())
                    {
                        return Err(format!("{at}.{missing} is missing"));
                    }
                }
                "items" => {
                    for (place, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.whole(wanted, item, &format!("{at}[{place}]"))?;
                    }
                }
                _ => simple(keyword, wanted, value).map_err(|problem| format!("{at}: {value}: {problem}"))?,
            }
        }
        Ok(spoken_of)
    }

    fn choice(&self, keyword: &str, choices: &Value, value: &Value, at: &str) -> Checked {
        let tried: Vec<Checked> =
            choices.as_array().expect("choices").iter().map(|choice| self.part(choice, value, at)).collect();
        let fitting = tried.iter().filter(|tried| tried.is_ok()).count();
        if fitting == 0 || (keyword == "oneOf" && fitting > 1) {
            let problems: Vec<&String> = tried.iter().filter_map(|tried| tried.as_ref().err()).collect();
            return Err(format!("{at}: {fitting} of the {keyword} fit: {problems:?}"));
        }
        Ok(tried.into_iter().flatten().flatten().collect())
    }

    fn additional(&self, schema: &Map<String, Value>, wanted: &Value, value: &Value, at: &str) -> Checked {
        let named = |name: &String| schema.get("properties").is_some_and(|properties| properties.get(name).is_some());
        let others = value.as_object().into_iter().flatten().filter(|(name, _)| !named(name));
        let mut spoken_of = BTreeSet::new();
        for (name, value) in others {
            self.whole(wanted, value, &format!("{at}.{name}"))?;
            spoken_of.insert(name.clone());
        }
        Ok(spoken_of)
    }
}

/// Keywords that look at a value alone.
fn simple(keyword: &str, wanted: &Value, value: &Value) -> Result<(), String> {
    let length = || value.as_str().map(|text| text.chars().count() as u64);
    let holds = match keyword {
        "description" | "default" | "examples" | "title" => true,
        "type" => match wanted {
            Value::Array(types) => types.iter().any(|wanted| is_of(value, wanted)),
            wanted => is_of(value, wanted),
        },
        "const" => value == wanted,
        "enum" => wanted.as_array().expect("words").contains(value),
        "format" => match (wanted.as_str().expect("a word"), value.as_str()) {
            ("date-time", Some(text)) => text.parse::<jiff::Timestamp>().is_ok() && text.ends_with('Z'),
            ("date", Some(text)) => text.parse::<jiff::civil::Date>().is_ok(),
            ("date-time" | "date", None) | ("uint8" | "uint16" | "uint32" | "uint64" | "uint" | "double", _) => true,
            (other, _) => return Err(format!("format {other} is not known here")),
        },
        "pattern" => {
            let pattern = regex::Regex::new(wanted.as_str().expect("a pattern")).expect("a pattern that can be used");
            value.as_str().is_none_or(|text| pattern.is_match(text))
        }
        "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().expect("a number")),
        "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().expect("a number")),
        "minLength" => length().is_none_or(|length| length >= wanted.as_u64().expect("a number")),
        "maxLength" => length().is_none_or(|length| length <= wanted.as_u64().expect("a number")),
        "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= wanted.as_u64().expect("a number")),
        "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= wanted.as_u64().expect("a number")),
        "uniqueItems" => true,
        other => return Err(format!("keyword {other} is not known here")),
    };
    if holds { Ok(()) } else { Err(format!("{keyword}: {wanted}")) }
}

fn is_of(value: &Value, wanted: &Value) -> bool {
    match wanted.as_str().expect("the name of a type") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("type {other} is not known here"),
    }
}
