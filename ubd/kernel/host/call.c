// SPDX-License-Identifier: GPL-2.0
/*
 * Calls of the host's kernel, which may wait there while User-mode Linux goes on:
 * threads of the host make them, and an interrupt says that they have ended. See
 * call.rs.
 */

#include <linux/atomic.h>
#include <linux/bvec.h>
#include <linux/completion.h>
#include <linux/errno.h>
#include <linux/interrupt.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/printk.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uio.h>

#include <asm/irq.h>
#include <irq_kern.h>
#include <os.h>

#include "call.h"
#include "call_kern.h"

/* As many calls are under way at a time. */
#define UBD_HOST_THREADS 64

/* So many pieces of memory are read or written by one call. */
#define UBD_HOST_VECS 64

static int ubd_host_pipe = -1, ubd_host_ended = -1;
static DEFINE_MUTEX(ubd_host_starting);

/* Calls under way, and the threads that there are for them. */
static atomic_t ubd_host_calls = ATOMIC_INIT(0);
static atomic_t ubd_host_threads = ATOMIC_INIT(0);

static int ubd_host_start_thread(void)
{
	struct os_helper_thread *thread;
	unsigned int flags = memalloc_noio_save();
	int ret = os_run_helper_thread(&thread, ubd_host_thread, NULL);

	memalloc_noio_restore(flags);
	return ret;
}

static irqreturn_t ubd_host_interrupt(int irq, void *unused)
{
	struct ubd_host_call *calls[32];
	int i, n;

	while ((n = ubd_host_take_ended(ubd_host_ended, calls, ARRAY_SIZE(calls))) > 0) {
		for (i = 0; i < n; i++) {
			atomic_dec(&ubd_host_calls);
			calls[i]->done(calls[i]);
		}
	}
	return IRQ_HANDLED;
}

/* What the first call needs. May sleep. */
static int ubd_host_start(void)
{
	int ret = 0, submit, ended;

	mutex_lock(&ubd_host_starting);
	if (ubd_host_pipe >= 0)
		goto out;
	ret = ubd_host_open_pipes(&submit, &ended);
	if (ret)
		goto out;
	ubd_host_ended = ended;
	ret = um_request_irq(UBD_IRQ, ended, IRQ_READ, ubd_host_interrupt, 0,
			     "ubd", &ubd_host_pipe);
	if (ret < 0)
		goto out_close;
	/* One is always there. */
	ret = ubd_host_start_thread();
	if (ret) {
		um_free_irq(UBD_IRQ, &ubd_host_pipe);
		goto out_close;
	}
	atomic_set(&ubd_host_threads, 1);
	/* Who finds it finds the rest as well. */
	smp_store_release(&ubd_host_pipe, submit);
out:
	mutex_unlock(&ubd_host_starting);
	return ret;

out_close:
	os_close_file(submit);
	os_close_file(ended);
	goto out;
}

/*
 * Sees to it that there are as many threads as calls, if there may be: none waits
 * for another. Takes no lock, as what the memory for a thread waits for can be a
 * call.
 */
static void ubd_host_start_threads(int calls)
{
	int threads = atomic_read(&ubd_host_threads);

	while (threads < min(calls, UBD_HOST_THREADS)) {
		if (!atomic_try_cmpxchg(&ubd_host_threads, &threads, threads + 1))
			continue;
		/* Without it the calls take turns. */
		if (ubd_host_start_thread()) {
			atomic_dec(&ubd_host_threads);
			break;
		}
		threads++;
	}
}

static void ubd_host_wake(struct ubd_host_call *call)
{
	complete(call->waiter);
}

/*
 * Makes the call, in a thread of the host, and waits until it has ended. Without
 * threads User-mode Linux has to wait itself. May sleep.
 */
long ubd_host_call(struct ubd_host_call *call)
{
	DECLARE_COMPLETION_ONSTACK(ended);
	int ret;

	/* Pairs with the one that starts. */
	if (smp_load_acquire(&ubd_host_pipe) < 0 && ubd_host_start())
		return ubd_host_do(call);
	call->waiter = &ended;
	call->done = ubd_host_wake;
	ubd_host_start_threads(atomic_inc_return(&ubd_host_calls));
	/* A pipe has room for thousands. */
	while ((ret = ubd_host_submit(ubd_host_pipe, call)) == -EAGAIN)
		schedule_timeout_uninterruptible(1);
	if (ret) {
		atomic_dec(&ubd_host_calls);
		return ret;
	}
	wait_for_completion(&ended);
	return call->result;
}

/*
 * The memory of the iterator's next pages, where the host finds it: all pages are
 * at one place in it, those of a bvec in a row.
 */
static unsigned int ubd_host_vecs(const struct iov_iter *iter,
				  struct ubd_host_vec *vecs)
{
	const struct bio_vec *bvec = iter->bvec;
	size_t left = iter->count, skip = iter->iov_offset;
	unsigned int n;

	for (n = 0; left && n < UBD_HOST_VECS; n++, bvec++) {
		size_t len = min(bvec->bv_len - skip, left);

		vecs[n].base = page_address(bvec->bv_page) + bvec->bv_offset + skip;
		vecs[n].len = len;
		left -= len;
		skip = 0;
	}
	return n;
}

static long ubd_host_make(struct ubd_host_call *call, enum ubd_host_wait wait)
{
	switch (wait) {
	case UBD_HOST_NEVER_WAITS:
		return ubd_host_do(call);
	case UBD_HOST_MUST_NOT_WAIT:
		return ubd_host_read_nowait(call);
	default:
		return ubd_host_call(call);
	}
}

/*
 * Reads into the iterator's next pages, or some of them, or writes them. Only a
 * read can be told that it must not wait.
 */
ssize_t ubd_host_rw_iter(int fd, struct iov_iter *iter, loff_t pos, bool write,
			 enum ubd_host_wait wait)
{
	struct ubd_host_vec vecs[UBD_HOST_VECS];
	struct ubd_host_call call = {
		.op = write ? UBD_HOST_WRITE : UBD_HOST_READ,
		.fd = fd,
		.vecs = vecs,
		.count = ubd_host_vecs(iter, vecs),
		.pos = pos,
	};

	return ubd_host_make(&call, wait);
}

/*
 * Reads into memory of the kernel's, or writes it. What has no place of its own in
 * the host's memory before it is used, and maybe none when a thread looks, goes by
 * memory that has.
 */
ssize_t ubd_host_rw(int fd, void *buf, size_t len, loff_t pos, bool write,
		    enum ubd_host_wait wait)
{
	struct ubd_host_vec vec = { .base = buf, .len = len };
	struct ubd_host_call call = {
		.op = write ? UBD_HOST_WRITE : UBD_HOST_READ,
		.fd = fd,
		.vecs = &vec,
		.count = 1,
		.pos = pos,
	};
	void *bounce = NULL;
	long ret;

	if (is_vmalloc_addr(buf)) {
		vec.len = min(len, PAGE_SIZE);
		bounce = kmalloc(vec.len, GFP_KERNEL);
		if (!bounce)
			return -ENOMEM;
		vec.base = bounce;
		if (write)
			memcpy(bounce, buf, vec.len);
	}
	ret = ubd_host_make(&call, wait);
	if (bounce && !write && ret > 0)
		memcpy(buf, bounce, ret);
	kfree(bounce);
	return ret;
}
