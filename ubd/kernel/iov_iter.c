// SPDX-License-Identifier: GPL-2.0
/*
 * Iterators over the pages of a bio. See iov_iter.rs.
 */

#include <linux/bio.h>
#include <linux/bvec.h>
#include <linux/uio.h>

#include "helpers.h"

/* The bio's own pages, from where its iterator stands: no copy, no array. */
void ubd_bio_iov_iter(struct bio *bio, struct iov_iter *iter, bool write)
{
	struct bvec_iter at = bio->bi_iter;
	const struct bio_vec *first = __bvec_iter_bvec(bio->bi_io_vec, at);
	unsigned int offset = mp_bvec_iter_offset(bio->bi_io_vec, at) - first->bv_offset;
	unsigned int segments = 1;
	struct bio_vec bv;

	if (at.bi_size > first->bv_len - offset) {
		segments = 0;
		for_each_mp_bvec(bv, bio->bi_io_vec, at, bio->bi_iter)
			segments++;
	}
	iov_iter_bvec(iter, write ? ITER_SOURCE : ITER_DEST, first, segments,
		      bio->bi_iter.bi_size);
	iter->iov_offset = offset;
}
