//! `avpsctl platform new`.

use platform::Severity;

use super::super::Context;
use super::hand_out;
use super::questions::ask;
use crate::cli::{NewArgs, Template};
use crate::error::{Error, Result};

/// The templates are documents that ship, so they are checked and run like these.
fn template(template: Template) -> (&'static str, &'static str) {
    match template {
        Template::Single => (
            "single",
            include_str!("../../../../../configs/single.avps.toml"),
        ),
        Template::Cockpit => (
            "cockpit",
            include_str!("../../../../../configs/cockpit.avps.toml"),
        ),
        Template::DriverDomain => (
            "driver-domain",
            include_str!("../../../../../configs/driver-domain.avps.toml"),
        ),
        Template::Dom0lessSafety => (
            "dom0less-safety",
            include_str!("../../../../../configs/dom0less-safety.avps.toml"),
        ),
    }
}

pub(super) fn new(context: &Context, args: &NewArgs) -> Result<()> {
    let text = match args.template {
        Some(wanted) => {
            let (own, text) = template(wanted);
            match &args.name {
                Some(name) => text.replacen(
                    &format!("name = \"{own}\""),
                    &format!("name = {}", toml_text(name)),
                    1,
                ),
                None => text.to_owned(),
            }
        }
        None => ask(args.name.as_deref())?,
    };
    let findings = platform::analyse(&text, "/").findings;
    let mut errors = findings.iter();
    if let Some(error) = errors.find(|finding| finding.severity() == Severity::Error) {
        // Answers are checked as they are given; what is left is a name that is used twice, and the like.
        return Err(Error::Usage(format!(
            "{} ({})",
            error.message, error.rule.id
        )));
    }
    hand_out(context, args.output.as_deref(), &text)
}

/// A text in TOML's quotes.
fn toml_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
