// SPDX-License-Identifier: GPL-2.0
/*
 * Waiting for those who are behind a gate. See gate.rs.
 */

#include <linux/sched.h>
#include <linux/wait_bit.h>

#include "helpers.h"

/* Waits until nobody is. May sleep. */
void ubd_gate_wait(atomic64_t *users)
{
	wait_var_event(users, !atomic64_read(users));
}

/* Says so. In any context. */
void ubd_gate_wake(atomic64_t *users)
{
	wake_up_var(users);
}
