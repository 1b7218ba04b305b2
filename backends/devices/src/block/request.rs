//! What a guest asks of a disk, parsed from private copies (virtio 1.3 §5.2.6).

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD,
    VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
    VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::config::{MAX_DISCARD_SECTORS, MAX_RANGES, MAX_WRITE_ZEROES_SECTORS, SECTOR};
use crate::chain::Chain;
use crate::refusal::refused;

/// Bytes of the header every request starts with.
pub const HEADER_LEN: u32 = 16;

/// Most bytes of a discard or write-zeroes request's list.
pub const RANGES_LEN: usize = MAX_RANGES as usize * size_of::<RawRange>();

/// The status byte every request ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Done.
    Ok = VIRTIO_BLK_S_OK as u8,
    /// Failed, or not allowed.
    IoError = VIRTIO_BLK_S_IOERR as u8,
    /// Not known here.
    Unsupported = VIRTIO_BLK_S_UNSUPP as u8,
}

/// How the bytes of a chain divide: header and data sent, data and status received. Framing into descriptors means
/// nothing (§2.7.4), so this goes by bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of data after the header.
    pub data_out: u32,
    /// Bytes of data before the status.
    pub data_in: u32,
}

/// Why a chain has no shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Nothing can be answered.
    #[error("a disk request without room for its status")]
    NoStatus,
    /// The request is cut short, but can be answered.
    #[error("a disk request without a whole header")]
    NoHeader,
}

impl Shape {
    /// The shape of `chain`.
    pub fn of(chain: &Chain) -> Result<Self, ShapeError> {
        let data_in = chain
            .writable_len()
            .checked_sub(1)
            .ok_or(ShapeError::NoStatus)
            .map_err(|error| refused("request: no room for a status", error))?;
        let data_out = chain
            .readable_len()
            .checked_sub(HEADER_LEN)
            .ok_or(ShapeError::NoHeader)
            .map_err(|error| refused("request: no whole header", error))?;
        Ok(Shape { data_out, data_in })
    }
}

/// `struct virtio_blk_req` without its data.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    kind: U32,
    reserved: U32,
    sector: U64,
}

/// `struct virtio_blk_discard_write_zeroes`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawRange {
    sector: U64,
    num_sectors: U32,
    flags: U32,
}

/// A request whose range lies on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Read `data_in` bytes at `offset`.
    In {
        /// Byte offset.
        offset: u64,
    },
    /// Write `data_out` bytes at `offset`.
    Out {
        /// Byte offset.
        offset: u64,
    },
    /// Make completed writes durable.
    Flush,
    /// Tell the serial number.
    GetId,
    /// Discard ranges given in the data.
    Discard,
    /// Zero ranges given in the data.
    WriteZeroes,
}

/// What of a disk matters for judging requests.
#[derive(Clone, Copy, Debug)]
pub struct Disk {
    /// Size in sectors.
    pub sectors: u64,
    /// No writing.
    pub readonly: bool,
    /// DISCARD was negotiated.
    pub discard: bool,
    /// WRITE_ZEROES was negotiated.
    pub write_zeroes: bool,
}

impl Request {
    /// Judges a request by its header and shape; `Err` is the status to answer it with.
    pub fn parse(
        header: &[u8; HEADER_LEN as usize],
        shape: Shape,
        disk: &Disk,
    ) -> Result<Self, Status> {
        let header = Header::read_from_bytes(header).map_err(|_| Status::IoError)?;
        let sector = header.sector.get();
        match header.kind.get() {
            VIRTIO_BLK_T_IN => {
                let offset = transfer(sector, shape.data_in, disk)?;
                Ok(Request::In { offset })
            }
            VIRTIO_BLK_T_OUT => {
                writable(disk)?;
                let offset = transfer(sector, shape.data_out, disk)?;
                Ok(Request::Out { offset })
            }
            VIRTIO_BLK_T_FLUSH => Ok(Request::Flush),
            VIRTIO_BLK_T_GET_ID => Ok(Request::GetId),
            VIRTIO_BLK_T_DISCARD if disk.discard => {
                writable(disk)?;
                range_list(shape).map(|()| Request::Discard)
            }
            VIRTIO_BLK_T_WRITE_ZEROES if disk.write_zeroes => {
                writable(disk)?;
                range_list(shape).map(|()| Request::WriteZeroes)
            }
            _ => Err(refused("request: unknown kind", Status::Unsupported)),
        }
    }
}

fn writable(disk: &Disk) -> Result<(), Status> {
    if disk.readonly {
        Err(Status::IoError)
    } else {
        Ok(())
    }
}

fn range_list(shape: Shape) -> Result<(), Status> {
    let one = size_of::<RawRange>() as u32;
    let count = shape.data_out.checked_div(one).unwrap_or_default();
    if !shape.data_out.is_multiple_of(one) || count == 0 || count > MAX_RANGES {
        return Err(refused(
            "request: a list of ranges of a wrong length",
            Status::IoError,
        ));
    }
    Ok(())
}

/// The byte offset of a transfer of `len` bytes at `sector`, if all of it lies on the disk.
fn transfer(sector: u64, len: u32, disk: &Disk) -> Result<u64, Status> {
    let len = u64::from(len);
    if !len.is_multiple_of(SECTOR) {
        return Err(refused("request: a part of a sector", Status::IoError));
    }
    on_disk(sector, len.checked_div(SECTOR).unwrap_or(u64::MAX), disk)
}

fn on_disk(sector: u64, count: u64, disk: &Disk) -> Result<u64, Status> {
    let end = sector
        .checked_add(count)
        .ok_or(Status::IoError)
        .map_err(|status| refused("request: an end that overflows", status))?;
    if end > disk.sectors {
        return Err(refused("request: beyond the disk", Status::IoError));
    }
    sector.checked_mul(SECTOR).ok_or(Status::IoError)
}

/// A range of a discard or write-zeroes request, on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Byte offset.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// The space may be deallocated.
    pub unmap: bool,
}

/// Parses all ranges of a request; nothing of it is done if one is bad.
pub fn ranges(request: Request, data: &[u8], disk: &Disk) -> Result<Vec<Range>, Status> {
    let (raw, rest) = data.as_chunks::<{ size_of::<RawRange>() }>();
    if !rest.is_empty() || raw.len() > MAX_RANGES as usize {
        return Err(Status::IoError);
    }
    raw.iter()
        .map(|raw| {
            let raw = RawRange::read_from_bytes(raw).map_err(|_| Status::IoError)?;
            let (flags, count) = (raw.flags.get(), raw.num_sectors.get());
            let (known, most) = match request {
                Request::WriteZeroes => {
                    (VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP, MAX_WRITE_ZEROES_SECTORS)
                }
                _ => (0, MAX_DISCARD_SECTORS),
            };
            if flags & !known != 0 {
                return Err(refused(
                    "request: unknown flags of a range",
                    Status::Unsupported,
                ));
            }
            if count > most {
                return Err(refused("request: a range too large", Status::IoError));
            }
            let offset = on_disk(raw.sector.get(), u64::from(count), disk)?;
            let len = u64::from(count)
                .checked_mul(SECTOR)
                .ok_or(Status::IoError)?;
            Ok(Range {
                offset,
                len,
                unmap: flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP != 0,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: Disk = Disk {
        sectors: 100,
        readonly: false,
        discard: true,
        write_zeroes: true,
    };

    fn header(kind: u32, sector: u64) -> [u8; 16] {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        header
    }

    fn parse(kind: u32, sector: u64, data_out: u32, data_in: u32) -> Result<Request, Status> {
        Request::parse(&header(kind, sector), Shape { data_out, data_in }, &DISK)
    }

    #[test]
    fn a_transfer_beyond_the_disk_fails_also_when_its_end_overflows() {
        assert_eq!(
            parse(VIRTIO_BLK_T_IN, 99, 0, 512),
            Ok(Request::In { offset: 99 * 512 })
        );
        assert_eq!(parse(VIRTIO_BLK_T_IN, 99, 0, 1024), Err(Status::IoError));
        assert_eq!(parse(VIRTIO_BLK_T_IN, 101, 0, 0), Err(Status::IoError));
        assert_eq!(
            parse(VIRTIO_BLK_T_OUT, u64::MAX, 512, 0),
            Err(Status::IoError)
        );
        assert_eq!(
            parse(VIRTIO_BLK_T_OUT, u64::MAX / 512 + 1, 512, 0),
            Err(Status::IoError)
        );
    }

    #[test]
    fn a_transfer_of_partial_sectors_fails() {
        assert_eq!(parse(VIRTIO_BLK_T_IN, 0, 0, 511), Err(Status::IoError));
        assert_eq!(parse(VIRTIO_BLK_T_OUT, 0, 513, 0), Err(Status::IoError));
    }

    #[test]
    fn a_read_only_disk_refuses_everything_that_writes() {
        let disk = Disk {
            readonly: true,
            ..DISK
        };
        for kind in [
            VIRTIO_BLK_T_OUT,
            VIRTIO_BLK_T_DISCARD,
            VIRTIO_BLK_T_WRITE_ZEROES,
        ] {
            let shape = Shape {
                data_out: 512,
                data_in: 0,
            };
            assert_eq!(
                Request::parse(&header(kind, 0), shape, &disk),
                Err(Status::IoError)
            );
        }
    }

    #[test]
    fn unknown_and_unnegotiated_requests_are_unsupported() {
        let disk = Disk {
            discard: false,
            write_zeroes: false,
            ..DISK
        };
        let shape = Shape {
            data_out: 16,
            data_in: 0,
        };
        for kind in [
            2,
            3,
            14,
            15,
            99,
            u32::MAX,
            VIRTIO_BLK_T_DISCARD,
            VIRTIO_BLK_T_WRITE_ZEROES,
        ] {
            assert_eq!(
                Request::parse(&header(kind, 0), shape, &disk),
                Err(Status::Unsupported),
                "{kind}"
            );
        }
    }

    #[test]
    fn ranges_are_checked_one_by_one() {
        let raw = |sector: u64, count: u32, flags: u32| {
            let mut raw = Vec::new();
            raw.extend(sector.to_le_bytes());
            raw.extend(count.to_le_bytes());
            raw.extend(flags.to_le_bytes());
            raw
        };
        let good = raw(1, 2, 0);
        assert_eq!(
            ranges(Request::Discard, &good, &DISK),
            Ok(vec![Range {
                offset: 512,
                len: 1024,
                unmap: false
            }])
        );
        let bad = [good.clone(), raw(99, 2, 0)].concat();
        assert_eq!(ranges(Request::Discard, &bad, &DISK), Err(Status::IoError));
        assert_eq!(
            ranges(Request::Discard, &raw(0, 1, 1), &DISK),
            Err(Status::Unsupported)
        );
        assert_eq!(
            ranges(Request::WriteZeroes, &raw(0, 1, 2), &DISK),
            Err(Status::Unsupported)
        );
        assert_eq!(
            ranges(Request::WriteZeroes, &raw(u64::MAX, 1, 1), &DISK),
            Err(Status::IoError)
        );
        let huge = Disk {
            sectors: u64::MAX,
            ..DISK
        };
        assert_eq!(
            ranges(Request::WriteZeroes, &raw(0, u32::MAX, 1), &huge),
            Err(Status::IoError)
        );
    }
}
