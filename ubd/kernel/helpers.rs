// SPDX-License-Identifier: GPL-2.0

//! The functions of `helpers.c`, as declared in `helpers.h`.
//!
//! Only the wrappers beside this file call them.

// As the bindings themselves: structures that are empty here are fine behind a pointer.
#![allow(improper_ctypes)]

use kernel::bindings;
use kernel::ffi::{c_char, c_long, c_uint, c_void};

/// On whose account a thread works.
#[repr(C)]
pub(super) struct Account {
    blkcg_css: *mut c_void,
    memcg_css: *mut c_void,
    old_memcg: *mut c_void,
}

extern "C" {
    pub(super) fn ubd_file_lock(file: *mut bindings::file, exclusive: bool) -> i32;
    pub(super) fn ubd_file_no_atime(file: *mut bindings::file);
    pub(super) fn ubd_file_size(file: *mut bindings::file) -> i64;
    pub(super) fn ubd_file_mode(file: *mut bindings::file) -> u16;
    pub(super) fn ubd_file_nowait(file: *mut bindings::file) -> bool;
    pub(super) fn ubd_file_in_memory(file: *mut bindings::file) -> bool;
    pub(super) fn ubd_file_is_read_only_device(file: *mut bindings::file) -> bool;
    pub(super) fn ubd_file_no_readahead(file: *mut bindings::file);
    pub(super) fn ubd_file_forget_lost(file: *mut bindings::file, error: *mut i32) -> i32;
    pub(super) fn ubd_file_sync(file: *mut bindings::file, lost: *mut bool) -> i32;
    pub(super) fn ubd_file_device_limits(
        file: *mut bindings::file,
        lbs: *mut c_uint,
        pbs: *mut c_uint,
        io_opt: *mut c_uint,
        stable_writes: *mut bool,
    );
    pub(super) fn ubd_file_next_data(file: *mut bindings::file, pos: i64) -> i64;
    pub(super) fn ubd_file_next_hole(file: *mut bindings::file, pos: i64) -> i64;
    pub(super) fn ubd_file_can_punch(file: *mut bindings::file) -> bool;
    pub(super) fn ubd_file_keep_times(file: *mut bindings::file);
    pub(super) fn ubd_file_is_rotational(file: *mut bindings::file) -> bool;
    pub(super) fn ubd_file_block_size(file: *mut bindings::file) -> c_uint;
    pub(super) fn ubd_file_read_iter(
        file: *mut bindings::file,
        iter: *mut bindings::iov_iter,
        pos: i64,
        nowait: bool,
        direct: bool,
    ) -> isize;
    pub(super) fn ubd_file_write_iter(
        file: *mut bindings::file,
        iter: *mut bindings::iov_iter,
        pos: i64,
        direct: bool,
    ) -> isize;
    pub(super) fn ubd_file_direct_alignment(
        file: *mut bindings::file,
        memory: *mut c_uint,
        offset: *mut c_uint,
    ) -> bool;

    pub(super) fn ubd_direct_start(
        iocb: *mut bindings::kiocb,
        file: *mut bindings::file,
        bio: *mut bindings::bio,
        pos: i64,
        write: bool,
        complete: unsafe extern "C" fn(*mut bindings::kiocb, c_long),
    ) -> isize;
    pub(super) fn ubd_direct_end(iocb: *mut bindings::kiocb, write: bool);

    pub(super) fn ubd_bio_iov_iter(
        bio: *mut bindings::bio,
        iter: *mut bindings::iov_iter,
        write: bool,
    );

    pub(super) fn ubd_llist_add(
        node: *mut bindings::llist_node,
        head: *mut bindings::llist_head,
    ) -> bool;
    pub(super) fn ubd_llist_take(head: *mut bindings::llist_head) -> *mut bindings::llist_node;
    pub(super) fn ubd_llist_empty(head: *const bindings::llist_head) -> bool;

    pub(super) fn ubd_thread_begin(batch: bool);
    pub(super) fn ubd_thread_prepare_to_sleep();
    pub(super) fn ubd_thread_awake();
    pub(super) fn ubd_task_flags_save(flags: c_uint) -> c_uint;
    pub(super) fn ubd_task_flags_restore(flags: c_uint);

    pub(super) fn ubd_request_fua(rq: *const bindings::request) -> bool;
    pub(super) fn ubd_request_add_to_batch(
        rq: *mut bindings::request,
        batch: *mut bindings::io_comp_batch,
    ) -> bool;
    pub(super) fn ubd_batch_end(batch: *mut bindings::io_comp_batch);
    pub(super) fn ubd_limits_features(
        lim: *mut bindings::queue_limits,
        write_cache: bool,
        rotational: bool,
        stable_writes: bool,
    );

    pub(super) fn ubd_disk(dev: *mut bindings::device) -> *mut bindings::gendisk;
    pub(super) fn ubd_disk_openers(disk: *mut bindings::gendisk) -> c_uint;

    pub(super) fn ubd_account_begin(rq: *mut bindings::request, account: *mut Account);
    pub(super) fn ubd_account_end(account: *mut Account);

    pub(super) fn ubd_fill_geometry(
        geo: *mut bindings::hd_geometry,
        heads: u8,
        sectors: u8,
        cylinders: u16,
    );

    pub(super) fn ubd_device_groups() -> *mut *const bindings::attribute_group;

    pub(super) fn ubd_ratelimit_init(state: *mut bindings::ratelimit_state);
    pub(super) fn ubd_ratelimit(state: *mut bindings::ratelimit_state) -> bool;

    pub(super) fn ubd_wait_for_initramfs();
    #[cfg(MODULE)]
    pub(super) fn ubd_module_args() -> *mut c_char;
    #[cfg(not(MODULE))]
    pub(super) fn ubd_boot_option(i: usize) -> *const c_char;
    #[cfg(not(MODULE))]
    pub(super) fn ubd_boot_typo(i: usize) -> *const c_char;
}
