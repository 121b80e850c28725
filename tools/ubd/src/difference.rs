// SPDX-License-Identifier: GPL-2.0

//! In which sectors bytes differ.

/// A bitmap of the sectors in which `a` and `b` differ, as a COW file has it: sector `i` is bit
/// `i % 8` of byte `i / 8`. They are of one length, and the last sector may be a part.
pub(crate) fn differing(a: &[u8], b: &[u8], sector: usize) -> Vec<u8> {
    let mut bits = vec![0; a.len().div_ceil(sector).div_ceil(8)];
    if a == b {
        return bits;
    }
    for (i, (a, b)) in a.chunks(sector).zip(b.chunks(sector)).enumerate() {
        if let Some(byte) = bits.get_mut(i / 8).filter(|_| a != b) {
            *byte |= 1 << (i % 8);
        }
    }
    bits
}

/// The runs of sectors whose bits are set: each as the first one and the one behind the last.
pub(crate) fn runs(bits: &[u8]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    let set = |sector: &usize| {
        bits.get(sector / 8)
            .is_some_and(|byte| (byte >> (sector % 8)) & 1 == 1)
    };
    for sector in (0..bits.len() * 8).filter(set) {
        match runs.last_mut() {
            Some((_, end)) if *end == sector => *end += 1,
            _ => runs.push((sector, sector + 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sectors_that_differ_are_set() {
        let a = [0; 4096 + 100];
        assert_eq!(differing(&a, &a, 512), [0, 0]);
        let mut b = a;
        b[0] = 1;
        b[1023] = 1;
        b[4095] = 1;
        assert_eq!(differing(&a, &b, 512), [0x83, 0]);
        b[4195] = 1;
        assert_eq!(differing(&a, &b, 512), [0x83, 1]);
        assert_eq!(differing(&a, &b, 4096), [3]);
        assert!(differing(&[], &[], 512).is_empty());
    }

    #[test]
    fn sectors_that_follow_each_other_are_one_run() {
        assert_eq!(runs(&[0, 0]), []);
        assert_eq!(runs(&[0x83, 1]), [(0, 2), (7, 9)]);
        assert_eq!(runs(&[0xff, 0xff]), [(0, 16)]);
        assert_eq!(runs(&[0, 0x80]), [(15, 16)]);
    }
}
