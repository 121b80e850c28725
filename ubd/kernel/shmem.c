// SPDX-License-Identifier: GPL-2.0
/*
 * Files in memory (tmpfs): their pages, as fs/xfs/scrub/xfile.c uses them. See
 * helpers.h.
 */

#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>
#include <linux/uio.h>

#include "helpers.h"

/* The page that an iterator over bvecs stands at the start of, or NULL. */
static struct page *ubd_whole_page(const struct iov_iter *iter)
{
	const struct bio_vec *bvec = iter->bvec;
	size_t at = bvec->bv_offset + iter->iov_offset;

	if (at % PAGE_SIZE || iter->iov_offset > bvec->bv_len ||
	    bvec->bv_len - iter->iov_offset < PAGE_SIZE)
		return NULL;
	return bvec->bv_page + at / PAGE_SIZE;
}

static void ubd_copy_page(struct folio *folio, size_t offset,
			  struct page *page, bool to_folio)
{
	void *ours = kmap_local_page(page);
	void *theirs = kmap_local_folio(folio, offset);

	if (to_folio)
		copy_page(theirs, ours);
	else
		copy_page(ours, theirs);
	kunmap_local(theirs);
	kunmap_local(ours);
}

/*
 * Copies between a folio and an iterator over bvecs, whichever way that goes,
 * whole pages by what a processor has for them.
 */
static void ubd_copy_folio(struct folio *folio, size_t offset, size_t len,
			   struct iov_iter *iter)
{
	bool to_folio = iov_iter_rw(iter) == ITER_SOURCE;
	struct page *page;
	size_t n;

	for (; len; offset += n, len -= n) {
		n = min(len, PAGE_SIZE - offset_in_page(offset));
		page = n == PAGE_SIZE ? ubd_whole_page(iter) : NULL;
		if (page) {
			ubd_copy_page(folio, offset, page, to_folio);
			iov_iter_advance(iter, n);
		} else if (to_folio) {
			copy_folio_from_iter_atomic(folio, offset, n, iter);
		} else {
			copy_folio_to_iter(folio, offset, n, iter);
		}
	}
}

/*
 * tmpfs cannot be asked for a read that does not wait: it would bring in what
 * is swapped out. So its pages are looked up in the page cache; and where there
 * is nothing, not even a note of what is in swap, there is a hole.
 */
ssize_t ubd_shmem_read_nowait(struct file *file, struct iov_iter *iter,
			      loff_t pos)
{
	struct address_space *mapping = file->f_mapping;
	loff_t end = i_size_read(mapping->host);
	struct folio *folio;
	ssize_t done = 0;
	pgoff_t next;
	size_t n;

	for (; iov_iter_count(iter) && pos < end; pos += n, done += n) {
		n = min_t(u64, iov_iter_count(iter), end - pos);
		folio = filemap_get_folio(mapping, pos >> PAGE_SHIFT);
		if (IS_ERR(folio)) {
			next = pos >> PAGE_SHIFT;
			if (xa_find(&mapping->i_pages, &next, ULONG_MAX, XA_PRESENT)) {
				if (next == pos >> PAGE_SHIFT)
					break;
				n = min_t(u64, n, ((loff_t)next << PAGE_SHIFT) - pos);
			}
			iov_iter_zero(n, iter);
			continue;
		}
		/* Not up to date is what was allocated and never written. */
		if (!folio_test_uptodate(folio) ||
		    folio_contain_hwpoisoned_page(folio)) {
			folio_put(folio);
			break;
		}
		n = min(n, folio_size(folio) - offset_in_folio(folio, pos));
		if (mapping_writably_mapped(mapping))
			flush_dcache_folio(folio);
		folio_mark_accessed(folio);
		ubd_copy_folio(folio, offset_in_folio(folio, pos), n, iter);
		folio_put(folio);
	}
	return done ?: -EAGAIN;
}

/*
 * A write within the file's size, as tmpfs does it. With -EAGAIN nothing was
 * done, and it is for the file's own operation: one behind the end, or to what
 * is not to be written any more.
 */
ssize_t ubd_shmem_write(struct file *file, struct iov_iter *iter, loff_t pos)
{
	struct inode *inode = file->f_mapping->host;
	struct folio *folio;
	size_t offset, n;
	ssize_t done = 0;
	int ret = -EAGAIN;

	file_start_write(file);
	inode_lock(inode);
	if (pos + iov_iter_count(iter) > i_size_read(inode) ||
	    SHMEM_I(inode)->seals & ~F_SEAL_SEAL || IS_SWAPFILE(inode))
		goto unlock;
	ret = file_modified(file);
	while (!ret && iov_iter_count(iter)) {
		n = iov_iter_count(iter);
		ret = shmem_get_folio(inode, pos >> PAGE_SHIFT, pos + n, &folio,
				      SGP_WRITE);
		if (ret)
			break;
		if (folio_contain_hwpoisoned_page(folio)) {
			folio_unlock(folio);
			folio_put(folio);
			ret = -EIO;
			break;
		}
		offset = offset_in_folio(folio, pos);
		n = min(n, folio_size(folio) - offset);
		ubd_copy_folio(folio, offset, n, iter);
		flush_dcache_folio(folio);
		if (!folio_test_uptodate(folio)) {
			folio_zero_segments(folio, 0, offset, offset + n,
					    folio_size(folio));
			folio_mark_uptodate(folio);
		}
		folio_mark_dirty(folio);
		folio_unlock(folio);
		folio_put(folio);
		pos += n;
		done += n;
		cond_resched();
	}
unlock:
	inode_unlock(inode);
	file_end_write(file);
	return done ?: ret;
}
