// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel threads, and flags of tasks. See thread.rs.
 */

#include <linux/freezer.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <uapi/linux/sched/types.h>

#include "helpers.h"

/*
 * The calling thread writes to file systems, which it must not do while a
 * hibernation image is saved. With batch it does not preempt who has just woken
 * it with one request, and may be about to send more: on a processor that is idle
 * it runs at once, on another the more at a time.
 */
void ubd_thread_begin(bool batch)
{
	const struct sched_attr attr = {
		.sched_policy = SCHED_BATCH,
	};

	set_freezable();
	if (batch)
		sched_setattr_nocheck(current, &attr);
}

void ubd_thread_prepare_to_sleep(void)
{
	set_current_state(TASK_IDLE | TASK_FREEZABLE);
}

void ubd_thread_awake(void)
{
	__set_current_state(TASK_RUNNING);
	try_to_freeze();
}

/* Sets flags of the calling task; returns those that were not set before. */
unsigned int ubd_task_flags_save(unsigned int flags)
{
	return memalloc_flags_save(flags);
}

/* Clears what was returned. */
void ubd_task_flags_restore(unsigned int flags)
{
	memalloc_flags_restore(flags);
}
