//! A guest's driver, as far as it writes messages: byte for byte as Linux's lays them out (drivers/tee/optee/call.c,
//! smc_abi.c). It shares nothing with what it tests, so that both cannot be wrong in the same way.

/// Attributes of parameters, as optee_msg.h has them.
pub(crate) const VALUE_INPUT: u64 = 1;
pub(crate) const RMEM_INPUT: u64 = 5;
pub(crate) const TMEM_INPUT: u64 = 9;
pub(crate) const TMEM_OUTPUT: u64 = 10;
pub(crate) const META: u64 = 0x100;
pub(crate) const NONCONTIG: u64 = 0x200;

/// A parameter: attributes, and three numbers.
pub(crate) type Words = [u64; 4];

/// The fields of a header that a driver sets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Header {
    pub(crate) cmd: u32,
    pub(crate) func: u32,
    pub(crate) session: u32,
    pub(crate) cancel_id: u32,
}

pub(crate) fn message(header: Header, params: &[Words]) -> Vec<u8> {
    let Header {
        cmd,
        func,
        session,
        cancel_id,
    } = header;
    let count = u32::try_from(params.len()).unwrap();
    let mut bytes = Vec::new();
    for word in [cmd, func, session, cancel_id, 0, 0, 0, count] {
        bytes.extend(word.to_le_bytes());
    }
    for word in params.iter().flatten() {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

pub(crate) fn open_session(
    ta: [u8; 16],
    login: u64,
    client: [u8; 16],
    cancel_id: u32,
    params: &[Words],
) -> Vec<u8> {
    let octets = |uuid: [u8; 16], at: usize| {
        u64::from_le_bytes(uuid[at..at + 8].try_into().expect("eight of them"))
    };
    let mut all = vec![
        [META | VALUE_INPUT, octets(ta, 0), octets(ta, 8), 0],
        [
            META | VALUE_INPUT,
            octets(client, 0),
            octets(client, 8),
            login,
        ],
    ];
    all.extend(params);
    let header = Header {
        cmd: 0,
        cancel_id,
        ..Header::default()
    };
    message(header, &all)
}

pub(crate) fn invoke(session: u32, func: u32, cancel_id: u32, params: &[Words]) -> Vec<u8> {
    let header = Header {
        cmd: 1,
        func,
        session,
        cancel_id,
    };
    message(header, params)
}

pub(crate) fn simple(cmd: u32, session: u32, cancel_id: u32) -> Vec<u8> {
    let header = Header {
        cmd,
        session,
        cancel_id,
        ..Header::default()
    };
    message(header, &[])
}

pub(crate) fn register_shm(list: u64, offset: u64, size: u64, shm_ref: u64) -> Vec<u8> {
    let header = Header {
        cmd: 4,
        ..Header::default()
    };
    message(
        header,
        &[[TMEM_OUTPUT | NONCONTIG, list | offset, size, shm_ref]],
    )
}

pub(crate) fn unregister_shm(shm_ref: u64) -> Vec<u8> {
    let header = Header {
        cmd: 5,
        ..Header::default()
    };
    message(header, &[[RMEM_INPUT, 0, 0, shm_ref]])
}

/// Linux's list of these pages: one piece of memory at `at`, each page of it linked to the one behind, also the last one
/// if it is full.
pub(crate) fn page_list(at: u64, pages: &[u64]) -> Vec<[u8; 4096]> {
    let lists = pages.chunks(511).zip(1_u64..);
    lists
        .map(|(chunk, number)| {
            // Whatever was there before.
            let mut list = [0xa5; 4096];
            for (entry, page) in list.chunks_mut(8).zip(chunk) {
                entry.copy_from_slice(&page.to_le_bytes());
            }
            if chunk.len() == 511 {
                list[4088..].copy_from_slice(&(at + 4096 * number).to_le_bytes());
            }
            list
        })
        .collect()
}

/// Registers of a call with a message by its address.
pub(crate) fn call(function: u32, pair: u64, a3: u64) -> [u64; 8] {
    [
        function.into(),
        pair >> 32,
        pair & 0xffff_ffff,
        a3,
        0,
        0,
        0,
        0,
    ]
}
