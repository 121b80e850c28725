// SPDX-License-Identifier: GPL-2.0

//! Any bytes as the start of a COW file: header and layout.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rnull_ubd_host::header(bytes));
