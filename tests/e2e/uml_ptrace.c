// SPDX-License-Identifier: GPL-2.0
/*
 * A ptrace() for Debian's linux.uml, to be preloaded. Its kernel, 6.12, gives a
 * process the registers back that it got, as many bytes as it got. Where the
 * processor has state that a process must ask for (AMX), the host hands out no
 * more than the process may use, and wants all of it back: EFAULT, and no
 * program runs in UML. What is missing is zeros, as for a process that has
 * never used it.
 */

#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

long ptrace(enum __ptrace_request request, ...)
{
	static long (*libc)(enum __ptrace_request request, ...);
	static char state[65536];
	unsigned int eax, size, ecx, edx;
	struct iovec all = { .iov_base = state };
	const struct iovec *given;
	void *pid, *addr, *data;
	va_list args;
	long ret;

	va_start(args, request);
	pid = va_arg(args, void *);
	addr = va_arg(args, void *);
	data = va_arg(args, void *);
	va_end(args);
	if (!libc)
		libc = dlsym(RTLD_NEXT, "ptrace");
	ret = libc(request, pid, addr, data);
	if (ret != -1 || errno != EFAULT || request != PTRACE_SETREGSET ||
	    addr != (void *)NT_X86_XSTATE)
		return ret;

	/* The size of all that the host's kernel has enabled. */
	__cpuid_count(0xd, 0, eax, size, ecx, edx);
	given = data;
	if (size > sizeof(state) || given->iov_len >= size)
		return ret;
	memset(state, 0, size);
	memcpy(state, given->iov_base, given->iov_len);
	all.iov_len = size;
	return libc(request, pid, addr, &all);
}
