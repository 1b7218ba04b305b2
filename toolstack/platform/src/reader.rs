//! Reads TOML tables into typed values, collecting findings instead of stopping at the first.
//!
//! Each key that is asked for becomes a known key of its table; [`Table::finish`] reports every
//! other one. The place of every value is remembered, so that later steps can point at it.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::finding::{Finding, Span, SpanMap};
use crate::rules;
use crate::schema::{Kind, Value};
use crate::units::{Address, ByteSize, Date, MAX_LISTED, Numbers, Texts, TimeSpan, XenVersion};
use crate::writer::{Writer, Written};

/// What has been found while reading.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) findings: Vec<Finding>,
    pub(crate) spans: SpanMap,
}

impl Reading {
    fn report(&mut self, finding: Finding, span: Span) {
        self.findings.push(finding.span(span));
    }
}

/// A table being read.
pub(crate) struct Table<'a> {
    table: &'a DeTable<'a>,
    span: Span,
    path: String,
    known: BTreeSet<&'static str>,
}

impl<'a> Table<'a> {
    /// The document itself.
    pub(crate) fn root(table: &'a Spanned<DeTable<'a>>) -> Self {
        Table {
            table: table.get_ref(),
            span: 0..0,
            path: String::new(),
            known: BTreeSet::new(),
        }
    }

    /// Document path of a key of this table.
    pub(crate) fn at(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn get(
        &mut self,
        reading: &mut Reading,
        key: &'static str,
    ) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.insert(key);
        let value = self.table.get(key)?;
        reading.spans.insert(self.at(key), value.span());
        Some(value)
    }

    fn wrong_type(
        &self,
        reading: &mut Reading,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        wanted: &str,
    ) {
        let found = value.get_ref().type_str();
        let article = if found.starts_with(['a', 'i']) {
            "an"
        } else {
            "a"
        };
        reading.report(
            Finding::new(
                &rules::WRONG_TYPE,
                self.at(key),
                format!("\"{key}\" is {wanted}, not {article} {found}"),
            )
            .label(format!("this is {article} {found}"))
            .help(format!("write {wanted} here")),
            value.span(),
        );
    }

    /// A text.
    pub(crate) fn string(&mut self, reading: &mut Reading, key: &'static str) -> Option<String> {
        let value = self.get(reading, key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(reading, key, value, "a text in quotes");
        }
        text.map(str::to_owned)
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, reading: &mut Reading, key: &'static str) -> Option<bool> {
        let value = self.get(reading, key)?;
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            self.wrong_type(reading, key, value, "true or false");
        }
        boolean
    }

    /// A whole number from 0 on.
    pub(crate) fn number(&mut self, reading: &mut Reading, key: &'static str) -> Option<u64> {
        let value = self.get(reading, key)?;
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong_type(reading, key, value, "a whole number");
            return None;
        };
        let number = unsigned(integer);
        if number.is_none() {
            let finding = Finding::new(
                &rules::WRONG_TYPE,
                self.at(key),
                format!("\"{key}\" is a whole number from 0 on, and {integer} is not"),
            )
            .label("out of range");
            reading.report(finding, value.span());
        }
        number
    }

    /// A size with its unit.
    pub(crate) fn size(&mut self, reading: &mut Reading, key: &'static str) -> Option<ByteSize> {
        let value = self.get(reading, key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(
                reading,
                key,
                value,
                "a size in quotes, for example \"128MiB\",",
            );
            return None;
        };
        match text.parse() {
            Ok(size) => Some(size),
            Err(error) => {
                let finding = Finding::new(
                    &rules::SIZE,
                    self.at(key),
                    format!("\"{text}\" is not a size"),
                )
                .label(error.to_string());
                reading.report(finding, value.span());
                None
            }
        }
    }

    /// One of a closed list of words.
    pub(crate) fn word<T: Copy>(
        &mut self,
        reading: &mut Reading,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let value = self.get(reading, key)?;
        let list = words
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect::<Vec<_>>()
            .join(", ");
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(reading, key, value, &format!("one of the words {list}"));
            return None;
        };
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let finding = Finding::new(
                &rules::UNKNOWN_WORD,
                self.at(key),
                format!("\"{text}\" is not a possible value of \"{key}\""),
            )
            .label("not one of the possible words")
            .help(format!(
                "{}use one of {list}",
                similar(text, words.iter().map(|(word, _)| *word))
                    .map(|word| format!("did you mean \"{word}\"? Otherwise "))
                    .unwrap_or_default()
            ));
            reading.report(finding, value.span());
        }
        found.map(|(_, meaning)| *meaning)
    }

    /// A physical address.
    pub(crate) fn address(&mut self, reading: &mut Reading, key: &'static str) -> Option<Address> {
        self.number(reading, key).map(Address)
    }

    /// A release of Xen.
    pub(crate) fn version(
        &mut self,
        reading: &mut Reading,
        key: &'static str,
    ) -> Option<XenVersion> {
        let value = self.get(reading, key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(
                reading,
                key,
                value,
                "a release in quotes, for example \"4.20\",",
            );
            return None;
        };
        let version = text.parse();
        version
            .map_err(|error: &str| self.unreadable(reading, key, value, text, error))
            .ok()
    }

    /// A span of time with its unit.
    pub(crate) fn time_span(
        &mut self,
        reading: &mut Reading,
        key: &'static str,
    ) -> Option<TimeSpan> {
        const WANTED: &str = "a span of time in quotes, for example \"10ms\",";
        let value = self.get(reading, key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(reading, key, value, WANTED);
            return None;
        };
        let span = text.parse();
        span.map_err(|error: &str| self.unreadable(reading, key, value, text, error))
            .ok()
    }

    /// Numbers, as a list or as a text with ranges.
    pub(crate) fn numbers(&mut self, reading: &mut Reading, key: &'static str) -> Option<Numbers> {
        const WANTED: &str = "a list of whole numbers, [0, 1] or \"0-3,6\",";
        let value = self.get(reading, key)?;
        if let Some(text) = value.get_ref().as_str() {
            let numbers = text.parse();
            return numbers
                .map_err(|error: String| self.unreadable(reading, key, value, text, &error))
                .ok();
        }
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(reading, key, value, WANTED);
            return None;
        };
        let mut numbers = Vec::new();
        for element in array {
            let number = element.get_ref().as_integer().and_then(unsigned);
            match number.and_then(|number| u32::try_from(number).ok()) {
                Some(number) if number <= MAX_LISTED => numbers.push(number),
                _ => {
                    self.wrong_type(reading, key, element, WANTED);
                    return None;
                }
            }
        }
        Some(Numbers(numbers))
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, reading: &mut Reading, key: &'static str) -> Option<Texts> {
        const WANTED: &str = "a list of texts, [\"a\", \"b\"],";
        let value = self.get(reading, key)?;
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(reading, key, value, WANTED);
            return None;
        };
        let mut texts = Vec::new();
        for (index, element) in array.iter().enumerate() {
            let at = format!("{}[{index}]", self.at(key));
            reading.spans.insert(at, element.span());
            match element.get_ref().as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => {
                    self.wrong_type(reading, key, element, WANTED);
                    return None;
                }
            }
        }
        Some(Texts(texts))
    }

    /// A day, not in quotes.
    pub(crate) fn date(&mut self, reading: &mut Reading, key: &'static str) -> Option<Date> {
        const WANTED: &str = "a date without quotes, for example 2027-06-30,";
        let value = self.get(reading, key)?;
        let DeValue::Datetime(datetime) = value.get_ref() else {
            self.wrong_type(reading, key, value, WANTED);
            return None;
        };
        let date = datetime.date.map(|date| Date {
            year: date.year,
            month: date.month,
            day: date.day,
        });
        if date.is_none() || datetime.time.is_some() {
            self.wrong_type(reading, key, value, WANTED);
            return None;
        }
        date
    }

    fn unreadable(
        &self,
        reading: &mut Reading,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        text: &str,
        error: &str,
    ) {
        let finding = Finding::new(
            &rules::UNREADABLE,
            self.at(key),
            format!("\"{text}\" cannot be read as \"{key}\""),
        )
        .label(error.to_owned());
        reading.report(finding, value.span());
    }

    /// A table inside this one.
    pub(crate) fn table(&mut self, reading: &mut Reading, key: &'static str) -> Option<Table<'a>> {
        let value = self.get(reading, key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(reading, key, value, &format!("a table, written [{key}],"));
        }
        Some(Table {
            table: table?,
            span: value.span(),
            path: self.at(key),
            known: BTreeSet::new(),
        })
    }

    /// The tables of an array of tables; none when the key is absent.
    pub(crate) fn tables(&mut self, reading: &mut Reading, key: &'static str) -> Vec<Table<'a>> {
        let Some(value) = self.get(reading, key) else {
            return Vec::new();
        };
        let wanted = format!(
            "a list of tables, each written [[{}]],",
            header(&self.at(key))
        );
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(reading, key, value, &wanted);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, element) in array.iter().enumerate() {
            let path = format!("{}[{index}]", self.at(key));
            reading.spans.insert(path.clone(), element.span());
            match element.get_ref().as_table() {
                Some(table) => tables.push(Table {
                    table,
                    span: element.span(),
                    path,
                    known: BTreeSet::new(),
                }),
                None => self.wrong_type(reading, key, element, &wanted),
            }
        }
        tables
    }

    /// Reports a key that has to be there. `example` is a line somebody could paste.
    pub(crate) fn require(&self, reading: &mut Reading, key: &'static str, example: &str) {
        if self.table.contains_key(key) {
            return;
        }
        let header = header(&self.path);
        let place = match self.path.as_bytes().last() {
            None => "the document".to_owned(),
            Some(b']') => format!("this [[{header}]]"),
            Some(_) => format!("[{header}]"),
        };
        let finding = Finding::new(
            &rules::MISSING_KEY,
            self.at(key),
            format!("{place} has no \"{key}\""),
        )
        .label(format!("\"{key}\" is missing here"))
        .help(format!("add a line such as: {example}"));
        reading.report(finding, self.span.clone());
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn finish(self, reading: &mut Reading) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if self.known.contains(name) {
                continue;
            }
            let help = match similar(name, self.known.iter().copied()) {
                Some(known) => format!("did you mean \"{known}\"?"),
                None => format!(
                    "known here: {}",
                    self.known.iter().copied().collect::<Vec<_>>().join(", ")
                ),
            };
            let finding = Finding::new(
                &rules::UNKNOWN_KEY,
                self.at(name),
                format!("unknown key \"{name}\""),
            )
            .label("not known here")
            .help(help);
            reading.report(finding, key.span());
        }
    }
}

macro_rules! values {
    ($($type:ty = $kind:ident by $method:ident;)+) => { $(
        impl Value for $type {
            const KIND: Kind = Kind::$kind;

            fn read(
                table: &mut Table<'_>,
                reading: &mut Reading,
                key: &'static str,
            ) -> Option<Self> {
                table.$method(reading, key)
            }

            fn write(&self, out: &mut Writer<'_>, key: &'static str) {
                out.key(key, &Written::toml(self));
            }
        }
    )+ };
}

values! {
    String = Text by string;
    bool = Boolean by boolean;
    u64 = Number by number;
    ByteSize = Size by size;
    Address = Address by address;
    TimeSpan = TimeSpan by time_span;
    Date = Date by date;
    XenVersion = Version by version;
    Numbers = Numbers by numbers;
    Texts = Texts by texts;
}

/// The header a table has in TOML: its document path without indices.
fn header(path: &str) -> String {
    let mut header = String::new();
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            c if !inside => header.push(c),
            _ => {}
        }
    }
    header
}

fn unsigned(integer: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// The candidate that is most like `text`, if one is like it at all.
pub(crate) fn similar<'a>(
    text: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    // A comparison costs the product of the lengths; nobody mistypes a word by this much.
    if text.len() > 64 {
        return None;
    }
    let folded = text.to_lowercase().replace('-', "_");
    candidates
        .map(|candidate| (strsim::jaro_winkler(&folded, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
