// SPDX-License-Identifier: GPL-2.0
/*
 * Spinlocks that disable interrupts, for kernels whose Rust crate has none. See
 * compat.rs.
 */

#include <linux/spinlock.h>

#include "helpers.h"

unsigned long ubd_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

bool ubd_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags)
{
	return spin_trylock_irqsave(lock, *flags);
}

void ubd_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}
