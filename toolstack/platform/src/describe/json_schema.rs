//! JSON Schema (draft 2020-12) of the document, for completion and marks in editors.
//!
//! It says what the reader says about the text alone: keys, types, forms and words. What a value means for the machine only
//! the rules know; a document that an editor accepts still has to pass `avpsctl platform check`.

use serde_json::{Map, Value, json};

use super::tables;
use crate::document::SCHEMA;
use crate::schema::{FieldDescription, Kind, TableDescription};
use crate::units::MAX_LISTED;

/// A number and its unit; blanks and `_` between digits are allowed.
const SIZE: &str = r"^\s*[0-9][0-9_]*\s*(B|KiB|MiB|GiB|TiB)\s*$";
const TIME_SPAN: &str = r"^\s*[0-9][0-9_]*\s*(us|ms|s)\s*$";
const VERSION: &str = r"^[0-9]+\.[0-9]+(\..*)?$";
const NUMBERS: &str = r"^\s*([0-9]+\s*(-\s*[0-9]+\s*)?(,\s*[0-9]+\s*(-\s*[0-9]+\s*)?)*)?$";
const DATE: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$";

/// The schema, for `avpsctl platform schema` and the `#:schema` line that taplo reads.
pub fn json_schema() -> Value {
    let mut definitions = Map::new();
    let mut root = Map::new();
    for (number, description) in tables().iter().enumerate() {
        let schema = table(description);
        if number == 0 {
            root = schema;
        } else {
            definitions.insert(description.name.to_owned(), Value::Object(schema));
        }
    }
    let mut out = Map::new();
    out.insert(
        "$schema".into(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    // A name, not a place: nothing is fetched from there.
    out.insert("$id".into(), json!(format!("urn:avps:schema:{SCHEMA}")));
    out.insert(
        "title".into(),
        json!(format!("AVPS platform document, {SCHEMA}")),
    );
    out.append(&mut root);
    out.insert("$defs".into(), Value::Object(definitions));
    Value::Object(out)
}

fn table(description: &TableDescription) -> Map<String, Value> {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in &description.fields {
        properties.insert(field.key.to_owned(), property(field));
        if field.required.is_some() {
            required.push(field.key);
        }
    }
    let mut schema = Map::new();
    schema.insert("type".into(), json!("object"));
    schema.insert("description".into(), json!(description.doc));
    schema.insert("properties".into(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".into(), json!(required));
    }
    schema.insert("additionalProperties".into(), json!(false));
    // The one thing the reader asks for that is no property of a single key.
    let has = |key| description.fields.iter().any(|field| field.key == key);
    if has("memory") && has("static_memory") {
        let ways = json!([{"required": ["memory"]}, {"required": ["static_memory"]}]);
        schema.insert("anyOf".into(), ways);
    }
    schema
}

fn property(field: &FieldDescription) -> Value {
    let mut schema = kind(&field.kind);
    if field.key == "schema" && matches!(field.kind, Kind::Text) {
        schema.insert("const".into(), json!(SCHEMA));
    }
    let mut description = field.doc.clone();
    if let Kind::Words(words) = field.kind {
        for (word, meaning) in words {
            description.push_str(&format!("\n- `\"{word}\"`: {}", meaning.trim()));
        }
    }
    if let Some(default) = field.default {
        description.push_str(&format!("\n\nDefault: {default}"));
    }
    if let Some(example) = field.required {
        description.push_str(&format!("\n\nRequired. Example: `{example}`"));
    }
    schema.insert("description".into(), json!(description));
    Value::Object(schema)
}

fn kind(kind: &Kind) -> Map<String, Value> {
    let schema = match kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Number | Kind::Address => json!({"type": "integer", "minimum": 0}),
        Kind::Size => json!({"type": "string", "pattern": SIZE, "examples": ["128MiB"]}),
        Kind::TimeSpan => json!({"type": "string", "pattern": TIME_SPAN, "examples": ["10ms"]}),
        // TOML has dates of its own; editors hand them to a schema as texts.
        Kind::Date => json!({"type": "string", "format": "date", "pattern": DATE}),
        Kind::Version => json!({"type": "string", "pattern": VERSION, "examples": ["4.20"]}),
        Kind::Numbers => json!({
            "anyOf": [
                {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": MAX_LISTED}},
                {"type": "string", "pattern": NUMBERS},
            ],
            "examples": [[0, 1], "0-3,6"],
        }),
        Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Kind::Words(words) => {
            let meanings: Vec<_> = words.iter().map(|(_, meaning)| meaning.trim()).collect();
            let words: Vec<_> = words.iter().map(|(word, _)| word).collect();
            // Two editors, two ways to show what each word means.
            json!({
                "type": "string",
                "enum": words,
                "enumDescriptions": meanings,
                "x-taplo": {"docs": {"enumValues": meanings}},
            })
        }
        Kind::Table(describe) => reference(&describe()),
        Kind::Tables(describe) => json!({"type": "array", "items": reference(&describe())}),
    };
    match schema {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn reference(table: &TableDescription) -> Value {
    json!({"$ref": format!("#/$defs/{}", table.name)})
}
