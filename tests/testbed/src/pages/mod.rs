//! The pages that people read, as data for the checks that keep them true.
//!
//! A page consists of blocks: paragraphs, list items, table rows and fenced blocks. Two kinds of comments, invisible to
//! readers, say what stands behind a block of prose:
//!
//! - `<!-- shown by: test "…"; unit NAME in FOLDER; cargo xtask … -->`: what shows that the claim or figure is true.
//! - `<!-- states: KIND -->`: the block claims nothing that a test could show; `KIND` says why.
//!
//! The info string of a fenced block of commands says where these run: see [`commands`].

pub(crate) mod commands;
mod markdown;
#[cfg(test)]
mod proofs;
#[cfg(test)]
mod retired;

#[cfg(test)]
pub(crate) use markdown::Block;
pub(crate) use markdown::{Fence, Kind, Page};

use crate::paths;

/// All pages, the first one first.
pub(crate) const PAGES: [&str; 7] = [
    "README.md",
    "SECURITY.md",
    "toolstack/README.md",
    "backends/README.md",
    "optee-mediator/README.md",
    "configs/README.md",
    "tests/README.md",
];

/// Reads all pages.
pub(crate) fn read() -> Result<Vec<Page>, String> {
    PAGES
        .iter()
        .map(|name| {
            let file = paths::workspace().join(name);
            let text = std::fs::read_to_string(&file)
                .map_err(|error| format!("cannot read page {name}: {error}"))?;
            Page::parse(name, &text)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that a page may have.
    const LINES: usize = 400;
    /// Lines that the first page may have.
    const FIRST: usize = 125;

    #[test]
    fn pages_are_short() {
        for (index, page) in read().unwrap().iter().enumerate() {
            let most = if index == 0 { FIRST } else { LINES };
            assert!(page.lines < most, "{}: {} lines", page.name, page.lines);
        }
    }

    #[test]
    fn links_lead_to_files_and_headings() {
        let pages = read().unwrap();
        let root = paths::workspace();
        for page in &pages {
            let folder = root.join(page.name);
            let folder = folder.parent().unwrap();
            for link in page.links() {
                if link.contains("://") {
                    continue;
                }
                let at = page.name;
                let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
                let target = match file {
                    "" => root.join(page.name),
                    file => folder.join(file),
                };
                let target = target.canonicalize();
                let target = target.unwrap_or_else(|e| panic!("{at}: {link} leads nowhere: {e}"));
                if !heading.is_empty() {
                    let of = |name: &str| root.join(name).canonicalize().ok();
                    let other = pages
                        .iter()
                        .find(|page| of(page.name).as_ref() == Some(&target));
                    let found =
                        other.is_some_and(|page| page.headings.iter().any(|own| own == heading));
                    assert!(found, "{at}: no heading is {link}");
                }
            }
        }
    }
}
