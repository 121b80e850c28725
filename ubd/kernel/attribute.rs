// SPDX-License-Identifier: GPL-2.0

//! Attributes of disks in sysfs.
//!
//! C header: [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use super::gen_disk::{Capacity, Private};
use core::marker::PhantomData;
use kernel::{bindings, ffi::c_char, page::PAGE_SIZE, prelude::*, str::Formatter};

/// A file in the folder in sysfs of a disk with data `D` that can be read.
pub(crate) trait Attribute<D>: 'static {
    /// The file's name.
    const NAME: &'static CStr;

    /// Writes the file's contents, with a newline at the end, to `out`, which has space for a page.
    ///
    /// May sleep.
    fn show(data: &D, out: &mut Formatter<'_>) -> Result;
}

/// A file in the folder in sysfs of a disk with data `D` that can be written, by root.
pub(crate) trait Action<D>: 'static {
    /// The file's name.
    const NAME: &'static CStr;

    /// Does what `text`, all that was written to the file at once, says.
    ///
    /// May sleep.
    fn store(data: &D, capacity: Capacity<'_>, text: &[u8]) -> Result;
}

/// An [`Attribute`] or an [`Action`] by its C structure.
#[derive(Clone, Copy)]
pub(crate) struct AttributeRef<D> {
    attribute: &'static bindings::device_attribute,
    data: PhantomData<D>,
}

impl<D> AttributeRef<D> {
    /// The attribute `A`.
    pub(crate) const fn new<A: Attribute<D>>() -> Self {
        Self {
            attribute: &Vtable::<D, A>::READABLE,
            data: PhantomData,
        }
    }

    /// The action `A`.
    pub(crate) const fn new_action<A: Action<D>>() -> Self {
        Self {
            attribute: &Vtable::<D, A>::WRITABLE,
            data: PhantomData,
        }
    }

    /// The setting `A`, which can be read, and written by root.
    pub(crate) const fn new_setting<A: Attribute<D> + Action<D>>() -> Self {
        Self {
            attribute: &Vtable::<D, A>::SETTING,
            data: PhantomData,
        }
    }
}

/// Attributes, by the folder below the disk's that they are in, or in that itself.
pub(crate) type AttributeGroups<'a, D> = [(Option<&'static CStr>, &'a [AttributeRef<D>])];

/// How many bytes an attribute can show, of a page that must not be full. What is longer is cut,
/// and still ends with a newline.
const ROOM: usize = PAGE_SIZE - 2;

struct Vtable<D, A>(PhantomData<(D, A)>);

impl<D, A: Attribute<D>> Vtable<D, A> {
    const READABLE: bindings::device_attribute = {
        let mut attr: bindings::attribute = pin_init::zeroed();
        attr.name = kernel::str::as_char_ptr_in_const_context(A::NAME);
        attr.mode = 0o444;
        bindings::device_attribute {
            attr,
            __bindgen_anon_1: bindings::device_attribute__bindgen_ty_1 {
                show: Some(Self::show),
            },
            __bindgen_anon_2: bindings::device_attribute__bindgen_ty_2 { store: None },
        }
    };

    /// # Safety
    ///
    /// To be called by sysfs only, for a disk with data `D`, made by
    /// [`super::gen_disk::GenDiskBuilder`].
    unsafe extern "C" fn show(
        dev: *mut bindings::device,
        _attr: *mut bindings::device_attribute,
        buf: *mut c_char,
    ) -> isize {
        // SAFETY: The device is that of a disk, and who takes its attributes away waits until this
        // has returned.
        let data = unsafe { Private::<D>::queue_data(dev) };
        // SAFETY: sysfs gives a page to be filled.
        let page = unsafe { core::slice::from_raw_parts_mut(buf.cast::<u8>(), PAGE_SIZE) };
        let (text, end) = page.split_at_mut(ROOM);
        let mut out = Formatter::new(text);
        let result = A::show(data, &mut out);
        let len = out.bytes_written();
        match result {
            _ if len > ROOM => {
                end.fill(b'\n');
                ROOM as isize + 1
            }
            Ok(()) => len as isize,
            Err(e) => e.to_errno() as isize,
        }
    }
}

impl<D, A: Action<D>> Vtable<D, A> {
    const WRITABLE: bindings::device_attribute = {
        let mut attr: bindings::attribute = pin_init::zeroed();
        attr.name = kernel::str::as_char_ptr_in_const_context(A::NAME);
        attr.mode = 0o200;
        bindings::device_attribute {
            attr,
            __bindgen_anon_1: bindings::device_attribute__bindgen_ty_1 { show: None },
            __bindgen_anon_2: bindings::device_attribute__bindgen_ty_2 {
                store: Some(Self::store),
            },
        }
    };

    /// # Safety
    ///
    /// To be called by sysfs only, for a disk with data `D`, made by
    /// [`super::gen_disk::GenDiskBuilder`].
    unsafe extern "C" fn store(
        dev: *mut bindings::device,
        _attr: *mut bindings::device_attribute,
        buf: *const c_char,
        len: usize,
    ) -> isize {
        // SAFETY: The device is that of a disk, and who takes its attributes away waits until this
        // has returned.
        let data = unsafe { Private::<D>::queue_data(dev) };
        // SAFETY: sysfs gives what was written, which is at most a page.
        let text = unsafe { core::slice::from_raw_parts(buf.cast::<u8>(), len) };
        // SAFETY: As above, and the disk stays until its attributes are gone.
        let capacity = unsafe { Capacity::of(dev) };
        match A::store(data, capacity, text) {
            Ok(()) => len as isize,
            Err(e) => e.to_errno() as isize,
        }
    }
}

impl<D, A: Attribute<D> + Action<D>> Vtable<D, A> {
    const SETTING: bindings::device_attribute = bindings::device_attribute {
        attr: bindings::attribute {
            mode: 0o644,
            ..Self::READABLE.attr
        },
        __bindgen_anon_2: Self::WRITABLE.__bindgen_anon_2,
        ..Self::READABLE
    };
}

/// Attributes in one folder, for as long as their disk.
///
/// # Invariants
///
/// `pointers` is the groups' list for the block layer, and null at its end; all that is pointed
/// to is owned by `self`, or static, and does not move.
pub(super) struct Groups {
    pointers: KVec<*const bindings::attribute_group>,
    _groups: KVec<bindings::attribute_group>,
    _attributes: KVec<KVec<*mut bindings::attribute>>,
}

impl Groups {
    /// The groups as the block layer wants them.
    pub(super) fn new<D>(all: &AttributeGroups<'_, D>) -> Result<Self> {
        let mut groups = KVec::with_capacity(all.len(), GFP_KERNEL)?;
        let mut attributes = KVec::with_capacity(all.len(), GFP_KERNEL)?;
        for (name, refs) in all {
            let mut list = KVec::with_capacity(refs.len() + 1, GFP_KERNEL)?;
            for attribute in *refs {
                let attribute: *const bindings::attribute = &attribute.attribute.attr;
                list.push(attribute.cast_mut(), GFP_KERNEL)?;
            }
            list.push(core::ptr::null_mut(), GFP_KERNEL)?;
            let mut group: bindings::attribute_group = pin_init::zeroed();
            group.name = name.map_or(core::ptr::null(), |name| name.as_char_ptr());
            group.__bindgen_anon_2 = bindings::attribute_group__bindgen_ty_2 {
                attrs: list.as_mut_ptr(),
            };
            groups.push(group, GFP_KERNEL)?;
            attributes.push(list, GFP_KERNEL)?;
        }
        let mut pointers = KVec::with_capacity(all.len() + 1, GFP_KERNEL)?;
        for group in &groups {
            pointers.push(core::ptr::from_ref(group), GFP_KERNEL)?;
        }
        pointers.push(core::ptr::null(), GFP_KERNEL)?;
        Ok(Self {
            // INVARIANT: The vectors are not changed any more, so what they hold stays.
            pointers,
            _groups: groups,
            _attributes: attributes,
        })
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut *const bindings::attribute_group {
        self.pointers.as_mut_ptr()
    }
}
