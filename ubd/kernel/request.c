// SPDX-License-Identifier: GPL-2.0
/*
 * Requests. See request.rs.
 */

#include <linux/blk-mq.h>

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
