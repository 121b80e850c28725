// SPDX-License-Identifier: GPL-2.0

//! The ioctls of a ubd that the block layer does not have. As in UML.

use crate::ubd::engine::shared::Shared;
use kernel::{
    block::SECTOR_SIZE,
    prelude::*,
    uaccess::{UserPtr, UserSlice},
};

/// Heads of the disk's geometry.
const HEADS: u8 = 128;

/// Sectors of a track of the disk's geometry.
const SECTORS: u8 = 32;

/// `HDIO_GET_IDENTITY` of `include/uapi/linux/hdreg.h`.
const HDIO_GET_IDENTITY: u32 = 0x030d;

/// `CDROMVOLREAD` of `include/uapi/linux/cdrom.h`.
const CDROMVOLREAD: u32 = 0x5313;

/// The words of an ATA identity.
const IDENTITY_WORDS: usize = 256;

/// The disk's heads, sectors and cylinders. These are for partition tables, and the number of
/// cylinders wraps.
pub(crate) fn geometry(shared: &Shared) -> (u8, u8, u16) {
    let cylinder = u64::from(HEADS) * u64::from(SECTORS) * u64::from(SECTOR_SIZE);
    (
        HEADS,
        SECTORS,
        (shared.image.get().size() / cylinder) as u16,
    )
}

/// Carries out an ioctl. All structures are the same for 32-bit callers.
///
/// May sleep. Returns `EFAULT`, or `ENOTTY` for an ioctl that is not known here.
pub(crate) fn ioctl(shared: &Shared, command: u32, argument: UserPtr) -> Result {
    match command {
        HDIO_GET_IDENTITY => UserSlice::new(argument, IDENTITY_WORDS * 2)
            .writer()
            .write_slice(&identity(shared)),
        // The volume of four channels, a byte each.
        CDROMVOLREAD => UserSlice::new(argument, 4).writer().write_slice(&[255; 4]),
        _ => Err(ENOTTY),
    }
}

/// An ATA identity, as bytes in the machine's order of its 16-bit words.
fn identity(shared: &Shared) -> [u8; IDENTITY_WORDS * 2] {
    let mut bytes = [0; IDENTITY_WORDS * 2];
    let (heads, sectors, cylinders) = geometry(shared);
    for (word, value) in [
        (1, cylinders),
        (3, u16::from(heads)),
        (6, u16::from(sectors)),
    ] {
        if let Some(slot) = bytes.get_mut(word * 2..word * 2 + 2) {
            slot.copy_from_slice(&value.to_ne_bytes());
        }
    }
    // As IDE drivers gave it: texts padded with blanks, their characters in order.
    put_text(&mut bytes, 10..20, &shared.identity.serial);
    put_text(&mut bytes, 27..47, b"User-mode Linux block device");
    bytes
}

fn put_text(bytes: &mut [u8], words: core::ops::Range<usize>, text: &[u8]) {
    let Some(field) = bytes.get_mut(words.start * 2..words.end * 2) else {
        return;
    };
    field.fill(b' ');
    for (to, from) in field.iter_mut().zip(text) {
        *to = *from;
    }
}
