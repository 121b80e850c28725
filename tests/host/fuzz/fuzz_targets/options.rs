// SPDX-License-Identifier: GPL-2.0

//! Any bytes as the text of an option.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rnull_ubd_host::options(bytes));
