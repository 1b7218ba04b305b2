//! What ties domains together: a column for each domain, ordered by safety level, and a row for each link.
//!
//! Arrows that lie in rows of their own never cross a text, whatever the number of links.

use std::collections::BTreeMap;

use super::canvas::{Anchor, BADGE, CROSS, Canvas, HEAD, Picture, SMALL, STRONG, TITLE};
use super::style::{asil_label, domain_class};
use crate::graph::{Graph, Link, LinkKind, Node, SECURE_WORLD};
use crate::plan::{Asil, Plan};

const MARGIN: f64 = 28.0;
/// Room for what a link is.
const LABEL_W: f64 = 430.0;
/// Left edge of the columns.
const LEFT: f64 = MARGIN + LABEL_W + 24.0;
const COLUMN: f64 = 138.0;
const BOX_W: f64 = 128.0;
const BOX_H: f64 = 66.0;
const ROW: f64 = 40.0;
/// Distance between columns of different levels, beside their own.
const GAP: f64 = 18.0;
/// Links and columns drawn at most.
const MOST_LINKS: usize = 600;
const MOST_COLUMNS: usize = 220;
/// Rows from which on the columns are named below, too.
const LONG: f64 = 16.0;
const MACHINE: &str = "machine";

/// A column.
struct Column {
    x: f64,
    level: Option<Asil>,
}

/// Draws what ties domains together.
pub fn links(plan: &Plan) -> Picture {
    let graph = Graph::of(plan);
    let mut drawing = Drawing {
        plan,
        graph: &graph,
        canvas: Canvas::new("links"),
        columns: BTreeMap::new(),
        width: 0.0,
        y: 0.0,
    };
    drawing.place();
    drawing.title();
    let top = drawing.heads();
    drawing.lifelines(top);
    drawing.rows();
    drawing.legend();
    let title = format!("Links of {}", plan.platform);
    let description = description(&graph);
    let (width, height) = (drawing.width, drawing.y + MARGIN);
    drawing.canvas.finish(width, height, &title, &description)
}

fn description(graph: &Graph) -> String {
    let mut text = String::new();
    for link in graph.links.iter().take(MOST_LINKS) {
        let to: Vec<_> = link.to.iter().map(Node::name).collect();
        let way = if link.both_ways { "with" } else { "to" };
        text.push_str(&format!(
            "{}: {} {way} {}",
            label(link),
            link.from.name(),
            to.join(", ")
        ));
        text.push_str(if link.crosses_levels {
            ", across safety levels. "
        } else {
            ". "
        });
    }
    text.trim_end().to_owned()
}

fn label(link: &Link) -> String {
    format!("{} {}", link.kind.title(), link.name)
        .trim_end()
        .to_owned()
}

/// The column a node is drawn in: all of the machine's devices share one.
fn column_of(node: &Node) -> String {
    match node {
        Node::Domain(name) => format!("domain {name}"),
        Node::SecureWorld => SECURE_WORLD.to_owned(),
        Node::Machine(_) => MACHINE.to_owned(),
    }
}

struct Drawing<'a> {
    plan: &'a Plan,
    graph: &'a Graph,
    canvas: Canvas,
    columns: BTreeMap<String, Column>,
    width: f64,
    y: f64,
}

impl Drawing<'_> {
    /// Gives each domain a column, the highest level first; then the machine and the secure world, where a link leads there.
    fn place(&mut self) {
        let mut x = LEFT + COLUMN / 2.0;
        let mut before = None;
        for domain in self.graph.domains.iter().take(MOST_COLUMNS) {
            let level = domain.described.then_some(domain.asil);
            if before.is_some_and(|before| before != level) {
                x += GAP;
            }
            before = Some(level);
            let column = Column { x, level };
            self.columns
                .insert(format!("domain {}", domain.name), column);
            x += COLUMN;
        }
        x += GAP;
        for name in [MACHINE, SECURE_WORLD] {
            let mut nodes = self.graph.links.iter().flat_map(Link::nodes);
            if nodes.any(|node| column_of(node) == name) {
                self.columns
                    .insert(name.to_owned(), Column { x, level: None });
                x += COLUMN;
            }
        }
        self.width = (x - COLUMN / 2.0 + MARGIN).max(1000.0);
    }

    fn title(&mut self) {
        let title = format!("Links – {}", self.plan.platform);
        let room = self.width - 2.0 * MARGIN;
        self.canvas
            .text(TITLE, Anchor::Start, MARGIN, 42.0, room, &title);
        let line = format!(
            "{} domain(s), {} link(s), {} across safety levels",
            self.graph.domains.len(),
            self.graph.links.len(),
            self.graph.crossings()
        );
        self.canvas
            .text(SMALL, Anchor::Start, MARGIN, 62.0, room, &line);
        self.y = 84.0;
    }

    /// The boxes, below the names of their levels; gives where the lines below them begin.
    fn heads(&mut self) -> f64 {
        let y = self.y;
        // A band above all domains of one level.
        let mut bands: Vec<(Option<Asil>, f64, f64)> = Vec::new();
        for domain in &self.graph.domains {
            let Some(column) = self.columns.get(&format!("domain {}", domain.name)) else {
                continue;
            };
            let (left, right) = (column.x - BOX_W / 2.0, column.x + BOX_W / 2.0);
            match bands.last_mut() {
                Some((level, _, end)) if *level == column.level => *end = right,
                _ => bands.push((column.level, left, right)),
            }
        }
        for (level, left, right) in bands {
            let text = level.map_or("not described".to_owned(), asil_label);
            self.canvas
                .rounded("band", left, y, right - left, 22.0, 4.0);
            let middle = (left + right) / 2.0;
            self.canvas
                .text(HEAD, Anchor::Middle, middle, y + 15.5, right - left, &text);
        }
        let y = y + 30.0;
        for domain in &self.graph.domains {
            let Some(column) = self.columns.get(&format!("domain {}", domain.name)) else {
                continue;
            };
            let x = column.x;
            let left = x - BOX_W / 2.0;
            self.canvas.rounded("box", left, y, BOX_W, BOX_H, 6.0);
            let index = self.plan.domains.iter().position(|d| d.name == domain.name);
            if let Some(index) = index {
                let class = domain_class(index);
                self.canvas.rounded(&class, left, y, BOX_W, 5.0, 2.0);
            }
            let (name, role) = (domain.name.as_str(), domain.role.as_str());
            let canvas = &mut self.canvas;
            canvas.text(STRONG, Anchor::Middle, x, y + 23.0, BOX_W - 10.0, name);
            canvas.text(SMALL, Anchor::Middle, x, y + 38.0, BOX_W - 6.0, role);
            if domain.described {
                canvas.badge(x - BADGE / 2.0, y + 53.0, domain.asil);
            }
        }
        for (name, text) in [
            (MACHINE, "devices, interfaces"),
            (SECURE_WORLD, "trusted applications"),
        ] {
            let Some(x) = self.columns.get(name).map(|column| column.x) else {
                continue;
            };
            let (left, canvas) = (x - BOX_W / 2.0, &mut self.canvas);
            canvas.rect("band box", left, y, BOX_W, BOX_H);
            canvas.text(STRONG, Anchor::Middle, x, y + 29.0, BOX_W - 8.0, name);
            canvas.text(SMALL, Anchor::Middle, x, y + 46.0, BOX_W - 2.0, text);
        }
        self.y = y + BOX_H + 10.0;
        y + BOX_H
    }

    fn lifelines(&mut self, top: f64) {
        let mut kinds: Vec<_> = self.shown().map(|link| link.kind).collect();
        kinds.dedup();
        let rows = f64::from(u32::try_from(self.shown().count()).unwrap_or(0));
        let heads = f64::from(u32::try_from(kinds.len()).unwrap_or(0));
        let bottom = self.y + rows * ROW + heads * 26.0;
        for (name, column) in &self.columns {
            let x = column.x;
            self.canvas.line("line", x, top, x, bottom);
            if rows > LONG {
                // Nobody should have to scroll back to see which column this is.
                let name = name.strip_prefix("domain ").unwrap_or(name);
                self.canvas
                    .text(SMALL, Anchor::Middle, x, bottom + 15.0, BOX_W, name);
            }
        }
    }

    fn shown(&self) -> impl Iterator<Item = &Link> {
        self.graph.links.iter().take(MOST_LINKS)
    }

    fn rows(&mut self) {
        let mut before: Option<LinkKind> = None;
        for (number, link) in self.graph.links.iter().take(MOST_LINKS).enumerate() {
            if before != Some(link.kind) {
                self.y += 26.0;
                let (y, kind) = (self.y - 8.0, link.kind);
                self.canvas
                    .text(HEAD, Anchor::Start, MARGIN, y, LABEL_W, heading(kind));
                let end = self.width - MARGIN;
                self.canvas.line("line", MARGIN, self.y, end, self.y);
                before = Some(kind);
            }
            self.row(number, link);
        }
        if self.graph.links.is_empty() {
            let text = "Nothing ties these domains together.";
            self.canvas
                .text(SMALL, Anchor::Start, MARGIN, self.y + 14.0, LABEL_W, text);
            self.y += 24.0;
        }
    }

    fn row(&mut self, number: usize, link: &Link) {
        let y = self.y;
        let first = match link.kind {
            LinkKind::Virtio => format!("{} of {}", link.name, link.from.name()),
            _ if link.name.is_empty() => link.from.name().to_owned(),
            _ => link.name.clone(),
        };
        let canvas = &mut self.canvas;
        let tag = levels(self.graph, link);
        let room = match link.crosses_levels {
            true => LABEL_W - 110.0,
            false => LABEL_W,
        };
        canvas.text(STRONG, Anchor::Start, MARGIN, y + 17.0, room, &first);
        if link.crosses_levels {
            let right = MARGIN + LABEL_W;
            canvas.text(CROSS, Anchor::End, right, y + 17.0, 104.0, &tag);
        }
        canvas.text(
            SMALL,
            Anchor::Start,
            MARGIN,
            y + 32.0,
            LABEL_W,
            &detail(link),
        );
        self.arrow(link, y + ROW / 2.0);
        self.y += ROW;
        let (end, below) = (self.width - MARGIN, self.y);
        if number + 1 < self.graph.links.len() {
            self.canvas.line("line", MARGIN, below, end, below);
        }
    }

    fn arrow(&mut self, link: &Link, y: f64) {
        let (line, tip) = match link.crosses_levels {
            true => ("link cross", "cross-tip"),
            false => ("link", "tip"),
        };
        let x = |node: &Node| self.columns.get(&column_of(node)).map(|column| column.x);
        let Some(from) = x(&link.from) else { return };
        let ends: Vec<f64> = link.to.iter().filter_map(x).collect();
        let left = ends.iter().copied().fold(from, f64::min);
        let right = ends.iter().copied().fold(from, f64::max);
        let canvas = &mut self.canvas;
        // Under the tips the line ends early, so that they stay sharp.
        let short = |x: f64, by: f64| match x == from && !link.both_ways {
            true => x,
            false => x + by,
        };
        canvas.line(line, short(left, 6.0), y, short(right, -6.0), y);
        for x in ends {
            let inside = x > left && x < right;
            if inside && link.to.len() > 1 {
                canvas.circle(tip, x, y, 5.0);
            } else {
                head(canvas, tip, x, y, if x < from { 1.0 } else { -1.0 });
            }
        }
        let inside = from > left && from < right;
        if link.both_ways && !inside && left != right {
            head(canvas, tip, from, y, if from == left { 1.0 } else { -1.0 });
        } else {
            canvas.circle(tip, from, y, 5.0);
        }
    }

    fn legend(&mut self) {
        let y = self.y + 38.0;
        let canvas = &mut self.canvas;
        let mut x = MARGIN;
        for (class, tip, text, step) in [
            ("link", "tip", "depends on, or sends to", 230.0),
            ("link cross", "cross-tip", "across safety levels", 210.0),
        ] {
            canvas.circle(tip, x + 5.0, y - 4.0, 5.0);
            canvas.line(class, x + 5.0, y - 4.0, x + 40.0, y - 4.0);
            head(canvas, tip, x + 46.0, y - 4.0, -1.0);
            canvas.text(SMALL, Anchor::Start, x + 56.0, y, step - 62.0, text);
            x += step;
        }
        canvas.line("link", x + 6.0, y - 4.0, x + 40.0, y - 4.0);
        head(canvas, "tip", x, y - 4.0, 1.0);
        head(canvas, "tip", x + 46.0, y - 4.0, -1.0);
        canvas.text(SMALL, Anchor::Start, x + 56.0, y, 140.0, "both ways");
        self.y = y + 4.0;
        let more = self.graph.links.len().saturating_sub(MOST_LINKS);
        let columns = self.graph.domains.len().saturating_sub(MOST_COLUMNS);
        for (count, what) in [(more, "links"), (columns, "domains")] {
            if count > 0 {
                self.y += 18.0;
                let text = format!("{count} more {what} are not drawn.");
                self.canvas
                    .text(SMALL, Anchor::Start, MARGIN, self.y, LABEL_W, &text);
            }
        }
    }
}

/// What stands above the links of a kind.
fn heading(kind: LinkKind) -> &'static str {
    match kind {
        LinkKind::Virtio => "Virtio: who uses it → who serves it",
        LinkKind::Ipc => "IPC: sender → receiver",
        LinkKind::SharedMemory => "Shared memory: writer → readers",
        LinkKind::EventChannel => "Event channels",
        LinkKind::Network => "Networks",
        LinkKind::Device => "Devices of the machine",
        LinkKind::Tee => "Calls into the secure world",
        LinkKind::Watchdog => "Watchdogs: watched → watching",
        LinkKind::After => "Start: who waits → for whom",
    }
}

/// Who and how, in a line.
fn detail(link: &Link) -> String {
    let to: Vec<_> = link.to.iter().map(Node::name).collect();
    let way = if link.both_ways { "↔" } else { "→" };
    let ends = format!("{} {way} {}", link.from.name(), to.join(", "));
    match link.detail.is_empty() {
        true => ends,
        false => format!("{ends}: {}", link.detail),
    }
}

/// From which level to which.
fn levels(graph: &Graph, link: &Link) -> String {
    let from = graph.level(&link.from);
    let mut others: Vec<_> = link
        .to
        .iter()
        .filter_map(|node| graph.level(node))
        .collect();
    others.sort();
    others.dedup();
    others.retain(|level| Some(*level) != from);
    let others: Vec<_> = others.iter().map(|level| level.word()).collect();
    let way = if link.both_ways { "↔" } else { "→" };
    let from = from.map_or("", Asil::word);
    format!("{from} {way} {}", others.join(", "))
}

/// The head of an arrow whose point is at `x`; `side` says where its line comes from.
fn head(canvas: &mut Canvas, class: &str, x: f64, y: f64, side: f64) {
    canvas.polygon(
        class,
        &[
            (x, y),
            (x + side * 11.0, y - 5.5),
            (x + side * 11.0, y + 5.5),
        ],
    );
}
