//! The physical memory: each bank as a bar to scale, and beside it one in which every piece is large enough to be read.

use super::canvas::{Anchor, CROSS, Canvas, HEAD, NORMAL, Picture, SMALL, STRONG, TITLE};
use super::regions::{Piece, Region, Use, pieces, regions, users};
use super::style::domain_class;
use crate::plan::{Plan, Range};
use crate::units::{Address, ByteSize, GIB, KIB, MIB, TIB};

const WIDTH: f64 = 1280.0;
const MARGIN: f64 = 28.0;
/// The bar to scale.
const SCALE_X: f64 = 128.0;
const SCALE_W: f64 = 34.0;
/// The bar that can be read.
const BAR_X: f64 = 236.0;
const BAR_W: f64 = 120.0;
const NAME_X: f64 = 374.0;
const NAME_W: f64 = 236.0;
const RANGE_X: f64 = 622.0;
const RANGE_W: f64 = 208.0;
const SIZE_X: f64 = 912.0;
const SIZE_W: f64 = 78.0;
const NOTE_X: f64 = 928.0;
const NOTE_W: f64 = 324.0;
/// Lowest row: a line of text with air.
const ROW: f64 = 24.0;
/// Pieces and banks drawn at most; what is more than this is counted.
const MOST: usize = 600;

/// Draws the physical memory.
pub fn memory(plan: &Plan) -> Picture {
    let regions = regions(plan);
    let mut drawing = Drawing {
        plan,
        canvas: Canvas::new("memory"),
        y: 0.0,
        left: MOST,
        hidden: 0,
    };
    drawing.title();
    for (index, bank) in plan.machine.banks.iter().enumerate() {
        drawing.bank(index, bank, &regions);
    }
    let in_a_bank = |region: &&Region| {
        let mut banks = plan.machine.banks.iter();
        banks.any(|bank| bank.contains(&region.range))
    };
    let outside: Vec<_> = regions.iter().filter(|r| !in_a_bank(r)).collect();
    if !outside.is_empty() {
        drawing.outside(&outside);
    }
    drawing.placed_later();
    drawing.legend();
    let title = format!("Physical memory of {}", plan.platform);
    let description = description(plan, &regions);
    let height = drawing.y + MARGIN;
    drawing.canvas.finish(WIDTH, height, &title, &description)
}

fn description(plan: &Plan, regions: &[Region]) -> String {
    let mut text = format!("{} bank(s) of RAM. ", plan.machine.banks.len());
    for region in regions.iter().take(MOST) {
        text.push_str(&format!("{}: {}. ", region.name, range(&region.range)));
    }
    text.trim_end().to_owned()
}

struct Drawing<'a> {
    plan: &'a Plan,
    canvas: Canvas,
    y: f64,
    left: usize,
    hidden: usize,
}

impl Drawing<'_> {
    fn title(&mut self) {
        let plan = self.plan;
        let title = format!("Physical memory – {}", plan.platform);
        let room = WIDTH - 2.0 * MARGIN;
        self.canvas
            .text(TITLE, Anchor::Start, MARGIN, 42.0, room, &title);
        let total = sum(&plan.machine.banks);
        let fixed = plan.domains.iter().flat_map(|d| &d.static_memory);
        let fixed = fixed.fold(0_u64, |sum, range| sum.saturating_add(range.size_bytes));
        let line = match plan.machine.banks.len() {
            0 => "The document names no banks of RAM.".to_owned(),
            banks => format!(
                "{} of RAM in {banks} bank(s); {} are domains' memory at fixed places",
                size(total),
                size(fixed)
            ),
        };
        self.canvas
            .text(SMALL, Anchor::Start, MARGIN, 62.0, room, &line);
        self.y = 78.0;
    }

    fn heading(&mut self, text: &str, note: &str) {
        self.y += 30.0;
        let y = self.y;
        self.canvas
            .text(HEAD, Anchor::Start, MARGIN, y, NAME_X - MARGIN - 20.0, text);
        let room = WIDTH - MARGIN - NAME_X;
        self.canvas
            .text(SMALL, Anchor::Start, NAME_X, y, room, note);
        self.canvas
            .line("line", MARGIN, y + 8.0, WIDTH - MARGIN, y + 8.0);
        self.y += 20.0;
    }

    /// Whether one more row may be drawn.
    fn take(&mut self) -> bool {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.hidden += 1;
                false
            }
        }
    }

    fn bank(&mut self, index: usize, bank: &Range, regions: &[Region]) {
        if bank.size_bytes == 0 || !self.take() {
            return;
        }
        let pieces: Vec<_> = pieces(bank, regions)
            .into_iter()
            .filter(|_| self.take())
            .collect();
        let free = pieces.iter().filter(|piece| piece.regions.is_empty());
        let free = free.fold(0_u64, |sum, piece| {
            sum.saturating_add(piece.range.size_bytes)
        });
        let heading = format!("Bank {index}: {}", size(bank.size_bytes));
        let note = format!("{} of it are free", size(free));
        self.heading(&heading, &note);
        let top = self.y;
        let height: f64 = pieces.iter().map(|piece| row_height(&piece.range)).sum();
        let captions = [
            (SCALE_X + SCALE_W / 2.0, "to scale"),
            (BAR_X + BAR_W / 2.0, "not to scale"),
        ];
        for (x, text) in captions {
            self.canvas.text(SMALL, Anchor::Middle, x, top, 110.0, text);
        }
        let top = top + 8.0;
        let mut y = top;
        for piece in &pieces {
            let h = row_height(&piece.range);
            let scale = |at: u64| top + height * fraction(at - bank.at, bank.size_bytes);
            let (from, to) = (scale(piece.range.at), scale(piece.range.end()));
            if !piece.regions.is_empty() {
                let (left, right) = (SCALE_X + SCALE_W, BAR_X);
                self.canvas.polygon(
                    "zoom",
                    &[
                        (left, from),
                        (right, y),
                        (right, y + h),
                        (left, to.max(from + 1.0)),
                    ],
                );
            }
            y += h;
        }
        // The whole bar first: what is thinner than a pixel is drawn over its neighbours.
        self.canvas.rect("free", SCALE_X, top, SCALE_W, height);
        for piece in pieces.iter().filter(|piece| !piece.regions.is_empty()) {
            let from = height * fraction(piece.range.at - bank.at, bank.size_bytes);
            let tall = (height * fraction(piece.range.size_bytes, bank.size_bytes)).max(1.0);
            self.fill(piece, SCALE_X, top + from, SCALE_W, tall);
        }
        let (right, bottom) = (SCALE_X - 8.0, top + height);
        let ends = [
            (top + 10.0, bank.at),
            (bottom, bank.end().saturating_sub(1)),
        ];
        for (y, at) in ends {
            let room = SCALE_X - MARGIN - 8.0;
            self.canvas
                .text(SMALL, Anchor::End, right, y, room, &address(at));
        }
        self.y = top;
        for piece in &pieces {
            self.row(piece);
        }
    }

    fn row(&mut self, piece: &Piece<'_>) {
        let h = row_height(&piece.range);
        let y = self.y;
        self.fill(piece, BAR_X, y, BAR_W, h);
        let names: Vec<_> = piece.regions.iter().map(|r| r.name.as_str()).collect();
        let notes: Vec<_> = piece.regions.iter().map(|r| r.note.as_str()).collect();
        let (name, note, font) = match piece.regions.len() {
            0 => ("free".to_owned(), String::new(), SMALL),
            1 => (names.join(""), notes.join(""), STRONG),
            _ => (names.join(" + "), "overlap!".to_owned(), STRONG),
        };
        let base = y + h / 2.0 + 4.2;
        let note_font = if piece.regions.len() > 1 {
            CROSS
        } else {
            SMALL
        };
        let canvas = &mut self.canvas;
        canvas.line("rule", BAR_X, y + h, BAR_X + BAR_W, y + h);
        canvas.line("line", BAR_X + BAR_W, y + h, WIDTH - MARGIN, y + h);
        canvas.text(font, Anchor::Start, NAME_X, base, NAME_W, &name);
        let place = range(&piece.range);
        canvas.text(SMALL, Anchor::Start, RANGE_X, base, RANGE_W, &place);
        let bytes = size(piece.range.size_bytes);
        canvas.text(NORMAL, Anchor::End, SIZE_X, base, SIZE_W, &bytes);
        canvas.text(note_font, Anchor::Start, NOTE_X, base, NOTE_W, &note);
        self.y += h;
    }

    /// Fills a place with the colours of what lies there, side by side.
    fn fill(&mut self, piece: &Piece<'_>, x: f64, y: f64, w: f64, h: f64) {
        if piece.regions.is_empty() {
            self.canvas.rect("free", x, y, w, h);
        }
        let parts = f64::from(u32::try_from(piece.regions.len()).unwrap_or(1).max(1));
        let part = w / parts;
        let mut left = x;
        for region in &piece.regions {
            self.swatch(region.usage, left, y, part, h);
            left += part;
        }
    }

    fn swatch(&mut self, usage: Use, x: f64, y: f64, w: f64, h: f64) {
        let class = match usage {
            Use::Window => "band box".to_owned(),
            Use::Reserved => "reserved".to_owned(),
            Use::Heap => "heap".to_owned(),
            Use::Module => "modules".to_owned(),
            Use::Domain(index) | Use::Shared(Some(index)) => domain_class(index),
            Use::Shared(None) => "free".to_owned(),
        };
        self.canvas.rect(&class, x, y, w, h);
        if matches!(usage, Use::Shared(_)) {
            self.canvas.hatch(x, y, w, h);
        }
    }

    /// What has a place that is in no bank.
    fn outside(&mut self, regions: &[&Region]) {
        let heading = match self.plan.machine.banks.is_empty() {
            true => "Places the document names",
            false => "Outside of the banks",
        };
        self.heading(heading, "heights are not to scale");
        for region in regions {
            if self.take() {
                self.row(&Piece {
                    range: region.range,
                    regions: vec![region],
                });
            }
        }
    }

    /// What Xen gives a place to while the machine runs.
    fn placed_later(&mut self) {
        let plan = self.plan;
        let mut rows: Vec<(Use, &str, u64, String)> = Vec::new();
        for (index, domain) in plan.domains.iter().enumerate() {
            if domain.static_memory.is_empty() {
                let note = match domain.colors.is_empty() {
                    true => format!("started by {}", starter(domain.boot)),
                    false => format!("{} cache colours", domain.colors.len()),
                };
                rows.push((Use::Domain(index), &domain.name, domain.memory_bytes, note));
            }
        }
        for memory in plan.shared_memory.iter().filter(|m| m.at.is_none()) {
            let owner = Use::Shared(None);
            rows.push((owner, &memory.id, memory.size_bytes, users(memory)));
        }
        if rows.is_empty() {
            return;
        }
        let most = rows
            .iter()
            .map(|(_, _, bytes, _)| *bytes)
            .max()
            .unwrap_or(1);
        let whole = plan.machine_memory_bytes.unwrap_or(0).max(most);
        self.heading("Xen chooses the place", "widths are to scale");
        for (usage, name, bytes, note) in rows {
            if !self.take() {
                continue;
            }
            let (y, base) = (self.y, self.y + ROW / 2.0 + 4.2);
            let room = BAR_X + BAR_W - MARGIN;
            self.canvas.rect("free", MARGIN, y + 3.0, room, ROW - 6.0);
            let wide = (room * fraction(bytes, whole)).max(2.0);
            self.swatch(usage, MARGIN, y + 3.0, wide, ROW - 6.0);
            let canvas = &mut self.canvas;
            canvas.text(STRONG, Anchor::Start, NAME_X, base, NAME_W, name);
            canvas.text(
                SMALL,
                Anchor::Start,
                RANGE_X,
                base,
                RANGE_W,
                "no fixed place",
            );
            canvas.text(NORMAL, Anchor::End, SIZE_X, base, SIZE_W, &size(bytes));
            canvas.text(SMALL, Anchor::Start, NOTE_X, base, NOTE_W, &note);
            self.y += ROW;
        }
    }

    fn legend(&mut self) {
        let y = self.y + 34.0;
        let entries = [
            (Some(Use::Domain(0)), "a domain (each its colour)", 196.0),
            (Some(Use::Shared(None)), "shared memory", 134.0),
            (Some(Use::Heap), "Xen's heap", 112.0),
            (Some(Use::Reserved), "reserved", 102.0),
            (Some(Use::Window), "room for modules", 152.0),
            (Some(Use::Module), "module", 92.0),
            (None, "free", 80.0),
        ];
        let mut x = MARGIN;
        for (usage, text, step) in entries {
            match usage {
                Some(usage) => self.swatch(usage, x, y - 10.0, 16.0, 12.0),
                None => self.canvas.rect("free", x, y - 10.0, 16.0, 12.0),
            }
            let room = step - 24.0;
            self.canvas
                .text(SMALL, Anchor::Start, x + 22.0, y, room + 4.0, text);
            x += step + 12.0;
        }
        self.y = y + 20.0;
        let mut lines = Vec::new();
        if !self.plan.machine.banks.is_empty() {
            lines.push(
                "The wide bar is not to scale: a piece's height grows with the logarithm of its size, so that a page is \
                 seen beside a gigabyte."
                    .to_owned(),
            );
        }
        let boot = &self.plan.boot;
        let loaded = [
            ("Xen", boot.xen_at),
            ("its device tree", boot.device_tree_at),
        ];
        let loaded: Vec<_> = loaded
            .iter()
            .filter_map(|(what, at)| Some(format!("{what} at {}", address((*at)?))))
            .collect();
        if !loaded.is_empty() {
            lines.push(format!("U-Boot loads {}.", loaded.join(" and ")));
        }
        if self.hidden > 0 {
            lines.push(format!("{} more pieces are not drawn.", self.hidden));
        }
        for line in lines {
            let room = WIDTH - 2.0 * MARGIN;
            self.canvas
                .text(SMALL, Anchor::Start, MARGIN, self.y, room, &line);
            self.y += 16.0;
        }
    }
}

fn starter(boot: crate::plan::Boot) -> &'static str {
    match boot {
        crate::plan::Boot::Toolstack => "the toolstack",
        crate::plan::Boot::Dom0less => "Xen",
    }
}

fn sum(ranges: &[Range]) -> u64 {
    ranges
        .iter()
        .fold(0, |sum, range| sum.saturating_add(range.size_bytes))
}

/// Part of a whole, 0 to 1.
fn fraction(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 / whole as f64).min(1.0)
}

/// Grows with the logarithm of the size.
fn row_height(range: &Range) -> f64 {
    let pages = (range.size_bytes / (4 * KIB)).max(1);
    ROW + 1.5 * f64::from(pages.ilog2())
}

/// An address, as documents have it.
fn address(at: u64) -> String {
    Address(at).to_string()
}

fn range(range: &Range) -> String {
    let last = range.end().saturating_sub(1);
    format!("{} – {}", address(range.at), address(last))
}

/// A size as people say it: exact where that is short, else to a tenth of the largest unit.
fn size(bytes: u64) -> String {
    let exact = ByteSize(bytes).to_string();
    let (number, unit) = match exact.find(|c: char| !c.is_ascii_digit()) {
        Some(unit) => exact.split_at(unit),
        None => (exact.as_str(), ""),
    };
    if number.len() <= 4 {
        return format!("{number} {unit}");
    }
    let units = [("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];
    let largest = units.iter().find(|(_, factor)| bytes >= *factor);
    let (unit, factor) = largest.copied().unwrap_or(("B", 1));
    format!("≈ {:.1} {unit}", bytes as f64 / factor as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_in_documents() {
        assert_eq!(address(0x4000_0000), "0x4000_0000");
        assert_eq!(address(0x901_0000), "0x901_0000");
        assert_eq!(address(0), "0x0");
        assert_eq!(size(128 << 20), "128 MiB");
        assert_eq!(size((1 << 30) - (4 << 10)), "≈ 1024.0 MiB");
    }
}
