//! A machine for the pickles of weight files. It builds plain values and runs nothing.
//!
//! Opcodes as in Python's `pickletools` (protocols 2 to 5). A global is only a name here; those not on the allow-list end
//! the reading. Values live in an arena and refer to each other by index, so a cycle is harmless.

use std::io::Read;

/// Index of a value in the arena.
pub(super) type Id = usize;

/// What a pickle can hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Nothing,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function by its full name.
    Global(&'static str),
    /// What `persistent_load` would be asked for.
    Persistent(Id),
    /// A tensor's storage and geometry, still unchecked.
    Tensor {
        storage: Id,
        offset: Id,
        shape: Id,
        strides: Id,
    },
    /// Something harmless that weights do not need: a dtype, a device, a NumPy scalar.
    Opaque,
}

/// Why a pickle cannot be read.
#[derive(Debug, PartialEq)]
pub(super) enum PickleError {
    /// The bytes end too early.
    Truncated,
    /// The machine was led astray.
    Malformed(&'static str),
    /// An opcode that no weight file uses.
    Opcode(u8),
    /// A class or function that is not on the allow-list.
    Forbidden(String),
    /// More than the machine is willing to hold.
    TooLarge(&'static str),
}

/// The whole allow-list; what a call of each makes is decided in [`Machine::call`].
const ALLOWED: &[&str] = &[
    "collections.OrderedDict",
    "collections.defaultdict",
    "builtins.dict",
    "builtins.list",
    "builtins.set",
    "__builtin__.set",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.Size",
    "torch.device",
    "torch.nn.parameter.Parameter",
    "torch.DoubleStorage",
    "torch.FloatStorage",
    "torch.HalfStorage",
    "torch.BFloat16Storage",
    "torch.LongStorage",
    "torch.IntStorage",
    "torch.ShortStorage",
    "torch.CharStorage",
    "torch.ByteStorage",
    "torch.BoolStorage",
    "torch.float64",
    "torch.float32",
    "torch.float16",
    "torch.bfloat16",
    "torch.int64",
    "torch.int32",
    "torch.int16",
    "torch.int8",
    "torch.uint8",
    "torch.bool",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "_codecs.encode",
];

/// Values and references that any pickle may have, however few bytes of a file they are packed in.
const LEAST_VALUES: u64 = 1 << 18;

/// Bytes of text likewise.
const LEAST_TEXT: u64 = 4 << 20;

/// Longest name of a global in bytes, and how much of a longer one is told.
const LONGEST_GLOBAL: usize = 512;

/// No pickle may have more values than this.
const MOST_VALUES: u64 = 1 << 24;

/// No pickle may have more bytes of text than this.
const MOST_TEXT: u64 = 64 << 20;

/// Reads one pickle; the root is the last value that [`Pickle::root`] names.
pub(super) struct Pickle {
    pub(super) values: Vec<Value>,
    pub(super) root: Id,
}

impl Pickle {
    /// Reads a pickle from a file of `length` bytes.
    pub(super) fn read(input: &mut dyn Read, length: u64) -> Result<Self, PickleError> {
        let mut machine = Machine {
            input,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            // A value has two bytes and more.
            values_left: (length / 2).saturating_add(LEAST_VALUES).min(MOST_VALUES),
            references_left: length.saturating_add(2 * LEAST_VALUES).min(2 * MOST_VALUES),
            bytes_left: length.saturating_add(LEAST_TEXT).min(MOST_TEXT),
        };
        let root = machine.run()?;
        Ok(Self { values: machine.values, root })
    }

    pub(super) fn value(&self, id: Id) -> &Value {
        &self.values[id]
    }

    pub(super) fn int(&self, id: Id) -> Option<i64> {
        match self.value(id) {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.value(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn items(&self, id: Id) -> Option<&[Id]> {
        match self.value(id) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }
}

struct Machine<'a> {
    input: &'a mut dyn Read,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: Vec<Option<Id>>,
    values_left: u64,
    /// Entries of the stack, marks, and copies of entries of lists.
    references_left: u64,
    /// Bytes of texts.
    bytes_left: u64,
}

type Step<T = ()> = Result<T, PickleError>;

impl Machine<'_> {
    fn run(&mut self) -> Step<Id> {
        loop {
            let opcode = self.byte()?;
            match opcode {
                0x80 => drop(self.take::<1>()?), // PROTO
                0x95 => drop(self.take::<8>()?), // FRAME
                b'.' => return self.pop(),       // STOP
                b'(' => {
                    self.charge(1)?;
                    self.marks.push(self.stack.len());
                }
                b'0' => drop(self.pop()?),         // POP
                b'1' => drop(self.pop_to_mark()?), // POP_MARK
                b'2' => {
                    let top = self.top()?;
                    self.charge(1)?;
                    self.stack.push(top);
                }
                b'N' => self.push(Value::Nothing)?,
                0x88 => self.push(Value::Bool(true))?,
                0x89 => self.push(Value::Bool(false))?,
                b'J' => {
                    let number = i32::from_le_bytes(self.take()?);
                    self.push(Value::Int(number.into()))?;
                }
                b'K' => {
                    let [number] = self.take()?;
                    self.push(Value::Int(number.into()))?;
                }
                b'M' => {
                    let number = u16::from_le_bytes(self.take()?);
                    self.push(Value::Int(number.into()))?;
                }
                0x8a => {
                    let [length] = self.take()?;
                    self.long(length.into())?;
                }
                0x8b => {
                    let length = u32::from_le_bytes(self.take()?);
                    self.long(length.into())?;
                }
                b'G' => {
                    let number = f64::from_be_bytes(self.take()?);
                    self.push(Value::Float(number))?;
                }
                0x8c | b'U' => {
                    let [length] = self.take()?;
                    self.text(length.into())?;
                }
                b'X' | b'T' => {
                    let length = u32::from_le_bytes(self.take()?);
                    self.text(length.into())?;
                }
                0x8d => {
                    let length = u64::from_le_bytes(self.take()?);
                    self.text(length)?;
                }
                b'C' => {
                    let [length] = self.take()?;
                    self.raw(length.into())?;
                }
                b'B' => {
                    let length = u32::from_le_bytes(self.take()?);
                    self.raw(length.into())?;
                }
                0x8e => {
                    let length = u64::from_le_bytes(self.take()?);
                    self.raw(length)?;
                }
                b'}' => self.push(Value::Dict(Vec::new()))?,
                b']' | 0x8f => self.push(Value::List(Vec::new()))?, // a set is read as a list
                b')' => self.push(Value::Tuple(Vec::new()))?,
                b't' => {
                    let items = self.pop_to_mark()?;
                    self.push(Value::Tuple(items))?;
                }
                b'l' => {
                    let items = self.pop_to_mark()?;
                    self.push(Value::List(items))?;
                }
                0x85..=0x87 => {
                    let items = self.pop_many(usize::from(opcode - 0x84))?;
                    self.push(Value::Tuple(items))?;
                }
                b'd' => {
                    let pairs = paired(&self.pop_to_mark()?)?;
                    self.push(Value::Dict(pairs))?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' | 0x90 => {
                    let items = self.pop_to_mark()?;
                    self.append(items)?;
                }
                b's' => {
                    let pair = self.pop_many(2)?;
                    self.set(&pair)?;
                }
                b'u' => {
                    let items = self.pop_to_mark()?;
                    self.set(&items)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(&module, &name)?;
                }
                0x93 => {
                    let pair = self.pop_many(2)?;
                    let (Value::Text(module), Value::Text(name)) = (&self.values[pair[0]], &self.values[pair[1]])
                    else {
                        return Err(PickleError::Malformed("a global without a name"));
                    };
                    let (module, name) = (module.clone(), name.clone());
                    self.global(&module, &name)?;
                }
                b'R' | 0x81 => {
                    let pair = self.pop_many(2)?;
                    self.call(pair[0], pair[1])?;
                }
                b'b' => drop(self.pop()?), // BUILD: the state of an OrderedDict or a Parameter says nothing of its values
                b'Q' => {
                    let id = self.pop()?;
                    self.push(Value::Persistent(id))?;
                }
                b'q' => {
                    let [slot] = self.take()?;
                    self.put(slot.into())?;
                }
                b'r' => {
                    let slot = u32::from_le_bytes(self.take()?);
                    self.put(slot as usize)?;
                }
                0x94 => self.put(self.memo.len())?,
                b'h' => {
                    let [slot] = self.take()?;
                    self.recall(slot.into())?;
                }
                b'j' => {
                    let slot = u32::from_le_bytes(self.take()?);
                    self.recall(slot as usize)?;
                }
                other => return Err(PickleError::Opcode(other)),
            }
        }
    }

    fn byte(&mut self) -> Step<u8> {
        Ok(self.take::<1>()?[0])
    }

    fn take<const N: usize>(&mut self) -> Step<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(|_| PickleError::Truncated)?;
        Ok(bytes)
    }

    fn take_long(&mut self, length: u64) -> Step<Vec<u8>> {
        let left = self.bytes_left.checked_sub(length);
        self.bytes_left = left.ok_or(PickleError::TooLarge("its texts"))?;
        let mut bytes = Vec::new();
        // Grows with what is there, not with what is claimed.
        let read = (&mut *self.input).take(length).read_to_end(&mut bytes).map_err(|_| PickleError::Truncated)?;
        if read as u64 != length { Err(PickleError::Truncated) } else { Ok(bytes) }
    }

    fn line(&mut self) -> Step<String> {
        let mut bytes = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                byte if bytes.len() < LONGEST_GLOBAL => bytes.push(byte),
                _ => return Err(PickleError::TooLarge("the name of a global")),
            }
        }
        String::from_utf8(bytes).map_err(|_| PickleError::Malformed("the name of a global is not text"))
    }

    fn push(&mut self, value: Value) -> Step {
        let left = self.values_left.checked_sub(1);
        self.values_left = left.ok_or(PickleError::TooLarge("the number of its values"))?;
        self.charge(1)?;
        self.stack.push(self.values.len());
        self.values.push(value);
        Ok(())
    }

    /// Pays for references.
    fn charge(&mut self, count: usize) -> Step {
        let left = self.references_left.checked_sub(count as u64);
        self.references_left = left.ok_or(PickleError::TooLarge("the references among its values"))?;
        Ok(())
    }

    /// Height below which the open mark forbids to pop.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Step<Id> {
        if self.stack.len() <= self.floor() {
            return Err(PickleError::Malformed("it takes from an empty stack"));
        }
        self.stack.pop().ok_or(PickleError::Malformed("it takes from an empty stack"))
    }

    fn top(&self) -> Step<Id> {
        self.stack.last().copied().ok_or(PickleError::Malformed("it looks at an empty stack"))
    }

    fn pop_many(&mut self, count: usize) -> Step<Vec<Id>> {
        if self.stack.len() < self.floor() + count {
            return Err(PickleError::Malformed("it takes from an empty stack"));
        }
        Ok(self.stack.split_off(self.stack.len() - count))
    }

    fn pop_to_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or(PickleError::Malformed("it has no mark to go back to"))?;
        if mark > self.stack.len() {
            return Err(PickleError::Malformed("it has no mark to go back to"));
        }
        Ok(self.stack.split_off(mark))
    }

    fn long(&mut self, length: u64) -> Step {
        let bytes = self.take_long(length)?;
        if bytes.len() > 8 {
            // Only the magic number of the legacy form is that long; it is told by its bytes.
            return self.push(Value::Bytes(bytes));
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..bytes.len()].copy_from_slice(&bytes);
        self.push(Value::Int(i64::from_le_bytes(wide)))
    }

    fn text(&mut self, length: u64) -> Step {
        let bytes = self.take_long(length)?;
        self.push(Value::Text(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn raw(&mut self, length: u64) -> Step {
        let bytes = self.take_long(length)?;
        self.push(Value::Bytes(bytes))
    }

    fn append(&mut self, items: Vec<Id>) -> Step {
        match self.top().map(|top| &mut self.values[top])? {
            Value::List(list) => list.extend(items),
            Value::Opaque => {}
            _ => return Err(PickleError::Malformed("it appends to what is no list")),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Step {
        let pairs = paired(items)?;
        match self.top().map(|top| &mut self.values[top])? {
            Value::Dict(dict) => dict.extend(pairs),
            _ => return Err(PickleError::Malformed("it sets an item of what is no dictionary")),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Step {
        let mut full = format!("{module}.{name}");
        match ALLOWED.iter().find(|allowed| **allowed == full) {
            Some(allowed) => self.push(Value::Global(allowed)),
            None => {
                full.truncate(full.floor_char_boundary(LONGEST_GLOBAL));
                Err(PickleError::Forbidden(full))
            }
        }
    }

    /// What calling an allowed global gives: decided by its name, nothing is run.
    fn call(&mut self, function: Id, arguments: Id) -> Step {
        let Value::Global(name) = self.values[function] else {
            return Err(PickleError::Malformed("it calls what is no function"));
        };
        let Value::Tuple(arguments) = &self.values[arguments] else {
            return Err(PickleError::Malformed("it calls a function without arguments"));
        };
        let arguments = arguments.clone();
        self.charge(arguments.len())?;
        let value = match (name, arguments.as_slice()) {
            (
                "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2",
                [storage, offset, shape, strides, ..],
            ) => Value::Tensor { storage: *storage, offset: *offset, shape: *shape, strides: *strides },
            (
                "torch._utils._rebuild_parameter"
                | "torch._utils._rebuild_parameter_with_state"
                | "torch.nn.parameter.Parameter",
                [tensor, ..],
            ) => {
                self.stack.push(*tensor);
                return Ok(());
            }
            ("collections.OrderedDict" | "builtins.dict", [pairs]) => self.dict_of(*pairs)?,
            ("collections.OrderedDict" | "builtins.dict" | "collections.defaultdict", _) => Value::Dict(Vec::new()),
            ("torch.Size", [items]) => match &self.values[*items] {
                Value::List(items) | Value::Tuple(items) => {
                    // The copy is paid for: one list could be copied by every byte that follows.
                    let items = items.clone();
                    self.charge(items.len())?;
                    Value::Tuple(items)
                }
                _ => return Err(PickleError::Malformed("a size without lengths")),
            },
            _ => Value::Opaque,
        };
        self.push(value)
    }

    /// A dictionary from a list of pairs.
    fn dict_of(&mut self, pairs: Id) -> Step<Value> {
        let wrong = PickleError::Malformed("a dictionary made from what are no pairs");
        let (Value::List(items) | Value::Tuple(items)) = &self.values[pairs] else { return Err(wrong) };
        let count = items.len();
        self.charge(2 * count)?;
        let (Value::List(items) | Value::Tuple(items)) = &self.values[pairs] else { return Err(wrong) };
        let pair = |item: &Id| match &self.values[*item] {
            Value::Tuple(pair) | Value::List(pair) if pair.len() == 2 => Some((pair[0], pair[1])),
            _ => None,
        };
        items.iter().map(pair).collect::<Option<Vec<_>>>().map(Value::Dict).ok_or(wrong)
    }

    fn put(&mut self, slot: usize) -> Step {
        let top = self.top()?;
        // Slots are numbered as values come, so a number far beyond is made up.
        if slot > self.values.len() + 1024 {
            return Err(PickleError::TooLarge("a number of its memo"));
        }
        if slot >= self.memo.len() {
            self.memo.resize(slot + 1, None);
        }
        self.memo[slot] = Some(top);
        Ok(())
    }

    fn recall(&mut self, slot: usize) -> Step {
        let id =
            self.memo.get(slot).copied().flatten().ok_or(PickleError::Malformed("it recalls what it never kept"))?;
        self.charge(1)?;
        self.stack.push(id);
        Ok(())
    }
}

fn paired(items: &[Id]) -> Step<Vec<(Id, Id)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|pair| (pair[0], pair[1])).collect())
    } else {
        Err(PickleError::Malformed("a key without a value"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Pickle, PickleError> {
        Pickle::read(&mut &bytes[..], bytes.len() as u64)
    }

    #[test]
    fn plain_values_are_read() {
        // pickle.dumps({"a": [1, -2, 2.5, None, True]}, protocol=2)
        let bytes =
            b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x04\x00\x00\x00\x00\x00\x00N\x88es.";
        let pickle = read(bytes).unwrap();
        let Value::Dict(pairs) = pickle.value(pickle.root) else { panic!("a dictionary") };
        assert_eq!(pickle.text(pairs[0].0), Some("a"));
        let items = pickle.items(pairs[0].1).unwrap();
        assert_eq!((pickle.int(items[0]), pickle.int(items[1])), (Some(1), Some(-2)));
        assert_eq!(pickle.value(items[2]), &Value::Float(2.5));
    }

    #[test]
    fn a_call_of_anything_else_is_refused_before_it_is_made() {
        // os.system("true"), as a class of attacks on weight files has it.
        let attack = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.";
        assert_eq!(read(attack).map(|_| ()), Err(PickleError::Forbidden("posix.system".to_owned())));
        let attack = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x031+1\x85R.";
        assert_eq!(read(attack).map(|_| ()), Err(PickleError::Forbidden("builtins.eval".to_owned())));
        let attack = b"\x80\x02ctorch.storage\n_load_from_bytes\n.";
        assert!(matches!(read(attack), Err(PickleError::Forbidden(_))));
    }

    #[test]
    fn a_list_that_holds_itself_is_only_an_index() {
        let pickle = read(b"\x80\x02]q\x00h\x00a.").unwrap();
        assert_eq!(pickle.value(pickle.root), &Value::List(vec![pickle.root]));
    }

    #[test]
    fn claims_beyond_the_bytes_allocate_nothing() {
        assert_eq!(read(b"\x80\x02X\xff\xff\x0f\x00short").map(|_| ()), Err(PickleError::Truncated));
        assert!(matches!(read(b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xff"), Err(PickleError::TooLarge(_))));
        assert!(matches!(read(b"\x80\x02Nr\xff\xff\xff\xff."), Err(PickleError::TooLarge(_))));
    }

    #[test]
    fn what_a_few_bytes_repeat_is_paid_for() {
        let million = 1 << 20;
        let program = |once: &[u8], many: &[u8]| [once, &many.repeat(million), b"."].concat();
        // As if all of it had been packed in a hundred bytes of a file.
        let read = |bytes: &[u8]| Pickle::read(&mut &bytes[..], 100).map(|_| ());
        let size = b"ctorch\nSize\nq\x01(".to_vec();
        let size = [&size[..], &b"N".repeat(1 << 17), b"tq\x00"].concat();
        for (once, many) in [
            (&b"\x80\x02"[..], &b"("[..]),
            (b"\x80\x02N", b"2"),
            (b"\x80\x02", b"]"),
            (b"\x80\x02Nq\x00", b"h\x00"),
            (&size, b"h\x01h\x00\x85R"),
            (b"\x80\x02]q\x00", b"h\x00N\x85a"),
        ] {
            let result = read(&program(once, many));
            assert!(matches!(result, Err(PickleError::TooLarge(_))), "{many:?}: {result:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_machine_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_program_of_real_opcodes_makes_the_machine_panic(
            program in proptest::collection::vec(proptest::sample::select(b"()0.12N]}tle\x85\x86\x87asudbRQh\x00q\x00K\x05\x94\x81".to_vec()), 0..80)
        ) {
            let _ = read(&program);
        }
    }
}
