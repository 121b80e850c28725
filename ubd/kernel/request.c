// SPDX-License-Identifier: GPL-2.0
/*
 * Requests. See request.rs.
 */

#include <linux/blk-mq.h>
#include <linux/irqflags.h>

#include "helpers.h"

bool ubd_request_add_to_batch(struct request *rq, struct io_comp_batch *batch)
{
	return blk_mq_add_to_batch(rq, batch, false, blk_mq_end_request_batch);
}

void ubd_batch_end(struct io_comp_batch *batch)
{
	if (!rq_list_empty(&batch->req_list))
		blk_mq_end_request_batch(batch);
}

/*
 * In User-mode Linux, unless it is for one processor, to disable interrupts is a
 * call of the host, and to enable them another. To end a request is to do both for
 * each of its pages; if interrupts are off, as when an interrupt ends it, neither.
 */
#ifdef CONFIG_UML
void ubd_request_end(struct request *rq, blk_status_t status)
{
	unsigned long flags;

	local_irq_save(flags);
	blk_mq_end_request(rq, status);
	local_irq_restore(flags);
}
#endif
