//! A driver as Linux's is: messages in a guest's memory, calls in registers.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use optee_abi::message::{Direction, Param};
use optee_abi::smc::{Answer, FunctionId, ReturnCode};
use optee_abi::{SessionId, ShmRef, TeeResult, Uuid};
use xen::DomId;
use xen::vcpu::VcpuContext;

use super::world::{Applications, Ram};
use crate::audit::Recorder;
use crate::counters::Counters;
use crate::guest::calls::{Calls, Held};
use crate::guest::desk::{Desk, Taken, Work};
use crate::guest::journal::Journal;
use crate::guest::memory::Registered;
use crate::guest::sessions::Sessions;
use crate::rights::{Pace, Rights};
use crate::world::SecureWorld;
use crate::{Attachment, Shared};

/// Where messages and lists lie.
pub(super) const MESSAGE: u64 = 0x1000;
const LIST: u64 = 0x2000;

pub(super) struct Driver {
    pub(super) desk: Desk,
    pub(super) ram: Ram,
    pub(super) applications: Arc<Applications>,
}

/// A message's bytes.
pub(super) struct Params(pub(super) Vec<u8>);

/// What a call was answered.
pub(super) struct Answered {
    pub(super) result: TeeResult,
    pub(super) session: u32,
    pub(super) sizes: Vec<u64>,
    pub(super) values: Vec<[u64; 2]>,
}

impl Params {
    fn new(command: u32, function: u32, session: u32, params: &[[u64; 4]]) -> Self {
        let count = u32::try_from(params.len()).unwrap();
        let header = [command, function, session, 0, 0, 0, 0, count];
        let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(params.iter().flatten().flat_map(|word| word.to_le_bytes()));
        Self(bytes)
    }

    pub(super) fn close(session: u32) -> Self {
        Self::new(2, 0, session, &[])
    }
}

fn step(direction: Direction) -> u64 {
    match direction {
        Direction::Input => 0,
        Direction::Output => 1,
        Direction::Inout => 2,
    }
}

fn raw(param: &Param) -> [u64; 4] {
    match param {
        Param::None => [0; 4],
        Param::Value { direction, a, b, c } => [1 + step(*direction), *a, *b, *c],
        Param::Null { direction, size } => [9 + step(*direction), 0, *size, 0],
        Param::Registered { direction, memory } => [
            5 + step(*direction),
            memory.offset,
            memory.size,
            memory.shm_ref.0,
        ],
        Param::Temporary { .. } => unreachable!("Linux sends none"),
    }
}

impl Driver {
    pub(super) fn new(shared: &Arc<Shared>, number: u64, rights: Rights) -> Self {
        let domid = DomId::new(u16::try_from(number).unwrap()).unwrap();
        let ram = Ram::new();
        let applications = Arc::new(Applications::default());
        let tee: Arc<dyn SecureWorld> = Arc::clone(&applications) as _;
        let journal = Journal::open(&shared.journals, domid, "test").unwrap();
        let interrupt = rights.interrupt;
        let desk = Desk {
            shared: Arc::clone(shared),
            attachment: Attachment(number),
            rights: RwLock::new(Arc::new(rights)),
            pace: Mutex::new(Pace::new(Instant::now())),
            interrupt,
            tee,
            memory: Registered::new(Box::new(ram.clone()), journal),
            // As two guests that began at other times.
            sessions: Sessions::new(u32::try_from(number).unwrap() * 1000),
            calls: Calls::new(shared.hold),
            recorder: Recorder::new(domid, "guest"),
            counters: Counters::new(Arc::default()),
        };
        Self {
            desk,
            ram,
            applications,
        }
    }

    pub(super) fn fill(&self, address: u64, bytes: &[u8]) {
        let at = usize::try_from(address).unwrap();
        self.ram.bytes.lock().unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn bytes(&self, address: u64, length: usize) -> Vec<u8> {
        let at = usize::try_from(address).unwrap();
        self.ram.bytes.lock().unwrap()[at..at + length].to_vec()
    }

    fn number(&self, address: u64) -> u64 {
        u64::from_le_bytes(self.bytes(address, 8).try_into().unwrap())
    }

    /// Pages of the guest that are mapped.
    pub(super) fn ram_in_use(&self) -> usize {
        self.ram.mapped.load(Ordering::SeqCst)
    }

    pub(super) fn call(&self, registers: [u64; 8]) -> Taken {
        let mut context = VcpuContext::default();
        context.x[..8].copy_from_slice(&registers);
        self.desk.called(Held { vcpu: 0, context })
    }

    /// A call without arguments that is answered at once.
    pub(super) fn ask(&self, function: FunctionId) -> Answer {
        match self.call([function.0.into(), 0, 0, 0, 0, 0, 0, 0]) {
            Taken::Answered(due) => due.answer,
            taken => panic!("{taken:?}"),
        }
    }

    /// Has a message begun.
    pub(super) fn begin(&self, message: &Params) -> Result<Work, Answer> {
        self.fill(MESSAGE, &message.0);
        let function = FunctionId::CALL_WITH_RPC_ARG.0.into();
        match self.call([function, 0, MESSAGE, 0, 0, 0, 0, 0]) {
            Taken::Work(work) => Ok(work),
            Taken::Answered(due) => Err(due.answer),
            Taken::Held => panic!("held without a call"),
        }
    }

    pub(super) fn resume(&self, thread: u32) -> Answer {
        let function = FunctionId::RETURN_FROM_RPC.0.into();
        match self.call([function, 0, 0, thread.into(), 0, 0, 0, 0]) {
            Taken::Answered(due) => due.answer,
            taken => panic!("{taken:?}"),
        }
    }

    /// Has a message carried out.
    fn send(&self, message: &Params, meta: u64) -> Answered {
        match self.begin(message) {
            Ok(work) => {
                let due = self.desk.work(work).expect("an answer");
                assert_eq!(due.answer, Answer::from(ReturnCode::Ok));
            }
            Err(answer) => assert_eq!(answer, Answer::from(ReturnCode::Ok)),
        }
        let word = |at: u64| {
            let bytes = self.bytes(MESSAGE + at, 4);
            u32::from_le_bytes(bytes.try_into().unwrap())
        };
        let params = u64::from(word(28)).saturating_sub(meta);
        let param = |number: u64| MESSAGE + 32 + (meta + number) * 32;
        Answered {
            result: TeeResult(word(20)),
            session: word(8),
            sizes: (0..params).map(|n| self.number(param(n) + 16)).collect(),
            values: (0..params)
                .map(|n| [self.number(param(n) + 8), self.number(param(n) + 16)])
                .collect(),
        }
    }

    fn done(answered: &Answered) -> Result<(), TeeResult> {
        match answered.result {
            TeeResult::SUCCESS => Ok(()),
            refused => Err(refused),
        }
    }

    /// Shares memory in one piece, which begins `offset` bytes behind this page's start.
    pub(super) fn share(
        &self,
        shm_ref: ShmRef,
        page: u64,
        size: u64,
        offset: u64,
    ) -> Result<(), TeeResult> {
        let pages = (offset + size).div_ceil(4096);
        let list: Vec<u8> = (0..pages)
            .flat_map(|number| (page + number * 4096).to_le_bytes())
            .collect();
        self.fill(LIST, &list);
        self.share_list(shm_ref, LIST + offset, size)
    }

    pub(super) fn share_list(
        &self,
        shm_ref: ShmRef,
        list: u64,
        size: u64,
    ) -> Result<(), TeeResult> {
        // OPTEE_MSG_ATTR_NONCONTIG, OPTEE_MSG_ATTR_TYPE_TMEM_OUTPUT.
        let memory = [1 << 9 | 0xa, list, size, shm_ref.0];
        Self::done(&self.send(&Params::new(4, 0, 0, &[memory]), 0))
    }

    pub(super) fn unshare(&self, shm_ref: ShmRef) -> Result<(), TeeResult> {
        let memory = [5, 0, 0, shm_ref.0];
        Self::done(&self.send(&Params::new(5, 0, 0, &[memory]), 0))
    }

    pub(super) fn open(&self, application: Uuid) -> Result<SessionId, TeeResult> {
        let (a, b) = application.octet_words();
        let meta = 1 << 8 | 1;
        let params = [[meta, a, b, 0], [meta, 0, 0, 0]];
        let answered = self.send(&Params::new(0, 0, 0, &params), 2);
        Self::done(&answered)?;
        Ok(SessionId(answered.session))
    }

    pub(super) fn invoke(&self, session: SessionId, params: &[Param]) -> Answered {
        let params: Vec<[u64; 4]> = params.iter().map(raw).collect();
        self.send(&Params::new(1, 1, session.0, &params), 0)
    }

    pub(super) fn close(&self, session: SessionId) -> Result<(), TeeResult> {
        Self::done(&self.send(&Params::close(session.0), 0))
    }
}
