//! What driver and configuration choose, and how long it lasts.

use super::bench::Bench;
use crate::block::{BlockConfig, Cache};
use crate::device::Device;

#[test]
fn without_flush_every_write_is_durable_before_it_completes() {
    const FLUSH_BIT: u64 = 1 << 9;
    let through = |features: &dyn Fn(u64) -> u64, config: BlockConfig| {
        let bench = Bench::with(config, 1 << 20, features);
        bench.block.writes_through()
    };
    assert!(!through(&|all| all, BlockConfig::default()));
    assert!(through(&|all| all & !FLUSH_BIT, BlockConfig::default()));
    let config = BlockConfig {
        cache: Cache::Writethrough,
        ..BlockConfig::default()
    };
    assert!(through(&|all| all, config));
}

#[test]
fn the_driver_may_switch_the_cache_off_until_it_resets_the_device() {
    let bench = Bench::new();
    let writeback = || {
        let mut byte = [9];
        bench.block.read_config(32, &mut byte);
        byte[0]
    };
    assert_eq!(writeback(), 1);
    bench.block.write_config(32, &[0]);
    assert_eq!(writeback(), 0);
    assert!(bench.block.writes_through());
    bench.block.write_config(32, &[2]);
    bench.block.write_config(31, &[1, 1]);
    bench.block.write_config(0, &[1; 8]);
    assert_eq!(writeback(), 0);
    bench.block.reset();
    assert_eq!(writeback(), 1);
}

#[test]
fn a_restarted_worker_keeps_the_cache_mode_the_driver_chose() {
    let (before, after) = (Bench::new(), Bench::new());
    before.block.write_config(32, &[0]);
    after.block.restore_state(before.block.saved_state());
    assert!(after.block.writes_through());
    before.block.write_config(32, &[1]);
    after.block.restore_state(before.block.saved_state());
    assert!(!after.block.writes_through());
    // No state, and bits of a later version, change nothing.
    for state in [0, u64::MAX << 2] {
        after.block.restore_state(state);
        assert!(!after.block.writes_through());
    }
    let config = BlockConfig {
        cache: Cache::Writethrough,
        ..BlockConfig::default()
    };
    let through = Bench::with(config, 1 << 20, |all| all);
    assert_eq!(through.block.saved_state(), 0);
    through.block.restore_state(before.block.saved_state());
    assert!(through.block.writes_through());
}
