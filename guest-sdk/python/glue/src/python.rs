//! Calls of CPython, by its C API.
//!
//! Objects are addresses in Python's memory. None is ever given back: what is made before the snapshot is kept by it, and
//! what is made after it goes with the instance.
#![expect(unsafe_code, reason = "calls of other modules are foreign functions")]

use std::collections::BTreeMap;

use crate::{bridge, float};

/// What went wrong in CPython; the traceback, where there is one, has gone to standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed(pub(crate) &'static str);

/// The reference count of an object that is never freed and whose count is never written: `_Py_IMMORTAL_INITIAL_REFCNT` of
/// CPython's `refcount.h`, where pointers have 32 bits.
const IMMORTAL: u32 = 5 << 28;

/// The least reference count of an immortal object: `_Py_IMMORTAL_MINIMUM_REFCNT` of the same file.
const LEAST_IMMORTAL: u32 = 1 << 30;

/// What [`make_immortal`] answers for an object whose type it is not told of.
const UNKNOWN: u8 = 255;

const OUT_OF_BOUNDS: Failed = Failed("an address is out of bounds");

/// An object: its address in Python's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Object(u32);

#[link(wasm_import_module = "bridge")]
unsafe extern "C" {
    safe fn _initialize();
    safe fn turn(code: u32, bytes: u32) -> u32;
    safe fn host_alloc(bytes: u32) -> u32;
    safe fn PyImport_ImportModule(name: u32) -> u32;
    safe fn PyObject_GetAttrString(object: u32, name: u32) -> u32;
    safe fn PyObject_Vectorcall(callable: u32, arguments: u32, count: u32, names: u32) -> u32;
    safe fn PyBytes_FromStringAndSize(bytes: u32, length: u32) -> u32;
    safe fn PyBytes_AsString(object: u32) -> u32;
    safe fn PyBytes_Size(object: u32) -> u32;
    safe fn PyTuple_GetItem(tuple: u32, index: u32) -> u32;
    safe fn PyErr_Print();
}

#[link(wasm_import_module = "body")]
unsafe extern "C" {
    /// Makes a `bytes` with the body of the request, and writes where its contents are, and how many, to Python's memory.
    safe fn take(answer: u32);
}

/// Starts the interpreter and runs source text in it, as if it were typed in.
pub(crate) fn start(code: &str) -> Result<(), Failed> {
    _initialize();
    let address = allocate(code.as_bytes())?;
    match turn(address, code.len() as u32) {
        0 => Ok(()),
        _ => Err(Failed("the interpreter did not start")),
    }
}

/// Imports a module.
pub(crate) fn import(name: &str) -> Result<Object, Failed> {
    object(PyImport_ImportModule(c_string(name)?), "a module cannot be imported")
}

impl Object {
    /// An attribute.
    pub(crate) fn attribute(self, name: &str) -> Result<Self, Failed> {
        object(PyObject_GetAttrString(self.0, c_string(name)?), "an attribute is missing")
    }

    /// Calls it with at most four arguments.
    pub(crate) fn call(self, arguments: &[Self]) -> Result<Self, Failed> {
        let mut array = [0; 16];
        for (place, argument) in array.chunks_exact_mut(4).zip(arguments) {
            place.copy_from_slice(&argument.0.to_le_bytes());
        }
        let array = allocate(&array)?;
        object(PyObject_Vectorcall(self.0, array, arguments.len() as u32, 0), "a call raised an exception")
    }

    /// A new `bytes`.
    pub(crate) fn bytes(contents: &[u8]) -> Result<Self, Failed> {
        let made = object(PyBytes_FromStringAndSize(0, contents.len() as u32), "there is not enough memory")?;
        write(PyBytes_AsString(made.0), contents)?;
        Ok(made)
    }

    /// The body of the request, which the host writes into a new `bytes` itself. To be called once.
    pub(crate) fn body() -> Result<Self, Failed> {
        let empty = object(PyBytes_FromStringAndSize(0, 0), "there is not enough memory")?;
        let head = PyBytes_AsString(empty.0) - empty.0;
        let answer = allocate(&[0; 8])?;
        take(answer);
        let [contents, _] = read_words(answer)?;
        Ok(Self(contents - head))
    }

    /// The contents of a `bytes`.
    pub(crate) fn contents(self) -> Result<Vec<u8>, Failed> {
        let address = PyBytes_AsString(self.0);
        if address == 0 {
            PyErr_Print();
            return Err(Failed("an answer is not bytes"));
        }
        bridge::read_python_vec(address, PyBytes_Size(self.0)).map_err(|_| Failed("an answer is out of bounds"))
    }

    /// An item of a `tuple`.
    pub(crate) fn item(self, index: u32) -> Result<Self, Failed> {
        object(PyTuple_GetItem(self.0, index), "an answer is not a tuple of its length")
    }
}

/// Makes the objects of a `list` immortal, where their types say so: `numbers` has a number for the address of each type that
/// is known, which is 0 where its objects are to be left as they are.
///
/// Answers with a number for each object: 0 where nothing was done, also because the object was immortal before;
/// [`UNKNOWN`] where its type is not known, and nothing was done; otherwise the number of its type.
pub(crate) fn make_immortal(list: u32, numbers: &BTreeMap<u32, u8>) -> Result<Vec<u8>, Failed> {
    // A list is its reference count, its type, its length and the address of its items, 32 bits each.
    let [_, _, length, items] = read_words(list)?;
    let bytes = length.checked_mul(4).ok_or(OUT_OF_BOUNDS)?;
    let items = bridge::read_python_vec(items, bytes).map_err(|_| OUT_OF_BOUNDS)?;
    let (items, _) = items.as_chunks();
    items.iter().map(|item| make_one_immortal(u32::from_le_bytes(*item), numbers)).collect()
}

fn make_one_immortal(object: u32, numbers: &BTreeMap<u32, u8>) -> Result<u8, Failed> {
    // An object begins with its reference count and its type.
    let [count, kind] = read_words(object)?;
    if count >= LEAST_IMMORTAL {
        return Ok(0);
    }
    let number = numbers.get(&kind).copied().unwrap_or(UNKNOWN);
    if number != 0 && number != UNKNOWN {
        write(object, &IMMORTAL.to_le_bytes())?;
    }
    Ok(number)
}

/// What CPython's `_Py_dg_strtod(text, end)` asks first, in the same way: the float that `text` begins with, and where it ends
/// is written to `end`. NaN where CPython has to read it itself.
#[unsafe(no_mangle)]
extern "C" fn read_float(text: u32, end: u32) -> f64 {
    let mut bytes = [0; float::LONGEST];
    let read = bridge::read_python(text, &mut bytes).ok().and_then(|()| float::read(&bytes));
    match read {
        Some((value, length)) if write(end, &(text + length as u32).to_le_bytes()).is_ok() => value,
        _ => f64::NAN,
    }
}

fn object(address: u32, error: &'static str) -> Result<Object, Failed> {
    if address == 0 {
        PyErr_Print();
        return Err(Failed(error));
    }
    Ok(Object(address))
}

/// Puts bytes into Python's memory, which belong to nobody afterwards.
pub(crate) fn allocate(bytes: &[u8]) -> Result<u32, Failed> {
    match host_alloc(bytes.len() as u32) {
        0 => Err(Failed("there is not enough memory")),
        address => write(address, bytes).map(|()| address),
    }
}

fn write(address: u32, bytes: &[u8]) -> Result<(), Failed> {
    bridge::write_python(address, bytes).map_err(|_| OUT_OF_BOUNDS)
}

fn read_words<const N: usize>(address: u32) -> Result<[u32; N], Failed> {
    let mut words = [[0; 4]; N];
    bridge::read_python(address, words.as_flattened_mut()).map_err(|_| OUT_OF_BOUNDS)?;
    Ok(words.map(u32::from_le_bytes))
}

fn c_string(text: &str) -> Result<u32, Failed> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    allocate(&bytes)
}
