//! The format told to others: as JSON Schema to editors, as a reference page to people.
//!
//! Both are made from [`crate::document::describe`], from which the reader is made as well, so that none of the three can
//! promise what another does not keep.

mod json_schema;
mod reference;

pub use json_schema::json_schema;
pub use reference::reference;

use crate::schema::{Kind, TableDescription};

/// Every table that can stand in a document, the document itself first, each once, in the order a reader meets them.
fn tables() -> Vec<TableDescription> {
    let mut tables = vec![crate::document::describe()];
    let mut next = 0;
    while let Some(table) = tables.get(next) {
        let inner: Vec<_> = table
            .fields
            .iter()
            .filter_map(|field| match field.kind {
                Kind::Table(describe) | Kind::Tables(describe) => Some(describe()),
                _ => None,
            })
            .collect();
        for table in inner {
            if !tables.iter().any(|known| known.name == table.name) {
                tables.push(table);
            }
        }
        next += 1;
    }
    tables
}
