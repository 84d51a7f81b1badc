//! Tables as CSV (RFC 4180).

use std::fmt::{Display, Write as _};

/// Rows of one table. Cells go in one after the other.
#[derive(Default)]
pub(super) struct Csv {
    text: String,
    begun: bool,
}

impl Csv {
    /// A cell of a word or number of our own.
    pub(super) fn own(&mut self, cell: impl Display) -> &mut Self {
        self.separate();
        // Writing to a String does not fail.
        let _ = write!(self.text, "{cell}");
        self
    }

    /// The same, empty where there is none.
    pub(super) fn maybe(&mut self, cell: Option<impl Display>) -> &mut Self {
        match cell {
            Some(cell) => self.own(cell),
            None => self.own(""),
        }
    }

    /// A cell of somebody else's text. One that a spreadsheet would take for a formula gets an apostrophe in front:
    /// pages and languages come from browsers, and who reads the table should not run what they say.
    pub(super) fn text(&mut self, cell: &str) -> &mut Self {
        self.separate();
        let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
        if formula || cell.contains(['"', ',', '\r', '\n']) || cell.starts_with(' ') || cell.ends_with(' ') {
            self.text.push('"');
            if formula {
                self.text.push('\'');
            }
            self.text.push_str(&cell.replace('"', "\"\""));
            self.text.push('"');
        } else {
            self.text.push_str(cell);
        }
        self
    }

    /// Ends the row.
    pub(super) fn end(&mut self) {
        self.text.push_str("\r\n");
        self.begun = false;
    }

    /// All rows that were ended so far.
    pub(super) fn done(self) -> String {
        self.text
    }

    fn separate(&mut self) {
        if self.begun {
            self.text.push(',');
        }
        self.begun = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let check = |cell: &str, expected: &str| {
            let mut csv = Csv::default();
            csv.text(cell).own(1).end();
            assert_eq!(csv.done(), format!("{expected},1\r\n"));
        };
        check("/shoes", "/shoes");
        check("", "");
        check("a,b", "\"a,b\"");
        check("say \"hi\"", "\"say \"\"hi\"\"\"");
        check("two\r\nlines", "\"two\r\nlines\"");
        check(" a", "\" a\"");
        check("/größe?", "/größe?");
    }

    #[test]
    fn no_cell_is_a_formula() {
        for cell in ["=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", "\t=1", "\r=1", "\n=1", "=\"a\",1"] {
            let mut csv = Csv::default();
            csv.text(cell).end();
            let row = csv.done();
            assert!(row.starts_with("\"'"), "{row}");
            assert_eq!(row, format!("\"'{}\"\r\n", cell.replace('"', "\"\"")));
        }
    }
}
