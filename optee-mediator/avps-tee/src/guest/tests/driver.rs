//! A driver as Linux's is: messages in a guest's memory, calls in registers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use optee_abi::message::{Direction, Param, Place};
use optee_abi::smc::{Answer, FunctionId, ReturnCode};
use optee_abi::{Login, SessionId, ShmRef, TeeResult, Uuid};
use xen::DomId;
use xen::vcpu::VcpuContext;

use super::world::{Applications, Ram};
use crate::guest::dispatcher::{Dispatcher, Parts, Taken, Work};
use crate::guest::journal::Journal;
use crate::guest::memory::GuestShared;
use crate::guest::pending::Held;
use crate::rights::Rights;
use crate::world::SecureWorld;
use crate::{Attachment, Shared};

/// Where messages and lists lie.
pub(super) const MESSAGE: u64 = 0x1000;
const LIST: u64 = 0x2000;

pub(super) struct Driver {
    pub(super) dispatcher: Arc<Dispatcher>,
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

    pub(super) fn invoke(session: SessionId, function: u32) -> Self {
        Self::new(1, function, session.0, &[])
    }

    pub(super) fn with(session: SessionId, function: u32, params: &[Param]) -> Self {
        let params: Vec<[u64; 4]> = params.iter().map(raw).collect();
        Self::new(1, function, session.0, &params)
    }

    pub(super) fn close(session: u32) -> Self {
        Self::new(2, 0, session, &[])
    }

    pub(super) fn cancel(session: SessionId) -> Self {
        Self::new(3, 0, session.0, &[])
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
        Param::Temporary { direction, memory } => {
            let Place::Contiguous(address) = memory.place else {
                unreachable!("no test has a list")
            };
            [9 + step(*direction), address.0, memory.size, 0]
        }
    }
}

impl Driver {
    pub(super) fn new(shared: &Arc<Shared>, number: u64, rights: Rights) -> Self {
        let applications = Arc::new(Applications::default());
        let tee: Arc<dyn SecureWorld> = Arc::clone(&applications) as _;
        Self {
            applications,
            ..Self::in_world(shared, number, rights, tee)
        }
    }

    /// With another secure world; there are no calls of [`Driver::applications`].
    pub(super) fn in_world(
        shared: &Arc<Shared>,
        number: u64,
        rights: Rights,
        tee: Arc<dyn SecureWorld>,
    ) -> Self {
        let domid = DomId::new(u16::try_from(number).unwrap()).unwrap();
        let ram = Ram::new();
        let journal = Journal::open(&shared.journals, domid, "test").unwrap();
        let interrupt = rights.interrupt;
        let parts = Parts {
            attachment: Attachment(number),
            domid,
            name: format!("guest-{number}"),
            rights,
            interrupt,
            tee,
            memory: GuestShared::new(Box::new(ram.clone()), journal),
            // As two guests that began at other times.
            first_session: u32::try_from(number).unwrap() * 1000,
            counters: Arc::default(),
        };
        let dispatcher = Dispatcher::new(shared, parts);
        Self {
            dispatcher,
            ram,
            applications: Arc::default(),
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
        self.dispatcher.called(Held { vcpu: 0, context })
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
        self.begin_at(FunctionId::CALL_WITH_RPC_ARG, MESSAGE, message)
    }

    /// The same with a message in a page of its own, with room for requests or without.
    pub(super) fn begin_at(
        &self,
        function: FunctionId,
        page: u64,
        message: &Params,
    ) -> Result<Work, Answer> {
        self.fill(page, &message.0);
        match self.call([function.0.into(), 0, page, 0, 0, 0, 0, 0]) {
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
                let due = self.dispatcher.work(work).expect("an answer");
                assert_eq!(due.answer, Answer::from(ReturnCode::Ok));
            }
            Err(answer) => assert_eq!(answer, Answer::from(ReturnCode::Ok)),
        }
        self.answered(MESSAGE, meta)
    }

    /// Has a message in a page of its own carried out; its result.
    pub(super) fn send_at(&self, page: u64, message: &Params) -> TeeResult {
        let work = self.begin_at(FunctionId::CALL_WITH_RPC_ARG, page, message);
        let due = self.dispatcher.work(work.unwrap()).expect("an answer");
        assert_eq!(due.answer, Answer::from(ReturnCode::Ok));
        self.answered(page, 0).result
    }

    fn answered(&self, page: u64, meta: u64) -> Answered {
        let word = |at: u64| {
            let bytes = self.bytes(page + at, 4);
            u32::from_le_bytes(bytes.try_into().unwrap())
        };
        let params = u64::from(word(28)).saturating_sub(meta);
        let param = |number: u64| page + 32 + (meta + number) * 32;
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
        self.open_as(application, Login::Public, Uuid::NIL)
    }

    /// Opens a session for a client that the guest says is this one.
    pub(super) fn open_as(
        &self,
        application: Uuid,
        login: Login,
        client: Uuid,
    ) -> Result<SessionId, TeeResult> {
        let (a, b) = application.octet_words();
        let (c, d) = client.octet_words();
        let meta = 1 << 8 | 1;
        let params = [[meta, a, b, 0], [meta, c, d, login.raw()]];
        let answered = self.send(&Params::new(0, 0, 0, &params), 2);
        Self::done(&answered)?;
        Ok(SessionId(answered.session))
    }

    pub(super) fn invoke(&self, session: SessionId, params: &[Param]) -> Answered {
        self.send(&Params::with(session, 1, params), 0)
    }

    pub(super) fn close(&self, session: SessionId) -> Result<(), TeeResult> {
        Self::done(&self.send(&Params::close(session.0), 0))
    }
}
