//! Files as they are served: what is read is what runs, without the comments, which are a third of what would go over
//! the line.
//!
//! Only whole lines are taken, and an empty one stays for each, so that a browser names the lines of the repository.
//! Nothing here knows the language: where a line may be part of a text, this line and all after it stay as they are.

use bytes::Bytes;

use super::Folder;

/// Byte for byte as their authors published them, with their licences.
const VENDORED: &str = "vendor/";

/// A file of the widget by its name.
pub(super) fn lean(name: &str) -> Option<Bytes> {
    let file = Folder::get(name)?.data;
    let lean = !name.starts_with(VENDORED) && (name.ends_with(".js") || name.ends_with(".css"));
    Some(match std::str::from_utf8(&file) {
        Ok(text) if lean => without_comments(text, name.ends_with(".js")).into(),
        _ => Bytes::from(file.into_owned()),
    })
}

/// Without comments that have their lines to themselves. Only a script has those that begin with `//`.
fn without_comments(source: &str, script: bool) -> String {
    let mut lean = String::with_capacity(source.len());
    let mut lines = source.split_inclusive('\n');
    while let Some(line) = lines.next() {
        let start = line.trim();
        if script && start.starts_with("//") {
            lean.push_str(end_of(line));
        } else if let Some(mut rest) = start.strip_prefix("/*") {
            let mut comment = vec![line];
            while !rest.contains("*/") {
                let Some(next) = lines.next() else { break };
                comment.push(next);
                rest = next.trim();
            }
            if rest.find("*/").is_some_and(|end| end + 2 == rest.len()) {
                lean.extend(comment.into_iter().map(end_of));
            } else {
                stay(&comment.concat(), &mut lean, &mut lines);
            }
        } else {
            stay(line, &mut lean, &mut lines);
        }
    }
    lean
}

/// A text between backticks may go on in the next line, and begin there as a comment does.
fn stay<'a>(code: &str, lean: &mut String, rest: &mut impl Iterator<Item = &'a str>) {
    lean.push_str(code);
    if code.matches('`').count() % 2 == 1 {
        lean.extend(rest);
    }
}

fn end_of(line: &str) -> &str {
    if line.ends_with('\n') { "\n" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &str) {
        assert_eq!(without_comments(source, true), expected, "{source:?}");
    }

    #[test]
    fn comments_with_lines_of_their_own_go_and_the_lines_stay() {
        check("// a\nb();\n", "\nb();\n");
        check("  // a\n\tb();\n  // c", "\n\tb();\n");
        check("/* a */\nb {}\n", "\nb {}\n");
        check("/**\n * a\n * b */\nc();\n", "\n\n\nc();\n");
        check("a();\n\n  /** @param {string} b */\n  c();", "a();\n\n\n  c();");
        check("/*/ a\n*/b", "/*/ a\n*/b");
        check("/*/ a\n*/\nb", "\n\nb");
        check("", "");
    }

    /// What is beside code, or could be inside a text, is left alone.
    #[test]
    fn what_is_not_clearly_a_comment_stays() {
        for source in [
            "a(); // b\n",
            "a(/** @type {b} */ (c));\n",
            "/* a */ b();\n",
            "/* a\n*/ b();\n// c",
            "/* a */ b(); /* c */\n",
            "/* without an end\n",
            "/* a */ b = `\n// c\n`;\n",
            "a = `\n// b\n/* c */\n`;\n",
            "a = '`';\n// b\n",
            "a = 'http://b';\n",
            "a = /[/*]/;\n",
            "* b */\n",
        ] {
            let expected = if source.ends_with("// c") { "/* a\n*/ b();\n" } else { source };
            check(source, expected);
        }
        check("a = `b`;\n// c\n", "a = `b`;\n\n");
    }

    #[test]
    fn a_sheet_has_comments_of_one_kind() {
        let sheet = "a {\n  background: url(\n//b.example/c\n  );\n}\n";
        assert_eq!(without_comments(sheet, false), sheet);
        assert_eq!(without_comments("/* a\n */\nb {}\n", false), "\n\nb {}\n");
    }

    /// All that counts in a style sheet.
    fn rules(sheet: &str) -> String {
        let comments = regex::Regex::new(r"(?s)/\*.*?\*/|\s+").unwrap();
        comments.replace_all(sheet, "").into_owned()
    }

    #[test]
    fn of_all_files_only_lines_of_comments_go() {
        let (mut looked_at, mut gone) = (0, 0);
        for name in Folder::iter() {
            let file = Folder::get(&name).unwrap().data;
            let lean = lean(&name).unwrap();
            if name.starts_with(VENDORED) || !(name.ends_with(".js") || name.ends_with(".css")) {
                assert_eq!(lean, file.as_ref(), "{name}");
                continue;
            }
            looked_at += 1;
            let (file, lean) = (std::str::from_utf8(&file).unwrap(), std::str::from_utf8(&lean).unwrap());
            assert_eq!(file.lines().count(), lean.lines().count(), "{name} has as many lines");
            gone += file.lines().zip(lean.lines()).filter(|(was, is)| was != is).count();
            if name.ends_with(".css") {
                // What begins a line of a comment in a script may begin a rule in a sheet, and the other way round.
                assert_eq!(rules(file), rules(lean), "{name}");
                continue;
            }
            for (number, (was, is)) in file.lines().zip(lean.lines()).enumerate() {
                let comment =
                    ["//", "/*", "*"].iter().any(|start| was.trim().starts_with(start)) || was.ends_with("*/");
                assert!(was == is || (is.is_empty() && comment), "{name}:{}: {was}", number + 1);
            }
        }
        assert!(looked_at > 50 && gone > 1000, "{looked_at} files, {gone} lines");
    }
}
