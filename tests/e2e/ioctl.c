// SPDX-License-Identifier: GPL-2.0
/*
 * Prints what a block device answers to ioctls, a line each: name and value,
 * or a minus and the error's number. Without libraries and headers, so that it
 * can be built for 32-bit callers where there are none of those:
 *
 *	cc [-m32] -O1 -static -nostdlib -ffreestanding -fno-pic -fno-stack-protector
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

/* As a caller of this width has it. */
struct hd_geometry {
	u8 heads;
	u8 sectors;
	u16 cylinders;
	unsigned long start;
};

#ifdef __x86_64__

enum { NR_write = 1, NR_open = 2, NR_ioctl = 16, NR_exit = 60 };

static long syscall(long nr, long a, long b, long c)
{
	long ret;

	asm volatile("syscall" : "=a" (ret)
		     : "a" (nr), "D" (a), "S" (b), "d" (c) : "rcx", "r11", "memory");
	return ret;
}

asm(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call run\n");

#else

enum { NR_write = 4, NR_open = 5, NR_ioctl = 54, NR_exit = 1 };

static long syscall(long nr, long a, long b, long c)
{
	long ret;

	asm volatile("int $0x80" : "=a" (ret)
		     : "a" (nr), "b" (a), "c" (b), "d" (c) : "memory");
	return ret;
}

asm(".globl _start\n_start: mov %esp, %eax\n and $-16, %esp\n sub $12, %esp\n push %eax\n call run\n");

#endif

#define EFAULT		14

/* What an ioctl returns, and the length of that in bytes. */
enum kind { SHORT, INT, LONG, U64, GEOMETRY, IDENTITY, VOLUME };

static const unsigned int longest[] = {
	2, 4, sizeof(long), 8, sizeof(struct hd_geometry), 512, 4
};

#define GET_SIZE	(sizeof(long) == 8 ? 8u : 4u)

static const struct {
	const char *name;
	u32 command;
	enum kind kind;
} asked[] = {
	{ "HDIO_GETGEO", 0x0301, GEOMETRY },
	{ "HDIO_GET_IDENTITY", 0x030d, IDENTITY },
	{ "CDROMVOLREAD", 0x5313, VOLUME },
	{ "BLKROGET", 0x125e, INT },
	{ "BLKGETSIZE", 0x1260, LONG },
	{ "BLKGETSIZE64", 0x80001272 | GET_SIZE << 16, U64 },
	{ "BLKSSZGET", 0x1268, INT },
	{ "BLKPBSZGET", 0x127b, INT },
	{ "BLKIOMIN", 0x1278, INT },
	{ "BLKIOOPT", 0x1279, INT },
	{ "BLKALIGNOFF", 0x127a, INT },
	{ "BLKDISCARDZEROES", 0x127c, INT },
	{ "BLKROTATIONAL", 0x127e, SHORT },
	{ "BLKSECTGET", 0x1267, SHORT },
	{ "HDIO_GET_32BIT", 0x0309, LONG },
	{ "HDIO_DRIVE_CMD", 0x031f, INT },
	{ "SG_IO", 0x2285, INT },
};

static char line[256];
static int length;

static void put(char c)
{
	line[length++] = c;
}

static void text(const char *s)
{
	while (*s)
		put(*s++);
}

static void number(u64 n)
{
	char digits[24];
	int count = 0;

	/* By shifts: 64-bit division is a library's in 32-bit programs. */
	put('0');
	put('x');
	do {
		digits[count++] = "0123456789abcdef"[n & 15];
		n >>= 4;
	} while (n);
	while (count)
		put(digits[--count]);
}

/* A field of an ATA identity, without the blanks at its end. */
static void field(const u8 *s, int count)
{
	while (count && s[count - 1] == ' ')
		count--;
	put(' ');
	put('"');
	while (count--)
		put(*s++);
	put('"');
}

void run(long *stack)
{
	static union {
		u8 bytes[1024];
		u16 words[512];
		u32 value;
		u64 value64;
		unsigned long value_long;
		struct hd_geometry geometry;
	} answer;
	const char *path = (const char *)stack[2];
	unsigned int i, j;
	long fd, ret;

	fd = syscall(NR_open, (long)path, 0, 0);
	for (i = 0; fd >= 0 && i < sizeof(asked) / sizeof(asked[0]); i++) {
		for (j = 0; j < sizeof(answer.bytes); j++)
			answer.bytes[j] = 0x5a;
		length = 0;
		text(asked[i].name);
		put(' ');
		ret = syscall(NR_ioctl, fd, asked[i].command, (long)&answer);
		if (ret < 0) {
			put('-');
			number(-ret);
		} else {
			switch (asked[i].kind) {
			case SHORT:
				number(answer.words[0]);
				break;
			case INT:
				number(answer.value);
				break;
			case LONG:
				number(answer.value_long);
				break;
			case U64:
				number(answer.value64);
				break;
			case GEOMETRY:
				number(answer.geometry.heads);
				put(' ');
				number(answer.geometry.sectors);
				put(' ');
				number(answer.geometry.cylinders);
				put(' ');
				number(answer.geometry.start);
				break;
			case IDENTITY:
				number(answer.words[1]);
				put(' ');
				number(answer.words[3]);
				put(' ');
				number(answer.words[6]);
				field(&answer.bytes[20], 20);
				field(&answer.bytes[54], 40);
				break;
			case VOLUME:
				number(answer.value);
				break;
			}
			for (j = longest[asked[i].kind]; j < sizeof(answer.bytes); j++)
				if (answer.bytes[j] != 0x5a) {
					text(" and writes behind its end");
					break;
				}
			if (syscall(NR_ioctl, fd, asked[i].command, 8) != -EFAULT)
				text(" and no EFAULT");
		}
		put('\n');
		syscall(NR_write, 1, (long)line, length);
	}
	syscall(NR_exit, fd < 0, 0, 0);
}
