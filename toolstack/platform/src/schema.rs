//! The format described once: each table of the document is declared by [`tables!`], each closed list of words by
//! [`words!`]. The reader, the writer, the JSON Schema and the reference page all come from these declarations, so they cannot differ.

use crate::reader::{Reading, Table};
use crate::writer::Writer;

/// What can stand behind a key.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A text in quotes.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A whole number from 0 on.
    Number,
    /// A number of bytes with its unit, `"128MiB"`.
    Size,
    /// A physical address: a whole number, usually written in base 16.
    Address,
    /// A span of time with its unit, `"10ms"`.
    TimeSpan,
    /// A date, `2027-06-30`, not in quotes.
    Date,
    /// A release of Xen, `"4.20"`.
    Version,
    /// Numbers and ranges of them: `[0, 1]` or `"0-3,6"`.
    Numbers,
    /// A list of texts.
    Texts,
    /// A closed list of words, each with its meaning.
    Words(&'static [(&'static str, &'static str)]),
    /// A table.
    Table(fn() -> TableDescription),
    /// A list of tables.
    Tables(fn() -> TableDescription),
}

/// A key of a table.
#[derive(Debug, Clone)]
pub struct FieldDescription {
    /// The key.
    pub key: &'static str,
    /// What it means, in Markdown.
    pub doc: String,
    /// What can stand there.
    pub kind: Kind,
    /// A line to paste, where the key has to be there.
    pub required: Option<&'static str>,
    /// What holds when it is left out.
    pub default: Option<&'static str>,
}

/// A table of the document.
#[derive(Debug, Clone)]
pub struct TableDescription {
    /// Name of the Rust type, for references within a schema.
    pub name: &'static str,
    /// What it is for, in Markdown.
    pub doc: String,
    /// Its keys, in the order they are explained.
    pub fields: Vec<FieldDescription>,
}

/// What a key's value becomes.
pub(crate) trait Value: Sized {
    const KIND: Kind;
    fn read(table: &mut Table<'_>, reading: &mut Reading, key: &'static str) -> Option<Self>;
    fn write(&self, out: &mut Writer<'_>, key: &'static str);
}

/// A table's content.
pub(crate) trait TableType: Sized {
    fn describe() -> TableDescription;
    fn read(table: Table<'_>, reading: &mut Reading) -> Self;
    fn write(&self, out: &mut Writer<'_>);
}

/// What a table's key becomes: a value, which may be missing, or as many tables as there are.
pub(crate) trait Field: Sized {
    const KIND: Kind;
    fn read(table: &mut Table<'_>, reading: &mut Reading, key: &'static str) -> Self;
    fn write(&self, out: &mut Writer<'_>, key: &'static str);
}

impl<V: Value> Field for Option<V> {
    const KIND: Kind = V::KIND;

    fn read(table: &mut Table<'_>, reading: &mut Reading, key: &'static str) -> Self {
        V::read(table, reading, key)
    }

    fn write(&self, out: &mut Writer<'_>, key: &'static str) {
        if let Some(value) = self {
            value.write(out, key);
        }
    }
}

impl<T: TableType> Field for Vec<T> {
    const KIND: Kind = Kind::Tables(T::describe);

    fn read(table: &mut Table<'_>, reading: &mut Reading, key: &'static str) -> Self {
        let tables = table.tables(reading, key);
        tables
            .into_iter()
            .map(|table| T::read(table, reading))
            .collect()
    }

    fn write(&self, out: &mut Writer<'_>, key: &'static str) {
        for (index, table) in self.iter().enumerate() {
            out.table(key, Some(index), |out| table.write(out));
        }
    }
}

/// The lines of a doc comment as one text.
pub(crate) fn doc(lines: &[&str]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| line.trim()).collect();
    lines.join("\n").trim().to_owned()
}

/// Declares closed lists of words.
macro_rules! words {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident { $( #[doc = $meaning:literal] $variant:ident = $word:literal, )+ }
    )+) => { $(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $( #[doc = $meaning] #[serde(rename = $word)] $variant, )+ }

        impl $name {
            /// The word used in the document, in XenStore and in JSON.
            pub fn word(self) -> &'static str {
                match self { $( $name::$variant => $word, )+ }
            }
        }

        impl $crate::schema::Value for $name {
            const KIND: $crate::schema::Kind =
                $crate::schema::Kind::Words(&[$( ($word, $meaning), )+]);

            fn read(
                table: &mut $crate::reader::Table<'_>,
                reading: &mut $crate::reader::Reading,
                key: &'static str,
            ) -> Option<Self> {
                table.word(reading, key, &[$( ($word, $name::$variant), )+])
            }

            fn write(&self, out: &mut $crate::writer::Writer<'_>, key: &'static str) {
                out.key(key, &$crate::writer::quoted(self.word()));
            }
        }
    )+ };
}
pub(crate) use words;

/// Declares tables: each key with its type, `Option` of a value or `Vec` of tables; behind `=` what is required, with an
/// example, or what is the default.
macro_rules! tables {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident { $(
            $(#[doc = $meaning:literal])+
            $key:ident: $type:ty $(= required $example:literal)? $(= default $default:literal)?,
        )+ }
    )+) => { $(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Default)]
        pub struct $name { $( $(#[doc = $meaning])+ pub $key: $type, )+ }

        impl $crate::schema::TableType for $name {
            fn describe() -> $crate::schema::TableDescription {
                $crate::schema::TableDescription {
                    name: stringify!($name),
                    doc: $crate::schema::doc(&[$($doc),+]),
                    fields: vec![$(
                        $crate::schema::FieldDescription {
                            key: stringify!($key),
                            doc: $crate::schema::doc(&[$($meaning),+]),
                            kind: <$type as $crate::schema::Field>::KIND,
                            required: None $(.or(Some($example)))?,
                            default: None $(.or(Some($default)))?,
                        },
                    )+],
                }
            }

            fn read(
                mut table: $crate::reader::Table<'_>,
                reading: &mut $crate::reader::Reading,
            ) -> Self {
                $( $( table.require(reading, stringify!($key), $example); )? )+
                let content = $name { $(
                    $key: <$type as $crate::schema::Field>::read(
                        &mut table, reading, stringify!($key),
                    ),
                )+ };
                table.finish(reading);
                content
            }

            fn write(&self, out: &mut $crate::writer::Writer<'_>) {
                $( $crate::schema::Field::write(&self.$key, out, stringify!($key)); )+
            }
        }

        impl $crate::schema::Value for $name {
            const KIND: $crate::schema::Kind =
                $crate::schema::Kind::Table(<$name as $crate::schema::TableType>::describe);

            fn read(
                table: &mut $crate::reader::Table<'_>,
                reading: &mut $crate::reader::Reading,
                key: &'static str,
            ) -> Option<Self> {
                let table = table.table(reading, key)?;
                Some(<$name as $crate::schema::TableType>::read(table, reading))
            }

            fn write(&self, out: &mut $crate::writer::Writer<'_>, key: &'static str) {
                out.table(key, None, |out| $crate::schema::TableType::write(self, out));
            }
        }
    )+ };
}
pub(crate) use tables;
