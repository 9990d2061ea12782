//! Inputs that are scripts: a letter says what happens next, numbers and strings follow where the step takes them.

/// What is left of a script.
pub struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    /// A script that has not begun.
    pub fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// The next step, `a` to `z` or one of six signs that mean nothing. Only five bits count, so that most bytes mean
    /// something.
    pub fn step(&mut self) -> Option<char> {
        self.byte().map(|byte| char::from(0x60 | byte & 0x1F))
    }

    /// A number of one byte; 0 where the script ends.
    pub fn number(&mut self) -> usize {
        self.byte().map_or(0, usize::from)
    }

    /// As many bytes as the number before them says, or as there are.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = self.number().min(self.rest.len());
        let (bytes, rest) = self.rest.split_at(length);
        self.rest = rest;
        bytes
    }

    /// Everything that is left.
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }
}
