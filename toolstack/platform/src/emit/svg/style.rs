//! Colours and letters: one style sheet for light and dark.
//!
//! Domains have the colours of Okabe and Ito, which people with any kind of colour blindness tell apart; safety levels go from
//! light to dark; vermilion is kept for what crosses levels.

use crate::plan::Asil;

/// Class names of domains' colours; further domains have the same colours in a lighter shade.
const COLORS: usize = 7;

/// The class of the domain with this number.
pub(super) fn domain_class(index: usize) -> String {
    let lighter = match (index / COLORS) % 2 {
        0 => "",
        _ => " lighter",
    };
    format!("d{}{lighter}", index % COLORS)
}

/// The class of a safety level.
pub(super) fn asil_class(asil: Asil) -> &'static str {
    match asil {
        Asil::Qm => "qm",
        Asil::A => "aa",
        Asil::B => "ab",
        Asil::C => "ac",
        Asil::D => "ad",
    }
}

/// What stands in a badge.
pub(super) fn asil_label(asil: Asil) -> String {
    match asil {
        Asil::Qm => "QM".to_owned(),
        level => format!("ASIL {}", level.word()),
    }
}

/// The style sheet. Everything is below the class `avps`, so that a picture inside a page changes nothing around it.
pub(super) const SHEET: &str = "\
.avps text{font-family:system-ui,'DejaVu Sans','Liberation Sans',Arial,sans-serif;fill:#1b1f24}\
.avps .page{fill:#fff;stroke:#d5dae0}\
.avps .muted{fill:#57606a}\
.avps .band{fill:#f3f5f7}\
.avps .box{fill:#fff;stroke:#8b949e}\
.avps .open{stroke:#6e7781;fill:none;stroke-dasharray:3 3}\
.avps .line{stroke:#c3cad1;fill:none}\
.avps .rule{stroke:#8b949e;fill:none}\
.avps .free{fill:#fff;stroke:#c3cad1}\
.avps .reserved{fill:#6e7781;stroke:#57606a}\
.avps .heap{fill:#24292f;stroke:#24292f}\
.avps .modules{fill:#d0b48a;stroke:#8a6d3b}\
.avps .zoom{fill:#57606a;opacity:.12}\
.avps .link{stroke:#3d4650;fill:none;stroke-width:1.5}\
.avps .tip{fill:#3d4650}\
.avps .cross{stroke:#d55e00;stroke-width:3}\
.avps .cross-tip{fill:#d55e00}\
.avps .cross-band{fill:#d55e00;opacity:.16}\
.avps text.cross-text{fill:#b34700}\
.avps .hatch{stroke:#1b1f24;stroke-width:1.6}\
.avps .d0{fill:#0072b2}.avps .d1{fill:#e69f00}.avps .d2{fill:#009e73}.avps .d3{fill:#cc79a7}\
.avps .d4{fill:#56b4e9}.avps .d5{fill:#f0e442}.avps .d6{fill:#9a8c7c}\
.avps .lighter{opacity:.5}.avps .faint{opacity:.28}\
.avps .badge{stroke:#57606a}\
.avps .qm{fill:#e6e9ec}.avps .aa{fill:#c6dbef}.avps .ab{fill:#6baed6}.avps .ac{fill:#2171b5}.avps .ad{fill:#08306b}\
.avps text.on-qm,.avps text.on-aa,.avps text.on-ab{fill:#0b1a2b}\
.avps text.on-ac,.avps text.on-ad{fill:#fff}\
@media (prefers-color-scheme:dark){\
.avps text{fill:#e6edf3}\
.avps .page{fill:#0f1318;stroke:#30363d}\
.avps .muted{fill:#9aa5b1}\
.avps .band{fill:#171c23}\
.avps .box{fill:#1b212a;stroke:#6e7781}\
.avps .line{stroke:#3a424d}\
.avps .rule{stroke:#6e7781}\
.avps .free{fill:#0f1318;stroke:#3a424d}\
.avps .reserved{fill:#6e7781;stroke:#8b949e}\
.avps .heap{fill:#d0d7de;stroke:#d0d7de}\
.avps .zoom{fill:#9aa5b1}\
.avps .link{stroke:#b6c0ca}\
.avps .tip{fill:#b6c0ca}\
.avps .cross{stroke:#ff8c42}\
.avps .cross-tip{fill:#ff8c42}\
.avps text.cross-text{fill:#ff9f5f}\
.avps .hatch{stroke:#fff}\
.avps .badge{stroke:#9aa5b1}\
}";
