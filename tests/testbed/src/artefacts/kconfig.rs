//! Kernel-style configuration files: merging options into one, and checking that they took.

/// Options of a configuration text: name (with `CONFIG_`) and value; `n` for "is not set".
pub(crate) fn options(text: &str) -> Vec<(String, String)> {
    let parse = |line: &str| -> Option<(String, String)> {
        let line = line.trim();
        if let Some(unset) = line
            .strip_prefix("# CONFIG_")
            .and_then(|rest| rest.strip_suffix(" is not set"))
        {
            return Some((format!("CONFIG_{unset}"), "n".to_owned()));
        }
        let (name, value) = line.split_once('=')?;
        name.starts_with("CONFIG_")
            .then(|| (name.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(parse).collect()
}

/// `base` with every option of `wanted` in place of its own.
pub(crate) fn merge(base: &str, wanted: &str) -> String {
    let overrides = options(wanted);
    let mut text = String::new();
    for line in base.lines() {
        let replaced = options(line)
            .first()
            .is_some_and(|(name, _)| overrides.iter().any(|(other, _)| other == name));
        if !replaced {
            text.push_str(line);
            text.push('\n');
        }
    }
    for (name, value) in overrides {
        if value == "n" {
            text.push_str(&format!("# {name} is not set\n"));
        } else {
            text.push_str(&format!("{name}={value}\n"));
        }
    }
    text
}

/// Options of `wanted` that the finished configuration does not have, as `NAME (wanted y, is n)`.
pub(crate) fn not_taken(wanted: &str, finished: &str) -> Vec<String> {
    let finished = options(finished);
    let is = |name: &str| {
        finished
            .iter()
            .rev()
            .find(|(other, _)| other == name)
            .map_or("n", |(_, value)| value.as_str())
    };
    options(wanted)
        .into_iter()
        .filter(|(name, value)| is(name) != value)
        .map(|(name, value)| format!("{name} (wanted {value}, is {})", is(&name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{merge, not_taken};

    const BASE: &str =
        "# Title\nCONFIG_ARM=y\n# CONFIG_EXPERT is not set\nCONFIG_ARGO_OTHER=y\nCONFIG_DEBUG=y\n";
    const WANTED: &str = "# why\nCONFIG_EXPERT=y\nCONFIG_ARGO=y\n# CONFIG_DEBUG is not set\n";

    #[test]
    fn wanted_options_replace_and_the_rest_stays() {
        let merged = merge(BASE, WANTED);
        assert_eq!(
            merged,
            "# Title\nCONFIG_ARM=y\nCONFIG_ARGO_OTHER=y\nCONFIG_EXPERT=y\nCONFIG_ARGO=y\n# CONFIG_DEBUG is not set\n"
        );
        assert!(not_taken(WANTED, &merged).is_empty());
    }

    #[test]
    fn an_option_that_did_not_take_is_named() {
        assert_eq!(
            not_taken(WANTED, "CONFIG_EXPERT=y\nCONFIG_DEBUG=y\n"),
            [
                "CONFIG_ARGO (wanted y, is n)",
                "CONFIG_DEBUG (wanted n, is y)"
            ]
        );
    }
}
