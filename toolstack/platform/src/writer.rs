//! Writes a document's tables as TOML, in the order in which they are declared.
//!
//! What is left out in the tables is left out in the text. Comments may be put above any table or key, by its document path.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::units::{Address, ByteSize, Date, Numbers, Texts, TimeSpan, XenVersion, ranges};

/// Document path (`domain[0]`, `domain[0].memory`) → lines that are written above it.
pub type Comments = BTreeMap<String, Vec<String>>;

/// A table being written.
pub(crate) struct Writer<'a> {
    comments: &'a Comments,
    /// Document path.
    path: String,
    /// The same without indices, as in a header.
    header: String,
    keys: String,
    tables: String,
}

impl<'a> Writer<'a> {
    pub(crate) fn root(comments: &'a Comments) -> Self {
        Writer {
            comments,
            path: String::new(),
            header: String::new(),
            keys: String::new(),
            tables: String::new(),
        }
    }

    fn inner(&self, key: &str, index: Option<usize>) -> Writer<'a> {
        let join = |outer: &str| match outer {
            "" => key.to_owned(),
            outer => format!("{outer}.{key}"),
        };
        let index = index.map(|index| format!("[{index}]")).unwrap_or_default();
        Writer {
            comments: self.comments,
            path: format!("{}{index}", join(&self.path)),
            header: join(&self.header),
            keys: String::new(),
            tables: String::new(),
        }
    }

    fn comments(&self, path: &str) -> String {
        let lines = self.comments.get(path).into_iter().flatten();
        let mut out = String::new();
        for line in lines.flat_map(|text| text.lines()) {
            // A comment must not end early, and TOML allows no control characters in it.
            let _ = writeln!(out, "{}", format!("# {}", printable::line(line)).trim_end());
        }
        out
    }

    /// A key with its value, in TOML.
    pub(crate) fn key(&mut self, key: &str, value: &str) {
        let comments = self.comments(&self.inner(key, None).path);
        let _ = writeln!(self.keys, "{comments}{key} = {value}");
    }

    /// A table; one of several where `index` is given.
    pub(crate) fn table(
        &mut self,
        key: &str,
        index: Option<usize>,
        write: impl FnOnce(&mut Writer<'_>),
    ) {
        let mut inner = self.inner(key, index);
        write(&mut inner);
        let (open, close) = match index {
            Some(_) => ("[[", "]]"),
            None => ("[", "]"),
        };
        let comments = self.comments(&inner.path);
        let _ = write!(
            self.tables,
            "\n{comments}{open}{}{close}\n{}{}",
            inner.header, inner.keys, inner.tables
        );
    }

    /// The text, with the comments of the document as a whole above it.
    pub(crate) fn finish(self) -> String {
        format!("{}{}{}", self.comments(""), self.keys, self.tables)
    }
}

/// A text in quotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if printable::is_control(c) => {
                let _ = match u32::from(c) {
                    number @ ..=0xffff => write!(out, "\\u{number:04X}"),
                    number => write!(out, "\\U{number:08X}"),
                };
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// How a value is written.
pub(crate) trait Written {
    fn toml(&self) -> String;
}

impl Written for String {
    fn toml(&self) -> String {
        quoted(self)
    }
}

impl Written for Texts {
    fn toml(&self) -> String {
        let texts: Vec<_> = self.0.iter().map(|text| quoted(text)).collect();
        format!("[{}]", texts.join(", "))
    }
}

impl Written for Numbers {
    fn toml(&self) -> String {
        let text = ranges(&self.0);
        let ascending = text.parse().is_ok_and(|numbers: Numbers| numbers == *self);
        match ascending && self.0.len() > 2 {
            true => quoted(&text),
            false => format!("{:?}", self.0),
        }
    }
}

macro_rules! written {
    ($($type:ty as $shown:ident),+ $(,)?) => { $(
        impl Written for $type {
            fn toml(&self) -> String {
                written!(@ $shown self)
            }
        }
    )+ };
    (@ text $value:ident) => { quoted(&$value.to_string()) };
    (@ bare $value:ident) => { $value.to_string() };
}

written! {
    bool as bare,
    u64 as bare,
    Address as bare,
    Date as bare,
    ByteSize as text,
    TimeSpan as text,
    XenVersion as text,
}
