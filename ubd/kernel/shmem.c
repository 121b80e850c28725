// SPDX-License-Identifier: GPL-2.0
/*
 * Reads of files in memory (tmpfs) that do not wait. See helpers.h.
 */

#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/pagemap.h>
#include <linux/swap.h>
#include <linux/uio.h>

#include "helpers.h"

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
		copy_folio_to_iter(folio, offset_in_folio(folio, pos), n, iter);
		folio_put(folio);
	}
	return done ?: -EAGAIN;
}
