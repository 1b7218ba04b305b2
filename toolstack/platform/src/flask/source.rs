//! The policy's text, in the language of checkpolicy.

use std::fmt::Write;

use super::rules::devices_of;
use super::{MODULES, Policy};

impl Policy {
    /// The text, read behind [`MODULES`] of the reference policy.
    pub fn source(&self) -> String {
        let mut out = format!(
            "# FLASK policy of platform \"{}\", written by avpsctl emit flask. It stands on top of Xen's reference\n\
             # policy: read it behind the modules {}.\n",
            self.platform,
            MODULES.join(", ")
        );
        for (domain, of_type) in &self.types {
            let _ = write!(
                out,
                "\n# Domain \"{domain}\", and its ends of event channels.\n\
                 type {of_type}, domain_type;\n\
                 type {of_type}_channel, event_type;\n\
                 type_transition {of_type} domain_type:event {of_type}_channel;\n"
            );
            let devices = devices_of(of_type);
            if self.labels.iter().any(|label| label.of_type == devices) {
                let _ = writeln!(out, "type {devices}, resource_type;");
            }
        }
        let mut before = None;
        for rule in &self.rules {
            let reason = (&rule.domain, rule.need);
            if before != Some(reason) {
                let _ = write!(
                    out,
                    "\n# Domain \"{}\": so that {}.\n",
                    rule.domain,
                    rule.need.words()
                );
            }
            let _ = writeln!(out, "{rule}");
            before = Some(reason);
        }
        out
    }

    /// The labels' text, read behind everything else of the reference policy; none where no domain has devices.
    pub fn contexts(&self) -> Option<String> {
        if self.labels.is_empty() {
            return None;
        }
        let mut out = format!(
            "# Labels of the machine's parts for the FLASK policy of platform \"{}\", written by avpsctl emit flask.\n",
            self.platform
        );
        for label in &self.labels {
            let _ = writeln!(out, "{label}");
        }
        Some(out)
    }
}
