//! Nodes as source text (`.dts`).

use std::fmt::Write;

use super::{Addition, Cell, Node, Value};

/// An overlay's source, for people and for dtc. `comment` stands in front of it.
pub(in crate::emit) fn overlay_source(comment: &str, additions: &[Addition]) -> String {
    let mut out = String::new();
    for line in comment.lines() {
        let _ = writeln!(out, "// {line}");
    }
    out.push_str("/dts-v1/;\n/plugin/;\n");
    for addition in additions {
        out.push('\n');
        // dtc gives labels only to a fragment that is written out.
        if let Some(handle) = &addition.node.handle {
            let _ = write!(
                out,
                "/ {{\n\tfragment@{label} {{\n\t\ttarget-path = {};\n\t\t{label}: __overlay__ {{\n",
                quoted(&addition.path),
                label = handle.label
            );
            content(&mut out, &addition.node, 3);
            out.push_str("\t\t};\n\t};\n};\n");
        } else {
            let _ = writeln!(out, "&{{{}}} {{", addition.path);
            content(&mut out, &addition.node, 1);
            out.push_str("};\n");
        }
    }
    out
}

fn content(out: &mut String, node: &Node, depth: usize) {
    let indent = "\t".repeat(depth);
    for (name, value) in &node.properties {
        let _ = match value {
            Value::Flag => writeln!(out, "{indent}{name};"),
            Value::Texts(texts) => {
                let texts: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
                writeln!(out, "{indent}{name} = {};", texts.join(", "))
            }
            Value::Cells(cells) => {
                let cells: Vec<_> = cells.iter().map(cell).collect();
                writeln!(out, "{indent}{name} = <{}>;", cells.join(" "))
            }
        };
    }
    for (index, child) in node.children.iter().enumerate() {
        if index > 0 || !node.properties.is_empty() {
            out.push('\n');
        }
        let label = child
            .handle
            .as_ref()
            .map(|handle| format!("{}: ", handle.label));
        let _ = writeln!(
            out,
            "{indent}{}{} {{",
            label.unwrap_or_default(),
            child.name
        );
        content(out, child, depth.saturating_add(1));
        let _ = writeln!(out, "{indent}}};");
    }
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Number(number) if *number < 10 => number.to_string(),
        Cell::Number(number) => format!("{number:#x}"),
        Cell::Node(handle) => format!("&{}", handle.label),
        Cell::Base(number, path) => format!("{number:#x} /* {} */", path.replace("*/", "* /")),
    }
}

/// A text in quotes, as dtc reads it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_reach_dtc_as_they_are() {
        assert_eq!(quoted("a \"b\" \\ ä"), "\"a \\\"b\\\" \\\\ \\xc3\\xa4\"");
    }
}
