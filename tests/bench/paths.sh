# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The paths and the cells that are measured, as functions in the guest. To be
# sourced.

work=/tmp/bench
mib=256
mkdir -p $work
cd $work || exit
place=tmpfs
mixed=$work/mixed
device='' snapshot='' loaded='' folder='' direct=1
loops=() parameters=()

# describe: what the results must name.
describe() {
	echo "@about kernel $(uname -r)"
	echo "@about fio $(fio --version)"
	echo "@about cpus $(nproc)"
	echo "@about place $place"
	echo "@about acceleration $VM_ACCEL"
}

# filled FILE: gives every page of it its memory.
filled() {
	dd if=/dev/zero of="$1" bs=1M count=$mib status=none
}

# prepare PATH...: what paths share, and what is too slow to make for each cell.
prepare() {
	echo "@say preparing"
	case " $* " in *" file"* | *" loop"* | *" dm-snapshot"* | *" ubd-"*) filled image ;; esac
	case " $* " in *" brd "*) filled /dev/ram0 ;; esac
	case " $* " in *" ubd-cow-mixed"*)
		touch -r image image.time
		load "ubd0=$mixed:$work/image"
		# Every second block: after each request one of the same size is left out.
		fio --name=mix --thread --filename=$device --ioengine=io_uring --direct=1 \
			--rw=write:4k --bs=4k --iodepth=32 --size=${mib}M --io_size=$((mib / 2))M >/dev/null
		unmake
		;;
	esac
}

# move_files: to where they are measured, from the memory that they were made in.
move_files() {
	true
}

# suits PATH CELL: whether the one is measured with the other.
suits() {
	true
}

# settle CELL: makes the state that a cell starts from, when its path is made.
settle() {
	true
}

# load PARAMETER...: the driver, with a unit at least.
load() {
	modprobe rnull_ubd "${parameters[@]}" "$@"
	loaded=1 device=/dev/ubda
	# Without it fio would make a file of that name, and measure that.
	[ -b $device ] || { dmesg --notime | grep rnull_ubd >&2; exit 1; }
}

# loop OPTION... FILE
loop() {
	device=$(losetup --show -f "$@")
	loops+=("$device")
}

make_null_blk() {
	device=/dev/nullb0
}

make_brd() {
	device=/dev/ram0
}

make_file() {
	device=$work/image direct=0
}

make_loop() {
	loop image
}

make_loop_direct() {
	loop --direct-io=on image
}

# make_loop_sparse [OPTION...]: a first write takes its place, as one to a COW file.
make_loop_sparse() {
	rm -f sparse
	truncate -s "${mib}M" sparse
	loop "$@" sparse
}

# make_dm_snapshot [OPTION...]: of the loops.
make_dm_snapshot() {
	rm -f store
	truncate -s $((mib + 64))M store
	loop "$@" image
	loop "$@" store
	snapshot=bench
	# Persistent, as a COW file is; chunks of 4 KiB, as the requests are.
	dmsetup create --noudevsync $snapshot --table \
		"0 $((mib * 2048)) snapshot ${loops[0]} ${loops[1]} P 8"
	device=/dev/$(dmsetup info -c --noheadings -o blkdevname $snapshot)
}

make_ubd_plain() {
	load "ubd0=$work/image"
}

make_ubd_cow_fresh() {
	rm -f cow
	load "ubd0=$work/cow:$work/image"
}

# Zeros in place of its holes: a first write then costs no more than what the
# driver does for it, and not the file system's search for a place.
make_ubd_cow_allocated() {
	local kept=("${parameters[@]}")

	make_ubd_cow_fresh
	unmake
	cp --sparse=never cow allocated
	mv allocated cow
	parameters=("${kept[@]}")
	load "ubd0=$work/cow"
}

make_ubd_cow_mixed() {
	rm -f cow
	# Holes stay holes: what is copied is half of the image.
	cp --sparse=always --reflink=never $mixed cow
	# Other paths wrote to the image since, which the driver takes ill.
	touch -r image.time image
	load "ubd0=$work/cow"
}

# unmake: takes away what make_ or load set up.
unmake() {
	local each
	[ -z "$snapshot" ] || dmsetup remove --noudevsync --retry "$snapshot"
	for each in "${loops[@]}"; do
		losetup -d "$each"
	done
	[ -z "$folder" ] || { echo 0 >"$folder/power"; rmdir "$folder"; }
	[ -z "$loaded" ] || modprobe -r rnull_ubd
	folder='' loops=() parameters=() snapshot='' loaded='' device='' direct=1
}

# count CELL: requests of a cell; in real time, more, as chance is at work.
count() {
	local times=1

	[ "$VM_ACCEL" = icount ] || times=4
	case $1 in
	rand*) echo $((8000 * times)) ;;
	*) echo 1500 ;;
	esac
}

# measure CELL JOBS REQUESTS [OPTION...]: a cell's name is <fio's name>-<queue
# depth>. Jobs have regions of their own, so that first writes are first writes.
measure() {
	local rw=${1%-*} depth=${1##*-} jobs=$2 requests=$3 bs=4k before after

	[[ $rw == rand* ]] || bs=128k
	before=$(switches)
	fio --name=bench --thread --filename="$device" --ioengine=io_uring --direct=$direct \
		--rw="$rw" --bs=$bs --iodepth="$depth" --number_ios="$((requests / jobs))" \
		--size=$((mib / jobs))M --offset_increment=$((mib / jobs))M \
		--numjobs="$jobs" --group_reporting --output-format=json "${@:4}"
	after=$(switches)
	echo "@switches $((after - before))"
}

# switches: context switches since boot.
switches() {
	awk '/^ctxt/ { print $2 }' /proc/stat
}
