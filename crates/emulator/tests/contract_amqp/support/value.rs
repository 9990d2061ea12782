//! AMQP's types, encoded and decoded by hand: it shares no code with the emulator's codec.

/// A value. What no test needs is not here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum V {
    Null,
    Bool(bool),
    Ubyte(u8),
    Ushort(u16),
    Uint(u32),
    Ulong(u64),
    Int(i32),
    Long(i64),
    Timestamp(i64),
    Uuid([u8; 16]),
    Bin(Vec<u8>),
    Str(String),
    Sym(String),
    List(Vec<V>),
    Map(Vec<(V, V)>),
    Array(Vec<V>),
    Described(Box<V>, Box<V>),
}

pub(crate) fn text(text: &str) -> V {
    V::Str(text.to_owned())
}

pub(crate) fn sym(text: &str) -> V {
    V::Sym(text.to_owned())
}

/// A described list without its trailing nulls, as performatives and their parts are written.
pub(crate) fn composite(code: u64, mut fields: Vec<V>) -> V {
    while fields.last() == Some(&V::Null) {
        fields.pop();
    }
    described(code, V::List(fields))
}

pub(crate) fn described(code: u64, value: V) -> V {
    V::Described(Box::new(V::Ulong(code)), Box::new(value))
}

impl V {
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes
    }

    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Null => to.push(0x40),
            Self::Bool(value) => to.push(if *value { 0x41 } else { 0x42 }),
            Self::Ubyte(value) => to.extend([0x50, *value]),
            Self::Ushort(value) => fixed(to, 0x60, &value.to_be_bytes()),
            Self::Uint(0) => to.push(0x43),
            Self::Uint(value @ 1..=255) => to.extend([0x52, *value as u8]),
            Self::Uint(value) => fixed(to, 0x70, &value.to_be_bytes()),
            Self::Ulong(0) => to.push(0x44),
            Self::Ulong(value @ 1..=255) => to.extend([0x53, *value as u8]),
            Self::Ulong(value) => fixed(to, 0x80, &value.to_be_bytes()),
            Self::Int(value) => fixed(to, 0x71, &value.to_be_bytes()),
            Self::Long(value) => fixed(to, 0x81, &value.to_be_bytes()),
            Self::Timestamp(value) => fixed(to, 0x83, &value.to_be_bytes()),
            Self::Uuid(value) => fixed(to, 0x98, value),
            Self::Bin(value) => variable(to, 0xa0, value),
            Self::Str(value) => variable(to, 0xa1, value.as_bytes()),
            Self::Sym(value) => variable(to, 0xa3, value.as_bytes()),
            Self::List(values) if values.is_empty() => to.push(0x45),
            Self::List(values) => compound(to, 0xc0, values.len(), &concat(values.iter())),
            Self::Map(pairs) => {
                let inside = concat(pairs.iter().flat_map(|(key, value)| [key, value]));
                compound(to, 0xc1, pairs.len() * 2, &inside);
            }
            Self::Array(values) => {
                // Symbols only; each without its constructor.
                let mut inside = vec![0xb3];
                for value in values {
                    let Self::Sym(symbol) = value else { panic!("an array of {value:?}") };
                    inside.extend((symbol.len() as u32).to_be_bytes());
                    inside.extend(symbol.as_bytes());
                }
                compound(to, 0xe0, values.len(), &inside);
            }
            Self::Described(descriptor, value) => {
                to.push(0);
                descriptor.encode(to);
                value.encode(to);
            }
        }
    }

    /// The value at the beginning, and the rest.
    pub(crate) fn decode(bytes: &[u8]) -> (Self, &[u8]) {
        let (code, rest) = bytes.split_first().expect("a value");
        if *code == 0 {
            let (descriptor, rest) = Self::decode(rest);
            let (value, rest) = Self::decode(rest);
            return (Self::Described(Box::new(descriptor), Box::new(value)), rest);
        }
        Self::content(*code, rest)
    }

    fn content(code: u8, rest: &[u8]) -> (Self, &[u8]) {
        fn take<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
            let (taken, rest) = bytes.split_first_chunk::<N>().expect("a whole value");
            (*taken, rest)
        }
        macro_rules! number {
            ($variant:ident, $type:ty) => {{
                let (bytes, rest) = take(rest);
                (Self::$variant(<$type>::from_be_bytes(bytes)), rest)
            }};
        }
        match code {
            0x40 => (Self::Null, rest),
            0x41 => (Self::Bool(true), rest),
            0x42 => (Self::Bool(false), rest),
            0x43 => (Self::Uint(0), rest),
            0x44 => (Self::Ulong(0), rest),
            0x45 => (Self::List(Vec::new()), rest),
            0x50 => (Self::Ubyte(rest[0]), &rest[1..]),
            0x52 => (Self::Uint(rest[0].into()), &rest[1..]),
            0x53 => (Self::Ulong(rest[0].into()), &rest[1..]),
            0x54 => (Self::Int((rest[0] as i8).into()), &rest[1..]),
            0x55 => (Self::Long((rest[0] as i8).into()), &rest[1..]),
            0x56 => (Self::Bool(rest[0] == 1), &rest[1..]),
            0x60 => number!(Ushort, u16),
            0x70 => number!(Uint, u32),
            0x71 => number!(Int, i32),
            0x80 => number!(Ulong, u64),
            0x81 => number!(Long, i64),
            0x83 => number!(Timestamp, i64),
            0x98 => {
                let (uuid, rest) = take(rest);
                (Self::Uuid(uuid), rest)
            }
            0xa0 | 0xa1 | 0xa3 => Self::sized(code, usize::from(rest[0]), &rest[1..]),
            0xb0 | 0xb1 | 0xb3 => {
                let (length, rest) = take(rest);
                Self::sized(code - 0x10, u32::from_be_bytes(length) as usize, rest)
            }
            0xc0 | 0xc1 | 0xe0 => {
                let (inside, rest) = rest[1..].split_at(usize::from(rest[0]));
                (Self::elements(code, usize::from(inside[0]), &inside[1..]), rest)
            }
            0xd0 | 0xd1 | 0xf0 => {
                let (size, rest) = take(rest);
                let (inside, rest) = rest.split_at(u32::from_be_bytes(size) as usize);
                let (count, inside) = take(inside);
                (Self::elements(code - 0x10, u32::from_be_bytes(count) as usize, inside), rest)
            }
            _ => panic!("the hub writes the format code {code:#x}"),
        }
    }

    fn sized(code: u8, length: usize, rest: &[u8]) -> (Self, &[u8]) {
        let (inside, rest) = rest.split_at(length);
        let text = || String::from_utf8(inside.to_vec()).expect("UTF-8");
        let value = match code {
            0xa0 => Self::Bin(inside.to_vec()),
            0xa1 => Self::Str(text()),
            _ => Self::Sym(text()),
        };
        (value, rest)
    }

    fn elements(code: u8, count: usize, mut inside: &[u8]) -> Self {
        let mut values = Vec::new();
        let constructor = (code == 0xe0).then(|| {
            let code = inside[0];
            inside = &inside[1..];
            code
        });
        for _ in 0..count {
            let (value, rest) = match constructor {
                Some(code) => Self::content(code, inside),
                None => Self::decode(inside),
            };
            values.push(value);
            inside = rest;
        }
        assert!(inside.is_empty(), "a container holds more than it counts");
        match code {
            0xc0 => Self::List(values),
            0xe0 => Self::Array(values),
            _ => {
                let mut values = values.into_iter();
                let mut pairs = Vec::new();
                while let (Some(key), Some(value)) = (values.next(), values.next()) {
                    pairs.push((key, value));
                }
                Self::Map(pairs)
            }
        }
    }

    pub(crate) fn as_text(&self) -> &str {
        match self {
            Self::Str(text) | Self::Sym(text) => text,
            other => panic!("{other:?} is no text"),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        let Self::Map(pairs) = self else { panic!("{self:?} is no map") };
        pairs.iter().find(|(key, _)| matches!(key, Self::Str(text) | Self::Sym(text) if text == name)).map(|(_, v)| v)
    }

    /// The fields of a composite.
    pub(crate) fn fields(&self) -> (u64, &[V]) {
        match self {
            Self::Described(descriptor, value) => match (&**descriptor, &**value) {
                (Self::Ulong(code), Self::List(fields)) => (*code, fields),
                other => panic!("{other:?} is no composite"),
            },
            other => panic!("{other:?} is no composite"),
        }
    }
}

fn concat<'a>(values: impl Iterator<Item = &'a V>) -> Vec<u8> {
    let mut bytes = Vec::new();
    values.for_each(|value| value.encode(&mut bytes));
    bytes
}

fn fixed(to: &mut Vec<u8>, code: u8, bytes: &[u8]) {
    to.push(code);
    to.extend(bytes);
}

fn variable(to: &mut Vec<u8>, code: u8, bytes: &[u8]) {
    match u8::try_from(bytes.len()) {
        Ok(length) => to.extend([code, length]),
        Err(_) => fixed(to, code + 0x10, &(bytes.len() as u32).to_be_bytes()),
    }
    to.extend(bytes);
}

fn compound(to: &mut Vec<u8>, code: u8, count: usize, inside: &[u8]) {
    if inside.len() < 255 && count < 256 {
        to.extend([code, inside.len() as u8 + 1, count as u8]);
    } else {
        fixed(to, code + 0x10, &(inside.len() as u32 + 4).to_be_bytes());
        to.extend((count as u32).to_be_bytes());
    }
    to.extend(inside);
}
