// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin for QEMU: counts the instructions that a guest with one processor
 * executes, by task and address, between marks.
 *
 * Arguments: out=FILE, mark=ADDRESS of the function whose every other call
 * starts (or ends) the counting, switch=ADDRESS of __switch_to(). For every
 * phase it writes
 *
 *   phase
 *   count <task's name> <address, 0 in user mode> <instructions> <string?> <times>
 *
 * QEMU is packaged without qemu-plugin.h, so what is used of it stands here.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_register;
typedef uint64_t plugin_id;
enum { NO_REGS, READ_REGS };
typedef void (*exec_cb)(unsigned int vcpu, void *data);

typedef struct { uint8_t *data; unsigned int len; } GByteArray;
typedef struct { char *data; unsigned int len; } GArray;
typedef struct {
	struct qemu_plugin_register *handle;
	const char *name, *feature;
} reg_descriptor;

GByteArray *g_byte_array_new(void);
GByteArray *g_byte_array_set_size(GByteArray *array, unsigned int size);
GArray *qemu_plugin_get_registers(void);
int qemu_plugin_read_register(struct qemu_plugin_register *handle, GByteArray *buf);
bool qemu_plugin_read_memory_vaddr(uint64_t addr, GByteArray *data, size_t len);
void qemu_plugin_register_vcpu_init_cb(plugin_id id, void (*cb)(plugin_id, unsigned int));
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id,
					   void (*cb)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, exec_cb cb,
					    int flags, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t len);

EXPORT int qemu_plugin_version = 4;

#define TASKS 32
#define COMM 16
#define TASK_STRUCT 8192

/* Instructions that are always executed together. */
struct group {
	struct group *next;
	uint64_t address;
	unsigned int size;
	bool string;
	uint64_t times[TASKS];
};

static struct group *groups[1 << 16];
static char tasks[TASKS][COMM];
static int ntasks, task;
static long comm_offset = -1;
static bool counting;
static uint64_t mark_address, switch_address;
static FILE *out;
static struct qemu_plugin_register *rsi;
static GByteArray *buf;

static struct group *group(uint64_t address, unsigned int size, bool string)
{
	struct group **at = &groups[(address ^ address >> 16 ^ size) & 0xffff];

	for (; *at; at = &(*at)->next)
		if ((*at)->address == address && (*at)->size == size && (*at)->string == string)
			return *at;
	*at = calloc(1, sizeof(**at));
	if (!*at)
		abort();
	(*at)->address = address;
	(*at)->size = size;
	(*at)->string = string;
	return *at;
}

static void executed(unsigned int vcpu, void *data)
{
	if (counting)
		((struct group *)data)->times[task]++;
}

static void marked(unsigned int vcpu, void *data)
{
	counting = !counting;
	if (counting)
		return;
	fprintf(out, "phase\n");
	for (size_t i = 0; i < sizeof(groups) / sizeof(*groups); i++)
		for (struct group *g = groups[i]; g; g = g->next)
			for (int t = 0; t < ntasks; t++)
				if (g->times[t]) {
					fprintf(out, "count %s %" PRIx64 " %u %d %" PRIu64 "\n",
						tasks[t], g->address, g->size, g->string,
						g->times[t]);
					g->times[t] = 0;
				}
	fflush(out);
}

/* Where a task has its name: where the idle task says "swapper". */
static void find_comm(uint64_t next)
{
	g_byte_array_set_size(buf, 0);
	if (!qemu_plugin_read_memory_vaddr(next, buf, TASK_STRUCT))
		return;
	uint8_t *found = memmem(buf->data, buf->len, "swapper", 7);
	if (found)
		comm_offset = found - buf->data;
}

static void switched(unsigned int vcpu, void *data)
{
	uint64_t next;
	char comm[COMM] = "";
	int i;

	g_byte_array_set_size(buf, 0);
	if (qemu_plugin_read_register(rsi, buf) < 8)
		return;
	memcpy(&next, buf->data, sizeof(next));
	if (comm_offset < 0)
		find_comm(next);
	if (comm_offset < 0)
		return;
	/* Names change when nothing is counted only, but then they do. */
	g_byte_array_set_size(buf, 0);
	if (!qemu_plugin_read_memory_vaddr(next + comm_offset, buf, COMM))
		return;
	memcpy(comm, buf->data, COMM - 1);
	for (i = 0; comm[i]; i++)
		if (comm[i] == ' ')
			comm[i] = '_';
	for (i = 0; i < ntasks && strcmp(tasks[i], comm); i++)
		;
	if (i == ntasks) {
		if (!counting && i == TASKS) {
			/* Tasks of before the marks. */
			ntasks = i = 1;
		} else if (i == TASKS) {
			i = 0;
		}
		if (i) {
			strcpy(tasks[i], comm);
			ntasks = i + 1;
		}
	}
	task = i;
}

/* Whether it is a string instruction that repeats: QEMU executes each turn as an instruction. */
static bool repeats(const struct qemu_plugin_insn *insn)
{
	uint8_t bytes[15];
	size_t len = qemu_plugin_insn_data(insn, bytes, sizeof(bytes));
	bool rep = false;

	for (size_t i = 0; i < len; i++) {
		uint8_t b = bytes[i];

		if (b == 0xf2 || b == 0xf3)
			rep = true;
		else if (b != 0x66 && b != 0x67 && (b & 0xf0) != 0x40)
			return rep && ((b >= 0xa4 && b <= 0xa7) || (b >= 0xaa && b <= 0xaf));
	}
	return false;
}

static void translated(plugin_id id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);

	for (size_t i = 0, end; i < n; i = end) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t address = qemu_plugin_insn_vaddr(insn);
		bool string = repeats(insn);

		for (end = i + 1; !string && end < n; end++)
			if (repeats(qemu_plugin_tb_get_insn(tb, end)))
				break;
		if (address == mark_address)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, marked, NO_REGS, NULL);
		if (address == switch_address)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, switched, READ_REGS, NULL);
		qemu_plugin_register_vcpu_insn_exec_cb(insn, executed, NO_REGS,
			group(address >> 63 ? address : 0, end - i, string));
	}
}

static void started(plugin_id id, unsigned int vcpu)
{
	GArray *registers = qemu_plugin_get_registers();
	reg_descriptor *descriptors = (reg_descriptor *)registers->data;

	for (unsigned int i = 0; i < registers->len; i++)
		if (!strcmp(descriptors[i].name, "rsi"))
			rsi = descriptors[i].handle;
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			out = fopen(argv[i] + 4, "w");
		else if (!strncmp(argv[i], "mark=", 5))
			mark_address = strtoull(argv[i] + 5, NULL, 16);
		else if (!strncmp(argv[i], "switch=", 7))
			switch_address = strtoull(argv[i] + 7, NULL, 16);
	}
	if (!out || !mark_address || !switch_address)
		return -1;
	/* What no switch has told the name of. */
	strcpy(tasks[0], "unknown");
	ntasks = 1;
	buf = g_byte_array_new();
	qemu_plugin_register_vcpu_init_cb(id, started);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
