// SPDX-License-Identifier: GPL-2.0
/*
 * Stacks of requests. See request_stack.rs.
 */

#include <linux/llist.h>

#include "helpers.h"

bool ubd_llist_add(struct llist_node *node, struct llist_head *head)
{
	return llist_add(node, head);
}

/* All nodes, oldest first. */
struct llist_node *ubd_llist_take(struct llist_head *head)
{
	return llist_reverse_order(llist_del_all(head));
}

bool ubd_llist_empty(const struct llist_head *head)
{
	return llist_empty(head);
}
