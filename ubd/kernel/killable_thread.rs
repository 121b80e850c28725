// SPDX-License-Identifier: GPL-2.0

//! Work that a kernel thread does for a task, which can be killed meanwhile.
//!
//! A task that waits in a file system can't be killed. Where that may take for ever, a thread waits
//! in its place.
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use super::completion::Completion;
use core::ptr::NonNull;
use kernel::{
    bindings, error,
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
    sync::{Arc, SetOnce},
};

extern "C" {
    fn ubd_set_freezable();
    fn ubd_view_get() -> *mut RawView;
    fn ubd_view_enter(view: *mut RawView);
    fn ubd_view_leave(view: *mut RawView);
    fn ubd_view_put(view: *mut RawView);
    fn ubd_flush_delayed_fput();
    fn ubd_module_get();
    fn ubd_killable_thread(job: *mut kernel::ffi::c_void) -> i32;
}

/// The `struct ubd_view` of `killable_thread.c`.
#[repr(C)]
struct RawView {
    _opaque: [u8; 0],
}

/// How a task sees files: from its root and working directory, with its umask and credentials. What
/// `/proc/self` is does not belong to it.
///
/// # Invariants
///
/// `0` came from `ubd_view_get()`, and is put when `self` is dropped.
struct View(NonNull<RawView>);

// SAFETY: What is in there is counted, and not bound to a task.
unsafe impl Send for View {}

impl View {
    /// That of the calling task. Returns `ENOMEM`.
    fn of_caller() -> Result<Self> {
        // SAFETY: Called by a task that has what is taken.
        let view = unsafe { ubd_view_get() };
        // INVARIANT: The view is new and ours.
        Ok(Self(NonNull::new(view).ok_or(ENOMEM)?))
    }

    /// Has the calling kernel thread see files so while `f` runs.
    fn apply(&self, f: impl FnOnce()) {
        // SAFETY: By the type invariant; undone below by the same task, and no other has the view.
        unsafe { ubd_view_enter(self.0.as_ptr()) };
        f();
        // SAFETY: As above.
        unsafe { ubd_view_leave(self.0.as_ptr()) };
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { ubd_view_put(self.0.as_ptr()) };
    }
}

/// What a thread and the task that waits for it know of each other.
#[pin_data]
pub(crate) struct Waiter {
    /// Whether one of them has decided: the thread that what it did stays, or the task that it is
    /// not to, because it was killed.
    decided: Atomic<bool>,
    /// Whether it was the thread.
    committed: Atomic<bool>,
    #[pin]
    ended: Completion,
    result: SetOnce<Result>,
}

impl Waiter {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                decided: Atomic::new(false),
                committed: Atomic::new(false),
                ended <- Completion::new(),
                result: SetOnce::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Whether the task was killed. For a thread that has not called [`Self::commit`], and can save
    /// itself the rest.
    pub(crate) fn is_killed(&self) -> bool {
        self.decided.load(Relaxed)
    }

    /// Returns false if the task was killed, and what was done is to be undone; else the task waits
    /// for the end, whatever happens. To be called once at most, when all is done that can take
    /// long; at the end it is done anyway.
    pub(crate) fn commit(&self) -> bool {
        let commit = !self.decided.xchg(true, Full);
        self.committed.store(commit, Relaxed);
        commit
    }

    /// Waits until the thread has ended, or the calling task is killed before the thread has
    /// decided.
    fn wait(&self) -> Result {
        if let Err(e) = self.ended.wait_for_completion_killable() {
            if !self.decided.xchg(true, Full) {
                return Err(e);
            }
            self.ended.wait_for_completion();
        }
        self.result.copy().unwrap_or(Err(EIO))
    }
}

/// What a thread is to do. Begins as the `struct ubd_job` of `helpers.h` does.
///
/// # Invariants
///
/// `main` is [`main::<F>`](main).
#[repr(C)]
struct Job<F> {
    main: unsafe extern "C" fn(*mut Job<F>) -> *mut bindings::completion,
    run: F,
}

/// Has a kernel thread called `name` run `f`, which sees files as the calling task does now, and
/// waits for its end. `f` is to call [`flush_delayed_fput`] when it has closed any.
///
/// May sleep. Returns what `f` does, `ENOMEM`, or `EINTR` when the calling task was killed. In that
/// case the thread may go on, and the module stays until it has ended: so a module's init that has
/// called this must not fail any more.
pub(crate) fn run<F>(name: &CStr, f: F) -> Result
where
    F: FnOnce(&Waiter) -> Result + Send + 'static,
{
    let view = View::of_caller()?;
    let waiter = Waiter::new()?;
    let waited_for = waiter.clone();
    spawn(name, move || {
        view.apply(|| {
            waited_for.result.populate(f(&waited_for));
        });
        drop(view);
        let waits = waited_for.committed.load(Relaxed) || waited_for.commit();
        waits.then_some(waited_for)
    })?;
    waiter.wait()
}

/// Has a kernel thread called `name` run `f`, and waits for nothing. It sees files as the kernel
/// itself does, and is the last to close some: so `f` is to call [`flush_delayed_fput`] then.
///
/// May sleep. Returns `ENOMEM`. The module stays until the thread has ended.
pub(crate) fn start<F>(name: &CStr, f: F) -> Result
where
    F: FnOnce() + Send + 'static,
{
    spawn(name, move || {
        f();
        None
    })
}

/// Has a kernel thread called `name` run `f`, and end; and with it what `f` returns, if anything.
fn spawn<F>(name: &CStr, f: F) -> Result
where
    F: FnOnce() -> Option<Arc<Waiter>> + Send + 'static,
{
    // INVARIANT: `main` is that of `F`.
    let job = Job {
        main: main::<F>,
        run: f,
    };
    let job = KBox::into_raw(KBox::new(job, GFP_KERNEL)?);
    // SAFETY: `job` begins with what the thread calls, and is what that wants; the format takes the
    // one string that it is given.
    let task = unsafe {
        bindings::kthread_create_on_node(
            Some(ubd_killable_thread),
            job.cast(),
            bindings::NUMA_NO_NODE,
            c"%s".as_char_ptr(),
            name.as_char_ptr(),
        )
    };
    let task = error::from_err_ptr(task).inspect_err(|_| {
        // SAFETY: There is no thread that has it.
        drop(unsafe { KBox::from_raw(job) });
    })?;
    // SAFETY: The caller is in this module, so it is there. The thread puts the reference.
    unsafe { ubd_module_get() };
    // SAFETY: The task is new, and has not been woken before.
    unsafe { bindings::wake_up_process(task) };
    Ok(())
}

/// Closes what the calling kernel thread has closed, which otherwise another one does, some time.
/// To be called in what [`run`] runs. May sleep.
pub(crate) fn flush_delayed_fput() {
    // SAFETY: Called in a kernel thread that holds no locks.
    unsafe { ubd_flush_delayed_fput() };
}

/// Does the job and frees it. Returns what the task waits for, which is there, as the module is,
/// for as long as it does; null if it does not wait.
///
/// # Safety
///
/// `job` must come from [`KBox::into_raw`].
unsafe extern "C" fn main<F>(job: *mut Job<F>) -> *mut bindings::completion
where
    F: FnOnce() -> Option<Arc<Waiter>>,
{
    // SAFETY: Called in a kernel thread.
    unsafe { ubd_set_freezable() };
    // SAFETY: By this function's requirement.
    let job = unsafe { KBox::from_raw(job) };
    let Job { run, .. } = KBox::into_inner(job);
    match run() {
        // Who waits has a reference of its own.
        Some(waiter) => waiter.ended.as_ptr(),
        None => core::ptr::null_mut(),
    }
}
