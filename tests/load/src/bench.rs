//! Times requests of one kind. Figures are for ratios within one boot, never absolute.

use crate::args::Bench;
use crate::buffer::{Buffer, open_direct};
use crate::pattern::Random;
use serde::Serialize;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

#[derive(Serialize)]
pub(crate) struct Report {
    requests: u64,
    bytes: u64,
    seconds: f64,
    requests_per_second: f64,
}

pub(crate) fn run(options: &Bench) -> Result<Report, String> {
    let slots = options.bytes / options.request.max(1);
    if options.request < 512 || slots == 0 {
        return Err("a request is at least 512 bytes and at most --bytes".into());
    }
    let file = open_direct(&options.device, options.kind.writes())?;
    let taken = AtomicU64::new(0);
    let depth = options.depth.max(1) as u64;
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..depth)
            .map(|thread| {
                let (file, taken) = (&file, &taken);
                scope.spawn(move || -> Result<(), String> {
                    let mut random = Random::new(options.seed ^ (thread << 48));
                    let mut buffer = Buffer::new(options.request)?;
                    let part = buffer.bytes_mut(options.request as usize);
                    loop {
                        let number = taken.fetch_add(1, Ordering::Relaxed);
                        if number >= options.requests {
                            return Ok(());
                        }
                        let slot = if options.kind.random() {
                            random.below(slots)
                        } else {
                            number % slots
                        };
                        let offset = slot * options.request;
                        if options.kind.writes() {
                            file.write_all_at(part, offset)
                        } else {
                            file.read_exact_at(part, offset)
                        }
                        .map_err(|error| format!("request at {offset}: {error}"))?;
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a thread panicked".to_owned())?)
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Report {
        requests: options.requests,
        bytes: options.requests * options.request,
        seconds,
        requests_per_second: options.requests as f64 / seconds,
    })
}
