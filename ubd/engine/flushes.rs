// SPDX-License-Identifier: GPL-2.0

//! Flushes that somebody waits for who has no request for it: at the last close of a disk, before a
//! reboot, and when a unit goes.

use crate::ubd::kernel::compat::smp_mb;
use crate::ubd::{
    files::image::Image,
    kernel::completion::Completion,
    kernel::held::HeldArc, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::atomic::{Acquire, Atomic, Full, Relaxed},
    sync::{Arc, Mutex, SetOnce},
};

/// All that was written is durable.
const CLEAN: u32 = 0;

/// A flush is under way, and nothing was written since it began.
const FLUSHING: u32 = 1;

/// Something was written since the last flush began.
const CHANGED: u32 = 2;

/// One flush.
#[pin_data]
pub(crate) struct Flush {
    #[pin]
    done: Completion,
    result: SetOnce<Result>,
}

impl Flush {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                done <- Completion::new(),
                result: SetOnce::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Ends it.
    pub(crate) fn end(&self, result: Result) {
        self.result.populate(result);
        self.done.complete_all();
    }

    fn result(&self) -> Result {
        self.result.copy().unwrap_or(Ok(()))
    }

    /// Waits for its end. May sleep. Returns what [`Image::flush`] does.
    pub(crate) fn wait(&self) -> Result {
        self.done.wait_for_completion();
        self.result()
    }

    /// As [`Self::wait`], until the calling task is killed. The flush goes on then, and this
    /// returns `EINTR`.
    pub(crate) fn wait_killable(&self) -> Result {
        self.done.wait_for_completion_killable()?;
        self.result()
    }

    /// As [`Self::wait`], for `jiffies` at most, of which it takes off what was waited. The flush
    /// goes on then, and this returns `ETIMEDOUT`.
    pub(crate) fn wait_timeout(&self, jiffies: &mut usize) -> Result {
        // To wait for no time is to look.
        *jiffies = self.done.wait_for_completion_timeout(*jiffies).unwrap_or(0);
        match *jiffies {
            0 => Err(ETIMEDOUT),
            _ => self.result(),
        }
    }
}

/// The flushes of a unit that wait for its flush thread.
#[pin_data]
pub(crate) struct Flushes {
    /// `None` when there will be no flush any more.
    #[pin]
    waiting: Mutex<Option<KVec<Arc<Flush>>>>,
    /// Whether there are any, for the thread when it is about to sleep.
    any: Atomic<bool>,
    /// [`CLEAN`], [`FLUSHING`] or [`CHANGED`].
    durable: Atomic<u32>,
}

impl Flushes {
    /// None, of a unit that nothing was written to.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            waiting <- new_mutex!(Some(KVec::new()), "ubd_flushes"),
            any: Atomic::new(false),
            durable: Atomic::new(CLEAN),
        })
    }

    /// To be called before a request ends that has changed the disk. May be called in any context.
    #[inline]
    pub(crate) fn mark_changed(&self) {
        // What was written is seen by the flush that finds the mark of before.
        smp_mb(Full);
        // One store a flush: the others find it done.
        if self.durable.load(Relaxed) != CHANGED {
            self.durable.xchg(CHANGED, Full);
        }
    }

    /// Adds a flush of what was written by requests that have ended, and returns it, or `None` if
    /// there is nothing to be made durable. A full barrier.
    ///
    /// May sleep, but not for a file. Returns `ENOMEM`.
    pub(crate) fn add(&self, image: &Image) -> Result<Option<Arc<Flush>>> {
        if self.durable.load(Acquire) == CLEAN && !image.is_dirty() {
            return Ok(None);
        }
        let flush = Flush::new()?;
        match &mut *self.waiting.lock() {
            Some(waiting) => waiting.push(flush.clone(), GFP_KERNEL)?,
            None => return Ok(None),
        }
        self.any.xchg(true, Full);
        Ok(Some(flush))
    }

    /// Whether there are any.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Relaxed)
    }

    /// Takes all. May sleep.
    pub(crate) fn take(&self) -> KVec<Arc<Flush>> {
        self.any.xchg(false, Full);
        match &mut *self.waiting.lock() {
            Some(waiting) => core::mem::take(waiting),
            None => KVec::new(),
        }
    }

    /// Flushes the image. May sleep, for long. Returns which one that was, and what
    /// [`Image::flush`] does.
    pub(crate) fn flush(&self, image: &HeldArc<Image>) -> (Arc<Image>, Result) {
        self.durable.xchg(FLUSHING, Full);
        // Not before: what is written to another one, when it is exchanged, is marked again.
        let image = image.get();
        let result = image.flush();
        match result {
            // What was written meanwhile stays marked.
            Ok(()) => drop(self.durable.cmpxchg(FLUSHING, CLEAN, Full)),
            Err(_) => drop(self.durable.xchg(CHANGED, Full)),
        }
        (image, result)
    }

    /// Ends all, and has no more added, when nobody would come for them. May sleep.
    pub(crate) fn close(&self) {
        if let Some(waiting) = self.waiting.lock().take() {
            for flush in waiting {
                flush.end(Err(EIO));
            }
        }
    }
}
