//! Documents from xl configurations.
//!
//! Nothing is lost without a word: what the document has a place for goes there, everything else becomes a comment beside its
//! domain and a warning with its line. A guess (what is behind a virtio device, say) is a warning too.

mod devices;
mod domain;
pub mod xl;

use serde::Serialize;

use crate::document::{self, DocumentTable, PlatformTable};
use crate::writer::Comments;

/// A configuration file.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// As the user named it.
    pub name: &'a str,
    /// Content.
    pub text: &'a str,
}

/// What became of configurations.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The document.
    pub text: String,
    /// What is to be looked at, in the files' order.
    pub warnings: Vec<Warning>,
}

/// Something that could not be carried over as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The file.
    pub file: String,
    /// Line in it, from 1.
    pub line: usize,
    /// The key.
    pub key: String,
    /// What became of it.
    pub message: String,
}

/// Why a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}, {error}")]
pub struct ImportError {
    /// The file.
    pub file: String,
    /// What is wrong in it.
    pub error: xl::XlSyntax,
}

/// Makes one document of xl configurations, one domain each.
///
/// # Errors
/// [`ImportError`] for a file that is not in xl's language.
pub fn import(platform: &str, sources: &[Source<'_>]) -> Result<Imported, ImportError> {
    let mut content = DocumentTable {
        schema: Some(document::SCHEMA.to_owned()),
        platform: Some(PlatformTable {
            name: Some(platform.to_owned()),
            description: None,
        }),
        ..DocumentTable::default()
    };
    let mut comments = Comments::new();
    let mut warnings = Vec::new();
    let names: Vec<_> = sources.iter().map(|source| source.name).collect();
    let first = format!("Imported from {}.", names.join(", "));
    comments.insert(String::new(), vec![first]);
    for (index, source) in sources.iter().enumerate() {
        let assignments = xl::parse(source.text).map_err(|error| ImportError {
            file: source.name.to_owned(),
            error,
        })?;
        let mut mapping = Mapping {
            file: source.name,
            at: format!("domain[{index}]"),
            comments: &mut comments,
            warnings: &mut warnings,
        };
        let domain = domain::domain(&mut mapping, &assignments);
        content.domain.push(domain);
    }
    Ok(Imported {
        text: document::write(&content, &comments),
        warnings,
    })
}

/// Where one file's comments and warnings go.
struct Mapping<'a> {
    file: &'a str,
    at: String,
    comments: &'a mut Comments,
    warnings: &'a mut Vec<Warning>,
}

impl Mapping<'_> {
    /// Something to look at.
    fn warn(&mut self, from: &xl::Assignment, message: impl Into<String>) {
        self.warnings.push(Warning {
            file: self.file.to_owned(),
            line: from.line,
            key: from.key.clone(),
            message: message.into(),
        });
    }

    /// A comment above the domain, or above something in it.
    fn comment(&mut self, inside: &str, text: String) {
        let at = format!("{}{inside}", self.at);
        self.comments.entry(at).or_default().push(text);
    }

    /// What has no place in the document is kept as a comment.
    fn keep(&mut self, from: &xl::Assignment, why: &str) {
        let (file, line) = (self.file, from.line);
        let operator = if from.add { "+=" } else { "=" };
        let source = format!("{} {operator} {}", from.key, from.value.source());
        self.comment(
            "",
            format!("Not carried over ({file}, line {line}): {source}"),
        );
        self.warn(from, format!("not carried over, kept as a comment: {why}"));
    }
}
