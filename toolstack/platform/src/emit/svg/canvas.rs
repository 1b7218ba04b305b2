//! Draws shapes and texts, and remembers where the texts are.

use std::fmt::Write;

use super::style::{SHEET, asil_class, asil_label};
use super::text::{clean, escape, fit, width};
use crate::plan::Asil;

/// A finished picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// The file.
    pub svg: String,
    /// Width in pixels.
    pub width: f64,
    /// Height in pixels.
    pub height: f64,
    /// Where texts stand, with the room kept for them.
    pub texts: Vec<TextBox>,
}

/// A text in a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct TextBox {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Room kept for it.
    pub width: f64,
    /// Height of its line.
    pub height: f64,
    /// What it says.
    pub text: String,
}

/// Where a text is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Font {
    pub(super) size: f64,
    pub(super) bold: bool,
    pub(super) class: &'static str,
}

pub(super) const TITLE: Font = font(18.0, true, "");
pub(super) const HEAD: Font = font(13.0, true, "");
pub(super) const NORMAL: Font = font(12.0, false, "");
pub(super) const STRONG: Font = font(12.0, true, "");
pub(super) const SMALL: Font = font(11.0, false, "muted");
pub(super) const CROSS: Font = font(11.0, true, "cross-text");

const fn font(size: f64, bold: bool, class: &'static str) -> Font {
    Font { size, bold, class }
}

/// Height of a line of text, in parts of the font's size.
const LINE: f64 = 1.25;
/// Part of a line above its base.
const ASCENT: f64 = 0.97;

/// A picture being drawn.
pub(super) struct Canvas {
    name: &'static str,
    body: String,
    texts: Vec<TextBox>,
}

impl Canvas {
    /// `name` tells this picture's ids from those of others on the same page.
    pub(super) fn new(name: &'static str) -> Self {
        Canvas {
            name,
            body: String::new(),
            texts: Vec::new(),
        }
    }

    pub(super) fn rect(&mut self, class: &str, x: f64, y: f64, w: f64, h: f64) {
        self.rounded(class, x, y, w, h, 0.0);
    }

    pub(super) fn rounded(&mut self, class: &str, x: f64, y: f64, w: f64, h: f64, radius: f64) {
        let _ = write!(
            self.body,
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"",
            n(x),
            n(y),
            n(w),
            n(h)
        );
        if radius > 0.0 {
            let _ = write!(self.body, " rx=\"{}\"", n(radius));
        }
        self.body.push_str("/>\n");
    }

    /// Diagonal lines over a place: shared memory.
    pub(super) fn hatch(&mut self, x: f64, y: f64, w: f64, h: f64) {
        let _ = writeln!(
            self.body,
            "<rect fill=\"url(#avps-{}-hatch)\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
            self.name,
            n(x),
            n(y),
            n(w),
            n(h)
        );
    }

    pub(super) fn line(&mut self, class: &str, x1: f64, y1: f64, x2: f64, y2: f64) {
        let _ = writeln!(
            self.body,
            "<line class=\"{class}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>",
            n(x1),
            n(y1),
            n(x2),
            n(y2)
        );
    }

    pub(super) fn polygon(&mut self, class: &str, points: &[(f64, f64)]) {
        let points: Vec<_> = points
            .iter()
            .map(|(x, y)| format!("{},{}", n(*x), n(*y)))
            .collect();
        let _ = writeln!(
            self.body,
            "<polygon class=\"{class}\" points=\"{}\"/>",
            points.join(" ")
        );
    }

    pub(super) fn circle(&mut self, class: &str, x: f64, y: f64, r: f64) {
        let _ = writeln!(
            self.body,
            "<circle class=\"{class}\" cx=\"{}\" cy=\"{}\" r=\"{}\"/>",
            n(x),
            n(y),
            n(r)
        );
    }

    /// A text whose base is at `y`, cut to `room`.
    pub(super) fn text(
        &mut self,
        font: Font,
        anchor: Anchor,
        x: f64,
        y: f64,
        room: f64,
        text: &str,
    ) {
        let text = clean(text);
        if text.is_empty() {
            return;
        }
        let shown = fit(&text, font.size, font.bold, room);
        let wide = width(&shown, font.size, font.bold);
        let (left, anchor) = match anchor {
            Anchor::Start => (x, ""),
            Anchor::Middle => (x - wide / 2.0, " text-anchor=\"middle\""),
            Anchor::End => (x - wide, " text-anchor=\"end\""),
        };
        let class = match font.class {
            "" => String::new(),
            class => format!(" class=\"{class}\""),
        };
        let weight = if font.bold {
            " font-weight=\"600\""
        } else {
            ""
        };
        let tip = match shown == text {
            true => String::new(),
            false => format!("<title>{}</title>", escape(&text)),
        };
        let _ = writeln!(
            self.body,
            "<text{class}{anchor}{weight} x=\"{}\" y=\"{}\" font-size=\"{}\">{tip}{}</text>",
            n(x),
            n(y),
            n(font.size),
            escape(&shown)
        );
        self.texts.push(TextBox {
            x: left,
            y: y - font.size * ASCENT,
            width: wide,
            height: font.size * LINE,
            text: shown,
        });
    }

    /// A safety level in a box; gives the box's width. `y` is the middle.
    pub(super) fn badge(&mut self, x: f64, y: f64, asil: Asil) -> f64 {
        let wide = BADGE;
        let class = asil_class(asil);
        self.rounded(&format!("badge {class}"), x, y - 8.0, wide, 16.0, 8.0);
        let font = Font {
            size: 10.0,
            bold: true,
            class: match asil {
                Asil::Qm => "on-qm",
                Asil::A => "on-aa",
                Asil::B => "on-ab",
                Asil::C => "on-ac",
                Asil::D => "on-ad",
            },
        };
        let label = asil_label(asil);
        self.text(font, Anchor::Middle, x + wide / 2.0, y + 3.6, wide, &label);
        wide
    }

    /// The picture, with a margin's worth of page around what was drawn.
    pub(super) fn finish(self, width: f64, height: f64, title: &str, description: &str) -> Picture {
        let (w, h, name) = (n(width), n(height), self.name);
        let (title, description) = (escape(&clean(title)), escape(&clean(description)));
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"avps\" width=\"{w}\" height=\"{h}\" \
             viewBox=\"0 0 {w} {h}\" role=\"img\" \
             aria-labelledby=\"avps-{name}-title avps-{name}-desc\">\n\
             <title id=\"avps-{name}-title\">{title}</title>\n\
             <desc id=\"avps-{name}-desc\">{description}</desc>\n\
             <style>{SHEET}</style>\n\
             <defs><pattern id=\"avps-{name}-hatch\" width=\"7\" height=\"7\" \
             patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
             <line class=\"hatch\" x1=\"1\" y1=\"0\" x2=\"1\" y2=\"7\"/></pattern></defs>\n\
             <rect class=\"page\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"6\"/>\n\
             {}</svg>\n",
            n(width - 1.0),
            n(height - 1.0),
            self.body
        );
        Picture {
            svg,
            width,
            height,
            texts: self.texts,
        }
    }
}

/// Width of a badge.
pub(super) const BADGE: f64 = 52.0;

/// A coordinate, to a tenth of a pixel.
fn n(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}
