//! A file system between SQLite and the real one: it counts writes and syncs, fails those it is told to, and knows what
//! a loss of power would leave of each file.
//!
//! It never really syncs. What was written since the last sync is kept as a list, and a loss of power keeps any part of it.
#![allow(
    unreachable_pub,
    unsafe_code,
    clippy::as_conversions,
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::missing_safety_doc
)]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use rusqlite::ffi;

/// What is known of the files that are open.
#[derive(Default)]
pub struct World {
    /// How many writes, truncations and syncs there were.
    pub events: u64,
    /// Which of them fails, if one does.
    pub fail_at: Option<u64>,
    /// Whether all fail from there on.
    pub forever: bool,
    /// What a write says that fails.
    pub code: c_int,
    /// How many reads there were.
    pub reads: u64,
    /// Which of them fails, if one does; all from there on if `forever`.
    pub fail_read_at: Option<u64>,
    /// How much the scenario was told so far.
    pub acknowledged: u64,
    /// Which events power is lost at.
    pub loses_power: Option<fn(u64) -> bool>,
    /// What a loss of power left, and how much had been acknowledged.
    pub lost: Vec<(u64, Left)>,
    files: BTreeMap<PathBuf, Disk>,
    dice: u64,
}

/// Files by their names, as a loss of power left them.
pub type Left = Vec<(String, Vec<u8>)>;

/// One file as it is on the disk, and what would still be lost.
#[derive(Default)]
struct Disk {
    synced: Vec<u8>,
    pending: Vec<Change>,
}

enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Change {
    fn make(&self, bytes: &mut Vec<u8>, part: usize) {
        match self {
            Self::Truncate(length) => bytes.resize(*length, 0),
            Self::Write(at, data) => {
                let data = &data[..part.min(data.len())];
                bytes.resize(bytes.len().max(at + data.len()), 0);
                bytes[*at..at + data.len()].copy_from_slice(data);
            }
        }
    }
}

static WORLD: Mutex<Option<World>> = Mutex::new(None);

pub fn world() -> MutexGuard<'static, Option<World>> {
    WORLD.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    fn roll(&mut self, below: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % below
    }

    /// Counts an event, and says whether it fails.
    fn event(&mut self) -> bool {
        self.events += 1;
        if self.loses_power.is_some_and(|loses| loses(self.events)) {
            let files = self.leftovers();
            self.lost.push((self.acknowledged, files));
        }
        self.fail_at.is_some_and(|at| if self.forever { self.events >= at } else { self.events == at })
    }

    /// What is left of every file: what was synced, and any part of what came after.
    fn leftovers(&mut self) -> Left {
        let manner = self.roll(4);
        let files = std::mem::take(&mut self.files);
        let mut left = Vec::new();
        for (path, disk) in &files {
            let mut bytes = disk.synced.clone();
            let kept = self.roll(disk.pending.len() as u64 + 1);
            for (place, change) in disk.pending.iter().enumerate() {
                let part = match manner {
                    0 => 0,
                    1 if (place as u64) < kept => usize::MAX,
                    1 => 0,
                    2 if self.roll(2) == 0 => usize::MAX,
                    2 => 0,
                    _ => [0, 512, 1_024, usize::MAX][self.roll(4) as usize],
                };
                if part > 0 {
                    change.make(&mut bytes, part);
                }
            }
            left.push((path.file_name().unwrap().to_str().unwrap().to_owned(), bytes));
        }
        self.files = files;
        left
    }

    /// Counts a read, and says whether it fails.
    fn read(&mut self) -> bool {
        self.reads += 1;
        self.fail_read_at.is_some_and(|at| if self.forever { self.reads >= at } else { self.reads == at })
    }

    fn disk(&mut self, path: &Path) -> &mut Disk {
        self.files.entry(path.to_owned()).or_default()
    }
}

#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    path: *mut PathBuf,
}

unsafe fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    unsafe { file.cast::<File>().add(1).cast() }
}

unsafe fn path<'a>(file: *mut ffi::sqlite3_file) -> Option<&'a PathBuf> {
    unsafe { (*file.cast::<File>()).path.as_ref() }
}

macro_rules! forward {
    ($($name:ident ($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        $(
            unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file, $($arg: $type),*) -> $out {
                unsafe {
                    let file = real(file);
                    ((*(*file).pMethods).$name.unwrap())(file, $($arg),*)
                }
            }
        )*
    };
}

#[allow(non_snake_case)]
mod methods {
    use super::*;

    forward! {
        xFileSize(size: *mut ffi::sqlite3_int64) -> c_int;
        xLock(level: c_int) -> c_int;
        xUnlock(level: c_int) -> c_int;
        xCheckReservedLock(out: *mut c_int) -> c_int;
        xFileControl(op: c_int, arg: *mut c_void) -> c_int;
        xSectorSize() -> c_int;
        xShmMap(page: c_int, size: c_int, extend: c_int, to: *mut *mut c_void) -> c_int;
        xShmLock(at: c_int, n: c_int, flags: c_int) -> c_int;
        xShmBarrier() -> ();
        xShmUnmap(delete: c_int) -> c_int;
    }

    /// None of the promises that the real one may make.
    unsafe extern "C" fn xDeviceCharacteristics(_: *mut ffi::sqlite3_file) -> c_int {
        0
    }

    unsafe extern "C" fn xClose(file: *mut ffi::sqlite3_file) -> c_int {
        unsafe {
            let mine = file.cast::<File>();
            if !(*mine).path.is_null() {
                drop(Box::from_raw((*mine).path));
            }
            let file = real(file);
            ((*(*file).pMethods).xClose.unwrap())(file)
        }
    }

    unsafe extern "C" fn xRead(
        file: *mut ffi::sqlite3_file,
        to: *mut c_void,
        amount: c_int,
        at: ffi::sqlite3_int64,
    ) -> c_int {
        unsafe {
            if let (Some(_), Some(world)) = (path(file), &mut *world()) {
                if world.read() {
                    return ffi::SQLITE_IOERR_READ;
                }
            }
            let file = real(file);
            ((*(*file).pMethods).xRead.unwrap())(file, to, amount, at)
        }
    }

    unsafe extern "C" fn xWrite(
        file: *mut ffi::sqlite3_file,
        from: *const c_void,
        amount: c_int,
        at: ffi::sqlite3_int64,
    ) -> c_int {
        unsafe {
            if let (Some(path), Some(world)) = (path(file), &mut *world()) {
                if world.event() {
                    return world.code;
                }
                let data = std::slice::from_raw_parts(from.cast::<u8>(), amount as usize).to_vec();
                world.disk(path).pending.push(Change::Write(at as usize, data));
            }
            let file = real(file);
            ((*(*file).pMethods).xWrite.unwrap())(file, from, amount, at)
        }
    }

    unsafe extern "C" fn xTruncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
        unsafe {
            if let (Some(path), Some(world)) = (path(file), &mut *world()) {
                if world.event() {
                    return ffi::SQLITE_IOERR_TRUNCATE;
                }
                world.disk(path).pending.push(Change::Truncate(size as usize));
            }
            let file = real(file);
            ((*(*file).pMethods).xTruncate.unwrap())(file, size)
        }
    }

    unsafe extern "C" fn xSync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
        unsafe {
            if let (Some(path), Some(world)) = (path(file), &mut *world()) {
                if world.event() {
                    return ffi::SQLITE_IOERR_FSYNC;
                }
                let Disk { synced, pending } = world.disk(path);
                pending.drain(..).for_each(|change| change.make(synced, usize::MAX));
                return ffi::SQLITE_OK;
            }
            let file = real(file);
            ((*(*file).pMethods).xSync.unwrap())(file, flags)
        }
    }

    pub static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
        iVersion: 2,
        xClose: Some(xClose),
        xRead: Some(xRead),
        xWrite: Some(xWrite),
        xTruncate: Some(xTruncate),
        xSync: Some(xSync),
        xFileSize: Some(xFileSize),
        xLock: Some(xLock),
        xUnlock: Some(xUnlock),
        xCheckReservedLock: Some(xCheckReservedLock),
        xFileControl: Some(xFileControl),
        xSectorSize: Some(xSectorSize),
        xDeviceCharacteristics: Some(xDeviceCharacteristics),
        xShmMap: Some(xShmMap),
        xShmLock: Some(xShmLock),
        xShmBarrier: Some(xShmBarrier),
        xShmUnmap: Some(xShmUnmap),
        xFetch: None,
        xUnfetch: None,
    };
}

unsafe fn below(vfs: *mut ffi::sqlite3_vfs) -> *mut ffi::sqlite3_vfs {
    unsafe { (*vfs).pAppData.cast() }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    unsafe {
        let (mine, real) = (file.cast::<File>(), real(file));
        (*mine).base.pMethods = std::ptr::null();
        (*mine).path = std::ptr::null_mut();
        let under = below(vfs);
        let code = ((*under).xOpen.unwrap())(under, name, real, flags, out);
        if code != ffi::SQLITE_OK {
            return code;
        }
        let watched = ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL;
        if !name.is_null() && flags & watched != 0 {
            let path = PathBuf::from(CStr::from_ptr(name).to_str().unwrap());
            if let Some(world) = &mut *world() {
                world.disk(&path);
            }
            (*mine).path = Box::into_raw(Box::new(path));
        }
        (*mine).base.pMethods = &methods::METHODS;
        code
    }
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    unsafe {
        if let Some(world) = &mut *world() {
            if world.event() {
                return ffi::SQLITE_IOERR_DELETE;
            }
            world.files.remove(Path::new(CStr::from_ptr(name).to_str().unwrap()));
        }
        let under = below(vfs);
        ((*under).xDelete.unwrap())(under, name, sync)
    }
}

/// Makes it the file system of every connection of this process, and begins a world in which nothing was written yet.
pub fn begin(dice: u64) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| unsafe {
        let under = ffi::sqlite3_vfs_find(std::ptr::null());
        let mut vfs = *under;
        vfs.szOsFile += size_of::<File>() as c_int;
        vfs.zName = c"shim".as_ptr();
        vfs.pNext = std::ptr::null_mut();
        vfs.pAppData = under.cast();
        vfs.xOpen = Some(open);
        vfs.xDelete = Some(delete);
        assert_eq!(ffi::sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 1), ffi::SQLITE_OK);
    });
    *world() = Some(World { dice, code: ffi::SQLITE_IOERR_WRITE, ..World::default() });
}

/// Lets everything through again.
pub fn end() -> World {
    world().take().unwrap()
}
