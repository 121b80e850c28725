// SPDX-License-Identifier: GPL-2.0

//! The block device of User-mode Linux, ubd, for every kernel: disks on files, copied on write.

use kernel::{prelude::*, sync::Arc};
use ubd::kernel::reboot::Notifier;

mod ubd;

macro_rules! ubd_module {
    ($($trust_header:tt)*) => {
        module! {
            type: RnullUbd,
            name: "rnull_ubd",
            authors: ["The rnull_ubd authors"],
            description: "User-mode Linux's block device: disks on files, copied on write",
            license: "GPL",
            alias: ["block-major-98-*", "platform:uml-blkdev"],
            params: {
                $($trust_header)*
                direct_io: u16 {
                    default: 0,
                    description: "Units that bypass the page cache: bit n for unit n (default: 0)",
                },
            },
        }
    };
}

#[cfg(UBD_LINUX_7_2)]
ubd_module! {}
#[cfg(not(UBD_LINUX_7_2))]
ubd_module! {
    // A COW file from elsewhere can name any file that whoever attaches it may open, and show that
    // file's contents as the disk's.
    trust_header: bool {
        default: true,
        description: "Use the backing file that only a COW file's header names (default: y)",
    },
}

struct RnullUbd {
    // The first to go, so that no unit is attached any more when they are detached.
    #[cfg(CONFIG_CONFIGFS_FS)]
    _configfs: Option<ubd::setup::configfs::Registration>,
    // It has the units, too.
    _last_closes: ubd::engine::last_close::Started,
    _reboot: Pin<KBox<Notifier<ubd::setup::units::Units>>>,
    _units: Arc<ubd::setup::units::Units>,
}

impl kernel::Module for RnullUbd {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let units = Arc::pin_init(ubd::setup::units::Units::new(), GFP_KERNEL)?;
        let reboot = KBox::pin_init(Notifier::register(units.clone()), GFP_KERNEL)?;
        let last_closes = ubd::setup::units::Units::watch_closes(&units);
        ubd::setup::params::apply(&units)?;
        #[cfg(CONFIG_BLK_DEV_RUST_UBD_HOST)]
        ubd::setup::mconsole::register(&units);
        // From here on it does not fail.
        Ok(Self {
            #[cfg(CONFIG_CONFIGFS_FS)]
            _configfs: ubd::setup::configfs::register(&units),
            _last_closes: last_closes,
            _reboot: reboot,
            _units: units,
        })
    }
}
