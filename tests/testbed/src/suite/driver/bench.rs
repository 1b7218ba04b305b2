//! What a request costs in a driver domain, and how its rate compares with a disk that dom0 serves the same guest.

use super::super::bench::Figures;
use super::super::bench_block::{CLASSES, Class, OURS, Ours, measure};
use super::super::guests;
use super::super::{Context, Failed, ensure};
use super::platform;
use crate::progress::Step;

/// The guest's disk that dom0 serves, over grants as well.
const OF_DOM0: &str = "/dev/vdd";

/// Measures the classes whose name holds `filter`, each `rounds` times with `requests` requests.
pub(in super::super) fn run(
    context: &Context,
    filter: &str,
    requests: u32,
    rounds: u32,
) -> Result<Figures, Failed> {
    let classes: Vec<&Class> = CLASSES
        .iter()
        .filter(|class| class.name.contains(filter))
        .collect();
    ensure(!classes.is_empty(), || {
        format!("no class has {filter:?} in its name")
    })?;
    platform::running(context)?;
    let (driver, guest) = (context.guest("storage")?, context.guest("alpha")?);
    // Holes would be answered without touching memory: both images get contents first.
    for disk in [OURS, OF_DOM0] {
        guests::load(&guest, &["exercise", disk, "--bytes", "16777216"])?;
    }
    let ours = Ours {
        backend: &driver,
        name: "alpha",
        guest: &guest,
    };
    let mut figures = Figures::default();
    for class in classes {
        let step = Step::begin(class.name, "measuring");
        ours.counts(class, requests, &mut figures)?;
        let mut ratios = Vec::new();
        for _ in 0..rounds {
            let of_driver = measure(&guest, OURS, class, class.requests(requests))?;
            let of_dom0 = measure(&guest, OF_DOM0, class, class.requests(requests))?;
            ratios.push(of_driver / of_dom0);
        }
        figures.spread(&format!("ratio.dom0.{}", class.name), ratios);
        step.done("measured");
    }
    figures.notes.push("Counts are per request, of the backend in the driver domain. Ratios are requests per second of a disk in its memory divided by those of a disk in dom0's tmpfs that dom0 serves the same guest; both over grants.".into());
    Ok(figures)
}
