// SPDX-License-Identifier: GPL-2.0

//! Starts the threads of a unit, and takes them away.

use crate::ubd::kernel::compat::smp_mb;
use crate::ubd::{
    engine::queue::Queue,
    engine::shared::{is_of_reads, Shared, FLUSH},
    engine::worker::{Role, Worker},
    kernel::thread::{Scope, Thread},
};
use kernel::{
    impl_has_work, new_mutex, new_work,
    prelude::*,
    str::CString,
    sync::atomic::{Full, Relaxed},
    sync::{Arc, Mutex},
    workqueue::{Work, WorkItem},
};

/// Starts threads where they are wanted, and takes away those that have retired.
#[pin_data]
pub(super) struct Starter {
    #[pin]
    work: Work<Self>,
    /// `None` when no more are to be started.
    #[pin]
    started: Mutex<Option<Started>>,
}

struct Started {
    shared: Arc<Shared>,
    /// The unit's name.
    name: CString,
    threads: KVec<Thread<Worker>>,
}

impl_has_work! {
    impl HasWork<Self> for Starter { self.work }
}

impl WorkItem for Starter {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if let Some(started) = &mut *this.started.lock() {
            started.update();
        }
    }
}

impl Started {
    fn update(&mut self) {
        // What it waits for must not be this unit.
        let _serves_io = Scope::serves_io();
        self.threads
            .retain(|thread| !thread.body().retired.load(Relaxed));
        let shared = self.shared.clone();
        for (number, queue) in shared.queues.iter().enumerate() {
            // It may have one by now.
            if queue.want_thread(false) && !queue.wake_thread() {
                self.start_for(number, queue);
            }
        }
        while shared.pool.wanted() > 0 {
            shared.pool.start();
            if self.start(Role::Pool, c"io").is_err() {
                shared.pool.end_start();
                // The workqueue goes on when there is no memory.
                while let Some(rq) = shared.pool.take() {
                    shared.serve_cold(rq);
                }
            }
        }
    }

    fn start_for(&mut self, number: usize, queue: &Queue) {
        let name = match number {
            FLUSH => CString::try_from_fmt(fmt!("flush")),
            _ if is_of_reads(number) => CString::try_from_fmt(fmt!("{}r", number / 2)),
            _ => CString::try_from_fmt(fmt!("{}", number / 2)),
        };
        if name.is_ok_and(|name| self.start(Role::Queue(number), &name).is_ok()) {
            return;
        }
        // There is no memory for one.
        if number == FLUSH {
            // Who comes from here on has to ask again.
            queue.set_unnoticed();
            smp_mb(Full);
            self.shared.serve_flushes(queue);
        } else {
            self.shared.wake_up_main();
        }
    }

    fn start(&mut self, role: Role, suffix: &CStr) -> Result {
        self.threads.reserve(1, GFP_KERNEL)?;
        let name = CString::try_from_fmt(fmt!("{}-{suffix}", &*self.name))?;
        let thread = Worker::spawn(&self.shared, &name, role)?;
        if let Role::Queue(number) = role {
            if let Some(queue) = self.shared.queues.get(number) {
                queue.set_thread(Some(thread.task()));
                // It may have looked, and gone to sleep, before others knew of it.
                queue.wake_thread();
            }
        }
        self.threads.push(thread, GFP_KERNEL)?;
        Ok(())
    }
}

/// All threads of a unit. They end when it is dropped; there must be no requests by then.
pub(crate) struct Workers {
    starter: Arc<Starter>,
    _main: Thread<Worker>,
}

impl Workers {
    /// Starts what a unit called `name` needs. May sleep. Returns `ENOMEM`.
    pub(crate) fn start(shared: &Arc<Shared>, name: &CStr) -> Result<Self> {
        let main = Worker::spawn(shared, name, Role::Main)?;
        shared.main.populate(main.task());
        let started = Started {
            shared: shared.clone(),
            name: name.try_into()?,
            threads: KVec::new(),
        };
        let starter = Arc::pin_init(
            pin_init!(Starter {
                work <- new_work!("ubd_starter"),
                started <- new_mutex!(Some(started), "ubd_started"),
            }),
            GFP_KERNEL,
        )?;
        shared.starter.populate(starter.clone());
        Ok(Self {
            starter,
            _main: main,
        })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let started = self.starter.started.lock().take();
        if let Some(Started {
            shared, threads, ..
        }) = started
        {
            drop(threads);
            shared.flushes.close();
        }
    }
}
