//! What is said when some domains of a document were not started.

use super::{Error, Exit};

/// A domain that was not started.
#[derive(Debug)]
pub struct NotStarted {
    /// Its name.
    pub name: String,
    /// Why.
    pub cause: Error,
}

impl Error {
    /// Domains that were not started, beside those that run. When nothing runs and one cause explains everything, it is that
    /// cause.
    pub fn not_started(mut failed: Vec<NotStarted>, running: Vec<String>) -> Error {
        if running.is_empty() {
            let own = |one: &NotStarted| !matches!(one.cause, Error::WaitsFor { .. });
            if failed.iter().filter(|one| own(one)).count() == 1
                && let Some(at) = failed.iter().position(own)
            {
                return failed.swap_remove(at).cause;
            }
            if failed.iter().all(is_interrupted) {
                return Error::Interrupted;
            }
        }
        Error::NotStarted { failed, running }
    }
}

fn is_interrupted(one: &NotStarted) -> bool {
    matches!(one.cause, Error::Interrupted)
}

/// The exit code: that of the first cause as long as nothing runs and nothing remains.
pub(super) fn exit(failed: &[NotStarted], running: &[String]) -> Exit {
    if let Some(one) = failed.iter().find(|one| is_interrupted(one)) {
        return one.cause.exit();
    }
    let partly = |one: &NotStarted| one.cause.exit() == Exit::Partly;
    match failed.first() {
        Some(one) if running.is_empty() && !failed.iter().any(partly) => one.cause.exit(),
        _ => Exit::Partly,
    }
}

/// Domains with the reasons.
pub(super) fn told(failed: &[NotStarted]) -> String {
    let told = failed
        .iter()
        .map(|one| format!("{} ({})", one.name, one.cause));
    told.collect::<Vec<_>>().join(", ")
}

/// Domains that run.
pub(super) fn names(names: &[String]) -> String {
    match names.is_empty() {
        true => "none of this document".to_owned(),
        false => names.join(", "),
    }
}
