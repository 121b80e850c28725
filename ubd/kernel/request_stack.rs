// SPDX-License-Identifier: GPL-2.0

//! Stacks of requests, with no lock.
//!
//! C header: [`include/linux/llist.h`](srctree/include/linux/llist.h)

use super::request::{Request, RequestData};
use kernel::{bindings, types::Opaque};

extern "C" {
    fn ubd_llist_add(node: *mut bindings::llist_node, head: *mut bindings::llist_head) -> bool;
    fn ubd_llist_take(head: *mut bindings::llist_head) -> *mut bindings::llist_node;
    fn ubd_llist_empty(head: *const bindings::llist_head) -> bool;
}

/// A stack of requests that any number of contexts add to and take from, with no lock.
///
/// # Invariants
///
/// The nodes of the stack are those of requests whose ownership was given up to it.
pub(crate) struct RequestStack {
    head: Opaque<bindings::llist_head>,
}

// SAFETY: A `llist_head` may be used by any thread, and requests may move between threads.
unsafe impl Send for RequestStack {}

// SAFETY: As above.
unsafe impl Sync for RequestStack {}

impl RequestStack {
    /// With no requests.
    pub(crate) fn new() -> Self {
        Self {
            // INVARIANT: No nodes.
            head: Opaque::new(bindings::llist_head {
                first: core::ptr::null_mut(),
            }),
        }
    }

    /// Adds a request. A full barrier. May be called in any context.
    pub(crate) fn push(&self, rq: Request) {
        let data = rq.into_data();
        // SAFETY: The node is that of a request that was given up to us; the head is valid.
        unsafe { ubd_llist_add(&raw mut (*data).node, self.head.get()) };
    }

    /// Whether there are no requests.
    pub(crate) fn is_empty(&self) -> bool {
        // SAFETY: The head is valid.
        unsafe { ubd_llist_empty(self.head.get()) }
    }

    /// Takes all requests, oldest first.
    pub(crate) fn take(&self) -> Requests {
        Requests {
            // SAFETY: The head is valid.
            next: unsafe { ubd_llist_take(self.head.get()) },
        }
    }
}

impl Drop for RequestStack {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Requests taken off a [`RequestStack`].
///
/// # Invariants
///
/// `next` is null, or the node of a request that is owned by `self`, and so are those behind it.
pub(crate) struct Requests {
    next: *mut bindings::llist_node,
}

// SAFETY: Requests may move between threads, and nobody else has these.
unsafe impl Send for Requests {}

impl Requests {
    /// No requests.
    pub(crate) fn none() -> Self {
        Self {
            next: core::ptr::null_mut(),
        }
    }

    /// Whether there are no more requests.
    pub(crate) fn is_empty(&self) -> bool {
        self.next.is_null()
    }
}

impl Iterator for Requests {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        if self.next.is_null() {
            return None;
        }
        // SAFETY: By the type invariant this is the node of a request's data.
        let data = unsafe { kernel::container_of!(self.next, RequestData, node) };
        // SAFETY: The request was given up to the stack, and is taken up again once.
        let rq = unsafe { Request::from_data(data) };
        // SAFETY: The node is valid while the request is.
        self.next = unsafe { (*self.next).next };
        Some(rq)
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}
