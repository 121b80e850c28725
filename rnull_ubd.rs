// SPDX-License-Identifier: GPL-2.0

//! The block device of User-mode Linux, ubd, for every kernel: disks on files, copied on write.

use kernel::{prelude::*, sync::Arc};

// Without configfs no unit is detached at run time.
#[cfg_attr(not(CONFIG_CONFIGFS_FS), allow(dead_code))]
mod ubd {
    pub(crate) mod attributes;
    #[cfg(CONFIG_CONFIGFS_FS)]
    pub(crate) mod configfs;
    pub(crate) mod cow {
        pub(crate) mod bitmap;
        pub(crate) mod header;
        pub(crate) mod layout;
        pub(crate) mod replace;
    }
    pub(crate) mod disk;
    pub(crate) mod flush;
    pub(crate) mod image;
    pub(crate) mod io;
    pub(crate) mod ioctl;
    pub(crate) mod kernel {
        pub(crate) mod attribute;
        pub(crate) mod blk_mq;
        pub(crate) mod direct;
        pub(crate) mod file;
        pub(crate) mod gen_disk;
        pub(crate) mod helpers;
        pub(crate) mod iov_iter;
        pub(crate) mod module;
        pub(crate) mod params;
        pub(crate) mod platform;
        pub(crate) mod ratelimit;
        pub(crate) mod request;
        pub(crate) mod thread;
        pub(crate) mod workqueue;
    }
    pub(crate) mod open;
    pub(crate) mod options;
    pub(crate) mod params;
    pub(crate) mod plan;
    pub(crate) mod units;
    pub(crate) mod worker;
}

module! {
    type: RnullUbd,
    name: "rnull_ubd",
    authors: ["The rnull_ubd authors"],
    description: "User-mode Linux's block device: disks on files, copied on write",
    license: "GPL",
    alias: ["block-major-98-*", "platform:uml-blkdev"],
    params: {
        // A COW file from elsewhere can name any file that whoever attaches it may open, and show
        // that file's contents as the disk's.
        trust_header: bool {
            default: true,
            description: "Use the backing file that only a COW file's header names (default: y)",
        },
        direct_io: u16 {
            default: 0,
            description: "Units that bypass the page cache: bit n for unit n (default: 0)",
        },
    },
}

struct RnullUbd {
    // The first to go, so that no unit is attached any more when they are detached.
    #[cfg(CONFIG_CONFIGFS_FS)]
    _configfs: Option<ubd::configfs::Registration>,
    _units: Arc<ubd::units::Units>,
}

impl kernel::Module for RnullUbd {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let units = Arc::pin_init(ubd::units::Units::new(), GFP_KERNEL)?;
        ubd::params::apply(&units)?;
        Ok(Self {
            #[cfg(CONFIG_CONFIGFS_FS)]
            _configfs: ubd::configfs::register(&units),
            _units: units,
        })
    }
}
