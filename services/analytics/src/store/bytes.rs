//! The small binary form of rows: integers as LEB128 (7 bits a byte, the lowest first; signed ones as zigzag), text with
//! its length in front. Every row begins with the version of its form.

/// A row ends too early, or says what no row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is damaged, or was written by another version")]
pub struct Malformed;

/// Makes a row.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// A row of a version.
    pub(super) fn of(version: u8) -> Self {
        Self(vec![version])
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(super) fn signed(&mut self, number: i64) {
        self.number((number << 1 ^ number >> 63).cast_unsigned());
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.raw(text.as_bytes());
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Reads a row from its beginning.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A row that must be of this version.
    pub(super) fn of(version: u8, row: &'a [u8]) -> Result<Self, Malformed> {
        match row.split_first() {
            Some((found, rest)) if *found == version => Ok(Self(rest)),
            _ => Err(Malformed),
        }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    pub(super) fn signed(&mut self) -> Result<i64, Malformed> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// How many follow. Each takes a byte at least: a damaged row asks for no memory that it doesn't have itself.
    pub(super) fn count(&mut self) -> Result<usize, Malformed> {
        let count = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        if count <= self.0.len() { Ok(count) } else { Err(Malformed) }
    }

    pub(super) fn raw(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.raw(N)?.try_into().map_err(|_| Malformed)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.count()?;
        str::from_utf8(self.raw(length)?).map_err(|_| Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let check = |number: u64, bytes: usize| {
            let mut row = Writer::of(7);
            row.number(number);
            row.signed(number.cast_signed());
            row.text("Zürich");
            let row = row.done();
            let mut reader = Reader::of(7, &row).unwrap();
            assert_eq!(reader.number(), Ok(number));
            assert_eq!(row.len() - reader.0.len(), 1 + bytes, "{number}");
            assert_eq!((reader.signed(), reader.text()), (Ok(number.cast_signed()), Ok("Zürich")));
            assert_eq!(reader.byte(), Err(Malformed), "the end");
        };
        check(0, 1);
        check(127, 1);
        check(128, 2);
        check(1 << 35, 6);
        check(u64::MAX, 10);
        check(i64::MIN.cast_unsigned(), 10);
    }

    #[test]
    fn a_damaged_row_is_an_error() {
        let check = |row: &[u8]| {
            let read = Reader::of(7, row).and_then(|mut reader| reader.text().map(str::to_owned));
            assert_eq!(read, Err(Malformed), "{row:?}");
        };
        check(&[]);
        check(&[8, 0]);
        check(&[7]);
        check(&[7, 5, b'a']);
        check(&[7, 1, 0xff]);
        check(&[7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
        check(&[7, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80]);
    }
}
