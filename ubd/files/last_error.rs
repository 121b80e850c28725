// SPDX-License-Identifier: GPL-2.0

//! Why it failed: what was said last of a unit that could not be attached, or detached.

use kernel::{
    alloc::AllocError,
    fmt::{self, Write},
    new_mutex,
    prelude::*,
    str::Formatter,
    sync::Mutex,
};

/// The longest message that is kept, in bytes. It is that of a line of the kernel log.
const LEN_MAX: usize = 1023;

/// The last message of a unit that failed, until something was done with it that worked.
#[pin_data]
pub(crate) struct LastError {
    /// `None` if there is none; an error if there was no memory to keep it.
    #[pin]
    text: Mutex<Option<Result<KVec<u8>, AllocError>>>,
}

impl LastError {
    /// No message.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            text <- new_mutex!(None, "ubd_last_error"),
        })
    }

    /// Says in the kernel log why something failed, and keeps it. May sleep.
    pub(crate) fn say(&self, text: fmt::Arguments<'_>) {
        pr_err!("{text}\n");
        self.keep(text);
    }

    /// Keeps what is not worth a line of the kernel log. May sleep.
    pub(crate) fn keep(&self, text: fmt::Arguments<'_>) {
        let text = copy(text);
        *self.text.lock() = Some(text);
    }

    /// As [`Self::keep`], unless something is kept already, which says more. May sleep.
    pub(crate) fn keep_if_none(&self, text: fmt::Arguments<'_>) {
        let text = copy(text);
        self.text.lock().get_or_insert(text);
    }

    /// To be called when something is tried, and when it has worked. May sleep.
    pub(crate) fn clear(&self) {
        // Freed when the lock is given back.
        let _text = self.text.lock().take();
    }

    /// Runs `f` on the message, which is empty if there is none. May sleep, but not for a file.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        match &*self.text.lock() {
            None => f(b""),
            Some(Ok(text)) => f(text),
            Some(Err(_)) => f(b"there was no memory to keep the message"),
        }
    }
}

fn copy(text: fmt::Arguments<'_>) -> Result<KVec<u8>, AllocError> {
    let mut bytes = KVec::from_elem(0u8, LEN_MAX, GFP_KERNEL)?;
    let mut out = Formatter::new(&mut bytes);
    // What is longer is cut.
    let _ = out.write_fmt(text);
    let len = out.bytes_written().min(LEN_MAX);
    bytes.truncate(len);
    Ok(bytes)
}
