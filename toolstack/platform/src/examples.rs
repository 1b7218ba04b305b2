//! Examples for rules: the fixtures, as they were when this program was built.

mod table {
    include!(concat!(env!("OUT_DIR"), "/examples.rs"));
}

/// Documents that show a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example {
    /// One that breaks it, and no other.
    pub bad: Option<&'static str>,
    /// The same, corrected.
    pub good: Option<&'static str>,
}

/// The examples for the rule with this id.
pub fn example(id: &str) -> Example {
    let find = |table: &[(&str, &'static str)]| {
        let mut table = table.iter();
        table.find(|(rule, _)| *rule == id).map(|(_, text)| *text)
    };
    Example {
        bad: find(table::BAD),
        good: find(table::GOOD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_show_what_they_say() {
        for (id, text) in table::BAD {
            let findings = crate::analyse(text, "/base").findings;
            assert!(
                findings.iter().any(|finding| finding.rule.id == *id),
                "{id}"
            );
        }
        for (id, text) in table::GOOD {
            let findings = crate::analyse(text, "/base").findings;
            assert!(
                findings.iter().all(|finding| finding.rule.id != *id),
                "{id}"
            );
        }
    }
}
