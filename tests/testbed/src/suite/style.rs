//! Colours, where there is a terminal that wants them.

use std::io::IsTerminal;

/// How results are set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    colours: bool,
}

impl Style {
    /// For standard output.
    pub(super) fn stdout() -> Self {
        Self {
            colours: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// Good.
    pub(super) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Bad.
    pub(super) fn bad(self, text: &str) -> String {
        self.paint("31;1", text)
    }

    /// To be looked at.
    pub(super) fn warn(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// A heading.
    pub(super) fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// An aside.
    pub(super) fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
