// SPDX-License-Identifier: GPL-2.0

//! In which steps a header takes the place of another, so that a crash at any moment leaves the old
//! one, the new one, or one that names no file and so says that it is neither.
//!
//! What a disk writes wholly or not at all is a sector. So what the new header has behind the first
//! one must be durable before the first sector leads there, and may be overwritten only when the
//! first sector does not. It leads there by a path that goes on behind it; and in V2, where path
//! and mtime cannot change at once, by any path at all if the mtime changes. That of a larger disk
//! leads there by its cow_format; but the size that it leads to does not change with the path.
//!
//! | the old first sector leads there | the new one does | steps |
//! | --- | --- | --- |
//! | no | no | all at once |
//! | no | yes | the rest, the first sector |
//! | yes | no | the first sector, the rest |
//! | yes | yes | a first sector that names [`SWITCHING`], the rest, the first sector |
//!
//! If the path stays, all that changes is the mtime, which is within one sector: all at once.

use super::header::{Error, Header};

/// What a disk writes wholly or not at all, in bytes.
pub(crate) const SECTOR: usize = 512;

/// What a header names between two others: no file, so that after a crash the backing file has to
/// be given.
pub(crate) const SWITCHING: &[u8] = b"/";

/// A part of a header. It must be durable before the next step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Step<'a> {
    header: Header<'a>,
    start: usize,
    end: usize,
}

impl Step<'_> {
    /// Where in the file the bytes belong.
    pub(crate) fn offset(&self) -> u64 {
        self.start as u64
    }

    /// The bytes. `buf` must have room for a whole header.
    pub(crate) fn bytes<'b>(&self, buf: &'b mut [u8]) -> Result<&'b [u8], Error> {
        self.header.write(buf)?;
        Ok(buf.get(self.start..self.end).unwrap_or_default())
    }
}

/// The steps by which `new` takes the place of `old`, which differs from it in path and mtime only,
/// and in the backing file's size if only one of both has that; or by which it is written to a file
/// whose first sector is zeros.
///
/// Returns an error, before there is any step, if `new` cannot be written.
pub(crate) fn steps<'a>(
    old: Option<&Header<'a>>,
    new: &Header<'a>,
) -> Result<impl Iterator<Item = Step<'a>>, Error> {
    new.check()?;
    let len = new.len();
    let part = |header, start, end| Some(Step { header, start, end });
    let first = part(*new, 0, SECTOR.min(len));
    let rest = part(*new, SECTOR.min(len), len);
    let between = Header {
        backing_file: SWITCHING,
        backing_size: old.and_then(|old| old.backing_size),
        ..*new
    };

    let moves = old.is_none_or(|old| old.backing_file != new.backing_file);
    let new_mtime = old.is_none_or(|old| old.mtime != new.mtime);
    let mtime_behind = new_mtime && new.mtime_offset() >= SECTOR;
    let resizes = old.is_none_or(|old| old.backing_size != new.backing_size);
    let leads = |header: &Header<'_>| {
        moves && (mtime_behind || header.path_end() > SECTOR)
            || resizes && header.backing_size.is_some()
    };
    let steps = match (old.is_some_and(leads), leads(new)) {
        (false, false) => [part(*new, 0, len), None, None],
        (false, true) => [rest, first, None],
        (true, false) => [first, rest, None],
        (true, true) => [part(between, 0, SECTOR), rest, first],
    };
    Ok(steps.into_iter().flatten())
}

#[cfg(any(test, CONFIG_BLK_DEV_RUST_UBD_KUNIT_TEST))]
#[cfg_attr(not(test), ::kernel::macros::kunit_tests(rnull_ubd_replace))]
mod tests {
    use super::super::header::Version;
    use super::*;

    static LONG: [u8; 4000] = [b'x'; 4000];
    static OTHER: [u8; 4000] = [b'y'; 4000];

    fn header(version: Version, backing_file: &'static [u8], mtime: u32) -> Header<'static> {
        Header {
            version,
            mtime,
            size: 1 << 20,
            backing_size: None,
            sector_size: 512,
            alignment: 4096,
            backing_file,
        }
    }

    /// Offset, length and path of each step.
    type Found<'a> = [Option<(usize, usize, &'a [u8])>; 3];

    fn found<'a>(old: Option<&Header<'a>>, new: &Header<'a>) -> Result<Found<'a>, Error> {
        let mut steps = steps(old, new)?
            .map(|step| (step.start, step.end - step.start, step.header.backing_file));
        Ok([steps.next(), steps.next(), steps.next()])
    }

    #[test]
    fn nothing_is_named_before_it_is_there() {
        let v3 = |path, mtime| header(Version::V3, path, mtime);
        let (short, long) = (v3(b"/short", 1), v3(&LONG, 1));
        let (other, other_long) = (v3(b"/other", 2), v3(&OTHER, 2));
        let rest = |path| Some((512, 3616, path));
        let first = |path| Some((0, 512, path));
        let whole = |path| Some((0, 4128, path));
        let (s, l): (&[u8], &[u8]) = (b"/short", &LONG);
        let (o, ol): (&[u8], &[u8]) = (b"/other", &OTHER);

        assert_eq!(found(None, &short), Ok([whole(s), None, None]));
        assert_eq!(found(None, &long), Ok([rest(l), first(l), None]));
        assert_eq!(found(Some(&short), &other), Ok([whole(o), None, None]));
        assert_eq!(found(Some(&short), &long), Ok([rest(l), first(l), None]));
        assert_eq!(found(Some(&long), &short), Ok([first(s), rest(s), None]));
        assert_eq!(
            found(Some(&long), &other_long),
            Ok([first(SWITCHING), rest(ol), first(ol)])
        );
        let later = v3(&LONG, 2);
        assert_eq!(found(Some(&long), &later), Ok([whole(l), None, None]));
    }

    #[test]
    fn a_path_and_the_mtime_of_a_v2_change_as_one() {
        let v2 = |path, mtime| header(Version::V2, path, mtime);
        let rest = |path| Some((512, 3608, path));
        let first = |path| Some((0, 512, path));
        let whole = |path| Some((0, 4120, path));
        let short = v2(b"/short", 1);
        let (s, o): (&[u8], &[u8]) = (b"/short", b"/other");

        assert_eq!(found(None, &short), Ok([rest(s), first(s), None]));
        let other = v2(b"/other", 1);
        assert_eq!(found(Some(&short), &other), Ok([whole(o), None, None]));
        let later = v2(b"/short", 2);
        assert_eq!(found(Some(&short), &later), Ok([whole(s), None, None]));
        let other = v2(b"/other", 2);
        assert_eq!(
            found(Some(&short), &other),
            Ok([first(SWITCHING), rest(o), first(o)])
        );
    }

    #[test]
    fn a_larger_disk_is_none_before_its_size_is_there() {
        let equal = header(Version::V3, b"/short", 1);
        let larger = Header {
            backing_size: Some(1 << 19),
            ..equal
        };
        let path: &[u8] = b"/short";
        let (first, rest) = (Some((0, 512, path)), Some((512, 3624, path)));
        assert_eq!(found(None, &larger), Ok([rest, first, None]));
        assert_eq!(found(Some(&equal), &larger), Ok([rest, first, None]));
        let rest = Some((512, 3616, path));
        assert_eq!(found(Some(&larger), &equal), Ok([first, rest, None]));
        let other = Header {
            backing_file: b"/other",
            ..larger
        };
        let whole = Some((0, 4136, other.backing_file));
        assert_eq!(found(Some(&larger), &other), Ok([whole, None, None]));
    }

    #[test]
    fn a_v1_is_within_a_sector() {
        for big_endian in [false, true] {
            let v1 = |path, mtime| header(Version::V1 { big_endian }, path, mtime);
            let new = v1(&LONG[..255], 2);
            let whole = Ok([Some((0, 280, &LONG[..255])), None, None]);
            assert_eq!(found(None, &new), whole);
            assert_eq!(found(Some(&v1(&OTHER[..255], 1)), &new), whole);
        }
    }

    #[test]
    fn what_cannot_be_written_has_no_steps() {
        let old = header(Version::V3, &LONG, 1);
        let new = header(Version::V3, b"", 1);
        assert_eq!(found(Some(&old), &new), Err(Error::EmptyPath));
    }
}
