//! Disks (section 5.2), each a file.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::fs::FileExt,
    },
};

use virtio_bindings::{
    virtio_blk::{
        VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK,
        VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN,
        VIRTIO_BLK_T_OUT,
    },
    virtio_ids::VIRTIO_ID_BLOCK,
};
use virtio_queue::{Reader, Writer};

use super::{
    Device, Ready, Ring, read_from,
    ring::Chain,
    worker::{Work, Worker},
};
use crate::{config, memory::Memory};

/// Unit of all positions.
const SECTOR: u64 = 512;
/// Bytes that are copied at once.
const STEP: usize = 64 << 10;
/// What a disk is called.
const NAME: &[u8; 20] = b"portcullis disk\0\0\0\0\0";

/// A disk.
pub struct Block {
    disk: Disk,
    worker: Option<Worker<Clerk>>,
}

struct Disk {
    file: File,
    writable: bool,
    /// Sectors.
    size: u64,
}

impl Block {
    /// A disk as large as the file, or the block device, is now.
    pub fn new(mut disk: config::Disk) -> io::Result<Self> {
        let size = disk.file.seek(SeekFrom::End(0))? / SECTOR;
        let disk = Disk { file: disk.file, writable: disk.writable, size };
        Ok(Self { disk, worker: None })
    }
}

impl Device for Block {
    fn kind(&self) -> u32 {
        VIRTIO_ID_BLOCK
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_BLK_F_FLUSH | u64::from(!self.disk.writable) << VIRTIO_BLK_F_RO
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![128]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_from(&self.disk.size.to_le_bytes(), offset, data);
    }

    fn start(&mut self, ready: Ready) -> io::Result<()> {
        let Disk { file, writable, size } = &self.disk;
        let disk = Disk { file: file.try_clone()?, writable: *writable, size: *size };
        self.worker = Some(Worker::start("disk", Clerk { disk, ready })?);
        Ok(())
    }

    fn stop(&mut self) -> Vec<Ring> {
        let work = self.worker.take().and_then(Worker::stop);
        work.map(|work| work.ready.rings).unwrap_or_default()
    }
}

/// Does what the guest asks of a disk.
struct Clerk {
    disk: Disk,
    ready: Ready,
}

impl Work for Clerk {
    fn sources(&self) -> Vec<(RawFd, u64)> {
        vec![(self.ready.rings[0].bell.as_raw_fd(), 0)]
    }

    fn handle(&mut self, _: u64) {
        let Self { disk, ready } = self;
        let _ = ready.rings[0].bell.read();
        // A request without a place for its answer gets none.
        ready.serve(0, |memory, chain| disk.answer(memory, chain).unwrap_or(0));
    }
}

impl Disk {
    /// Does what a chain asks for; bytes written into it.
    fn answer(&self, memory: &Memory, chain: Chain<'_>) -> io::Result<u32> {
        let broken = |_| io::Error::from(io::ErrorKind::InvalidData);
        let mut reader = chain.clone().reader(memory).map_err(broken)?;
        let mut writer = chain.writer(memory).map_err(broken)?;
        // The last byte is for the status (section 5.2.6).
        let room = writer.available_bytes().checked_sub(1);
        let room = room.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        let mut status = writer.split_at(room).map_err(broken)?;
        let outcome = match self.serve(&mut reader, &mut writer) {
            Ok(true) => VIRTIO_BLK_S_OK,
            Ok(false) => VIRTIO_BLK_S_UNSUPP,
            Err(_) => VIRTIO_BLK_S_IOERR,
        };
        status.write_all(&[outcome as u8])?;
        Ok((writer.bytes_written() as u32).saturating_add(1))
    }

    /// False: no such request.
    fn serve(
        &self,
        reader: &mut Reader<'_, impl vm_memory::bitmap::BitmapSlice>,
        writer: &mut Writer<'_, impl vm_memory::bitmap::BitmapSlice>,
    ) -> io::Result<bool> {
        let (kind, _reserved, sector): (u32, u32, u64) =
            (reader.read_obj()?, reader.read_obj()?, reader.read_obj()?);
        match kind {
            VIRTIO_BLK_T_IN => self.read(sector, writer)?,
            VIRTIO_BLK_T_OUT if self.writable => self.write(sector, reader)?,
            VIRTIO_BLK_T_OUT => return Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            VIRTIO_BLK_T_FLUSH => self.file.sync_data()?,
            VIRTIO_BLK_T_GET_ID => writer.write_all(NAME)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Where `bytes` from this sector on begin, if all of them are on the disk.
    fn place(&self, sector: u64, bytes: usize) -> io::Result<u64> {
        let sectors = (bytes as u64).div_ceil(SECTOR);
        let end = sector.checked_add(sectors).filter(|end| *end <= self.size);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(sector * SECTOR)
    }

    fn read(
        &self,
        sector: u64,
        to: &mut Writer<'_, impl vm_memory::bitmap::BitmapSlice>,
    ) -> io::Result<()> {
        let mut at = self.place(sector, to.available_bytes())?;
        let mut buffer = vec![0; STEP.min(to.available_bytes())];
        while to.available_bytes() > 0 {
            let part = buffer.len().min(to.available_bytes());
            self.file.read_exact_at(&mut buffer[..part], at)?;
            to.write_all(&buffer[..part])?;
            at += part as u64;
        }
        Ok(())
    }

    fn write(
        &self,
        sector: u64,
        from: &mut Reader<'_, impl vm_memory::bitmap::BitmapSlice>,
    ) -> io::Result<()> {
        let mut at = self.place(sector, from.available_bytes())?;
        let mut buffer = vec![0; STEP.min(from.available_bytes())];
        while from.available_bytes() > 0 {
            let part = buffer.len().min(from.available_bytes());
            from.read_exact(&mut buffer[..part])?;
            self.file.write_all_at(&buffer[..part], at)?;
            at += part as u64;
        }
        Ok(())
    }
}
