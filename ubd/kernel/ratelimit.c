// SPDX-License-Identifier: GPL-2.0
/*
 * Limits of messages. See ratelimit.rs.
 */

#include <linux/ratelimit.h>

#include "helpers.h"

void ubd_ratelimit_init(struct ratelimit_state *state)
{
	ratelimit_state_init(state, DEFAULT_RATELIMIT_INTERVAL, 2);
}

bool ubd_ratelimit(struct ratelimit_state *state)
{
	return __ratelimit(state);
}
