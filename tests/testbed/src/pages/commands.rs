//! Commands in pages: where each block of them runs, and how its output is compared.
//!
//! | info string | what happens |
//! |---|---|
//! | `sh run` | bash runs it on this host, with the workspace's programs, in a scratch folder that has `configs` |
//! | `sh run-in-dom0` | the shell of the bed's dom0 runs it, in `/etc/avps` with the documents of `configs` |
//! | `sh run-in-tee` | the same where dom0 has an OP-TEE |
//! | `sh run-in-bed` | `cargo xtask` runs it |
//! | `sh not run: REASON` | nobody runs it; the gate prints how many there are |
//!
//! The blocks of a page run one after the other in one place. `fails` at the end means that the last command ends with code 1.
//! A `text output` block below shows what is printed. Numbers and times may differ; a line `…` stands for any lines.

use super::{Fence, Kind, Page};

/// Where a block of commands runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On this host.
    Host,
    /// In the bed's dom0.
    Dom0,
    /// In a dom0 with OP-TEE.
    Tee,
    /// By `cargo xtask`.
    Bed,
    /// Nowhere.
    Nowhere,
}

/// A block of commands.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// Page and line.
    pub(crate) at: String,
    /// The page.
    pub(crate) page: &'static str,
    /// Where it runs.
    pub(crate) place: Place,
    /// Whether its last command is to end with code 1.
    pub(crate) fails: bool,
    /// Why it does not run.
    pub(crate) reason: Option<String>,
    /// The commands.
    pub(crate) text: String,
    /// What the page says that they print.
    pub(crate) output: Option<String>,
}

/// All blocks of commands, in the order of the pages.
pub(crate) fn scripts(pages: &[Page]) -> Result<Vec<Script>, String> {
    let mut scripts: Vec<Script> = Vec::new();
    for page in pages {
        // Whether the last block was one of commands.
        let mut after_commands = false;
        for block in &page.blocks {
            let Kind::Fence(fence) = &block.kind else {
                after_commands = false;
                continue;
            };
            let at = format!("{}:{}", page.name, block.line);
            match fence.language.as_str() {
                "sh" => {
                    let (place, fails, reason) = place(fence).ok_or_else(|| {
                        format!("{at}: say where these commands run, or why they do not: {fence:?}")
                    })?;
                    scripts.push(Script {
                        at,
                        page: page.name,
                        place,
                        fails,
                        reason,
                        text: block.text.clone(),
                        output: None,
                    });
                    after_commands = true;
                }
                "text" if fence.words == "output" => {
                    let of = scripts.last_mut().filter(|_| after_commands);
                    let of = of.ok_or_else(|| format!("{at}: output without commands above it"))?;
                    of.output = Some(block.text.clone());
                    after_commands = false;
                }
                "text" if fence.words.is_empty() => after_commands = false,
                "toml" if ["document", "part"].contains(&fence.words.as_str()) => {
                    after_commands = false;
                }
                _ => return Err(format!("{at}: such a block is not known: {fence:?}")),
            }
        }
    }
    Ok(scripts)
}

fn place(fence: &Fence) -> Option<(Place, bool, Option<String>)> {
    if let Some(reason) = fence.words.strip_prefix("not run: ") {
        let told = reason.split_whitespace().count() >= 3;
        return told.then(|| (Place::Nowhere, false, Some(reason.to_owned())));
    }
    let (place, rest) = fence.words.split_once(' ').unwrap_or((&fence.words, ""));
    let place = match place {
        "run" => Place::Host,
        "run-in-dom0" => Place::Dom0,
        "run-in-tee" => Place::Tee,
        "run-in-bed" => Place::Bed,
        _ => return None,
    };
    match rest {
        "" => Some((place, false, None)),
        "fails" => Some((place, true, None)),
        _ => None,
    }
}

impl Script {
    /// What differs between the page and what was printed.
    pub(crate) fn differs(&self, printed: &str) -> Option<String> {
        let output = self.output.as_deref()?;
        let (wanted, seen) = (shape(output), shape(printed));
        (!matches(&wanted, &seen)).then(|| {
            format!(
                "{}: the page shows\n{output}\nand this was printed\n{printed}",
                self.at
            )
        })
    }

    /// The commands of the project's programs in it, as words.
    #[cfg(test)]
    pub(crate) fn commands(&self) -> Vec<Vec<String>> {
        let joined = self.text.replace("\\\n", " ");
        joined.lines().filter_map(words).collect()
    }
}

/// Lines without what may differ from run to run: numbers, and the units of times.
fn shape(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| {
        let mut words: Vec<&str> = Vec::new();
        for word in line.split_whitespace() {
            let unit = ["µs", "ms", "s", "min", "h"].contains(&word);
            let number = word.chars().any(|c| c.is_ascii_digit());
            let after_number = words.last() == Some(&"#");
            match (number, unit && after_number) {
                (_, true) => {}
                (true, _) if after_number => {}
                (true, _) => words.push("#"),
                (false, false) => words.push(word),
            }
        }
        words.join(" ")
    });
    lines.filter(|line| !line.is_empty()).collect()
}

/// Whether all lines match; a line `…` matches any number of lines.
fn matches(wanted: &[String], seen: &[String]) -> bool {
    match wanted.split_first() {
        None => seen.is_empty(),
        Some((first, rest)) if first == "…" => {
            (0..=seen.len()).any(|skipped| matches(rest, &seen[skipped..]))
        }
        Some((first, rest)) => seen.first() == Some(first) && matches(rest, &seen[1..]),
    }
}

/// The words of a line that calls one of the project's programs: up to a comment, a pipe, a redirection or `&`.
#[cfg(test)]
pub(crate) fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let (mut word, mut quote) = (String::new(), None);
    for c in line.trim().chars() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            ('|' | '>' | '<' | '&' | ';' | '#', None) if word.is_empty() => break,
            (' ', None) => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (c, _) => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    let named = |name: &str| words.first().is_some_and(|word| word == name);
    let xtask = named("cargo") && words.get(1).is_some_and(|word| word == "xtask");
    (xtask || named("avpsctl") || named("avps-backend") || named("avps-tee")).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Vec<Page> {
        vec![Page::parse("x.md", text).unwrap()]
    }

    #[test]
    fn commands_have_a_place_or_a_reason() {
        let text = "```sh run fails\navpsctl check a\n```\n\n```text output\nno\n```\n\n\
                    ```sh not run: it needs a cable\nls\n```\n\n```sh run-in-dom0\nls\n```\n";
        let found = scripts(&page(text)).unwrap();
        let places: Vec<Place> = found.iter().map(|script| script.place).collect();
        assert_eq!(places, [Place::Host, Place::Nowhere, Place::Dom0]);
        assert!(found[0].fails);
        assert_eq!(found[0].output.as_deref(), Some("no\n"));
        assert_eq!(found[1].reason.as_deref(), Some("it needs a cable"));
        for bad in [
            "```sh\nls\n```\n",
            "```sh not run:\nls\n```\n",
            "```sh run-elsewhere\nls\n```\n",
            "```text output\nx\n```\n",
            "```python\nx\n```\n",
        ] {
            assert!(scripts(&page(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn output_may_differ_in_numbers_and_times_and_in_nothing_else() {
        let shown =
            "```sh run\nls\n```\n\n```text output\n✓ Xen  4.20.2  1.2 s\n…\nlast line\n```\n";
        let script = scripts(&page(shown)).unwrap().remove(0);
        assert_eq!(script.differs("✓ Xen 4.20.3 980 ms\nlast line\n"), None);
        assert_eq!(
            script.differs("✓ Xen 4.20.3 1 min 2 s\nx\ny\nlast line\n"),
            None
        );
        assert!(script.differs("✗ Xen 4.20.3 980 ms\nlast line\n").is_some());
        assert!(script.differs("✓ Xen 4.20.3 980 ms\nlast\n").is_some());
        assert!(script.differs("").is_some());
    }

    #[test]
    fn a_line_is_split_as_a_shell_does() {
        let split = |line| words(line).unwrap_or_default();
        assert_eq!(
            split("cargo xtask test \"restart: a\" # why"),
            ["cargo", "xtask", "test", "restart: a"]
        );
        assert_eq!(split("avps-backend serve &"), ["avps-backend", "serve"]);
        assert_eq!(split("avpsctl plan x | jq ."), ["avpsctl", "plan", "x"]);
        assert_eq!(words("ls avpsctl"), None);
    }
}
