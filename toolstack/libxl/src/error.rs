//! What can go wrong, told from the caller's side, with libxl's own words kept.

use crate::api::Code;

/// The result of this crate's calls.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No release of libxl that this program knows could be loaded.
    #[error(
        "Xen's domain library was not found: looked for {}. Install the one of the running Xen \
         release (Debian: libxenmisc4.20, or libxenmisc4.17); this program knows no others.{}",
        sonames(tried),
        reasons(tried)
    )]
    NoLibrary {
        /// Soname and why it could not be used, newest release first.
        tried: Vec<(String, String)>,
    },

    /// The running hypervisor is of another release than the libraries that are there.
    #[error(
        "the running hypervisor is Xen {running}, but libxl is installed for {}: libxl only works \
         with the hypervisor of its own release, so install the tools of Xen {running}",
        .installed.join(" and ")
    )]
    OtherRelease {
        /// Release of the hypervisor, as in "4.20".
        running: String,
        /// Releases of the loadable libraries.
        installed: Vec<String>,
    },

    /// There is no hypervisor below, or its interface is not there.
    #[error(
        "this is not a Xen dom0: /dev/xen/privcmd cannot be opened ({reason}). Run this in dom0, \
         with the kernel's privcmd driver loaded{}",
        said(messages)
    )]
    NotOnXen {
        /// What opening it gave.
        reason: String,
        /// What libxl said.
        messages: Vec<String>,
    },

    /// The caller, or this domain, may not manage domains.
    #[error("managing domains needs root in dom0: {reason}{}", said(messages))]
    Permission {
        /// What was refused.
        reason: String,
        /// What libxl said.
        messages: Vec<String>,
    },

    /// Xen is there but XenStore does not answer.
    #[error(
        "XenStore cannot be reached, though Xen is running: is xenstored started?{}",
        said(messages)
    )]
    NoXenStore {
        /// What libxl, or our own XenStore client, said.
        messages: Vec<String>,
    },

    /// There is no domain of this number.
    #[error("there is no domain {domid}")]
    NoDomain {
        /// The number asked for.
        domid: u32,
    },

    /// The configuration cannot be expressed for libxl.
    #[error("the domain's configuration cannot be given to libxl: {0}")]
    Invalid(String),

    /// The configuration asks for something that the loaded release does not know.
    #[error(
        "libxl of Xen {release} does not know {}: this needs a newer Xen release, or must be left \
         out", keys.join(", ")
    )]
    Unsupported {
        /// Loaded release.
        release: String,
        /// Paths of the unknown configuration keys in libxl's JSON.
        keys: Vec<String>,
    },

    /// libxl could not do it.
    #[error("could not {what}: libxl says {code}{}", said(messages))]
    Failed {
        /// What was to be done, as in "create domain \"cluster\"".
        what: String,
        /// libxl's error code, by name where it has one.
        code: String,
        /// libxl's warnings and errors during the call, oldest first.
        messages: Vec<String>,
    },

    /// libxl answered something that is not its own documented form.
    #[error("libxl answered in a form that is not its own: {0}")]
    Foreign(String),

    /// The operating system refused a resource this crate needs.
    #[error("could not {what}: {source}")]
    System {
        /// What was to be done.
        what: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl Error {
    /// libxl's warnings and errors that belong to this one, oldest first.
    #[must_use]
    pub fn messages(&self) -> &[String] {
        match self {
            Self::NotOnXen { messages, .. }
            | Self::Permission { messages, .. }
            | Self::NoXenStore { messages }
            | Self::Failed { messages, .. } => messages,
            _ => &[],
        }
    }

    pub(crate) fn failed(what: &str, code: Code, messages: Vec<String>) -> Self {
        Self::Failed {
            what: what.to_owned(),
            code: code.to_string(),
            messages,
        }
    }
}

fn sonames(tried: &[(String, String)]) -> String {
    let names: Vec<&str> = tried.iter().map(|(soname, _)| soname.as_str()).collect();
    names.join(" and ")
}

fn reasons(tried: &[(String, String)]) -> String {
    let mut text = String::new();
    for (_, reason) in tried {
        text.push_str("\n  loader: ");
        text.push_str(reason);
    }
    text
}

fn said(messages: &[String]) -> String {
    let mut text = String::new();
    for message in messages {
        text.push_str("\n  ");
        text.push_str(message);
    }
    text
}
