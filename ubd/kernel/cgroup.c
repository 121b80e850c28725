// SPDX-License-Identifier: GPL-2.0
/*
 * The cgroup that a kernel thread works for. See cgroup.rs.
 */

#include <linux/blk-cgroup.h>
#include <linux/blk-mq.h>
#include <linux/kthread.h>
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>
#include <linux/string.h>

#include "helpers.h"

/*
 * Has the calling kernel thread work on the account of the cgroup that the
 * request came from, as loop does, until ubd_account_end().
 */
void ubd_account_begin(struct request *rq, struct ubd_account *account)
{
	memset(account, 0, sizeof(*account));
#ifdef CONFIG_BLK_CGROUP
	if (!rq->bio)
		return;
	account->blkcg_css = bio_blkcg_css(rq->bio);
	if (!account->blkcg_css)
		return;
	kthread_associate_blkcg(account->blkcg_css);
#ifdef CONFIG_MEMCG
	{
		struct cgroup_subsys_state *blkcg = account->blkcg_css;
		struct cgroup_subsys_state *memcg;

		memcg = cgroup_get_e_css(blkcg->cgroup, &memory_cgrp_subsys);
		account->memcg_css = memcg;
		account->old_memcg =
			set_active_memcg(mem_cgroup_from_css(memcg));
	}
#endif
#endif
}

void ubd_account_end(struct ubd_account *account)
{
#ifdef CONFIG_BLK_CGROUP
	if (!account->blkcg_css)
		return;
	kthread_associate_blkcg(NULL);
#ifdef CONFIG_MEMCG
	set_active_memcg(account->old_memcg);
	css_put(account->memcg_css);
#endif
#endif
}
