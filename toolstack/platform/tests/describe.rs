//! What is told of the format is what the reader does: JSON Schema and reference page.

use std::fs;

use crate::common::corpus::{configs, documents};
use crate::common::schema::{as_json, validate};
use platform::rules;

fn errors(text: &str) -> Vec<String> {
    let schema = platform::json_schema();
    let table: toml::Table = text.parse().expect("TOML");
    let document = as_json(&toml::Value::Table(table));
    let mut errors = Vec::new();
    validate(&schema, &schema, &document, "", &mut errors);
    errors
}

#[test]
fn an_editor_accepts_every_document_that_ships() {
    let shipped = documents(&configs(), ".avps.toml");
    assert!(!shipped.is_empty());
    for (name, text) in shipped {
        assert_eq!(errors(&text), [""; 0], "{name}");
    }
    for (name, text) in documents(&configs().join("fixtures/good"), ".toml") {
        assert_eq!(errors(&text), [""; 0], "{name}");
    }
}

#[test]
fn an_editor_marks_what_the_reader_refuses_and_nothing_that_only_a_rule_refuses() {
    let of_the_text = [
        &rules::UNKNOWN_KEY,
        &rules::WRONG_TYPE,
        &rules::MISSING_KEY,
        &rules::SCHEMA,
        &rules::UNKNOWN_WORD,
        &rules::SIZE,
        &rules::UNREADABLE,
    ];
    let fixtures = documents(&configs().join("fixtures"), ".toml");
    assert!(!fixtures.is_empty());
    for (name, text) in fixtures {
        if name.starts_with(rules::SYNTAX.id) {
            continue;
        }
        let refused = of_the_text.iter().any(|rule| name.starts_with(rule.id));
        let errors = errors(&text);
        assert_eq!(!errors.is_empty(), refused, "{name}: {errors:?}");
    }
}

#[test]
fn the_schema_describes_every_property_and_each_reference_leads_somewhere() {
    let schema = platform::json_schema();
    let tables = schema["$defs"].as_object().expect("tables").values();
    for table in tables.chain([&schema]) {
        assert_eq!(table["additionalProperties"], false);
        for (key, property) in table["properties"].as_object().expect("properties") {
            assert!(
                property["description"]
                    .as_str()
                    .is_some_and(|d| !d.is_empty()),
                "{key}"
            );
            let reference = property["$ref"]
                .as_str()
                .or(property["items"]["$ref"].as_str());
            if let Some(name) = reference {
                let name = name.trim_start_matches("#/$defs/");
                assert!(schema["$defs"][name].is_object(), "{name}");
            }
        }
    }
}

#[test]
fn words_come_with_their_meanings() {
    let schema = platform::json_schema();
    let asil = &schema["$defs"]["DomainTable"]["properties"]["asil"];
    assert_eq!(asil["enum"][0], "QM");
    let description = asil["description"].as_str().expect("text");
    assert!(
        description.contains("`\"D\"`: The highest level."),
        "{description}"
    );
    assert!(description.contains("Default: QM"), "{description}");
}

#[test]
fn the_committed_reference_page_is_up_to_date() {
    let path = configs().join("REFERENCE.md");
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == platform::reference(),
        "configs/REFERENCE.md is not what the program says; write it again:\n    \
         cargo run -p avpsctl -- platform reference > configs/REFERENCE.md"
    );
}

#[test]
fn the_reference_tells_every_rule() {
    let page = platform::reference();
    for rule in rules::all() {
        assert!(page.contains(&format!("| {} | `{}` |", rule.id, rule.name)));
    }
}
