//! The graph as a tree for people and as a description for Graphviz.

use std::fmt::Write;

use super::{Graph, Link, Node};

/// A tree: each domain, and below it what it depends on or sends to. Control characters do not reach the terminal.
pub fn tree(graph: &Graph, unicode: bool) -> String {
    let (branch, last, arrow, both) = match unicode {
        true => ("├─", "└─", "→", "↔"),
        false => ("|-", "`-", "->", "<->"),
    };
    let mut out = format!(
        "{}: {} domain(s), {} link(s), {} across safety levels\n",
        graph.platform,
        graph.domains.len(),
        graph.links.len(),
        graph.crossings()
    );
    for domain in &graph.domains {
        let level = if domain.described {
            format!("ASIL {}, ", domain.asil.word()).replace("ASIL QM", "QM")
        } else {
            String::new()
        };
        let _ = writeln!(out, "\n{} ({level}{})", domain.name, domain.role);
        let links: Vec<_> = graph
            .links
            .iter()
            .filter(|link| link.from.name() == domain.name)
            .collect();
        for (index, link) in links.iter().enumerate() {
            let lead = if index + 1 == links.len() {
                last
            } else {
                branch
            };
            let mark = if link.crosses_levels { '!' } else { ' ' };
            let arrow = if link.both_ways { both } else { arrow };
            let _ = write!(out, "{lead}{mark} {}", label(link));
            let to: Vec<_> = link.to.iter().map(|node| end(graph, node)).collect();
            let _ = write!(out, " {arrow} {}", to.join(", "));
            if !link.detail.is_empty() {
                let _ = write!(out, ": {}", link.detail);
            }
            out.push('\n');
        }
    }
    printable::lines(&out).into_owned()
}

fn label(link: &Link) -> String {
    format!("{} {}", link.kind.title(), link.name)
        .trim_end()
        .to_owned()
}

/// An end with its level.
fn end(graph: &Graph, node: &Node) -> String {
    match graph.level(node) {
        Some(level) => format!("{} ({})", node.name(), level.word()),
        None => node.name().to_owned(),
    }
}

/// A description for Graphviz.
pub fn dot(graph: &Graph) -> String {
    let mut out = format!("digraph {} {{\n", quoted(&graph.platform));
    out.push_str("  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n");
    out.push_str("  edge [fontname=\"sans-serif\", fontsize=10];\n");
    for domain in &graph.domains {
        let label = format!("{}\n{} {}", domain.name, domain.asil.word(), domain.role);
        let name = quoted(&format!("domain {}", domain.name));
        let _ = writeln!(out, "  {name} [label={}];", quoted(&label));
    }
    let mut others: Vec<_> = graph.links.iter().flat_map(Link::nodes).collect();
    others.retain(|node| !matches!(node, Node::Domain(_)));
    others.sort();
    others.dedup();
    for node in others {
        let name = quoted(&id(node));
        let _ = writeln!(out, "  {name} [label={}, style=\"\"];", quoted(node.name()));
    }
    for link in &graph.links {
        let mut attributes = format!("label={}", quoted(&label(link)));
        if link.both_ways {
            attributes.push_str(", dir=both");
        }
        if link.crosses_levels {
            attributes.push_str(", color=\"#d55e00\", penwidth=2.5");
        }
        for to in &link.to {
            let (from, to) = (quoted(&id(&link.from)), quoted(&id(to)));
            let _ = writeln!(out, "  {from} -> {to} [{attributes}];");
        }
    }
    out.push_str("}\n");
    out
}

/// Names of domains and of devices live apart.
fn id(node: &Node) -> String {
    match node {
        Node::Domain(name) => format!("domain {name}"),
        Node::Machine(name) => format!("machine {name}"),
        Node::SecureWorld => super::SECURE_WORLD.to_owned(),
    }
}

/// A string of the DOT language.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if printable::is_control(c) => out.push('?'),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_quotes_in_dot() {
        assert_eq!(quoted("a\"b\\c\u{1b}"), "\"a\\\"b\\\\c?\"");
    }
}
