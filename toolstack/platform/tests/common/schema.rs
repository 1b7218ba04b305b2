//! As much of JSON Schema as our own schema uses. The complete validators have more than a hundred dependencies; a word of the
//! schema that this one does not know is a failure, so nothing is believed by being overlooked.

use regex_lite::Regex;
use serde_json::Value;

/// What is wrong with a value, each with the path of the place.
pub(crate) fn validate(
    root: &Value,
    schema: &Value,
    value: &Value,
    at: &str,
    errors: &mut Vec<String>,
) {
    let Some(words) = schema.as_object() else {
        panic!("{at}: a schema is an object");
    };
    for (word, wanted) in words {
        match word.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" | "examples" | "format"
            | "enumDescriptions" | "x-taplo" => {}
            "$ref" => {
                let name = wanted.as_str().and_then(|r| r.strip_prefix("#/$defs/"));
                let schema = &root["$defs"][name.expect("a definition")];
                assert!(schema.is_object(), "{wanted} is not defined");
                validate(root, schema, value, at, errors);
            }
            "type" => {
                let fits = match wanted.as_str().expect("a word") {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    other => panic!("type {other}"),
                };
                if !fits {
                    errors.push(format!("{at}: is not of type {wanted}"));
                }
            }
            "const" if wanted != value => errors.push(format!("{at}: is not {wanted}")),
            "const" => {}
            "enum" if !wanted.as_array().expect("a list").contains(value) => {
                errors.push(format!("{at}: is none of {wanted}"));
            }
            "enum" => {}
            "pattern" => {
                let pattern = Regex::new(wanted.as_str().expect("text")).expect("a pattern");
                if value.as_str().is_some_and(|text| !pattern.is_match(text)) {
                    errors.push(format!("{at}: {value} does not match {wanted}"));
                }
            }
            "minimum" if value.as_i64().is_some_and(|n| Some(n) < wanted.as_i64()) => {
                errors.push(format!("{at}: is below {wanted}"));
            }
            "maximum" if value.as_i64().is_some_and(|n| Some(n) > wanted.as_i64()) => {
                errors.push(format!("{at}: is above {wanted}"));
            }
            "minimum" | "maximum" => {}
            "required" => {
                for key in wanted.as_array().expect("a list") {
                    if value.get(key.as_str().expect("text")).is_none() {
                        errors.push(format!("{at}: has no {key}"));
                    }
                }
            }
            "anyOf" => {
                let fits = |schema| {
                    let mut errors = Vec::new();
                    validate(root, schema, value, at, &mut errors);
                    errors.is_empty()
                };
                if !wanted.as_array().expect("a list").iter().any(fits) {
                    errors.push(format!("{at}: fits none of {wanted}"));
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    validate(root, wanted, item, &format!("{at}[{index}]"), errors);
                }
            }
            "properties" | "additionalProperties" => {
                assert_eq!(schema["additionalProperties"], false, "{at}");
                for (key, inner) in value.as_object().into_iter().flatten() {
                    match schema["properties"].get(key) {
                        Some(schema) if word == "properties" => {
                            validate(root, schema, inner, &format!("{at}.{key}"), errors);
                        }
                        None if word == "additionalProperties" => {
                            errors.push(format!("{at}: {key} is not known"));
                        }
                        _ => {}
                    }
                }
            }
            other => panic!("{at}: this validator does not know \"{other}\""),
        }
    }
}

/// A document as editors hand it to a schema: dates as texts.
pub(crate) fn as_json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(boolean) => Value::from(*boolean),
        toml::Value::Datetime(datetime) => Value::from(datetime.to_string()),
        toml::Value::Array(array) => array.iter().map(as_json).collect(),
        toml::Value::Table(table) => table.iter().map(|(k, v)| (k.clone(), as_json(v))).collect(),
    }
}
