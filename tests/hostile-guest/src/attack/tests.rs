use super::*;
use crate::rings::tests::PlainPages;

/// A device that takes everything and answers nothing.
#[derive(Default)]
struct Silent {
    status: u64,
    widths: BTreeMap<u32, u64>,
    offsets: std::collections::BTreeSet<u64>,
}

impl Registers for Silent {
    fn read(&mut self, offset: u64, width: u32) -> u64 {
        self.write(offset, width, self.status);
        match offset {
            at::STATUS => self.status,
            at::MAGIC => 0x7472_6976,
            at::VERSION | at::DEVICE_ID => 2,
            _ => 0,
        }
    }

    fn write(&mut self, offset: u64, width: u32, value: u64) {
        assert!(offset.is_multiple_of(width.into()) && offset + u64::from(width) <= WINDOW);
        *self.widths.entry(width).or_default() += 1;
        self.offsets.insert(offset);
        if offset == at::STATUS {
            self.status = value & 0xff;
        }
    }
}

#[test]
fn an_attack_reaches_every_register_with_every_width_and_is_counted() {
    let (mut device, mut pages) = (Silent::default(), PlainPages::new());
    let mut driver = Driver::new(&mut device, &mut pages, 1);
    driver.identify().unwrap();
    driver.attack(100_000);
    let figures = driver.figures(0);
    assert!(figures["operations"] >= 100_000);
    for kind in ["accesses", "descriptors", "rings", "payload", "pages"] {
        assert!(figures[kind] > 1000, "{kind}: {figures:?}");
    }
    for offset in (0..WINDOW).step_by(4) {
        assert!(device.offsets.contains(&offset), "{offset:#x}");
    }
    assert_eq!(
        device.widths.keys().copied().collect::<Vec<_>>(),
        [1, 2, 4, 8]
    );
}

#[test]
fn the_same_seed_does_the_same() {
    let run = |seed| {
        let (mut device, mut pages) = (Silent::default(), PlainPages::new());
        Driver::new(&mut device, &mut pages, seed).attack(5000);
        pages.0
    };
    assert!(run(3) == run(3));
    assert!(run(3) != run(4));
}
