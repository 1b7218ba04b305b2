//! Which engine is chosen, and what happens where the kernel refuses io_uring.

use super::*;
use crate::block::config::BlockConfig;
use crate::buffer::Buffers;

fn shared(engine: IoEngine, cache: Cache) -> Arc<Shared> {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    let config = BlockConfig {
        engine,
        cache,
        ..BlockConfig::default()
    };
    let image = Image::new(file, &config).unwrap();
    Arc::new(Shared::new(config, image))
}

fn write(offset: u64, byte: u8) -> Job<u64> {
    let mut buffer = Buffers::new(4096).take(4096).unwrap();
    buffer.first_mut(4096).unwrap().fill(byte);
    Job {
        operation: Operation::Write(offset),
        payload: Payload::Private(buffer, 4096),
        owner: offset,
    }
}

fn finish(engine: &mut Engine<u64>) -> Vec<(u64, bool)> {
    engine.start();
    let mut finished = Vec::new();
    engine.collect(&mut finished);
    while engine.in_flight() > 0 {
        engine.wait();
        engine.collect(&mut finished);
    }
    let mut ends: Vec<_> = finished
        .into_iter()
        .map(|finished| (finished.job.owner, finished.result.is_ok()))
        .collect();
    ends.sort_unstable();
    ends
}

/// Makes system calls of this number fail with EPERM on this thread and those it starts.
fn forbid(number: libc::c_long) {
    const LOAD_NUMBER: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const FAIL: u32 = 0x0005_0000;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        step(LOAD_NUMBER, 0, 0, 0),
        step(JUMP_IF_EQUAL, 0, 1, u32::try_from(number).unwrap()),
        step(RETURN, 0, 0, FAIL | libc::EPERM.unsigned_abs()),
        step(RETURN, 0, 0, ALLOW),
    ];
    let filter = libc::sock_fprog {
        len: 4,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: both calls only read their arguments, which outlive them.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const filter
            ),
            0
        );
    }
}

fn on_own_thread(test: impl FnOnce() + Send + 'static) {
    std::thread::spawn(test).join().unwrap();
}

#[test]
fn threads_serve_where_io_uring_is_refused() {
    on_own_thread(|| {
        forbid(libc::SYS_io_uring_setup);
        for engine in [IoEngine::Auto, IoEngine::IoUring] {
            let shared = shared(engine, Cache::Writeback);
            assert!(matches!(choose::<u64>(&shared), Way::Threads(_)));
            let mut engine = Engine::new(shared);
            for n in 0..40 {
                engine.submit(write(n * 4096, 1));
            }
            assert!(finish(&mut engine).iter().all(|&(_, fine)| fine));
            for n in 0..40 {
                let mut read = write(n * 4096, 2);
                read.operation = Operation::Read(n * 4096);
                engine.submit(read);
            }
            engine.submit(Job {
                operation: Operation::Sync,
                ..write(0, 0)
            });
            let ends = finish(&mut engine);
            assert_eq!(ends.len(), 41);
            assert!(ends.iter().all(|&(_, fine)| fine));
        }
    });
}

#[test]
fn a_thread_takes_over_where_io_uring_is_refused_later() {
    on_own_thread(|| {
        let shared = shared(IoEngine::IoUring, Cache::Writeback);
        if !matches!(choose::<u64>(&shared), Way::Ring(_)) {
            eprintln!("this kernel offers no io_uring: there is nothing to refuse");
            return;
        }
        let mut engine = Engine::new(Arc::clone(&shared));
        engine.submit(write(0, 1));
        assert_eq!(finish(&mut engine), [(0, true)]);
        forbid(libc::SYS_io_uring_enter);
        for round in 0..3 {
            let ends: Vec<_> = (0..100).map(|n| (n * 4096, true)).collect();
            for &(offset, _) in &ends {
                engine.submit(write(offset, round));
            }
            assert_eq!(finish(&mut engine), ends);
        }
        let mut back = [0; 4096];
        shared.image.read_at(&mut back, 99 * 4096).unwrap();
        assert_eq!(back, [2; 4096]);
    });
}

#[test]
fn direct_io_never_goes_through_io_uring() {
    for engine in [IoEngine::Auto, IoEngine::IoUring] {
        let way = choose::<u64>(&shared(engine, Cache::Direct));
        assert!(matches!(way, Way::Threads(_)));
    }
}
