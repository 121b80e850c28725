// SPDX-License-Identifier: GPL-2.0

//! The disk of a unit: what the block layer sees.

use crate::ubd::{
    engine::filler::Filler,
    engine::flushes::Flush,
    engine::identity::Identity,
    engine::io,
    engine::last_close::{Detacher, LastClose},
    engine::shared::{Shared, HW_QUEUES, QUEUE_DEPTH},
    engine::starter::Workers,
    files::image::Image,
    files::layer::Wait,
    files::open::bytes,
    gendisk::attributes,
    gendisk::ioctl,
    kernel::blk_mq::{num_online_queues, Command, Flag, Operations, Request, TagSet},
    kernel::configfs_item::Dependency,
    kernel::file::File,
    kernel::gen_disk::{GenDisk, GenDiskBuilder},
    kernel::module::MAJOR,
    kernel::platform::Device,
    kernel::thread::Scope,
    kernel::workqueue::Workqueue,
    options::{Escaped, Flags, Letters, Options, FIXED_UNITS},
};
use kernel::{
    block::{SECTOR_SHIFT, SECTOR_SIZE},
    fmt,
    page::PAGE_SIZE,
    prelude::*,
    str::CString,
    sync::Arc,
    time::{Delta, Instant, Monotonic},
    uaccess::UserPtr, //
};

/// The name of the driver and of its devices, as in UML.
pub(crate) const DRIVER_NAME: &CStr = c"uml-blkdev";

/// Minor numbers of a unit that has numbers of its own: the disk and 15 partitions.
const MINORS: u32 = 16;

/// The longest request, in bytes.
const MAX_REQUEST: u32 = 4 << 20;

/// The operations of a ubd.
pub(crate) struct Ubd;

impl Operations for Ubd {
    type QueueData = Shared;

    fn queue_rq(shared: &Shared, queue: usize, rq: Request, last: bool) {
        match rq.command() {
            Command::Read => {
                let noio = Scope::no_io();
                let found = shared.image.of(&rq).map(|image| {
                    (!image.tries_direct_io()).then(|| io::read(image, &rq, Wait::Never))
                });
                match found {
                    // What would wait, which is what most file systems can't but do for direct I/O,
                    // goes to a thread.
                    Ok(None) => {
                        // The request can end, and its image go, before this is done with it.
                        let image = shared.image.get();
                        let rq = io::start_direct_at_once(&image, rq);
                        drop(noio);
                        if let Some(rq) = rq {
                            shared.add(queue, rq);
                        }
                    }
                    Ok(Some(Err(e))) if e == EAGAIN => shared.add_cold(rq),
                    Ok(Some(result)) => rq.end(result),
                    Err(e) => rq.end(Err(e)),
                }
            }
            // The submitter may hold a journal handle of the file system above, under which
            // nothing must be written to the one below that takes one, too: all that writes goes to
            // a thread, but what gives up where it would.
            Command::Flush => shared.add_flush(rq),
            _ if shared.is_sync() || rq.flags().contains(Flag::ForcedUnitAccess) => {
                shared.add_flush(rq)
            }
            Command::Write if shared.may_write_at_once(&rq) => {
                let noio = Scope::no_io();
                // As above.
                let image = shared.image.get();
                let rq = io::start_direct_at_once(&image, rq);
                drop(noio);
                if let Some(rq) = rq {
                    shared.add(queue, rq);
                }
            }
            _ => shared.add(queue, rq),
        }
        if last {
            shared.wake_up(queue);
        }
    }

    fn commit_rqs(shared: &Shared, queue: usize) {
        shared.wake_up(queue);
    }

    fn done(shared: &Shared, rq: Request, result: Result<usize>) {
        let ended = shared.image.of(&rq).map(|image| {
            io::end_direct(image, &rq, result).inspect(|_| {
                // Before the end, behind which the unit can go.
                if rq.command() != Command::Read {
                    shared.schedule_writeback(image);
                }
                shared.check_watch(image);
            })
        });
        match ended.unwrap_or_else(|e| Some(Err(e))) {
            Some(result) => {
                if rq.command() != Command::Read {
                    shared.mark_changed();
                }
                rq.end(result);
            }
            None => shared.add_cold(rq),
        }
    }

    fn ioctl(shared: &Shared, command: u32, argument: UserPtr) -> Result {
        ioctl::ioctl(shared, command, argument)
    }

    fn opened(shared: &Shared) -> Result {
        // Or else it is about to go.
        shared.dependency.acquire().map_err(|_| ENXIO)
    }

    fn closed(shared: &Shared) {
        match shared.flush() {
            // It goes on, without the one who was killed.
            Err(e) if e != EINTR => shared.report_flush_error("last close", "not on disk", e),
            _ => {}
        }
        shared.dependency.release();
        LastClose::closed(&shared.last_close);
    }

    fn geometry(shared: &Shared) -> (u8, u8, u16) {
        ioctl::geometry(shared)
    }
}

/// The disk of a unit, in use by whoever opens it. Dropping it waits for its requests, flushes, and
/// closes the files. What a flush would fail with is to be found out before, by [`Self::flush`].
pub(crate) struct Disk {
    // In this order they go: nobody who is told, nobody who fills its files, no requests, nothing
    // that is not durable, no threads, no files, no parent.
    _watched: Watched,
    filling: Filling,
    disk: GenDisk<Ubd>,
    _last_flush: LastFlush,
    _workers: Workers,
    shared: Arc<Shared>,
    _device: Device,
}

impl Disk {
    /// Makes the disk of the unit in `options` from `image`. As long as it is open, `dependency`
    /// knows that it is in use. Its partition table is read before this returns.
    ///
    /// May sleep. Returns `ENOMEM`, or what adding a device and a disk does.
    pub(crate) fn new(
        options: &Options<'_>,
        image: Arc<Image>,
        dependency: &Arc<Dependency>,
        workqueue: Arc<Workqueue>,
        slow_workqueue: Arc<Workqueue>,
        detacher: Arc<Detacher>,
    ) -> Result<Self> {
        let name = name(fmt!("ubd{}", Letters(options.unit)))?;
        let mut builder = builder(options, &image)?
            .capacity_sectors(image.size().div_ceil(u64::from(SECTOR_SIZE)))
            .read_only(image.is_read_only())
            .attributes(attributes::ALL);
        if options.unit < FIXED_UNITS {
            builder = builder.device_numbers(MAJOR, options.unit as u32 * MINORS, MINORS);
        }
        let serial = bytes(options.serial.unwrap_or_default())?;
        let identity = Identity {
            unit: options.unit,
            flags: options.flags,
            serial,
        };
        let direct = image.tries_direct_io();
        let queues = num_online_queues(HW_QUEUES as u32) as usize;
        let serial = self::name(fmt!("{}", Escaped(&identity.serial)))?;
        let device = Device::register(DRIVER_NAME, options.unit, &serial)?;
        let shared = Shared::new(
            image,
            identity,
            dependency.clone(),
            LastClose::new(options.unit, detacher)?,
            queues,
            workqueue,
            slow_workqueue.clone(),
        );
        let shared = Arc::pin_init(shared, GFP_KERNEL)?;
        let workers = Workers::start(&shared, &name)?;
        let tags = KBox::pin_init(TagSet::new(queues as u32, QUEUE_DEPTH, direct), GFP_KERNEL)?;
        let disk = builder.build(&name, &device, tags, shared.clone())?;
        shared
            .watch
            .start(shared.image.get(), disk.events().clone());
        Ok(Self {
            _watched: Watched(shared.clone()),
            filling: Filling(Filler::start(&shared, slow_workqueue)?),
            disk,
            _last_flush: LastFlush(shared.clone()),
            _workers: workers,
            shared,
            _device: device,
        })
    }

    /// The files, as they are now.
    pub(crate) fn image(&self) -> Arc<Image> {
        self.shared.image.get()
    }

    /// What else was said of the unit.
    pub(crate) fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// The flags that are in force: read-only is also what cannot be written.
    pub(crate) fn flags(&self) -> Flags {
        let mut flags = self.asked_flags();
        flags.read_only = self.image().is_read_only();
        flags
    }

    /// The flags that were asked for, as far as they are for the files that there are now.
    pub(crate) fn asked_flags(&self) -> Flags {
        self.shared.flags()
    }

    /// See [`Shared::start_flush`].
    pub(crate) fn start_flush(&self) -> Result<Option<Arc<Flush>>> {
        self.shared.start_flush()
    }

    /// See [`Shared::flush`].
    pub(crate) fn flush(&self) -> Result {
        self.shared.flush()
    }

    /// What is done at the last close.
    pub(crate) fn last_close(&self) -> &Arc<LastClose> {
        &self.shared.last_close
    }

    /// Has `image` take the place of the image that there is. First `settings` is run, when nobody
    /// changes what is set of that any more, and then `seal`, when all requests have ended, and
    /// those that come wait. Returns how long they did.
    ///
    /// May sleep, for long. Returns what the two do, and changes nothing then.
    pub(crate) fn exchange(
        &self,
        image: &Arc<Image>,
        settings: impl FnOnce() -> Result,
        seal: impl FnOnce() -> Result,
    ) -> Result<Delta> {
        let _settings = self.shared.settings.lock();
        settings()?;
        let start = Instant::<Monotonic>::now();
        let held = self.disk.hold();
        let replaced = seal().and_then(|()| self.shared.image.replace(image.clone(), &held));
        drop(held);
        let held = start.elapsed();
        drop(replaced?);
        self.shared.watch.replace(image.clone());
        self.filling.0.queue();
        Ok(held)
    }

    /// Has the disk have the size of its image, and tells of that if it is another one. May sleep.
    pub(crate) fn take_size(&self) {
        let size = self.image().size();
        self.disk
            .set_capacity(size.div_ceil(u64::from(SECTOR_SIZE)));
    }

    /// Whether memory can be swapped out to the unit, as far as that can be known, or has been.
    pub(crate) fn is_swap(&self) -> bool {
        self.disk.is_swap() || self.shared.is_swapped_to()
    }

    /// See [`GenDisk::has_file`].
    pub(crate) fn has_file(&self, file: &File) -> bool {
        self.disk.has_file(file)
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

/// A unit that is watched until this is dropped.
struct Watched(Arc<Shared>);

impl Drop for Watched {
    fn drop(&mut self) {
        let Self(shared) = self;
        shared.watch.stop();
    }
}

/// A unit whose space is taken until this is dropped.
struct Filling(Arc<Filler>);

impl Drop for Filling {
    fn drop(&mut self) {
        let Self(filler) = self;
        filler.stop();
    }
}

/// Flushes a unit when it is dropped, which is to be when no requests come any more: those of a
/// file system can end when it has closed the disk. Says what is lost then.
struct LastFlush(Arc<Shared>);

impl Drop for LastFlush {
    fn drop(&mut self) {
        let Self(shared) = self;
        let flushed = shared
            .start_flush()
            .and_then(|flush| flush.map_or(Ok(()), |flush| flush.wait()));
        if let Err(e) = flushed {
            shared.report_flush_error("removal", "lost", e);
        }
    }
}

/// A disk with the limits of its queue: what the file that is written can do.
fn builder(options: &Options<'_>, image: &Image) -> Result<GenDiskBuilder<'static, Ubd>> {
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
    let physical_block_size = logical_block_size
        .max(page)
        .max(image.direct_unit())
        .max(device.physical_block_size);
    // Where the first block of the file starts that the disk has the start of.
    let data = top.map.as_ref().map_or(0, |map| map.layout.data_offset);
    let first_multiple = |unit: u32| match data.checked_rem(u64::from(unit)) {
        None | Some(0) => 0,
        Some(over) => unit - over as u32,
    };
    let trim = !options.flags.no_trim && !image.is_read_only() && file.can_punch_holes();
    let mut files = image.layers().iter().map(|layer| &layer.file);
    let rotational = files.any(|file| file.is_rotational());
    let builder = GenDiskBuilder::new()
        .logical_block_size(logical_block_size)
        .physical_block_size(physical_block_size, first_multiple(physical_block_size))
        .io_opt(device.optimal_io_size)
        .max_hw_sectors(MAX_REQUEST >> SECTOR_SHIFT)
        .dma_alignment(image.memory_alignment())
        .features(
            !options.flags.sync && !image.is_read_only(),
            rotational,
            image.tries_direct_io() && device.stable_writes,
        );
    if !trim {
        return Ok(builder);
    }
    let granularity = file.block_size().max(logical_block_size);
    Ok(builder
        .discard(granularity, first_multiple(granularity))
        .write_zeroes())
}

fn name(text: fmt::Arguments<'_>) -> Result<CString> {
    CString::try_from_fmt(text)
}
