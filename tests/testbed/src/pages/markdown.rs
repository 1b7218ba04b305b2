//! As much Markdown as the pages use, split into blocks.

/// A page.
#[derive(Debug)]
pub(crate) struct Page {
    /// Its path in the repository.
    pub(crate) name: &'static str,
    /// How many lines readers see.
    #[cfg(test)]
    pub(crate) lines: usize,
    /// Its headings, as links name them.
    #[cfg(test)]
    pub(crate) headings: Vec<String>,
    /// What it consists of.
    pub(crate) blocks: Vec<Block>,
}

/// A part of a page.
#[derive(Debug)]
pub(crate) struct Block {
    /// Its first line, from one.
    pub(crate) line: usize,
    /// What it is.
    pub(crate) kind: Kind,
    /// What readers see of it.
    pub(crate) text: String,
    /// What its comments say.
    pub(crate) comments: Vec<String>,
}

/// What a block is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A paragraph.
    Paragraph,
    /// An item of a list.
    Item,
    /// A row of a table, without the heading row.
    Row,
    /// A fenced block.
    Fence(Fence),
}

/// The info string of a fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    /// Its first word.
    pub(crate) language: String,
    /// The rest.
    pub(crate) words: String,
}

impl Page {
    /// Splits a text into blocks.
    pub(crate) fn parse(name: &'static str, text: &str) -> Result<Self, String> {
        let mut page = Self {
            name,
            #[cfg(test)]
            lines: text
                .lines()
                .filter(|line| !line.trim().starts_with("<!--"))
                .count(),
            #[cfg(test)]
            headings: Vec::new(),
            blocks: Vec::new(),
        };
        let mut lines = text.lines().enumerate().peekable();
        // Whether the next line goes on with the last block.
        let mut open = false;
        // The first row of the table that is being read.
        let mut table: Option<usize> = None;
        while let Some((index, line)) = lines.next() {
            let (number, trimmed) = (index + 1, line.trim());
            if let Some(info) = trimmed.strip_prefix("```") {
                (open, table) = (false, None);
                let mut body = String::new();
                loop {
                    let (_, line) = lines
                        .next()
                        .ok_or_else(|| format!("{name}:{number}: the fenced block has no end"))?;
                    if line.trim() == "```" {
                        break;
                    }
                    body.push_str(line);
                    body.push('\n');
                }
                let (language, words) = info.split_once(' ').unwrap_or((info, ""));
                let fence = Fence {
                    language: language.to_owned(),
                    words: words.trim().to_owned(),
                };
                page.push(number, Kind::Fence(fence), body);
            } else if trimmed.is_empty() {
                open = false;
            } else if trimmed.starts_with('#') {
                (open, table) = (false, None);
                #[cfg(test)]
                page.headings.push(anchor(trimmed.trim_start_matches('#')));
            } else if trimmed.starts_with("<!--") && !open_before(open, table) {
                // A comment between blocks belongs to the block above it; below a table, to each of its rows.
                let mut comment = trimmed.to_owned();
                while !comment.contains("-->") {
                    let (_, line) = lines
                        .next()
                        .ok_or_else(|| format!("{name}:{number}: the comment has no end"))?;
                    comment.push(' ');
                    comment.push_str(line.trim());
                }
                let from = table.unwrap_or(page.blocks.len().saturating_sub(1));
                let (_, comments) = split(&comment);
                if comments.is_empty() || page.blocks.is_empty() {
                    return Err(format!("{name}:{number}: a comment without a block"));
                }
                for block in page.blocks.iter_mut().skip(from) {
                    block.comments.extend(comments.iter().cloned());
                }
            } else if trimmed.starts_with('|') {
                let next_is_rule = lines.peek().is_some_and(|(_, next)| is_rule(next));
                if next_is_rule {
                    lines.next();
                    table = Some(page.blocks.len());
                } else {
                    page.push(number, Kind::Row, trimmed.to_owned());
                }
                open = false;
            } else if let Some(item) = item(trimmed) {
                table = None;
                page.push(number, Kind::Item, item.to_owned());
                open = true;
            } else if open && let Some(last) = page.blocks.last_mut() {
                last.text.push('\n');
                last.text.push_str(trimmed);
            } else {
                table = None;
                page.push(number, Kind::Paragraph, trimmed.to_owned());
                open = true;
            }
        }
        for block in &mut page.blocks {
            if !matches!(block.kind, Kind::Fence(_)) {
                let (text, comments) = split(&block.text);
                block.text = text;
                block.comments.extend(comments);
            }
        }
        Ok(page)
    }

    fn push(&mut self, line: usize, kind: Kind, text: String) {
        self.blocks.push(Block {
            line,
            kind,
            text,
            comments: Vec::new(),
        });
    }

    /// Where its links lead.
    #[cfg(test)]
    pub(crate) fn links(&self) -> Vec<String> {
        let prose = self.blocks.iter().filter(|block| block.is_prose());
        let ends = prose.flat_map(|block| block.text.split("](").skip(1));
        ends.filter_map(|rest| rest.split(')').next())
            .map(str::to_owned)
            .collect()
    }
}

#[cfg(test)]
impl Block {
    /// Whether it consists of sentences.
    pub(crate) fn is_prose(&self) -> bool {
        !matches!(self.kind, Kind::Fence(_))
    }

    /// What stands between backticks.
    pub(crate) fn code(&self) -> Vec<String> {
        let text = self.text.replace('\n', " ");
        text.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    }
}

/// Inside a paragraph or item a comment is a part of it.
fn open_before(open: bool, table: Option<usize>) -> bool {
    open && table.is_none()
}

/// A heading as links name it.
#[cfg(test)]
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        _ => c.is_alphanumeric().then_some(c),
    });
    kept.collect()
}

/// The line between a table's heading and its rows.
fn is_rule(line: &str) -> bool {
    line.starts_with('|') && line.chars().all(|c| "|-: ".contains(c))
}

fn item(line: &str) -> Option<&str> {
    if let Some(rest) = line.strip_prefix("- ") {
        return Some(rest);
    }
    let (number, rest) = line.split_once(". ")?;
    let counted = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
    counted.then_some(rest)
}

/// A text without its comments, and these.
fn split(text: &str) -> (String, Vec<String>) {
    let (mut shown, mut comments) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<!--") {
        shown.push_str(before);
        let (comment, behind) = after.split_once("-->").unwrap_or((after, ""));
        comments.push(comment.split_whitespace().collect::<Vec<_>>().join(" "));
        rest = behind;
    }
    shown.push_str(rest);
    (shown.trim().to_owned(), comments)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# A page

It is short.
It has two lines. <!-- states: definition -->

- one <!-- shown by: cargo xtask demo -->
- two
  goes on
<!-- shown by: test \"x\" -->

| a | b |
|---|---|
| 1 | 2 |
| 3 | 4 |
<!-- states: pointer -->

```sh run fails
# no heading
avpsctl list
```
";

    #[test]
    fn a_page_is_split_into_blocks_with_their_comments() {
        let page = Page::parse("x.md", TEXT).unwrap();
        let seen: Vec<(usize, &str, usize)> = page
            .blocks
            .iter()
            .map(|block| (block.line, block.text.as_str(), block.comments.len()))
            .collect();
        assert_eq!(
            seen,
            [
                (3, "It is short.\nIt has two lines.", 1),
                (6, "one", 1),
                (7, "two\ngoes on", 1),
                (13, "| 1 | 2 |", 1),
                (14, "| 3 | 4 |", 1),
                (17, "# no heading\navpsctl list\n", 0),
            ]
        );
        assert_eq!(page.headings, ["a-page"]);
        assert_eq!(page.blocks[3].kind, Kind::Row);
        let fence = Fence {
            language: "sh".into(),
            words: "run fails".into(),
        };
        assert_eq!(page.blocks[5].kind, Kind::Fence(fence));
    }

    #[test]
    fn a_block_or_comment_without_an_end_is_refused() {
        assert!(Page::parse("x.md", "```sh\nls\n").is_err());
        assert!(Page::parse("x.md", "a\n\n<!-- states: x\n").is_err());
        assert!(Page::parse("x.md", "<!-- states: x -->\n").is_err());
    }

    #[test]
    fn code_and_links_are_found_across_lines() {
        let page = Page::parse(
            "x.md",
            "Run `cargo\nxtask demo` and see [there](a/b.md#c).\n",
        )
        .unwrap();
        assert_eq!(page.blocks[0].code(), ["cargo xtask demo"]);
        assert_eq!(page.links(), ["a/b.md#c"]);
    }
}
