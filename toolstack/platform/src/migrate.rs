//! Documents of an older format, made into ones of the current format.
//!
//! A step changes the text's own tree, so that comments, order and blanks stay as they were. The steps form a chain: each takes a
//! document from one version to the next. There is one version so far, and so no step.

use toml_edit::{DocumentMut, Item};

use crate::document::SCHEMA;

/// What has to be done to reach the next version.
struct Step {
    from: &'static str,
    to: &'static str,
    change: fn(&mut DocumentMut) -> Result<(), String>,
}

/// In the order of versions.
static STEPS: &[Step] = &[];

/// What became of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Migrated {
    /// It is of the current version.
    Current,
    /// It was changed.
    Changed {
        /// The version it had.
        from: String,
        /// Its text now.
        text: String,
    },
}

/// Why a document cannot be migrated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MigrateError {
    /// It is no TOML.
    #[error("not valid TOML: {0}")]
    Syntax(String),
    /// It does not say what it is.
    #[error(
        "the document does not say its version; {SCHEMA} documents begin with schema = \"{SCHEMA}\""
    )]
    NoVersion,
    /// A version behind this program's.
    #[error(
        "the document is of version {0}, and this program knows versions up to {SCHEMA}; use a newer avpsctl"
    )]
    Newer(String),
    /// No version of this format.
    #[error("\"{0}\" is no version of this format; this program knows {SCHEMA}")]
    Unknown(String),
    /// A step met something that it cannot carry over.
    #[error("from {from} to {to}: {reason}")]
    Step {
        /// The version before.
        from: &'static str,
        /// The version to be reached.
        to: &'static str,
        /// What is in the way.
        reason: String,
    },
}

/// Brings a document to the current version.
///
/// # Errors
/// [`MigrateError`].
pub fn migrate(text: &str) -> Result<Migrated, MigrateError> {
    along(STEPS, text)
}

fn along(steps: &[Step], text: &str) -> Result<Migrated, MigrateError> {
    let syntax = |error: toml_edit::TomlError| MigrateError::Syntax(error.message().to_owned());
    let mut document: DocumentMut = text.parse().map_err(syntax)?;
    let from = version(&document).ok_or(MigrateError::NoVersion)?;
    if from == SCHEMA {
        return Ok(Migrated::Current);
    }
    let mut now = from.clone();
    for step in steps {
        if step.from == now {
            (step.change)(&mut document).map_err(|reason| MigrateError::Step {
                from: step.from,
                to: step.to,
                reason,
            })?;
            set_version(&mut document, step.to);
            now = step.to.to_owned();
        }
    }
    match now == SCHEMA {
        true => Ok(Migrated::Changed {
            from,
            text: document.to_string(),
        }),
        false => Err(match number(&from) > number(SCHEMA) {
            true => MigrateError::Newer(from),
            false => MigrateError::Unknown(from),
        }),
    }
}

fn version(document: &DocumentMut) -> Option<String> {
    document.get("schema")?.as_str().map(str::to_owned)
}

/// Changes the version in its place, with the comment beside it.
fn set_version(document: &mut DocumentMut, to: &str) {
    if let Some(Item::Value(value)) = document.get_mut("schema") {
        let decor = value.decor().clone();
        *value = to.into();
        *value.decor_mut() = decor;
    }
}

/// The number of a version of this format.
fn number(version: &str) -> Option<u32> {
    version.strip_prefix("avps/")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_current_document_is_left_alone() {
        assert_eq!(migrate("schema = \"avps/1\"\n"), Ok(Migrated::Current));
    }

    #[test]
    fn what_cannot_be_migrated_is_told_apart() {
        let error = |text| migrate(text).expect_err(text);
        assert_eq!(
            error("schema = \"avps/2\""),
            MigrateError::Newer("avps/2".into())
        );
        assert_eq!(
            error("schema = \"avps/0\""),
            MigrateError::Unknown("avps/0".into())
        );
        assert_eq!(
            error("schema = \"other\""),
            MigrateError::Unknown("other".into())
        );
        assert_eq!(error("x = 1"), MigrateError::NoVersion);
        assert_eq!(error("schema = 1"), MigrateError::NoVersion);
        assert!(matches!(error("= ="), MigrateError::Syntax(_)));
    }

    #[test]
    fn steps_are_chained_and_comments_stay() {
        let rename: fn(&mut DocumentMut) -> Result<(), String> = |document| {
            let table = document["domain"].as_table_mut().ok_or("no domain")?;
            let value = table.remove("ram").ok_or("no ram")?;
            table.insert("memory", value);
            Ok(())
        };
        let steps = [
            Step {
                from: "test/1",
                to: "test/2",
                change: |_| Ok(()),
            },
            Step {
                from: "test/2",
                to: "avps/1",
                change: rename,
            },
        ];
        let text = "# top\nschema = \"test/1\" # version\n\n[domain] # one\n# why\nram = 1\n";
        let migrated = along(&steps, text).expect("migrates");
        let Migrated::Changed { from, text } = migrated else {
            panic!("{migrated:?}");
        };
        assert_eq!(from, "test/1");
        assert!(
            text.starts_with("# top\nschema = \"avps/1\" # version\n\n[domain] # one\n"),
            "{text}"
        );
        assert!(text.contains("memory = 1"), "{text}");
        let error = along(&steps, "schema = \"test/2\"\n[domain]\n").expect_err("no ram");
        assert!(matches!(error, MigrateError::Step { from: "test/2", .. }));
    }
}
