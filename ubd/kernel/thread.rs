// SPDX-License-Identifier: GPL-2.0

//! Kernel threads that serve lists of requests.
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use core::ptr::NonNull;
use kernel::{
    bindings, error,
    prelude::*,
    sync::{aref::ARef, Arc},
    task::Task,
};

extern "C" {
    fn ubd_thread_begin(batch: bool);
    fn ubd_thread_prepare_to_sleep();
    fn ubd_thread_awake();
    fn ubd_task_flags_save(flags: c_uint) -> c_uint;
    fn ubd_task_flags_restore(flags: c_uint);
}

/// The body of a kernel thread.
pub(crate) trait Body: Send + Sync + 'static {
    /// Runs in the thread, which ends when it returns; it must return soon after
    /// [`wait`] has said that the thread is to stop.
    fn run(&self);

    /// Whether the thread rather finds more to do at a time than begins at once when it is woken.
    fn is_batch(&self) -> bool;
}

/// A kernel thread that serves I/O: its allocations start none, and it is not throttled with
/// those whose pages it writes. While the machine is suspended it stands still in [`wait`]. It is
/// stopped, and waited for, when `self` is dropped.
///
/// # Invariants
///
/// `task` is a thread made by `kthread_create_on_node()`, which has not been stopped. It uses
/// `body`, and nothing of it after it has been stopped.
pub(crate) struct Thread<B: Body> {
    task: ARef<Task>,
    body: Arc<B>,
}

// SAFETY: A thread may be woken and stopped from any other.
unsafe impl<B: Body> Send for Thread<B> {}

// SAFETY: As above.
unsafe impl<B: Body> Sync for Thread<B> {}

impl<B: Body> Thread<B> {
    /// Starts a thread called `name` that runs `body`. May sleep. Returns `ENOMEM` or `EINTR`.
    pub(crate) fn spawn(name: &CStr, body: Arc<B>) -> Result<Self> {
        let data: *const B = &*body;
        // SAFETY: `data` is what `main` wants, and valid until the thread has been stopped; the
        // format takes the one string that it is given.
        let task = error::from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(Self::main),
                data.cast_mut().cast(),
                bindings::NUMA_NO_NODE,
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            )
        })?;
        // SAFETY: The task is new and valid. The reference keeps it so after it has ended.
        unsafe { bindings::get_task_struct(task) };
        // SAFETY: As above.
        unsafe { bindings::wake_up_process(task) };
        let task = NonNull::new(task.cast()).ok_or(ENOMEM)?;
        Ok(Self {
            // INVARIANT: The thread is new.
            // SAFETY: The reference was taken above.
            task: unsafe { ARef::from_raw(task) },
            body,
        })
    }

    /// # Safety
    ///
    /// `data` must point to a `B` that is valid until the calling thread has ended.
    unsafe extern "C" fn main(data: *mut kernel::ffi::c_void) -> i32 {
        // SAFETY: By this function's requirement.
        let body = unsafe { &*data.cast_const().cast::<B>() };
        let _serves_io = Scope::serves_io();
        // SAFETY: Sets a flag and the policy of the calling thread, which is this driver's.
        unsafe { ubd_thread_begin(body.is_batch()) };
        body.run();
        // It must be there to be stopped, even if its body came to an end early.
        while wait(FOREVER, || false) != Woken::Stop {}
        0
    }

    /// What it runs.
    pub(crate) fn body(&self) -> &B {
        &self.body
    }

    /// The thread, to be woken when it is in [`wait`].
    pub(crate) fn task(&self) -> ARef<Task> {
        self.task.clone()
    }
}

impl<B: Body> Drop for Thread<B> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the thread has not been stopped. Waits for its end.
        unsafe { bindings::kthread_stop(self.task.as_ptr()) };
    }
}

/// How long [`wait`] may sleep when nothing is to be done in the meantime.
pub(crate) const FOREVER: isize = isize::MAX;

/// Why [`wait`] has returned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// There may be something to do.
    Ready,
    /// Nobody has woken the thread in time.
    TimedOut,
    /// The thread is to stop.
    Stop,
}

/// Sleeps until the calling [`Thread`] is woken, or for `timeout` jiffies, unless `ready` says that
/// there is something to do.
///
/// Who makes `ready` true and then wakes the thread is never missed.
pub(crate) fn wait(timeout: isize, ready: impl FnOnce() -> bool) -> Woken {
    let mut left = timeout;
    // SAFETY: Called in a kernel thread's body, which may sleep.
    unsafe { ubd_thread_prepare_to_sleep() };
    // SAFETY: Called in a kernel thread.
    let stop = unsafe { bindings::kthread_should_stop() };
    if !stop && !ready() {
        // SAFETY: Called in a context that may sleep.
        left = unsafe { bindings::schedule_timeout(timeout) };
    }
    // SAFETY: Undoes what was done above.
    unsafe { ubd_thread_awake() };
    match left {
        _ if stop => Woken::Stop,
        0 => Woken::TimedOut,
        _ => Woken::Ready,
    }
}

/// Sleeps for so many jiffies, and for as long as the machine is suspended. For a kernel thread
/// that can be frozen.
pub(crate) fn nap(jiffies: isize) {
    if jiffies > 0 {
        // SAFETY: Called in a kernel thread, which may sleep.
        unsafe { ubd_thread_prepare_to_sleep() };
        // SAFETY: As above.
        unsafe { bindings::schedule_timeout(jiffies) };
    }
    // SAFETY: As above; undoes what was done, if it was.
    unsafe { ubd_thread_awake() };
}

/// A scope in which the calling task has flags that say how its memory is to be had. Scopes may be
/// nested.
///
/// # Invariants
///
/// `0` has the flags that the scope has set, and that were not set before it.
pub(crate) struct Scope(u32, kernel::types::NotThreadSafe);

impl Scope {
    /// As loop's worker: serving write-back, the task must neither wait on it nor be throttled
    /// with those it serves.
    pub(crate) fn serves_io() -> Self {
        Self::new(bindings::PF_LOCAL_THROTTLE | bindings::PF_MEMALLOC_NOIO)
    }

    /// Allocations start no I/O.
    pub(crate) fn no_io() -> Self {
        Self::new(bindings::PF_MEMALLOC_NOIO)
    }

    /// Allocations take from the kernel's reserves at once, and do not wait for memory that the
    /// task itself is to free. What is allocated in it must be little, and be freed soon.
    pub(crate) fn no_reclaim() -> Self {
        Self::new(bindings::PF_MEMALLOC)
    }

    /// Sets `flags`, until the value is dropped.
    fn new(flags: u32) -> Self {
        // SAFETY: Sets flags of the calling task; undone by the same task when dropped.
        let set = unsafe { ubd_task_flags_save(flags) };
        // INVARIANT: The helper returns what it has set.
        Self(set, kernel::types::NotThreadSafe)
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        // SAFETY: By the type invariant these are the scope's own, and the task is the same.
        unsafe { ubd_task_flags_restore(self.0) };
    }
}
