//! Measures the engines side by side, on an idle machine:
//! `cargo test -p devices --config profile.test.package.devices.opt-level=3 engines_compared -- --ignored --nocapture`.
//!
//! Time is per request, in the median batch. AVPS_BENCH_IMAGE may name a file or block device of at least 64 MiB to use
//! (its contents are lost) instead of a new file in the current directory.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

use super::bench::*;
use crate::block::{Block, BlockConfig, Cache, IoEngine, open_image};

const SIZE: u64 = 64 << 20;
const LARGE: u32 = 64 << 10;

/// Forgets what the page cache knows of the image.
fn chill(image: &File) {
    image.sync_all().unwrap();
    fadvise(image.as_fd(), 0, None, Advice::DontNeed).unwrap();
}

/// Sectors all over the image, a new one each time.
fn scattered(count: &mut u64, len: u32) -> u64 {
    *count += 1;
    let places = SIZE / u64::from(len);
    (*count * 0x9e37_79b9 % places) * u64::from(len / 512)
}

struct Load {
    name: &'static str,
    kind: u32,
    len: u32,
    depth: u64,
    cold: bool,
    flush: bool,
}

fn measure(bench: &mut Bench, load: &Load) -> Duration {
    let mut place = 0;
    let mut spent = Vec::new();
    let rounds = match load.cold || load.flush {
        true => 40,
        false => 400,
    };
    fadvise(bench.image.as_fd(), 0, None, Advice::Random).unwrap();
    for _ in 0..rounds {
        if load.cold {
            chill(&bench.image);
        }
        for n in 0..load.depth {
            let data = [(DATA + n * u64::from(LARGE), load.len)];
            let sector = scattered(&mut place, load.len);
            match load.kind {
                IN => bench.add(IN, sector, &[], &data),
                _ => bench.add(OUT, sector, &data, &[]),
            }
        }
        if load.flush {
            bench.add(FLUSH, 0, &[], &[]);
        }
        let started = Instant::now();
        bench.run();
        spent.push(started.elapsed());
    }
    spent.sort_unstable();
    spent[rounds / 2] / u32::try_from(load.depth).unwrap()
}

fn disk(path: &Path, engine: IoEngine, cache: Cache) -> Bench {
    let config = BlockConfig {
        engine,
        cache,
        ..BlockConfig::default()
    };
    let image = open_image(path, &config).unwrap();
    Bench::of(
        Block::new(config, image.try_clone().unwrap()).unwrap(),
        image,
        |all| all,
    )
}

#[test]
#[ignore = "a measurement"]
fn engines_compared() {
    let own = std::env::var_os("AVPS_BENCH_IMAGE").is_none();
    let path = PathBuf::from(
        std::env::var_os("AVPS_BENCH_IMAGE").unwrap_or_else(|| "engines_compared.img".into()),
    );
    if own {
        std::fs::write(&path, vec![1; SIZE as usize]).unwrap();
    }
    let load = |name, kind, len, depth, cold, flush| Load {
        name,
        kind,
        len,
        depth,
        cold,
        flush,
    };
    let loads = [
        load("read 4k d1", IN, 4096, 1, false, false),
        load("read 4k d32", IN, 4096, 32, false, false),
        load("read 64k d32", IN, LARGE, 32, false, false),
        load("read 4k d1 cold", IN, 4096, 1, true, false),
        load("read 4k d32 cold", IN, 4096, 32, true, false),
        load("read 64k d32 cold", IN, LARGE, 32, true, false),
        load("write 4k d1", OUT, 4096, 1, false, false),
        load("write 4k d32", OUT, 4096, 32, false, false),
        load("write 64k d32", OUT, LARGE, 32, false, false),
        load("write 4k d32 flush", OUT, 4096, 32, false, true),
    ];
    let engines = [
        IoEngine::Inline,
        IoEngine::Threads,
        IoEngine::IoUring,
        IoEngine::Auto,
    ];
    for cache in [Cache::Writeback, Cache::Direct] {
        println!("{cache:?}, microseconds per request: {engines:?}");
        for load in &loads {
            print!("{:20}", load.name);
            for engine in engines {
                let spent = measure(&mut disk(&path, engine, cache), load);
                print!(" {:9.2}", spent.as_secs_f64() * 1e6);
            }
            println!();
        }
    }
    if own {
        std::fs::remove_file(&path).unwrap();
    }
}
