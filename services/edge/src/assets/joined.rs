//! The modules without which the chat can't be used, as one file.
//!
//! To a browser each module is a request and some tasks of its own, and on a slow processor twenty of them took longer
//! than all that they do. So what `main.js` imports, and what that imports, comes as `js/opening.js`: each module as it
//! is, in a function of its own that gives what it exports, one after the other as they would have run. Whoever imports
//! one of them gets it from there, so that each is there once, whoever came first.
//!
//! Nothing here knows the language. The widget's modules import and export in one form each, as a line that begins with
//! it: `import { a, b as c } from './d.js';`, and `export` before one `const`, `class`, `function` or `async function`.
//! Another form in a module that is joined, or of an import from one, stops the start.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Needs the modules that are joined, and is not one of them: it runs, and they only tell what there is.
pub(super) const ENTRY: &str = "js/main.js";
/// What they become.
pub(super) const OPENING: &str = "js/opening.js";
const FOLDER: &str = "js/";

/// All files of the widget by their names, with what belongs together in one.
pub(super) fn join(mut files: BTreeMap<String, Bytes>) -> BTreeMap<String, Bytes> {
    let mut order = Vec::new();
    visit(&files, ENTRY, &mut order, &mut Vec::new());
    order.pop();
    let mut opening = String::new();
    for name in &order {
        opening.push_str(&module(name, &source(&files, name)));
    }
    let constants: Vec<String> = order.iter().map(|name| constant(name)).collect();
    opening.push_str(&format!("export {{ {} }};\n", constants.join(", ")));
    files.retain(|name, _| !order.contains(name));
    for (name, content) in &mut files {
        if name.starts_with(FOLDER) {
            *content = from_there(&text(name, content), &order).into();
        }
    }
    files.insert(OPENING.to_owned(), opening.into());
    files
}

/// Puts a module behind all that it needs.
fn visit(files: &BTreeMap<String, Bytes>, name: &str, order: &mut Vec<String>, above: &mut Vec<String>) {
    if order.iter().any(|known| known == name) {
        return;
    }
    assert!(!above.iter().any(|other| other == name), "{name} needs itself, by way of {above:?}");
    above.push(name.to_owned());
    for import in source(files, name).lines().filter_map(import) {
        visit(files, &import.module, order, above);
    }
    above.pop();
    order.push(name.to_owned());
}

fn source(files: &BTreeMap<String, Bytes>, name: &str) -> String {
    let content = files.get(name).unwrap_or_else(|| panic!("there is no {name}, which a module imports"));
    text(name, content)
}

fn text(name: &str, content: &Bytes) -> String {
    String::from_utf8(content.to_vec()).unwrap_or_else(|_| panic!("{name} is no text"))
}

/// A line that imports a module of ours.
struct Import<'a> {
    /// As between braces.
    names: &'a str,
    module: String,
}

fn import(line: &str) -> Option<Import<'_>> {
    let (names, rest) = line.strip_prefix("import { ")?.split_once(" } from './")?;
    Some(Import { names, module: format!("{FOLDER}{}", rest.strip_suffix("';")?) })
}

/// What a line exports, and the line without saying so.
fn export(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix("export ")?;
    let starts = ["const ", "class ", "function ", "async function "];
    let (start, name) = starts.iter().find_map(|start| Some((*start, rest.strip_prefix(start)?)))?;
    let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '$'))?;
    // Of several in a line the others would be lost.
    let one = start != "const " || name.split_once(" = ").is_some_and(|(_, value)| !lists(value));
    (end > 0 && one).then_some((&name[..end], rest))
}

/// Whether a line begins to import or export. `import(` does it later.
fn is_statement(line: &str) -> bool {
    let rest = line.strip_prefix("import").or_else(|| line.strip_prefix("export"));
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c == '(' || c == '.' || c == '_' || c.is_ascii_alphanumeric()))
}

/// Whether `a, b = c` may follow a `const`.
fn lists(value: &str) -> bool {
    let mut depth = 0;
    value.trim_end().trim_end_matches(';').chars().any(|c| {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
}

/// What a module is called in the file that holds all of them: `$talk_icons` for `js/talk-icons.js`.
fn constant(name: &str) -> String {
    let stem = name.trim_start_matches(FOLDER).trim_end_matches(".js");
    format!("${}", stem.replace('-', "_"))
}

/// The names of an import, taken out of what the module gives.
fn taken(import: &Import<'_>) -> String {
    format!("const {{ {} }} = {};", import.names.replace(" as ", ": "), constant(&import.module))
}

fn module(name: &str, source: &str) -> String {
    let mut exports = Vec::new();
    let mut text = format!("// {name}\nconst {} = (() => {{\n", constant(name));
    for line in source.lines() {
        if let Some(import) = import(line) {
            text.push_str(&taken(&import));
        } else if let Some((export, line)) = export(line) {
            exports.push(export);
            text.push_str(line);
        } else {
            assert!(!is_statement(line), "{name} has a form of `import` or `export` that can't be joined: {line}");
            text.push_str(line);
        }
        text.push('\n');
    }
    text.push_str(&format!("return {{ {} }};\n}})();\n", exports.join(", ")));
    text
}

/// A script that is not joined, with all that is from there. Its lines stay where they are.
fn from_there(source: &str, joined: &[String]) -> String {
    let mut text = String::with_capacity(source.len());
    for line in source.split_inclusive('\n') {
        match import(line.trim_end_matches(['\r', '\n'])).filter(|import| joined.contains(&import.module)) {
            None => {
                let other =
                    is_statement(line) && joined.iter().any(|name| line.contains(&name.replacen(FOLDER, "./", 1)));
                assert!(!other, "a form of `import` that can't lead to what is joined: {line}");
                text.push_str(line);
            }
            Some(import) => {
                let opening = OPENING.trim_start_matches(FOLDER);
                let constant = constant(&import.module);
                text.push_str(&format!("import {{ {constant} }} from './{opening}'; {}\n", taken(&import)));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(of: &[(&str, &str)]) -> BTreeMap<String, Bytes> {
        of.iter().map(|(name, text)| ((*name).to_owned(), Bytes::copy_from_slice(text.as_bytes()))).collect()
    }

    fn joined(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        join(files(of)).into_iter().map(|(name, content)| (name.clone(), text(&name, &content))).collect()
    }

    #[test]
    fn what_the_entry_needs_becomes_one_file_in_its_order() {
        let files = joined(&[
            ("js/main.js", "import { a, z as y } from './a.js';\na(y);\n"),
            ("js/a.js", "import { b } from './b-c.js';\nexport const a = b;\nexport async function z() {}\n"),
            ("js/b-c.js", "export function b() {\n  return import('./later.js');\n}\nexport class C {}\n"),
            (
                "js/later.js",
                "import { b } from './b-c.js';\nimport { d } from './d.js';\nimport e from '../vendor/e.js';\n",
            ),
            ("js/d.js", "export const d = 1;\n"),
            ("js/windows.js", "import { a } from './a.js';\r\na;\r\n"),
            ("page.html", "import { b } from './b-c.js';\n"),
        ]);
        let opening = "// js/b-c.js\nconst $b_c = (() => {\nfunction b() {\n  return import('./later.js');\n}\nclass C {}\n\
                       return { b, C };\n})();\n// js/a.js\nconst $a = (() => {\nconst { b } = $b_c;\nconst a = b;\n\
                       async function z() {}\nreturn { a, z };\n})();\nexport { $b_c, $a };\n";
        assert_eq!(files["js/opening.js"], opening);
        assert_eq!(files["js/main.js"], "import { $a } from './opening.js'; const { a, z: y } = $a;\na(y);\n");
        let later = "import { $b_c } from './opening.js'; const { b } = $b_c;\nimport { d } from './d.js';\n\
                     import e from '../vendor/e.js';\n";
        assert_eq!(files["js/later.js"], later);
        assert!(files["js/windows.js"].starts_with("import { $a } from './opening.js'; const { a } = $a;"));
        assert_eq!(files["page.html"], "import { b } from './b-c.js';\n");
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["js/d.js", "js/later.js", "js/main.js", "js/opening.js", "js/windows.js", "page.html"]);
    }

    #[test]
    fn what_can_not_be_joined_is_not_served() {
        let refused = |of: &[(&str, &str)]| {
            let main = ("js/main.js", "import { a } from './a.js';\n");
            let of: Vec<_> = std::iter::once(main).chain(of.iter().copied()).collect();
            assert!(std::panic::catch_unwind(|| joined(&of)).is_err(), "{of:?}");
        };
        refused(&[]);
        refused(&[("js/a.js", "export default 1;\n")]);
        refused(&[("js/a.js", "export let a = 1;\n")]);
        refused(&[("js/a.js", "export { b as a };\n")]);
        refused(&[("js/a.js", "export const { a } = b;\n")]);
        refused(&[("js/a.js", "export const a = 1, b = 2;\n")]);
        refused(&[("js/a.js", "export const a = f(1, 2), b = 2;\n")]);
        refused(&[("js/a.js", "export{ a };\n")]);
        refused(&[("js/a.js", "export* from './b.js';\n"), ("js/b.js", "")]);
        refused(&[("js/a.js", "import\"./b.js\";\n"), ("js/b.js", "")]);
        let fine = ("js/a.js", "export const a = f(1, 2);\nexports(1);\nimport('./b.js');\n");
        refused(&[fine, ("js/b.js", "import * as x from './a.js';\n")]);
        refused(&[fine, ("js/b.js", "export { a } from './a.js';\n")]);
        refused(&[fine, ("js/b.js", "import { a } from \"./a.js\";\n")]);
        refused(&[("js/a.js", "import * as b from './b.js';\n"), ("js/b.js", "")]);
        refused(&[("js/a.js", "import {\n  b,\n} from './b.js';\n"), ("js/b.js", "")]);
        refused(&[("js/a.js", "import b from '../vendor/b.js';\n")]);
        refused(&[("js/a.js", "import { b } from './b.js';\n"), ("js/b.js", "import { a } from './a.js';\n")]);
    }
}
