//! The language of xl.cfg, as Xen's own parser reads it (Xen: tools/libs/util/libxlu_cfg_l.l, libxlu_cfg_y.y, libxlu_cfg.c).
//!
//! Statements end with a line or a semicolon; a value is a number, a text in either kind of quotes with C's escapes, or a list of
//! values, which may go on over lines. There are no other continuations, and no expressions.

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number or a text: xl does not tell them apart.
    Text(String),
    /// A list.
    List(Vec<Value>),
}

impl Value {
    /// The value in xl's language.
    pub fn source(&self) -> String {
        match self {
            Value::Text(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
                text.clone()
            }
            Value::Text(text) => crate::writer::quoted(text),
            Value::List(values) => {
                let values: Vec<_> = values.iter().map(Value::source).collect();
                format!("[{}]", values.join(", "))
            }
        }
    }
}

/// `key = value`, or `key += value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Value,
    /// Whether it is added to what the key has.
    pub add: bool,
    /// Line, from 1.
    pub line: usize,
}

/// Why a text is no xl configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct XlSyntax {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Lists inside of lists, at most: xl's own configurations have two.
const DEEPEST: usize = 16;

/// Reads a configuration.
///
/// # Errors
/// [`XlSyntax`] where Xen's parser would refuse it too.
pub fn parse(text: &str) -> Result<Vec<Assignment>, XlSyntax> {
    let mut parser = Parser {
        text,
        at: 0,
        line: 1,
    };
    let mut assignments = Vec::new();
    loop {
        parser.blanks();
        match parser.peek() {
            None => return Ok(assignments),
            Some('\n' | ';') => parser.next(),
            Some(_) => {
                assignments.push(parser.assignment()?);
                parser.blanks();
                if !matches!(parser.peek(), None | Some('\n' | ';')) {
                    return Err(parser.error("something follows behind the value"));
                }
                None
            }
        };
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, message: impl Into<String>) -> XlSyntax {
        XlSyntax {
            line: self.line,
            message: message.into(),
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    /// Blanks and a comment, up to the end of the line.
    fn blanks(&mut self) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\r' => {
                    self.next();
                }
                '#' => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.next();
                    }
                }
                _ => return,
            }
        }
    }

    /// The same over line ends, inside of a list.
    fn space(&mut self) {
        self.blanks();
        while self.peek() == Some('\n') {
            self.next();
            self.blanks();
        }
    }

    fn word(&mut self, fits: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek().is_some_and(&fits) {
            self.next();
        }
        self.text.get(start..self.at).unwrap_or_default().to_owned()
    }

    fn assignment(&mut self) -> Result<Assignment, XlSyntax> {
        let line = self.line;
        let key = self.word(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c));
        if !key.starts_with(|c: char| c.is_ascii_lowercase()) {
            let found = self.peek().map(String::from).unwrap_or_default();
            return Err(self.error(format!("a key is expected, not \"{key}{found}\"")));
        }
        self.blanks();
        let add = self.rest().starts_with("+=");
        if add {
            self.next();
        }
        if self.next() != Some('=') {
            return Err(self.error(format!("\"=\" is expected behind \"{key}\"")));
        }
        self.blanks();
        let value = self.value(0)?;
        Ok(Assignment {
            key,
            value,
            add,
            line,
        })
    }

    fn value(&mut self, depth: usize) -> Result<Value, XlSyntax> {
        match self.peek() {
            Some('[') if depth < DEEPEST => self.list(depth),
            Some('[') => Err(self.error("too many lists inside of lists")),
            Some(quote @ ('"' | '\'')) => self.string(quote),
            Some(c) if c.is_ascii_digit() => {
                let fits = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c) || c == 'x';
                Ok(Value::Text(self.word(fits)))
            }
            _ => Err(self
                .error("a number, a text in quotes or a list is expected (xl has no expressions)")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, XlSyntax> {
        self.next();
        let mut values = Vec::new();
        loop {
            self.space();
            match self.peek() {
                Some(']') => {
                    self.next();
                    return Ok(Value::List(values));
                }
                None => return Err(self.error("the list has no \"]\"")),
                Some(_) => values.push(self.value(depth + 1)?),
            }
            self.space();
            match self.peek() {
                Some(',') => {
                    self.next();
                }
                Some(']') => {}
                _ => return Err(self.error("\",\" or \"]\" is expected in the list")),
            }
        }
    }

    fn string(&mut self, quote: char) -> Result<Value, XlSyntax> {
        self.next();
        let mut text = String::new();
        loop {
            match self.peek() {
                None | Some('\n') => return Err(self.error("the text has no closing quote")),
                Some('\\') => {
                    self.next();
                    text.push(self.escape()?);
                }
                Some(c) => {
                    self.next();
                    if c == quote {
                        return Ok(Value::Text(text));
                    }
                    text.push(c);
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, XlSyntax> {
        Ok(match self.next() {
            Some(c @ ('"' | '\'' | '\\')) => c,
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            // Numeric escapes: Xen's parser reads them wrong (the first hexadecimal digit is skipped, octal ones are
            // taken as decimal), so nobody can have meant what comes out.
            Some(c) => return Err(self.error(format!("\"\\{c}\" in a text is not supported"))),
            None => return Err(self.error("the text has no closing quote")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn every_form_of_value_is_read() {
        let parsed = parse(
            "# comment\nname = \"a\" ; memory=0x80\nextra = 'b \"c\" # no comment' # comment\n\n\
             disk = [ 'x',\n  # inside\n \"y\\\"\\\\\",\n]\nlist += [['n', 1], []]\r\n",
        )
        .expect("valid");
        let seen: Vec<_> = parsed
            .iter()
            .map(|a| (a.key.as_str(), a.line, a.add))
            .collect();
        assert_eq!(
            seen,
            [
                ("name", 2, false),
                ("memory", 2, false),
                ("extra", 3, false),
                ("disk", 5, false),
                ("list", 9, true)
            ]
        );
        assert_eq!(parsed[1].value, text("0x80"));
        assert_eq!(parsed[2].value, text("b \"c\" # no comment"));
        assert_eq!(parsed[3].value, Value::List(vec![text("x"), text("y\"\\")]));
        let inner = Value::List(vec![text("n"), text("1")]);
        assert_eq!(
            parsed[4].value,
            Value::List(vec![inner, Value::List(vec![])])
        );
        assert_eq!(parsed[4].value.source(), "[[\"n\", 1], []]");
    }

    #[test]
    fn what_xen_refuses_is_refused_with_its_line() {
        for (wrong, line) in [
            ("name = \n", 1),
            ("a = 1\nName = 'x'\n", 2),
            ("a = 'x\n'", 1),
            ("a = [1,\n2", 2),
            ("a = [1 2]", 1),
            ("a = 1 2", 1),
            ("a = None", 1),
            ("a = '\\q'", 1),
            ("a = '\\x41'", 1),
            ("import os", 1),
        ] {
            assert_eq!(parse(wrong).expect_err(wrong).line, line, "{wrong}");
        }
        assert!(parse(&format!("a={}", "[".repeat(100_000))).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(?s)([a-z=+\\[\\]'\"\\\\#;,\n 0-9]|.){0,60}") {
            let _ = parse(&text);
        }
    }
}
