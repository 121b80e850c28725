// SPDX-License-Identifier: GPL-2.0

//! The disk of a unit: what the block layer sees.

use crate::ubd::{
    attributes::{self, Identity},
    image::{Image, Wait},
    io, ioctl,
    kernel::blk_mq::{Operation, Operations, Request},
    kernel::gen_disk::{Config, GenDisk, Limits},
    kernel::platform::Device,
    kernel::thread::{Scope, Thread},
    options::{letter, Flags, Options, Text},
    worker::{Flusher, Shared, Worker},
};
use kernel::{
    block::SECTOR_SIZE,
    fmt,
    page::PAGE_SIZE,
    prelude::*,
    str::CString,
    sync::Arc,
    uaccess::UserPtr, //
};

/// The name of the driver and of its devices, as in UML.
pub(crate) const DRIVER_NAME: &CStr = c"uml-blkdev";

/// The major number of all ubds, as in UML.
pub(crate) const MAJOR: u32 = 98;

/// Minor numbers of a unit: the disk and 15 partitions.
const MINORS: u32 = 16;

/// Requests that a hardware queue holds at a time.
const QUEUE_DEPTH: u32 = 128;

/// The longest request, in bytes.
const MAX_REQUEST: u32 = 4 << 20;

/// The operations of a ubd.
pub(crate) struct Ubd;

impl Operations for Ubd {
    type Data = Shared;

    fn queue_rq(shared: &Shared, queue: usize, rq: Request<Self>, last: bool) {
        match rq.operation() {
            // What a file system does for direct I/O may wait for I/O of its own, which as long as
            // the submitter is here is only put on its list.
            Operation::Read if shared.image.tries_direct_io() => shared.add(queue, rq),
            Operation::Read => {
                let noio = Scope::no_io();
                let result = io::read(&shared.image, &rq, Wait::Never);
                drop(noio);
                match result {
                    Err(e) if e == EAGAIN => shared.add_cold(rq),
                    result => rq.end(result),
                }
            }
            // The submitter may hold a journal handle of the file system above, under which
            // nothing must be written to the one below: all that writes goes to a thread.
            Operation::Flush => shared.add_flush(rq),
            _ if shared.is_sync() || rq.is_fua() => shared.add_flush(rq),
            _ => shared.add(queue, rq),
        }
        if last {
            shared.wake_up(queue);
        }
    }

    fn commit_rqs(shared: &Shared, queue: usize) {
        shared.wake_up(queue);
    }

    fn work(shared: &Shared, rq: Request<Self>) {
        shared.do_cold(rq);
    }

    fn done(shared: &Shared, rq: Request<Self>, result: Result<usize>) {
        match io::end_direct(&shared.image, &rq, result) {
            Some(result) => {
                // Before the end, behind which the unit can go.
                shared.note_dirty();
                rq.end(result);
            }
            None => shared.add_cold(rq),
        }
    }

    fn ioctl(shared: &Shared, command: u32, argument: UserPtr) -> Result {
        ioctl::ioctl(shared, command, argument)
    }

    fn geometry(shared: &Shared) -> (u8, u8, u16) {
        ioctl::geometry(shared)
    }
}

/// The disk of a unit, in use by whoever opens it. Dropping it waits for its requests and closes
/// the files; to flush them before is up to the owner.
pub(crate) struct Disk {
    // In this order they go: no requests, no threads, no files, no parent.
    disk: GenDisk<Ubd>,
    _workers: KVec<Thread<Worker>>,
    _flusher: Thread<Flusher>,
    shared: Arc<Shared>,
    _device: Device,
}

impl Disk {
    /// Makes the disk of the unit in `options` from `image`. Its partition table is read before
    /// this returns.
    ///
    /// May sleep. Returns `ENOMEM`, or what adding a device and a disk does.
    pub(crate) fn new(options: &Options<'_>, image: Arc<Image>) -> Result<Self> {
        let name = name(fmt!("ubd{}", letter(options.unit)))?;
        let config = Config {
            name: &name,
            major: MAJOR,
            first_minor: options.unit as u32 * MINORS,
            minors: MINORS,
            sectors: image.size().div_ceil(u64::from(SECTOR_SIZE)),
            read_only: image.is_read_only(),
            limits: limits(options, &image)?,
            attributes: attributes::ALL,
        };
        let mut serial = KVec::new();
        serial.extend_from_slice(options.serial.unwrap_or_default(), GFP_KERNEL)?;
        let identity = Identity {
            flags: options.flags,
            serial,
        };
        let queues = kernel::cpu::nr_cpu_ids() as usize;
        let serial = self::name(fmt!("{}", Text(&identity.serial)))?;
        let device = Device::register(DRIVER_NAME, options.unit, &serial)?;
        let shared = Shared::new(image, identity, queues, &name)?;
        let shared = Arc::new(shared, GFP_KERNEL)?;
        let flusher = Flusher::spawn(&shared, &self::name(fmt!("{}-flush", &*name))?)?;
        let workers = Worker::spawn_all(&shared, &name)?;
        Ok(Self {
            disk: GenDisk::new(&config, &device, queues as u32, QUEUE_DEPTH, shared.clone())?,
            _workers: workers,
            _flusher: flusher,
            shared,
            _device: device,
        })
    }

    /// The files.
    pub(crate) fn image(&self) -> &Image {
        &self.shared.image
    }

    /// What else was said of the unit.
    pub(crate) fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// The flags that are in force: read-only is also what cannot be written.
    pub(crate) fn flags(&self) -> Flags {
        let mut flags = self.identity().flags;
        flags.read_only = self.image().is_read_only();
        flags
    }

    /// See [`GenDisk::claim`].
    pub(crate) fn claim(&self) -> Result {
        self.disk.claim()
    }

    /// See [`GenDisk::unclaim`].
    pub(crate) fn unclaim(&self) {
        self.disk.unclaim();
    }
}

/// The queue's limits: what the file that is written can do.
fn limits(options: &Options<'_>, image: &Image) -> Result<Limits> {
    let top = image.top()?;
    let file = &top.file;
    let device = file.device_limits();
    let logical_block_size = image.block_size();
    // What is less than a page, the page cache has to read first.
    let page = if image.tries_direct_io() {
        0
    } else {
        PAGE_SIZE as u32
    };
    let physical_block_size = logical_block_size.max(page).max(device.physical_block_size);
    // Where the first block of the file starts that the disk has the start of.
    let data = top.map.as_ref().map_or(0, |map| map.layout.data_offset);
    let first_multiple = |unit: u32| match data.checked_rem(u64::from(unit)) {
        None | Some(0) => 0,
        Some(over) => unit - over as u32,
    };
    let trim = !options.flags.no_trim && !image.is_read_only() && file.can_punch_holes();
    let discard_granularity = if trim {
        file.block_size().max(logical_block_size)
    } else {
        0
    };
    Ok(Limits {
        logical_block_size,
        physical_block_size,
        alignment_offset: first_multiple(physical_block_size),
        optimal_io_size: device.optimal_io_size,
        max_request: MAX_REQUEST,
        memory_alignment: image.memory_alignment(),
        discard_granularity,
        discard_alignment: first_multiple(discard_granularity),
        write_zeroes: trim,
        write_cache: !options.flags.sync && !image.is_read_only(),
        rotational: image
            .layers()
            .iter()
            .any(|layer| layer.file.is_rotational()),
        stable_writes: image.tries_direct_io() && device.stable_writes,
    })
}

fn name(text: fmt::Arguments<'_>) -> Result<CString> {
    CString::try_from_fmt(text)
}
